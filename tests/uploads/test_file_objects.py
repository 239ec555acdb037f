"""File objects of the caller, with any behaviour: every byte arrives, or nothing is sent."""

from __future__ import annotations

import asyncio
import codecs
import gzip
import io
import mmap
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from tempfile import SpooledTemporaryFile
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mux_async import Mux, Secret
from mux_async.emulator import Emulator, EmulatorTransport
from mux_async.errors import InvalidRequestError, UploadError
from mux_async.testing import FakeTransport, SentRequest, VirtualTimeLoop, respond, virtual_trio_options
from mux_async.transport import HttpResponse
from mux_async.uploads import UploadState
from mux_async.uploads._file_objects import FileObject, FileObjectReader
from mux_async.uploads._runner import UploadRun
from mux_async.uploads._scheduler import UploadScheduler, UploadSettings
from mux_async.uploads._source import open_source
from mux_async.uploads.machine import GRANULE
from tests._examples import examples
from tests.uploads.fake_session import URL, Session, reset

pytestmark = pytest.mark.anyio

DATA = Random(12).randbytes(2 * GRANULE + 4321)


async def put(source: Any, session: Session | None = None, *, length: int | None = None) -> Session:
    """Send *source* in small chunks; if it can be read again, the second chunk is lost once. Returns what arrived."""
    reader = open_source(source, length=length)
    session = session or Session()
    run = UploadRun(
        transport=FakeTransport(session),
        url=Secret(URL),
        reader=reader,
        random=Random(1),
        scheduler=UploadScheduler(UploadSettings(memory=256 * 1024)),
    )
    try:
        await reader.prepare(0, 0)
        if reader.size is None:
            await run.run()
        else:
            session.faults = {2: lambda _: reset()}
            await run.run(UploadState(reader.size, chunk_size=GRANULE))
    finally:
        await reader.aclose()
    return session


# --- every way in which a file can behave ---

Form = Callable[[bytes], object]
FORMS: dict[str, Form] = {
    "bytes": lambda data: data,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "str": lambda data: data.decode("latin-1"),
    "int": lambda data: data[0] if data else 0,
    "list": list,
}
ERRORS: dict[str, Callable[[], Exception]] = {
    "OSError": lambda: OSError("no"),
    "ValueError": lambda: ValueError("no"),
    "TypeError": lambda: TypeError("no"),
    "NotImplementedError": NotImplementedError,
    "RuntimeError": lambda: RuntimeError("no"),
    "StopIteration": StopIteration,
    "KeyError": lambda: KeyError("no"),
    "EOFError": EOFError,
}


def make_error(name: str) -> Exception:
    return ERRORS[name]()


@attrs.frozen
class Behaviour:
    """How a file behaves.

    Attributes:
        way: Of its methods: ``plain``, ``async``, or ``coroutine`` for plain functions that return coroutines.
        sizes: How many of the bytes asked for each read returns, in turn; 0 is all, -1 is ``None`` first, -2 is twice as many.
        form: What a read returns.
        fails_at: The read that raises, from 1; ``None`` for none.
        error: What is raised.
        seek: ``works``, ``silent`` (returns ``None``), ``absent``, ``raises``, ``idle`` (does nothing), ``stuck`` (does not come back),
            ``relative`` (takes no second argument).
        tell: ``works``, ``absent``, ``none`` or ``raises``.
        seekable: What it says; ``None`` if it does not say.
        start: Where it stands.
        is_iterable: Whether it can be iterated over asynchronously, line by line.
    """

    way: str = "plain"
    sizes: tuple[int, ...] = (0,)
    form: str = "bytes"
    fails_at: int | None = None
    error: str = "OSError"
    seek: str = "works"
    tell: str = "works"
    seekable: bool | None = None
    start: int = 0
    is_iterable: bool = False


