"""Creates that Mux refuses one after the other: is it the items, or the account?

An account that has used up its plan, owes a bill or has not accepted terms gets the same sentence for every create. Fifty thousand items
that are refused at one a second are fourteen hours, and each would have to be tried again. Mux has no error type of its own for that
(facts/BEHAVIOUR.md, section 1.3), so the sentence decides:

1. A sentence about the account ends the run when `ACCOUNT_LIMIT` creates in a row were refused with it.
2. Any other sentence that says nothing about the item does so after `ANY_LIMIT`, if the items have no settings of their own.
3. Until then the items are held: a create that is accepted, or another sentence, shows that the refusals were about these items.
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
"""Settings that every item has, or that Mux takes as they are."""


class Refusals:
    """The creates of one run that were refused last.

    Attributes:
        reason: Why no further create would be accepted; ``None`` as long as that is not known.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._sentence: str | None = None
        self._held: list[tuple[ActiveItem, MuxError]] = []
        self._released: list[tuple[ActiveItem, MuxError]] = []

    def hold(self, active: ActiveItem, error: MuxError) -> bool:
        """Take note of a create that was refused; return ``False`` when that is about the item, and for nobody else to know."""
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

    def accepted(self) -> None:
        """Take note of a create that was accepted: what was refused before it was refused for reasons of its own."""
        if self.reason is None:
            self._released += self._held
            self._held.clear()
            self._sentence = None

    def released(self) -> list[tuple[ActiveItem, MuxError]]:
        """Return the items whose refusal was about them, each once."""
        released, self._released = self._released, []
        return released


def _limit(active: ActiveItem, error: APIStatusError, sentence: str) -> int | None:
    is_common = active.item.settings.keys() <= _COMMON
    is_account = error.status == _PAYMENT_REQUIRED or _ACCOUNT.search(sentence) is not None
    if is_account:
        return ACCOUNT_LIMIT if is_common else ANY_LIMIT
    return ANY_LIMIT if is_common and _ITEM.search(sentence) is None else None
