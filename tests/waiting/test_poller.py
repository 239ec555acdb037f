"""The asset poller: its requests, leader election, and cancellation."""

from __future__ import annotations

import itertools
import math
import traceback
from collections.abc import Sequence
from copy import copy
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest

from mux_async._goals import asset_goal
from mux_async._poll_schedule import LONGEST_INTERVAL
from mux_async._poller import EXTRA_PAGES, PAGE_LIMIT, Poller, Ref
from mux_async.errors import (
    APIStatusError,
    AssetErroredError,
    AuthenticationError,
    BadRequestError,
    DeadlineExceededError,
    InvalidRequestError,
    LimitWaitError,
    MuxError,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
    UploadError,
)
from mux_async.models import Asset

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


def status_error(kind: type[APIStatusError], status: int) -> APIStatusError:
    nothing: Any = {}
    return kind("no", status=status, type=None, messages=(), request_id=None, headers=nothing, body=None, retry_after=None)


@attrs.define
class Shelf:
    """A list of assets that become ready at set times, newest first, and a record of the requests."""

    ready_at: dict[str, float] = attrs.field(factory=dict[str, float])
    """By asset id, oldest first; infinity for never."""
    errored: set[str] = attrs.field(factory=set[str])
    hidden: set[str] = attrs.field(factory=set[str])
    """Not on the list, as if it were hours old."""
    lists: list[float] = attrs.field(factory=list[float])
    gets: list[tuple[float, str]] = attrs.field(factory=list[tuple[float, str]])
    error: Exception | None = None
    hold: float = 0.0
    """Seconds that each request takes."""

    def _asset(self, asset_id: str) -> Asset:
        status = "ready" if anyio.current_time() >= self.ready_at[asset_id] else "preparing"
        if asset_id in self.errored:
            status = "errored"
        errors = {"type": "invalid_input", "messages": ["not a film"]} if status == "errored" else None
        return Asset.from_wire({"id": asset_id, "status": status, "upload_id": f"u-{asset_id}", "errors": errors})

    async def _ask(self) -> None:
        if self.hold:
            await anyio.sleep(self.hold)
        else:
            await anyio.lowlevel.checkpoint()
        if self.error is not None:
            raise copy(self.error)

    async def retrieve(self, ref: Ref) -> Asset | None:
        return await (self._get(ref.id) if ref.by == "id" else self._of_upload(ref.id))

    async def _get(self, asset_id: str) -> Asset:
        self.gets.append((anyio.current_time(), asset_id))
        await self._ask()
        if asset_id not in self.ready_at:
            raise status_error(NotFoundError, 404)
        return self._asset(asset_id)

    async def _of_upload(self, upload_id: str) -> Asset | None:
        if upload_id == "u-cancelled":
            raise UploadError("upload 'u-cancelled' is cancelled", upload_id=upload_id, sent=0, resumable=False)
        if upload_id.removeprefix("u-") not in self.ready_at:
            self.gets.append((anyio.current_time(), upload_id))
            await self._ask()
            return None
        return await self._get(upload_id.removeprefix("u-"))

    async def page(self, place: str | int | None) -> tuple[Sequence[tuple[Ref, Asset]], str | int | None]:
        self.lists.append(anyio.current_time())
        await self._ask()
        ids = [each for each in reversed(self.ready_at) if each not in self.hidden]
        start = int(place or 0)
        end = start + PAGE_LIMIT
        rows = [(ref, self._asset(each)) for each in ids[start:end] for ref in (asset(each), upload(f"u-{each}"))]
        return rows, end if end < len(ids) else None


def asset(asset_id: str) -> Ref:
    return Ref("assets", asset_id)


def upload(upload_id: str) -> Ref:
    return Ref("assets", upload_id, "upload")


READY = asset_goal("the asset", "ready")
CREATED = asset_goal("the asset", "created")


