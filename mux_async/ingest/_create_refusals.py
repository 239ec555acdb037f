"""Detects that Mux refuses every create of an account, so that the run ends instead of failing all items.

An account that has used up its plan, owes a bill or has not accepted terms gets the same message for every create. Fifty thousand refusals
at one a second take fourteen hours, and each item would have to be retried. Mux has no error type for this (facts/BEHAVIOUR.md,
section 1.3), so the message decides:

1. A message about the account ends the run after `ACCOUNT_LIMIT` refused creates in a row.
2. Any other message that is not about the item ends the run after `ANY_LIMIT`, if the items have no settings of their own.
3. Until then the items are held. An accepted create, or a different message, shows that the refusals were about these items.
"""

from __future__ import annotations

import re
from typing import Final

from mux_async.errors import APIStatusError, MuxError, quote_sentence
from mux_async.ingest._steps import ActiveItem

ACCOUNT_LIMIT: Final = 3
ANY_LIMIT: Final = 10

_PAYMENT_REQUIRED: Final = 402
_ACCOUNT: Final = re.compile(
    r"\b(?:account|organization|environment|plan|tier|trial|quota|limit|limits|limited|exceed(?:s|ed|ing)?|maximum number|billing|payments?"
    r"|unpaid|invoices?|subscri\w+|upgrade|credits?|credit card|terms|suspended|disabled|deactivated|contact (?:sales|support))\b",
    re.IGNORECASE,
)
_ITEM: Final = re.compile(r"\b(?:urls?|inputs?|passthrough|title|meta|external_id|creator_id)\b", re.IGNORECASE)
_COMMON: Final = frozenset({"meta", "passthrough"})
"""Settings that every item has, or that Mux accepts unchecked."""


class Refusals:
    """The latest refused creates of one run."""

    def __init__(self) -> None:
        self.reason: str | None = None
        """Why no create would be accepted; ``None`` as long as that is not known."""
        self._sentence: str | None = None
        self._held: list[tuple[ActiveItem, MuxError]] = []
        self._released: list[tuple[ActiveItem, MuxError]] = []

    def hold(self, active: ActiveItem, error: MuxError) -> bool:
        """Record a refused create and hold its item. Return ``False`` if the refusal is about the item, which is not held then."""
        if not isinstance(error, APIStatusError):
            return False
        sentence = quote_sentence("; ".join(error.messages)) or error.type or f"status {error.status}"
        limit = _limit(active, error, sentence)
        if sentence != self._sentence:
            self.accepted()
            self._sentence = sentence
        if limit is None:
            return False
        self._held.append((active, error))
        if len(self._held) >= limit:
            self.reason = self.reason or f"Mux refused {len(self._held)} creates in a row: {sentence}"
        return True

    def holds(self, active: ActiveItem) -> bool:
        """Whether the item is still held."""
        return any(each is active for each, _ in self._held)

    def accepted(self) -> None:
        """Record an accepted create: earlier refusals were about their items."""
        if self.reason is None:
            self._released += self._held
            self._held.clear()
            self._sentence = None

    def released(self) -> list[tuple[ActiveItem, MuxError]]:
        """Return the held items whose refusals were about them, each once."""
        released, self._released = self._released, []
        return released


def _limit(active: ActiveItem, error: APIStatusError, sentence: str) -> int | None:
    is_common = active.item.settings.keys() <= _COMMON
    is_account = error.status == _PAYMENT_REQUIRED or _ACCOUNT.search(sentence) is not None
    if is_account:
        return ACCOUNT_LIMIT if is_common else ANY_LIMIT
    return ANY_LIMIT if is_common and _ITEM.search(sentence) is None else None
