"""What came of an attempt, and the decision whether the request is sent again: tables, checked cell by cell."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from mux_async._classify import RANK, classify, delivery_of, is_success
from mux_async._operation import Replay
from mux_async._retry import (
    Ambiguous,
    Decision,
    ErrorStatus,
    ExchangeFailed,
    GiveUp,
    Outcome,
    RetryAfter,
    RetryPolicy,
    UnreadableSuccess,
    decide,
    parse_retry_after,
)
from mux_async.errors import ConfigurationError, Delivery, Phase, ResponseError, TransportError

NOW = 60.0
REPEATABLE = [Replay.SAFE, Replay.IDEMPOTENT, Replay.HARMLESS]


def judge(outcome: Outcome, replay: Replay, *, attempt: int = 1, is_limited: bool = True) -> Decision:
    return decide(
        outcome, replay=replay, attempt=attempt, max_attempts=3, jitter=0.5, policy=RetryPolicy(), is_limited=is_limited
    )


@pytest.mark.parametrize("replay", Replay)
@pytest.mark.parametrize("outcome", [ExchangeFailed(Delivery.NEVER_SENT), ErrorStatus(429)])
def test_what_was_refused_goes_again(outcome: Outcome, replay: Replay) -> None:
    """Nothing was sent, or Mux said 429: any request may be sent again."""
    assert isinstance(judge(outcome, replay), RetryAfter)


@pytest.mark.parametrize(
    "outcome",
    [
        ExchangeFailed(Delivery.MAYBE_PROCESSED),
        ExchangeFailed(Delivery.ANSWERED),
        ErrorStatus(500),
        ErrorStatus(502),
        ErrorStatus(503),
        ErrorStatus(599),
    ],
)
def test_a_post_with_unknown_outcome_is_never_sent_again(outcome: Outcome) -> None:
    """If bytes were sent and no usable response came, a write that could happen twice is ambiguous, on every attempt."""
    assert all(judge(outcome, Replay.NEVER, attempt=attempt) == Ambiguous() for attempt in (1, 2, 3))


@pytest.mark.parametrize("replay", REPEATABLE)
@pytest.mark.parametrize(
    "outcome", [ExchangeFailed(Delivery.MAYBE_PROCESSED), ExchangeFailed(Delivery.ANSWERED), ErrorStatus(500), ErrorStatus(408)]
)
def test_what_may_repeat_repeats(outcome: Outcome, replay: Replay) -> None:
    """Reads and idempotent or harmless writes are sent again after any failure of the server or the line."""
    assert isinstance(judge(outcome, replay), RetryAfter)


@pytest.mark.parametrize("status", [300, 308, 400, 401, 403, 404, 409, 412, 422])
def test_other_answers_are_final(status: int) -> None:
    """A refusal that will not change is returned at once; a 409 above all."""
    assert all(judge(ErrorStatus(status), replay) == GiveUp() for replay in Replay)


def test_attempts_end() -> None:
    """After the last attempt nothing is retried."""
    outcomes: list[Outcome] = [ErrorStatus(429), ExchangeFailed(Delivery.NEVER_SENT)]
    for outcome, replay in itertools.product(outcomes, Replay):
        assert judge(outcome, replay, attempt=3) == GiveUp()


def test_a_429_waits_at_the_bucket() -> None:
    """With a bucket the wait after a 429 is the bucket's; without one it is ``Retry-After``, or the back-off."""
    assert judge(ErrorStatus(429, 7.0), Replay.SAFE) == RetryAfter(0.0)
    assert judge(ErrorStatus(429, 7.0), Replay.SAFE, is_limited=False) == RetryAfter(7.0)
    assert judge(ErrorStatus(429), Replay.SAFE, is_limited=False) == RetryAfter(0.25)


def test_backoff_is_capped_and_jittered() -> None:
    """The ceiling doubles up to the longest wait, and jitter takes a share of it."""
    policy = RetryPolicy(first=0.5, longest=8.0)

    assert [policy.backoff(attempt, 1.0) for attempt in range(1, 8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert policy.backoff(10_000, 0.25) == 2.0


def test_a_wait_is_bounded_however_many_attempts() -> None:
    """The ceiling doubles thirty times at most: a float would reach infinity."""
    policy = RetryPolicy(first=1.0, longest=1e300)

    assert [policy.backoff(attempt, 1.0) for attempt in (30, 31, 32, 10_000)] == [2.0**29, 2.0**30, 2.0**30, 2.0**30]


@pytest.mark.parametrize("name", ["first", "longest", "longest_retry_after"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), "1"])
def test_a_policy_that_cannot_be(name: str, value: Any) -> None:
    """A value that is not a number of seconds is refused, by the name of the setting."""
    with pytest.raises(ConfigurationError, match=f"^the retry policy's {name} is "):
        RetryPolicy(**{name: value})


@pytest.mark.parametrize("replay", Replay)
@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_an_unreadable_success_is_not_sent_again(replay: Replay, attempt: int) -> None:
    """An unreadable success is not retried: it is an error, and ambiguous for a write that may not repeat."""
    assert judge(UnreadableSuccess(), replay, attempt=attempt) == (Ambiguous() if replay is Replay.NEVER else GiveUp())


@pytest.mark.parametrize("attempt", [1, 2, 3, 4])
def test_a_write_that_timed_out_at_the_server(attempt: int) -> None:
    """A 408 says that the request was incomplete: for a write that may not repeat it is final."""
    assert judge(ErrorStatus(408, 1.0), Replay.NEVER, attempt=attempt) == GiveUp()


@pytest.mark.parametrize(("status", "again"), [(407, False), (408, True), (409, False), (499, False), (500, True), (501, True)])
def test_statuses_beside_those_that_repeat(status: int, again: bool) -> None:
    """408 and everything from 500 on is sent again, and nothing beside it."""
    for replay in REPEATABLE:
        assert isinstance(judge(ErrorStatus(status), replay), RetryAfter if again else GiveUp)


@pytest.mark.parametrize(
    ("asked", "attempt", "delay"),
    [(None, 1, 0.25), (0.0, 2, 0.5), (0.4, 2, 0.5), (2.0, 1, 2.0), (60.0, 1, 60.0), (61.0, 1, 60.0)],
)
def test_the_wait(asked: float | None, attempt: int, delay: float) -> None:
    """The wait is ``Retry-After``, at most a minute, and at least the back-off."""
    assert judge(ErrorStatus(503, asked), Replay.SAFE, attempt=attempt) == RetryAfter(delay)
    assert judge(ErrorStatus(429, asked), Replay.NEVER, attempt=attempt, is_limited=False) == RetryAfter(delay)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("2", 2.0),
        (" 1.5 ", 1.5),
        (".5", 0.5),
        ("1.2.3", None),
        (".", None),
        ("-3", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("1e9", None),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0.0),
        ("Thu, 99 Jan 1970 00:00:10 GMT", None),
        ("²", None),
        ("Thu, 01 Jan 1970 99999999999999999999:00:00 GMT", None),
        ("Thu, 01 Jan 1970 00:01:40 -0000", 40.0),
        ("9" * 400, None),
    ],
)
def test_retry_after_is_believed_when_sane(header: str | None, seconds: float | None) -> None:
    """Seconds and dates are read; anything else counts as absent."""
    assert parse_retry_after(header, now_epoch=60.0) == seconds