async def test_one_waiter_uses_gets() -> None:
    """A single waiter requests its asset at once, after a second, then less and less often, and never the list."""
    shelf = Shelf({"a": 20.0})
    found = await Poller().wait(shelf, asset("a"), READY)

    assert found.status == "ready"
    assert shelf.lists == []
    times = [at for at, _ in shelf.gets]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert times[0] == 0.0
    assert gaps == sorted(gaps)
    assert gaps[0] == pytest.approx(1.0)
    assert gaps[-1] <= LONGEST_INTERVAL


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.proof)])
async def test_many_waiters(count: int) -> None:
    """A thousand or ten thousand waiters cost a list request per hundred and poll, and no GETs."""
    shelf = Shelf({f"a{number}": 5.0 for number in range(count)})
    poller = Poller()
    ready: list[str] = []

    async def wait(number: int) -> None:
        ready.append((await poller.wait(shelf, asset(f"a{number}"), READY)).id)

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(wait, number)

    ticks = len(set(shelf.lists))
    assert len(ready) == count
    assert ticks <= 6
    assert len(shelf.lists) <= ticks * (math.ceil(count / PAGE_LIMIT) + EXTRA_PAGES)
    assert shelf.gets == []
    assert len(poller) == 0


async def test_long_looks_leave_half_to_others() -> None:
    """After a long poll, because of many requests or a tight limit, the poller pauses for as long as the poll took."""
    shelf = Shelf({f"a{number}": 300.0 for number in range(500)}, hold=4.0)
    poller = Poller()
    async with anyio.create_task_group() as tasks:
        for number in range(500):
            tasks.start_soon(poller.wait, shelf, asset(f"a{number}"), READY)

    assert len(shelf.lists) * 4.0 < anyio.current_time() * 0.6


async def test_the_lead_passes_on() -> None:
    """When the leader is cancelled, while it sleeps or during a request, another waiter continues and none hangs."""
    for hold in (0.0, 2.5):
        shelf = Shelf({f"a{number}": anyio.current_time() + 60.0 for number in range(5)}, hold=hold)
        poller = Poller()
        ready: list[str] = []
        scopes: list[anyio.CancelScope] = []

        async def wait(
            number: int,
            poller: Poller = poller,
            shelf: Shelf = shelf,
            ready: list[str] = ready,
            scopes: list[anyio.CancelScope] = scopes,
        ) -> None:
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                ready.append((await poller.wait(shelf, asset(f"a{number}"), READY)).id)

        with anyio.fail_after(200):
            async with anyio.create_task_group() as tasks:
                for number in range(5):
                    tasks.start_soon(wait, number)
                for scope_number in range(4):
                    await anyio.sleep(7.3)
                    scopes[scope_number].cancel()

        assert len(ready) == 1
        assert len(poller) == 0


async def test_named_and_cancelled_at_once() -> None:
    """A waiter that becomes the leader and is cancelled before it runs passes the leadership on."""
    shelf = Shelf({f"a{number}": 30.0 for number in range(3)})
    poller = Poller()
    ready: list[str] = []
    scopes: list[anyio.CancelScope] = []

    async def wait(number: int) -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            ready.append((await poller.wait(shelf, asset(f"a{number}"), READY)).id)

    with anyio.fail_after(100):
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(wait, number)
            await anyio.sleep(3)
            scopes[0].cancel()
            scopes[1].cancel()

    assert len(ready) == 1


async def test_same_asset_twice() -> None:
    """Two tasks that wait for the same asset are served by the same GET."""
    shelf = Shelf({"a": 3.0})
    poller = Poller()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(poller.wait, shelf, asset("a"), READY)
        tasks.start_soon(poller.wait, shelf, asset("a"), READY)

    assert shelf.lists == []
    assert len(shelf.gets) <= 4


async def test_by_upload() -> None:
    """Assets that are awaited by their upload are found on the same list."""
    shelf = Shelf({"a": 3.0, "b": 4.0})
    poller = Poller()
    found: list[str] = []

    async def wait(subject: Ref) -> None:
        found.append((await poller.wait(shelf, subject, READY)).id)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, upload("u-a"))
        tasks.start_soon(wait, asset("b"))

    assert found == ["a", "b"]
    assert [each for each in shelf.gets if each[0] < 3.0] == []


async def test_created_before_ready() -> None:
    """A wait for an asset to exist ends before the asset is ready."""
    shelf = Shelf({"a": 30.0})
    created = await Poller().wait(shelf, upload("u-a"), CREATED)

    assert created.status == "preparing"
    assert anyio.current_time() < 1.0


