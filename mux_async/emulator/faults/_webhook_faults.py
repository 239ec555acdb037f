"""Faults of webhook deliveries: lost, repeated, late or out of order."""

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
    """A fault of webhook deliveries.

    A delivery matches when the type of its event and the URL of its endpoint do; it is hit if its number among the matching ones is in
    *nth*, with probability *chance*. The random number depends on the seed and the event, so each run has the same faults.

    Attributes:
        type: Regular expression for the whole type; ``None`` matches all.
        url: Regular expression for the whole URL; ``None`` matches all.
        nth: Numbers from 1, or one number, or ``None`` for every matching delivery.
        chance: Between 0 and 1.
        lose: Never send it.
        copies: How often it is sent: 2 delivers it twice, though the first was answered 2xx.
        delay: Seconds to delay it; later deliveries overtake it.
        jitter: Maximum of a random additional delay in seconds, for each copy.
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
        """Whether this fault counts the delivery of *event* to *url*."""
        if self.type is not None and re.fullmatch(self.type, event.type) is None:
            return False
        return self.url is None or re.fullmatch(self.url, url) is not None

    def hits(self, number: int, draw: float) -> bool:
        """Whether the matching delivery with this *number* (from 1) is hit; *draw* is its random number (0 to 1)."""
        if self.nth is not None:
            chosen = number == self.nth if isinstance(self.nth, int) else number in self.nth
            if not chosen:
                return False
        return draw < self.chance


class WebhookFaults:
    """The faults of deliveries, in order: the first one that hits a delivery applies."""

    def __init__(self) -> None:
        self._rules: list[WebhookFault] = []
        self._counts: list[int] = []

    def add(self, *faults: WebhookFault) -> None:
        """Add faults. Each counts matching deliveries from now on."""
        self._rules += faults
        self._counts += [0] * len(faults)

    def clear(self) -> None:
        """Remove all faults."""
        self._rules.clear()
        self._counts.clear()

    def pick(self, event: TypedEvent, url: str, random: Random) -> WebhookFault | None:
        """Count a delivery, and return the fault that applies to it, if any."""
        picked: WebhookFault | None = None
        for index, fault in enumerate(self._rules):
            if fault.matches(event, url):
                self._counts[index] += 1
                if fault.hits(self._counts[index], random.random()) and picked is None:
                    picked = fault
        return picked

    def __len__(self) -> int:
        return len(self._rules)
