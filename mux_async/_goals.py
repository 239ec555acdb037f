"""What tasks wait for: goals of `_poller` for each kind of object, and the errors of what ends otherwise. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, TypeVar, cast

from multidict import CIMultiDict, CIMultiDictProxy

from mux_async._poller import Goal
from mux_async.errors import (
    AssetErroredError,
    DirectiveRunFailedError,
    JobFailedError,
    LiveStreamDisabledError,
    MasterErroredError,
    MuxError,
    NotFoundError,
    ProcessingError,
    StaticRenditionErroredError,
    TrackErroredError,
    parse_error_body,
)

if TYPE_CHECKING:
    from mux_async.models import Asset, AssetMaster, LiveStream, RobotsV1JobError, StaticRendition, Track

AssetState: TypeAlias = Literal["created", "ready"]
StreamState: TypeAlias = Literal["active", "idle"]

ENDED: Final = frozenset({"cancelled", "completed", "errored", "partial"})
"""States in which jobs and directive runs stay."""
ENDED_PART: Final = frozenset({"deleted", "errored", "ready", "skipped"})
"""States in which tracks, static renditions and masters stay."""
MASTER: Final = "master"
"""`Goal.part` of waits for the master of an asset."""


class _Part(Protocol):
    @property
    def status(self) -> str | None: ...
    @property
    def extra(self) -> Mapping[str, object]: ...


class Ended(Protocol):
    """What the jobs of all workflows, and directive runs, have in common, in short form or whole."""

    @property
    def status(self) -> str | None: ...


P = TypeVar("P", bound=_Part)


def gone(what: str) -> NotFoundError:
    """Return the error for *what* is not there any more, as far as a webhook or the object around it says."""
    return NotFoundError(
        f"{what} does not exist, or was deleted",
        status=404,
        type=None,
        messages=(),
        request_id=None,
        headers=CIMultiDictProxy(CIMultiDict()),
        body=None,
        retry_after=None,
    )


def asset_goal(what: str, state: AssetState) -> Goal[Asset]:
    """Wait for an asset to exist (``created``, in any state) or to be playable (``ready``)."""
    from mux_async.models import Asset

    def reached(value: object) -> Asset | MuxError | None:
        if not isinstance(value, Asset):
            return None
        return value if state == "created" or value.status == "ready" else _asset_error(value)

    return Goal(what, state, reached, is_hinted=state == "created")


def _asset_error(asset: Asset) -> AssetErroredError | None:
    if asset.status != "errored":
        return None
    errors = asset.errors
    return AssetErroredError(asset.id, type=errors.type if errors else None, messages=(errors.messages or ()) if errors else ())


def track_goal(asset_id: str, track_id: str) -> Goal[Track]:
    """Wait for a track to be ``ready`` or ``skipped``."""
    from mux_async.models import Track

    def find(asset: Asset) -> Track | MuxError | None:
        return next((track for track in asset.tracks or () if track.id == track_id), gone(what))

    what = f"track {track_id!r} of asset {asset_id!r}"
    return _part_goal(what, track_id, Track, find, partial(TrackErroredError, track_id))


def static_rendition_goal(asset_id: str, rendition_id: str) -> Goal[StaticRendition]:
    """Wait for a static rendition to be ``ready`` or ``skipped``."""
    from mux_async.models import StaticRendition

    def find(asset: Asset) -> StaticRendition | MuxError | None:
        files = asset.static_renditions.files if asset.static_renditions else None
        return next((file for file in files or () if file.id == rendition_id), gone(what))

    what = f"static rendition {rendition_id!r} of asset {asset_id!r}"
    return _part_goal(what, rendition_id, StaticRendition, find, partial(StaticRenditionErroredError, rendition_id))


def master_goal(asset_id: str) -> Goal[AssetMaster]:
    """Wait for the master of an asset to be ``ready``."""
    from mux_async.models import AssetMaster

    def find(asset: Asset) -> AssetMaster | MuxError | None:
        if asset.master is None and asset.master_access == "none":
            return MasterErroredError(
                asset_id, status="not available", messages=["open access with update_master_access first"]
            )
        return asset.master

    return _part_goal(f"the master of asset {asset_id!r}", MASTER, AssetMaster, find, partial(MasterErroredError, asset_id))


def _part_goal(
    what: str,
    part_id: str,
    model: type[P],
    find: Callable[[Asset], P | MuxError | None],
    errored: Callable[..., ProcessingError],
) -> Goal[P]:
    from mux_async.models import Asset

    def from_event(value: object) -> P | MuxError | None:
        if isinstance(value, Asset):  # as it was before it got the part, perhaps; the part has events of its own
            return _asset_error(value)
        found = reached(value)
        # A master comes and goes, so that an event may be about an earlier one. Only events say why it is errored.
        return found if part_id != MASTER or isinstance(found, ProcessingError) else None

    def reached(value: object) -> P | MuxError | None:
        asset_error = None
        if isinstance(value, Asset):
            found = find(value)
            asset_error = _asset_error(value)
        else:
            found = value if isinstance(value, model) and getattr(value, "id", part_id) == part_id else None
        if found is None or isinstance(found, MuxError):
            return asset_error or found
        match found.status:
            case "ready" | "skipped":
                return found
            case "errored":
                return errored(**_reason(found.extra.get("error")))
            case "deleted":
                return gone(what)
            case _:
                return asset_error

    return Goal(what, "ready", reached, part=part_id, is_hinted=part_id == MASTER, from_event=from_event)


def _reason(error: object) -> dict[str, Any]:
    """Return the arguments of a `ProcessingError` for the error in a webhook; polled parts of an asset have none."""
    kind, messages = parse_error_body({"error": error})
    return {"type": kind, "messages": messages}


def stream_goal(stream_id: str, state: StreamState) -> Goal[LiveStream]:
    """Wait for a live stream to be ``active``, or to be ``idle`` (or disabled)."""
    from mux_async.models import LiveStream

    def reached(value: object) -> LiveStream | MuxError | None:
        if not isinstance(value, LiveStream) or value.status not in {state, "disabled"}:
            return None
        if value.status == state or state == "idle":
            return value
        return LiveStreamDisabledError(stream_id, status="disabled", messages=["enable it, so that an encoder can connect"])

    return Goal(f"live stream {stream_id!r}", state, reached, is_hinted=True)


def ended_goal(what: str) -> Goal[Ended]:
    """Wait for a job or a directive run to end, in any way. The result may be a row of a list, which does not say how."""

    def reached(value: object) -> Ended | None:
        ended = cast("Ended", value)
        return ended if ended.status in ENDED else None

    return Goal(what, "done", reached)


def is_whole(job: Ended) -> bool:
    """Whether a job or a directive run that has ended says how."""
    if job.status == "cancelled":
        return True
    return any(getattr(job, name, None) for name in ("outputs", "errors", "node_states"))


def failure(ended: Ended, ended_id: str) -> ProcessingError | None:
    """Return the error for a job or a directive run that did not succeed; ``None`` for one that did, at least in part."""
    if ended.status not in {"cancelled", "errored"}:
        return None
    nodes: Sequence[object] | None = getattr(ended, "node_states", None)
    if nodes is not None:
        reasons: list[str | None] = [getattr(node, "reason", None) for node in nodes]
        return DirectiveRunFailedError(ended_id, messages=[reason for reason in reasons if reason])
    listed: object = getattr(ended, "errors", None)  # those of v0 have the same fields
    errors = [error for error in cast("list[object]", listed) if hasattr(error, "message")] if isinstance(listed, list) else []
    known = cast("list[RobotsV1JobError]", errors)
    return JobFailedError(
        ended_id,
        status=ended.status,
        type=known[0].type if known else None,
        messages=[error.message for error in known if error.message],
        is_retryable=known[0].retryable if known else None,
    )
