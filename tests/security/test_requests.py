"""No secret is shown by an error of a call, over every transport, with the locals of every frame."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count
from types import FrameType
from typing import Any, cast

import anyio
import anyio.abc
import attrs
import pytest

from mux_async import Mux, Timeouts, errors, explain
from mux_async.errors import MuxError
from mux_async.params import CreateSimulcastTargetRequestParam
from mux_async.transport import HttpRequest, TransportSettings
from tests.security.canaries import CANARIES, TOKEN_ID, as_json, leaks, leaks_of

pytestmark = pytest.mark.anyio

Answer = Callable[[anyio.abc.ByteStream], Awaitable[None]]
Call = Callable[[Mux], Awaitable[object]]
_accounts = count()

Chosen = tuple[str, dict[str, Any]]
CHOICES: Mapping[str, tuple[str, Chosen]] = {
    "asyncio-aiohttp": ("asyncio", ("aiohttp", {})),
    "asyncio-aiohttp-session": ("asyncio", ("aiohttp", {"trust_env": True})),
    "asyncio-httpx": ("asyncio", ("httpx", {})),
    "trio-httpx": ("trio", ("httpx", {})),
}
"""Event loop, transport and its settings."""


@pytest.fixture(params=CHOICES)
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return CHOICES[request.param][0]


@pytest.fixture
def transport(request: pytest.FixtureRequest, anyio_backend: str) -> Chosen:
    return CHOICES[request.node.callspec.params["anyio_backend"]][1]


@asynccontextmanager
async def serve(answer: Answer) -> AsyncGenerator[str]:
    """Listen on loopback and answer each connection with *answer*, once its first bytes are there."""

    async def handle(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            try:
                await stream.receive()
                await answer(stream)
            except (anyio.BrokenResourceError, anyio.EndOfStream):
                pass

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        yield f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()


def raw(content: bytes) -> Answer:
    async def answer(stream: anyio.abc.ByteStream) -> None:
        await stream.send(content)

    return answer


def reply(status: int, body: bytes, *more: str) -> Answer:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *more, "", ""]
    return raw("\r\n".join(lines).encode() + body)


async def silence(_: anyio.abc.ByteStream) -> None:
    await anyio.sleep_forever()


def refused(status: int) -> Answer:
    return reply(status, as_json({"error": {"type": "t", "messages": ["no"]}}))


def make_client(origin: str, transport: Chosen, **more: Any) -> Mux:
    name, settings = transport
    options: dict[str, Any] = {"max_attempts": 1, "timeouts": Timeouts(connect=2.0, read=0.3), **more}
    return Mux(
        token_id=TOKEN_ID,
        token_secret=CANARIES["token secret"],
        base_url=origin,
        account=f"canary-{next(_accounts)}",
        transport=name,
        transport_settings=TransportSettings(**{**settings, **options.pop("settings", {})}),
        **options,
    )


def create(mux: Mux) -> Awaitable[object]:
    return mux.video.assets.create(
        inputs=[{"url": f"https://example.com/film.mp4?Signature={CANARIES['input URL']}"}],
        playback_policies=["public"],
        extra_headers={"X-Own": CANARIES["header"]},
    )


def broadcast(mux: Mux) -> Awaitable[object]:
    target: CreateSimulcastTargetRequestParam = {"url": "rtmp://example.com/live", "stream_key": CANARIES["stream key"]}
    return mux.video.live_streams.create(playback_policies=["public"], simulcast_targets=[target])


def by_path(mux: Mux) -> Awaitable[object]:
    return mux.request(
        "POST", "/video/v1/assets", body={"secret": CANARIES["input URL"]}, headers={"X-Own": CANARIES["header"]}
    )


def read(mux: Mux) -> Awaitable[object]:
    return mux.video.live_streams.retrieve("abc", extra_headers={"X-Own": CANARIES["header"]})


def listed(mux: Mux) -> Awaitable[object]:
    async def first() -> object:
        return [each async for each in mux.video.assets.list(extra_headers={"X-Own": CANARIES["header"]})]

    return first()


def downloaded(mux: Mux) -> Awaitable[object]:
    async def all_of_it() -> object:
        download = mux.video.playback.animated("id", "gif", extra_headers={"X-Own": CANARIES["header"]})
        async with download.stream() as stream:
            return [chunk async for chunk in stream]

    return all_of_it()


CALLS = {"create": create, "broadcast": broadcast, "request": by_path, "read": read, "list": listed, "download": downloaded}
STREAM = as_json({"data": {"id": "x", "stream_key": CANARIES["stream key"]}})

FAILURES: Mapping[str, tuple[Answer, set[type[BaseException]]]] = {
    "closed": (raw(b""), {errors.TransportError, errors.AmbiguousOutcomeError}),
    "silent": (silence, {errors.TransportTimeoutError, errors.AmbiguousOutcomeError}),
    "no HTTP": (
        raw(b"nonsense\r\n\r\n"),
        {errors.TransportError, errors.AmbiguousOutcomeError, errors.ConnectError},
    ),
    "bad header": (
        raw(b"HTTP/1.1 200 OK\r\nX y: \x00\r\n\r\n"),
        {errors.TransportError, errors.AmbiguousOutcomeError, errors.ConnectError},
    ),
    "cut": (
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + STREAM),
        {errors.TransportError, errors.AmbiguousOutcomeError},
    ),
    "no JSON": (reply(200, b'["' + STREAM), {errors.UndecodableResponseError, errors.AmbiguousOutcomeError}),
    "too large": (
        reply(200, STREAM + b" " * 5000),
        {errors.ResponseTooLargeError, errors.AmbiguousOutcomeError},
    ),
    "400": (refused(400), {errors.BadRequestError}),
    "401": (refused(401), {errors.AuthenticationError}),
    "403": (refused(403), {errors.PermissionDeniedError}),
    "404": (refused(404), {errors.NotFoundError}),
    "409": (refused(409), {errors.ConflictError}),
    "412": (refused(412), {errors.NotReadyError}),
    "418": (refused(418), {errors.APIStatusError}),
    "429": (refused(429), {errors.RateLimitedError}),
    "500": (refused(500), {errors.ServerError, errors.AmbiguousOutcomeError}),
    "redirect": (reply(302, b"", "Location: https://example.com/?sig=CANARY"), {errors.APIStatusError}),
}


async def caught(call: Awaitable[object]) -> BaseException:
    """Return what *call* raises, a cancellation too."""
    try:
        await call
    except BaseException as error:  # noqa: BLE001 - that is what is asked for
        return error
    raise AssertionError("it was expected to fail")


def own_log(caplog: pytest.LogCaptureFixture) -> str:
    """Return what was logged here; httpcore logs the headers of answers, to whoever asks it for its details."""
    ours = (record for record in caplog.records if record.name.startswith("mux_async"))
    return "\n".join(f"{record.getMessage()} {vars(record)}" for record in ours)


class Listener:
    """Listens to everything, and keeps what it gets."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def options(self) -> dict[str, Any]:
        return {"listeners": [self.events.append], "on_request": self.events.append, "on_response": self.events.append}

    def leaks(self) -> list[str]:
        """Return every secret in an event, at any depth; headers of answers are Mux's own, and are given to ``on_response`` as they are."""
        members = [attrs.asdict(each, recurse=False, filter=lambda field, _: field.name != "headers") for each in self.events]
        shown = [f"{each!r} {attrs.asdict(each.call) if hasattr(each, 'call') else ''}" for each in self.events]
        return leaks(f"{members} {shown}")


