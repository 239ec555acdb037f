"""Faults: which requests, webhook deliveries and pieces of Mux's work fail, and how."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from random import Random
from typing import Generic, Literal, Protocol, TypeAlias, TypeVar

import attrs

from mux_async.emulator.http._messages import Request, Response, json_response, text

F = TypeVar("F")


def _is_chosen(number: int, nth: int | Collection[int] | None) -> bool:
    return nth is None or (number == nth if isinstance(nth, int) else number in nth)


class _FaultList(Generic[F]):
    """Faults in order: the first one that hits applies."""

    def __init__(self) -> None:
        self._rules: list[F] = []
        self._counts: list[int] = []

    def add(self, *faults: F) -> None:
        """Add faults. Each counts what matches it from now on."""
        self._rules += faults
        self._counts += [0] * len(faults)

    def clear(self) -> None:
        """Remove all faults."""
        self._rules.clear()
        self._counts.clear()

    def _pick(self, matches: Callable[[F], bool], hits: Callable[[F, int], bool]) -> F | None:
        picked: F | None = None
        for index, fault in enumerate(self._rules):
            if matches(fault):
                self._counts[index] += 1
                if hits(fault, self._counts[index]) and picked is None:
                    picked = fault
        return picked

    def __len__(self) -> int:
        return len(self._rules)


Cut: TypeAlias = Literal["refuse", "before", "after"]
"""When a connection breaks. ``refuse``: it is not accepted (in process only; a server cuts instead). ``before``: before the request is
processed. ``after``: after it was processed, without a response."""


@attrs.frozen
class Fault:
    """A fault of requests.

    A request matches when *method* and *path* do; it is hit when its number among the matching ones is in *nth*.

    Attributes:
        method: HTTP verb; ``None`` matches all.
        path: Regular expression for the whole path (without the query); ``None`` matches all.
        nth: Numbers from 1, or one number, or ``None`` for every matching request.
        status: Respond with this status.
        body: Body of that response: text, or a value to encode as JSON; ``None`` gives an error in Mux's shape.
        headers: Additional headers of that response.
        acts: Whether the request is processed nevertheless, as when a gateway times out too early.
        delay: Seconds before the response, or before the cut.
        cut: Break the connection instead of responding.
        after_bytes: With a *cut* of ``before``: bytes of the request body that are read first.
        truncate: Send only this many bytes of the response's body, then break the connection.
    """

    method: str | None = None
    path: str | None = None
    nth: int | Collection[int] | None = None
    status: int | None = None
    body: object = None
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    acts: bool = False
    delay: float = attrs.field(default=0.0, validator=attrs.validators.ge(0.0))
    cut: Cut | None = None
    after_bytes: int | None = None
    truncate: int | None = None

    def matches(self, request: Request) -> bool:
        """Whether this fault counts *request*."""
        if self.method is not None and self.method != request.method:
            return False
        return self.path is None or re.fullmatch(self.path, request.raw_path) is not None

    def hits(self, number: int) -> bool:
        """Whether the matching request with this *number* (from 1) fails."""
        return _is_chosen(number, self.nth)

    def response(self) -> Response | None:
        """Return the response that replaces the emulator's own, if this fault has one."""
        if self.status is None:
            return None
        if isinstance(self.body, str | bytes):
            answer = text(self.status, self.body)
        else:
            error = {"error": {"type": "emulated_fault", "messages": [f"A fault of the emulator answers {self.status}"]}}
            answer = json_response(self.status, error if self.body is None else self.body)
        return answer.with_headers(self.headers)


class Faults(_FaultList[Fault]):
    """The faults of requests, in order: the first one that hits a request applies."""

    def pick(self, request: Request) -> Fault | None:
        """Count *request*, and return the fault that applies to it, if any."""
        return self._pick(lambda fault: fault.matches(request), Fault.hits)


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
        return _is_chosen(number, self.nth) and draw < self.chance


class WebhookFaults(_FaultList[WebhookFault]):
    """The faults of deliveries, in order: the first one that hits a delivery applies."""

    def pick(self, event: TypedEvent, url: str, random: Random) -> WebhookFault | None:
        """Count a delivery, and return the fault that applies to it, if any."""
        return self._pick(lambda fault: fault.matches(event, url), lambda fault, number: fault.hits(number, random.random()))


Work: TypeAlias = Literal["asset", "track", "static_rendition", "static_renditions", "master", "shots", "job"]
"""What can fail: ``static_rendition`` is one file, ``static_renditions`` the legacy ones of ``mp4_support``, all at once; ``track`` is one
that was added or generated; ``job`` is one of Robots."""


@attrs.frozen
class WorkFault:
    """A fault of Mux's work: an object that errors instead of becoming ready.

    A piece of work matches if *work* and *id* do; it fails if its number among the matching ones is in *nth*. It is counted when it would
    finish, so a fault can be added while it is in progress. Work that is skipped, or fails by itself, does not count.

    Attributes:
        work: Which kind of work.
        id: Of the asset; or of the track, the file or the job, or a job's workflow (``summarize``); ``None`` matches all.
        nth: Numbers from 1, or one number, or ``None`` for every one that matches.
        type: Type of the error, for programs.
        message: Message of the error, for people.
    """

    work: Work
    id: str | None = None
    nth: int | Collection[int] | None = None
    type: str = "invalid_input"
    message: str = "A fault of the emulator let this fail"

    def hits(self, number: int) -> bool:
        """Whether the matching work with this *number* (from 1) fails."""
        return _is_chosen(number, self.nth)

    @property
    def errors(self) -> dict[str, object]:
        """The error as most objects show it: ``{"type": "...", "messages": ["..."]}``."""
        return {"type": self.type, "messages": [self.message]}


class WorkFaults(_FaultList[WorkFault]):
    """The faults of work, in order: the first one that hits a piece of work applies."""

    def pick(self, work: Work, *ids: str) -> WorkFault | None:
        """Count a piece of work on the object with these *ids*, and return the fault that applies to it, if any."""
        return self._pick(lambda fault: fault.work == work and (fault.id is None or fault.id in ids), WorkFault.hits)
