"""The webhook senders of the transport and of the server, which also let scheduled steps run."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import attrs
import orjson
import pytest
from aiohttp import web

from mux_async.emulator import (
    Emulator,
    EmulatorSettings,
    Request,
    WebhookRequest,
    WebhookRetries,
    WebhookSettings,
    carrying,
    serve,
    sign_webhook,
)
from mux_async.transport import HttpRequest, Timeouts, TransportSettings
from mux_async_aiohttp import create_transport
from tests.emulator.harness import START, basic
from tests.emulator.validating import HOOK, SECRET, validate_event

OTHER = "https://other.example/hooks"


def in_virtual_time(*urls: str) -> Emulator:
    began = anyio.current_time()
    hooks = tuple(WebhookSettings(url, SECRET) for url in urls)
    settings = EmulatorSettings(limits=None, time_to_ready=10.0, webhooks=hooks)
    return Emulator(settings, clock=lambda: START + anyio.current_time() - began)


def ask(emulator: Emulator, method: str, target: str, body: object = None) -> None:
    response = emulator.handle(Request(method, target, {"Authorization": basic()}, orjson.dumps(body or {})))
    assert response.status < 300, response.body


@attrs.define
class Receiver:
    """An endpoint that records deliveries and their times."""

    delay: float = 0.0
    failures: int = 0
    arrived: list[tuple[float, str]] = attrs.field(factory=list[tuple[float, str]])

    async def __call__(self, request: WebhookRequest) -> int:
        self.arrived.append((anyio.current_time(), request.event_type))
        await anyio.sleep(self.delay)
        if self.failures:
            self.failures -= 1
            raise ConnectionRefusedError("nobody listens")
        return 200


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_virtual_time() -> None:
    """In virtual time, events arrive when they occur, without requests meanwhile."""
    emulator, receiver = in_virtual_time(HOOK), Receiver()
    began = anyio.current_time()

    async with carrying(emulator, receiver):
        await anyio.sleep(5.0)
        ask(emulator, "POST", "/video/v1/assets", {"inputs": [{"url": "https://example.com/a.mp4"}]})
        await anyio.sleep(60.0)

    assert [(round(at - began, 2), kind) for at, kind in receiver.arrived] == [
        (5.0, "video.asset.created"),
        (15.0, "video.asset.ready"),
    ]


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_retries_in_virtual_time() -> None:
    """Delivery to an unreachable endpoint is retried after one minute, then two."""
    emulator, receiver = in_virtual_time(HOOK), Receiver(failures=2)
    began = anyio.current_time()

    async with carrying(emulator, receiver):
        ask(emulator, "POST", "/video/v1/uploads")
        await anyio.sleep(1000.0)

    assert [round(at - began, 1) for at, _ in receiver.arrived] == [0.0, 60.0, 180.0]
    assert [attempt.error for attempt in emulator.deliveries[0].attempts] == ["nobody listens", "nobody listens", None]


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_slow_endpoint() -> None:
    """A slow endpoint gets one event at a time, in order, and does not delay another one; a request times out after 5 s."""
    emulator = in_virtual_time(HOOK, OTHER)
    slow, fast = Receiver(delay=4.0), Receiver()
    began = anyio.current_time()

    async def carrier(request: WebhookRequest) -> int:
        return await (slow if request.url == HOOK else fast)(request)

    async with carrying(emulator, carrier):
        for _ in range(3):
            ask(emulator, "POST", "/video/v1/live-streams")
        await anyio.sleep(20.0)
        slow.delay = 3600.0
        ask(emulator, "POST", "/video/v1/uploads")
        await anyio.sleep(20.0)

    assert [round(at - began, 1) for at, _ in slow.arrived[:3]] == [0.0, 4.0, 8.0]
    assert [round(at - began, 1) for at, _ in fast.arrived[:3]] == [0.0, 0.0, 0.0]
    late = next(delivery for delivery in emulator.deliveries if delivery.event.type == "video.upload.created")
    assert late.attempts[0].error == "no answer in time"
    assert late.next_at == pytest.approx(START + 20.0 + 5.0 + 60.0, abs=0.1)


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_second_courier() -> None:
    """A delivery that one sender did not finish is retried by the next."""
    emulator = in_virtual_time(HOOK)
    first, second = Receiver(delay=3600.0), Receiver()

    async with carrying(emulator, first):
        ask(emulator, "POST", "/video/v1/uploads")
        await anyio.sleep(1.0)
    async with carrying(emulator, second):
        await anyio.sleep(100.0)

    assert (len(first.arrived), len(second.arrived)) == (1, 1)
    assert emulator.deliveries[0].status == "delivered"


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_failure_of_the_block() -> None:
    """An exception in the block is raised unchanged, not in a group."""
    with pytest.raises(LookupError, match="mine"):
        async with carrying(in_virtual_time(HOOK), Receiver()):
            raise LookupError("mine")


@asynccontextmanager
async def endpoint(
    received: list[tuple[dict[str, str], bytes]], statuses: list[int], enough: anyio.Event
) -> AsyncGenerator[str, None]:
    """A real endpoint on this machine, which responds with *statuses* in turn, then 200."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        received.append((dict(request.headers), await request.read()))
        if len(received) == 3:
            enough.set()
        return web.Response(status=statuses.pop(0) if statuses else 200, headers={"Location": "/elsewhere"})

    runner = web.ServerRunner(web.Server(handle, access_log=None))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hooks"
    finally:
        await runner.cleanup()


@pytest.mark.asyncio
async def test_server() -> None:
    """The server delivers over HTTP: raw bytes with a valid signature, without redirects, with retries."""
    received: list[tuple[dict[str, str], bytes]] = []
    enough = anyio.Event()
    async with endpoint(received, [302], enough) as url:
        settings = EmulatorSettings(
            limits=None,
            time_to_ready=0.05,
            webhooks=(WebhookSettings(url, SECRET), WebhookSettings("http://127.0.0.1:9/nobody", SECRET)),
            webhook_retries=WebhookRetries(first=0.05),
        )
        emulator = Emulator(settings)
        transport = create_transport(TransportSettings())
        async with serve(emulator) as origin:
            body = b'{"inputs": [{"url": "https://example.com/a.mp4"}]}'
            request = HttpRequest("POST", f"{origin}/video/v1/assets", {"Authorization": basic()}, body, Timeouts(read=5.0))
            response = await transport.send(request)
            await response.body.aclose()
            with anyio.fail_after(10.0):
                await enough.wait()
        await transport.aclose()

    assert sorted(validate_event(body)["type"] for _, body in received) == [
        "video.asset.created",
        "video.asset.created",
        "video.asset.ready",
    ]
    for headers, body in received:
        parts = dict(part.split("=", 1) for part in headers["Mux-Signature"].split(","))
        assert headers["Mux-Signature"] == sign_webhook(SECRET, int(parts["t"]), body)
    unreachable = [delivery for delivery in emulator.deliveries if delivery.address.endswith("/nobody")]
    assert all(attempt.status is None and attempt.error for attempt in unreachable[0].attempts)
