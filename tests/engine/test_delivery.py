"""What an error says about what may have reached the server, and that an answer which arrived is never lost.

Over a fake transport, in virtual time, on asyncio and trio.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import anyio
import pytest

from mux_async import (
    AmbiguousOutcomeError,
    BucketSettings,
    DeadlineExceededError,
    LimitSettings,
    LimitWaitError,
    Mux,
    MuxError,
    NotFoundError,
    RetrySettings,
    ServerError,
    TransportError,
)
from mux_async.errors import (
    AuthenticationError,
    ConflictError,
    ConnectError,
    Delivery,
    Phase,
    RateLimitedError,
    TransportTimeoutError,
)
from mux_async.limits import Bucket
from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.transport import HttpResponse

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

Answer = HttpResponse | BaseException
Make = Callable[[], Answer | Awaitable[Answer]]


def refused() -> Answer:
    return ConnectError("connection refused")


def timed_out() -> Answer:
    return TransportTimeoutError("no answer in 60 s", delivery=Delivery.MAYBE_PROCESSED, phase=Phase.READ_HEAD)


def cut() -> Answer:
    broken = TransportError("the body broke off", delivery=Delivery.ANSWERED, phase=Phase.READ_BODY)
    return respond(body=[b'{"data', broken])


def status(number: int, **headers: str) -> Callable[[], Answer]:
    return lambda: respond(number, json={}, headers=headers)


async def never() -> Answer:
    await anyio.sleep_forever()
    raise AssertionError


def script(*answers: Make) -> FakeTransport:
    """Return a transport that gives *answers* in turn, and the last one for ever."""
    left = list(answers)
    return FakeTransport(lambda _: (left.pop(0) if len(left) > 1 else left[0])())


def client(transport: FakeTransport, **options: Any) -> Mux:
    settings: dict[str, Any] = {
        "token_id": "id",
        "token_secret": "secret",
        "base_url": "https://mux.test",
        "account": f"test-{uuid4()}",
        "clock": anyio.current_time,
        "random": Random(1),
        "limits": LimitSettings(enabled=False),
    }
    return Mux(transport=transport, **{**settings, **options})


def full_jitter() -> Random:
    """Return a source of jitter that always takes the longest wait."""

    class Longest(Random):
        def random(self) -> float:
            return 0.999

    return Longest()


class TestWorst:
    """Delivery is the worst over the attempts."""

    @pytest.mark.parametrize("verb", ["GET", "HEAD", "PUT", "PATCH", "DELETE"])
    @pytest.mark.parametrize("first", [timed_out, status(500), status(502), status(503), status(408), cut])
    async def test_in_back_off(self, verb: str, first: Make) -> None:
        """A deadline that passes, or would pass, between attempts says what the attempts before may have done."""
        mux = client(script(first, refused), deadline=2.0, random=full_jitter(), max_attempts=9)
        with pytest.raises(DeadlineExceededError) as caught:
            await mux.request(verb, "/video/v1/assets/a")

        assert caught.value.delivery is (Delivery.ANSWERED if first is cut else Delivery.MAYBE_PROCESSED)
        assert len(caught.value.attempts) >= 1

    @pytest.mark.parametrize("verb", ["GET", "PUT", "PATCH", "DELETE", "POST"])
    @pytest.mark.parametrize("first", [refused, status(429)])
    async def test_what_was_refused(self, verb: str, first: Make) -> None:
        """When every attempt was refused, or never left, nothing was done, and the deadline's error says so."""
        mux = client(script(first), deadline=2.0, random=full_jitter(), max_attempts=9)
        with pytest.raises(DeadlineExceededError) as caught:
            await mux.request(verb, "/video/v1/assets/a")

        assert caught.value.delivery is Delivery.NEVER_SENT

    async def test_in_the_queue(self) -> None:
        """A call that cannot wait for the limit does not say that nothing was sent when an earlier attempt may have been processed."""
        one = LimitSettings(other=BucketSettings(rate=0.1, burst=1), reserve=0.0)
        mux = client(script(timed_out), deadline=5.0, limits=one)
        with pytest.raises(LimitWaitError) as caught:
            await mux.request("PUT", "/video/v1/assets/a")

        assert caught.value.delivery is Delivery.MAYBE_PROCESSED
        assert isinstance(caught.value.__cause__, TransportTimeoutError)

    @pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE"])
    async def test_the_last_failure(self, verb: str) -> None:
        """When the last attempts found no connection, the error still says that an earlier one may have been processed."""
        mux = client(script(timed_out, refused), max_attempts=3)
        with pytest.raises(ConnectError, match="connection refused") as caught:
            await mux.request(verb, "/video/v1/assets/a")

        assert caught.value.delivery is Delivery.MAYBE_PROCESSED
        assert [attempt.error for attempt in caught.value.attempts] == ["no answer in 60 s"] + ["connection refused"] * 2

    async def test_errors_of_transports_stay_as_they_are(self) -> None:
        """What is corrected for one call is a copy: a transport's own error says the same afterwards."""
        shared = ConnectError("connection refused")
        mux = client(script(timed_out, lambda: shared), max_attempts=2)
        with pytest.raises(ConnectError):
            await mux.request("PUT", "/video/v1/assets/a")

        assert shared.delivery is Delivery.NEVER_SENT

    async def test_a_refusal_after_a_doubt_says_so(self) -> None:
        """A refusal of a write whose earlier attempt may have been processed carries a note of that."""
        mux = client(script(timed_out, status(401)))
        with pytest.raises(AuthenticationError) as caught:
            await mux.request("PUT", "/video/v1/assets/a")

        assert any("may have been processed" in note for note in caught.value.__notes__)

    async def test_a_create_in_doubt_is_ambiguous_to_the_end(self) -> None:
        """A create that was in doubt, was not found and then found no connection is still in doubt: the error is no `ConnectError`."""

        def answer(request: SentRequest) -> Answer:
            if request.method == "GET":
                return respond(json={"data": []})
            return timed_out() if sum(sent.method == "POST" for sent in transport.requests) == 1 else refused()

        transport = FakeTransport(answer)
        with pytest.raises(AmbiguousOutcomeError, match="was not there") as caught:
            await client(transport, max_attempts=3).video.assets.create(inputs=[], once="key")

        assert isinstance(caught.value.__cause__, ConnectError)
        assert caught.value.once == "key"

    async def test_an_attempt_that_was_cut_off(self) -> None:
        """An attempt under way when the deadline passes is among the attempts, with what had arrived of its answer."""

        async def drip() -> AsyncIterator[bytes]:
            yield b"{"
            await anyio.sleep_forever()

        mux = client(FakeTransport(lambda _: respond(201, body=drip(), headers={"X-Request-Id": "r7"})), deadline=2.0)
        with pytest.raises(AmbiguousOutcomeError) as caught:
            await mux.request("POST", "/video/v1/assets")

        (attempt,) = caught.value.attempts
        assert (attempt.status, attempt.request_id) == (201, "r7")
        assert attempt.elapsed == pytest.approx(2.0)
        assert attempt.error is not None
        assert (caught.value.status, caught.value.request_id) == (201, "r7")

    async def test_who_shares_a_read_knows_its_attempts(self) -> None:
        """A caller that waits for the answer to another's identical read says of its deadline what that read's attempts say."""
        mux = client(script(never))
        caught: list[DeadlineExceededError] = []

        async def follow() -> None:
            with pytest.raises(DeadlineExceededError) as late:
                await mux.with_options(deadline=2.0).request("GET", "/x")
            caught.append(late.value)

        with anyio.move_on_after(5.0):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(mux.request, "GET", "/x")
                await anyio.sleep(1.0)
                tasks.start_soon(follow)

        assert caught[0].delivery is Delivery.MAYBE_PROCESSED
        assert len(caught[0].attempts) == 1


