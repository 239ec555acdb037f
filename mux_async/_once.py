"""Never twice: what is done about a create whose answer got lost.

A request that may have been acted on is not sent again before somebody has looked. With ``once="key"`` the request carries the key in
a field that Mux only stores (its *stamp*), so what it made can be found again: on the newest pages of a list, or in the object that
holds it. The engine calls `reconcile`, which looks twice with a pause between, because a server that cut the connection may still be
at work. What was found is the result of the call; when nothing was, the request may go out again.

Only `reconcile` waits, and only `Read` sends. The rules of looking:

1. A list in order of age is read until its things are older than the first attempt; another one to its end.
2. Ages are told by the server's own clock (``Date``), so that a wrong one here does no harm.
3. What cannot be read to such an end proves nothing, and the outcome stays unknown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast

import anyio
import attrs

from mux_async._arguments import Arguments
from mux_async._models import response_decoder
from mux_async._models.model import to_wire
from mux_async._models.times import parse_http_date, parse_time
from mux_async._operation import Bucket, KeySpec, LookupSpec, Operation, Replay
from mux_async._options import Once
from mux_async._pagination import next_query
from mux_async._types import UNSET
from mux_async._wire import build_path
from mux_async.errors import AmbiguousOutcomeError, APIStatusError, InvalidRequestError, MuxError

if TYPE_CHECKING:
    from mux_async.transport import Headers

PAUSES: Final = (0.5, 3.0)
"""Seconds before each look. The second is for servers that were still at work, and for lists that lag behind."""
PAUSES_AFTER_SUCCESS: Final = (0.5, 3.0, 10.0)
"""The same when a 2xx arrived without its body: what was made is there, and will show."""
MAX_PAGES: Final = 50
"""Pages read in one look, where the operation does not say less; 5000 assets are what an account makes in 80 minutes."""
SETTLE: Final = 10.0
"""Seconds after an attempt of an earlier call that make its absence believed: a server may still be at work, and lists lag behind."""
_GONE: Final = frozenset({400, 404, 410})
"""Statuses that say that an id is no longer, or never was, that of anything."""
SLACK: Final = 10.0
"""Seconds that a thing may seem older than it is: times are whole seconds, and servers differ a little."""
SLACK_WITHOUT_DATE: Final = 300.0
"""The same when the answer has no ``Date``, so that the clock of this machine has to do."""


@attrs.frozen(eq=False, repr=False)
class Sought:
    """What is looked for: the thing that carries *key* in the field that *once* says."""

    key: str
    once: KeySpec
    operation: Operation[Any]
    arguments: Arguments
    given: Once
    """As the user wrote it."""

    @property
    def names(self) -> tuple[str, ...]:
        """What tells this key from the same text elsewhere: another operation, another object in the path, another asset of a job."""
        query = first_query(self.once.lookup, self.arguments)
        return (self.operation.id, build_path(self.operation.path, self.arguments.path), repr(sorted(query.items())), self.key)

    @property
    def how(self) -> str:
        """How a person would look for it."""
        where = f"mux.{self.operation.found_in}" if self.operation.found_in else "what the account has"
        return f"look for {self.once.field} {self.key!r} in {where}"


@attrs.frozen(eq=False, repr=False)
class Shown:
    """An answer to a look, decoded.

    Attributes:
        body: JSON.
        headers: Of the answer.
        answer: For whoever asked; not looked into here.
    """

    body: object
    headers: Headers
    answer: Any


Read: TypeAlias = Callable[[Operation[object], Arguments], Awaitable[Shown]]
"""Performs a GET, with everything that a call has: limits, retries, errors."""


@attrs.frozen(eq=False, repr=False)
class Found:
    """What was looked for.

    Attributes:
        content: A body as the create would have answered.
        answer: The one that showed it.
    """

    content: bytes
    answer: Any


class Inconclusive(Exception):  # noqa: N818 - it never leaves this module
    """The thing was not seen, and may still be there."""


def stamp(operation: Operation[Any], arguments: Arguments) -> tuple[Arguments, Sought]:
    """Write ``arguments.once`` into the body.

    Returns:
        The arguments to send, and what to look for should the answer get lost.

    Raises:
        InvalidRequestError: The operation has no field for a key, the field is taken, or the key does not fit into it.
    """
    given, once = arguments.once, operation.once
    if once is None or given is None:
        raise InvalidRequestError(f"{operation.line} has no field that could hold a key; leave once= out")
    if not isinstance(given, Once):
        given = Once(_check_text(given))
    key = given.key
    _check_key(key, once)
    body: dict[str, object] = {**(arguments.body or {}), **(arguments.extra_body or {})}
    _set(body, once, key)
    stamped = attrs.evolve(arguments, body=body, extra_body=None)
    return stamped, Sought(key, once, operation, stamped, given)


def _check_text(key: object) -> str:
    if not isinstance(key, str):
        raise InvalidRequestError(f"once is of type {type(key).__name__}; it must be a str or a Once")
    return key


def _check_key(key: str, once: KeySpec) -> None:
    if not key or key != key.strip() or not key.isprintable():
        raise InvalidRequestError(
            f"once is {key[:80]!r}; a key has printable characters, at least one, and no space at either end, so that it comes "
            f"back as it went"
        )
    if len(key) > once.longest:
        raise InvalidRequestError(
            f"once has {len(key)} characters, and {once.field}, which holds it, takes {once.longest}; use a shorter key, a hash of it"
        )


def _set(body: dict[str, object], once: KeySpec, key: str) -> None:
    members = body
    *outer, last = once.members
    for name in outer:
        given = members.get(name, UNSET)
        inner: object = {} if given is UNSET or given is None else to_wire(given, name)
        if not isinstance(inner, dict):
            raise InvalidRequestError(
                f"{name} is of type {type(given).__name__}, and once= has to be written into it; pass a mapping"
            )
        members[name] = copy = dict(cast("dict[str, object]", inner))
        members = copy
    given = members.get(last, UNSET)
    if given is not UNSET and given is not None and given != key:
        raise InvalidRequestError(
            f"{once.field} is set to something else than once={key!r}, and it is where that is kept: leave {once.field} out, or use the "
            f"same text for both"
        )
    members[last] = key


class Clock(Protocol):
    """What `reconcile` needs to know of time: monotonic seconds since the first attempt, and seconds since 1970."""

    def elapsed(self) -> float: ...

    def epoch(self) -> float: ...


async def reconcile(read: Read, sought: Sought, place: LookupSpec, clock: Clock, *, acted: bool) -> Found | None:
    """Look for what a request made whose answer got lost. Waits between looks.

    Args:
        read: Performs GETs.
        sought: What to look for.
        place: And where.
        clock: Since the first attempt.
        acted: Whether the server is known to have made it.

    Returns:
        What was found; ``None`` when it is not there.

    Raises:
        Inconclusive: It was not seen, and that proves nothing.
        MuxError: Looking failed.
    """
    for pause in PAUSES_AFTER_SUCCESS if acted else PAUSES:
        await anyio.sleep(pause)
        found = await look(read, sought, place, clock)
        if found is not None:
            return found
    return None


async def look(read: Read, sought: Sought, place: LookupSpec, clock: Clock) -> Found | None:
    """Look once. Arguments and errors as for `reconcile`; takes `MAX_PAGES` requests at most, mostly one."""
    reading: Operation[object] = Operation(
        id=place.id, method="GET", path=place.path, bucket=place.bucket, replay=Replay.SAFE, result="json"
    )
    query = first_query(place, sought.arguments)
    pages = place.pages or MAX_PAGES
    for _ in range(pages):
        shown = await read(reading, Arguments(path=sought.arguments.path, query=query))
        items = items_of(shown.body, place)
        horizon = oldest_possible(shown.headers, clock)
        for item in items:
            if (found := await _recognise(read, sought, place, item, shown, horizon)) is not None:
                return found
        following = page_after(place, query, shown.body, items, horizon)
        if following is None:
            return None
        query = following
    raise Inconclusive(f"{pages} pages of {place.id} did not go back to the first attempt")


async def _recognise(
    read: Read, sought: Sought, place: LookupSpec, item: Mapping[str, object], shown: Shown, horizon: float
) -> Found | None:
    if not place.is_summary:
        return _found(sought, item, shown) if stamp_of(item, sought.once) == sought.key else None
    if is_older(item, horizon):
        return None
    whole, element = await _retrieve(read, sought, cast("str", item.get("id")))
    return _found(sought, element, whole) if stamp_of(element, sought.once) == sought.key else None


async def retrieve(read: Read, sought: Sought, made_id: str) -> Found | None:
    """Return what is known to have been made, as it is now; ``None`` when it is gone.

    Raises:
        MuxError: It cannot be read.
    """
    try:
        whole, element = await _retrieve(read, sought, made_id)
    except APIStatusError as error:
        if error.status in _GONE:
            return None
        raise
    return _found(sought, element, whole)


async def _retrieve(read: Read, sought: Sought, made_id: str) -> tuple[Shown, Mapping[str, object]]:
    path = build_path(sought.once.retrieve or "", {**sought.arguments.path, "ID": made_id})
    reading: Operation[object] = Operation(
        id=sought.once.lookup.id, method="GET", path=path, bucket=Bucket.OTHER, replay=Replay.SAFE, result="json"
    )
    whole = await read(reading, Arguments())
    element = member(whole.body, ("data",))
    return whole, cast("dict[str, object]", element) if isinstance(element, dict) else {}


def _found(sought: Sought, item: Mapping[str, object], shown: Shown) -> Found | None:
    if item.get("status") in sought.once.dead_statuses:
        return None
    return Found(response_decoder.dumps({"data": item}), shown.answer)


def first_query(place: LookupSpec, arguments: Arguments) -> dict[str, object]:
    """Return the query of the first page."""
    query: dict[str, object] = {} if place.limit is None else {"limit": place.limit}
    sent = to_wire(dict(arguments.body or {}))
    for name, value in place.query.items():
        query[name] = value if isinstance(value, str) else member(sent, value)
    return {name: value for name, value in query.items() if isinstance(value, str | int)}


def member(body: object, names: tuple[str, ...]) -> object:
    """Follow *names* into *body*; ``None`` where they lead nowhere."""
    for name in names:
        body = cast("dict[str, object]", body).get(name) if isinstance(body, dict) else None
    return body


def items_of(body: object, place: LookupSpec) -> list[Mapping[str, object]]:
    """Return the elements of the array that *place* names; an object that has none may leave it out.

    Raises:
        Inconclusive: It is not there, or holds something else than objects, so that nothing can be told from it.
    """
    *outer, last = place.items
    holder = member(body, tuple(outer))
    found = cast("dict[str, object]", holder).get(last) if isinstance(holder, dict) else None
    if found is None and outer and isinstance(holder, dict):
        return []
    listed = cast("list[object]", found) if isinstance(found, list) else [found]
    if not all(isinstance(item, dict) for item in listed):
        raise Inconclusive(f"{place.id} was answered without the list that belongs there")
    return cast("list[Mapping[str, object]]", listed)


def stamp_of(item: Mapping[str, object], once: KeySpec) -> object:
    """Return what stands in the stamp of *item*."""
    return member(item, once.members)


def oldest_possible(headers: Headers, clock: Clock) -> float:
    """Return the server's time before which nothing was made by this call, in seconds since 1970."""
    date = parse_http_date(headers.get("Date"))
    if date is not None:
        return date - clock.elapsed() - SLACK
    return clock.epoch() - clock.elapsed() - SLACK_WITHOUT_DATE


