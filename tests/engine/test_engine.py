"""The loop: what is sent, how often, what is raised. Over a fake transport, in virtual time, on asyncio and trio."""

from __future__ import annotations

import gzip
import logging
import os
import zlib
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any
from uuid import uuid4

import anyio
import pytest

from mux_async import (
    AmbiguousOutcomeError,
    APIStatusError,
    BadRequestError,
    BucketSettings,
    ConfigurationError,
    ConflictError,
    DeadlineExceededError,
    LimitSettings,
    LimitWaitError,
    Mux,
    MuxError,
    RateLimitedError,
    ServerError,
    TransportError,
    use_priority,
)
from mux_async.errors import (
    ClosedError,
    ConnectError,
    Delivery,
    Phase,
    ResponseTooLargeError,
    TransportClosedError,
    TransportTimeoutError,
    UndecodableResponseError,
)
from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.transport import HttpResponse

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

Answer = HttpResponse | BaseException
RESET = TransportError("connection reset", delivery=Delivery.MAYBE_PROCESSED, phase=Phase.READ_HEAD)
REFUSED = ConnectError("connection refused")
TIMEOUT = TransportTimeoutError("no answer in 60 s", delivery=Delivery.MAYBE_PROCESSED, phase=Phase.READ_HEAD)
CUT = TransportError("the body broke off", delivery=Delivery.ANSWERED, phase=Phase.READ_BODY)
OK = {"data": {"ok": True}}


def script(*answers: Callable[[], Answer]) -> FakeTransport:
    """Return a transport that gives *answers* in turn, each made when it is needed."""
    left = list(answers)

    def answer(request: SentRequest) -> Answer:
        assert left, f"a request too many: {request!r}"
        return left.pop(0)()

    return FakeTransport(answer)


def client(transport: FakeTransport, **options: Any) -> Mux:
    settings: dict[str, Any] = {
        "token_id": "id",
        "token_secret": "s3cr3t",
        "base_url": "https://mux.test",
        "account": f"test-{uuid4()}",
        "clock": anyio.current_time,
        "random": Random(1),
    }
    return Mux(transport=transport, **{**settings, **options})


def ok() -> HttpResponse:
    return respond(json=OK)


def status(number: int, body: object = None, **headers: str) -> Callable[[], HttpResponse]:
    return lambda: respond(number, json=body if body is not None else {}, headers=headers)


@pytest.mark.parametrize(
    "problem", [lambda: RESET, lambda: TIMEOUT, status(500), status(503), lambda: respond(body=[b'{"da', CUT])]
)
async def test_a_read_goes_again(problem: Callable[[], Answer]) -> None:
    """A GET that met a reset, a timeout, a 5xx or half a body is sent again, and says so in its attempts."""
    transport = script(problem, problem, ok)
    raw = await client(transport).request("GET", "/video/v1/assets")

    assert raw.value == OK
    assert len(raw.attempts) == 3
    assert transport.unfinished == 0


@pytest.mark.parametrize(
    "problem", [lambda: RESET, lambda: TIMEOUT, status(500), status(503), lambda: respond(201, body=[b'{"da', CUT])]
)
async def test_a_post_is_never_sent_twice(problem: Callable[[], Answer]) -> None:
    """A POST whose outcome is unknown is sent exactly once; the error says that it is ambiguous, and why."""
    transport = script(problem)
    with pytest.raises(AmbiguousOutcomeError) as caught:
        await client(transport).request("POST", "/video/v1/assets", body={"inputs": []})

    assert len(transport.requests) == 1
    assert len(caught.value.attempts) == 1
    assert caught.value.operation == "POST /video/v1/assets"
    assert isinstance(caught.value.__cause__, MuxError)


async def test_a_post_that_was_acted_on_says_so() -> None:
    """When only the body of a 201 was lost, the error carries the status and the request id."""
    transport = script(lambda: respond(201, body=[b'{"da', CUT], headers={"X-Request-Id": "r1"}))
    with pytest.raises(AmbiguousOutcomeError, match="answered 201") as caught:
        await client(transport).request("POST", "/video/v1/assets")

    assert (caught.value.status, caught.value.request_id) == (201, "r1")


