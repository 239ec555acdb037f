"""What the waiting methods of resources share: the pollers of a client, and the requests of a poll."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, cast

import anyio
import attrs

from mux_async._arguments import Arguments
from mux_async._checks import check_number
from mux_async._options import ambient_priority, use_priority
from mux_async._poll_schedule import PollSchedule
from mux_async._poller import BAD_ID_STATUSES, PAGE_LIMIT, Goal, Poller, Ref, Source, Update
from mux_async._resource import Caller
from mux_async._webhook_updates import ASSETS
from mux_async.errors import APIStatusError, MuxError

if TYPE_CHECKING:
    from mux_async._operation import Operation
    from mux_async._pagination import Page

T = TypeVar("T")


class Pollers:
    """The pollers of a client in one event loop, by the name of their list."""

    def __init__(self, _: Caller) -> None:
        self._pollers: dict[str, Poller] = {}
        self._has_webhooks = False

    def __getitem__(self, name: str) -> Poller:
        """Return the poller of a list. Only waits for assets read the whole list in each poll: ingest and uploads depend on them."""
        if name not in self._pollers:
            self._pollers[name] = Poller(None if name == ASSETS else 1)
            if self._has_webhooks:
                self._pollers[name].webhook_received()
        return self._pollers[name]

    def webhook_received(self, updates: Iterable[Update]) -> None:
        """Pass a webhook to all pollers: any webhook shows that webhooks arrive."""
        self._has_webhooks = True
        by_list: dict[str, list[Update]] = {}
        for update in updates:
            by_list.setdefault(update.ref.list, []).append(update)
        for name, listed in by_list.items():
            if any(update.is_final for update in listed):
                _ = self[name]  # remembers it
        for name, poller in self._pollers.items():
            poller.webhook_received(by_list.get(name, ()))

    def discard_idle(self, name: str) -> None:
        """Forget the poller of a list that nothing waits for: there may be a list for each directive."""
        if name in self._pollers and self._pollers[name].is_idle:
            del self._pollers[name]


@attrs.frozen
class PagedSource:
    """The requests for objects on a list that has pages by number."""

    caller: Caller
    list_name: str
    list_operation: Operation[Page[Any, Any]]
    retrieve_operation: Operation[Any]
    id_parameter: str
    """Path parameter of *retrieve_operation*."""
    path: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """Path parameters of both."""
    id_field: str = "id"
    """Field of a row."""

    async def retrieve(self, ref: Ref) -> Any:
        return await self.caller.call(self.retrieve_operation, Arguments({**self.path, self.id_parameter: ref.id}))

    async def page(self, place: str | int | None) -> tuple[Iterable[tuple[Ref, object]], int | None]:
        number = place if isinstance(place, int) else 1
        page = await self.caller.call(self.list_operation, Arguments(self.path, {"page": number, "limit": PAGE_LIMIT}))
        rows = [(Ref(self.list_name, getattr(row, self.id_field)), row) for row in page.data]
        return rows, number + 1 if len(rows) >= PAGE_LIMIT else None


async def wait(
    caller: Caller,
    source: Source,
    ref: Ref,
    goal: Goal[T],
    timeout: float | None,
    is_whole: Callable[[T], bool] = lambda _: True,
) -> T:
    """Wait for *goal* with the priority of *caller*, and retrieve what was found unless *is_whole*, within *timeout*."""
    if timeout is not None:
        check_number("timeout", timeout, "it must be a number of seconds, or None for no limit", allow_infinite=True)
    with use_priority(caller.options.priority or ambient_priority.get() or "default"):
        return await _wait(caller, source, ref, goal, timeout, is_whole)


async def _wait(
    caller: Caller, source: Source, ref: Ref, goal: Goal[T], timeout: float | None, is_whole: Callable[[T], bool]
) -> T:
    given = left = math.inf if timeout is None else timeout
    pollers, deadline = pollers_of(caller), anyio.current_time() + left
    try:
        while True:
            found = await pollers[ref.list].wait(source, ref, goal, given, left=left)
            if is_whole(found):
                return found
            with anyio.CancelScope(deadline=deadline) as scope:
                whole = goal.reached(await _retrieve(source, ref))
                if isinstance(whole, MuxError):
                    raise whole
                if whole is not None:  # otherwise the list or the webhook is ahead of the object
                    return whole
            left = deadline - anyio.current_time()
            if scope.cancelled_caught:
                raise goal.timeout_error(given)
    finally:
        pollers.discard_idle(ref.list)


async def _retrieve(source: Source, ref: Ref) -> object:
    """Retrieve an object, and like a poll try for longer than a single call does."""
    outcome: list[object] = []

    async def read() -> bool:
        try:
            outcome.append(await source.retrieve(ref))
        except APIStatusError as error:
            if error.status not in BAD_ID_STATUSES:
                raise
            outcome.append(error)
        return False

    schedule = PollSchedule()
    while not outcome:
        if (error := await schedule.run(read)) is not None:
            raise error
    if isinstance(outcome[0], MuxError):
        raise outcome[0]
    return outcome[0]


def for_polls(caller: Caller) -> Caller:
    """Return *caller* for the requests of polls. It has no priority of its own: a poll takes the highest of all tasks that wait."""
    return Caller(caller.engine, attrs.evolve(caller.options.for_long_work(), priority=None))


def operation_of(module: str, name: str) -> Operation[Any]:
    """Return an operation of a generated module. Its method would warn in each poll that v0 is deprecated; the user's own calls do."""
    return cast("Operation[Any]", getattr(import_module(module), name))


def pollers_of(caller: Caller) -> Pollers:
    """Return the pollers of a client in the running event loop."""
    return caller.local(Pollers)