async def test_errored_asset() -> None:
    """An errored asset raises in waits for a ready asset, with Mux's reasons, and is the result of waits for one that exists."""
    shelf = Shelf({"a": math.inf}, errored={"a"})
    with pytest.raises(AssetErroredError, match="not a film") as caught:
        await Poller().wait(shelf, asset("a"), READY)

    assert caught.value.asset_id == "a"
    assert (await Poller().wait(shelf, asset("a"), CREATED)).status == "errored"


async def test_deleted_asset() -> None:
    """An asset that is deleted during a wait raises in that wait, and only there."""
    shelf = Shelf({"a": math.inf, "b": 60.0})
    poller = Poller()
    outcomes: dict[str, object] = {}

    async def wait(asset_id: str) -> None:
        try:
            outcomes[asset_id] = (await poller.wait(shelf, asset(asset_id), READY)).status
        except NotFoundError as error:
            outcomes[asset_id] = error.status

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, "a")
        tasks.start_soon(wait, "b")
        await anyio.sleep(10)
        del shelf.ready_at["a"]

    assert outcomes == {"a": 404, "b": "ready"}


async def test_cancelled_upload() -> None:
    """The wait for a cancelled upload raises instead of waiting forever."""
    with pytest.raises(UploadError, match="cancelled"):
        await Poller().wait(Shelf(), upload("u-cancelled"), READY)


async def test_far_down_the_list() -> None:
    """Assets beyond the allowed pages are requested one by one, a few in each poll, in rotation."""
    shelf = Shelf({f"old{number}": 60.0 for number in range(30)})
    shelf.hidden = set(shelf.ready_at)
    shelf.ready_at.update({f"new{number}": 0.0 for number in range(1000)})
    poller = Poller()

    async with anyio.create_task_group() as tasks:
        for number in range(30):
            tasks.start_soon(poller.wait, shelf, asset(f"old{number}"), READY)

    by_tick: dict[float, int] = {}
    for at, _ in shelf.gets:
        by_tick[at] = by_tick.get(at, 0) + 1
    first_three = [asset_id for _, asset_id in shelf.gets[:30]]
    assert max(by_tick.values()) <= 10
    assert len(set(first_three)) == 30


async def test_others_in_between() -> None:
    """Two pages of other, newer assets are read before assets are requested one by one."""
    shelf = Shelf({"old0": 0.0, "old1": 0.0} | {f"new{number}": 0.0 for number in range(2 * PAGE_LIMIT)})
    poller = Poller()
    async with anyio.create_task_group() as tasks:
        for number in range(2):
            tasks.start_soon(poller.wait, shelf, asset(f"old{number}"), READY)

    assert len(shelf.lists) == 1 + EXTRA_PAGES
    assert shelf.gets == []


