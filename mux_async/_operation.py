"""What is known about an operation before it is called: plain data, written by the generator, read by the engine."""

from __future__ import annotations

import enum
from collections.abc import Mapping
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

    __hash__ = str.__hash__  # an enum's own is written in Python, and every request looks buckets up


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


@attrs.frozen(eq=False, repr=False)
class LookupSpec:
    """Where what an operation made can be seen: a list of such things, or the object that holds them.

    Attributes:
        id: Of the operation that shows it, as typed by a user: ``video.assets.list``. Always a GET.
        path: Its template; path parameters are among those of the operation that made the thing.
        bucket: The allowance it is counted against.
        pagination: How it is read to its end.
        items: Names of the members, outermost first, that lead to the array.
        limit: Elements on a page, at most; ``None`` where there are no pages.
        pages: Pages that a search reads at most; ``None`` for the usual bound.
        is_newest_first: Whether what comes later on the list is older.
        query: What to ask for besides: text, or the names of the members of the request's body that hold it.
        is_summary: Whether the array leaves keys out, so that each element has to be read by itself (`KeySpec.retrieve`).
    """

    id: str
    path: str
    bucket: Bucket
    pagination: Pagination = Pagination.NONE
    items: tuple[str, ...] = ("data",)
    limit: int | None = None
    pages: int | None = None
    is_newest_first: bool = False
    query: Mapping[str, str | tuple[str, ...]] = attrs.field(factory=dict[str, "str | tuple[str, ...]"], hash=False)
    is_summary: bool = False


@attrs.frozen(eq=False, repr=False)
class KeySpec:
    """How a thing is recognised that was made by a request whose answer got lost: by an idempotency key, in a field that Mux only stores.

    Attributes:
        members: Their names, outermost first, lead to the field; the same in the request and in the thing.
        longest: Characters that the field takes (facts/BEHAVIOUR.md, section 4.1).
        lookup: Where the thing is looked for.
        retrieve: Template of the thing's own path; ``{ID}`` stands for its id, and the other names are those of the operation's path.
            ``None`` for a part of another thing, which has none.
        dead_statuses: What the thing's ``status`` is when it is of no use any more, and counts as not made.
    """

    members: tuple[str, ...]
    longest: int
    lookup: LookupSpec
    retrieve: str | None = None
    dead_statuses: tuple[str, ...] = ()

    @property
    def field(self) -> str:
        """The field's name: ``meta.external_id``."""
        return ".".join(self.members)


@attrs.frozen(eq=False, repr=False)
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
        request: As *model*, of the request's body; ``None`` when it takes none.
        is_list: With ``data``: whether ``data`` is a list of *model*.
        deprecated: Why it should not be used any more; ``None`` when it is current.
        found_in: Id of the operation that shows what this one made; ``None`` when there is none, or nothing is made.
        once: How what it made is known again; ``None`` when it is not.
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
    request: str | None = None
    is_list: bool = False
    deprecated: str | None = None
    found_in: str | None = None
    once: KeySpec | None = None

    def __repr__(self) -> str:
        return f"<Operation {self.id}>"

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
