"""Views as JSON: the short form for lists, the full form, the columns of an export, and the events of a view."""

from __future__ import annotations

from typing import Any

from mux_async.emulator.data._fields import field, iso
from mux_async.emulator.data._views import View
from mux_async.emulator.data._vocabulary import RENDITIONS
from mux_async.emulator.state._state import Json

FIELDS = (
    "ad_attempt_count", "ad_break_count", "ad_break_error_count", "ad_break_error_percentage", "ad_error_count",
    "ad_error_percentage", "ad_exit_before_start_count", "ad_exit_before_start_percentage", "ad_impression_count",
    "ad_preroll_startup_time", "ad_startup_error_count", "ad_startup_error_percentage", "asn", "asn_name", "asset_id",
    "audio_codec", "audio_codec_initial", "buffering_count", "buffering_duration", "buffering_rate", "cdn", "city",
    "client_application_name", "client_application_version", "continent_code", "country_code", "country_name",
    "custom_1", "custom_2", "custom_3", "custom_4", "custom_5", "custom_6", "custom_7", "custom_8", "custom_9", "custom_10",
    "error_type_id", "exit_before_video_start", "experiment_name", "inserted_at", "isp", "latitude", "live_stream_id",
    "live_stream_latency", "long_rebuffering", "long_resume", "longitude", "metro", "mux_api_version", "mux_embed",
    "mux_embed_version", "mux_viewer_id", "page_load_time", "page_type", "page_url", "platform_description", "platform_summary",
    "playback_business_exception_error_type_id", "playback_failure", "playback_failure_error_type_id", "playback_id",
    "playback_score", "player_autoplay", "player_error_code", "player_error_context", "player_error_message", "player_height",
    "player_instance_id", "player_language", "player_load_time", "player_mux_plugin_name", "player_mux_plugin_version",
    "player_name", "player_poster", "player_preload", "player_remote_played", "player_software", "player_software_version",
    "player_source_domain", "player_source_duration", "player_source_height", "player_source_host_name",
    "player_source_stream_type", "player_source_type", "player_source_url", "player_source_width", "player_startup_time",
    "player_version", "player_view_count", "player_width", "preroll_ad_asset_hostname", "preroll_ad_tag_hostname",
    "preroll_played", "preroll_requested", "property_id", "quality_score", "rebuffer_percentage", "rebuffering_score", "region",
    "rendition_change_count", "rendition_downshift_count", "rendition_upshift_count", "requests_for_first_preroll",
    "session_id", "short_time", "startup_score", "sub_property_id", "time_shift_enabled", "time_to_first_frame", "updated_at",
    "used_captions", "used_fullscreen", "used_pip", "video_affiliate", "video_brand", "video_cdn_trace", "video_codec",
    "video_codec_initial", "video_content_type", "video_creator_id", "video_duration", "video_dynamic_range_type",
    "video_dynamic_range_type_initial", "video_encoding_variant", "video_id", "video_language", "video_producer",
    "video_series", "video_source_bitrate", "video_source_bitrate_initial", "video_source_fps", "video_source_fps_initial",
    "video_source_height", "video_source_height_initial", "video_source_width", "video_source_width_initial",
    "video_startup_business_exception_error_type_id", "video_startup_failure", "video_startup_preroll_load_time",
    "video_startup_preroll_request_time", "video_stream_type", "video_title", "video_variant_id", "video_variant_name",
    "view_average_request_latency", "view_average_request_throughput", "view_cdn_edge_pop", "view_cdn_origin",
    "view_content_startup_time", "view_drm_level", "view_drm_type", "view_dropped", "view_dropped_frame_count", "view_end",
    "view_error_id", "view_has_ad", "view_id", "view_max_downscale_percentage", "view_max_playhead_position",
    "view_max_request_latency", "view_max_upscale_percentage", "view_playing_time", "view_seek_count", "view_seek_duration",
    "view_session_id", "view_start", "view_total_content_playback_time", "view_total_downscaling", "view_total_upscaling",
    "viewer_application_engine", "viewer_application_name", "viewer_application_version", "viewer_connection_type",
    "viewer_device_category", "viewer_device_manufacturer", "viewer_device_model", "viewer_device_name",
    "viewer_experience_score", "viewer_os_architecture", "viewer_os_family", "viewer_os_version", "viewer_plan",
    "viewer_plan_category", "viewer_plan_status", "viewer_user_agent", "viewer_user_id", "watch_time", "watched",
    "weighted_average_bitrate",
)  # fmt: skip
"""Fields of a single view, but for its id, its environment, its events and the error of its ads."""

