"""The status of an answer counts before its body. Over a fake transport, in virtual time, on asyncio and trio."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from random import Random
from typing import Any
from uuid import uuid4

import anyio
import pytest

from mux_async import (
    AmbiguousOutcomeError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    DeadlineExceededError,
    LimitSettings,
    Mux,
    MuxError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
    TransportError,
)
from mux_async.errors import Delivery, Phase, ResponseError, ResponseTooLargeError, UndecodableResponseError
from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.transport import HttpResponse

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

CUT = TransportError("the body broke off", delivery=Delivery.ANSWERED, phase=Phase.READ_BODY)
LIMIT = 1000
EPOCH = 1_700_000_000


def with_body(body: Any, encoding: str = "") -> Callable[..., HttpResponse]:
    headers = {"X-Request-Id": "r1", **({"Content-Encoding": encoding} if encoding else {})}

    def answer(status: int, **more: str) -> HttpResponse:
        return respond(status, body=body, headers={**headers, **more})

    return answer


PACKED = gzip.compress(b'{"data": {"id": "a1"}}', mtime=0)
UNUSABLE: dict[str, Callable[..., HttpResponse]] = {
    "unknown encoding": with_body(b"x", "br"),
    "not what it says": with_body(b'{"error": {}}', "gzip"),
    "ends too early": with_body(PACKED[:-9], "gzip"),
    "flipped": with_body(PACKED[:12] + b"\xff\xff" + PACKED[14:], "gzip"),
    "too long": with_body(b"x" * (LIMIT + 1)),
    "too long unpacked": with_body(gzip.compress(b" " * 100_000), "gzip"),
}
BROKEN = {**UNUSABLE, "broken off": with_body([b'{"da', CUT])}


@pytest.fixture(params=BROKEN)
def broken(request: pytest.FixtureRequest) -> Callable[..., HttpResponse]:
    """Return what makes an answer whose body cannot be had."""
    return BROKEN[request.param]


def client(transport: FakeTransport, **options: Any) -> Mux:
    settings: dict[str, Any] = {
        "token_id": "id",
        "token_secret": "secret",
        "base_url": "https://mux.test",
        "account": f"test-{uuid4()}",
        "clock": anyio.current_time,
        "random": Random(1),
        "max_response_bytes": LIMIT,
    }
    return Mux(transport=transport, **{**settings, **options})


def script(*answers: Callable[[], HttpResponse]) -> FakeTransport:
    left = list(answers)
    return FakeTransport(lambda _: left.pop(0)())


def ok() -> HttpResponse:
    return respond(json={"data": {"id": "a1"}})


@pytest.mark.parametrize("status", [408, 500, 502, 503, 599])
async def test_a_read_goes_again(broken: Callable[..., HttpResponse], status: int) -> None:
    """A GET that is answered 5xx is sent again, whatever is in the body."""
    transport = script(lambda: broken(status), lambda: broken(status), ok)
    raw = await client(transport).video.assets.with_raw_response.retrieve("a1")

    assert [attempt.status for attempt in raw.attempts] == [status, status, 200]
    assert transport.unfinished == 0


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, APIStatusError),
        (400, BadRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (409, ConflictError),
        (418, APIStatusError),
        (503, ServerError),
        (101, APIStatusError),
    ],
)
@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE"])
async def test_errors_are_what_they_are(
    broken: Callable[..., HttpResponse], status: int, kind: type[APIStatusError], verb: str
) -> None:
    """An answer with an error status is that error, with its headers; the body is ``None``, and the message says why."""
    with pytest.raises(kind, match="its body was lost") as caught:
        await client(script(lambda: broken(status)), max_attempts=1).request(verb, "/x")

    error = caught.value
    assert (error.status, error.request_id, error.body, error.messages) == (status, "r1", None, ())
    assert isinstance(error.__cause__, MuxError)


async def test_a_429_closes_the_bucket(broken: Callable[..., HttpResponse]) -> None:
    """A 429 is a 429: the bucket closes for as long as it says, and the request goes again after that, a POST too."""
    for verb in ("GET", "POST"):
        transport = script(lambda: broken(429, **{"Retry-After": "7"}), ok)
        mux = client(transport)
        start = anyio.current_time()
        await mux.request(verb, "/x")
        snapshot = mux.limits.snapshot()

        assert anyio.current_time() - start >= 7.0
        assert (snapshot.post.throttled, snapshot.other.throttled) == ((1, 0) if verb == "POST" else (0, 1))


async def test_a_429_counts_when_its_head_is_there() -> None:
    """The bucket closes with the head of a 429: not when its body is there, and also when the caller is cancelled before that."""

    async def drip() -> AsyncIterator[bytes]:
        yield b"{"
        await anyio.sleep_forever()

    mux = client(FakeTransport(lambda _: respond(429, body=drip())))
    with anyio.move_on_after(1.0):
        await mux.request("GET", "/x")

    assert mux.limits.snapshot().other.throttled == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, AuthenticationError), (404, NotFoundError), (503, DeadlineExceededError), (429, DeadlineExceededError)],
)
async def test_a_deadline_in_the_body_of_an_error(status: int, kind: type[MuxError]) -> None:
    """When the deadline passes in the body of an error, the status has arrived: it is raised, or named as the cause where it is no end."""

    async def drip() -> AsyncIterator[bytes]:
        yield b"{"
        await anyio.sleep_forever()

    transport = FakeTransport(lambda _: respond(status, body=drip()))
    start = anyio.current_time()
    with pytest.raises(kind) as caught:
        await client(transport, deadline=3.0).request("GET", "/x")

    assert anyio.current_time() - start == pytest.approx(3.0)
    assert [attempt.status for attempt in caught.value.attempts] == [status]
    if kind is DeadlineExceededError:
        assert isinstance(caught.value.__cause__, RateLimitedError if status == 429 else ServerError)
    assert transport.unfinished == 0


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_post_is_ambiguous(broken: Callable[..., HttpResponse], status: int) -> None:
    """A POST that is answered 5xx has an unknown outcome, whatever is in the body."""
    transport = script(lambda: broken(status))
    with pytest.raises(AmbiguousOutcomeError) as caught:
        await client(transport).request("POST", "/video/v1/assets")

    assert caught.value.status == status
    assert isinstance(caught.value.__cause__, ServerError)


async def test_a_delete_that_went_through(broken: Callable[..., HttpResponse]) -> None:
    """A 404 after a DELETE that may have been processed means that it is gone, and a 2xx that it is deleted, whatever is in the body."""
    await client(script(lambda: broken(500), lambda: broken(404))).video.assets.delete("a1")
    transport = script(lambda: broken(200))
    await client(transport).video.assets.delete("a1")

    assert len(transport.requests) == 1


@pytest.mark.parametrize("status", [200, 404])
async def test_an_empty_body_has_no_encoding(status: int) -> None:
    """A ``Content-Encoding`` without a body, as answers to HEAD have it, is nothing that could be undone."""
    transport = FakeTransport(lambda _: respond(status, headers={"Content-Encoding": "br"}))
    mux = client(transport, max_attempts=1)
    if status == 200:
        assert (await mux.request("HEAD", "/x")).value is None
    else:
        with pytest.raises(NotFoundError) as caught:
            await mux.request("HEAD", "/x")
        assert "lost" not in str(caught.value)


@pytest.mark.parametrize("name", UNUSABLE)
@pytest.mark.parametrize("verb", ["GET", "PUT", "POST"])
async def test_successes_that_cannot_be_read(name: str, verb: str) -> None:
    """A 2xx whose body cannot be used is an error that says that the request was acted on, and is not sent again."""
    transport = script(lambda: UNUSABLE[name](201))
    with pytest.raises(ResponseError) as caught:
        await client(transport).request(verb, "/x")

    error = caught.value
    assert (error.status, error.request_id, error.delivery) == (201, "r1", Delivery.ANSWERED)
    assert isinstance(error, ResponseTooLargeError if "too long" in name else UndecodableResponseError)
    assert len(error.attempts) == 1


CREATED_WRONG: dict[str, Callable[..., HttpResponse]] = {
    **BROKEN,
    "no JSON": with_body(b"<html>"),
    "empty": with_body(b""),
    "no data": with_body(b"{}"),
    "null": with_body(b'{"data": null}'),
    "a list": with_body(b'{"data": []}'),
    "text": with_body(b'{"data": "a1"}'),
}


@pytest.mark.parametrize("is_made", [True, False])
@pytest.mark.parametrize("name", CREATED_WRONG)
async def test_a_create_is_looked_for(name: str, is_made: bool) -> None:
    """A create with a key whose 201 cannot be read is looked for and never sent again; not found, the error says what is known."""

    def answer(request: SentRequest) -> HttpResponse:
        if request.method == "POST":
            return CREATED_WRONG[name](201)
        now = EPOCH + int(anyio.current_time())
        made = {"id": "a1", "meta": {"external_id": "k"}, "created_at": str(now)}
        date = format_datetime(datetime.fromtimestamp(now, UTC), usegmt=True)
        return respond(json={"data": [made] if is_made else []}, headers={"Date": date})

    transport = FakeTransport(answer)
    mux = client(transport, limits=LimitSettings(enabled=False))
    if is_made:
        raw = await mux.video.assets.with_raw_response.create(inputs=[], once="k")
        assert (raw.value.id, raw.is_reconciled) == ("a1", True)
    else:
        with pytest.raises(AmbiguousOutcomeError, match="answered 201") as caught:
            await mux.video.assets.create(inputs=[], once="k")
        assert (caught.value.status, caught.value.request_id, caught.value.once) == (201, "r1", "k")
        assert isinstance(caught.value.__cause__, MuxError)
    assert [request.method for request in transport.requests].count("POST") == 1


@pytest.mark.parametrize("name", CREATED_WRONG)
async def test_a_create_within_its_deadline(name: str) -> None:
    """The search for such a create keeps to the deadline of the call, and what is known then is in the error."""
    transport = FakeTransport(
        lambda request: CREATED_WRONG[name](201) if request.method == "POST" else respond(json={"data": []})
    )
    start = anyio.current_time()
    with pytest.raises(AmbiguousOutcomeError) as caught:
        await client(transport, deadline=2.0).video.assets.create(inputs=[], once="k")

    assert anyio.current_time() - start <= 2.001
    assert (caught.value.status, caught.value.request_id, caught.value.once) == (201, "r1", "k")


async def test_the_body_of_an_error_is_bounded() -> None:
    """Of an answer with an error status no more than a mebibyte is read, since its status says what matters."""
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 65536
            yield b" " * 65536

    with pytest.raises(NotFoundError, match="its body was lost"):
        await client(FakeTransport(lambda _: respond(404, body=endless())), max_response_bytes=2**40).request("GET", "/x")

    assert read <= 2 * 1024 * 1024
