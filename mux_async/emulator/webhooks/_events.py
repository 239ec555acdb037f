"""Emits events: builds the envelope of a webhook event, stores the event, and schedules its deliveries.

The envelope and its data follow facts/BEHAVIOUR.md, section 7.2. Objects look as in the API, except that times are numbers, and the sizes
of an asset's files are too.
"""

from __future__ import annotations

from datetime import datetime

import orjson

from mux_async.emulator.state._records import Shots, WebhookEvent
from mux_async.emulator.state._serialization import asset_json, iso, live_stream_json, present, upload_json
from mux_async.emulator.state._state import (
    Asset,
    Environment,
    Json,
    LiveStream,
    SimulcastTarget,
    State,
    StaticRendition,
    Track,
    Upload,
)
from mux_async.emulator.webhooks._deliveries import plan_deliveries


def envelope_json(type: str, id: str, at: str, subject: tuple[str, str], environment: tuple[str, str], data: Json) -> Json:
    """Return the envelope of an event: *subject* is kind and id of its object, *environment* name and id."""
    return {
        "type": type,
        "id": id,
        "created_at": at,
        "object": {"type": subject[0], "id": subject[1]},
        "environment": {"name": environment[0], "id": environment[1]},
        "data": data,
        "request_id": None,
        "attempts": [],
        "accessor": None,
        "accessor_source": None,
    }


def emit(state: State, environment: Environment, type: str, subject: tuple[str, str], data: Json) -> None:
    """Emit an event of *type* (``video.asset.ready``) now. *subject* is kind and id of the object, *data* how the event shows it."""
    kind, object_id = subject
    event_id = state.id_generator.uuid("event")
    envelope = envelope_json(type, event_id, iso(state.now), subject, (environment.name, environment.id), data)
    event = WebhookEvent(event_id, state.now, environment.name, type, kind, object_id, orjson.dumps(envelope).decode())
    state.events.append(event)
    state.emitted += 1
    if len(state.events) > state.settings.max_events:
        del state.events[: len(state.events) - state.settings.max_events]
    plan_deliveries(state, environment, event)


def _numbered(members: Json) -> Json:
    return {key: int(value) if key == "created_at" else value for key, value in members.items()}


def asset_data(state: State, asset: Asset) -> Json:
    """An asset as events show it."""
    members = _numbered(asset_json(asset, state))
    if "static_renditions" in members and "files" in members["static_renditions"]:
        files: list[Json] = members["static_renditions"]["files"]
        numbered = [{**file, "filesize": int(file["filesize"])} if "filesize" in file else file for file in files]
        members["static_renditions"] = {**members["static_renditions"], "files": numbered}
    if "recording_times" in members:
        times: list[Json] = members["recording_times"]
        members["recording_times"] = [{**entry, "started_at": _protobuf(entry["started_at"])} for entry in times]
    return members


def _protobuf(text: str) -> Json:
    moment = datetime.fromisoformat(text)
    return {"seconds": int(moment.timestamp()), "nanos": moment.microsecond * 1000}


def asset_event(state: State, environment: Environment, name: str, asset: Asset) -> None:
    """``video.asset.{name}`` with the asset as it is now."""
    emit(state, environment, f"video.asset.{name}", ("asset", asset.id), asset_data(state, asset))


def track_event(
    state: State, environment: Environment, name: str, asset: Asset, track: Track, error: Json | None = None
) -> None:
    """``video.asset.track.{name}``; *error* says why a track errored."""
    data = {**present(track), "asset_id": asset.id, **({} if error is None else {"error": error})}
    emit(state, environment, f"video.asset.track.{name}", ("track", track.id), data)


def asset_warning(state: State, environment: Environment, asset: Asset, type: str, message: str) -> None:
    """``video.asset.warning``: a short object."""
    shown = asset_data(state, asset)
    names = ("id", "status", "passthrough", "live_stream_id", "source_asset_id", "upload_id")
    data = {name: shown[name] for name in names if name in shown}
    data["warning"] = {"type": type, "message": message}
    emit(state, environment, "video.asset.warning", ("asset", asset.id), data)


def rendition_event(
    state: State, environment: Environment, name: str, asset: Asset, rendition: StaticRendition, error: Json | None = None
) -> None:
    """``video.asset.static_rendition.{name}``: one file; the plural is the legacy one, with the asset. *error* says why it errored."""
    data = {**present(rendition), "asset_id": asset.id, **({} if error is None else {"error": error})}
    emit(state, environment, f"video.asset.static_rendition.{name}", ("static_rendition", rendition.id or ""), data)


def shots_event(state: State, environment: Environment, name: str, asset: Asset, shots: Shots) -> None:
    """``video.asset.shots.{name}``."""
    data = {**present(shots), "asset_id": asset.id}
    emit(state, environment, f"video.asset.shots.{name}", ("asset", asset.id), data)


def upload_event(state: State, environment: Environment, name: str, upload: Upload, url: str) -> None:
    """``video.upload.{name}``; *url* is shown only while the upload waits for bytes."""
    emit(state, environment, f"video.upload.{name}", ("upload", upload.id), upload_json(upload, url))


def live_event(state: State, environment: Environment, name: str, stream: LiveStream) -> None:
    """``video.live_stream.{name}``. In the envelope a live stream's kind is ``live``."""
    connected = stream.ingest.connected
    recording = connected and stream.ingest.asset_id is not None
    data = {**_numbered(live_stream_json(stream)), "connected": connected, "recording": recording}
    emit(state, environment, f"video.live_stream.{name}", ("live", stream.id), data)


def live_warning(state: State, environment: Environment, stream: LiveStream, type: str, message: str) -> None:
    """``video.live_stream.warning``: a short object."""
    data = {"id": stream.id, "status": stream.status, "warning": {"type": type, "message": message}}
    if "passthrough" in stream.members:
        data["passthrough"] = stream.members["passthrough"]
    emit(state, environment, "video.live_stream.warning", ("live", stream.id), data)


def target_event(state: State, environment: Environment, name: str, stream: LiveStream, target: SimulcastTarget) -> None:
    """``video.live_stream.simulcast_target.{name}``."""
    data = {**present(target), "live_stream_id": stream.id}
    emit(state, environment, f"video.live_stream.simulcast_target.{name}", ("simulcast_target", target.id), data)