class TestDelete:
    @pytest.mark.parametrize("first", [refused, status(429)])
    async def test_what_was_never_sent_is_not_deleted(self, first: Make) -> None:
        """A DELETE that was refused at the connection, or by the limit, and then finds nothing did not delete it: that is an error."""
        with pytest.raises(NotFoundError):
            await client(script(first, status(404))).video.assets.delete("a")

    @pytest.mark.parametrize("first", [timed_out, cut, status(500), status(502), status(599), status(408)])
    async def test_what_may_have_been_processed_is(self, first: Make) -> None:
        """A DELETE that may have been processed, and then finds nothing, has deleted it, whatever came in between."""
        await client(script(first, status(404))).video.assets.delete("a")
        await client(script(first, refused, status(429), status(404))).request("DELETE", "/video/v1/assets/a")

    async def test_other_verbs(self) -> None:
        """For other methods a 404 is only a 404."""
        for verb in ("PUT", "PATCH", "GET"):
            with pytest.raises(NotFoundError):
                await client(script(timed_out, status(404))).request(verb, "/video/v1/assets/a")


class TestConflict:
    async def test_with_what_it_made_itself(self) -> None:
        """A create that was in doubt and then clashes with what is there is looked for once more: mostly it is its own."""

        def answer(request: SentRequest) -> Answer:
            posts = sum(sent.method == "POST" for sent in transport.requests)
            if request.method == "POST":
                return timed_out() if posts == 1 else respond(409, json={})
            made = {"id": "j1", "passthrough": "key", "created_at": 2_000_000_000}
            return respond(json={"data": ([made] if posts == 2 else []) if request.path.endswith("/jobs") else made})

        transport = FakeTransport(answer)
        job = await client(transport).robots.jobs.summarize.create(parameters={"asset_id": "a"}, once="key")

        assert job.id == "j1"

    async def test_with_what_others_made(self) -> None:
        """When it is not found then either, the 409 is the answer, with a note of the doubt."""

        def answer(request: SentRequest) -> Answer:
            if request.method == "POST":
                return timed_out() if sum(sent.method == "POST" for sent in transport.requests) == 1 else respond(409, json={})
            return respond(json={"data": []})

        transport = FakeTransport(answer)
        with pytest.raises(ConflictError) as caught:
            await client(transport).robots.jobs.summarize.create(parameters={"asset_id": "a"}, once="key")

        assert any("unknown outcome" in note for note in caught.value.__notes__)


