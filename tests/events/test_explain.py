"""`explain`: what the text says of each way in which a call fails, of errors in hand and out of a log. In virtual time."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import anyio
import pytest

from mux_async import APIStatusError, BucketSettings, ConfigurationError, LimitSettings, MuxError, explain
from mux_async.errors import ConnectError, Delivery, Phase, TransportError, TransportTimeoutError
from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.transport import HttpResponse
from tests.events.recording import client, script

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

Answer = HttpResponse | BaseException
RESET = TransportError("connection reset", delivery=Delivery.MAYBE_PROCESSED, phase=Phase.READ_HEAD)
CUT = TransportError("the body broke off", delivery=Delivery.ANSWERED, phase=Phase.READ_BODY)


def status(number: int, **headers: str) -> Callable[[], Answer]:
    return lambda: respond(number, json={}, headers={"X-Request-Id": "r1", **headers})


async def failure(transport: FakeTransport, method: str = "GET", **options: Any) -> MuxError:
    with pytest.raises(MuxError) as caught:
        await client(transport, **options).request(method, "/video/v1/assets")
    return caught.value


CASES: dict[str, tuple[str, Callable[[], Answer], str, str]] = {
    "400": ("GET", status(400), "this program", "no: as it is, it fails again"),
    "401": ("GET", status(401), "this program", "no: as it is, it fails again"),
    "404": ("POST", status(404), "this program", "no: as it is, it fails again"),
    "429": ("POST", status(429), "the account's rate limit", "yes: the server did nothing"),
    "503 of a read": ("GET", status(503), "Mux failed (503)", "yes: it only reads"),
    "500 of a create": ("POST", status(500), "Mux failed (500)", "not before you have looked"),
    "500 of a delete": ("DELETE", status(500), "Mux failed (500)", "yes: once more has the same effect"),
    "no connection": ("POST", lambda: ConnectError("refused"), "the network between", "yes: the server did nothing"),
    "reset of a create": ("POST", lambda: RESET, "the network between", "not before you have looked"),
    "half a body": ("GET", lambda: respond(body=[b'{"da', CUT]), "the network between", "yes: it only reads"),
    "half the body of a create": (
        "POST", lambda: respond(201, body=[b'{"da', CUT]), "Mux acted, and its answer was lost", "not before you have looked",
    ),
    "slow": (
        "GET",
        lambda: TransportTimeoutError("no answer in 60 s", delivery=Delivery.MAYBE_PROCESSED, phase=Phase.READ_HEAD),
        "Mux answers too slowly",
        "yes: it only reads",
    ),
    "no JSON": ("GET", lambda: respond(body=b"<html>"), "the answer cannot be read", "yes: it only reads"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
async def test_who_is_at_fault_and_what_to_do(case: str) -> None:
    """The text says who is at fault, and whether the call may be repeated, from the error and from its JSON alike."""
    method, problem, where, repeat = CASES[case]
    error = await failure(FakeTransport(lambda _: problem()), method, max_attempts=1)

    text = explain(error)
    assert where in line_of(text, "Where"), text
    assert line_of(text, "Repeat").startswith(repeat), text
    assert len(line_of(text, "Do")) > 10
    assert explain(json.loads(json.dumps(error.to_dict()))) == text


def line_of(text: str, name: str) -> str:
    return next(each.partition(":")[2].strip() for each in text.splitlines() if each.startswith(f"{name}:"))


async def test_time_line() -> None:
    """The time line has the queue, each attempt with its first byte and its body, and the pauses, and they add up to the whole."""

    async def answer(_: SentRequest) -> HttpResponse:
        await anyio.sleep(0.3)

        async def body() -> AsyncGenerator[bytes]:
            await anyio.sleep(0.2)
            yield b"{}"

        return respond(503, body=body(), headers={"X-Request-Id": "r1"})

    started = anyio.current_time()
    limits = LimitSettings(other=BucketSettings(rate=0.5, burst=1))
    error = await failure(FakeTransport(answer), max_attempts=3, limits=limits)
    seconds = anyio.current_time() - started

    text = explain(error)
    lines = text.splitlines()
    attempts = [each for each in lines if "attempt " in each and " s  " in each]
    assert len(attempts) == 3
    assert all("answered 503 after 0.500 s (first byte 0.300 s, body 0.200 s)" in each for each in attempts)
    assert sum("queued" in each for each in lines) == 2
    assert sum("slept" in each for each in lines) == 2
    assert f"in all {seconds:.3f} s" in text
    assert error.attempts[0].slept == 0.0
    assert sum(each.slept + each.queued + each.elapsed for each in error.attempts) == pytest.approx(seconds)
    assert "[request id r1]" in text


async def test_deadline_in_the_queue() -> None:
    """A deadline that the queue would not meet is the rate limit's, and nothing was sent."""
    limits = LimitSettings(other=BucketSettings(rate=0.1, burst=1))
    mux = client(FakeTransport(lambda _: respond(json={})), limits=limits)
    await mux.request("GET", "/video/v1/assets")
    with pytest.raises(MuxError) as caught:
        await mux.with_options(deadline=1.0).request("GET", "/video/v1/assets")

    text = explain(caught.value)
    assert "Nothing of GET /video/v1/assets was sent" in text
    assert "the account's rate limit: the queue is longer than the deadline" in text


