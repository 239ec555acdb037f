"""Uploads over real sockets, with every transport and event loop, to an emulator in a thread of its own."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Generator, Mapping
from pathlib import Path
from random import Random
from zlib import crc32

import anyio
import pytest

from mux_async import Mux
from mux_async.emulator import EmulatorSettings
from mux_async.uploads import UploadProgress, UploadSettings, UploadState
from tests.cli.commands import Emulate, emulate_here

DATA = Random(6).randbytes(9 * 1024 * 1024 + 5)

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def emulator() -> Generator[Emulate]:
    with emulate_here(EmulatorSettings(limits=None, time_to_ready=0.05)) as running:
        yield running


def set_up_faults(emulator: Emulate, *faults: Mapping[str, object]) -> None:
    """Replace the emulator's faults."""
    for method, body in (("DELETE", None), ("POST", json.dumps(faults).encode())):
        request = urllib.request.Request(f"{emulator.origin}/_emulator/faults", data=body, method=method)
        with urllib.request.urlopen(request, timeout=10):
            pass


def stored(emulator: Emulate, upload_id: str) -> dict[str, object]:
    (found,) = [each for each in emulator.ask("uploads")["uploads"] if each["id"] == upload_id]
    return dict(found)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(DATA)
    return path


def client(emulator: Emulate, transport: str) -> Mux:
    return Mux(
        token_id="test-token",
        token_secret="test-secret",
        base_url=emulator.origin,
        transport=transport,
        uploads=UploadSettings(max_bytes_per_second=400e6),
    )


async def check_upload(emulator: Emulate, transport: str, film: Path) -> None:
    seen: list[UploadProgress] = []
    async with client(emulator, transport) as mux:
        upload = await mux.video.uploads.create()
        await mux.uploads.deliver(
            upload, film, state=UploadState(len(DATA), chunk_size=2 * 1024 * 1024), on_progress=seen.append
        )

    sent = [each.sent for each in seen]
    found = stored(emulator, upload.id)
    assert sent == sorted(sent)
    assert (found["size"], found["crc32"], found["is_complete"]) == (len(DATA), f"{crc32(DATA):08x}", True)


async def check_cancel(emulator: Emulate, transport: str, film: Path) -> None:
    def stop(progress: UploadProgress) -> None:
        if progress.sent > len(DATA) // 3:
            scope.cancel()

    async with client(emulator, transport) as mux:
        with anyio.CancelScope() as scope:
            await mux.uploads.send(film, on_progress=stop)
        assert scope.cancelled_caught
        assert (await mux.video.uploads.list(limit=1)).data[0].status == "cancelled"


FAULTS = [
    {"path": "/_upload/.*", "nth": 1, "cut": "before", "after_bytes": 1_500_000},
    {"path": "/_upload/.*", "nth": 4, "cut": "after"},
    {"path": "/_upload/.*", "nth": 6, "status": 503},
]


@pytest.mark.runtimes("asyncio", "uvloop")
async def test_aiohttp(emulator: Emulate, film: Path) -> None:
    """Over aiohttp, cut connections, lost responses and 503s do not change the bytes; cancelling cancels."""
    set_up_faults(emulator, *FAULTS)
    await check_upload(emulator, "aiohttp", film)
    await check_cancel(emulator, "aiohttp", film)


@pytest.mark.runtimes("asyncio", "trio")
async def test_httpx(emulator: Emulate, film: Path) -> None:
    """The same over httpx, on trio too."""
    set_up_faults(emulator, *FAULTS)
    await check_upload(emulator, "httpx", film)
    await check_cancel(emulator, "httpx", film)
