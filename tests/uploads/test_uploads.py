"""``mux.uploads`` against the emulator: files become assets, also with faults on the way."""

from __future__ import annotations

import os
import zlib
from collections.abc import AsyncIterator
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from random import Random

import anyio
import attrs
import pytest

from mux_async import Mux
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, Fault
from mux_async.errors import InvalidRequestError, UploadError
from mux_async.limits import Bucket
from mux_async.models import AssetOptions
from mux_async.transport import HttpRequest, HttpResponse
from mux_async.uploads import UploadGoneError, UploadProgress, Uploads, UploadSettings, UploadState

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

DATA = Random(5).randbytes(10 * 1024 * 1024 + 77)
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
    """One call makes a ready asset with the given settings, and its bytes are the file's."""
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
    """``wait=False`` returns the upload, which names its asset."""
    _, mux = emulated(EmulatorSettings(time_to_ready=1e6))
    upload = await mux.uploads.send(b"some bytes", wait=False, test=True)

    assert upload.status == "asset_created"
    assert upload.asset_id
    assert upload.test


async def test_faults_on_the_way(film: Path) -> None:
    """Cut connections, lost responses, refusals and 503s do not change the bytes."""
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
    """Another client resumes by the id alone and sends only the missing bytes; a third finds nothing to do."""
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


def rewrite(film: Path, data: bytes, *, keep_time: bool = False) -> None:
    """Give *film* other bytes, and another or the same modification time."""
    before = film.stat()
    film.write_bytes(data)
    os.utime(film, ns=(before.st_atime_ns, before.st_mtime_ns) if keep_time else (1, 1))


async def status_of(mux: Mux) -> str:
    return (await mux.video.uploads.list(limit=1)).data[0].status


@pytest.mark.parametrize(("cancel_at_mux", "status"), [(True, "cancelled"), (False, "waiting")])
async def test_cancelled_task(film: Path, cancel_at_mux: bool, status: str) -> None:
    """Cancelling `send` cancels the upload at Mux too, unless it is to be resumed by the id in the progress."""
    _, mux = emulated()
    ids: set[str | None] = set()

    def stop(progress: UploadProgress) -> None:
        ids.add(progress.upload_id)
        if progress.sent > len(DATA) // 2:
            scope.cancel()

    with anyio.CancelScope() as scope:
        await mux.uploads.send(film, cancel_at_mux=cancel_at_mux, on_progress=stop)

    upload = (await mux.video.uploads.list(limit=1)).data[0]
    assert scope.cancelled_caught
    assert upload.status == status
    assert ids == {upload.id}
    if not cancel_at_mux:
        assert await mux.uploads.resume(upload.id, film) is not None


async def test_cancelling_takes_no_longer_than_it_may(film: Path) -> None:
    """If Mux does not respond to the cancellation, the cancelled task ends after 10 s."""
    emulator, mux = emulated()
    emulator.faults.add(Fault(method="PUT", path="/video/.*", delay=600.0, status=200))

    def stop(progress: UploadProgress) -> None:
        if progress.sent:
            scope.cancel()

    start = anyio.current_time()
    with anyio.CancelScope() as scope:
        await mux.uploads.send(film, on_progress=stop)

    assert scope.cancelled_caught
    assert anyio.current_time() - start == pytest.approx(10.0, abs=0.5)
    assert await status_of(mux) == "waiting"


async def test_hopeless_uploads_are_cancelled(film: Path) -> None:
    """An upload of a changed file is cancelled at Mux; after a network failure it can be resumed."""
    emulator, mux = emulated()

    def change(progress: UploadProgress) -> None:
        if progress.sent:
            rewrite(film, DATA[::-1])

    with pytest.raises(UploadError, match="was changed while") as changed:
        await mux.uploads.send(film, on_progress=change)
    assert changed.value.upload_id is not None
    assert await status_of(mux) == "cancelled"

    emulator.faults.add(Fault(path="/_upload/.*", cut="refuse"))
    with pytest.raises(UploadError, match="resume it when") as lost:
        await mux.uploads.send(film)
    assert await status_of(mux) == "waiting"
    emulator.faults.clear()
    assert lost.value.upload_id is not None
    assert await mux.uploads.resume(lost.value.upload_id, film) is not None


async def test_cancel() -> None:
    """`cancel` returns whether the upload is cancelled now, and raises nothing for one that is complete or unknown."""
    _, mux = emulated()
    waiting = await mux.video.uploads.create()
    complete = await mux.uploads.send(b"bytes", wait=False)

    assert await mux.uploads.cancel(waiting.id)
    assert not await mux.uploads.cancel(complete.id)
    assert not await mux.uploads.cancel("unknown")


