"""Records as JSON in API responses (facts/BEHAVIOUR.md, sections 4.2, 4.5, 5.1, 6.1)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from math import gcd
from typing import Any, cast

import attrs

from mux_async.emulator.http._messages import Request
from mux_async.emulator.media._backend import MediaBackendError
from mux_async.emulator.state._media_orders import MediaPendingError, download_order, made_size
from mux_async.emulator.state._records import Recording
from mux_async.emulator.state._state import Asset, Json, LiveStream, State, Upload

ENCODING_TIERS = {"basic": "baseline", "plus": "smart", "premium": "premium"}
"""By ``video_quality``, which took the place of ``encoding_tier``."""
_STANDARD_MP4 = ("low.mp4", "medium.mp4", "high.mp4")


def epoch(seconds: float) -> str:
    """Times of Video and System are strings of whole seconds."""
    return str(int(seconds))


def iso(seconds: float) -> str:
    """A time as ISO 8601, in UTC, with six decimals."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def without_none(members: Json) -> Json:
    """Leave absent members out."""
    return {key: value for key, value in members.items() if value is not None}


_NOT_SHOWN = frozenset({"number", "generation", "session", "public_pem", "broadcasts", "participants"})
"""Members of records that responses do not have, or not as they are stored."""


def present(record: Any) -> Json:
    """Return a record (an attrs value) as responses show it: without absent members; times are texts of whole seconds."""
    members = {name: value for name in _shown(record.__class__) if (value := getattr(record, name)) is not None}
    return {**members, **{name: epoch(members[name]) for name in ("created_at", "updated_at") if name in members}}


@cache
def _shown(kind: Hashable) -> tuple[str, ...]:
    names = (field.name for field in attrs.fields(cast("type[attrs.AttrsInstance]", kind)))
    return tuple(name for name in names if name not in _NOT_SHOWN)


def asset_json(asset: Asset, state: State) -> Json:
    """An asset."""
    options = asset.options
    media = asset.media
    height = asset.stored_height
    return without_none(
        {
            "id": asset.id,
            "created_at": epoch(asset.created_at),
            "status": asset.status,
            "progress": _progress(asset, state.now),
            "encoding_tier": encoding_tier(options),
            "video_quality": options.get("video_quality", "basic"),
            "max_resolution_tier": options.get("max_resolution_tier", "1080p"),
            "master_access": asset.master_access,
            "mp4_support": asset.mp4_support,
            "normalize_audio": options.get("normalize_audio", False),
            "ingest_type": asset.ingest_type,
            "test": asset.test or None,
            "passthrough": asset.passthrough,
            "meta": asset.meta,
            "directives": options.get("directives"),
            "generate_shots": options.get("generate_shots"),
            "shots": None if asset.shots is None else present(asset.shots),
            "is_live": asset.is_live or None,
            "recording_times": [_recording(entry, asset, state) for entry in asset.recordings] or None,
            "non_standard_input_reasons": None if media is None else dict(media.non_standard) or None,
            "playback_ids": [present(entry) for entry in asset.playback_ids] or None,
            "upload_id": asset.upload_id,
            "live_stream_id": asset.live_stream_id,
            "source_asset_id": asset.source_asset_id,
            "thumbnail_time": asset.thumbnail_time,
            "duration": None if media is None else recorded_seconds(asset, state) if asset.is_live else media.duration,
            "aspect_ratio": None if media is None or not media.has_video else _aspect_ratio(media.width, media.height),
            "resolution_tier": None if media is None else tier(height),
            "max_stored_resolution": None if media is None else _stored_resolution(height),
            "max_stored_frame_rate": None if media is None or not media.has_video else media.frame_rate,
            "tracks": [present(track) for track in asset.tracks] or None,
            "errors": None if asset.problem is None else {"type": asset.problem.type, "messages": [asset.problem.message]},
            "master": _master(asset, state),
            "static_renditions": _static_renditions(asset, state),
        }
    )


def recorded_seconds(asset: Asset, state: State) -> float:
    """How much media of a live stream is in an asset by now."""
    return round(sum(recording_length(entry, state) for entry in asset.recordings), 6)


def recording_length(entry: Recording, state: State) -> float:
    """How much media is in a recording by now."""
    if entry.stored is not None:
        return entry.stored
    return state.media_seconds(entry.started_at) if entry.duration is None else entry.duration


def _recording(entry: Recording, asset: Asset, state: State) -> Json:
    length = None if asset.is_live and entry.duration is None else recording_length(entry, state)
    return without_none({"started_at": iso(entry.started_at), "duration": length, "type": entry.type})


def _progress(asset: Asset, now: float) -> Json:
    if asset.is_live:
        return {"state": "live", "progress": -1}
    if asset.status == "ready":
        return {"state": "completed", "progress": 100}
    if asset.status == "errored":
        return {"state": "errored", "progress": -1}
    whole = asset.ready_at - asset.created_at
    share = 0.0 if whole <= 0 else min(max((now - asset.created_at) / whole, 0.0), 0.99)
    if share < 0.2:
        return {"state": "ingesting", "progress": 0}
    return {"state": "transcoding", "progress": round((share - 0.2) / 0.8 * 100, 2)}