# What came of an attempt


def headers_of(members: dict[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(members))


HEADERS = headers_of({"Retry-After": "7"})
LOST = TransportError("the connection was lost", delivery=Delivery.MAYBE_PROCESSED, phase=Phase.READ_BODY)
UNUSABLE = ResponseError("it is too long", status=200)
FAILURES: list[TransportError | ResponseError | None] = [None, LOST, UNUSABLE]


@pytest.mark.parametrize(
    ("status", "delivery"),
    [
        (101, Delivery.MAYBE_PROCESSED),
        (199, Delivery.MAYBE_PROCESSED),
        (200, Delivery.ANSWERED),
        (204, Delivery.ANSWERED),
        (299, Delivery.ANSWERED),
        (300, Delivery.NEVER_SENT),
        (308, Delivery.NEVER_SENT),
        (400, Delivery.NEVER_SENT),
        (407, Delivery.NEVER_SENT),
        (408, Delivery.MAYBE_PROCESSED),
        (409, Delivery.NEVER_SENT),
        (429, Delivery.NEVER_SENT),
        (499, Delivery.NEVER_SENT),
        (500, Delivery.MAYBE_PROCESSED),
        (599, Delivery.MAYBE_PROCESSED),
    ],
)
def test_what_a_status_says(status: int, delivery: Delivery) -> None:
    """A success was processed; a 408, a 5xx or a 1xx may have been; other statuses were not. The body changes nothing."""
    for failure in FAILURES:
        assert delivery_of(status, failure) is delivery

    assert is_success(status) == (delivery is Delivery.ANSWERED)


@pytest.mark.parametrize("delivery", Delivery)
def test_no_answer(delivery: Delivery) -> None:
    """Without a response the transport's error says what may have arrived; without such an error it is unknown."""
    lost = TransportError("the connection was lost", delivery=delivery, phase=Phase.READ_BODY)

    for status, headers in [(None, None), (None, HEADERS)]:
        assert classify(status, headers, lost, NOW) == ExchangeFailed(delivery)
    assert delivery_of(None, lost) is delivery
    for status, said in [(404, Delivery.NEVER_SENT), (503, Delivery.MAYBE_PROCESSED)]:  # a head whose headers were lost
        assert classify(status, None, lost, NOW) == ExchangeFailed(said)
    for unclear in (None, UNUSABLE):
        assert classify(None, None, unclear, NOW) == ExchangeFailed(Delivery.MAYBE_PROCESSED)
        assert delivery_of(None, unclear) is Delivery.MAYBE_PROCESSED


@pytest.mark.parametrize("status", [101, 199, 300, 404, 429, 500])
@pytest.mark.parametrize("failure", FAILURES)
def test_an_answer_that_is_no_success(status: int, failure: TransportError | ResponseError | None) -> None:
    """The outcome is the status and ``Retry-After``, as seconds or from a date, without the body."""
    date = headers_of({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"})

    assert classify(status, HEADERS, failure, NOW) == ErrorStatus(status, 7.0)
    assert classify(status, date, failure, NOW) == ErrorStatus(status, 40.0)
    assert classify(status, headers_of({}), failure, NOW) == ErrorStatus(status, None)


@pytest.mark.parametrize("status", [200, 204, 299])
def test_a_success(status: int) -> None:
    """A success needs its body; if the body broke off, the request was processed; if it cannot be used, the success is unreadable."""
    assert classify(status, HEADERS, None, NOW) is None
    assert classify(status, HEADERS, LOST, NOW) == ExchangeFailed(Delivery.ANSWERED)
    assert isinstance(classify(status, HEADERS, UNUSABLE, NOW), UnreadableSuccess)


def test_rank() -> None:
    """Deliveries are in the order of what the server may have done."""
    assert sorted(Delivery, key=RANK.__getitem__) == [Delivery.NEVER_SENT, Delivery.MAYBE_PROCESSED, Delivery.ANSWERED]
