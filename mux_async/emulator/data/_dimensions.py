"""The dimensions that views are filtered and grouped by, and how to get a view's value for each.

The ids are those of the enumeration of breakdowns (facts/mux-api.json); comparisons know 83 of them. A value is text, as filters write
it; ``None`` stands for views without a value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from mux_async.emulator.data._fields import field
from mux_async.emulator.data._views import View

BASIC = (
    "browser",
    "country",
    "operating_system",
    "player_software",
    "player_software_version",
    "source_hostname",
    "source_type",
    "stream_type",
    "video_title",
)
"""As recorded, like the first of the advanced ones."""
ADVANCED = (
    "asn", "browser_version", "cdn", "experiment_name", "operating_system_version", "player_name", "player_version",
    "preroll_ad_asset_hostname", "preroll_ad_tag_hostname", "preroll_played", "preroll_requested", "sub_property_id", "video_series",
    "asset_id", "continent_code", "custom_1", "custom_2", "custom_3", "custom_4", "custom_5", "custom_6", "custom_7", "custom_8",
    "custom_9", "custom_10", "exit_before_video_start", "live_stream_id", "page_type", "page_url", "playback_failure",
    "playback_business_exception", "playback_id", "player_autoplay", "player_error_code", "player_mux_plugin_name",
    "player_mux_plugin_version", "player_preload", "player_remote_played", "region", "video_content_type", "video_encoding_variant",
    "video_id", "video_startup_business_exception", "video_startup_failure", "view_drm_type", "view_has_ad", "view_session_id",
    "viewer_connection_type", "viewer_device_category", "viewer_device_manufacturer", "viewer_device_model", "viewer_device_name",
    "viewer_user_id", "ad_playback_failure", "content_playback_failure", "view_dropped", "client_application_name",
    "client_application_version", "video_affiliate", "viewer_plan", "viewer_plan_status", "viewer_plan_category", "view_drm_level",
    "video_brand", "used_pip", "time_shift_enabled", "used_captions", "video_codec", "audio_codec", "video_dynamic_range_type",
    "view_cdn_edge_pop", "view_cdn_origin", "video_creator_id", "video_cdn_trace", "video_source_height_initial",
    "video_source_width_initial", "video_source_bitrate_initial", "video_codec_initial", "audio_codec_initial",
    "video_source_fps_initial", "video_dynamic_range_type_initial", "video_source_fps", "video_source_bitrate", "video_source_height",
    "video_source_width",
)  # fmt: skip
DIMENSIONS = (*BASIC, *ADVANCED)
COMPARABLE = tuple(name for name in DIMENSIONS if not name.startswith("video_source_") and (not name.endswith("_initial")))
"""Dimensions that a comparison takes: those of what played at the start or at the end are newer than it."""
TRACES = ("video_cdn_trace",)
"""Dimensions whose value is a list."""

_FIELDS: Mapping[str, str] = {
    "browser": "viewer_application_name",
    "browser_version": "viewer_application_version",
    "country": "country_code",
    "operating_system": "viewer_os_family",
    "operating_system_version": "viewer_os_version",
    "source_hostname": "player_source_host_name",
    "source_type": "player_source_type",
    "stream_type": "video_stream_type",
}
"""Field of a dimension that is not named like it."""

MONITORED: Mapping[str, str] = {
    "asn": "ASN",
    "cdn": "CDN",
    "country": "Country",
    "operating_system": "Operating system",
    "player_name": "Player name",
    "region": "Region / State",
    "stream_type": "Stream type",
    "sub_property_id": "Sub property ID",
    "video_series": "Video series",
    "video_title": "Video title",
    "view_has_ad": "View has ad",
}
"""Dimensions of monitoring and their names for people; the deprecated real-time ones lack the last."""


def as_text(value: object) -> str | None:
    """Write the value of a dimension as filters do."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


@cache
def value_of(dimension: str) -> Callable[[View], str | None]:
    """Return what reads a dimension of a view, as text; a trace reads as its list: ``[a,b]``. Raises `KeyError` for an unknown one."""
    if dimension not in DIMENSIONS:
        raise KeyError(dimension)
    read = field(_FIELDS.get(dimension, dimension))
    if dimension in TRACES:
        return lambda view: f"[{','.join(read(view))}]" if read(view) else None
    return lambda view: as_text(read(view))


@cache
def elements_of(dimension: str) -> Callable[[View], tuple[str, ...]]:
    """Return what reads the elements of a trace dimension, in order. Raises `KeyError`: there is no such trace dimension."""
    if dimension not in TRACES:
        raise KeyError(dimension)
    return field(dimension)
