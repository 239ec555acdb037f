"""Find what a create made whose answer was lost.

A create that the server may have processed is not sent again before a search for what it made. With ``once="key"`` the request carries the
idempotency key in a field that Mux only stores, so the result can be found: on the newest pages of a list, or in the object that holds it.
`reconcile` searches twice with a pause between, because a server that cut the connection may still be processing the request. What it
finds is the result of the call. If it finds nothing, the request may be sent again.

Only `reconcile` waits, and only `Read` sends. The rules of a search:

1. A list that is sorted by age is read until its elements are older than the first attempt; another list is read to its end.
2. Ages are computed from the server's clock (``Date``), so a wrong local clock does no harm.
3. A list that cannot be read that far proves nothing, and the outcome stays unknown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast

import anyio
import attrs

from mux_async._arguments import Arguments
from mux_async._idempotency.key import IdempotencyKey
from mux_async._models import response_decoder
from mux_async._models.serialization import to_wire
from mux_async._models.times import parse_http_date, parse_time
from mux_async._operation import Bucket, KeySpec, LookupSpec, Operation, Replay
from mux_async._pagination import next_query
from mux_async._types import UNSET
from mux_async._wire import build_path
from mux_async.errors import AmbiguousOutcomeError, APIStatusError, InvalidRequestError, MuxError

if TYPE_CHECKING:
    from mux_async.transport import Headers

PAUSES: Final = (0.5, 3.0)
"""Seconds before each search. The second one is for servers that were still processing, and for lists that lag behind."""
PAUSES_AFTER_SUCCESS: Final = (0.5, 3.0, 10.0)
"""The same after a 2xx without its body: the object exists, and will appear."""
MAX_PAGES: Final = 50
"""Pages read in one search, unless the operation says less. An account makes 5000 assets in 80 minutes."""
SETTLE: Final = 10.0
"""Seconds after an attempt of an earlier call before "not found" counts: a server may still be processing, and lists lag behind."""
_GONE: Final = frozenset({400, 404, 410})
"""Statuses that mean that no object has this id."""
SLACK: Final = 10.0
"""Seconds by which an object may seem too old: times are whole seconds, and servers differ a little."""
SLACK_WITHOUT_DATE: Final = 300.0
"""The same if the answer has no ``Date`` and the local clock is used instead."""


@attrs.frozen(eq=False, repr=False)
class Lookup:
    """What a search is for: the object that has *key* in the field of *key_spec*."""

    key: str
    key_spec: KeySpec
    operation: Operation[Any]
    arguments: Arguments
    given: IdempotencyKey
    """As the user wrote it."""

    @property
    def names(self) -> tuple[str, ...]:
        """What makes the key unique: the same text may be used with another operation, path or asset of a job."""
        query = first_query(self.key_spec.lookup, self.arguments)
        return (self.operation.id, build_path(self.operation.path, self.arguments.path), repr(sorted(query.items())), self.key)

    @property
    def how(self) -> str:
        """How a person would search for it."""
        where = f"mux.{self.operation.found_in}" if self.operation.found_in else "what the account has"
        return f"look for {self.key_spec.field} {self.key!r} in {where}"


@attrs.frozen(eq=False, repr=False)
class LookupPage:
    """A page that a search read, decoded.

    Attributes:
        body: JSON.
        headers: Of the answer.
        answer: The answer itself, for the caller; not used here.
    """

    body: object
    headers: Headers
    answer: Any


Read: TypeAlias = Callable[[Operation[object], Arguments], Awaitable[LookupPage]]
"""Performs a GET, with everything that a call has: limits, retries, errors."""


@attrs.frozen(eq=False, repr=False)
class Found:
    """What a search found.

    Attributes:
        content: A body like that of the create's own answer.
        answer: The answer in which it was found.
    """

    content: bytes
    answer: Any


class Inconclusive(Exception):  # noqa: N818 - it never leaves this module
    """The object was not found, and may exist all the same."""


def set_key(operation: Operation[Any], arguments: Arguments) -> tuple[Arguments, Lookup]:
    """Set the idempotency key of ``arguments.once`` in the body.

    Returns:
        The arguments to send, and what to search for if the answer is lost.

    Raises:
        InvalidRequestError: The operation has no field for a key, the field is taken, or the key does not fit into it.
    """
    given, spec = arguments.once, operation.once
    if spec is None or given is None:
        raise InvalidRequestError(f"{operation.line} has no field that could hold a key; leave once= out")
    if not isinstance(given, IdempotencyKey):
        if not isinstance(cast("object", given), str):
            raise InvalidRequestError(f"once is of type {type(given).__name__}; it must be a str or an IdempotencyKey")
        given = IdempotencyKey(given)
    key = given.key
    _check_key(key, spec)
    body: dict[str, object] = {**(arguments.body or {}), **(arguments.extra_body or {})}
    _set(body, spec, key)
    with_key = attrs.evolve(arguments, body=body, extra_body=None)
    return with_key, Lookup(key, spec, operation, with_key, given)


def _check_key(key: str, spec: KeySpec) -> None:
    if not key or key != key.strip() or not key.isprintable():
        raise InvalidRequestError(
            f"once is {key[:80]!r}; a key has printable characters, at least one, and no space at either end, so that it comes "
            f"back as it went"
        )
    if len(key) > spec.longest:
        raise InvalidRequestError(
            f"once has {len(key)} characters, and {spec.field}, which holds it, takes {spec.longest}; use a shorter key, a hash of it"
        )


def _set(body: dict[str, object], spec: KeySpec, key: str) -> None:
    members = body
    *outer, last = spec.members
    for name in outer:
        given = members.get(name)
        inner: object = {} if given is UNSET or given is None else to_wire(given, name)
        if not isinstance(inner, dict):
            raise InvalidRequestError(
                f"{name} is of type {type(given).__name__}, and once= has to be written into it; pass a mapping"
            )
        members[name] = copy = dict(cast("dict[str, object]", inner))
        members = copy
    given = members.get(last)
    if given is not UNSET and given is not None and given != key:
        raise InvalidRequestError(
            f"{spec.field} is set to something else than once={key!r}, and it is where that is kept: leave {spec.field} out, or use the "
            f"same text for both"
        )
    members[last] = key


class Clock(Protocol):
    """What `reconcile` needs to know of time: monotonic seconds since the first attempt, and seconds since 1970."""

    def elapsed(self) -> float: ...

    def epoch(self) -> float: ...


async def reconcile(read: Read, lookup: Lookup, spec: LookupSpec, clock: Clock, *, acted: bool) -> Found | None:
    """Search for what a request made whose answer was lost. Waits between searches.

    Args:
        read: Performs GETs.
        lookup: What to search for.
        spec: Where.
        clock: Since the first attempt.
        acted: Whether the server is known to have made it.

    Returns:
        What was found; ``None`` if it does not exist.

    Raises:
        Inconclusive: It was not found, and that proves nothing.
        MuxError: The search failed.
    """
    for pause in PAUSES_AFTER_SUCCESS if acted else PAUSES:
        await anyio.sleep(pause)
        found = await search(read, lookup, spec, clock)
        if found is not None:
            return found
    return None


async def search(read: Read, lookup: Lookup, spec: LookupSpec, clock: Clock) -> Found | None:
    """Search once. Arguments and errors as for `reconcile`; sends `MAX_PAGES` requests at most, mostly one."""
    reading: Operation[object] = Operation(
        id=spec.id, method="GET", path=spec.path, bucket=spec.bucket, replay=Replay.SAFE, result="json"
    )
    query = first_query(spec, lookup.arguments)
    pages = spec.pages or MAX_PAGES
    for _ in range(pages):
        page = await read(reading, Arguments(path=lookup.arguments.path, query=query))
        items = items_of(page.body, spec)
        horizon = oldest_possible(page.headers, clock)
        for item in items:
            if (found := await _recognise(read, lookup, spec, item, page, horizon)) is not None:
                return found
        following = page_after(spec, query, page.body, items, horizon)
        if following is None:
            return None
        query = following
    raise Inconclusive(f"{pages} pages of {spec.id} did not go back to the first attempt")


async def _recognise(
    read: Read, lookup: Lookup, spec: LookupSpec, item: Mapping[str, object], page: LookupPage, horizon: float
) -> Found | None:
    if not spec.is_summary:
        return _found(lookup, item, page) if key_of(item, lookup.key_spec) == lookup.key else None
    if is_older(item, horizon):
        return None
    page, element = await _retrieve(read, lookup, cast("str", item.get("id")))
    return _found(lookup, element, page) if key_of(element, lookup.key_spec) == lookup.key else None


async def retrieve(read: Read, lookup: Lookup, made_id: str) -> Found | None:
    """Return the object with a known id, as it is now; ``None`` if it was deleted.

    Raises:
        Inconclusive: The answer holds no object.
        MuxError: It cannot be read.
    """
    try:
        whole, element = await _retrieve(read, lookup, made_id)
    except APIStatusError as error:
        if error.status in _GONE:
            return None
        raise
    return _found(lookup, element, whole)


async def _retrieve(read: Read, lookup: Lookup, made_id: str) -> tuple[LookupPage, Mapping[str, object]]:
    path = build_path(lookup.key_spec.retrieve or "", {**lookup.arguments.path, "ID": made_id})
    reading: Operation[object] = Operation(
        id=lookup.key_spec.lookup.id, method="GET", path=path, bucket=Bucket.OTHER, replay=Replay.SAFE, result="json"
    )
    whole = await read(reading, Arguments())
    element = member(whole.body, ("data",))
    if not isinstance(element, dict):
        raise Inconclusive(f"{path} was answered without the object that belongs there")
    return whole, cast("dict[str, object]", element)


def _found(lookup: Lookup, item: Mapping[str, object], page: LookupPage) -> Found | None:
    if item.get("status") in lookup.key_spec.dead_statuses:
        return None
    return Found(response_decoder.dumps({"data": item}), page.answer)


def first_query(spec: LookupSpec, arguments: Arguments) -> dict[str, object]:
    """Return the query of the first page."""
    query: dict[str, object] = {"limit": spec.limit}
    sent = to_wire(dict(arguments.body or {}))
    for name, value in spec.query.items():
        query[name] = value if isinstance(value, str) else member(sent, value)
    return {name: value for name, value in query.items() if isinstance(value, str | int)}


def member(body: object, names: tuple[str, ...]) -> object:
    """Follow *names* into *body*; ``None`` where they lead nowhere."""
    for name in names:
        body = cast("dict[str, object]", body).get(name) if isinstance(body, dict) else None
    return body


def items_of(body: object, spec: LookupSpec) -> list[Mapping[str, object]]:
    """Return the elements of the array that *spec* names. An object without elements may leave the array out.

    Raises:
        Inconclusive: The array is missing, or its elements are not objects.
    """
    *outer, last = spec.items
    holder = member(body, tuple(outer))
    found = cast("dict[str, object]", holder).get(last) if isinstance(holder, dict) else None
    if found is None and outer and isinstance(holder, dict):
        return []
    listed = cast("list[object]", found) if isinstance(found, list) else [found]
    if not all(isinstance(item, dict) for item in listed):
        raise Inconclusive(f"{spec.id} was answered without the list that belongs there")
    return cast("list[Mapping[str, object]]", listed)


def key_of(item: Mapping[str, object], spec: KeySpec) -> object:
    """Return the idempotency key of *item*."""
    return member(item, spec.members)


def oldest_possible(headers: Headers, clock: Clock) -> float:
    """Return the server's time of the first attempt, minus a margin, in seconds since 1970: older objects are not of this call."""
    date = parse_http_date(headers.get("Date"))
    if date is not None:
        return date - clock.elapsed() - SLACK
    return clock.epoch() - clock.elapsed() - SLACK_WITHOUT_DATE