def is_older(item: Mapping[str, object], horizon: float) -> bool:
    """Whether *item* says that it was made before *horizon*."""
    made_at = parse_time(item.get("created_at"))
    return made_at is not None and made_at.timestamp() < horizon


def page_after(
    place: LookupSpec, query: Mapping[str, object], body: object, items: list[Mapping[str, object]], horizon: float
) -> dict[str, object] | None:
    """Return the query of the next page; ``None`` when what was looked for cannot be on it."""
    if place.is_newest_first and items and is_older(items[-1], horizon):
        return None
    cursor = member(body, ("next_cursor",))
    total = member(body, ("total_row_count",))
    following = next_query(
        place.pagination,
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
    sought: Sought | None = None,
    looked: str | None = None,
) -> AmbiguousOutcomeError:
    """Say that the outcome of a write is not known, and how it can be found out.

    Args:
        operation: The write.
        problem: What happened to it.
        status: Of its answer, if the head of one arrived.
        request_id: Of its answer.
        sought: What can be looked for, with ``once``.
        looked: What came of looking; ``None`` when nobody did.
    """
    acted = status is not None and status < 300
    what = f"was answered {status}, and the body did not arrive whole" if acted else f"has an unknown outcome ({problem})"
    how = f"see what mux.{operation.found_in} shows" if operation.found_in else None
    if sought is not None:
        how = sought.how
    after = f"{looked}, and it" if looked else "it"
    return AmbiguousOutcomeError(
        f"{operation.line} {what}; {after} was not sent again, because that could do it twice: "
        f"{how or 'look whether it was done'} before you repeat it",
        status=status,
        request_id=request_id,
        how=how,
        once=sought.key if sought is not None else None,
    )
