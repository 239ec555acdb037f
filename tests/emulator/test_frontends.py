"""Both frontends: the in-process transport on every event loop, and the server over a real socket."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any
from zlib import crc32

import anyio
import attrs
import orjson
import pytest

from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, Fault, RateRules, Token, serve
from mux_async.errors import ConnectError, Delivery, Phase, TransportClosedError, TransportError, TransportTimeoutError
from mux_async.transport import Body, HttpRequest, HttpResponse, Timeouts, Transport, TransportSettings
from mux_async_aiohttp import create_transport
from tests.emulator.harness import basic

GRANULE = 256 * 1024
"""Bytes that chunks are multiples of (facts/BEHAVIOUR.md, section 5.2)."""

DATA = Random(4).randbytes(5 * GRANULE + 321)
TOTAL = len(DATA)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize(
        ("anyio_backend", "door"),
        [("asyncio", "in-process"), ("trio", "in-process"), ("asyncio", "server"), ("uvloop", "server")],
        indirect=["anyio_backend"],
    ),
]


@attrs.frozen
class Client:
    """A transport, and the origin to use with it."""

    transport: Transport
    origin: str

    async def send(
        self, method: str, target: str, body: bytes | Body | None = None, **headers: str
    ) -> tuple[HttpResponse, bytes]:
        url = target if target.startswith("http") else self.origin + target
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await self.transport.send(HttpRequest(method, url, named, body, Timeouts(read=5.0)))
        return response, await read(response)

    async def call(self, method: str, target: str, body: object = None) -> Any:
        content = None if body is None else orjson.dumps(body)
        _, answer = await self.send(method, target, content, Authorization=basic())
        return orjson.loads(answer)["data"]


async def read(response: HttpResponse) -> bytes:
    try:
        return b"".join([chunk async for chunk in response.body])
    finally:
        await response.body.aclose()


@asynccontextmanager
async def opened(door: str, emulator: Emulator) -> AsyncGenerator[Client, None]:
    if door == "in-process":
        yield Client(EmulatorTransport(emulator), "http://emulator.test")
        return
    async with serve(emulator) as origin:
        transport = create_transport(TransportSettings())
        try:
            yield Client(transport, origin)
        finally:
            await transport.aclose()


def unlimited(**changes: Any) -> Emulator:
    return Emulator(attrs.evolve(EmulatorSettings(limits=None, time_to_ready=0.0), **changes))


def body_of(data: bytes, *, length: int | None = None, piece: int = 70_000) -> Body:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), piece):
            yield data[start : start + piece]

    return Body(chunks, length)


async def test_main_road(door: str) -> None:
    """Upload URL, bytes, asset, playlist, thumbnail and deletion, at one origin."""
    emulator = unlimited()
    async with opened(door, emulator) as client:
        upload = await client.call("POST", "/video/v1/uploads", {"new_asset_settings": {"playback_policies": ["public"]}})
        assert upload["url"].startswith(client.origin + "/_upload/")
        answer, _ = await client.send("PUT", upload["url"], body_of(DATA, length=TOTAL))
        assert answer.status == 200
        (asset,) = await client.call("GET", f"/video/v1/assets?upload_id={upload['id']}")
        playback_id = asset["playback_ids"][0]["id"]
        playlist, lines = await client.send("GET", f"/{playback_id}.m3u8")
        picture, jpeg = await client.send("GET", f"/{playback_id}/thumbnail.jpg")
        deleted, nothing = await client.send("DELETE", f"/video/v1/assets/{asset['id']}", Authorization=basic())

    stored = emulator.stored_upload(upload["id"])
    assert stored is not None
    assert (stored.size, stored.crc32) == (TOTAL, crc32(DATA))
    assert asset["status"] == "ready"
    assert (playlist.status, lines[:7]) == (200, b"#EXTM3U")
    assert (picture.status, jpeg[:2]) == (200, b"\xff\xd8")
    assert (deleted.status, nothing) == (204, b"")
    assert not {"Content-Type", "Content-Length"} & set(deleted.headers)
    assert len(deleted.headers["X-Request-Id"]) == 20
    assert deleted.headers["Server"] == "Mux API Server"


async def test_upchunk(door: str) -> None:
    """A client that repeats whole chunks after a 308, as UpChunk does, can upload its file."""
    emulator = unlimited()
    size, first, statuses = 2 * GRANULE, 0, list[int]()
    emulator.faults.add(Fault(path="/_upload/.*", nth=2, cut="before", after_bytes=GRANULE + 5))
    async with opened(door, emulator) as client:
        upload = await client.call("POST", "/video/v1/uploads", {})
        while first < TOTAL:
            chunk = DATA[first : first + size]
            last = first + len(chunk) - 1
            try:
                answer, _ = await client.send("PUT", upload["url"], chunk, Content_Range=f"bytes {first}-{last}/{TOTAL}")
            except TransportError:
                statuses.append(0)
                continue
            statuses.append(answer.status)
            if answer.status == 200 or answer.headers.get("Range") == f"bytes=0-{last}":
                first += size

    stored = emulator.stored_upload(upload["id"])
    assert stored is not None
    assert statuses == [308, 0, 308, 200]
    assert (stored.crc32, stored.is_complete) == (crc32(DATA), True)


async def test_streamed_without_length(door: str) -> None:
    """A body without Content-Length is the whole file if it ends properly."""
    emulator = unlimited()
    async with opened(door, emulator) as client:
        upload = await client.call("POST", "/video/v1/uploads", {})
        answer, _ = await client.send("PUT", upload["url"], body_of(DATA))

    stored = emulator.stored_upload(upload["id"])
    assert stored is not None
    assert (answer.status, stored.crc32) == (200, crc32(DATA))


async def test_cancelled_upload(door: str) -> None:
    """If the client disconnects, the received bytes are kept in multiples of 256 KiB."""
    emulator = unlimited()
    halfway = anyio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield DATA[: 2 * GRANULE]
        yield DATA[2 * GRANULE : 3 * GRANULE + 1]
        yield DATA[:1]  # transports hold the latest piece back
        halfway.set()
        await anyio.sleep_forever()

    async with opened(door, emulator) as client:
        upload = await client.call("POST", "/video/v1/uploads", {})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.send, "PUT", upload["url"], Body(chunks, TOTAL))
            await halfway.wait()
            while (found := emulator.stored_upload(upload["id"])) is None or found.size < 3 * GRANULE + 1:
                await anyio.lowlevel.checkpoint()  # over a socket, the bytes take a moment
            tasks.cancel_scope.cancel()
        while emulator.arrivals[-1].path.startswith("/video"):
            await anyio.lowlevel.checkpoint()  # and so does the news
        answer, _ = await client.send("PUT", upload["url"], Content_Range=f"bytes */{TOTAL}")

    assert answer.headers["Range"] == f"bytes=0-{3 * GRANULE - 1}"
    assert emulator.arrivals[1].status is None


async def test_limits(door: str) -> None:
    """Above the rate limit, a frontend responds with 429 and logs it."""
    emulator = Emulator(EmulatorSettings(limits=RateRules(burst=2.0)))
    async with opened(door, emulator) as client:
        statuses = [(await client.send("POST", "/video/v1/uploads", b"{}", Authorization=basic()))[0].status for _ in range(4)]
        _, listed = await client.send("GET", "/_emulator/arrivals")

    assert statuses == [201, 201, 429, 429]
    assert [entry["status"] for entry in orjson.loads(listed)["arrivals"]] == statuses


async def test_status_fault(door: str) -> None:
    """A fault responds instead of the emulator, once, and the request is executed or not."""
    emulator = unlimited()
    emulator.faults.add(
        Fault(method="POST", path="/video/v1/uploads", nth=1, status=502, body="bad gateway"),
        Fault(method="POST", path="/video/v1/uploads", nth=2, status=504, acts=True, headers={"Retry-After": "3"}),
    )
    async with opened(door, emulator) as client:
        first, text = await client.send("POST", "/video/v1/uploads", b"{}", Authorization=basic())
        second, _ = await client.send("POST", "/video/v1/uploads", b"{}", Authorization=basic())
        third, _ = await client.send("POST", "/video/v1/uploads", b"{}", Authorization=basic())
        uploads = await client.call("GET", "/video/v1/uploads")

    assert (first.status, text, second.status, third.status) == (502, b"bad gateway", 504, 201)
    assert second.headers["Retry-After"] == "3"
    assert len(uploads) == 2


@pytest.mark.parametrize(("cut", "made"), [("before", 0), ("after", 1)])
async def test_cut_fault(door: str, cut: Any, made: int) -> None:
    """After a broken connection the outcome is ambiguous; the request was executed or not, as the fault says."""
    emulator = unlimited()
    emulator.faults.add(Fault(method="POST", nth=1, cut=cut))
    async with opened(door, emulator) as client:
        with pytest.raises(TransportError) as caught:
            await client.send("POST", "/video/v1/uploads", b"{}", Authorization=basic())
        uploads = await client.call("GET", "/video/v1/uploads")

    assert caught.value.delivery is Delivery.MAYBE_PROCESSED
    assert len(uploads) == made
    assert emulator.arrivals[0].status is None


async def test_truncate_fault(door: str) -> None:
    """A truncated response has a head, and raises an error of its own."""
    emulator = unlimited()
    emulator.faults.add(Fault(nth=1, truncate=10))
    async with opened(door, emulator) as client:
        response = await client.transport.send(
            HttpRequest("GET", client.origin + "/video/v1/assets", {"Authorization": basic()})
        )
        with pytest.raises(TransportError) as caught:
            await read(response)

    assert response.status == 200
    assert (caught.value.delivery, caught.value.phase) == (Delivery.ANSWERED, Phase.READ_BODY)


async def test_delay_fault(door: str) -> None:
    """A late response is a timeout, and the request was executed."""
    emulator = unlimited()
    emulator.faults.add(Fault(nth=1, delay=30.0))
    async with opened(door, emulator) as client:
        with pytest.raises(TransportTimeoutError) as caught:
            await client.transport.send(
                HttpRequest("POST", client.origin + "/video/v1/uploads", {"Authorization": basic()}, b"{}", Timeouts(read=0.05))
            )
        uploads = await client.call("GET", "/video/v1/uploads")

    assert (caught.value.delivery, caught.value.phase) == (Delivery.MAYBE_PROCESSED, Phase.READ_HEAD)
    assert len(uploads) == 1


async def test_refuse_fault(door: str) -> None:
    """A refused connection sends nothing in process; a server can only break it."""
    emulator = unlimited()
    emulator.faults.add(Fault(nth=1, cut="refuse"))
    async with opened(door, emulator) as client:
        with pytest.raises(TransportError) as caught:
            await client.send("POST", "/video/v1/uploads", b"{}", Authorization=basic())
        assert await client.call("GET", "/video/v1/uploads") == []

    assert isinstance(caught.value, ConnectError) == (door == "in-process")


async def test_bearer_and_head(door: str) -> None:
    """Bearer tokens work, and HEAD of a playlist has no body."""
    emulator = unlimited(tokens=(Token("a", "b", bearer="bear"),))
    async with opened(door, emulator) as client:
        made, answer = await client.send(
            "POST",
            "/video/v1/assets",
            orjson.dumps({"inputs": ["https://x.example/a.mp4"], "playback_policy": "public"}),
            Authorization="Bearer bear",
        )
        playback_id = orjson.loads(answer)["data"]["playback_ids"][0]["id"]
        head, nothing = await client.send("HEAD", f"/{playback_id}.m3u8")

    assert made.status == 201
    assert (head.status, nothing) == (200, b"")
    assert int(head.headers["Content-Length"]) > 0


async def test_closed(door: str) -> None:
    """A closed transport sends nothing, and the emulator can still be used."""
    emulator = unlimited()
    async with opened(door, emulator) as client:
        await client.transport.aclose()
        with pytest.raises(TransportClosedError):
            await client.send("GET", "/_emulator/health")

    assert emulator.arrivals == ()
