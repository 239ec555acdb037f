"""Faults on order: what should go wrong, with which request, and how."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Literal, TypeAlias

import attrs

from mux_async.emulator.http._messages import Request, Response, json_response, text

Cut: TypeAlias = Literal["refuse", "before", "after"]
"""Where a connection breaks. ``refuse``: it is never made (in process only; a server cuts instead). ``before``: the request is not
acted on. ``after``: it is acted on, and no answer is sent."""


@attrs.frozen
class Fault:
    """One thing that goes wrong.

    A request matches when *method* and *path* do; it is hit when its number among the matching ones is in *nth*.

    Attributes:
        method: HTTP verb; ``None`` matches all.
        path: Regular expression for the whole path (without the query); ``None`` matches all.
        nth: Numbers from 1, or one number, or ``None`` for every matching request.
        status: Answer with this status.
        body: What that answer holds: text, or something to write as JSON; ``None`` gives an error in Mux's shape.
        headers: What that answer carries besides.
        acts: Whether a request answered with *status* is acted on all the same, as when a gateway gives up too early.
        delay: Seconds before the answer, or before the cut.
        cut: Break the connection instead of answering.
        after_bytes: With a *cut* of ``before``: bytes of the request body that are taken first.
        truncate: Send only this many bytes of the answer's body, then break the connection.
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
        """Whether *request* is one of those this fault counts."""
        if self.method is not None and self.method != request.method:
            return False
        return self.path is None or re.fullmatch(self.path, request.raw_path) is not None

    def hits(self, number: int) -> bool:
        """Whether the matching request of this *number* (from 1) is to fail."""
        if self.nth is None:
            return True
        return number == self.nth if isinstance(self.nth, int) else number in self.nth

    def response(self) -> Response | None:
        """The answer in place of the emulator's own; ``None`` when there is none."""
        if self.status is None:
            return None
        if isinstance(self.body, str | bytes):
            answer = text(self.status, self.body)
        else:
            error = {"error": {"type": "emulated_fault", "messages": [f"The emulator was told to answer {self.status}"]}}
            answer = json_response(self.status, error if self.body is None else self.body)
        return answer.with_headers(self.headers)


class Faults:
    """The faults that are set up, in order: the first that hits a request is the one that happens."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._rules: list[Fault] = []

    def add(self, *faults: Fault) -> None:
        """Set up more. Each counts matching requests from now on."""
        for fault in faults:
            self._counts[len(self._rules)] = 0
            self._rules.append(fault)

    def clear(self) -> None:
        """Forget all of them."""
        self._rules.clear()
        self._counts.clear()

    def pick(self, request: Request) -> Fault | None:
        """Count *request* and return what is to happen to it."""
        picked: Fault | None = None
        for index, fault in enumerate(self._rules):
            if fault.matches(request):
                self._counts[index] += 1
                if picked is None and fault.hits(self._counts[index]):
                    picked = fault
        return picked

    def __len__(self) -> int:
        return len(self._rules)