class OddFile:
    """A file with a `Behaviour`, to which everything but ``read`` is added as it says."""

    def __init__(self, how: Behaviour, data: bytes) -> None:
        self.how, self.data = how, data
        self.position = how.start
        self.reads = 0
        self.reused = bytearray()
        self.read = self._in_its_way(self._read)
        if how.seek == "relative":
            self.seek = self._in_its_way(self._seek_from_beginning)
        elif how.seek != "absent":
            self.seek = self._in_its_way(self._seek)
        if how.tell != "absent":
            self.tell = self._in_its_way(self._tell)
        if how.seekable is not None:
            self.seekable = self._in_its_way(lambda: how.seekable)

    def _in_its_way(self, method: Callable[..., object]) -> Callable[..., Any]:
        async def asynchronous(*args: Any) -> object:
            await anyio.lowlevel.checkpoint()
            return method(*args)

        if self.how.way == "plain":
            return method
        return asynchronous if self.how.way == "async" else lambda *args: asynchronous(*args)  # noqa: PLW0108 - is not a coroutine function

    def _read(self, size: int = -1, /) -> object:
        self.reads += 1
        if self.reads == self.how.fails_at:
            raise make_error(self.how.error)
        if size < 0:
            raise MemoryError("everything at once")
        count = self.how.sizes[self.reads % len(self.how.sizes)]
        if count == -1:
            return None
        if count == -2:
            size *= 2
        elif count:
            size = min(size, count)
        data = self.data[self.position : self.position + size]
        self.position += len(data)
        if self.how.form == "bytearray":  # the same memory each time, as files do that read into a buffer of theirs
            self.reused[:] = data
            return self.reused
        return FORMS[self.how.form](data)

    def _seek(self, position: int, whence: int = 0, /) -> int | None:
        match self.how.seek:
            case "raises":
                raise make_error(self.how.error)
            case "idle":
                return 0
            case "stuck" if whence == 0:
                raise make_error(self.how.error)
            case _:
                self.position = position + (len(self.data) if whence == 2 else 0)
                return None if self.how.seek == "silent" else self.position

    def _seek_from_beginning(self, position: int, /) -> int | None:
        return self._seek(position)

    def _tell(self) -> int | None:
        if self.how.tell == "raises":
            raise make_error(self.how.error)
        return None if self.how.tell == "none" else self.position


class IterableOddFile(OddFile):
    """One that can be iterated over in lines too, which is used last, because lines may be long."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        raise AssertionError("it was read line by line")


behaviours = st.builds(
    Behaviour,
    way=st.sampled_from(["plain", "plain", "async", "async", "coroutine"]),
    sizes=st.lists(st.sampled_from([0, 0, -1, -2, 1000, 77_777]), min_size=1, max_size=4)
    .filter(lambda sizes: set(sizes) != {-1})
    .map(tuple),
    form=st.sampled_from(["bytes", "bytes", "bytes", "bytearray", "memoryview", "str", "int", "list"]),
    fails_at=st.none() | st.integers(1, 12),
    error=st.sampled_from(sorted(ERRORS)),
    seek=st.sampled_from(["works", "works", "silent", "absent", "raises", "idle", "stuck", "relative"]),
    tell=st.sampled_from(["works", "works", "works", "absent", "none", "raises"]),
    seekable=st.sampled_from([None, None, True, False]),
    start=st.sampled_from([0, 0, 1, 300_000, len(DATA)]),
    is_iterable=st.booleans(),
)


@pytest.mark.parametrize("runtime", ["asyncio", "trio"])
@given(how=behaviours, knows_length=st.booleans())
@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.differing_executors])
def test_every_file(runtime: str, how: Behaviour, knows_length: bool) -> None:
    """For any behaviour of a file, its bytes arrive unchanged, or it is refused before anything is sent.

    One that fails half-way ends the upload with an error, and the upload is not completed.
    """
    file = IterableOddFile(how, DATA) if how.is_iterable else OddFile(how, DATA)
    wanted = DATA[how.start :]

    async def run() -> None:
        session = Session()
        try:
            await put(file, session, length=len(wanted) or None if knows_length else None)
        except InvalidRequestError:
            assert session.ranges == []
            assert how != Behaviour() and (  # noqa: PT018 - one claim
                how.form in {"str", "int", "list"} or how.fails_at or not wanted or how.seek == "stuck"
            )
        except UploadError:
            assert not session.is_complete
            assert how.fails_at
        else:
            assert session.is_complete
            assert bytes(session.held) == wanted

    options: dict[str, Any] = {"loop_factory": VirtualTimeLoop} if runtime == "asyncio" else virtual_trio_options()
    anyio.run(run, backend=runtime, backend_options=options)


@attrs.frozen
class Pieces:
    """An iterator of *pieces*, of *form*, that may end with an error."""

    pieces: tuple[int, ...]
    form: str
    error: str | None
    way: str

    def open(self, data: bytes) -> object:
        cuts = iter(self.pieces)
        parts: list[object] = []
        while data:
            size = next(cuts, len(data))
            parts.append(FORMS[self.form](data[:size]))
            data = data[size:]
        if self.error is not None and self.error != "StopIteration":  # a generator cannot raise that
            parts.append(make_error(self.error))

        def plain() -> Iterator[object]:
            for part in parts:
                if isinstance(part, Exception):
                    raise part
                yield part

        async def asynchronous() -> AsyncIterator[object]:
            for part in plain():
                yield part

        class Holder:
            def __aiter__(self) -> AsyncIterator[object]:
                return asynchronous()

        class NoIterator:
            def __aiter__(self) -> object:
                return plain()

        class Coroutine:
            async def __aiter__(self) -> object:
                return asynchronous()

        return {
            "plain": plain,
            "async": asynchronous,
            "holder": Holder,
            "no iterator": NoIterator,
            "coroutine": Coroutine,
        }[self.way]()


streams = st.builds(
    Pieces,
    pieces=st.lists(st.sampled_from([0, 1, 5, 1000, 100_000, 400_000]), max_size=8).map(tuple),
    form=st.sampled_from(["bytes", "bytes", "bytearray", "memoryview", "str", "int", "list"]),
    error=st.none() | st.sampled_from(sorted(ERRORS)),
    way=st.sampled_from(["plain", "async", "async", "holder", "no iterator", "coroutine"]),
)


@pytest.mark.parametrize("runtime", ["asyncio", "trio"])
@given(how=streams, knows_length=st.booleans())
@settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.differing_executors])
def test_every_stream(runtime: str, how: Pieces, knows_length: bool) -> None:
    """An iterator of anything that is bytes arrives; one of anything else is refused before anything is sent."""

    async def run() -> None:
        session = Session()
        try:
            await put(how.open(DATA), session, length=len(DATA) if knows_length else None)
        except InvalidRequestError:
            assert session.ranges == []
            assert how.form in {"str", "int", "list"} or how.way in {"no iterator", "coroutine"}
        except UploadError:
            assert not session.is_complete
            assert how.error
        else:
            assert bytes(session.held) == DATA

    options: dict[str, Any] = {"loop_factory": VirtualTimeLoop} if runtime == "asyncio" else virtual_trio_options()
    anyio.run(run, backend=runtime, backend_options=options)


# --- "nothing yet" ---


async def test_a_pipe_that_does_not_block() -> None:
    """A non-blocking pipe, whose reads return ``None`` while it is empty, arrives whole."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    pipe = os.fdopen(read_end, "rb")
    assert pipe.read(1) is None

    async def write() -> None:
        with os.fdopen(write_end, "wb", buffering=0) as file:
            for start in range(0, 300_000, 50_000):
                await anyio.to_thread.run_sync(_write_all, file, DATA[start : start + 50_000])
                await anyio.sleep(0.02)

    session = Session()
    with pipe:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await put(pipe, session)

    assert bytes(session.held) == DATA[:300_000]


