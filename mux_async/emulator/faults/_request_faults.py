"""Faults of requests: which request fails, and how."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Literal, TypeAlias

import attrs

from mux_async.emulator.http._messages import Request, Response, json_response, text

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
        acts: Whether the request is processed all the same, as when a gateway times out too early.
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
        if self.nth is None:
            return True
        return number == self.nth if isinstance(self.nth, int) else number in self.nth

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


class Faults:
    """The faults of requests, in order: the first one that hits a request applies."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._rules: list[Fault] = []

    def add(self, *faults: Fault) -> None:
        """Add faults. Each counts matching requests from now on."""
        for fault in faults:
            self._counts[len(self._rules)] = 0
            self._rules.append(fault)

    def clear(self) -> None:
        """Remove all faults."""
        self._rules.clear()
        self._counts.clear()

    def pick(self, request: Request) -> Fault | None:
        """Count *request*, and return the fault that applies to it, if any."""
        picked: Fault | None = None
        for index, fault in enumerate(self._rules):
            if fault.matches(request):
                self._counts[index] += 1
                if picked is None and fault.hits(self._counts[index]):
                    picked = fault
        return picked

    def __len__(self) -> int:
        return len(self._rules)