@pytest.mark.parametrize("problem", [lambda: REFUSED, status(429)])
async def test_a_refused_post_goes_again(problem: Callable[[], Answer]) -> None:
    """A POST of which nothing was sent, or that was answered 429, is sent again."""
    transport = script(problem, ok)

    assert (await client(transport).request("POST", "/video/v1/assets")).value == OK


async def test_a_429_closes_the_bucket_for_all() -> None:
    """After a 429 with Retry-After, other calls of the same bucket wait too, and the first goes again when it opens."""
    transport = script(status(429, {"errors": ["Too many requests, retry later."]}, **{"Retry-After": "7"}), ok, ok)
    mux = client(transport)
    start, sent = anyio.current_time(), list[float]()

    async def call() -> None:
        await mux.request("GET", "/video/v1/assets")
        sent.append(anyio.current_time() - start)

    await call()
    await call()
    assert sent[0] == pytest.approx(7.25)  # the pause, and the slack
    assert sent[1] >= 7.0
    assert mux.limits.snapshot().other.throttled == 1


async def test_attempts_run_out() -> None:
    """After the last attempt the answer is raised as it is, with every attempt and both body shapes read."""
    transport = script(*[status(429, {"errors": ["slow down"]})] * 3)
    with pytest.raises(RateLimitedError, match="slow down") as caught:
        await client(transport, max_attempts=3).request("GET", "/x")

    assert [attempt.status for attempt in caught.value.attempts] == [429, 429, 429]
    assert caught.value.messages == ("slow down",)
    assert caught.value.type is None


@pytest.mark.parametrize(
    ("body", "kind", "messages"),
    [
        ({"error": {"type": "invalid_parameters", "messages": ["a", "b"]}}, "invalid_parameters", ("a", "b")),
        ({"error": {"type": "invalid_parameters", "message": "robots say it so"}}, "invalid_parameters", ("robots say it so",)),
        ({"errors": ["x"]}, None, ("x",)),
        ({"error": "text"}, None, ("text",)),
        ({"error": {"type": 7, "messages": [None, "a"]}}, None, ("a",)),
        ([1], None, ()),
        (None, None, ()),
    ],
)
async def test_error_bodies(body: object, kind: str | None, messages: tuple[str, ...]) -> None:
    """Every shape of error body that Mux uses is read, and any other does no harm."""
    transport = script(lambda: respond(400, json=body, headers={"X-Request-Id": "r9"}))
    with pytest.raises(BadRequestError) as caught:
        await client(transport).request("GET", "/x")

    error = caught.value
    assert (error.status, error.type, error.messages, error.request_id, error.body) == (400, kind, messages, "r9", body)


@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (401, "insufficient_scope", "use an access token that may use this part of the API"),
        (403, "robots_units_limit_exceeded", "raise the limit in the dashboard"),
        (403, "robots_workflow_not_available", "ask Mux to enable it"),
        (403, "forbidden", "has to accept them in the dashboard"),
    ],
)
async def test_advice(number: int, kind: str, advice: str) -> None:
    """Errors of Robots say what to do about them, as an attribute and in the text."""
    transport = script(status(number, {"error": {"type": kind, "message": "no"}}))

    with pytest.raises(APIStatusError) as caught:
        await client(transport).robots.jobs.summarize.create(parameters={"asset_id": "a"})
    error = caught.value
    assert error.advice is not None
    assert advice in error.advice
    assert error.advice in str(error)
    assert (error.status, error.type, error.messages) == (number, kind, ("no",))


async def test_no_advice() -> None:
    """Where Mux's own sentences say it all, there is none."""
    with pytest.raises(APIStatusError) as caught:
        await client(script(status(403, {"error": {"type": "forbidden", "messages": ["no"]}}))).video.assets.retrieve("a")

    assert caught.value.advice is None