def _aspect_ratio(width: int, height: int) -> str:
    common = gcd(width, height)
    return f"{width // common}:{height // common}"


def encoding_tier(options: Mapping[str, Any]) -> str:
    """Return the deprecated ``encoding_tier`` that responses still have beside ``video_quality``."""
    return ENCODING_TIERS[options.get("video_quality", "basic")]


def tier(height: int) -> str:
    """The tier of a size, by pixels of the smaller side."""
    if not height:
        return "audio-only"
    return next((f"{tier}p" for tier in (720, 1080, 1440) if height <= tier), "2160p")


def _stored_resolution(height: int) -> str:
    if not height:
        return "Audio only"
    return next((name for limit, name in ((719, "SD"), (1080, "HD"), (1440, "FHD")) if height <= limit), "UHD")


def _master(asset: Asset, state: State) -> Json | None:
    if asset.master_access != "temporary":
        return None
    if asset.master_status != "ready":
        return {"status": asset.master_status}
    backend = state.settings.media
    is_here = backend is not None and backend.media_file(asset.id) is not None
    origin = state.settings.public_origin or (state.origin if is_here else "https://master.mux.com")
    return {"status": "ready", "url": f"{origin}/{asset.id}/master.mp4"}


def _static_renditions(asset: Asset, state: State) -> Json | None:
    if asset.mp4_support != "none":
        if asset.status != "ready" or asset.mp4_status != "ready":
            return {"status": "preparing" if asset.status != "ready" else asset.mp4_status}
        return {"status": "ready", "files": mp4_files(asset, state)}
    if not asset.static_renditions:
        return None
    return {"files": [present(rendition) for rendition in asset.static_renditions]}


def mp4_files(asset: Asset, state: State) -> list[Json]:
    """The files of ``mp4_support``, which have no id, status or type of their own."""
    media = asset.media
    if media is None:
        return []
    files: list[Json] = []
    height = asset.stored_height
    if height and asset.mp4_support == "standard":
        sizes = [size for size in (360, 540, 1080) if size <= height] or [height]
        files += [_mp4_file(name, size, asset) for name, size in zip(_STANDARD_MP4, sizes, strict=False)]
    if height and "capped-1080p" in asset.mp4_support:
        files.append(_mp4_file("capped-1080p.mp4", min(height, 1080), asset))
    if media.channels and "audio-only" in asset.mp4_support:
        files.append({"name": "audio.m4a", "ext": "m4a", "bitrate": 128_000, "filesize": str(int(16_000 * media.duration))})
    for file in files:
        with suppress(MediaPendingError, MediaBackendError):  # then the size is estimated
            size = made_size(state, asset, download_order(file))
            if size is not None:
                file.update(filesize=str(size), bitrate=round(size * 8 / media.duration))
    return files


def _mp4_file(name: str, height: int, asset: Asset) -> Json:
    assert asset.media is not None  # noqa: S101 - asked by `mp4_files` alone
    width, scaled_height = asset.media.scaled(height)
    bitrate = height * 4_000
    return {
        "name": name,
        "ext": "mp4",
        "width": width,
        "height": scaled_height,
        "bitrate": bitrate,
        "filesize": str(int(bitrate * asset.media.duration / 8)),
    }


def upload_json(upload: Upload, url: str) -> Json:
    """A direct upload; *url* is shown only while it waits for bytes."""
    problem = upload.problem
    return without_none(
        {
            "id": upload.id,
            "status": upload.status,
            "timeout": upload.timeout,
            "url": url if upload.status == "waiting" else None,
            "cors_origin": upload.cors_origin,
            "new_asset_settings": upload.options or None,
            "asset_id": upload.asset_id,
            "error": None if problem is None else {"type": problem.type, "message": problem.message},
            "test": upload.test or None,
        }
    )


def live_stream_json(stream: LiveStream) -> Json:
    """A live stream."""
    return without_none(
        {
            "id": stream.id,
            "created_at": epoch(stream.created_at),
            "stream_key": stream.stream_key,
            "srt_passphrase": stream.srt_passphrase,
            "status": stream.status,
            **stream.members,
            "active_asset_id": stream.ingest.asset_id,
            "active_ingest_protocol": stream.ingest.protocol if stream.status == "active" else None,
            "recent_asset_ids": list(stream.recent_asset_ids) or None,
            "new_asset_settings": stream.options or None,
            "playback_ids": [present(entry) for entry in stream.playback_ids] or None,
            "simulcast_targets": [present(entry) for entry in stream.simulcast_targets] or None,
        }
    )


def origin_of(request: Request, state: State) -> str:
    """The origin of URLs in responses."""
    return state.settings.public_origin or request.origin
