"""How a call is made: `CallOptions` for a client, a variant, one call; and what long work takes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cached_property
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import anyio
import attrs
import pytest

from mux_async import (
    CallOptions,
    ConfigurationError,
    DeadlineExceededError,
    LimitSettings,
    Mux,
    ServerError,
    Timeouts,
)
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, Fault
from mux_async.errors import InvalidRequestError, ResponseTooLargeError
from mux_async.ingest import Ingest, url_item
from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.transport import HttpRequest, HttpResponse

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

_accounts = count()
TIGHT: dict[str, Any] = {
    "deadline": 0.8,
    "timeouts": Timeouts(0.5, 0.5, 0.5),
    "max_attempts": 1,
    "max_response_bytes": 600,
    "share_reads": False,
}


def client(transport: FakeTransport, **options: Any) -> Mux:
    settings: dict[str, Any] = {"limits": LimitSettings(enabled=False), **options}
    return Mux(
        token_id="id",
        token_secret="secret",
        account=f"options-{next(_accounts)}",
        transport=transport,
        clock=anyio.current_time,
        random=Random(1),
        **settings,
    )


def asset(_request: SentRequest) -> HttpResponse:
    return respond(json={"data": {"id": "a1"}})


async def slow(_request: SentRequest) -> HttpResponse:
    await anyio.sleep(5)
    return respond(json={"data": {"id": "a1"}})


async def test_a_deadline_of_one_call() -> None:
    """``options=`` bounds the call it is given to, and the next call of the client has its own options again."""
    mux = client(FakeTransport(slow))
    start = anyio.current_time()
    with pytest.raises(DeadlineExceededError):
        await mux.video.assets.retrieve("a1", options=CallOptions(deadline=1.0))

    assert anyio.current_time() - start == pytest.approx(1.0)
    assert (await mux.video.assets.retrieve("a1")).id == "a1"


async def test_time_limits_of_one_call() -> None:
    """``timeout`` is short for three equal time limits, ``None`` for none, and what is left out comes from the client."""
    transport = FakeTransport(asset)
    mux = client(transport, timeouts=Timeouts(connect=1.0))
    await mux.video.assets.retrieve("a1", options=CallOptions(timeout=7))
    await mux.video.assets.retrieve("a1", options=CallOptions(timeout=None))
    await mux.video.assets.retrieve("a1", options=CallOptions(timeouts=Timeouts(read=3.0)))
    await mux.video.assets.retrieve("a1", options=CallOptions(deadline=9))

    assert [request.timeouts for request in transport.requests] == [
        Timeouts(7, 7, 7),
        Timeouts(None, None, None),
        Timeouts(read=3.0),
        Timeouts(connect=1.0),
    ]


async def test_attempts_and_size_of_one_call() -> None:
    """Attempts and the largest answer can be given for one call."""
    transport = FakeTransport(lambda _request: respond(500))
    mux = client(transport)
    with pytest.raises(ServerError):
        await mux.video.assets.retrieve("a1", options=CallOptions(max_attempts=2))
    assert len(transport.requests) == 2

    with pytest.raises(ResponseTooLargeError):
        await client(FakeTransport(asset)).video.assets.retrieve("a1", options=CallOptions(max_response_bytes=3))


async def test_priority_of_one_call() -> None:
    """A call that says ``interactive`` goes before those of the same client that wait already."""
    done: list[str] = []
    transport = FakeTransport(asset)
    mux = client(transport, limits=None)

    async def call(name: str, options: CallOptions | None) -> None:
        await mux.video.assets.create(inputs=[], options=options)
        done.append(name)

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(call, f"batch {number}", CallOptions(priority="batch"))
        await anyio.sleep(0.1)
        tasks.start_soon(call, "person", CallOptions(priority="interactive"))

    assert "person" in done[:3]


CALLS: list[Callable[[Mux, Any], Awaitable[object]]] = [
    lambda mux, options: mux.video.assets.retrieve("a1", options=options),
    lambda mux, options: mux.video.assets.with_raw_response.retrieve("a1", options=options),
    lambda mux, options: mux.video.assets.list(options=options),
    lambda mux, options: anext(aiter(mux.video.assets.list(options=options))),
    lambda mux, options: mux.video.playback.thumbnail("p1", "jpg", options=options),
    lambda mux, options: mux.video.playback.thumbnail("p1", "jpg", options=options).stream().__aenter__(),
    lambda mux, options: mux.request("GET", "/video/v1/new", options=options),
    lambda mux, options: mux.video.uploads.create(timeout=60, options=options),
]


@pytest.mark.parametrize("call", CALLS)
async def test_every_kind_of_call_takes_options(call: Callable[[Mux, Any], Awaitable[object]]) -> None:
    """Values, lists and each of their pages, downloads, streams and plain requests take ``options``; something else is refused unsent."""
    transport = FakeTransport(slow)
    mux = client(transport)
    start = anyio.current_time()
    with pytest.raises(DeadlineExceededError):
        await call(mux, CallOptions(deadline=0.5))

    assert anyio.current_time() - start == pytest.approx(0.5)
    before = len(transport.requests)
    with pytest.raises(InvalidRequestError, match="options is of type dict; it must be a CallOptions, or None"):
        await call(mux, {"deadline": 1})
    assert len(transport.requests) == before


async def test_the_same_value_for_a_client_and_a_variant() -> None:
    """`Mux` and `Mux.with_options` take a `CallOptions` too; single arguments win over it."""
    transport = FakeTransport(asset)
    given = CallOptions(timeout=4.0, max_attempts=2)
    mux = client(transport, options=given)
    await mux.video.assets.retrieve("a1")
    await mux.with_options(CallOptions(timeout=3.0)).video.assets.retrieve("a1")
    await mux.with_options(CallOptions(timeout=3.0), timeouts=Timeouts()).video.assets.retrieve("a1")
    await mux.with_options(timeout=2.0).video.assets.retrieve("a1")
    await client(transport, options=given, timeouts=Timeouts(1, 1, 1)).video.assets.retrieve("a1")

    seconds = [request.timeouts.connect for request in transport.requests]
    assert seconds == [4.0, 3.0, 10.0, 2.0, 1.0]


async def test_two_time_limits() -> None:
    """``timeout`` and ``timeouts`` together are refused."""
    with pytest.raises(ConfigurationError, match="timeout and timeouts are both given"):
        CallOptions(timeout=1.0, timeouts=Timeouts())


class _Shop(Mux):
    """A subclass as programs write them: with attributes, and things made on first use."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(**options)
        self.name = name
        self.seen: list[str] = []

    @cached_property
    def catalogue(self) -> Any:
        return self.video.assets


