"""A view and its parts: the records that the whole Data API is computed from.

Attributes have the API's names for a view's fields, so that a dimension, a metric and a single view all read the same number. Times are
milliseconds; shares are 0 to 1; ``None`` is null in the API. Views share the records of viewers and videos.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from operator import attrgetter
from typing import Any

import attrs

from mux_async.emulator.data._vocabulary import Device, Location, Rendition


@attrs.frozen(kw_only=True, eq=False)
class Viewer:
    """A person at a device, with the player there."""

    mux_viewer_id: str
    viewer_user_id: str | None
    place: Location
    device: Device
    sub_property_id: str | None
    viewer_connection_type: str | None
    viewer_plan: str | None
    viewer_plan_category: str | None
    viewer_plan_status: str | None
    player_autoplay: bool
    player_language: str | None
    player_preload: bool
    player_version: str | None
    custom_1: str | None
    experiment_name: str | None
    throughput: int = 0
    """Bits per second that the connection usually gives. Only for generating views."""


@attrs.frozen(kw_only=True, cache_hash=True)
class Video:
    """A video that views are of: an asset or a live stream of the account, a title of the catalogue, or what else was watched."""

    slot: int = 0
    """A number of its own, which decides what share of the generated views are its."""
    video_id: str | None
    video_title: str | None
    video_series: str | None = None
    video_content_type: str | None = None
    video_creator_id: str | None = None
    video_duration: int | None
    """``None`` while it is live."""
    video_stream_type: str = "on-demand"
    asset_id: str | None = None
    playback_id: str | None = None
    live_stream_id: str | None = None
    max_height: int = 1080
    """Pixels of the best rendition's shorter side."""
    player_source_host_name: str | None = "stream.mux.com"
    view_drm_type: str | None = None


@attrs.frozen
class PlayingInterval:
    """A part of the playing time in one rendition and one mode of the player."""

    rendition: Rendition
    mode: str
    playing_time: int


@attrs.frozen(kw_only=True, eq=False)
class Startup:
    """The start of a view. ``time_to_first_frame`` is ``None`` if no frame was shown."""

    page_load_time: int | None
    player_startup_time: int | None
    time_to_first_frame: int | None
    view_content_startup_time: int | None
    aggregate_startup_time: int | None
    startup_score: float | None
    waited: int
    """Milliseconds from the request to play until playback, or until the viewer gave up."""


@attrs.frozen(kw_only=True, eq=False)
class Playback:
    """What was played; zero, empty or ``None`` if nothing was."""

    view_playing_time: int = 0
    view_max_playhead_position: int = 0
    watched: bool = False
    watched_ranges: tuple[tuple[int, int], ...] = ()
    """Parts of the content that played, start and end; a part that played twice is listed twice. Empty for live streams."""
    stretches: tuple[PlayingInterval, ...] = ()
    first_rendition: Rendition | None = None
    last_rendition: Rendition | None = None
    view_seek_count: int = 0
    view_seek_duration: int = 0
    seek_latency: float | None = None
    view_dropped_frame_count: int | None = None
    view_max_upscale_percentage: float | None = None
    view_max_downscale_percentage: float | None = None
    view_total_upscaling: float | None = None
    view_total_downscaling: float | None = None
    upscale_percentage: float | None = None
    downscale_percentage: float | None = None
    live_stream_latency: int | None = None
    weighted_average_bitrate: float | None = None
    rendition_change_count: int = 0
    rendition_upshift_count: int = 0
    rendition_downshift_count: int = 0
    quality_score: float | None = None
    used_fullscreen: bool = False
    used_pip: bool = False


@attrs.frozen(kw_only=True, eq=False)
class Rebuffering:
    """How often playback stalled, and when."""

    stalls: tuple[tuple[int, int], ...]
    """Start and end, epoch milliseconds."""
    buffering_count: int
    buffering_duration: int
    rebuffer_frequency: float | None
    """Stalls per minute watched."""
    rebuffer_percentage: float | None
    rebuffering_score: float | None


