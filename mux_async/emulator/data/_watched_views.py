"""Views of the Data API from what players reported (`WatchedView`), with the same fields and scores as generated ones.

What a player does not report is null: the viewer's place, for one, which Mux finds by the address.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Any
from zlib import crc32

import attrs

from mux_async.emulator.data import _scores
from mux_async.emulator.data._beacons import LATENCY, counts, is_error
from mux_async.emulator.data._fields import iso
from mux_async.emulator.data._user_agents import read_user_agent
from mux_async.emulator.data._views import (
    Ads,
    Delivery,
    Outcome,
    Playback,
    PlayerEvent,
    PlayingInterval,
    Rebuffering,
    Startup,
    Video,
    View,
    Viewer,
)
from mux_async.emulator.data._vocabulary import Device, Location, Rendition
from mux_async.emulator.state._records import BeaconEvent, WatchedView
from mux_async.emulator.state._state import Environment, Json
from mux_async.emulator.state._tracking import untracked_items

SILENCE = 30_000
"""Milliseconds after the last event that a view without an end counts as being watched: a player that plays reports every ten seconds."""
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH = 36
_FIRST_ERROR, _ERRORS = 100_000_000, 900_000_000
"""Ids of errors; those of generated views are smaller."""
_CODECS = {"avc1": "avc", "avc3": "avc", "hvc1": "hevc", "hev1": "hevc", "vp09": "vp9", "vp8": "vp8", "av01": "av1"}
_RANGE = re.compile(r'"(\d{1,12}):(\d{1,12})"', re.ASCII)
_PLAYS, _STOPS = frozenset({"play", "playing"}), frozenset({"pause", "ended", "error"})
_NAMESPACE = uuid.UUID("6d5a3c1e-3b1f-4a53-9a55-7f5a9b1f3a10")
"""Of UUIDs that stand for something else; any would do."""


class WatchedViewCache:
    """Watched views in the form of the Data API, made again when their records change."""

    def __init__(self) -> None:
        self._made: dict[str, dict[str, tuple[WatchedView, int, View]]] = {}

    def views(self, environment: Environment) -> tuple[list[View], list[View]]:
        """Return the views that have ended, and those that go on."""
        ended: list[View] = []
        going: list[View] = []
        before = self._made.get(environment.id, {})
        made = self._made[environment.id] = {}
        for view_id, record in untracked_items(environment.watched_views):
            if counts(record):
                found = before.get(view_id)
                if found is None or found[0] is not record or found[1] != record.revision:
                    found = (record, record.revision, make_watched_view(record, environment.id))
                made[view_id] = found
                (going if record.ended_at is None else ended).append(found[2])
        return ended, going


@attrs.frozen
class _Values:
    """The fields of a record. Times are at most *span*, however far the viewer's clock was moved meanwhile."""

    record: WatchedView
    span: int

    def get(self, name: str) -> Any:
        """A field, or the one of the asset or live stream."""
        found = self.record.values.get(name)
        return self.record.owner.get(name) if found is None else found[1]

    def whole(self, name: str) -> int | None:
        value = self.get(name)
        return None if value is None else int(value)

    def time(self, name: str) -> int | None:
        value = self.get(name)
        return None if value is None else min(int(value), self.span)


def make_watched_view(record: WatchedView, environment_id: str) -> View:
    """Return the view of a record for which `counts` is true. One that goes on gets the end that it would have without more beacons."""
    start, end = _period(record)
    values = _Values(record, end - start)
    stopped = tuple(_between(record.events, _STOPS, _PLAYS, end))
    startup = _startup(values, has_ended=record.ended_at is not None)
    playback = _playback(values, startup)
    rebuffering = _rebuffering(values, end)
    device = _device(values)
    return View(
        id=_short_id(f"{environment_id}/{record.id}"),
        record_id=_as_uuid(record.id),
        session_id=values.get("session_id") or record.id,
        view_session_id=values.get("view_session_id"),
        player_instance_id=values.get("player_instance_id"),
        player_view_count=values.whole("player_view_count"),
        player_remote_played=values.get("player_remote_played"),
        used_captions=False,
        page_url=values.get("page_url"),
        view_start=start,
        view_end=end,
        watch_time=values.time("view_watch_time") or 0,
        viewer=_viewer(values, device),
        video=_video(values),
        startup=startup,
        playback=playback,
        rebuffering=rebuffering,
        outcome=_outcome(record, startup, playback, rebuffering),
        ads=_ads(values),
        delivery=_delivery(values),
        recorded=_recorded(values, device),
        events=tuple(PlayerEvent(event.name, event.at, event.at, event.position, {**event.details}) for event in record.events),
        pauses=stopped,
    )