_DECIMAL_TEXTS = frozenset(
    {
        "ad_break_error_percentage",
        "ad_error_percentage",
        "ad_exit_before_start_percentage",
        "ad_startup_error_percentage",
        "buffering_rate",
        "latitude",
        "longitude",
        "playback_score",
        "quality_score",
        "rebuffer_percentage",
        "rebuffering_score",
        "startup_score",
        "view_max_downscale_percentage",
        "view_max_playhead_position",
        "view_max_upscale_percentage",
        "view_playing_time",
        "view_total_downscaling",
        "view_total_upscaling",
        "viewer_experience_score",
    }
)
"""Numbers that a single view writes as text (facts/BEHAVIOUR.md, section 3.2)."""
_TIMES = frozenset({"view_start", "view_end"})


def written(view: View, name: str) -> Any:
    """Return a field as a single view shows it."""
    value = field(name)(view)
    if value is None:
        return None
    if name in _TIMES:
        return iso(value)
    if name in _DECIMAL_TEXTS:
        return str(value)
    return [*view.delivery.video_cdn_trace] if name == "video_cdn_trace" else value


def complete(view: View, environment_id: str) -> Json:
    """Write a view with all fields and its events."""
    return {
        "id": view.record_id,
        "environment_id": environment_id,
        "ad_playback_failure_error_type_id": None,
        **{name: written(view, name) for name in FIELDS},
        "events": events(view),
    }


def abridged(view: View, total: int) -> Json:
    """Write a view as lists do; every row repeats the *total* number of rows."""
    return {
        "id": view.id,
        "country_code": view.viewer.country_code,
        "error_type_id": view.outcome.error_type_id,
        "playback_failure": view.outcome.playback_failure,
        "player_error_code": view.outcome.player_error_code,
        "player_error_message": view.outcome.player_error_message,
        "total_row_count": total,
        "video_title": view.video.video_title,
        "view_end": iso(view.view_end),
        "view_start": iso(view.view_start),
        "viewer_application_name": view.viewer.viewer_application_name,
        "viewer_experience_score": view.outcome.viewer_experience_score,
        "viewer_os_family": view.viewer.viewer_os_family,
        "watch_time": view.watch_time,
    }


def events(view: View) -> list[Json]:
    """Tell a view from its numbers: what happened, in order, each at its time."""
    begin = view.view_start + view.startup.waited
    told: list[tuple[int, str, Json]] = [(view.view_start, "viewinit", {}), (view.view_start, "playerready", {})]
    told.append((view.view_start, "play", {}))
    if view.ads.view_has_ad:
        told.append((view.view_start + (view.ads.ad_preroll_startup_time or 0), "adplay", {}))
    if view.playback.watched:
        told.append((begin, "playing", {}))
        told += [(at, "renditionchange", details) for at, details in _changes(view, begin)]
        for start, end in view.rebuffering.stalls:
            told += [(start, "rebufferstart", {}), (end, "rebufferend", {})]
        seeks = view.playback.view_seek_count
        told += [(begin + (view.view_end - begin) * n // (seeks + 1), "seeking", {}) for n in range(1, seeks + 1)]
    if view.outcome.error_type_id is not None:
        details = {
            "player_error_code": view.outcome.player_error_code,
            "player_error_message": view.outcome.player_error_message,
        }
        told.append((view.view_end, "error", details))
    told.append((view.view_end, "viewend", {}))
    told.sort(key=lambda event: event[0])
    return [
        {
            "name": name,
            "event_time": at,
            "viewer_time": at,
            "playback_time": min(max(0, at - begin), view.playback.view_playing_time),
            "details": details,
        }
        for at, name, details in told
    ]


def _changes(view: View, begin: int) -> list[tuple[int, Json]]:
    found: list[tuple[int, Json]] = []
    played, before = 0, None
    for stretch in view.playback.stretches:
        if stretch.rendition != before:
            height, width, bitrate, name = RENDITIONS[stretch.rendition]
            details = {"video_source_height": height, "video_source_width": width}
            found.append((begin + played, {**details, "video_source_bitrate": bitrate, "video_source_name": name}))
        before = stretch.rendition
        played += stretch.playing_time
    return found
