"""The fields of a beacon that views are made of: their short keys, and which values they may have.

Players shorten each word of a field's name to one letter (the first word) or two (the others): ``video_title`` is ``vtt``,
``view_time_to_first_frame`` is ``xtitofifr``; numbers stay, as in ``c1`` for ``custom_1``. Read in mux-embed 5.18.1 (facts/NEWER.md,
section 7). Other keys, and values of another type, are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import attrs

Value: TypeAlias = str | int | float | bool

_FIRST: Mapping[str, str] = {
    "custom": "c", "env": "a", "event": "e", "experiment": "f", "mux": "m", "page": "w", "player": "p", "session": "s", "sub": "y",
    "video": "v", "view": "x", "viewer": "u",
}  # fmt: skip
_WORDS: Mapping[str, str] = {
    "ad": "ad", "affiliate": "af", "aggregate": "ag", "api": "ap", "application": "al", "architecture": "ar", "asset": "as",
    "autoplay": "au", "average": "av", "bitrate": "bi", "brand": "bn", "business": "bz", "category": "cg", "cdn": "dn", "code": "cd",
    "codec": "cc", "connection": "cx", "content": "ct", "context": "cz", "count": "co", "creator": "cq", "cumulative": "cv",
    "device": "dv", "domain": "dm", "downscale": "do", "downscaling": "dg", "drm": "dr", "dropped": "dp", "duration": "du",
    "dynamic": "dy", "embed": "em", "encoding": "ec", "engine": "eg", "error": "er", "exception": "ez", "family": "fm",
    "first": "fi", "fps": "fp", "frame": "fr", "fullscreen": "fs", "height": "ht", "hostname": "hn", "id": "id", "instance": "in",
    "is": "is", "key": "ke", "language": "la", "latency": "lt", "level": "le", "live": "li", "load": "lo", "manufacturer": "mn",
    "max": "ma", "message": "me", "mime": "mi", "mode": "mp", "model": "mo", "ms": "ms", "mux": "mx", "name": "nm", "number": "no",
    "on": "on", "os": "os", "percentage": "pe", "plan": "pz", "playback": "pb", "played": "pf", "playhead": "ph", "playing": "pn",
    "plugin": "pi", "position": "ps", "poster": "po", "preload": "pr", "preroll": "pl", "producer": "pd", "program": "pg",
    "property": "py", "range": "rg", "rebuffer": "re", "remote": "rm", "request": "rq", "requested": "rd", "seek": "sk",
    "sequence": "sq", "series": "sr", "session": "se", "severity": "sy", "software": "sw", "source": "so", "start": "st",
    "startup": "su", "status": "ss", "stream": "sm", "tag": "ta", "throughput": "th", "time": "ti", "title": "tt", "to": "to",
    "total": "tl", "type": "ty", "upscale": "up", "upscaling": "ug", "url": "ur", "user": "us", "variant": "va", "version": "ve",
    "view": "vw", "viewer": "vr", "watch": "wa", "width": "wd",
}  # fmt: skip

_MAX_TEXT, _MAX_LONG_TEXT = 512, 2048
_MAX_NUMBER = 1e13
"""More than any time in epoch milliseconds."""
_TEXTS = (
    "env_key", "event", "experiment_name", "mux_api_version", "mux_embed", "mux_embed_version", "mux_viewer_id", "page_type",
    "player_error_code", "player_error_message", "player_error_severity", "player_instance_id", "player_language_code",
    "player_mux_plugin_name", "player_mux_plugin_version", "player_name", "player_playback_mode", "player_preload_on",
    "player_software", "player_software_name", "player_software_version", "player_version", "session_id", "sub_property_id",
    "video_affiliate", "video_brand", "video_cdn", "video_content_type", "video_creator_id", "video_encoding_variant", "video_id",
    "video_language_code", "video_producer", "video_series", "video_source_codec", "video_source_domain", "video_source_hostname",
    "video_source_mime_type", "video_source_name", "video_stream_type", "video_title", "video_variant_id", "video_variant_name",
    "video_dynamic_range_type", "view_drm_level", "view_drm_type", "view_id", "view_preroll_ad_asset_hostname",
    "view_preroll_ad_tag_hostname", "view_session_id", "viewer_application_engine", "viewer_application_name",
    "viewer_application_version", "viewer_connection_type", "viewer_device_category", "viewer_device_manufacturer",
    "viewer_device_model", "viewer_device_name", "viewer_os_architecture", "viewer_os_family", "viewer_os_version", "viewer_plan",
    "viewer_plan_category", "viewer_plan_status", "viewer_user_id", *(f"custom_{number}" for number in range(1, 11)),
)  # fmt: skip
_LONG_TEXTS = ("page_url", "player_error_context", "video_playback_range", "video_poster_url", "video_source_url")
_NUMBERS = (
    "page_load_time", "player_height", "player_playhead_time", "player_program_time",
    "player_sequence_number", "player_startup_time", "player_view_count", "player_width", "video_duration", "video_source_bitrate",
    "video_source_duration", "video_source_fps", "video_source_height", "video_source_width", "view_aggregate_startup_time",
    "view_average_request_latency", "view_average_request_throughput", "view_content_playback_time", "view_dropped_frame_count",
    "view_max_downscale_percentage", "view_max_playhead_position", "view_max_request_latency", "view_max_upscale_percentage",
    "view_playing_time_ms_cumulative", "view_rebuffer_count", "view_rebuffer_duration", "view_seek_count", "view_seek_duration",
    "view_sequence_number", "view_start", "view_startup_preroll_load_time", "view_startup_preroll_request_time",
    "view_time_to_first_frame", "view_total_content_playback_time", "view_total_downscaling", "view_total_upscaling",
    "view_watch_time", "viewer_time",
)  # fmt: skip
_FLAGS = (
    "player_autoplay_on", "player_error_business_exception", "player_is_fullscreen", "player_remote_played",
    "video_source_is_live", "view_preroll_played", "view_preroll_requested",
)  # fmt: skip


def _text(limit: int) -> Callable[[object], str | None]:
    def clean(value: object) -> str | None:
        if not isinstance(value, str | int | float):
            return None
        # Half of a surrogate pair, which a page can send, cannot be written as JSON.
        return str(value)[:limit].encode("utf-8", "replace").decode() or None

    return clean


def _number(value: object) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_NUMBER:
        return None  # which NaN is too
    return int(value) if float(value).is_integer() else round(value, 6)


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


@attrs.frozen
class _Field:
    name: str
    clean: Callable[[object], Value | None]


def short_key(name: str) -> str:
    """Return the key of a field in beacons. Raises `KeyError`: no abbreviation of a word is known."""
    first, *words = name.split("_")
    return _FIRST[first] + "".join(word if word.isdigit() else _WORDS[word] for word in words)


_FIELDS: Mapping[str, _Field] = {
    short_key(name): _Field(name, clean)
    for names, clean in ((_TEXTS, _text(_MAX_TEXT)), (_LONG_TEXTS, _text(_MAX_LONG_TEXT)), (_NUMBERS, _number), (_FLAGS, _flag))
    for name in names
}


def read_fields(event: Mapping[str, object]) -> dict[str, Value]:
    """Return the known fields of an event, by their long names. Null and values of another type are left out."""
    found: dict[str, Value] = {}
    for key in event.keys() & _FIELDS.keys():
        field = _FIELDS[key]
        value = field.clean(event[key])
        if value is not None:
            found[field.name] = value
    return found
