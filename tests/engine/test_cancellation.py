"""A cancel at every await point of a call, one after the other: nothing is left behind, and the next call works.

`stepped` drives a call by hand: it sits between the coroutine and the event loop, counts suspensions, and cancels at the n-th. Each
situation is run for n = 1, 2, ... until a call gets through without having reached its n-th suspension.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import anyio
import anyio.lowlevel
import attrs
import pytest

from mux_async import BucketSettings, LimitSettings, Mux, MuxError, TransportSettings
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, Fault, serve
from mux_async.errors import ConnectError, Delivery, Phase, TransportError
from mux_async.params import InputSettingsParam
from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.transport import HttpRequest, HttpResponse

MOST = 400
"""Suspensions of the longest situation, with room."""

Cancel = Callable[[anyio.CancelScope], None]


def by_scope(scope: anyio.CancelScope) -> None:
    scope.cancel()


def by_task(_: anyio.CancelScope) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


class _Stepped:
    """Awaits *inner*, and cancels at its *at*-th suspension."""

    def __init__(self, inner: Awaitable[Any], at: int, scope: anyio.CancelScope, cancel: Cancel) -> None:
        self._inner = inner
        self._at = at
        self._scope = scope
        self._cancel = cancel
        self.steps = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        steps: Generator[Any, Any, Any] = self._inner.__await__()
        given: object = None
        thrown: BaseException | None = None
        while True:
            try:
                wanted = steps.send(given) if thrown is None else steps.throw(thrown)
            except StopIteration as done:
                return done.value
            self.steps += 1
            if self.steps == self._at:
                self._cancel(self._scope)
            given = thrown = None
            try:
                given = yield wanted
            except BaseException as error:  # noqa: BLE001 - handed on, as the event loop would have
                thrown = error


async def stepped(call: Callable[[], Awaitable[Any]], at: int, cancel: Cancel) -> bool:
    """Run *call* and cancel it at its *at*-th suspension. Returns whether it got that far."""
    scope = anyio.CancelScope()
    inner = _Stepped(call(), at, scope, cancel)
    with scope:
        try:
            await inner
        except MuxError:
            pass  # some situations end in an error when nobody cancels
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if cancel is not by_task or task is None or not task.uncancel() == 0:
                raise
    return inner.steps >= at


async def every_step(run: Callable[[int], Awaitable[bool]]) -> int:
    """Call *run* for 1, 2, ... until it says that a call did not get that far. Returns how many steps were cancelled at."""
    for at in range(1, MOST):
        if not await run(at):
            return at - 1
    raise AssertionError(f"a call with more than {MOST} suspensions")


# Over a fake transport, in virtual time: every path through the engine.

RESET = TransportError("connection reset", delivery=Delivery.MAYBE_PROCESSED, phase=Phase.READ_HEAD)
Answers = Callable[[], HttpResponse | BaseException]


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        await anyio.sleep(0.01)
        yield part


def ok() -> HttpResponse:
    return respond(body=pieces(b'{"data": ', b'{"id": "a", "meta": {"external_id": "k"}}', b"}"))


def listed() -> HttpResponse:
    return respond(body=pieces(b'{"data": [{"id": "a", ', b'"meta": {"external_id": "k"}}]}'))


INPUTS: list[InputSettingsParam] = [{"url": "https://example.com/a.mp4"}]
ASSET_PATH = "/video/v1/assets"


@attrs.frozen
class Situation:
    """A call, and the responses of the server, in order."""

    call: Callable[[Mux], Awaitable[Any]]
    answers: list[Answers]
    is_lesson: bool = False
    """Whether the responses change the bucket, so that its level says nothing about grants."""


async def stream(mux: Mux) -> None:
    async with mux.video.playback.thumbnail("p", extension="png").stream() as chunks:
        async for _ in chunks:
            await anyio.lowlevel.checkpoint()


async def read_all(mux: Mux) -> None:
    async for _ in mux.video.assets.list():
        pass


SITUATIONS: dict[str, Situation] = {
    "a read": Situation(lambda mux: mux.video.assets.retrieve("a"), [ok]),
    "a read with a deadline": Situation(lambda mux: mux.with_options(deadline=60.0).video.assets.retrieve("a"), [ok]),
    "a read alone": Situation(lambda mux: mux.with_options(share_reads=False).video.assets.retrieve("a"), [ok]),
    "a read that goes again": Situation(lambda mux: mux.video.assets.retrieve("a"), [lambda: respond(503), lambda: RESET, ok]),
    "no connection": Situation(lambda mux: mux.video.assets.retrieve("a"), [lambda: ConnectError("refused"), ok]),
    "a refusal": Situation(
        lambda mux: mux.video.assets.retrieve("a"),
        [lambda: respond(429, body=pieces(b"{}"), headers={"Retry-After": "2"}), ok],
        is_lesson=True,
    ),
    "a count of the server's": Situation(
        lambda mux: mux.video.assets.retrieve("a"),
        [lambda: respond(body=pieces(b"{}"), headers={"X-RateLimit-Remaining": "99999999"})],
    ),
    "an error": Situation(lambda mux: mux.video.assets.retrieve("a"), [lambda: respond(404, body=pieces(b"{}", b""))]),
    "a create": Situation(lambda mux: mux.video.assets.create(inputs=INPUTS), [ok]),
    "a create in doubt": Situation(lambda mux: mux.video.assets.create(inputs=INPUTS), [lambda: RESET]),
    "a create that is found": Situation(lambda mux: mux.video.assets.create(inputs=INPUTS, once="k"), [lambda: RESET, listed]),
    "a create that is sent again": Situation(
        lambda mux: mux.video.assets.create(inputs=INPUTS, once="other"), [lambda: respond(500), listed, listed, ok]
    ),
    "a stream": Situation(stream, [lambda: respond(body=pieces(b"a", b"b", b"c"))]),
    "pages": Situation(read_all, [lambda: respond(body=pieces(b'{"data": [{"id": "a"}], "next_cursor": "c"}')), listed]),
}


class Bench:
    """A client of a server with scripted responses and then good ones, and checks of what a call leaves behind.

    Args:
        settings: Of each bucket.
        url: Where the buckets are kept.
    """

    def __init__(self, settings: BucketSettings, url: str = "memory://") -> None:
        self.left: list[Answers] = []
        self.transport = FakeTransport(self._answer)
        self.mux = Mux(
            token_id="i",
            token_secret="s",
            base_url="https://mux.test",
            account=f"test-{uuid4()}",
            transport=self.transport,
            clock=anyio.current_time if url == "memory://" else time.monotonic,  # a file is read in a thread
            random=Random(1),
            limits=LimitSettings(post=settings, other=settings, reserve=0.0, jitter=0.0, url=url),
        )
        self._level = self._levels()

    async def _answer(self, _: SentRequest) -> HttpResponse | BaseException:
        await anyio.sleep(0.05)
        return self.left.pop(0)() if self.left else ok()

    def _levels(self) -> float:
        snapshot = self.mux.limits.snapshot()
        return snapshot.post.level + snapshot.other.level

    def check_clean(self) -> None:
        """No body is open, no call is queued, no read is in flight."""
        engine = self.mux._caller.engine  # pyright: ignore[reportPrivateUsage]
        assert self.transport.unfinished == 0, "a body is open"
        assert not any(engine.here().in_flight.values()), "a read is in flight that no caller makes"
        snapshot = self.mux.limits.snapshot()
        assert snapshot.post.queued == snapshot.other.queued == 0, "somebody is queued"

    def check_permits(self) -> None:
        """At most as many grants were used as requests began. For buckets that do not refill meanwhile."""
        gone = self._level - self._levels()
        assert gone <= len(self.transport.requests) + 0.01, "a permit is lost"


STILL = BucketSettings(rate=0.001, burst=1000)
LIVELY = BucketSettings(rate=10.0, burst=10)


async def cancel_everywhere(name: str, cancel: Cancel) -> int:
    situation = SITUATIONS[name]

    async def run(at: int) -> bool:
        here = Bench(LIVELY if situation.is_lesson else STILL)
        here.left[:] = situation.answers
        got_there = await stepped(lambda: situation.call(here.mux), at, cancel)
        here.check_clean()
        if not situation.is_lesson:
            here.check_permits()
        here.left.clear()
        with anyio.fail_after(10.0):
            assert (await here.mux.video.assets.retrieve("next")).id == "a"
        return got_there

    return await every_step(run)


@pytest.mark.anyio
@pytest.mark.virtual_time
@pytest.mark.parametrize("name", SITUATIONS)
async def test_every_step(name: str) -> None:
    """Wherever a call is cancelled, it leaves no open body, no waiter, no shared read and no grant behind, and the next call works."""
    assert await cancel_everywhere(name, by_scope) >= len(SITUATIONS[name].answers)


@pytest.mark.anyio
@pytest.mark.runtimes("virtual-asyncio")
@pytest.mark.parametrize("name", SITUATIONS)
async def test_every_step_by_asyncio(name: str) -> None:
    """The same when it is asyncio that cancels the task, as ``wait_for``, bots and web frameworks do."""
    assert await cancel_everywhere(name, by_task) >= len(SITUATIONS[name].answers)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "anyio_backend"),
    [
        ("no connection", "asyncio"),
        ("a count of the server's", "trio"),
        pytest.param("no connection", "trio", marks=pytest.mark.proof),
        pytest.param("a count of the server's", "asyncio", marks=pytest.mark.proof),
    ],
    indirect=["anyio_backend"],
)
async def test_every_step_with_a_shared_file(name: str, tmp_path: Path) -> None:
    """The same where each operation on the bucket is an await of its own, because the bucket is in a file."""
    situation = SITUATIONS[name]

    async def run(at: int) -> bool:
        here = Bench(BucketSettings(rate=100.0, burst=10), f"sqlite:///{tmp_path}/limits-{at}.db")
        here.left[:] = situation.answers
        got_there = await stepped(lambda: situation.call(here.mux), at, by_scope)
        here.check_clean()
        here.left.clear()
        with anyio.fail_after(10.0):
            assert (await here.mux.video.assets.retrieve("next")).id == "a"
        assert here.mux.limits.snapshot().other.granted == len(here.transport.requests)
        await here.mux.aclose()
        return got_there

    assert await every_step(run) >= len(situation.answers)


@pytest.mark.anyio
@pytest.mark.virtual_time
@pytest.mark.parametrize("position", [0, 1, 2])
async def test_every_step_in_the_queue(position: int) -> None:
    """A call that is cancelled while it waits for its grant, as the leader of the queue or behind it, delays no other call, and the
    others are served in order."""

    async def run(at: int) -> bool:
        here = Bench(BucketSettings(rate=1.0, burst=1))
        await here.mux.video.assets.retrieve("first")
        got_there = False
        served: list[str] = []

        async def ask(asset_id: str) -> None:
            await here.mux.video.assets.retrieve(asset_id)
            served.append(asset_id)

        async def victim() -> None:
            nonlocal got_there
            got_there = await stepped(lambda: ask("victim"), at, by_scope)

        async with anyio.create_task_group() as tasks:
            for place in range(3):
                if place == position:
                    tasks.start_soon(victim)
                    await anyio.sleep(0.001)
                tasks.start_soon(ask, f"other-{place}")
                await anyio.sleep(0.001)

        assert [name for name in served if name != "victim"] == ["other-0", "other-1", "other-2"]
        here.check_clean()
        assert here.mux.limits.snapshot().other.granted == len(here.transport.requests)
        return got_there

    assert await every_step(run) >= 3


@pytest.mark.anyio
@pytest.mark.virtual_time
@pytest.mark.parametrize("victim_leads", [True, False])
async def test_every_step_of_two_that_share(victim_leads: bool) -> None:
    """Of two identical reads, either can be cancelled anywhere: the other gets its answer."""

    async def run(at: int) -> bool:
        here = Bench(STILL)
        got_there = False
        answered: list[str] = []

        async def victim() -> None:
            nonlocal got_there
            got_there = await stepped(lambda: here.mux.video.assets.retrieve("a"), at, by_scope)

        async def other() -> None:
            answered.append((await here.mux.video.assets.retrieve("a")).id)

        async with anyio.create_task_group() as tasks:
            for task in (victim, other) if victim_leads else (other, victim):
                tasks.start_soon(task)
                await anyio.sleep(0.001)

        assert answered == ["a"]
        here.check_clean()
        here.check_permits()
        return got_there

    assert await every_step(run) >= 1


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_every_step_against_the_emulator() -> None:
    """A create with a key that is cancelled anywhere in its search can be repeated by looking first, and the emulator has at most what
    was sent: no cancel sends anything twice."""
    emulator = Emulator(clock=lambda: 1_767_225_600.0 + anyio.current_time())
    transport = EmulatorTransport(emulator)
    mux = Mux(
        token_id="test-token",
        token_secret="test-secret",
        base_url="https://mux.test",
        account=f"emulated-{uuid4()}",
        transport=transport,
        clock=anyio.current_time,
        limits=LimitSettings(post=BucketSettings(1000.0, 1000), other=BucketSettings(1000.0, 1000), jitter=0.0),
    )

    async def run(at: int) -> bool:
        emulator.reset()
        emulator.faults.add(Fault(method="POST", path=ASSET_PATH, nth=1, cut="after"))
        got_there = await stepped(lambda: mux.video.assets.create(inputs=INPUTS, once=f"key-{at}"), at, by_scope)
        there = [asset async for asset in mux.video.assets.list()]
        assert len(there) <= sum(arrival.method == "POST" for arrival in emulator.arrivals) <= 1
        return got_there

    emulator_steps = await every_step(run)
    assert emulator_steps >= 5


# Over sockets, in real time: one connection, so that a connection left behind would hold up the next call.


@asynccontextmanager
async def connected(origin: str, transport: str) -> AsyncGenerator[Mux]:
    fast = BucketSettings(rate=10_000.0, burst=10_000)
    async with Mux(
        token_id="test-token",
        token_secret="test-secret",
        base_url=origin,
        account=f"sockets-{origin}",
        transport=transport,
        transport_settings=TransportSettings(max_connections=1),
        limits=LimitSettings(post=fast, other=fast),
    ) as mux:
        yield mux


async def read_raw(mux: Mux) -> None:
    """Read an answer piece by piece, straight from the transport."""
    headers = {"Authorization": "Basic dGVzdC10b2tlbjp0ZXN0LXNlY3JldA=="}
    transport = mux._caller.transport()  # pyright: ignore[reportPrivateUsage]
    response = await transport.send(HttpRequest("GET", f"{mux.base_url}{ASSET_PATH}", headers))
    try:
        async for _ in response.body:
            await anyio.lowlevel.checkpoint()
    finally:
        with anyio.CancelScope(shield=True):
            await response.body.aclose()


CALLS: dict[str, Callable[[Mux], Awaitable[Any]]] = {
    "read": lambda mux: mux.video.assets.list(),
    "create": lambda mux: mux.video.assets.create(inputs=INPUTS),
    "deadline": lambda mux: mux.with_options(deadline=30.0).video.assets.list(),
    "raw": read_raw,
}


@pytest.mark.anyio
@pytest.mark.runtimes("asyncio", "uvloop")
@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
@pytest.mark.parametrize("cancel", [by_scope, by_task])
@pytest.mark.parametrize("is_warm", [True, False], ids=["kept connection", "new connection"])
@pytest.mark.parametrize("name", CALLS)
async def test_every_step_over_sockets(name: str, is_warm: bool, cancel: Cancel, transport: str) -> None:
    """With a single connection in the pool, a call cancelled anywhere leaves that connection to the next one, or closes it."""
    async with serve(Emulator(EmulatorSettings(limits=None))) as origin:

        async def run(at: int) -> bool:
            async with connected(origin, transport) as mux:
                if is_warm:
                    await mux.video.assets.list()
                got_there = await stepped(lambda: CALLS[name](mux), at, cancel)
                with anyio.fail_after(10.0):
                    await mux.video.assets.list()
            return got_there

        assert await every_step(run) >= (1 if is_warm else 2)