@pytest.mark.parametrize(("is_unsent", "where"), [(True, "still connecting"), (False, "Mux answers more slowly")])
async def test_deadline_during_an_attempt(is_unsent: bool, where: str) -> None:
    """A deadline that passes while connecting is the network's; one that passes while waiting for the answer is Mux's, or the network's."""
    from mux_async.transport import mark_unsent

    async def never(_: SentRequest) -> HttpResponse:
        try:
            await anyio.sleep_forever()
        except BaseException as error:
            if is_unsent:
                mark_unsent(error)
            raise
        raise AssertionError

    mux = client(FakeTransport(never)).with_options(deadline=2.0)
    with pytest.raises(MuxError) as caught:
        await mux.request("GET", "/video/v1/assets")

    text = explain(caught.value)
    assert where in text
    assert ("while connecting" if is_unsent else "while waiting for the first byte") in text
    assert "no answer after 2.000 s" in text


async def test_errors_without_a_request() -> None:
    """An error of the settings, of other packages, and one that another caused are explained as far as they can be."""
    assert "its settings" in explain(ConfigurationError("x is 3"))
    assert "unknown" in explain(KeyError("x"))
    outer = RuntimeError("outer")
    outer.__cause__ = await failure(script(status(404)))
    assert "NotFoundError" in explain(outer)
    assert "unknown" in explain({})
    assert "unknown" in explain({"type": 3, "attempts": ["x", {"elapsed": "y", "phase": 4}], "status": "z"})
    odd: dict[str, Any] = {
        "type": "AmbiguousOutcomeError",
        "phase": ["x"],
        "attempts": [{"phase": {}, "delivery": [1], "elapsed": 10**400}],
    }
    assert "Repeat:" in explain({**odd, "operation": "POST /x"})
    assert "Repeat:" in explain({**odd, "type": "ServerError", "operation": "POST /x"})


@pytest.mark.parametrize(
    ("method", "delivery", "repeat"),
    [
        ("POST", Delivery.ANSWERED, "no: it was done, only the answer is lost"),
        ("POST", Delivery.MAYBE_PROCESSED, "not before you have looked"),
        ("PUT", Delivery.MAYBE_PROCESSED, "yes: once more has the same effect"),
        ("POST", Delivery.NEVER_SENT, "yes: the server did nothing"),
        ("GET", Delivery.ANSWERED, "yes: it only reads"),
    ],
)
async def test_whether_to_repeat(method: str, delivery: Delivery, repeat: str) -> None:
    """Whether a call may be repeated depends on what it does, and on how far its attempts came."""
    error = {"type": "TransportError", "operation": f"{method} /x", "attempts": [{"delivery": delivery.value}]}

    assert f"Repeat:  {repeat}" in explain(error)


async def test_every_error_is_explained() -> None:
    """No class of the tree is unknown: each has a place, and something to do."""
    with_status = {each.__name__ for each in (*subclasses(APIStatusError), APIStatusError)}
    names = {each.__name__ for each in subclasses(MuxError) if each.__module__ == "mux_async.errors"} - with_status
    assert len(names) > 25

    unknown = [each for each in sorted(names) if "unknown:" in explain({"type": each, "message": "m"})]
    assert not unknown


def subclasses(cls: type[MuxError]) -> list[type[MuxError]]:
    return [found for each in cls.__subclasses__() for found in (each, *subclasses(each))]


async def test_no_secret_in_the_dictionary() -> None:
    """What is written to a log holds neither headers nor bodies, nor the queries of URLs in Mux's sentences."""
    body = {"error": {"type": "invalid_parameters", "messages": ["cannot fetch https://example.com/a.mp4?Signature=CANARY"]}}
    error = await failure(script(lambda: respond(400, json=body, headers={"Set-Cookie": "CANARY"})))

    assert "CANARY" not in json.dumps(error.to_dict())
    assert "CANARY" not in explain(error)