async def test_timeout() -> None:
    """A wait that exceeds its timeout ends with an error that says how to continue, and other waits go on."""
    shelf = Shelf({"a": 100.0, "b": 50.0})
    poller = Poller()

    async def give_up() -> None:
        with pytest.raises(DeadlineExceededError, match="not ready within 20 s"):
            await poller.wait(shelf, asset("a"), READY, timeout=20.0)
        assert anyio.current_time() == pytest.approx(20.0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(give_up)
        tasks.start_soon(poller.wait, shelf, asset("b"), READY)


async def test_passing_trouble_is_sat_out() -> None:
    """A server that fails for a while does not end a wait that may last hours."""
    shelf = Shelf({"a": 5.0}, error=status_error(ServerError, 503))

    async def mend() -> None:
        await anyio.sleep(15)
        shelf.error = None

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(mend)
        found = await Poller().wait(shelf, asset("a"), READY)
        assert found.status == "ready"


@pytest.mark.parametrize(
    ("error", "requests"), [(status_error(AuthenticationError, 401), 1), (status_error(ServerError, 503), 10)]
)
async def test_lasting_trouble_reaches_everybody(error: Exception, requests: int) -> None:
    """A permanent error reaches all waiters after one request, or after ten failed polls, without a request for each."""
    shelf = Shelf(dict.fromkeys([f"a{number}" for number in range(50)], math.inf), error=error)
    poller = Poller()
    failures: list[Exception] = []

    async def wait(number: int) -> None:
        try:
            await poller.wait(shelf, asset(f"a{number}"), READY)
        except APIStatusError as failure:
            failures.append(failure)

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(wait, number)

    assert len(failures) == 50
    assert len(shelf.lists) == requests
    assert len({id(failure) for failure in failures}) == 50
    assert max(len(traceback.extract_tb(failure.__traceback__)) for failure in failures) < 10


@pytest.mark.parametrize(
    ("error", "requests"),
    [
        (status_error(ServerError, 500), 10),
        (status_error(PermissionDeniedError, 403), 1),
        (InvalidRequestError("asset_id is empty"), 1),
    ],
)
async def test_trouble_with_one_object_is_its_waiters(error: MuxError, requests: int) -> None:
    """If requests for one object fail, only the tasks that wait for it get the error, and no other wait is affected."""
    shelf = Shelf({f"a{number}": 200.0 for number in range(20)})
    bad = Shelf(error=error)
    poller = Poller()
    found: list[str] = []

    async def wait(number: int) -> None:
        found.append((await poller.wait(shelf, asset(f"a{number}"), READY)).id)

    async def fail() -> None:
        with pytest.raises(type(error)):
            await poller.wait(bad, asset("bad"), READY)

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(wait, number)
        await anyio.sleep(3)
        tasks.start_soon(fail)

    assert len(found) == 20
    assert len(bad.gets) == requests


async def test_a_cursor_that_has_expired() -> None:
    """A cursor that the server refuses ends no wait: the next sweep begins with the first page."""

    class Expiring(Shelf):
        async def page(self, place: str | int | None) -> tuple[Sequence[tuple[Ref, Asset]], str | int | None]:
            if place is not None and anyio.current_time() < 20:
                self.lists.append(anyio.current_time())
                raise status_error(BadRequestError, 400)
            return await super().page(place)

    shelf = Expiring(dict.fromkeys([f"a{number}" for number in range(150)], 15.0))
    poller = Poller()
    async with anyio.create_task_group() as tasks:
        for number in range(150):
            tasks.start_soon(poller.wait, shelf, asset(f"a{number}"), READY)

    assert len(shelf.lists) < 20


async def test_a_deadline_is_its_owners() -> None:
    """A leader whose deadline the rate limit never meets fails alone; the next waiter becomes the leader."""
    hurried = Shelf({"a": math.inf, "b": 60.0}, error=LimitWaitError("no permit", deadline=2.0, eta=9.0))
    patient = Shelf(hurried.ready_at)
    poller = Poller()
    found: list[str] = []

    async def lead() -> None:
        with pytest.raises(LimitWaitError):
            await poller.wait(hurried, asset("a"), READY)

    async def follow() -> None:
        found.append((await poller.wait(patient, asset("b"), READY)).id)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lead)
        await anyio.lowlevel.checkpoint()
        tasks.start_soon(follow)

    assert found == ["b"]
    assert hurried.lists
    assert patient.gets


async def test_joining_hurries() -> None:
    """A waiter that is added while polls are rare is polled within a second."""
    shelf = Shelf({"old": math.inf, "new": 0.0})
    poller = Poller()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(poller.wait, shelf, asset("old"), READY)
        await anyio.sleep(100)
        joined = anyio.current_time()
        await poller.wait(shelf, asset("new"), READY)
        assert anyio.current_time() - joined <= 1.0
        tasks.cancel_scope.cancel()


async def test_a_sweep_in_parts() -> None:
    """A poller of one page per poll sees every page in turn, and begins again with the first page when new tasks wait."""
    shelf = Shelf({f"a{number}": math.inf for number in range(1_000)})
    poller = Poller(pages_per_poll=1)
    async with anyio.create_task_group() as tasks:
        for number in range(1_000):
            tasks.start_soon(poller.wait, shelf, asset(f"a{number}"), READY)
        await anyio.sleep(25.5)
        assert shelf.lists == [pytest.approx(each) for each in range(26)]
        assert shelf.gets == []
        tasks.cancel_scope.cancel()

    shelf.ready_at["new"] = shelf.ready_at["newer"] = 0.0
    before = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(poller.wait, shelf, asset("new"), READY)
        tasks.start_soon(poller.wait, shelf, asset("newer"), READY)
    assert anyio.current_time() - before < 1.0
