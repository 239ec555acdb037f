"""What is known about an operation before it is called: plain data, written by the generator, read by the engine."""

from __future__ import annotations

import enum
from typing import Generic, Literal, TypeAlias, TypeVar

import attrs


class Bucket(enum.StrEnum):
    """The four allowances of an account. Rates: facts/BEHAVIOUR.md, 2.1."""

    POST = "post"
    """POST outside the Data API: 1 a second."""
    OTHER = "other"
    """Any other verb outside the Data API: 5 a second."""
    REALTIME_DATA = "realtime-data"
    """``/data/v1/monitoring*`` and ``/data/v1/realtime*``: 1 a second."""
    GENERAL_DATA = "general-data"
    """The rest of ``/data/v1``: 5 a second."""


class Replay(enum.StrEnum):
    """What may be done when the outcome of a request is not known."""

    SAFE = "safe"
    """Reads only: send it again."""
    IDEMPOTENT = "idempotent"
    """Writes the same state however often it arrives: send it again."""
    HARMLESS = "harmless"
    """A second one leaves something unused behind that costs nothing and expires: send it again."""
    NEVER = "never"
    """A second one may create, bill or destroy twice: report the ambiguity instead."""


class Pagination(enum.StrEnum):
    """How a list is read to its end."""

    NONE = "none"
    PAGE = "page"
    """``page`` (from 1) and ``limit``; the end is an empty page."""
    CURSOR = "cursor"
    """``cursor`` from the page before; the end is a page without ``next_cursor``."""
    PAGE_WITH_TOTAL = "page_with_total"
    """As `PAGE`, and the envelope says how many rows there are in all (it may say null)."""


class Host(enum.StrEnum):
    """Which of Mux's hosts serves it. With a base URL of one's own, that origin serves all of them."""

    API = "https://api.mux.com"
    STREAM = "https://stream.mux.com"
    IMAGE = "https://image.mux.com"


Result: TypeAlias = Literal["none", "data", "envelope", "page", "json", "text", "bytes"]
"""What a call returns: nothing; the model (or list) under ``data``; the whole body, when ``data`` has company; a page; decoded
JSON; text; bytes."""


T = TypeVar("T", covariant=True)


@attrs.frozen
class Operation(Generic[T]):
    """One operation of the Mux API. The type parameter is what a call gives back; it exists for type checkers only.

    Attributes:
        id: Group and method, as typed by a user: ``video.assets.create``.
        method: HTTP verb in capitals.
        path: Template with ``{NAME}`` for path parameters.
        bucket: The allowance a call is counted against; ``None`` for hosts that have none.
        replay: What may be done after an ambiguous outcome.
        pagination: How the list is read to its end.
        host: Where it is served.
        result: What a call returns.
        model: ``module:Class`` below `mux_async.models`, of what is decoded: for ``data`` the object under ``data`` (or one
            element of that list), for ``envelope`` and ``page`` the whole body. ``None`` where nothing typed is decoded.
        is_list: With ``data``: whether ``data`` is a list of *model*.
        deprecated: Why it should not be used any more; ``None`` when it is current.
    """

    id: str
    method: str
    path: str
    bucket: Bucket | None
    replay: Replay
    pagination: Pagination = Pagination.NONE
    host: Host = Host.API
    result: Result = "data"
    model: str | None = None
    is_list: bool = False
    deprecated: str | None = None

    @property
    def line(self) -> str:
        """The HTTP line: ``POST /video/v1/assets``."""
        return f"{self.method} {self.path}"


def bucket_of(method: str, path: str) -> Bucket:
    """Return the bucket of any request to the API host, spec or not. Rule: facts/README.md, *Rate-limit buckets*."""
    if path.startswith("/data/v1"):
        rest = path.removeprefix("/data/v1")
        is_realtime = rest.startswith(("/monitoring", "/realtime"))
        return Bucket.REALTIME_DATA if is_realtime else Bucket.GENERAL_DATA
    return Bucket.POST if method == "POST" else Bucket.OTHER


def replay_of(method: str) -> Replay:
    """Return the replay class of a request that is not in the spec, by its verb alone; a POST is never replayed."""
    if method in {"GET", "HEAD", "OPTIONS"}:
        return Replay.SAFE
    return Replay.IDEMPOTENT if method in {"PUT", "PATCH", "DELETE"} else Replay.NEVER
