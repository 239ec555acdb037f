"""``mux.uploads`` against the emulator: files become assets, whatever breaks on the way."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from random import Random

import anyio
import pytest

from mux_async import Mux
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, Fault
from mux_async.errors import InvalidRequestError, UploadError
from mux_async.limits import Bucket
from mux_async.models import AssetOptions
from mux_async.transport import HttpRequest, HttpResponse
from mux_async.uploads import UploadGoneError, UploadProgress, Uploads, UploadState

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

DATA = Random(5).randbytes(20 * 1024 * 1024 + 77)
_accounts = count()


def emulated(settings: EmulatorSettings | None = None) -> tuple[Emulator, Mux]:
    """Return an emulator on virtual time and a client of it, with limits of their own."""
    emulator = Emulator(settings, clock=lambda: 1.7e9 + anyio.current_time())
    mux = Mux(
        token_id="test-token",
        token_secret="test-secret",
        account=f"uploads-{next(_accounts)}",
        transport=EmulatorTransport(emulator),
        clock=anyio.current_time,
    )
    return emulator, mux


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(DATA)
    return path


async def stored(emulator: Emulator, mux: Mux) -> tuple[int, int, bool]:
    """Return size, CRC and completeness of the newest upload."""
    upload = (await mux.video.uploads.list(limit=1)).data[0]
    found = emulator.stored_upload(upload.id)
    assert found is not None
    return found.size, found.crc32, found.is_complete


async def test_send(film: Path) -> None:
    """One call makes a ready asset with the settings asked for, and its bytes are the file's."""
    emulator, mux = emulated()
    asset = await mux.uploads.send(
        film,
        playback_policies=["public"],
        new_asset_settings=AssetOptions(passthrough="p-1"),
        cors_origin="https://example.com",
    )

    assert asset.status == "ready"
    assert asset.passthrough == "p-1"
    assert asset.playback_ids is not None
    assert [each.policy for each in asset.playback_ids] == ["public"]
    assert await stored(emulator, mux) == (len(DATA), zlib.crc32(DATA), True)


async def test_without_waiting() -> None:
    """``wait=False`` comes back with the upload, which names its asset."""
    _, mux = emulated(EmulatorSettings(time_to_ready=1e6))
    upload = await mux.uploads.send(b"some bytes", wait=False, test=True)

    assert upload.status == "asset_created"
    assert upload.asset_id
    assert upload.test


async def test_faults_on_the_way(film: Path) -> None:
    """Connections cut within a chunk, lost answers, refusals and 503s on the way change nothing about the bytes."""
    emulator, mux = emulated()
    upload_path = "/_upload/.*"
    emulator.faults.add(
        Fault(path=upload_path, nth=1, cut="before", after_bytes=3_000_000),
        Fault(path=upload_path, nth=3, cut="after"),
        Fault(path=upload_path, nth=5, status=503),
        Fault(path=upload_path, nth=7, cut="refuse"),
        Fault(path=upload_path, nth=8, status=503, acts=True),
    )
    seen: list[UploadProgress] = []
    asset = await mux.uploads.send(film, on_progress=seen.append)

    sent = [each.sent for each in seen]
    assert asset.status == "ready"
    assert sent == sorted(sent)
    assert await stored(emulator, mux) == (len(DATA), zlib.crc32(DATA), True)
    assert len(await mux.video.assets.list()) == 1


async def test_stream() -> None:
    """Streams arrive whole, with a known length even over a cut, and without one in a single request."""
    emulator, mux = emulated()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(DATA), 777_777):
            yield DATA[start : start + 777_777]

    emulator.faults.add(Fault(path="/_upload/.*", nth=2, cut="before", after_bytes=1_000_000))
    for length in (len(DATA), None):
        asset = await mux.uploads.send(pieces(), length=length)

        assert asset.status == "ready"
        assert await stored(emulator, mux) == (len(DATA), zlib.crc32(DATA), True)


