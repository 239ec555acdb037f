"""One attempt of a row, and what its outcome allows: shared by runs in one process and by the workers of many hosts.

Nothing is stored here. The caller stores the row as begun before each attempt, and afterwards what the attempt returns. A row that was
begun and has no outcome is in doubt: it may have been performed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import anyio
import attrs

from mux_async._idempotency.key import IdempotencyKey, RecordedKey
from mux_async._idempotency.search import SETTLE
from mux_async._operation import Operation, Replay
from mux_async._resource import Caller
from mux_async.bulk._journal import RowStage
from mux_async.bulk._plan import PlannedCall
from mux_async.errors import (
    AmbiguousOutcomeError,
    AuthenticationError,
    ClosedError,
    ConfigurationError,
    MuxError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    TransportError,
)

_MAX_OUTAGES: Final = 12
"""Failures of the network or of Mux in a row, after the attempts of each call, after which a row is failed: about five minutes."""
_MAX_PAUSE: Final = 60.0
_MAX_SEARCHES: Final = 5
"""Unknown outcomes of a create that are searched for; after that its row is unknown."""
_FATAL: Final = (AuthenticationError, ClosedError, ConfigurationError)


@attrs.frozen
class RowFinished:
    """A row has its outcome, which is in the journal.

    Attributes:
        call: Its call.
        stage: ``done``, ``failed`` or ``unknown``.
        value: What the method of the operation returns; ``None`` if it is not done.
        result: Id of the object in *value*; ``None`` if there is none.
        error: Why it is not done.
    """

    call: PlannedCall
    stage: RowStage
    value: object = attrs.field(default=None, repr=False)
    result: str | None = None
    error: MuxError | None = None


@attrs.frozen
class RowProgress:
    """What is known about a row before its next attempt.

    Attributes:
        in_doubt_since: When an attempt began that may have performed it, in seconds since 1970; ``None`` if there is none.
        is_first: Whether no request was sent before.
        searches: Attempts with an unknown outcome.
        outages: Attempts that failed for reasons of the network or of Mux.
    """

    in_doubt_since: float | None = None
    is_first: bool = True
    searches: int = 0
    outages: int = 0


@attrs.frozen
class Postponed:
    """The row needs another attempt.

    Attributes:
        progress: For that attempt.
        pause: Seconds before it.
        is_unsent: Whether nothing of it can have been performed, so that it may be stored as not begun.
        is_outage: Whether the network or Mux is the reason.
        fatal: Why every other row would fail as well; ``None`` if they would not.
    """

    progress: RowProgress
    pause: float = 0.0
    is_unsent: bool = False
    is_outage: bool = False
    fatal: MuxError | None = None


async def attempt(
    caller: Caller, operation: Operation[Any], call: PlannedCall, key: str, progress: RowProgress, now: Callable[[], float]
) -> RowFinished | Postponed:
    """Send the request of a row once, unless what is known about it forbids that.

    Args:
        caller: Sends it.
        operation: Of the call.
        call: The row.
        key: Its idempotency key, if it takes one.
        progress: What earlier attempts have left.
        now: The clock of *progress*.
    """
    since = progress.in_doubt_since
    once: str | IdempotencyKey | None = call.arguments.once
    if since is not None and operation.replay is Replay.NEVER:
        if not call.takes_key and once is None:
            return RowFinished(call, RowStage.UNKNOWN, error=_interrupted(call, operation.line))
        age = now() - since
        await anyio.sleep(min(max(SETTLE - age, 0.0), SETTLE))  # what was made may not show before
        once = IdempotencyKey(_text(once) or key, look_first=True, look_back=max(age, 0.0) + 3600.0)
    elif call.takes_key:
        once = RecordedKey(key)
    following = attrs.evolve(progress, is_first=False)
    try:
        value = await caller.call(operation, attrs.evolve(call.arguments, once=once))
    except _FATAL as error:
        is_unsent = since is None and (progress.is_first or operation.replay is Replay.NEVER)
        return Postponed(progress, is_unsent=is_unsent, fatal=error)
    except NotFoundError as error:
        if operation.method == "DELETE" and not progress.is_first:  # an earlier request has deleted it
            return RowFinished(call, RowStage.DONE)
        return RowFinished(call, RowStage.FAILED, error=error)
    except AmbiguousOutcomeError as error:
        following = attrs.evolve(following, in_doubt_since=now(), searches=progress.searches + 1)
        if following.searches > _MAX_SEARCHES or not (call.takes_key or once is not None):
            return RowFinished(call, RowStage.UNKNOWN, error=error)
        return Postponed(following, min(2.0**following.searches, _MAX_PAUSE))
    except (TransportError, ServerError, RateLimitedError) as error:
        following = attrs.evolve(following, outages=progress.outages + 1)
        if following.outages > _MAX_OUTAGES:
            return RowFinished(call, RowStage.FAILED, error=error)
        # If it may not be repeated, Mux has not acted: its outcome would be unknown.
        is_unsent = since is None and operation.replay is Replay.NEVER
        return Postponed(following, min(2.0**following.outages, _MAX_PAUSE), is_unsent=is_unsent, is_outage=True)
    except MuxError as error:
        return RowFinished(call, RowStage.FAILED, error=error)
    found: object = getattr(value, "id", None)
    return RowFinished(call, RowStage.DONE, value, found if isinstance(found, str) else None)


def _text(once: str | IdempotencyKey | None) -> str | None:
    return once.key if isinstance(once, IdempotencyKey) else once


def _interrupted(call: PlannedCall, line: str) -> AmbiguousOutcomeError:
    return AmbiguousOutcomeError(
        f"{line} ({call.label}) was begun by a run that ended before the response arrived, and has no key by which to find what it made"
    )