@pytest.mark.parametrize(
    ("call", "how"), [("create", how) for how in FAILURES] + [(call, how) for call in CALLS for how in ("closed", "cut", "500")]
)
async def test_failed_calls(transport: Chosen, how: str, call: str, caplog: pytest.LogCaptureFixture) -> None:
    """However a call fails, no rendering of its error shows a secret, nor does a log line at any level."""
    caplog.set_level(logging.DEBUG)
    answer, expected = FAILURES[how]
    listener = Listener()
    async with serve(answer) as origin, make_client(origin, transport, max_response_bytes=3000, **listener.options()) as mux:
        error = await caught(CALLS[call](mux))

    assert type(error) in expected, repr(error)
    assert leaks_of(error) == []
    assert len(listener.events) >= 4
    assert listener.leaks() == []
    assert isinstance(error, MuxError)
    assert leaks(f"{error.to_dict()} {explain(error)}") == []
    assert not leaks(own_log(caplog))


@pytest.mark.parametrize("call", CALLS)
async def test_no_connection(transport: Chosen, call: str, caplog: pytest.LogCaptureFixture) -> None:
    """A refused connection, a refused proxy, a refusing proxy and a server without TLS show no secret."""
    caplog.set_level(logging.DEBUG)
    proxied = {"proxy": f"http://user:{CANARIES['proxy password']}@127.0.0.1:9"}
    found: list[BaseException] = []
    async with make_client("http://127.0.0.1:9", transport) as mux:
        found.append(await caught(CALLS[call](mux)))
    async with make_client("http://127.0.0.1:9", transport, settings=proxied) as mux:
        found.append(await caught(CALLS[call](mux)))
    async with serve(refused(407)) as origin:
        proxied["proxy"] = proxied["proxy"].replace("http://", "").replace("127.0.0.1:9", origin.removeprefix("http://"))
        settings = {"proxy": "http://" + proxied["proxy"]}
        async with make_client("https://localhost:9", transport, settings=settings) as mux:
            found.append(await caught(CALLS[call](mux)))
        context = {"ssl_context": ssl.create_default_context()}
        async with make_client(origin.replace("http://", "https://"), transport, settings=context) as mux:
            found.append(await caught(CALLS[call](mux)))

    for error in found:
        assert isinstance(error, errors.ConnectError), repr(error)
        assert leaks_of(error) == []
    assert not leaks(own_log(caplog))