def is_older(item: Mapping[str, object], horizon: float) -> bool:
    """Whether *item* was created before *horizon*."""
    made_at = parse_time(item.get("created_at"))
    return made_at is not None and made_at.timestamp() < horizon


def page_after(
    spec: LookupSpec, query: Mapping[str, object], body: object, items: list[Mapping[str, object]], horizon: float
) -> dict[str, object] | None:
    """Return the query of the next page; ``None`` if the object cannot be on it."""
    if spec.is_newest_first and items and is_older(items[-1], horizon):
        return None
    cursor = member(body, ("next_cursor",))
    total = member(body, ("total_row_count",))
    following = next_query(
        spec.pagination,
        query,
        received=len(items),
        next_cursor=cursor if isinstance(cursor, str) else None,
        total=total if isinstance(total, int) else None,
    )
    return None if following is None else {**query, **following}


def ambiguous(
    operation: Operation[Any],
    problem: MuxError,
    *,
    status: int | None = None,
    request_id: str | None = None,
    lookup: Lookup | None = None,
    looked: str | None = None,
) -> AmbiguousOutcomeError:
    """Build the error for a write whose outcome is unknown: what happened, and how to find out.

    Args:
        operation: The write.
        problem: What happened to it.
        status: Of its answer, if the head of one arrived.
        request_id: Of its answer.
        lookup: What can be searched for, with ``once``.
        looked: The result of the search; ``None`` if there was none.
    """
    acted = status is not None and status < 300
    what = f"was answered {status}, and the body did not arrive whole" if acted else f"has an unknown outcome ({problem})"
    how = f"see what mux.{operation.found_in} shows" if operation.found_in else None
    if lookup is not None:
        how = lookup.how
    after = f"{looked}, and it" if looked else "it"
    return AmbiguousOutcomeError(
        f"{operation.line} {what}; {after} was not sent again, because that could do it twice: "
        f"{how or 'look whether it was done'} before you repeat it",
        status=status,
        request_id=request_id,
        how=how,
        once=lookup.key if lookup is not None else None,
    )
