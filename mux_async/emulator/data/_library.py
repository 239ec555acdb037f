"""The videos of views: the account's own assets and live streams, and a generated catalogue that is hosted elsewhere.

The video of a view depends only on the view and on the set of videos. A new asset takes its share of the views from all others alike, and
a deleted one returns it (highest random weight), so a new asset has generated past views too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, islice
from zlib import crc32

import attrs

from mux_async.emulator.data._views import Video
from mux_async.emulator.data._vocabulary import TITLES, Title
from mux_async.emulator.state._state import Asset, Environment, Json, LiveStream, PlaybackId

MAX_ASSETS = 32
MAX_LIVE_STREAMS = 8
"""The newest so many have an audience: choosing among thousands would cost more than it shows."""
OWN_SHARE = 0.75
"""Share of the views that are of the account's own videos, if it has any."""
_MASK = 2**64 - 1


@attrs.frozen
class Library:
    """Videos to choose from. Two with the same own videos are equal."""

    own: tuple[Video, ...] = ()

    def choose(self, seed: int) -> Video:
        """Return the video of the view that was made from *seed* (64 bits)."""
        if self.own and (seed & 0xFFFF) < OWN_SHARE * 0x10000:
            return max(self.own, key=lambda video: _weight(seed, video.slot))
        at = (seed >> 16 & 0xFFFF) * _LADDER[-1] // 0x10000
        return next(video for video, limit in zip(CATALOGUE, _LADDER, strict=True) if at < limit)


def library_of(environment: Environment) -> Library:
    """Return what can be watched in *environment* now."""
    ready = (asset for asset in reversed(environment.assets.values()) if asset.status == "ready")
    assets = [_asset_video(asset) for asset in islice(ready, MAX_ASSETS)]
    streams = [_stream_video(stream) for stream in islice(reversed(environment.live_streams.values()), MAX_LIVE_STREAMS)]
    return Library((*assets, *streams))


def _weight(seed: int, slot: int) -> int:
    mixed = ((seed ^ slot * 0x9E3779B97F4A7C15) * 0xBF58476D1CE4E5B9) & _MASK
    return ((mixed ^ mixed >> 31) * 0x94D049BB133111EB) & _MASK


def _first(playback_ids: Sequence[PlaybackId]) -> PlaybackId | None:
    return playback_ids[0] if playback_ids else None


def _asset_video(asset: Asset) -> Video:
    meta: Json = asset.meta or {}
    playback = _first(asset.playback_ids)
    media = asset.media
    return _video(
        asset.id,
        meta.get("title") or f"Asset {asset.id[:6]}",
        video_id=meta.get("external_id") or asset.id,
        creator=meta.get("creator_id"),
        content_type="asset",
        duration=None if media is None else round(media.duration * 1000),
        asset_id=asset.id,
        live_stream_id=asset.live_stream_id,
        playback=playback,
        max_height=1080 if media is None or not media.has_video else media.short_side,
    )


def _stream_video(stream: LiveStream) -> Video:
    meta: Json = stream.members.get("meta") or {}
    return _video(
        stream.id,
        meta.get("title") or f"Live stream {stream.id[:6]}",
        video_id=stream.id,
        creator=None,
        content_type="live",
        duration=None,
        asset_id=None,
        live_stream_id=stream.id,
        playback=_first(stream.playback_ids),
        max_height=1080,
        is_live=True,
    )


def _video(
    name: str,
    title: str | None,
    *,
    video_id: str,
    creator: str | None,
    content_type: str,
    duration: int | None,
    asset_id: str | None = None,
    live_stream_id: str | None = None,
    playback: PlaybackId | None = None,
    max_height: int = 1080,
    series: str | None = None,
    drm: str | None = None,
    is_live: bool = False,
) -> Video:
    is_own = asset_id is not None or live_stream_id is not None
    drm = "widevine" if playback is not None and playback.policy == "drm" else drm
    host = "stream.mux.com" if is_own else "media.example.com"
    source = playback.id if playback is not None else video_id
    return Video(
        slot=crc32(name.encode()),
        video_id=video_id,
        video_title=title,
        video_series=series,
        video_content_type=content_type,
        video_creator_id=creator,
        video_duration=duration if duration is not None or is_live else 60_000,
        video_stream_type="live" if is_live else "on-demand",
        asset_id=asset_id,
        playback_id=None if playback is None else playback.id,
        live_stream_id=live_stream_id,
        max_height=max_height,
        player_source_host_name=host,
        player_source_domain=host.partition(".")[2],
        player_source_url=f"https://{host}/{source}.m3u8",
        player_source_type="application/x-mpegurl",
        view_drm_type=drm,
        view_drm_level=None if drm is None else "L3",
        video_variant_name=None if drm is None else "protected",
        page_path=f"/watch/{video_id}",
    )


def _title_video(title: Title) -> Video:
    return _video(
        title.video_id,
        title.title,
        video_id=title.video_id,
        creator=title.creator,
        content_type=title.content_type,
        duration=None if title.seconds is None else title.seconds * 1000,
        series=title.series,
        drm=title.drm,
        is_live=title.seconds is None,
    )


CATALOGUE = tuple(_title_video(title) for title in TITLES)
_LADDER = tuple(accumulate(title.weight for title in TITLES))