def _period(record: WatchedView) -> tuple[int, int]:
    start = record.started_at
    if start is None:
        start = record.events[0].at if record.events else record.last_at
    if record.ended_at is not None:
        return start, max(start, record.ended_at)
    is_stopped = next((event.name in _STOPS for event in reversed(record.events) if event.name in _STOPS | _PLAYS), False)
    return start, max(start, record.last_at + (0 if is_stopped else SILENCE))


def _short_id(text: str) -> str:
    """Return an id of the form that lists of views have (facts/BEHAVIOUR.md, section 1.5)."""
    number, letters = int.from_bytes(sha256(text.encode()).digest()), ""
    while len(letters) < _ID_LENGTH:
        number, letter = divmod(number, len(_ALPHABET))
        letters += _ALPHABET[letter]
    return letters


def _as_uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return str(uuid.uuid5(_NAMESPACE, text))


def _between(
    events: Sequence[BeaconEvent], begins: frozenset[str], ends: frozenset[str], last: int
) -> Iterator[tuple[int, int]]:
    """Yield the periods from an event of *begins* to the next one of *ends*, or to *last*."""
    begun: int | None = None
    for event in events:
        if event.name in begins and begun is None:
            begun = event.at
        elif event.name in ends and begun is not None:
            yield begun, max(begun, event.at)
            begun = None
    if begun is not None and begun < last:
        yield begun, last


# ---- the parts of a view


def _device(values: _Values) -> Device:
    agent = read_user_agent(values.record.user_agent)
    return Device(
        weight=0,
        viewer_device_category=values.get("viewer_device_category") or agent.category,
        viewer_device_manufacturer=values.get("viewer_device_manufacturer"),
        viewer_device_model=values.get("viewer_device_model"),
        viewer_device_name=values.get("viewer_device_name"),
        viewer_os_family=values.get("viewer_os_family") or agent.system,
        viewer_os_version=values.get("viewer_os_version") or agent.system_version,
        viewer_os_architecture=values.get("viewer_os_architecture"),
        viewer_application_name=values.get("viewer_application_name") or agent.browser,
        viewer_application_version=values.get("viewer_application_version") or agent.browser_version,
        viewer_application_engine=values.get("viewer_application_engine") or agent.engine,
        player_name=values.get("player_name"),
        player_software=values.get("player_software_name") or values.get("player_software"),
        player_software_version=values.get("player_software_version"),
        player_mux_plugin_name=values.get("player_mux_plugin_name"),
        player_mux_plugin_version=values.get("player_mux_plugin_version"),
        connections=(),
        page_type=values.get("page_type"),
        player_width=values.whole("player_width"),
        player_height=values.whole("player_height"),
        viewer_user_agent=values.record.user_agent or None,
    )


def _viewer(values: _Values, device: Device) -> Viewer:
    return Viewer(
        mux_viewer_id=values.get("mux_viewer_id") or _as_uuid(values.record.id),
        viewer_user_id=values.get("viewer_user_id"),
        place=Location(weight=0),
        device=device,
        sub_property_id=values.get("sub_property_id"),
        viewer_connection_type=values.get("viewer_connection_type"),
        viewer_plan=values.get("viewer_plan"),
        viewer_plan_category=values.get("viewer_plan_category"),
        viewer_plan_status=values.get("viewer_plan_status"),
        player_autoplay=values.get("player_autoplay_on") is True,
        player_language=values.get("player_language_code"),
        player_preload=values.get("player_preload_on") not in {None, "none", "False"},
        player_version=values.get("player_version"),
        custom_1=values.get("custom_1"),
        experiment_name=values.get("experiment_name"),
    )


