"""Sources that are not plain files: pipes, and what fsspec opens."""

from __future__ import annotations

import io
import os
from collections.abc import Generator, Iterator
from contextlib import aclosing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any

import anyio
import pytest

from mux_async.errors import InvalidRequestError, UploadError
from mux_async.testing import FakeTransport, respond
from mux_async.transport import Body, Delivery, HttpRequest, HttpResponse, Phase, TransportError
from mux_async.uploads import Source, UploadProgress, UploadState
from mux_async.uploads.machine import GRANULE
from tests.uploads.fake_session import SMALL_PIECES, URL, Session, reset, uploads_over

pytestmark = pytest.mark.anyio

DATA = Random(11).randbytes(4 * GRANULE + 99)


async def put(source: Source, session: Session, *, length: int | None = None, state: UploadState | None = None) -> None:
    uploads = uploads_over(FakeTransport(session), SMALL_PIECES)
    await uploads.put(URL, source, length=length, state=state, upload_id="u1")


@pytest.fixture
def memory() -> Iterator[Any]:
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    system.pipe_file("/bucket/film.mp4", DATA)
    yield system
    system.rm("/bucket", recursive=True)


@pytest.mark.virtual_time
async def test_url(memory: Any) -> None:
    """A file that fsspec opens is uploaded like a local one, and sent again after a lost chunk."""
    session = Session(faults={1: lambda _: reset(), 3: lambda _: respond(503)})
    await put("memory://bucket/film.mp4", session, state=UploadState(len(DATA), chunk_size=GRANULE))

    assert bytes(session.held) == DATA


async def test_url_that_changes(memory: Any) -> None:
    """A remote file that is replaced by one of the same size between two chunks is detected, and is never completed."""

    def replace(session: Session) -> HttpResponse:
        memory.pipe_file("/bucket/film.mp4", DATA[::-1])
        return session.state()

    session = Session(faults={1: replace})
    with pytest.raises(UploadError, match="was changed while") as caught:
        await put("memory://bucket/film.mp4", session, state=UploadState(len(DATA), chunk_size=GRANULE))

    assert (caught.value.upload_id, caught.value.sent, caught.value.resumable) == ("u1", GRANULE, False)
    assert not session.is_complete


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_url_that_changes_within_a_chunk(memory: Any, is_deleted: bool) -> None:
    """The store is asked again before the last piece of a chunk is sent: a file that was replaced or deleted is not completed."""
    session = Session()
    uploads = uploads_over(FakeTransport(session), SMALL_PIECES)

    def on_progress(progress: UploadProgress) -> None:
        if not progress.sent or not memory.exists("/bucket/film.mp4"):
            return
        if is_deleted:
            memory.rm("/bucket/film.mp4")
        else:
            memory.pipe_file("/bucket/film.mp4", DATA[::-1])

    with pytest.raises(UploadError, match="was changed while"):
        await uploads.put(URL, "memory://bucket/film.mp4", on_progress=on_progress)
    memory.pipe_file("/bucket/film.mp4", DATA)

    assert session.ranges == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://bucket/none.mp4?canary", "cannot be read"),
        ("memory://bucket", "is a folder"),
        ("memory://bucket/empty.mp4", "is empty"),
        ("nonesuch://user:canary@host/film.mp4?canary", "cannot be read"),
    ],
)
async def test_urls_that_are_none(memory: Any, url: str, message: str) -> None:
    """An unusable URL is refused with a reason before anything is sent, without its secret parts."""
    memory.pipe_file("/bucket/empty.mp4", b"")
    session = Session()
    with pytest.raises(InvalidRequestError, match=message) as caught:
        await put(url, session)

    assert "canary" not in f"{caught.value} {caught.value.__cause__}"
    assert session.ranges == []