def _write_all(file: io.FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


@pytest.mark.parametrize("way", ["plain", "async"])
async def test_nothing_for_ever(way: str) -> None:
    """A file that never returns data and has no descriptor is refused after a timeout, before anything is sent."""
    file = OddFile(Behaviour(way=way, sizes=(-1,), seek="absent"), DATA)
    reader = FileObjectReader(FileObject(file, file.read, no_data_timeout=0.01), None)
    with pytest.raises(InvalidRequestError, match="no data and no end"):
        await reader.prepare(0, 0)


# --- files of the standard library ---


async def test_mmap(tmp_path: Path) -> None:
    """A memory map, whose ``seek`` returns ``None``, is sent from its position, and a lost chunk is sent again."""
    path = tmp_path / "film.mp4"
    path.write_bytes(DATA)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        mapped.seek(7)
        session = await put(mapped)

    assert bytes(session.held) == DATA[7:]


async def test_gzip_is_read_in_threads(tmp_path: Path) -> None:
    """Files that are slow to read, such as compressed ones, are read only in worker threads."""
    path = tmp_path / "film.gz"
    path.write_bytes(gzip.compress(DATA))
    threads: set[int] = set()

    class Observed(gzip.GzipFile):
        def read(self, size: int | None = -1) -> bytes:
            threads.add(threading.get_ident())
            return super().read(size)

        def seek(self, offset: int, whence: int = 0) -> int:
            threads.add(threading.get_ident())
            return super().seek(offset, whence)

    with Observed(path) as file:
        session = await put(file)

    assert bytes(session.held) == DATA
    assert threads
    assert threading.get_ident() not in threads


async def test_text(tmp_path: Path) -> None:
    """Files that return text are refused before anything is sent, for any library."""
    path = tmp_path / "film.mp4"
    path.write_bytes(b"text")
    with path.open(encoding="utf-8") as file, codecs.getreader("utf-8")(path.open("rb")) as other:
        for text in (file, other, io.StringIO("text"), iter(["text"])):
            session = Session()
            with pytest.raises(InvalidRequestError, match="mode 'rb'"):
                await put(text, session)

            assert session.ranges == []


@pytest.mark.runtimes("asyncio", "uvloop")
async def test_pipe_of_a_child() -> None:
    """The output of an asyncio subprocess arrives, also without a line feed."""
    code = "import sys; sys.stdout.buffer.write(b'x' * 900_001)"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE)
    assert child.stdout is not None
    session = await put(child.stdout)
    await child.wait()

    assert bytes(session.held) == b"x" * 900_001