async def test_an_error_that_is_no_json() -> None:
    """An error page of a proxy is kept as text."""
    transport = script(*[lambda: respond(502, body=b"<html>bad gateway")] * 2)
    with pytest.raises(ServerError) as caught:
        await client(transport, max_attempts=2).request("GET", "/x")

    assert caught.value.body == "<html>bad gateway"


async def test_a_conflict_is_final() -> None:
    """A 409 is given to the caller and not sent again."""
    with pytest.raises(ConflictError):
        await client(script(status(409))).request("POST", "/robots/v0/jobs/summarize")


async def test_a_redirect_is_not_followed() -> None:
    """A redirect is an error that names where it led; nothing is sent there."""
    transport = script(status(302, Location="https://elsewhere.test/film?signature=canary"))
    with pytest.raises(APIStatusError, match=r"elsewhere\.test/film.*not followed") as caught:
        await client(transport).request("GET", "/x")

    assert len(transport.requests) == 1
    assert "canary" not in str(caught.value)


@pytest.mark.timeout(30)
async def test_long_messages() -> None:
    """The text of an error is short enough to log, and made at once, whatever Mux repeats in it; its messages are whole."""
    problem = {"error": {"type": "invalid_parameters", "messages": ["x" * 100_000]}}
    with pytest.raises(BadRequestError) as caught:
        await client(script(lambda: respond(400, json=problem))).request("GET", "/x")

    assert len(str(caught.value)) < 1200
    assert caught.value.messages == ("x" * 100_000,)


async def test_raw_answers_show_no_secret() -> None:
    """What has no model shows nothing of its body: it may hold a stream key."""
    raw = await client(script(lambda: respond(json={"data": {"stream_key": "canary"}}))).request(
        "GET", "/video/v1/live-streams/a"
    )

    assert raw.value == {"data": {"stream_key": "canary"}}
    assert "canary" not in repr(raw)


async def test_a_delete_whose_answer_was_lost() -> None:
    """A DELETE that may have gone through, and finds nothing when sent again, has succeeded; a first 404 is an error."""
    transport = script(lambda: RESET, status(404))
    assert (await client(transport).request("DELETE", "/video/v1/assets/a")).value is None

    with pytest.raises(APIStatusError):
        await client(script(status(404))).request("DELETE", "/video/v1/assets/a")


async def test_what_never_left_costs_no_permit() -> None:
    """A request that found no connection gives its grant back."""
    transport = script(lambda: REFUSED, ok)
    mux = client(transport, limits=LimitSettings(post=BucketSettings(rate=0.001, burst=1)))

    await mux.request("POST", "/video/v1/assets")
    assert anyio.current_time() < 100.0 or mux.limits.snapshot().post.waited < 1.0


def slow(seconds: float, answer: Callable[[], Answer] = ok) -> FakeTransport:
    async def wait(_: SentRequest) -> Answer:
        await anyio.sleep(seconds)
        return answer()

    return FakeTransport(wait)


async def slow_body(seconds: float) -> AsyncIterator[bytes]:
    yield b"{"
    await anyio.sleep(seconds)
    yield b"}"


@pytest.mark.parametrize("where", ["queue", "head", "body", "backoff"])
async def test_one_deadline_covers_everything(where: str) -> None:
    """A deadline of 3 s ends the call after 3 s (or at once, when the queue or a wait is longer), wherever it is."""
    transport = {
        "queue": slow(0.0),
        "head": slow(50.0),
        "body": FakeTransport(lambda _: respond(body=slow_body(50.0))),
        "backoff": script(status(503, **{"Retry-After": "50"})),
    }[where]
    mux = client(transport, deadline=3.0, limits=LimitSettings(other=BucketSettings(rate=0.1, burst=1)))
    if where == "queue":
        await mux.request("GET", "/x")
    start = anyio.current_time()
    with pytest.raises(DeadlineExceededError) as caught:
        await mux.request("GET", "/x")

    assert anyio.current_time() - start == pytest.approx(0.0 if where in {"queue", "backoff"} else 3.0)
    assert caught.value.deadline == 3.0
    assert isinstance(caught.value, LimitWaitError) == (where == "queue")
    assert caught.value.delivery is (Delivery.NEVER_SENT if where == "queue" else Delivery.MAYBE_PROCESSED)
    assert transport.unfinished == 0


