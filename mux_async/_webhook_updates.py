"""Read from webhook events what tasks that wait should know. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from mux_async._goals import ENDED, ENDED_PART, MASTER, gone, is_whole
from mux_async._models.model import Model
from mux_async._poller import Ref, Update
from mux_async.errors import UploadError

if TYPE_CHECKING:
    from mux_async._goals import Ended
    from mux_async.webhooks._event import Event

# The names of lists in a `Ref`.
ASSETS: Final = "assets"
LIVE_STREAMS: Final = "live_streams"
JOBS: Final = ("robots_v0_jobs", "robots_jobs")
"""By version."""
RUNS: Final = ("robots_v0_directives_runs", "robots_directives_runs")
"""By version."""

_WITH_WHOLE_ASSET: Final = frozenset({"created", "errored", "live_stream_completed", "ready", "updated"})
"""Events that contain the whole asset. Events about parts of an asset may contain less of it."""


def run_list(runs: str, directive_id: str) -> str:
    """Return the name of the list of the runs of one directive."""
    return f"{runs} of {directive_id}"


def asset_refs(asset_id: object, upload_id: object) -> list[Ref]:
    """Return the refs of an asset: its own, and that of the upload it came from."""
    ids = {"id": asset_id, "upload": upload_id}
    return [Ref(ASSETS, value, by) for by, value in ids.items() if isinstance(value, str) and value]


def webhook_updates(event: Event) -> list[Update]:
    """Return the updates in *event*; empty if it cannot end a wait.

    The objects in events have the same fields as the API's; only their times have another format (facts/BEHAVIOUR.md, section 1.5).
    """
    kind: object = getattr(event, "type", None)
    match kind.split(".") if isinstance(kind, str) else ():
        case ["video", "asset", state] if state in _WITH_WHOLE_ASSET or state == "deleted":
            return _from_asset(state, _wire(event))
        case ["video", "asset", "track" | "static_rendition" | "master" as part, _]:
            return _from_part(part, _wire(event))
        case ["video", "upload", state]:
            return _from_upload(state, _wire(event))
        case ["video", "live_stream", "active" | "idle" | "disabled" | "deleted"]:
            # A repeated delivery may tell of an earlier broadcast, so it only causes a poll.
            return [Update(Ref(LIVE_STREAMS, stream_id))] if (stream_id := _id(_wire(event))) else []
        case ["robots", "job", _, state] if state in ENDED:
            return _from_job(0, event)
        case ["robots", "v1", "job", _, state] if state in ENDED:
            return _from_job(1, event)
        case ["robots", "directive_run", state] if state in ENDED:
            return _from_run(0, event)
        case ["robots", "v1", "directive_run", state] if state in ENDED:
            return _from_run(1, event)
        case _:
            return []


def _wire(event: Event) -> dict[str, Any]:
    data: object = getattr(event, "data", None)  # after the type: this decodes the event
    return data.to_wire() if isinstance(data, Model) else {}


def _id(wire: dict[str, Any], name: str = "id") -> str:
    found: object = wire.get(name)
    return found if isinstance(found, str) else ""


def _object(wire: dict[str, Any], name: str) -> dict[str, Any]:
    found: object = wire.get(name)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _from_asset(state: str, wire: dict[str, Any]) -> list[Update]:
    from mux_async.models import Asset

    refs = asset_refs(wire.get("id"), wire.get("upload_id"))
    if state == "deleted":
        return [Update(ref, gone(f"asset {_id(wire)!r}"), is_final=True, is_deletion=True) for ref in refs]
    asset = Asset.from_wire(wire)
    return [Update(ref, asset, is_final=asset.status in {"ready", "errored"}) for ref in refs]


def _from_part(part: str, wire: dict[str, Any]) -> list[Update]:
    from mux_async.models import AssetMaster, StaticRendition, Track

    is_master = part == "master"
    asset_id, part_id = (_id(wire), MASTER) if is_master else (_id(wire, "asset_id"), _id(wire))
    if not asset_id or not part_id:
        return []
    models: dict[str, type[Track | StaticRendition | AssetMaster]]
    models = {"track": Track, "static_rendition": StaticRendition, "master": AssetMaster}
    value = models[part].from_wire(_object(wire, "master") if is_master else wire)
    is_final, is_deletion = value.status in ENDED_PART and not is_master, value.status == "deleted"
    return [Update(Ref(ASSETS, asset_id), value, is_final, is_deletion, part=part_id)]


def _from_upload(state: str, wire: dict[str, Any]) -> list[Update]:
    upload_id = _id(wire)
    if not upload_id:
        return []
    ref = Ref(ASSETS, upload_id, "upload")
    if state == "asset_created":
        return [Update(ref)]  # this event does not contain the asset; video.asset.created follows with it
    if state not in {"cancelled", "errored"}:
        return []
    reason = _object(wire, "error").get("message") or "no reason given"
    message = f"upload {upload_id!r} is {state} and will not become a playable asset ({reason}); start a new upload"
    return [Update(ref, UploadError(message, upload_id=upload_id, sent=0, resumable=False), is_final=True)]


def _from_job(version: int, event: Event) -> list[Update]:
    job: Any = getattr(event, "data", None)
    if not isinstance(job, Model) or not isinstance(job_id := getattr(job, "id", None), str):
        return []
    ended = cast("Ended", job)
    return [Update(Ref(JOBS[version], job_id), ended, is_final=is_whole(ended))] if ended.status in ENDED else []


def _from_run(version: int, event: Event) -> list[Update]:
    from mux_async.models import DirectiveRunDetail, RobotsV1DirectiveRunDetail

    run = _object(_wire(event), "directive_run")
    run_id, directive_id = _id(run), _id(run, "directive_id")
    if not run_id or not directive_id:
        return []
    model = RobotsV1DirectiveRunDetail if version else DirectiveRunDetail
    detail = model.from_wire({**run, "run_id": run_id, "subject_id": run.get("asset_id")})
    return [Update(Ref(run_list(RUNS[version], directive_id), run_id), detail)]
