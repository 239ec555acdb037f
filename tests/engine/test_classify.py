"""What came of an attempt, status by status and failure by failure."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from mux_async._classify import RANK, classify, delivery_of, is_success
from mux_async._retry import ErrorStatus, ExchangeFailed, UnreadableSuccess
from mux_async.errors import Delivery, Phase, ResponseError, TransportError

NOW = 60.0


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
    """A success was acted on; a 408, a 5xx or a 1xx may have been; nothing else was. The body changes nothing."""
    for failure in FAILURES:
        assert delivery_of(status, failure) is delivery

    assert is_success(status) == (delivery is Delivery.ANSWERED)


@pytest.mark.parametrize("delivery", Delivery)
def test_no_answer(delivery: Delivery) -> None:
    """Without an answer the transport's error says what may have arrived; an error that does not say leaves it open."""
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
    """It is its status and its ``Retry-After``, as seconds or from a date, and nothing of its body."""
    date = headers_of({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"})

    assert classify(status, HEADERS, failure, NOW) == ErrorStatus(status, 7.0)
    assert classify(status, date, failure, NOW) == ErrorStatus(status, 40.0)
    assert classify(status, headers_of({}), failure, NOW) == ErrorStatus(status, None)


@pytest.mark.parametrize("status", [200, 204, 299])
def test_a_success(status: int) -> None:
    """A success is one with its body; a body that broke off was acted on all the same, and one that cannot be used is unreadable."""
    assert classify(status, HEADERS, None, NOW) is None
    assert classify(status, HEADERS, LOST, NOW) == ExchangeFailed(Delivery.ANSWERED)
    assert isinstance(classify(status, HEADERS, UNUSABLE, NOW), UnreadableSuccess)


def test_rank() -> None:
    """Deliveries are in the order of what the server may have done."""
    assert sorted(Delivery, key=RANK.__getitem__) == [Delivery.NEVER_SENT, Delivery.MAYBE_PROCESSED, Delivery.ANSWERED]