async def test_a_deadline_over_a_post_in_flight_is_ambiguous() -> None:
    """If the deadline passes after a POST was sent, its outcome is unknown, and the error says so."""
    with pytest.raises(AmbiguousOutcomeError) as caught:
        await client(slow(50.0), deadline=1.0).request("POST", "/video/v1/assets")

    assert isinstance(caught.value.__cause__, DeadlineExceededError)


async def test_a_cancel_from_outside_stays_a_cancel() -> None:
    """Cancelling a call raises no error of ours, and the next call works."""
    transport = slow(50.0)
    mux = client(transport)
    with anyio.move_on_after(1.0) as scope:
        await mux.request("GET", "/x")

    assert scope.cancelled_caught
    assert (await mux.request("GET", "/x")).value == OK


@pytest.mark.parametrize(("encoding", "window"), [("gzip", 31), ("deflate", 15), ("deflate", -15)])
async def test_compressed_answers(encoding: str, window: int) -> None:
    """gzip and both readings of deflate are undone, however the bytes are cut."""
    packer = zlib.compressobj(wbits=window)
    body = packer.compress(b'{"data": {"ok": true}}') + packer.flush()
    transport = script(
        lambda: respond(body=[body[n : n + 1] for n in range(len(body))], headers={"Content-Encoding": encoding})
    )

    assert (await client(transport).request("GET", "/x")).value == OK


async def test_deflate_that_looks_like_zlib() -> None:
    """Raw deflate whose first two bytes pass the checksum of a zlib header is recognised by the compression method they name."""
    packer = zlib.compressobj(9, wbits=-15)
    body = packer.compress(b'  {"n": 2}') + packer.flush()
    assert int.from_bytes(body[:2]) % 31 == 0

    transport = script(lambda: respond(body=body, headers={"Content-Encoding": "deflate"}))
    assert (await client(transport).request("GET", "/x")).value == {"n": 2}


async def test_an_answer_of_the_allowed_size() -> None:
    """An answer of exactly ``max_response_bytes`` is read, one of a byte more is refused."""
    assert (await client(script(lambda: respond(body=b'"1234"')), max_response_bytes=6).request("GET", "/x")).value == "1234"
    with pytest.raises(ResponseTooLargeError):
        await client(script(lambda: respond(body=b'"12345"')), max_response_bytes=6).request("GET", "/x")


async def test_a_closed_transport_is_not_tried_again() -> None:
    """A request over a transport that was closed is not retried: the error of the first attempt is raised at once."""
    transport = FakeTransport()
    await transport.aclose()
    with pytest.raises(TransportClosedError) as caught:
        await client(transport).request("GET", "/x")

    assert len(caught.value.attempts) == 1
    assert anyio.current_time() < 0.1


async def test_several_gzip_members() -> None:
    """A gzip body may consist of several members; all of them count."""
    body = gzip.compress(b'{"data":', mtime=0) + gzip.compress(b"") + gzip.compress(b' {"ok": true}}')
    transport = script(lambda: respond(body=body, headers={"Content-Encoding": "gzip"}))

    assert (await client(transport).request("GET", "/x")).value == OK