@pytest.mark.parametrize("call", CALLS)
async def test_stopped_calls(transport: Chosen, call: str) -> None:
    """Neither a cancellation, nor a deadline, nor a closed client shows a secret."""
    async with serve(silence) as origin:
        async with make_client(origin, transport, timeouts=Timeouts()) as mux:
            cancelled: list[BaseException] = []
            late: list[BaseException] = []

            async def cancel() -> None:
                with anyio.move_on_after(0.2):
                    try:
                        await CALLS[call](mux)
                    except BaseException as error:
                        cancelled.append(error)
                        raise

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cancel)
                late.append(await caught(CALLS[call](mux.with_options(deadline=0.2, share_reads=False))))
        closed = await caught(CALLS[call](mux))

    assert isinstance(late[0], errors.DeadlineExceededError | errors.AmbiguousOutcomeError)
    assert isinstance(closed, errors.ClosedError)
    assert [leaks_of(error) for error in (*cancelled, *late, closed)] == [[], [], []]


async def test_waits_for_limits(transport: Chosen) -> None:
    """A call that is refused because its grant would come after the deadline shows no secret."""
    async with serve(refused(404)) as origin, make_client(origin, transport, deadline=0.05) as mux:
        error = await caught(create(mux))
        for _ in range(3):
            if not isinstance(error, errors.LimitWaitError):
                error = await caught(create(mux))

    assert isinstance(error, errors.LimitWaitError)
    assert leaks_of(error) == []


async def test_pages_that_come_back(transport: Chosen) -> None:
    """A list that fails on a later page shows nothing of the pages before."""
    page = as_json({"data": [{"id": "x", "stream_key": CANARIES["stream key"]}], "next_cursor": "A"})

    async def streams(mux: Mux) -> object:
        listed = mux.video.assets.list(extra_headers={"X-Own": CANARIES["header"]})
        return [each async for each in listed]

    async with serve(reply(200, page)) as origin, make_client(origin, transport) as mux:
        error = await caught(streams(mux))

    assert isinstance(error, errors.RepeatedPageError), repr(error)
    assert leaks_of(error) == []


async def test_strict_mode(transport: Chosen) -> None:
    """In strict mode the error names what is unknown, and shows no value, neither unknown nor known."""
    secret = CANARIES["stream key"]
    body = {"id": "x", "stream_key": secret, "srt_secret": secret, secret: secret, "status": secret, "tracks": [{"x": secret}]}
    async with serve(reply(200, as_json({"data": body}))) as origin, make_client(origin, transport, strict=True) as mux:
        error = await caught(read(mux))

    assert isinstance(error, errors.DriftError), repr(error)
    assert len(error.places) >= 3
    assert leaks_of(error) == []
    assert leaks(f"{error.to_dict()} {explain(error)}") == []