@attrs.frozen(kw_only=True, eq=False)
class Outcome:
    """The end of a view, and its overall scores."""

    exit_before_video_start: bool
    video_startup_failure: bool
    playback_failure: bool
    playback_business_exception: bool
    video_startup_business_exception: bool
    view_dropped: bool
    error_type_id: int | None
    player_error_code: str | None
    player_error_message: str | None
    playback_score: float
    viewer_experience_score: float


@attrs.frozen(kw_only=True, eq=False)
class Ads:
    """Advertisements. Counts are ``None`` for a view that had none."""

    view_has_ad: bool = False
    preroll_requested: bool = False
    preroll_played: bool = False
    preroll_ad_asset_hostname: str | None = None
    preroll_ad_tag_hostname: str | None = None
    ad_attempt_count: int | None = None
    ad_break_count: int | None = None
    ad_break_error_count: int | None = None
    ad_error_count: int | None = None
    ad_exit_before_start_count: int | None = None
    ad_impression_count: int | None = None
    ad_startup_error_count: int | None = None
    ad_preroll_startup_time: int | None = None
    requests_for_first_preroll: int | None = None
    video_startup_preroll_load_time: int | None = None
    video_startup_preroll_request_time: int | None = None


@attrs.frozen(kw_only=True, eq=False)
class Delivery:
    """The delivery of the media."""

    cdn: str | None
    video_cdn_trace: tuple[str, ...]
    view_cdn_edge_pop: str | None
    view_cdn_origin: str | None
    view_max_request_latency: int | None
    view_average_request_latency: int | None
    view_average_request_throughput: int | None


@attrs.frozen
class PlayerEvent:
    """What happened in a player: times are epoch milliseconds, *playback_time* is the position in the video."""

    name: str
    event_time: int
    viewer_time: int
    playback_time: int | None
    details: Mapping[str, Any]


@attrs.frozen(kw_only=True, eq=False)
class View:
    """One view."""

    id: str
    record_id: str
    """The UUID that a single view shows as its id (facts/BEHAVIOUR.md, section 1.5)."""
    seed: int = 0
    """Everything generated about it depends on it."""
    session_id: str
    view_session_id: str | None
    player_instance_id: str | None
    player_view_count: int | None
    player_remote_played: bool | None
    used_captions: bool
    page_url: str | None
    view_start: int
    view_end: int
    """Epoch milliseconds."""
    watch_time: int
    """Everything between start and end: waiting, playing, stalls and seeks."""
    viewer: Viewer
    video: Video
    startup: Startup
    playback: Playback
    rebuffering: Rebuffering
    outcome: Outcome
    ads: Ads
    delivery: Delivery
    recorded: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    """Fields by name that a player reported, where a generated view derives them."""
    events: tuple[PlayerEvent, ...] | None = None
    """What the player reported; ``None`` derives them."""
    pauses: tuple[tuple[int, int], ...] = ()
    """When playback was paused: start and end, epoch milliseconds."""

    def is_going(self, at: int) -> bool:
        """Whether it is in progress, and not paused, at a time (epoch milliseconds)."""
        return self.view_start <= at < self.view_end and not any(start <= at < end for start, end in self.pauses)


Getter = Callable[[View], Any]
_PARTS: Mapping[str, type] = {
    "": View,
    "viewer.": Viewer,
    "viewer.place.": Location,
    "viewer.device.": Device,
    "video.": Video,
    "startup.": Startup,
    "playback.": Playback,
    "rebuffering.": Rebuffering,
    "outcome.": Outcome,
    "ads.": Ads,
    "delivery.": Delivery,
}


@cache
def stored(name: str) -> Getter:
    """Return what reads the attribute *name* of a view or of one of its parts. Raises `KeyError` for other names."""
    for path, part in _PARTS.items():
        if name in attrs.fields_dict(part):
            return attrgetter(path + name)
    raise KeyError(name)