async def test_variants_of_a_subclass() -> None:
    """A variant of a subclass has its attributes, and makes anew what the first one made with its own options."""
    transport = FakeTransport(slow)
    shop = _Shop(
        "films", token_id="id", token_secret="s", account="shop", transport=transport, limits=LimitSettings(enabled=False)
    )
    assert shop.catalogue is shop.video.assets
    other = shop.with_options(deadline=0.5)

    assert isinstance(other, _Shop)
    assert (other.name, other.seen) == ("films", shop.seen)
    with pytest.raises(DeadlineExceededError):
        await other.catalogue.retrieve("a1")
    await shop.catalogue.retrieve("a1")


@attrs.define
class Recorder:
    """A transport that notes the time limits of what goes to the API."""

    inner: EmulatorTransport
    timeouts: list[Timeouts] = attrs.field(factory=list[Timeouts])

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        if "/v1/" in request.url:
            self.timeouts.append(request.timeouts)
        await anyio.sleep(0.3)
        return await self.inner.send(request)

    async def aclose(self) -> None:
        await self.inner.aclose()


def emulated() -> tuple[Emulator, Mux, Recorder]:
    """Return an account with limits and a client whose options are much too tight for long work."""
    emulator = Emulator(EmulatorSettings(time_to_ready=3.0), clock=lambda: 1.7e9 + anyio.current_time())
    recorder = Recorder(EmulatorTransport(emulator))
    mux = Mux(
        token_id="test-token",
        token_secret="test-secret",
        account=f"options-{next(_accounts)}",
        transport=recorder,
        clock=anyio.current_time,
        random=Random(1),
        **TIGHT,
    )
    return emulator, mux, recorder


async def _ingest(mux: Mux, _emulator: Emulator, _folder: Path) -> None:
    summary = await Ingest(mux, [url_item(f"https://example.com/{number}.mp4") for number in range(24)]).run()
    assert (summary.ready, summary.failed) == (24, 0)


async def _uploads(mux: Mux, _emulator: Emulator, folder: Path) -> None:
    path = folder / "film.mp4"
    path.write_bytes(bytes(300_000))

    async def send() -> None:
        assert (await mux.uploads.send(path)).status == "ready"

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(send)


async def _waits(mux: Mux, _emulator: Emulator, _folder: Path) -> None:
    patient = mux.with_options(deadline=None, max_response_bytes=10**6, max_attempts=9)
    ids = [(await patient.video.assets.create(inputs=[{"url": "https://example.com/f.mp4"}])).id for _ in range(5)]

    async def wait(asset_id: str) -> None:
        assert (await mux.video.assets.wait_until_ready(asset_id)).status == "ready"

    async with anyio.create_task_group() as tasks:
        for asset_id in ids:
            tasks.start_soon(wait, asset_id)


async def _live(mux: Mux, emulator: Emulator, _folder: Path) -> None:
    patient = mux.with_options(deadline=None, max_response_bytes=10**6)
    streams = [await patient.video.live_streams.create() for _ in range(5)]
    watch = mux.live.watch(*streams)
    emulator.live.connect(streams[-1].id)
    with anyio.fail_after(60):
        assert (await anext(watch)).live_stream_id == streams[-1].id


async def _search(mux: Mux, emulator: Emulator, _folder: Path) -> None:
    emulator.faults.add(Fault(method="POST", path="/video/v1/assets", nth=1, cut="after"))
    patient = mux.with_options(deadline=None)
    found = await patient.video.assets.create(inputs=[{"url": "https://example.com/f.mp4"}], once="k")
    assert found.meta is not None


@pytest.mark.parametrize("work", [_ingest, _uploads, _waits, _live, _search])
async def test_long_work_has_its_own_options(work: Callable[[Mux, Emulator, Path], Awaitable[None]], tmp_path: Path) -> None:
    """A client with a deadline of 0.8 s, one attempt and small answers ingests, uploads, waits, watches and searches as any other does."""
    emulator, mux, recorder = emulated()
    await work(mux, emulator, tmp_path)

    assert Timeouts() in recorder.timeouts