async def test_a_gzip_bomb_is_refused() -> None:
    """A body that unfolds beyond the bound is refused while it is read, and its connection given up."""
    bomb = gzip.compress(bytes(20 * 1024 * 1024))
    transport = script(lambda: respond(body=bomb, headers={"Content-Encoding": "gzip"}))
    with pytest.raises(ResponseTooLargeError, match="larger than 1000000 bytes"):
        await client(transport, max_response_bytes=1_000_000).request("GET", "/x")

    assert transport.unfinished == 0


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(b"not gzip", "gzip"), (gzip.compress(b"{}", mtime=0)[:-9], "gzip"), (b"x", "br"), (b"{]", ""), (b"\xff", "")],
)
async def test_answers_that_cannot_be_read(body: bytes, encoding: str) -> None:
    """Broken or unknown compression and broken JSON raise an error with status and request id."""
    transport = script(lambda: respond(body=body, headers={"Content-Encoding": encoding, "X-Request-Id": "r2"}))
    with pytest.raises(UndecodableResponseError) as caught:
        await client(transport).request("GET", "/x")

    assert (caught.value.status, caught.value.request_id, len(caught.value.attempts)) == (200, "r2", 1)


async def test_what_goes_over_the_wire() -> None:
    """A request carries authorisation, user agent and what it was given, and nothing else."""
    transport = script(ok)
    mux = client(transport, headers={"X-Team": "blue"}, user_agent_suffix="bot/1")
    await mux.request("POST", "/video/v1/assets", query={"a": [1, 2], "b": True}, body={"x": None}, headers={"x-team": "red"})

    request = transport.requests[0]
    assert (request.method, request.url) == ("POST", "https://mux.test/video/v1/assets?a=1&a=2&b=true")
    assert request.json == {"x": None}
    assert {name.lower(): value for name, value in request.headers.items() if name != "User-Agent"} == {
        "authorization": "Basic aWQ6czNjcjN0",
        "accept": "application/json",
        "accept-encoding": "gzip, deflate",
        "content-type": "application/json",
        "x-team": "red",
    }
    assert request.headers["User-Agent"].endswith(" bot/1")
    assert sorted(name.lower() for name in request.headers) == sorted({name.lower() for name in request.headers})


@pytest.mark.parametrize("name", ["Accept", "ACCEPT", "accept"])
async def test_a_header_is_replaced_in_any_case(name: str) -> None:
    """A header of the call takes the place of the client's own, in whatever case it is written: it goes out once."""
    transport = script(ok)
    await client(transport, headers={"X-Team": "blue"}).request("GET", "/x", headers={name: "text/plain", "x-TEAM": "red"})

    sent = [(name.lower(), value) for name, value in transport.requests[0].headers.items()]
    assert [value for name, value in sent if name == "accept"] == ["text/plain"]
    assert [value for name, value in sent if name == "x-team"] == ["red"]


@pytest.mark.parametrize(
    "path",
    [
        "video",
        "//evil.test/x",
        "https://evil.test",
        "/a b",
        "/a?b=1",
        "/a#b",
        "/a\r\nX: y",
        "/{id}",
        "/ä",
        "/data/v1/../../video/v1/assets",
        "/a/./b",
    ],
)
async def test_paths_that_are_refused(path: str) -> None:
    """A path that is none is refused before anything is sent."""
    transport = script()
    with pytest.raises(MuxError, match="path"):
        await client(transport).request("GET", path)

    assert not transport.requests


@pytest.mark.parametrize("query", [{"a": None}, {"a": object()}, {"a": float("nan")}, {"a": b"x"}])
async def test_queries_that_are_refused(query: dict[str, object]) -> None:
    """A query value that has no text form is refused by name."""
    with pytest.raises(MuxError, match=r"^a is "):
        await client(script()).request("GET", "/x", query=query)


async def test_options_share_the_client() -> None:
    """`with_options` changes what it names, keeps the rest, and shares transport, limits and closing."""
    transport = script(ok, ok)
    mux = client(transport, max_attempts=2)
    batch = mux.with_options(priority="batch", deadline=None).with_options(max_response_bytes=1000)
    await mux.request("GET", "/x")
    await batch.request("GET", "/x")
    assert mux.limits.snapshot().other.granted == 2

    await batch.aclose()
    await batch.aclose()
    with pytest.raises(ClosedError):
        await mux.request("GET", "/x")


