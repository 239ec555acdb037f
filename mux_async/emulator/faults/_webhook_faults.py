"""Faults of webhook deliveries, on order: lost, repeated, late, out of order."""

from __future__ import annotations

import re
from collections.abc import Collection
from random import Random
from typing import Protocol

import attrs


class TypedEvent(Protocol):
    """The part of a `WebhookEvent` that faults depend on."""

    @property
    def type(self) -> str:
        """Mux's name for the event: ``video.asset.ready``."""
        ...


@attrs.frozen
class WebhookFault:
    """What is to go wrong with deliveries.

    A delivery matches when the type of its event and the URL of its endpoint do; it is hit when its number among the matching ones is in
    *nth*, and with probability *chance*. What was drawn depends on the seed and the event, so it is the same in each run.

    Attributes:
        type: Regular expression for the whole type; ``None`` matches all.
        url: Regular expression for the whole URL; ``None`` matches all.
        nth: Numbers from 1, or one number, or ``None`` for every matching delivery.
        chance: Between 0 and 1.
        lose: Never send it.
        copies: How often it is sent: 2 delivers it twice, though the first was answered 2xx.
        delay: Seconds later than it would be sent; others pass it meanwhile.
        jitter: Up to so many seconds later still, for each copy anew.
    """

    type: str | None = None
    url: str | None = None
    nth: int | Collection[int] | None = None
    chance: float = attrs.field(default=1.0, validator=[attrs.validators.ge(0.0), attrs.validators.le(1.0)])
    lose: bool = False
    copies: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    delay: float = attrs.field(default=0.0, validator=attrs.validators.ge(0.0))
    jitter: float = attrs.field(default=0.0, validator=attrs.validators.ge(0.0))

    def matches(self, event: TypedEvent, url: str) -> bool:
        """Whether the delivery of *event* to *url* is one of those this fault counts."""
        if self.type is not None and re.fullmatch(self.type, event.type) is None:
            return False
        return self.url is None or re.fullmatch(self.url, url) is not None

    def hits(self, number: int, draw: float) -> bool:
        """Whether the matching delivery of this *number* (from 1) is to suffer, *draw* being what chance gave it (0 to 1)."""
        if self.nth is not None:
            chosen = number == self.nth if isinstance(self.nth, int) else number in self.nth
            if not chosen:
                return False
        return draw < self.chance


class WebhookFaults:
    """The faults that are set up, in order: the first that hits a delivery is the one that happens."""

    def __init__(self) -> None:
        self._rules: list[WebhookFault] = []
        self._counts: list[int] = []

    def add(self, *faults: WebhookFault) -> None:
        """Set up more. Each counts matching deliveries from now on."""
        self._rules += faults
        self._counts += [0] * len(faults)

    def clear(self) -> None:
        """Forget all of them."""
        self._rules.clear()
        self._counts.clear()

    def pick(self, event: TypedEvent, url: str, random: Random) -> WebhookFault | None:
        """Count a delivery and return what is to happen to it."""
        picked: WebhookFault | None = None
        for index, fault in enumerate(self._rules):
            if fault.matches(event, url):
                self._counts[index] += 1
                if fault.hits(self._counts[index], random.random()) and picked is None:
                    picked = fault
        return picked

    def __len__(self) -> int:
        return len(self._rules)