async def begun(mux: Mux, film: Path) -> tuple[str, UploadState]:
    """Begin an upload, stop it about half way, and return its id and state as another process would read them."""
    upload = await mux.video.uploads.create()
    states: list[UploadState] = []

    def stop(progress: UploadProgress) -> None:
        assert progress.state is not None
        if progress.state.offset > len(DATA) // 2 and not states:
            states.append(progress.state)
            scope.cancel()

    with anyio.CancelScope() as scope:
        await mux.uploads.deliver(upload, film, state=UploadState(len(DATA), chunk_size=1024 * 1024), on_progress=stop)
    return upload.id, UploadState.from_dict(states[0].to_dict())


async def test_resume_with_a_file_that_only_looks_the_same(film: Path) -> None:
    """A changed byte that the server has already is detected, although size and modification time are the same."""
    _, mux = emulated()
    upload_id, state = await begun(mux, film)
    rewrite(film, b"?" + DATA[1:], keep_time=True)
    with pytest.raises(UploadError, match="has changed since its upload began") as caught:
        await mux.uploads.resume(upload_id, film, state=state)

    assert (caught.value.upload_id, caught.value.resumable) == (upload_id, False)


async def test_resume_with_a_copy(film: Path) -> None:
    """A copied or touched file continues: the bytes that the server has are the same."""
    emulator, mux = emulated()
    upload_id, state = await begun(mux, film)
    os.utime(film, ns=(1, 1))
    await mux.uploads.resume(upload_id, film, state=state)

    assert await stored(emulator, mux) == (len(DATA), zlib.crc32(DATA), True)


async def test_resume_after_a_change_ahead(film: Path) -> None:
    """A file that changed only after the bytes that the server holds is uploaded as it is now, which is one version."""
    emulator, mux = emulated()
    upload_id, state = await begun(mux, film)
    changed = DATA[: state.offset] + DATA[state.offset :][::-1]
    rewrite(film, changed)
    await mux.uploads.resume(upload_id, film, state=state)

    assert await stored(emulator, mux) == (len(DATA), zlib.crc32(changed), True)


async def test_resume_when_nothing_can_be_known(film: Path) -> None:
    """If the server holds more bytes than the state, a file that was written to is not mixed into them."""
    emulator, mux = emulated()
    upload_id, state = await begun(mux, film)
    older = attrs.evolve(state, offset=0, crc=0)
    rewrite(film, DATA[::-1])
    with pytest.raises(UploadError, match="has changed since its upload began"):
        await mux.uploads.resume(upload_id, film, state=older)
    with pytest.raises(UploadError, match="has changed since its upload began"):
        await mux.uploads.resume(upload_id, film, state=attrs.evolve(state, crc=None))

    assert not (await stored(emulator, mux))[2]


async def test_settings_of_the_client(film: Path) -> None:
    """The client's bandwidth limit applies to all its uploads together, also through clients with other options."""
    emulator = Emulator(EmulatorSettings(time_to_ready=0.1), clock=lambda: 1.7e9 + anyio.current_time())
    mux = Mux(
        token_id="test-token",
        token_secret="test-secret",
        account=f"uploads-{next(_accounts)}",
        transport=EmulatorTransport(emulator),
        clock=anyio.current_time,
        uploads=UploadSettings(max_bytes_per_second=1e6),
    )
    uploads = [await mux.video.uploads.create() for _ in range(2)]
    start = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(mux.uploads.deliver, uploads[0], b"x" * 1_000_000)
        tasks.start_soon(mux.with_options(priority="batch").uploads.deliver, uploads[1], b"x" * 1_000_000)

    assert anyio.current_time() - start == pytest.approx(2.0, abs=0.2)


async def test_waiting_uploads_do_not_age(film: Path) -> None:
    """An upload is created when it has a slot: until then no URL expires, and no file is open."""
    emulator, mux = emulated()
    uploads = Uploads(mux, UploadSettings(max_concurrent=1, max_bytes_per_second=len(DATA)))
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(partial(uploads.send, film, wait=False))

    created = [each.at for each in emulator.arrivals if each.method == "POST"]
    assert [round(after - before) for before, after in pairwise(created)] == [1, 1]


async def test_expired(film: Path) -> None:
    """An upload that timed out is reported to senders and waiters."""
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
    """A URL that was created elsewhere takes the bytes; a wrong one is gone. Neither URL is in the error."""
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
    """An unusable upload URL is refused at once, and not shown: most of it may be a secret."""
    _, mux = emulated()
    with pytest.raises(InvalidRequestError, match="the upload URL is not valid") as caught:
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
    """Sixty concurrent waits for uploads need only a few list requests."""
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