async def test_a_transport_of_ones_own_stays_open() -> None:
    """Closing the client does not close a transport that was passed in: its owner does."""
    transport = script(ok)
    async with client(transport) as mux:
        await mux.request("GET", "/x")

    assert not transport.is_closed


async def test_a_transport_it_made_is_closed() -> None:
    """A transport that the client made through a factory is closed with it."""
    made: list[FakeTransport] = []

    def factory(_: object) -> FakeTransport:
        made.append(script(ok))
        return made[-1]

    async with Mux(token_id="id", token_secret="s", transport=factory, account="factory") as mux:
        await mux.request("GET", "/x")

    assert [transport.is_closed for transport in made] == [True]


async def test_secrets_are_in_no_text(caplog: pytest.LogCaptureFixture) -> None:
    """Neither logs nor errors nor reprs of a failing call hold the token's secret."""
    caplog.set_level(logging.DEBUG)
    transport = script(*[lambda: RESET] * 5)
    mux = client(transport)
    with pytest.raises(TransportError) as caught:
        await mux.request("GET", "/x")

    texts = [caplog.text, repr(mux), repr(caught.value), repr(transport.requests[0]), repr(mux.__dict__)]
    assert caplog.text
    assert not any("s3cr3t" in text or "czNjcjN0" in text for text in texts)


async def test_a_fork_opens_its_own_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    """In another process than the one it was opened in, a client makes new connections."""
    made: list[FakeTransport] = []

    def factory(_: object) -> FakeTransport:
        made.append(FakeTransport(lambda _: ok()))
        return made[-1]

    mux = Mux(token_id="id", token_secret="s", transport=factory, account="fork")
    await mux.request("GET", "/x")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    await mux.request("GET", "/x")

    assert [len(transport.requests) for transport in made] == [1, 1]


async def test_the_surroundings_give_a_priority() -> None:
    """Calls in a `use_priority` block, and in tasks started from it, have its class, unless their client has one of its own."""
    mux = client(
        FakeTransport(lambda _: ok()), limits=LimitSettings(other=BucketSettings(rate=1.0, burst=10)), share_reads=False
    )
    start, sent = anyio.current_time(), list[float]()

    async def call(which: Mux) -> None:
        await which.request("GET", "/x")
        sent.append(anyio.current_time() - start)

    with use_priority("batch"):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(call, mux)
        await call(mux.with_options(priority="interactive"))
    await call(mux)
    assert sent == pytest.approx([0.0, 1.0, 2.0, 2.0, 2.0], abs=0.01)


async def test_the_servers_count_is_heard() -> None:
    """``X-RateLimit-Remaining`` in an answer lowers what is left here; nonsense in it does nothing."""
    for header, level in [("2", 2.0), ("-1", 9.0), ("x", 9.0), ("\u00b2", 9.0), ("99999999999", 9.0)]:
        mux = client(script(status(200, OK, **{"X-RateLimit-Remaining": header})), account=f"hear-{header}")
        await mux.request("GET", "/x")

        assert mux.limits.snapshot().other.level == pytest.approx(level)


async def test_environments_can_be_limited_apart() -> None:
    """With an environment's name only clients of that environment share limits; without one, all of the account's do."""
    clients = [client(script(), account="acme", environment=name) for name in ("a", "a", "b", None)]
    limits = [one._caller.engine.limits for one in clients]  # pyright: ignore[reportPrivateUsage]

    assert limits[0] is limits[1]
    assert len({id(one) for one in limits}) == 3


async def test_a_forecast_by_bucket() -> None:
    """`forecast` says how long the slowest of the buckets would take, by class of service."""
    forecast = client(script()).limits.forecast(post=12_000, other=100)

    assert forecast.batch == pytest.approx(11_999 / 0.985)
    assert forecast.default == pytest.approx(11_998 / 0.985 + 0.25)
    with pytest.raises(ConfigurationError, match="-1 requests"):
        client(script()).limits.forecast(post=-1)