class TestMessages:
    async def test_another_attempt_would_not_fit(self) -> None:
        """A call that gives up before its deadline says that another attempt would not fit, how long it would have waited, and why."""
        mux = client(script(refused), deadline=2.0, random=full_jitter())
        with pytest.raises(DeadlineExceededError) as caught:
            await mux.request("GET", "/x")

        assert anyio.current_time() < 2.0 or caught.value.attempts
        text = str(caught.value)
        assert "did not end within" not in text
        assert "another one would not fit in its deadline of 2 s" in text
        assert "connection refused" in text
        assert isinstance(caught.value.__cause__, ConnectError)

    async def test_what_came_before_is_named(self) -> None:
        """When the deadline passes in a later attempt, the error names what the one before came to."""
        mux = client(script(status(503), never), deadline=3.0)
        with pytest.raises(DeadlineExceededError, match=r"while attempt 2 was under way.*503") as caught:
            await mux.request("GET", "/x")

        assert isinstance(caught.value.__cause__, ServerError)

    async def test_the_queue_after_a_refusal(self) -> None:
        """A call that cannot wait for a bucket which its own 429 has closed names that as the cause."""
        mux = client(script(status(429, **{"Retry-After": "60"})), deadline=5.0, limits=LimitSettings())
        with pytest.raises(LimitWaitError) as caught:
            await mux.request("GET", "/x")

        assert isinstance(caught.value.__cause__, RateLimitedError)


