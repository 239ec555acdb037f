"""The fields of a view by their wire names: an attribute of the view, a derived value, or always null."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from mux_async.emulator.data._views import View, getter
from mux_async.emulator.data._vocabulary import RENDITIONS

Getter = Callable[[View], Any]


@cache
def field(name: str) -> Getter:
    """Return what reads a field of a view, or raise `KeyError`. Times are epoch milliseconds, shares and scores numbers."""
    if name in _DERIVED:
        return _DERIVED[name]()
    if name in ALWAYS_NULL:
        return _constant(None)
    found = getter(name)
    if found is None:
        raise KeyError(name)
    return found


def iso(at: int) -> str:
    """Write epoch milliseconds as the Data API does: ``2026-01-01T00:00:00.000Z``."""
    return datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at % 1000:03d}Z"


def _constant(value: object) -> Getter:
    def read(view: View) -> object:
        del view
        return value

    return read


def _share(part: str, whole: str) -> Getter:
    numerator, denominator = field(part), field(whole)

    def read(view: View) -> float | None:
        count = denominator(view)
        return numerator(view) / count if count else None

    return read


def _rendition(which: str, column: int) -> Getter:
    number = field(which)

    def read(view: View) -> Any:
        index: int | None = number(view)
        return None if index is None else RENDITIONS[index][column]

    return read


def _when_watched(value: object) -> Getter:
    return lambda view: value if view.playback.watched else None


def _only_if(flag: str) -> Getter:
    """The error's id, if the field *flag* is true."""
    happened = field(flag)
    return lambda view: view.outcome.error_type_id if happened(view) else None


def _in_app(name: str) -> Getter:
    read = field(name)
    return lambda view: read(view) if view.viewer.device.page_type is None else None


def _platform(view: View, text: str) -> str:
    return text.format(view.viewer.device)


_PROPERTY = 10185
"""Number of the environment in Mux Data."""
_DERIVED: Mapping[str, Callable[[], Getter]] = {
    "ad_break_error_percentage": lambda: _share("ad_break_error_count", "ad_break_count"),
    "ad_error_percentage": lambda: _share("ad_error_count", "ad_attempt_count"),
    "ad_exit_before_start_percentage": lambda: _share("ad_exit_before_start_count", "ad_attempt_count"),
    "ad_startup_error_percentage": lambda: _share("ad_startup_error_count", "ad_attempt_count"),
    "ad_playback_failure": lambda: lambda view: bool(view.ads.ad_break_error_count),
    "content_playback_failure": lambda: lambda view: view.outcome.playback_failure,
    "audio_codec": lambda: _when_watched("aac"),
    "audio_codec_initial": lambda: _when_watched("aac"),
    "buffering_rate": lambda: (
        lambda view: view.rebuffering.buffering_count / view.watch_time if view.playback.watched and view.watch_time else None
    ),
    "client_application_name": lambda: _in_app("viewer_application_name"),
    "client_application_version": lambda: _in_app("viewer_application_version"),
    "inserted_at": lambda: lambda view: iso(view.view_end + 1000),
    "updated_at": lambda: lambda view: iso(view.view_end + 1000),
    "long_rebuffering": lambda: lambda view: any(end - start > 10_000 for start, end in view.rebuffering.stalls),
    "long_resume": lambda: _constant(value=False),
    "isp": lambda: field("asn_name"),
    "mux_api_version": lambda: _constant("2.1"),
    "mux_embed": lambda: lambda view: "mux-embed" if view.viewer.device.page_type else None,
    "mux_embed_version": lambda: lambda view: "5.14.0" if view.viewer.device.page_type else None,
    "platform_description": lambda: (
        lambda view: _platform(
            view, "{0.viewer_application_name} {0.viewer_application_version} on {0.viewer_os_family} ({0.viewer_device_name})"
        )
    ),
    "platform_summary": lambda: lambda view: _platform(view, "{0.viewer_application_name} on {0.viewer_os_family}"),
    "playback_business_exception_error_type_id": lambda: _only_if("playback_business_exception"),
    "playback_failure_error_type_id": lambda: _only_if("playback_failure"),
    "video_startup_business_exception_error_type_id": lambda: _only_if("video_startup_business_exception"),
    "player_load_time": lambda: field("player_startup_time"),
    "player_source_domain": lambda: lambda view: view.video.player_source_host_name.partition(".")[2],
    "player_source_duration": lambda: field("video_duration"),
    "player_source_height": lambda: _rendition("last_rendition", 0),
    "player_source_width": lambda: _rendition("last_rendition", 1),
    "player_source_stream_type": lambda: field("video_stream_type"),
    "player_source_type": lambda: _constant("application/x-mpegurl"),
    "player_source_url": lambda: (
        lambda view: f"https://{view.video.player_source_host_name}/{view.video.playback_id or view.video.video_id}.m3u8"
    ),
    "property_id": lambda: _constant(_PROPERTY),
    "short_time": lambda: (
        lambda view: (
            datetime.fromtimestamp(view.view_start // 1000, UTC).strftime("%I:%M%p UTC %Y-%m-%d").lower().replace("utc", "UTC")
        )
    ),
    "time_shift_enabled": lambda: _constant(value=False),
    "video_codec": lambda: _when_watched("avc"),
    "video_codec_initial": lambda: _when_watched("avc"),
    "video_dynamic_range_type": lambda: _when_watched("sdr"),
    "video_dynamic_range_type_initial": lambda: _when_watched("sdr"),
    "video_source_fps": lambda: _when_watched(30.0),
    "video_source_fps_initial": lambda: _when_watched(30.0),
    "video_source_height": lambda: _rendition("last_rendition", 0),
    "video_source_width": lambda: _rendition("last_rendition", 1),
    "video_source_bitrate": lambda: _rendition("last_rendition", 2),
    "video_source_height_initial": lambda: _rendition("first_rendition", 0),
    "video_source_width_initial": lambda: _rendition("first_rendition", 1),
    "video_source_bitrate_initial": lambda: _rendition("first_rendition", 2),
    "video_variant_name": lambda: lambda view: None if view.video.view_drm_type is None else "protected",
    "view_drm_level": lambda: lambda view: None if view.video.view_drm_type is None else "L3",
    "view_error_id": lambda: field("error_type_id"),
    "view_id": lambda: field("id"),
    "view_total_content_playback_time": lambda: field("view_playing_time"),
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