# --- files of async libraries ---


async def _open_anyio(path: Path) -> Any:
    return await anyio.open_file(path, "rb")


async def _open_aiofiles(path: Path) -> Any:
    aiofiles = pytest.importorskip("aiofiles")
    return await aiofiles.open(path, "rb")


async def _open_trio(path: Path) -> Any:
    import trio

    return await trio.open_file(path, "rb")


@pytest.mark.parametrize(
    ("anyio_backend", "open_async"),
    [("asyncio", _open_anyio), ("trio", _open_anyio), ("asyncio", _open_aiofiles), ("trio", _open_trio)],
    ids=["anyio-asyncio", "anyio-trio", "aiofiles", "trio"],
    indirect=["anyio_backend"],
)
async def test_async_files(tmp_path: Path, open_async: Callable[[Path], Any]) -> None:
    """The files of anyio, aiofiles and trio are read in pieces, from their position, and a lost chunk is sent again.

    Memory does not grow with the file, although there is no line feed in it; and an upload of one can be resumed.
    """
    path = tmp_path / "film.mp4"
    data = b"x" * 12_000_000
    path.write_bytes(data)
    file = await open_async(path)
    await file.seek(5)
    received = 0

    def answer(request: SentRequest) -> HttpResponse:
        nonlocal received
        line = request.headers["Content-Range"]
        first, last = map(int, line.removeprefix("bytes ").partition("/")[0].split("-"))
        assert first == received
        received = last + 1
        return respond(200) if received == len(data) - 5 else respond(308, headers={"Range": f"bytes=0-{last}"})

    class Discarding(FakeTransport):
        async def send(self, request: Any, /) -> HttpResponse:
            async for _ in request.body.pieces():
                pass
            return answer(SentRequest(request.method, request.url, request.headers, b""))

    reader = open_source(file)
    scheduler = UploadScheduler(UploadSettings(memory=256 * 1024))
    tracemalloc.start()
    try:
        await UploadRun(transport=Discarding(), url=Secret(URL), reader=reader, random=Random(1), scheduler=scheduler).run()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        await reader.aclose()
    session = await _tail(file)
    await file.aclose() if hasattr(file, "aclose") else await file.close()

    assert received == len(data) - 5
    assert peak < 4_000_000
    assert session.is_complete


async def _tail(file: Any) -> Session:
    """Send the last bytes of *file* with a chunk lost on the way, which takes seeking."""
    await file.seek(-(3 * GRANULE), io.SEEK_END)
    return await put(file)


# --- uploads of web frameworks ---


def _starlette() -> Any:
    from starlette.datastructures import UploadFile

    return UploadFile(_spooled(), size=len(DATA), filename="film.mp4")


def _fastapi() -> Any:
    from fastapi import UploadFile

    return UploadFile(_spooled(), size=len(DATA), filename="film.mp4")


def _litestar() -> Any:
    from litestar.datastructures import UploadFile

    return UploadFile("video/mp4", "film.mp4", DATA, max_spool_size=1000)


def _django() -> Any:
    from django.core.files.uploadedfile import InMemoryUploadedFile

    return InMemoryUploadedFile(io.BytesIO(DATA), "film", "film.mp4", "video/mp4", len(DATA), None)


def _django_on_disk() -> Any:
    from django.core.files.uploadedfile import UploadedFile

    return UploadedFile(_spooled(), "film.mp4", "video/mp4", len(DATA))


def _quart() -> Any:
    from quart.datastructures import FileStorage

    return FileStorage(io.BytesIO(DATA), "film.mp4")


def _aiohttp() -> Any:
    from aiohttp.web_request import FileField
    from multidict import CIMultiDict, CIMultiDictProxy

    return FileField("film", "film.mp4", io.BufferedReader(io.BytesIO(DATA)), "video/mp4", CIMultiDictProxy(CIMultiDict()))  # pyright: ignore[reportArgumentType] - a stand-in


