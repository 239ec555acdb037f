from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux_async.emulator import EmulatorSettings, LimitModel, RateRules, Response, Token
from mux_async.emulator.routing._rate_limits import Counter, FixedWindow, SlidingWindow, TokenBucket
from mux_async.limits import Bucket
from tests.emulator.harness import Account, basic

MODELS: list[LimitModel] = ["token-bucket", "fixed-window", "sliding-window"]

_gaps = st.lists(st.floats(0, 3, allow_nan=False), max_size=120)


def _passed(counter: Counter, gaps: list[float]) -> list[float]:
    now, passed = 1000.0, list[float]()
    for gap in gaps:
        now += gap
        if counter.take(now).allowed:
            passed.append(now)
    return passed


def _most_within(times: list[float], window: float) -> int:
    return max((sum(1 for time in times if start <= time < start + window) for start in times), default=0)


@given(_gaps, st.sampled_from([1.0, 5.0]), st.integers(1, 10))
def test_token_bucket_bound(gaps: list[float], rate: float, capacity: int) -> None:
    """In any window, a token bucket allows at most its capacity and the tokens that are added meanwhile."""
    passed = _passed(TokenBucket(rate, capacity), gaps)

    for window in (0.5, 1.0, 7.0):
        assert _most_within(passed, window) <= capacity + rate * window + 1e-6


@given(_gaps, st.sampled_from([1.0, 5.0]), st.integers(1, 10))
def test_sliding_window_bound(gaps: list[float], rate: float, capacity: int) -> None:
    """In any window of its length, a sliding window allows at most its capacity."""
    passed = _passed(SlidingWindow(rate, capacity), gaps)

    assert _most_within(passed, capacity / rate - 1e-6) <= capacity


@given(_gaps, st.sampled_from([1.0, 5.0]), st.integers(1, 10))
def test_fixed_window_bound(gaps: list[float], rate: float, capacity: int) -> None:
    """In any window of its length, a fixed window allows at most twice its capacity: a burst on each side of an edge."""
    passed = _passed(FixedWindow(rate, capacity), gaps)

    assert _most_within(passed, capacity / rate - 1e-6) <= 2 * capacity
    windows = [time // (capacity / rate) for time in passed]
    assert all(windows.count(window) <= capacity for window in windows)


@pytest.mark.parametrize("counter", [TokenBucket(1, 5), FixedWindow(1, 5), SlidingWindow(1, 5)])
def test_waiting_as_told(counter: Counter) -> None:
    """After the wait that a refusal states, the request is allowed, every time."""
    now = 0.0
    for _ in range(50):
        verdict = counter.take(now)
        if not verdict.allowed:
            assert verdict.retry_after > 0
            now += verdict.retry_after
            assert counter.take(now).allowed


@pytest.mark.parametrize("counter", [TokenBucket(1, 2), FixedWindow(1, 2), SlidingWindow(1, 2)])
def test_clock_going_back(counter: Counter) -> None:
    """A clock that goes back does not allow more requests."""
    assert counter.take(10.0).allowed
    assert counter.take(10.0).allowed
    assert not counter.take(10.0).allowed

    assert not counter.take(2.0).allowed
    assert not counter.take(10.0).allowed


@pytest.mark.parametrize("model", MODELS)
def test_each_bucket(model: LimitModel) -> None:
    """Every model allows a full bucket's capacity, then refuses; the buckets are independent."""
    account = Account(EmulatorSettings(limits=RateRules(model=model, burst=2.0)))
    account.pass_time(1.0)  # to the middle of a fixed window: capacity 2 at rate 1 makes windows of 2 s

    posts = [account.send("POST", "/video/v1/uploads", {}).status for _ in range(4)]
    reads = [account.send("GET", "/video/v1/assets").status for _ in range(12)]
    views = [account.send("GET", "/data/v1/monitoring/metrics").status for _ in range(3)]
    others = [account.send("GET", "/data/v1/video-views").status for _ in range(11)]

    assert posts == [201, 201, 429, 429]
    assert reads == [200] * 10 + [429] * 2
    assert views == [200, 200, 429]
    assert others == [200] * 10 + [429]
    assert [arrival.bucket for arrival in account.emulator.arrivals][:4] == [Bucket.POST] * 4


def test_recorded_body() -> None:
    """A 429 has the recorded body, and neither Retry-After nor X-RateLimit headers."""
    account = Account(EmulatorSettings(limits=RateRules(burst=1.0)))
    account.send("POST", "/video/v1/uploads", {})

    response = account.send("POST", "/video/v1/uploads", {})

    assert response.status == 429
    assert response.json() == {"errors": ["Too many requests, retry later."]}
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert not [name for name in response.headers if name.lower().startswith(("retry", "x-ratelimit"))]


def test_other_shape_and_headers() -> None:
    """If the settings say so, a 429 has the usual form of errors and a Retry-After header, and responses count down."""
    account = Account(EmulatorSettings(limits=RateRules(burst=2.0, body="error", retry_after=True, headers=True)))

    answers = [account.send("POST", "/video/v1/uploads", {}) for _ in range(3)]

    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
    assert {answer.headers["X-RateLimit-Limit"] for answer in answers} == {"2"}
    assert answers[2].headers["Retry-After"] == "1"
    assert answers[2].json()["error"]["type"] == "too_many_requests"


@pytest.mark.parametrize(
    ("scope", "statuses"),
    [
        ("account", {"a": 429, "same": 429, "low": 429, "other": 429}),
        ("environment", {"a": 429, "same": 429, "low": 429, "other": 201}),
        ("environment-and-priority", {"a": 429, "same": 429, "low": 201, "other": 201}),
    ],
)
def test_scope(scope: Any, statuses: dict[str, int]) -> None:
    """All tokens share the buckets, those of an environment, or those of an environment and a priority, as the scope says."""
    tokens = (Token("a", "s"), Token("same", "s"), Token("low", "s", priority="low"), Token("other", "s", "staging"))
    account = Account(EmulatorSettings(tokens=tokens, limits=RateRules(burst=1.0, scope=scope, headers=True)))

    def create(token: str) -> Response:
        return account.send("POST", "/video/v1/uploads", {}, authorization=basic(token, "s"))

    first = create("a")

    assert (first.status, first.headers["X-RateLimit-Remaining"]) == (201, "0")
    assert {token: create(token).status for token in statuses} == statuses


def test_uncounted() -> None:
    """Upload bytes, playback, wrong tokens and control calls are not counted."""
    account = Account(EmulatorSettings(limits=RateRules(burst=1.0)))
    upload = account.create_upload()
    for _ in range(9):
        account.put(upload["url"], content_range="bytes */1000000")
        account.send("GET", "/nothing.m3u8")
        account.send("GET", "/_emulator/health")
        assert account.send("GET", "/video/v1/assets", authorization=basic("wrong", "wrong")).status == 401

    account.pass_time(1.0)
    assert account.send("POST", "/video/v1/uploads", {}).status == 201