async def test_wrong_arguments(transport: Chosen) -> None:
    """What cannot be sent is refused without being shown, whichever argument it is."""
    async with make_client("http://127.0.0.1:9", transport) as mux:
        wrong = [
            mux.video.assets.create(
                inputs=[cast("Any", {"url": CANARIES["input URL"], "x": object()})], playback_policies=["public"]
            ),
            mux.video.assets.create(inputs=[], extra_headers={"X-Own": CANARIES["header"] + "\r\n"}),
            mux.video.live_streams.create(simulcast_targets=[cast("Any", {"stream_key": CANARIES["stream key"], "url": b"x"})]),
            mux.video.live_streams.retrieve("", extra_headers={"X-Own": CANARIES["header"]}),
            mux.request("TEAPOT", "/x", headers={"Authorization": CANARIES["header"]}),
        ]
        found = [await caught(each) for each in wrong]

    for error in found:
        assert isinstance(error, errors.InvalidRequestError), repr(error)
        assert leaks_of(error) == []


async def test_transports_alone(transport: Chosen) -> None:
    """A transport that is used by itself shows nothing of the request that it fails on."""
    from mux_async_aiohttp import AiohttpTransport
    from mux_async_httpx import HttpxTransport

    name, settings = transport
    kind = AiohttpTransport if name == "aiohttp" else HttpxTransport
    over = kind(TransportSettings(**settings))
    headers = {"Authorization": f"Basic {CANARIES['header']}"}
    found: list[BaseException] = []
    try:
        for origin in ("http://127.0.0.1:9", "https://127.0.0.1:9", "ftp://127.0.0.1", "http://[::1"):
            url = f"{origin}/x?Signature={CANARIES['upload URL']}"
            found += [
                await caught(over.send(HttpRequest("PUT", url, headers, body)))
                for body in (CANARIES["stream key"].encode(), CANARIES["stream key"].encode() * 3000)
            ]
        async with serve(silence) as origin:
            request = HttpRequest("GET", f"{origin}/?s={CANARIES['upload URL']}", headers, timeouts=Timeouts(read=0.2))
            found.append(await caught(over.send(request)))
    finally:
        await over.aclose()

    for error in found:
        assert isinstance(error, errors.TransportError), repr(error)
        assert leaks_of(error) == []


async def test_frames_of_the_caller(transport: Chosen) -> None:
    """The frames of a callback, and of the caller, keep their locals, for debugging."""

    async def chunks() -> AsyncGenerator[bytes]:
        mine = "kept"
        yield mine.encode()
        raise RuntimeError("of the caller")

    async with serve(silence) as origin, make_client(origin, transport) as mux:
        caller = "kept too"
        error = await caught(mux.uploads.put(f"{origin}/up?s={CANARIES['upload URL']}", chunks()))

    assert caller == "kept too"
    assert isinstance(error, errors.UploadError)
    assert isinstance(error.__cause__, RuntimeError)
    frames = list[FrameType]()
    trace = error.__cause__.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    assert [frame.f_locals for frame in frames if frame.f_code.co_name == "chunks"] == [{"mine": "kept"}]
    assert leaks_of(error) == []


def test_every_status_error_is_tried() -> None:
    """Every class of the tree that a call can raise is among what is tried here."""
    tried = {cls for _, expected in FAILURES.values() for cls in expected}
    tried |= {
        errors.ConnectError,
        errors.RepeatedPageError,
        errors.DeadlineExceededError,
        errors.DriftError,
        errors.ClosedError,
        errors.LimitWaitError,
        errors.InvalidRequestError,
    }
    of_a_call = {cls for cls in _below(MuxError) if cls.__module__ == "mux_async.errors"} - {
        errors.ConfigurationError,  # tests.security.test_settings has these
        errors.MissingCredentialsError,
        errors.MissingExtraError,
        errors.UnknownTransportError,
        errors.WrongRuntimeError,
        errors.ProcessingError,  # of Mux's own sentences, as those below it: test_sentences
        *_below(errors.ProcessingError),
        errors.UploadError,  # test_uploads
        errors.TransportClosedError,  # a client closes its own
        errors.ResponseError,  # a base
        errors.UnknownArgumentError,  # of Python's call, which names no value
        errors.UnknownNameError,
    }

    assert of_a_call <= tried


def _below(cls: type[BaseException]) -> set[type[BaseException]]:
    return {each for child in cls.__subclasses__() for each in {child, *_below(child)}}
