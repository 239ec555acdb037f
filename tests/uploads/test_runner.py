"""The runner: any source, over any transport, in constant memory, telling no secrets."""

from __future__ import annotations

import logging
import os
from array import array
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from zlib import crc32

import anyio
import pytest

from mux_async.errors import InvalidRequestError, UploadError
from mux_async.testing import FakeTransport, respond
from mux_async.transport import HttpRequest, HttpResponse
from mux_async.uploads import Source, UploadGoneError, UploadProgress, UploadReport, UploadState
from mux_async.uploads.machine import GRANULE
from tests.uploads.fake_session import SMALL_PIECES, URL, Session, reset, uploads_over

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

READ_SIZE = 1024 * 1024
DATA = Random(3).randbytes(3 * READ_SIZE + 4321)


async def put(
    source: Source,
    session: Session,
    *,
    length: int | None = None,
    state: UploadState | None = None,
    progress: list[UploadProgress] | None = None,
) -> UploadReport:
    uploads = uploads_over(FakeTransport(session))
    on_progress = progress.append if progress is not None else None
    return await uploads.put(URL, source, length=length, state=state, upload_id="u1", on_progress=on_progress)


async def pieces(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(DATA)
    return path


async def test_every_kind_of_source(film: Path) -> None:
    """A path, bytes, an open file and streams arrive unchanged."""
    with film.open("rb") as handle:
        handle.seek(10)
        sources: list[tuple[Source, int | None, bytes]] = [
            (film, None, DATA),
            (str(film), None, DATA),
            (DATA, None, DATA),
            (handle, None, DATA[10:]),
            (pieces(DATA), len(DATA), DATA),
            (pieces(DATA), None, DATA),
        ]
        for source, length, expected in sources:
            session = Session()
            report = await put(source, session, length=length)

            assert bytes(session.held) == expected
            assert report.size == len(expected)
        assert not handle.closed


async def test_small_chunks_in_order(film: Path) -> None:
    """Chunks follow each other without gap or overlap, and the last one ends the file."""
    session = Session()
    await put(film, session, state=UploadState(len(DATA), chunk_size=4 * GRANULE))

    assert session.ranges[0] == f"bytes 0-{4 * GRANULE - 1}/{len(DATA)}"
    assert session.ranges[-1] is not None
    assert session.ranges[-1].endswith(f"-{len(DATA) - 1}/{len(DATA)}")
    assert bytes(session.held) == DATA


async def test_progress_never_goes_back(film: Path) -> None:
    """Progress grows to the size and never decreases, although chunks are sent twice."""
    progress: list[UploadProgress] = []

    def forget_most(session: Session) -> Exception:
        del session.held[GRANULE:]
        return reset()

    session = Session(faults={1: forget_most, 2: lambda _: reset(), 4: lambda _: respond(503)})
    await put(film, session, state=UploadState(len(DATA), chunk_size=8 * GRANULE), progress=progress)

    sent = [each.sent for each in progress]
    assert sent == sorted(sent)
    assert (sent[0], sent[-1]) == (0, len(DATA))
    assert progress[-1].state is not None
    assert (progress[-1].state.offset, progress[-1].state.is_sure) == (len(DATA), True)
    assert progress[-1].state.crc == crc32(DATA)


async def test_lost_last_answer(film: Path) -> None:
    """A lost response to the last chunk costs one query and no byte."""
    session = Session(faults={1: lambda _: reset()})
    report = await put(film, session)

    assert session.ranges == [f"bytes 0-{len(DATA) - 1}/{len(DATA)}", f"bytes */{len(DATA)}"]
    assert report.requests == 2


async def test_stream_survives_a_break() -> None:
    """A stream of known length can lose a chunk, because the chunk is kept until the server has it."""

    def forget_half(session: Session) -> Exception:
        del session.held[GRANULE:]
        session.is_complete = False
        return reset()

    session = Session(faults={1: forget_half})
    await put(pieces(DATA), session, length=len(DATA))

    assert bytes(session.held) == DATA


async def test_stream_of_unknown_length_cannot_be_repeated() -> None:
    """Without a length there is one request; if it fails, the error says why it is not retried."""
    session = Session(faults={1: lambda _: reset()})
    with pytest.raises(UploadError, match="unknown length cannot be resumed") as caught:
        await put(pieces(DATA), session)

    assert not caught.value.resumable
    assert session.ranges == [None]


@pytest.mark.parametrize("length", [len(DATA) - 1, len(DATA) + 1])
async def test_stream_of_another_length(length: int) -> None:
    """A stream that is shorter or longer than its length does not become an asset."""
    session = Session()
    with pytest.raises(UploadError, match="pass its true length"):
        await put(pieces(DATA), session, length=length)

    assert not session.is_complete


async def test_file_changed_meanwhile(film: Path) -> None:
    """If a file is written to during its upload, the upload fails before a mix of two versions is complete."""

    def write(_: Session) -> HttpResponse:
        film.write_bytes(DATA[::-1])
        os.utime(film, ns=(1, 1))
        return respond(308, headers={"Range": f"bytes=0-{2 * GRANULE - 1}"})

    session = Session(faults={1: write})
    with pytest.raises(UploadError, match="changed while it was being uploaded") as caught:
        await put(film, session, state=UploadState(len(DATA), chunk_size=2 * GRANULE))

    assert not caught.value.resumable
    assert not session.is_complete


async def test_a_stream_is_closed_in_peace() -> None:
    """When an upload is cancelled, the stream's clean-up may still wait."""
    cleaned: list[float] = []

    class Silent(FakeTransport):
        async def send(self, request: HttpRequest, /) -> HttpResponse:
            await anyio.sleep_forever()
            return await super().send(request)

    async def stream() -> AsyncIterator[bytes]:
        try:
            yield b"x" * GRANULE
        finally:
            await anyio.sleep(2)
            cleaned.append(anyio.current_time())

    start = anyio.current_time()
    state = UploadState(2 * GRANULE, chunk_size=GRANULE)
    with anyio.move_on_after(1):
        await uploads_over(Silent()).put(URL, stream(), length=2 * GRANULE, state=state)

    assert cleaned == [start + 3.0]


async def test_long_answers(film: Path) -> None:
    """An endless response body of the upload host is cut off; its status is used."""
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield b"x" * 16 * 1024
            await anyio.lowlevel.checkpoint()

    session = Session(faults={1: lambda _: respond(body=endless())})
    with anyio.fail_after(10):
        await put(film, session)

    assert given < 10


@pytest.mark.parametrize("change", ["cut short", "written to"])
async def test_file_changed_within_a_chunk(film: Path, change: str) -> None:
    """If a file changes or shrinks while a chunk of it is being sent, the chunk is not completed."""
    session = Session()

    def on_progress(progress: UploadProgress) -> None:
        if progress.sent and change == "cut short":
            os.truncate(film, READ_SIZE)
        elif progress.sent:
            os.utime(film, ns=(1, 1))

    with pytest.raises(UploadError, match="changed while"):
        await uploads_over(FakeTransport(session), SMALL_PIECES).put(URL, film, on_progress=on_progress)

    assert session.ranges == []


async def test_resume_in_another_process(film: Path) -> None:
    """The stored state of a cancelled run is enough to resume: the server is asked and only the rest is sent."""
    session = Session()
    states: list[UploadState] = []

    def stop(progress: UploadProgress) -> None:
        if progress.state is not None and progress.state.offset >= 4 * GRANULE:
            states.append(progress.state)
            scope.cancel()

    state = UploadState(len(DATA), chunk_size=4 * GRANULE)
    with anyio.CancelScope() as scope:
        await uploads_over(FakeTransport(session)).put(URL, film, state=state, on_progress=stop)
    before = len(session.ranges)
    await put(film, session, state=UploadState.from_dict(states[0].to_dict()))

    assert session.ranges[before] == f"bytes */{len(DATA)}"
    assert str(session.ranges[before + 1]).startswith(f"bytes {4 * GRANULE}-")
    assert bytes(session.held) == DATA


async def test_resume_with_another_file(film: Path) -> None:
    """A state with another size is refused before anything is sent."""
    session = Session()
    with pytest.raises(InvalidRequestError, match="start a new upload"):
        await put(film, session, state=UploadState(len(DATA) + 1))

    assert session.ranges == []


async def test_gone(film: Path) -> None:
    """An expired URL has an error of its own."""
    with pytest.raises(UploadGoneError, match="start a new upload") as caught:
        await put(film, Session(faults={1: lambda _: respond(410)}))

    assert not caught.value.resumable


async def test_the_url_is_a_secret(film: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The upload URL is in no error, no log line and no repr."""
    caplog.set_level(logging.DEBUG)
    session = Session(faults=dict.fromkeys(range(1, 99), lambda _: reset()))
    with pytest.raises(UploadError) as caught:
        await put(film, session)

    assert caught.value.resumable
    assert "canary" not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r} {caplog.text}"


async def test_an_error_in_the_callback_comes_out(film: Path) -> None:
    """An error of the progress callback ends the upload and is raised to the caller, although a transport may wrap it."""

    class WrappingTransport(FakeTransport):
        async def send(self, request: HttpRequest, /) -> HttpResponse:
            try:
                return await super().send(request)
            except ZeroDivisionError as error:
                raise reset() from error

    failures: list[int] = []

    def fail(progress: UploadProgress) -> None:
        if progress.sent and not failures:
            failures.append(progress.sent)
            raise ZeroDivisionError

    session = Session()
    with pytest.raises(ZeroDivisionError):
        await uploads_over(WrappingTransport(session)).put(URL, DATA, on_progress=fail)
    assert session.ranges == []


async def test_sources_that_are_none(tmp_path: Path) -> None:
    """Missing, empty and unreadable sources are refused with a reason, and nothing is sent."""
    empty = tmp_path / "empty.mp4"
    empty.touch()
    session = Session()
    sources: list[tuple[Source, str]] = [
        (tmp_path / "no.mp4", "cannot be read"),
        (tmp_path, "is a folder"),
        ("a\0b", "cannot be the name"),
        (empty, "is empty"),
        (b"", "is empty"),
        (memoryview(array("i")), "is empty"),
    ]
    for source, message in sources:
        with pytest.raises(InvalidRequestError, match=message):
            await put(source, session)
    with pytest.raises(InvalidRequestError, match="not a source of bytes"):
        await put(5, session)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    assert session.ranges == []


async def test_files_that_are_open_the_wrong_way(film: Path) -> None:
    """A file that is open as text, for writing, or closed, is refused with advice."""
    closed = film.open("rb")
    closed.close()
    with film.open(encoding="latin-1") as text, (film.parent / "new.mp4").open("wb") as new:
        for file, message in [(text, "mode 'rb'"), (new, "for reading"), (closed, "keep it open")]:
            with pytest.raises(InvalidRequestError, match=message):
                await put(file, Session())  # pyright: ignore[reportArgumentType] - what the test is about


async def test_a_file_closed_meanwhile(film: Path) -> None:
    """A file that its owner closes during the upload ends it with an `UploadError`, like a disk failure."""
    with film.open("rb") as file:

        def on_progress(progress: UploadProgress) -> None:
            if progress.sent:
                file.close()

        with pytest.raises(UploadError, match="closed file"):
            await uploads_over(FakeTransport(Session()), SMALL_PIECES).put(URL, file, on_progress=on_progress)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
async def test_named_pipes(tmp_path: Path) -> None:
    """A named pipe is refused at once; opening it would block until it has a writer."""
    pipe = tmp_path / "film.mp4"
    os.mkfifo(pipe)
    with pytest.raises(InvalidRequestError, match="is a pipe"):
        await put(pipe, Session())


async def test_memory_with_gaps() -> None:
    """Any memory can be sent, including a view with gaps."""
    session = Session()
    await put(memoryview(b"a.b.c.")[::2], session)

    assert session.held == b"abc"
