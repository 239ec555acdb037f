"""Reports deliveries to listeners (`mux_async.events`). Imported for the first delivery while there are any."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, cast

import anyio

from mux_async._listeners import Listeners, Listening, next_id, notify
from mux_async.events import ClientEvent, WebhookEnded, WebhookOutcome, WebhookRefused, WebhookStarted

if TYPE_CHECKING:
    from mux_async.webhooks.events import WebhookEvent


class Answer(Protocol):
    """A `WebhookAnswer`; its module imports this one."""

    @property
    def status(self) -> int: ...

    @property
    def text(self) -> str: ...


A = TypeVar("A", bound=Answer)

_OUTCOMES: Final[dict[int, WebhookOutcome]] = {409: "busy", 500: "failed", 503: "store failed"}


def report_refusal(listening: Iterable[Listeners], reason: str, status: int) -> None:
    """Report a delivery that no handler was called for."""
    _notify(listening, WebhookRefused(next_id(), anyio.current_time(), reason, status))


async def report_delivery(
    listening: Iterable[Listeners], event: WebhookEvent, handle: Callable[[WebhookEvent], Awaitable[A]]
) -> A:
    """Await *handle*, and report its start and its end."""
    number, started = next_id(), anyio.current_time()
    _notify(listening, WebhookStarted(number, started, event.type, event.id))
    outcome: WebhookOutcome = "cancelled"
    status: int | None = None
    try:
        answer = await handle(event)
        status = answer.status
        outcome = cast("WebhookOutcome", answer.text) if status == 200 else _OUTCOMES[status]
        return answer
    except Exception:
        outcome = "failed"
        raise
    finally:
        now = anyio.current_time()
        _notify(listening, WebhookEnded(number, now, event.type, event.id, outcome, status, now - started))


def _notify(listening: Iterable[Listeners], event: ClientEvent) -> None:
    """Call each listener once, also one that several clients or the router have in common."""
    entries: list[Listening] = []
    for each in (entry for listeners in listening for entry in listeners.entries):
        if all(each.on_event != other.on_event for other in entries):
            entries.append(each)
    notify(entries, event)
