"""The fields of a view by their wire names: an attribute of the view, a derived value, or always null."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from mux_async.emulator.data._views import View, stored

Getter = Callable[[View], Any]


def iso(at: int) -> str:
    """Write epoch milliseconds as the Data API does: ``2026-01-01T00:00:00.000Z``."""
    return datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at % 1000:03d}Z"


def _constant(value: object) -> Getter:
    return lambda _: value


def _share(part: str, whole: str) -> Getter:
    numerator, denominator = stored(part), stored(whole)

    def read(view: View) -> float | None:
        count = denominator(view)
        return numerator(view) / count if count else None

    return read


def _rendition(which: str, attribute: str) -> Getter:
    found = stored(which)
    return lambda view: getattr(found(view), attribute, None)


def _when_watched(value: object) -> Getter:
    return lambda view: value if view.playback.watched else None


def _only_if(flag: str) -> Getter:
    """The error's id, if the field *flag* is true."""
    happened = stored(flag)
    return lambda view: view.outcome.error_type_id if happened(view) else None


def _in_app(name: str) -> Getter:
    read = stored(name)
    return lambda view: read(view) if view.viewer.device.page_type is None else None


def _platform(text: str) -> Getter:
    return lambda view: text.format(view.viewer.device)


def _buffering_rate(view: View) -> float | None:
    return view.rebuffering.buffering_count / view.watch_time if view.playback.watched and view.watch_time else None


def _short_time(view: View) -> str:
    return datetime.fromtimestamp(view.view_start // 1000, UTC).strftime("%I:%M%p UTC %Y-%m-%d").lower().replace("utc", "UTC")


_PROPERTY = 10185
"""Number of the environment in Mux Data."""
_DERIVED: Mapping[str, Getter] = {
    "ad_break_error_percentage": _share("ad_break_error_count", "ad_break_count"),
    "ad_error_percentage": _share("ad_error_count", "ad_attempt_count"),
    "ad_exit_before_start_percentage": _share("ad_exit_before_start_count", "ad_attempt_count"),
    "ad_startup_error_percentage": _share("ad_startup_error_count", "ad_attempt_count"),
    "ad_playback_failure": lambda view: bool(view.ads.ad_break_error_count),
    "content_playback_failure": lambda view: view.outcome.playback_failure,
    "audio_codec": _when_watched("aac"),
    "audio_codec_initial": _when_watched("aac"),
    "buffering_rate": _buffering_rate,
    "client_application_name": _in_app("viewer_application_name"),
    "client_application_version": _in_app("viewer_application_version"),
    "inserted_at": lambda view: iso(view.view_end + 1000),
    "updated_at": lambda view: iso(view.view_end + 1000),
    "long_rebuffering": lambda view: any(end - start > 10_000 for start, end in view.rebuffering.stalls),
    "long_resume": _constant(value=False),
    "isp": stored("asn_name"),
    "mux_api_version": _constant("2.1"),
    "mux_embed": lambda view: "mux-embed" if view.viewer.device.page_type else None,
    "mux_embed_version": lambda view: "5.14.0" if view.viewer.device.page_type else None,
    "platform_description": _platform(
        "{0.viewer_application_name} {0.viewer_application_version} on {0.viewer_os_family} ({0.viewer_device_name})"
    ),
    "platform_summary": _platform("{0.viewer_application_name} on {0.viewer_os_family}"),
    "playback_business_exception_error_type_id": _only_if("playback_business_exception"),
    "playback_failure_error_type_id": _only_if("playback_failure"),
    "video_startup_business_exception_error_type_id": _only_if("video_startup_business_exception"),
    "player_load_time": stored("player_startup_time"),
    "player_source_domain": lambda view: (view.video.player_source_host_name or "").partition(".")[2],
    "player_source_duration": stored("video_duration"),
    "player_source_height": _rendition("last_rendition", "height"),
    "player_source_width": _rendition("last_rendition", "width"),
    "player_source_stream_type": stored("video_stream_type"),
    "player_source_type": _constant("application/x-mpegurl"),
    "player_source_url": lambda view: (
        f"https://{view.video.player_source_host_name}/{view.video.playback_id or view.video.video_id}.m3u8"
    ),
    "property_id": _constant(_PROPERTY),
    "short_time": _short_time,
    "time_shift_enabled": _constant(value=False),
    "video_codec": _rendition("last_rendition", "codec"),
    "video_codec_initial": _rendition("first_rendition", "codec"),
    "video_dynamic_range_type": _when_watched("sdr"),
    "video_dynamic_range_type_initial": _when_watched("sdr"),
    "video_source_fps": _rendition("last_rendition", "fps"),
    "video_source_fps_initial": _rendition("first_rendition", "fps"),
    "video_source_height": _rendition("last_rendition", "height"),
    "video_source_width": _rendition("last_rendition", "width"),
    "video_source_bitrate": _rendition("last_rendition", "bitrate"),
    "video_source_height_initial": _rendition("first_rendition", "height"),
    "video_source_width_initial": _rendition("first_rendition", "width"),
    "video_source_bitrate_initial": _rendition("first_rendition", "bitrate"),
    "video_variant_name": lambda view: None if view.video.view_drm_type is None else "protected",
    "view_drm_level": lambda view: None if view.video.view_drm_type is None else "L3",
    "view_error_id": stored("error_type_id"),
    "view_id": stored("id"),
    "view_total_content_playback_time": stored("view_playing_time"),
}

ALWAYS_NULL = frozenset(
    {f"custom_{number}" for number in range(2, 11)}
    | {
        "player_error_context",
        "player_poster",
        "video_affiliate",
        "video_brand",
        "video_encoding_variant",
        "video_language",
        "video_producer",
        "video_variant_id",
    }
)
"""Fields that no generated view has."""


def field(name: str) -> Getter:
    """Return what reads a field of a view, or raise `KeyError`. Times are epoch milliseconds, shares and scores numbers."""
    if name not in ALWAYS_NULL and name not in _DERIVED:
        return stored(name)
    generated = _DERIVED.get(name, _constant(None))
    return lambda view: view.recorded[name] if name in view.recorded else generated(view)
