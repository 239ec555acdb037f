"""A client whose events are recorded, over a fake transport, and their short form."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any
from uuid import uuid4

import anyio

from mux_async import Mux
from mux_async.events import (
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallRetried,
    CallStarted,
    CallThrottled,
    ClientEvent,
    FoundByKey,
    GrantWaited,
    ReadShared,
)
from mux_async.testing import FakeTransport, SentRequest
from mux_async.transport import HttpResponse

Answer = HttpResponse | BaseException


def script(*answers: Callable[[], Answer]) -> FakeTransport:
    """Return a transport that gives *answers* in turn, each made when it is needed."""
    left = list(answers)

    def answer(request: SentRequest) -> Answer:
        assert left, f"a request too many: {request!r}"
        return left.pop(0)()

    return FakeTransport(answer)


def client(transport: FakeTransport, **options: Any) -> Mux:
    settings: dict[str, Any] = {
        "token_id": "id",
        "token_secret": "s3cr3t",
        "base_url": "https://mux.test",
        "account": f"test-{uuid4()}",
        "clock": anyio.current_time,
        "random": Random(1),
    }
    return Mux(transport=transport, **{**settings, **options})


def recorded(transport: FakeTransport, **options: Any) -> tuple[Mux, list[Any]]:
    """Return a client and the list that its events go to."""
    events = list[Any]()
    return client(transport, listeners=[events.append], **options), events


def short(event: ClientEvent) -> str:
    """Write an event of a call down in a few words."""
    match event:
        case CallStarted():
            return "call"
        case ReadShared():
            return "shared"
        case GrantWaited():
            return f"waited {event.bucket} {event.waited:.2f}"
        case AttemptStarted():
            return f"attempt {event.number}"
        case AttemptEnded():
            return f"attempt {event.number}: {event.error or event.status}"
        case CallThrottled():
            return f"throttled {event.bucket}"
        case CallRetried():
            return f"retry: {event.reason}"
        case FoundByKey():
            return "found"
        case CallEnded():
            return f"{event.outcome}: {event.error or event.status}"
        case _:
            return type(event).__name__


def story(events: list[Any], call: int | None = None) -> list[str]:
    """Return the short form of the events, of one *call* if given."""
    return [short(each) for each in events if call is None or each.id == call]