def _like_sanic() -> Any:
    return attrs.make_class("File", ["type", "body", "name"])("video/mp4", DATA, "film.mp4")


def _spooled() -> Any:
    file = SpooledTemporaryFile(max_size=1000)  # noqa: SIM115 - the test closes it
    file.write(DATA)
    file.seek(0)
    return file


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    "make",
    [_starlette, _fastapi, _litestar, _django, _django_on_disk, _quart, _aiohttp, _like_sanic],
    ids=lambda make: make.__name__,
)
async def test_uploads_of_web_frameworks(make: Callable[[], Any]) -> None:
    """The file objects of web frameworks can be uploaded; a lost chunk is sent again."""
    file = make()
    session = await put(file)

    assert bytes(session.held) == DATA
    if close := getattr(getattr(file, "file", None), "close", None):
        close()


@pytest.mark.runtimes("asyncio")
async def test_part_of_a_multipart_body() -> None:
    """A file field of a multipart body is read in pieces as it arrives."""
    from aiohttp import BodyPartReader, StreamReader
    from aiohttp.base_protocol import BaseProtocol
    from multidict import CIMultiDict, CIMultiDictProxy

    loop = asyncio.get_running_loop()
    content = StreamReader(BaseProtocol(loop), 2**24, loop=loop)
    content.feed_data(DATA + b"\r\n--line--\r\n")
    content.feed_eof()
    part = BodyPartReader(b"--line", CIMultiDictProxy(CIMultiDict()), content)  # type: ignore[arg-type,unused-ignore]
    session = await put(part)

    assert bytes(session.held) == DATA


# --- responses of HTTP clients ---


def _httpx_response() -> Any:
    import httpx

    return httpx.Response(200, content=b"abc")


def _requests_response() -> Any:
    import requests

    return requests.Response()


def _aiohttp_response() -> Any:
    from aiohttp import ClientResponse

    class Response(ClientResponse):
        def __init__(self) -> None:
            self._released = True

        @property
        def content(self) -> Any:  # type: ignore[override]
            from aiohttp import StreamReader

            return StreamReader

    return Response()


def _starlette_request() -> Any:
    from starlette.requests import Request

    return Request({"type": "http", "headers": []})


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (_httpx_response, ".aiter_bytes()"),
        (_requests_response, ".iter_content()"),
        (_aiohttp_response, ".content"),
        (_starlette_request, ".stream()"),
    ],
    ids=["httpx", "requests", "aiohttp", "starlette"],
)
async def test_responses(make: Callable[[], Any], name: str) -> None:
    """The response of an HTTP client is refused before anything is sent; the message names its iterator of bytes."""
    with pytest.raises(InvalidRequestError) as caught:
        open_source(make())

    assert name in str(caught.value)


# --- the whole ---


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    "source",
    [
        lambda: iter(["text"]),
        lambda: iter([1, 2]),
        lambda: io.StringIO("text"),
        lambda: OddFile(Behaviour(fails_at=1), DATA),
        lambda: OddFile(Behaviour(form="str", way="async"), DATA),
        io.BytesIO,
        lambda: iter([b"", b""]),
        object,
    ],
)
async def test_no_post_is_spent(source: Callable[[], Any]) -> None:
    """`Uploads.send` creates no upload for a source that cannot be used."""
    emulator = Emulator(clock=lambda: 1.7e9 + anyio.current_time())
    seen: list[str] = []

    class Observing(EmulatorTransport):
        async def send(self, request: Any, /) -> HttpResponse:
            seen.append(request.method)
            return await super().send(request)

    mux = Mux(token_id="test-token", token_secret="test-secret", transport=Observing(emulator), clock=anyio.current_time)
    async with mux:
        with pytest.raises(InvalidRequestError):
            await mux.uploads.send(source())

    assert seen == []


async def test_a_stream_that_fails_half_way() -> None:
    """An error of a stream after its first piece ends the upload, with the error as the cause."""

    async def stream() -> AsyncIterator[bytes]:
        yield DATA[:1000]
        raise ZeroDivisionError("by zero")

    with pytest.raises(UploadError, match="by zero") as caught:
        await put(stream())

    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_the_loop_is_free_while_a_file_is_opened() -> None:
    """A file with slow methods does not block the event loop, from the first call on."""
    let_go = threading.Event()

    class Slow(io.BytesIO):
        def seek(self, offset: int, whence: int = 0, /) -> int:
            let_go.wait(10)
            return super().seek(offset, whence)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(put, Slow(DATA)))
        await anyio.wait_all_tasks_blocked()
        let_go.set()