def _is_live(values: _Values) -> bool:
    is_live: bool = values.get("video_source_is_live") is True or values.get("video_stream_type") == "live"
    return is_live


def _video(values: _Values) -> Video:
    is_live = _is_live(values)
    duration = values.whole("video_duration") or values.whole("video_source_duration")
    return Video(
        video_id=values.get("video_id"),
        video_title=values.get("video_title"),
        video_series=values.get("video_series"),
        video_content_type=values.get("video_content_type"),
        video_creator_id=values.get("video_creator_id"),
        video_duration=None if is_live else duration,
        video_stream_type=values.get("video_stream_type") or ("live" if is_live else "on-demand"),
        asset_id=values.get("asset_id"),
        playback_id=values.get("playback_id"),
        live_stream_id=values.get("live_stream_id"),
        player_source_host_name=values.get("video_source_hostname"),
        view_drm_type=values.get("view_drm_type"),
    )


def _startup(values: _Values, *, has_ended: bool) -> Startup:
    page_load, player = values.whole("page_load_time"), values.whole("player_startup_time")
    first_frame = values.time("view_time_to_first_frame")
    if first_frame is None:
        waited = values.span if has_ended else max(0, values.record.last_at + SILENCE)
        return Startup(
            page_load_time=page_load,
            player_startup_time=player,
            time_to_first_frame=None,
            view_content_startup_time=None,
            aggregate_startup_time=None,
            startup_score=None,
            waited=waited,
        )
    whole = first_frame + (player or 0) + (page_load or 0)
    return Startup(
        page_load_time=page_load,
        player_startup_time=player,
        time_to_first_frame=first_frame,
        view_content_startup_time=first_frame,
        aggregate_startup_time=values.whole("view_aggregate_startup_time") or whole,
        startup_score=_scores.startup(first_frame),
        waited=first_frame,
    )


def _playing_time(values: _Values) -> int:
    played = values.time("view_playing_time_ms_cumulative")
    return (values.time("view_content_playback_time") or 0) if played is None else played


def _playback(values: _Values, startup: Startup) -> Playback:
    playing = _playing_time(values)
    if startup.time_to_first_frame is None and not playing:
        return Playback()
    stretches = _stretches(values, playing)
    shown = [stretch.rendition for stretch in stretches]
    changes = [_size(after) - _size(before) for before, after in pairwise(shown) if after != before]
    scaled = values.get("view_total_content_playback_time")
    up, down = values.get("view_total_upscaling"), values.get("view_total_downscaling")
    ups, downs = (None if total is None or not scaled else total / scaled for total in (up, down))
    seeks = values.whole("view_seek_count") or 0
    sought = values.time("view_seek_duration") or 0
    modes = {stretch.mode for stretch in stretches}
    return Playback(
        view_playing_time=playing,
        view_max_playhead_position=values.whole("view_max_playhead_position") or 0,
        watched=True,
        watched_ranges=() if _is_live(values) else _ranges(values),
        stretches=stretches,
        first_rendition=shown[0] if shown else None,
        last_rendition=shown[-1] if shown else None,
        view_seek_count=seeks,
        view_seek_duration=sought,
        seek_latency=sought / seeks if seeks else None,
        view_dropped_frame_count=values.whole("view_dropped_frame_count"),
        view_max_upscale_percentage=values.get("view_max_upscale_percentage"),
        view_max_downscale_percentage=values.get("view_max_downscale_percentage"),
        view_total_upscaling=up,
        view_total_downscaling=down,
        upscale_percentage=ups,
        downscale_percentage=downs,
        live_stream_latency=values.whole(LATENCY) if _is_live(values) else None,
        weighted_average_bitrate=_bitrate(stretches),
        rendition_change_count=len(changes),
        rendition_upshift_count=sum(change > 0 for change in changes),
        rendition_downshift_count=sum(change < 0 for change in changes),
        quality_score=None if ups is None or downs is None else _scores.quality(1 + ups - downs),
        used_fullscreen="fullscreen" in modes or values.get("player_is_fullscreen") is True,
        used_pip="pip" in modes,
    )