async def test_resume_by_id(film: Path) -> None:
    """Another client goes on from the id alone, sends only what is missing, and a third finds nothing to do."""
    emulator, mux = emulated()
    upload = await mux.video.uploads.create()
    half = UploadState(len(DATA), chunk_size=4 * 1024 * 1024)

    def stop(progress: UploadProgress) -> None:
        if progress.sent > len(DATA) // 2:
            scope.cancel()

    with anyio.CancelScope() as scope:
        await mux.uploads.deliver(upload, film, state=half, on_progress=stop)
    before = emulator.stored_upload(upload.id)
    report = await Uploads(mux).resume(upload.id, film)

    assert before is not None
    assert 0 < before.size < len(DATA)
    assert report is not None
    assert await stored(emulator, mux) == (len(DATA), zlib.crc32(DATA), True)
    assert await mux.uploads.resume(upload.id, film) is None


async def test_expired(film: Path) -> None:
    """An upload whose time ran out says so, to those who send and to those who wait."""
    _, mux = emulated()
    upload = await mux.video.uploads.create(timeout=60)
    await anyio.sleep(61)

    with pytest.raises(UploadError, match="timed_out"):
        await mux.uploads.deliver(upload, film)
    with pytest.raises(UploadError, match="timed_out"):
        await mux.uploads.resume(upload.id, film)
    with pytest.raises(UploadError, match="timed_out"):
        await mux.video.assets.wait_for_upload(upload.id)


async def test_put_to_a_foreign_url(film: Path) -> None:
    """A URL that somebody else created takes the bytes; a wrong one is gone. Neither URL is in the error."""
    emulator, mux = emulated()
    upload = await mux.video.uploads.create()
    assert upload.url is not None
    report = await mux.uploads.put(upload.url, film)

    assert report.size == len(DATA)
    assert await stored(emulator, mux) == (len(DATA), zlib.crc32(DATA), True)
    with pytest.raises(UploadGoneError) as caught:
        await mux.uploads.put("https://api.mux.com/_upload/canary?x=canary", film)
    assert "canary" not in str(caught.value)
    with pytest.raises(InvalidRequestError):
        await mux.uploads.put("film.mp4", film)


async def test_nothing_is_sent_for_a_bad_source(tmp_path: Path) -> None:
    """A missing file costs no request, and no upload is left behind."""
    emulator, mux = emulated()
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        await mux.uploads.send(tmp_path / "missing.mp4")
    with pytest.raises(InvalidRequestError, match="given twice"):
        await mux.uploads.send(b"x", playback_policies=["public"], new_asset_settings={"playback_policies": []})

    assert emulator.arrivals == ()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://h/canary",
        "https://",
        "https://[::1/canary",
        "https://h:99999/canary",
        "https://h/canary \n",
        "https://h/ünary",
    ],
)
async def test_upload_urls_that_are_none(url: str) -> None:
    """An upload URL that no request can go to is refused at once, and not shown: most of it may be a key."""
    _, mux = emulated()
    with pytest.raises(InvalidRequestError, match="the upload URL is not one") as caught:
        await mux.uploads.put(url, b"x")

    assert "nary" not in str(caught.value)


async def test_no_credentials_leave(film: Path) -> None:
    """The upload host is sent no ``Authorization`` header."""
    seen: list[bool] = []

    class Watching(EmulatorTransport):
        async def send(self, request: HttpRequest, /) -> HttpResponse:
            if "/_upload/" in request.url:
                seen.append("authorization" in {name.lower() for name in request.headers})
            return await super().send(request)

    emulator = Emulator(clock=lambda: 1.7e9 + anyio.current_time())
    mux = Mux(token_id="test-token", token_secret="test-secret", transport=Watching(emulator), clock=anyio.current_time)
    await mux.uploads.send(film)

    assert seen
    assert not any(seen)


async def test_many_waits_cost_few_requests() -> None:
    """Sixty uploads that are waited for together are seen in a handful of list requests."""
    emulator, mux = emulated(EmulatorSettings(time_to_ready=90.0, limits=None))
    uploads = [await mux.video.uploads.create() for _ in range(60)]
    statuses: list[str] = []

    async def wait(upload_id: str) -> None:
        statuses.append((await mux.video.assets.wait_for_upload(upload_id)).status)

    for upload in uploads:
        await mux.uploads.deliver(upload, b"x" * 1000)
    before = len(emulator.arrivals)
    async with anyio.create_task_group() as tasks:
        for upload in uploads:
            tasks.start_soon(wait, upload.id)

    reads = [each for each in emulator.arrivals[before:] if each.bucket is Bucket.OTHER]
    assert statuses == ["ready"] * 60
    assert len(reads) < 20
