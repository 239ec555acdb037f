"""``GET /system/v1/webhook-events/stream``: which events a listener gets, and when its stream ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import anyio
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, Fault, Request, Token, serve
from mux_async.errors import TransportError
from mux_async.transport import HttpRequest, Timeouts, Transport, TransportSettings
from mux_async_aiohttp import create_transport
from tests._examples import examples
from tests.emulator.harness import Account, basic

STREAM = "/system/v1/webhook-events/stream"
TWO_ENVIRONMENTS = (Token("test-token", "test-secret"), Token("other", "test-secret", environment="other"))


def events_in(text: bytes) -> list[str]:
    """The types of the events in a stream; of the first message, its name."""
    found = list[str]()
    for message in text.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in message.splitlines() if not line.startswith(":"))
        if lines:
            found.append(lines.get("event") or orjson.loads(lines["data"])["type"])
    return found


def test_a_stream_begins_with_connected() -> None:
    """The first message is ``connected`` with data; earlier events are not sent."""
    account = Account()
    account.create_asset()

    response = account.send("GET", STREAM)

    assert response.status == 200
    assert response.headers["Content-Type"] == "text/event-stream"
    assert events_in(response.body) == ["connected"]
    assert b"\ndata: {" in response.body


def test_last_event_id() -> None:
    """After ``Last-Event-ID`` come the later events of the same environment; an unknown id counts as none."""
    account = Account(tokens=TWO_ENVIRONMENTS)
    account.create_asset()
    first = account.emulator.events[0].id
    account.pass_time(60)
    account.send("POST", "/video/v1/uploads", {}, authorization=basic("other"))

    after = account.send("GET", STREAM, headers={"Last-Event-ID": first})
    unknown = account.send("GET", STREAM, headers={"Last-Event-ID": "nothing"})
    foreign = account.send("GET", STREAM, headers={"Last-Event-ID": first}, authorization=basic("other"))

    assert events_in(after.body) == ["connected", "video.asset.ready"]
    assert events_in(unknown.body) == events_in(foreign.body) == ["connected"]


def test_permissions() -> None:
    """Without a token the answer is 401; without permission to read the system it is 403; other verbs and paths are 404."""
    account = Account(tokens=(Token("test-token", "test-secret", permissions=("video:read", "system:write")),))

    assert account.send("GET", STREAM, authorization="Basic x").status == 401
    assert account.send("GET", STREAM).status == 403
    assert Account().send("POST", STREAM).status == 404
    assert Account().send("GET", STREAM + "/more").status == 404


@settings(max_examples=examples(100), deadline=None)
@given(
    last=st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=300),
    accept=st.sampled_from(["text/event-stream", "*/*", "application/json", ""]),
    query=st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=30),
)
def test_any_headers(last: str, accept: str, query: str) -> None:
    """Whatever the request says besides its token, the stream begins, and no header gets into it."""
    account = Account()
    account.create_asset()

    response = account.send("GET", f"{STREAM}?{query}", headers={"Last-Event-ID": last, "Accept": accept})

    assert (response.status, events_in(response.body)) == (200, ["connected"])


@asynccontextmanager
async def opened(frontend: str, emulator: Emulator) -> AsyncGenerator[tuple[Transport, str]]:
    if frontend == "in-process":
        yield EmulatorTransport(emulator), "http://emulator.test"
        return
    async with serve(emulator) as origin:
        transport = create_transport(TransportSettings())
        try:
            yield transport, origin
        finally:
            await transport.aclose()


@asynccontextmanager
async def listening(transport: Transport, origin: str) -> AsyncGenerator[AsyncIterator[bytes]]:
    """Open a stream; yields its pieces after ``connected``."""
    request = HttpRequest("GET", origin + STREAM, {"Authorization": basic()}, None, Timeouts(read=30.0))
    response = await transport.send(request)
    assert response.status == 200
    try:
        pieces = aiter(response.body)
        assert b"event: connected" in await anext(pieces)
        yield pieces
    finally:
        await response.body.aclose()


async def until(wanted: str, pieces: AsyncIterator[bytes]) -> list[str]:
    """Read until an event of this type has arrived; return the types so far."""
    text = b""
    while f'"type":"{wanted}"'.encode() not in text or not text.endswith(b"\n\n"):
        text += await anext(pieces)
    return events_in(text)


def create_asset(emulator: Emulator) -> None:
    body = orjson.dumps({"inputs": [{"url": "https://example.com/film.mp4"}]})
    assert emulator.handle(Request("POST", "/video/v1/assets", {"Authorization": basic()}, body)).status == 201


both_frontends = pytest.mark.parametrize(
    ("anyio_backend", "frontend"),
    [("asyncio", "in-process"), ("trio", "in-process"), ("asyncio", "server")],
    indirect=["anyio_backend"],
)


@pytest.mark.anyio
@both_frontends
async def test_events_arrive_while_a_client_waits(frontend: str) -> None:
    """Every listener gets what a request causes and what a scheduled step causes, as it happens."""
    emulator = Emulator(EmulatorSettings(limits=None, time_to_ready=0.05))
    with anyio.fail_after(10):
        async with (
            opened(frontend, emulator) as (transport, origin),
            listening(transport, origin) as one,
            listening(transport, origin) as other,
        ):
            create_asset(emulator)
            for pieces in (one, other):
                assert await until("video.asset.ready", pieces) == ["video.asset.created", "video.asset.ready"]


@pytest.mark.anyio
@both_frontends
async def test_a_burst_arrives_whole_and_in_order(frontend: str) -> None:
    """A thousand events at once arrive, and none is lost."""
    emulator = Emulator(EmulatorSettings(limits=None, instant=True, time_to_ready=0.0, max_events=2_000))
    with anyio.fail_after(30):
        async with opened(frontend, emulator) as (transport, origin), listening(transport, origin) as pieces:
            for _ in range(500):
                create_asset(emulator)
            text = b""
            while text.count(b"\ndata: ") < len(emulator.events):
                text += await anext(pieces)
    sent = [line.removeprefix(b"id: ").decode() for line in text.splitlines() if line.startswith(b"id: ")]
    assert sent == [event.id for event in emulator.events]


@pytest.mark.anyio
@both_frontends
async def test_a_reader_that_is_too_slow(frontend: str) -> None:
    """When the log has dropped what a listener has not read, the stream says how much and ends."""
    emulator = Emulator(EmulatorSettings(limits=None, instant=True, max_events=5))
    with anyio.fail_after(10):
        async with opened(frontend, emulator) as (transport, origin), listening(transport, origin) as pieces:
            for _ in range(10):
                create_asset(emulator)
            rest = b"".join([piece async for piece in pieces])
    assert rest.endswith(b"events were dropped, because they were not read in time; connect again\n\n")


@pytest.mark.anyio
@both_frontends
async def test_the_emulator_closes(frontend: str) -> None:
    """A stream ends in order when the emulator is closed, although its client waits."""
    emulator = Emulator(EmulatorSettings(limits=None))
    with anyio.fail_after(10):
        async with opened(frontend, emulator) as (transport, origin), listening(transport, origin) as pieces:
            emulator.close()
            assert [piece async for piece in pieces] == []


@pytest.mark.anyio
@both_frontends
async def test_a_reset(frontend: str) -> None:
    """After a reset a listener stays connected, and gets the events of the new state."""
    emulator = Emulator(EmulatorSettings(limits=None, instant=True))
    with anyio.fail_after(10):
        async with opened(frontend, emulator) as (transport, origin), listening(transport, origin) as pieces:
            create_asset(emulator)
            await until("video.asset.ready", pieces)
            emulator.reset()
            create_asset(emulator)
            assert await until("video.asset.ready", pieces) == ["video.asset.created", "video.asset.ready"]


@pytest.mark.anyio
@both_frontends
async def test_a_fault_breaks_the_stream(frontend: str) -> None:
    """A fault that truncates a response breaks the stream within a line."""
    emulator = Emulator(EmulatorSettings(limits=None))
    emulator.faults.add(Fault(path="/system/.*", truncate=20))
    with anyio.fail_after(10):
        async with opened(frontend, emulator) as (transport, origin):
            request = HttpRequest("GET", origin + STREAM, {"Authorization": basic()}, None, Timeouts())
            response = await transport.send(request)
            pieces = aiter(response.body)
            text = await anext(pieces)
            while len(text) < 20:
                text += await anext(pieces)
            with pytest.raises(TransportError):
                await anext(pieces)
            await response.body.aclose()
    assert text == b"event: connected\ndat"


@pytest.mark.asyncio
async def test_the_server_stops() -> None:
    """A server that stops ends its streams in order, and does not wait for their clients."""
    emulator = Emulator(EmulatorSettings(limits=None))
    with anyio.fail_after(10):
        transport = create_transport(TransportSettings())
        async with anyio.create_task_group() as tasks, serve(emulator) as origin:
            connected = anyio.Event()

            async def listen() -> None:
                async with listening(transport, origin) as pieces:
                    connected.set()
                    assert [piece async for piece in pieces] == []
                await transport.aclose()

            tasks.start_soon(listen)
            await connected.wait()


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_heartbeats() -> None:
    """A stream without events has a comment every 15 s."""
    emulator = Emulator(EmulatorSettings(limits=None))
    async with listening(EmulatorTransport(emulator), "http://emulator.test") as pieces:
        before = anyio.current_time()
        assert [await anext(pieces) for _ in range(3)] == [b": heartbeat\n\n"] * 3
        assert anyio.current_time() - before == pytest.approx(45.0)