class _Store(BaseHTTPRequestHandler):
    """Serves `DATA`, with or without parts."""

    has_parts = True

    def do_HEAD(self) -> None:
        self.send_response(200)
        self._end_head(len(DATA))

    def do_GET(self) -> None:
        first, last = 0, len(DATA) - 1
        if self.has_parts and (asked := self.headers.get("Range")):
            first, last = (int(each) for each in asked.removeprefix("bytes=").split("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(DATA)}")
        else:
            self.send_response(200)
        self._end_head(last + 1 - first)
        self.wfile.write(DATA[first : last + 1])

    def _end_head(self, length: int) -> None:
        self.send_header("Content-Length", str(length))
        self.send_header("ETag", '"one"')
        if not self.has_parts:
            self.send_header("Accept-Ranges", "none")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class _WholeStore(_Store):
    has_parts = False


@pytest.fixture(params=[_Store, _WholeStore])
def store(request: pytest.FixtureRequest) -> Generator[tuple[str, type[_Store]]]:
    server = HTTPServer(("127.0.0.1", 0), request.param)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/film.mp4?canary", request.param
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.runtimes("asyncio")
async def test_http_url(store: tuple[str, type[_Store]]) -> None:
    """A file on a web server is read by ranges; a server without them is refused, so that the file is not read into memory."""
    pytest.importorskip("fsspec")
    url, kind = store
    session = Session()
    if kind.has_parts:
        await put(url, session)

        assert bytes(session.held) == DATA
    else:
        with pytest.raises(InvalidRequestError, match="does not support range requests"):
            await put(url, session)


@pytest.mark.virtual_time
@pytest.mark.usefixtures("memory")
async def test_versions_of_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version depends on metadata about the content, in any spelling, and not on the time of the last access."""

    async def version(info: dict[str, object]) -> object:
        known: dict[str, object] = {"name": "/bucket/film.mp4", "size": len(DATA), "type": "file"}

        def tell(_system: object, _path: str) -> dict[str, object]:
            return known | info

        monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.info", tell)
        states: list[UploadState] = []
        await uploads_over(FakeTransport(Session())).put(
            URL,
            "memory://bucket/film.mp4",
            state=UploadState(len(DATA), chunk_size=GRANULE),
            on_progress=lambda progress: states.append(progress.state or UploadState(1)),
        )
        return states[-1].to_dict().get("version")

    first = await version({"ETag": "a", "atime": 1})

    assert first is not None
    assert await version({"etag": "a", "atime": 2}) == first
    assert await version({"etag": "b"}) != first
    assert await version({}) is None


class Pipe(io.RawIOBase):
    """A file that cannot seek."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._data.readinto(memoryview(buffer)[:100_000])


@pytest.mark.virtual_time
@pytest.mark.parametrize("length", [None, len(DATA)])
async def test_pipe(length: int | None) -> None:
    """A file that cannot seek is read once: with its length in chunks that can be sent again, without in one request."""
    session = Session(faults={1: lambda _: reset()} if length else {})
    await put(Pipe(DATA), session, length=length)

    assert bytes(session.held) == DATA


@pytest.mark.virtual_time
async def test_pipe_without_length_says_why() -> None:
    """If the single request of a pipe fails, the error says why it is not retried."""
    with pytest.raises(UploadError, match="unknown length cannot be resumed"):
        await put(Pipe(DATA), Session(faults={1: lambda _: reset()}))


async def test_silent_pipe_can_be_cancelled() -> None:
    """An upload from a pipe without a writer can be cancelled."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as pipe:
        with anyio.move_on_after(0.05) as scope:
            await put(pipe, Session())
        os.close(write_end)  # lets go of the thread that was left behind

    assert scope.cancelled_caught


class SlowFile(io.BytesIO):
    """A file whose read ahead ends when it is released, and which detects concurrent reads."""

    def __init__(self) -> None:
        super().__init__(DATA)
        self.is_reading = self.was_read_twice_at_once = False
        self.read_ahead, self.release, self.other_read = Event(), Event(), Event()

    def read(self, size: int | None = -1, /) -> bytes:
        if not size:
            return b""
        if self.is_reading:
            self.was_read_twice_at_once = True
            self.other_read.set()
        elif self.tell() and not self.read_ahead.is_set():  # the first piece is read from the beginning
            self.is_reading = True
            self.read_ahead.set()
            self.release.wait(10)
            self.other_read.wait(0.1)
            self.is_reading = False
        return super().read(size)


@pytest.mark.runtimes("asyncio", "trio")
async def test_a_file_is_read_by_one_thread() -> None:
    """If a chunk fails while the next piece is being read, the next chunk is not read before that read has ended."""
    file, session, failed = SlowFile(), Session(), anyio.Event()

    class BreakingTransport(FakeTransport):
        async def send(self, request: HttpRequest, /) -> HttpResponse:
            if not failed.is_set():
                assert isinstance(request.body, Body)
                async with aclosing(request.body.pieces()) as pieces:
                    await anext(pieces)
                    assert await anyio.to_thread.run_sync(file.read_ahead.wait, 10)
                    failed.set()
                raise TransportError("refused", delivery=Delivery.NEVER_SENT, phase=Phase.CONNECT)
            file.release.set()
            return await super().send(request)

    async def release() -> None:
        await failed.wait()
        await anyio.sleep(0.1)  # the next attempt follows after 0.07 s
        file.release.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(release)
        await uploads_over(BreakingTransport(session), SMALL_PIECES).put(URL, file)

    assert not file.was_read_twice_at_once
    assert bytes(session.held) == DATA


async def test_path_that_looks_like_a_url(tmp_path: Path) -> None:
    """A `Path` is never taken for a URL."""
    with pytest.raises(InvalidRequestError, match="check the name"):
        await put(Path("memory://bucket/film.mp4"), Session())
