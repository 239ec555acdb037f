"""Errors as values."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from mux_async.errors import (
    AmbiguousOutcomeError,
    APIStatusError,
    AssetErroredError,
    Attempt,
    ConnectError,
    Delivery,
    JobFailedError,
    LimitWaitError,
    MissingExtraError,
    MuxError,
    NotFoundError,
    Phase,
    ResponseTooLargeError,
    ServerError,
    TrackErroredError,
    TransportClosedError,
    TransportTimeoutError,
    UploadError,
    WrongRuntimeError,
    error_class,
)
from mux_async.ingest import PlanError, Problem

ERRORS: list[MuxError] = [
    AmbiguousOutcomeError("m", status=200, request_id="r"),
    AssetErroredError("a", type="t", messages=["m"]),
    ConnectError("m"),
    JobFailedError("j", status="errored", type="t", messages=["m"], is_retryable=True),
    LimitWaitError("m", deadline=1.0, eta=2.0),
    MissingExtraError("w", "l", "e"),
    NotFoundError(
        "m",
        status=404,
        type="not_found",
        messages=["gone"],
        request_id="r",
        headers=CIMultiDictProxy(CIMultiDict([("X-A", "1"), ("x-a", "2")])),
        body={"error": {}},
        retry_after=1.5,
    ),
    PlanError([Problem("one"), Problem("two", "films.csv", 3, "title")]),
    ResponseTooLargeError("m", status=200),
    TransportClosedError("aiohttp"),
    TransportTimeoutError("m", delivery=Delivery.ANSWERED, phase=Phase.READ_BODY),
    TrackErroredError("t", type="t", messages=["m"]),
    UploadError("m", upload_id="u", sent=5, resumable=True),
    WrongRuntimeError("aiohttp", running="trio", supported=["asyncio"]),
]


def through_pickle(error: MuxError) -> MuxError:
    again: MuxError = pickle.loads(pickle.dumps(error))
    return again


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, through_pickle])
def test_copies(error: MuxError, again: Callable[[MuxError], MuxError]) -> None:
    """Every error can be copied and come out of another process, with its class, text and facts."""
    error.attempts = (Attempt(1, 0.0, 1.0, 404, "r", None),)
    other = again(error)

    assert other is not error
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert vars(other) == vars(error)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(302, APIStatusError), (404, NotFoundError), (418, APIStatusError), (500, ServerError), (599, ServerError)],
)
def test_classes(status: int, kind: type[APIStatusError]) -> None:
    """Every error status has a class: one of its own, that of all 5xx, or the root of them."""
    assert error_class(status) is kind