def _size(rendition: Rendition) -> int:
    return rendition.bitrate or rendition.height or 0


def _bitrate(stretches: Sequence[PlayingInterval]) -> float | None:
    known = [(stretch.playing_time, stretch.rendition.bitrate) for stretch in stretches if stretch.rendition.bitrate]
    whole = sum(length for length, _ in known)
    return sum(length * bitrate for length, bitrate in known) / whole if whole else None


def _rendition(details: Mapping[str, Any]) -> Rendition | None:
    """Return the rendition of a change; ``None`` before its size is known."""
    height, width = details.get("video_source_height"), details.get("video_source_width")
    if not height or not width:
        return None
    codec = str(details.get("video_source_codec", "")).partition(".")[0]
    return Rendition(
        height=int(height),
        width=int(width),
        bitrate=details.get("video_source_bitrate"),
        name=details.get("video_source_name"),
        fps=details.get("video_source_fps"),
        codec=_CODECS.get(codec, codec) or None,
    )


def _stretches(values: _Values, playing: int) -> tuple[PlayingInterval, ...]:
    """Divide the playing time by what players report at each change. What played before a size was known counts for the first."""
    last = _rendition({name: values.get(name) for name in values.record.values if name.startswith("video_source_")})
    changes = [_rendition(event.details) for event in values.record.events if event.name == "renditionchange"]
    rendition = next((change for change in changes if change is not None), last) or Rendition(
        None, None, None, None, None, None
    )
    mode, played = "standard", 0
    found: list[PlayingInterval] = []

    def add(until: int) -> None:
        nonlocal played
        length = min(until, playing) - played
        if length <= 0:
            return
        played += length
        if found and (found[-1].rendition, found[-1].mode) == (rendition, mode):
            length += found.pop().playing_time
        found.append(PlayingInterval(rendition, mode, length))

    for event in values.record.events:
        add(event.played or 0)
        if event.name == "renditionchange":
            rendition = _rendition(event.details) or rendition
        elif event.name == "playbackmodechange":
            mode = str(event.details.get("player_playback_mode", mode))
    add(playing)
    return tuple(found)


def _ranges(values: _Values) -> tuple[tuple[int, int], ...]:
    """Return the parts of the video that played, which players report as a text: ``["0:3000","12017:16006"]``."""
    duration = values.whole("video_duration") or values.whole("video_source_duration") or 0
    given = _RANGE.finditer(values.get("video_playback_range") or "")
    ranges = [(int(match[1]), min(int(match[2]), duration)) for match in given]
    return tuple((start, end) for start, end in ranges if start < end)


def _rebuffering(values: _Values, end: int) -> Rebuffering:
    count = values.whole("view_rebuffer_count") or 0
    duration, watched = values.time("view_rebuffer_duration") or 0, values.time("view_watch_time") or 0
    has_played = values.get("view_time_to_first_frame") is not None
    share = min(1.0, duration / watched) if has_played and watched else None
    return Rebuffering(
        stalls=tuple(_between(values.record.events, frozenset({"rebufferstart"}), frozenset({"rebufferend", "viewend"}), end)),
        buffering_count=count,
        buffering_duration=duration,
        rebuffer_frequency=None if share is None else count / (watched / 60_000),
        rebuffer_percentage=share,
        rebuffering_score=None if share is None else _scores.rebuffering(share),
    )


def _error(record: WatchedView) -> BeaconEvent | None:
    return next((event for event in reversed(record.events) if is_error(event)), None)