class TestRetryAfter:
    @pytest.mark.parametrize("asked", ["0", "0.0", "-5", "Thu, 01 Jan 1970 00:00:00 GMT", "soon"])
    async def test_no_wait_at_all(self, asked: str) -> None:
        """A 503 that asks for no wait, a negative one or a moment in the past is sent again after the back-off and not at once."""
        transport = script(status(503, **{"Retry-After": asked}))
        start = anyio.current_time()
        with pytest.raises(ServerError):
            await client(transport, random=full_jitter()).request("GET", "/x")

        assert len(transport.requests) == 5
        assert anyio.current_time() - start == pytest.approx(0.999 * (0.5 + 1.0 + 2.0 + 4.0))

    async def test_less_than_the_back_off(self) -> None:
        """A wait shorter than the back-off does not shorten it: servers round down, and clients have to come back apart."""
        transport = script(status(503, **{"Retry-After": "0.001"}), status(200))
        start = anyio.current_time()
        await client(transport, random=full_jitter()).request("GET", "/x")

        assert anyio.current_time() - start == pytest.approx(0.4995)

    @pytest.mark.parametrize("asked", ["3600", "99999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
    async def test_too_long(self, asked: str) -> None:
        """However long a server asks to wait, it is a minute at most."""
        transport = script(status(503, **{"Retry-After": asked}), status(200))
        start = anyio.current_time()
        await client(transport).request("GET", "/x")

        assert anyio.current_time() - start == pytest.approx(60.0)

    async def test_a_429_that_asks_for_nothing(self) -> None:
        """A 429 with ``Retry-After: 0`` closes the bucket as one without the header does."""
        waited: list[float] = []
        for headers in ({}, {"Retry-After": "0"}):
            mux = client(script(status(429, **headers), status(200)), limits=LimitSettings())
            start = anyio.current_time()
            await mux.request("GET", "/x")
            waited.append(anyio.current_time() - start)

        assert waited[0] > 0.1
        assert waited[1] == pytest.approx(waited[0])


class Limiter:
    """Delegates to *limiter*; subclasses override parts."""

    def __init__(self, limiter: Any) -> None:
        self.limiter = limiter

    def __getattr__(self, name: str) -> Any:
        return getattr(self.limiter, name)


class Slow(Limiter):
    """A limiter whose store takes an hour for everything that comes after a response."""

    async def observe_remaining(self, bucket: Bucket, remaining: int) -> None:
        await anyio.sleep(3600.0)
        await self.limiter.observe_remaining(bucket, remaining)

    async def on_throttled(self, grant: Any, delay: float | None) -> float:
        await anyio.sleep(3600.0)
        waited: float = await self.limiter.on_throttled(grant, delay)
        return waited

    async def give_back(self, grant: Any) -> None:
        await anyio.sleep(3600.0)
        await self.limiter.give_back(grant)


class Broken(Limiter):
    """A limiter whose store fails after every response."""

    async def observe_remaining(self, bucket: Bucket, remaining: int) -> None:
        raise RuntimeError("no store")

    async def on_throttled(self, grant: Any, delay: float | None) -> float:
        raise RuntimeError("no store")

    async def give_back(self, grant: Any) -> None:
        raise RuntimeError("no store")


def with_limiter(transport: FakeTransport, kind: type[Limiter], **options: Any) -> Mux:
    mux = client(transport, limits=LimitSettings(), **options)
    limits: Any = mux._caller.engine.limits  # pyright: ignore[reportPrivateUsage]
    limits._limiter = kind(limits._limiter)
    return mux


class TestAfterTheAnswer:
    @pytest.mark.parametrize("kind", [Slow, Broken])
    async def test_a_store_that_is_slow_or_broken(self, kind: type[Limiter]) -> None:
        """A create that was answered just before its deadline returns its answer, whatever the limits' store does."""

        async def answer() -> Answer:
            await anyio.sleep(1.999)
            return respond(201, json={"data": {"id": "a1"}}, headers={"X-RateLimit-Remaining": "0"})

        mux = with_limiter(script(answer), kind, deadline=2.0)
        start = anyio.current_time()
        asset = await mux.video.assets.create(inputs=[])

        assert asset.id == "a1"
        assert anyio.current_time() - start < 2.5

    @pytest.mark.parametrize("kind", [Slow, Broken])
    async def test_refusals_too(self, kind: type[Limiter]) -> None:
        """A 429, and a request that was never sent, raise the same errors with such a store, and are not delayed for long."""
        start = anyio.current_time()
        with pytest.raises(RateLimitedError):
            await with_limiter(script(status(429)), kind, max_attempts=1).request("GET", "/x")
        with pytest.raises(ConnectError):
            await with_limiter(script(refused), kind, max_attempts=1).request("GET", "/x")

        assert anyio.current_time() - start < 3.0

    async def test_a_deadline_while_the_connection_is_given_back(self) -> None:
        """Once the body is there, a deadline that passes while its connection is given back does not lose it."""

        class Closing:
            def __init__(self) -> None:
                self.pieces = iter([b'{"data": {"id": "a1"}}'])

            def __aiter__(self) -> AsyncIterator[bytes]:
                return self

            async def __anext__(self) -> bytes:
                for piece in self.pieces:
                    return piece
                raise StopAsyncIteration

            async def aclose(self) -> None:
                await anyio.sleep(2.0)

        def answer(_: SentRequest) -> Answer:
            head = respond(201)
            return HttpResponse(head.status, head.headers, Closing())

        asset = await client(FakeTransport(answer), deadline=1.0).video.assets.create(inputs=[])

        assert asset.id == "a1"

    @pytest.mark.parametrize("verb", ["GET", "POST"])
    async def test_listeners_that_raise(self, verb: str, caplog: pytest.LogCaptureFixture) -> None:
        """A listener of the limits that raises fails no call and costs no grant; its error is logged."""
        limits = LimitSettings(
            other=BucketSettings(rate=1.0, burst=1), post=BucketSettings(rate=1.0, burst=1), reserve=0.0, jitter=0.0
        )
        transport = script(status(429), status(200))
        mux = client(transport, limits=limits, share_reads=False)

        def fail(_event: object) -> None:
            raise RuntimeError("a fault of the listener's")

        with mux.limits.listen(fail):
            for _ in range(5):
                await mux.request(verb, "/x")
        snapshot = mux.limits.snapshot()
        bucket = snapshot.post if verb == "POST" else snapshot.other

        assert (bucket.granted, bucket.queued) == (len(transport.requests), 0)
        assert "a fault of the listener's" in caplog.text

    async def test_logging_that_raises(self) -> None:
        """A filter on the log that raises does not lose an answer."""

        def fail(_record: logging.LogRecord) -> bool:
            raise RuntimeError("a fault of the filter's")

        logs = [logging.getLogger(f"mux_async.{name}") for name in ("_engine", "_recovery")]
        for log in logs:
            log.addFilter(fail)
            log.setLevel(logging.DEBUG)
        try:
            raw = await client(script(status(503), status(200))).request("GET", "/x")
        finally:
            for log in logs:
                log.removeFilter(fail)
                log.setLevel(logging.NOTSET)

        assert raw.status == 200


@pytest.mark.runtimes("asyncio", "trio")
async def test_a_store_that_another_process_holds(tmp_path: Path) -> None:
    """While another process keeps the file of the limits locked, an answer that lowers the limit is returned and believed."""
    path = tmp_path / "limits.db"
    holder: list[sqlite3.Connection] = []

    def answer(_: SentRequest) -> Answer:
        if len(transport.requests) == 1:
            return respond(201, json={"data": {"id": "a0"}})
        holder.append(sqlite3.connect(path, isolation_level=None))
        holder[0].execute("BEGIN IMMEDIATE")  # after its grant, before its answer
        return respond(201, json={"data": {"id": "a1"}}, headers={"X-RateLimit-Remaining": "0"})

    transport = FakeTransport(answer)
    limits = LimitSettings(url=f"sqlite:///{path}", post=BucketSettings(rate=10.0, burst=50), reserve=0.0)
    async with Mux(
        token_id="id", token_secret="s", base_url="https://mux.test", account=f"t-{uuid4()}", transport=transport, limits=limits
    ) as mux:
        await mux.video.assets.create(inputs=[])
        await anyio.sleep(1.0)  # a bucket that is new in a file starts empty
        raw = await mux.video.assets.with_raw_response.create(inputs=[])
        level = mux.limits.snapshot().post.level
        holder[0].close()

        assert raw.value.id == "a1"
        assert level < 8.0  # without it, 9 and what came since


async def test_the_budget_says_what_may_have_happened() -> None:
    """A call that the retry budget ends says what its attempts may have done."""
    limits = LimitSettings(enabled=False, retries=RetrySettings(share=0.0, reserve=0))
    with pytest.raises(MuxError) as caught:
        await client(script(timed_out), limits=limits).request("PUT", "/x")

    assert isinstance(caught.value, TransportError)
    assert caught.value.delivery is Delivery.MAYBE_PROCESSED