def _outcome(record: WatchedView, startup: Startup, playback: Playback, rebuffering: Rebuffering) -> Outcome:
    error = _error(record)
    details: Json = {} if error is None else error.details
    is_business = details.get("player_error_business_exception") is True
    is_startup = error is not None and not playback.watched
    is_exit = error is None and not playback.watched and record.ended_at is not None
    code, message = details.get("player_error_code"), details.get("player_error_message")
    playback_score = _scores.playback(is_error=error is not None, is_exit=is_exit)
    scores = (playback_score, startup.startup_score, rebuffering.rebuffering_score, playback.quality_score)
    return Outcome(
        exit_before_video_start=is_exit,
        video_startup_failure=is_startup and not is_business,
        playback_failure=error is not None and not is_business,
        playback_business_exception=is_business,
        video_startup_business_exception=is_startup and is_business,
        view_dropped=False,
        error_type_id=None if error is None else _FIRST_ERROR + crc32(f"{code}\0{message}".encode()) % _ERRORS,
        player_error_code=code,
        player_error_message=message,
        playback_score=playback_score,
        viewer_experience_score=_scores.overall(scores),
    )


def _ads(values: _Values) -> Ads:
    happened = Counter(event.name for event in values.record.events)
    requested, played = values.get("view_preroll_requested") is True, values.get("view_preroll_played") is True
    if not (happened["adbreakstart"] or happened["adplay"] or happened["aderror"] or requested):
        return Ads()
    return Ads(
        view_has_ad=True,
        preroll_requested=requested,
        preroll_played=played,
        preroll_ad_asset_hostname=values.get("view_preroll_ad_asset_hostname"),
        preroll_ad_tag_hostname=values.get("view_preroll_ad_tag_hostname"),
        ad_attempt_count=happened["adplay"] + happened["aderror"],
        ad_break_count=happened["adbreakstart"],
        ad_break_error_count=0,
        ad_error_count=happened["aderror"],
        ad_exit_before_start_count=0,
        ad_impression_count=happened["adplaying"],
        ad_startup_error_count=0,
        video_startup_preroll_load_time=values.whole("view_startup_preroll_load_time"),
        video_startup_preroll_request_time=values.whole("view_startup_preroll_request_time"),
    )


def _delivery(values: _Values) -> Delivery:
    cdn = values.get("video_cdn")
    return Delivery(
        cdn=cdn,
        video_cdn_trace=() if cdn is None else (cdn,),
        view_cdn_edge_pop=None,
        view_cdn_origin=None,
        view_max_request_latency=values.whole("view_max_request_latency"),
        view_average_request_latency=values.whole("view_average_request_latency"),
        view_average_request_throughput=values.whole("view_average_request_throughput"),
    )


_AS_REPORTED = {
    "mux_embed": "mux_embed",
    "mux_embed_version": "mux_embed_version",
    "player_poster": "video_poster_url",
    "player_source_domain": "video_source_domain",
    "player_source_type": "video_source_mime_type",
    "player_source_url": "video_source_url",
    "video_affiliate": "video_affiliate",
    "video_brand": "video_brand",
    "video_dynamic_range_type": "video_dynamic_range_type",
    "video_dynamic_range_type_initial": "video_dynamic_range_type",
    "video_encoding_variant": "video_encoding_variant",
    "video_language": "video_language_code",
    "video_producer": "video_producer",
    "video_variant_id": "video_variant_id",
    "video_variant_name": "video_variant_name",
    "view_drm_level": "view_drm_level",
    **{f"custom_{number}": f"custom_{number}" for number in range(2, 11)},
}
"""Field of a view, and the beacons' field that it is."""
_NOT_REPORTED = ("audio_codec", "audio_codec_initial", "client_application_name", "client_application_version")


def _recorded(values: _Values, device: Device) -> Mapping[str, Any]:
    """Return the fields that are derived for generated views, and reported for this one."""
    error = _error(values.record)
    application, system = device.viewer_application_name or "Unknown", device.viewer_os_family or "Unknown"
    arrived = iso(values.record.updated_at)
    return {
        **{name: values.get(reported) for name, reported in _AS_REPORTED.items()},
        **dict.fromkeys(_NOT_REPORTED),
        "inserted_at": arrived,
        "updated_at": arrived,
        "mux_api_version": values.get("mux_api_version") or "2.1",
        "platform_description": f"{application} {device.viewer_application_version or ''} on {system}".replace("  ", " "),
        "platform_summary": f"{application} on {system}",
        "player_error_context": None if error is None else error.details.get("player_error_context"),
        "view_total_content_playback_time": values.whole("view_total_content_playback_time"),
    }
