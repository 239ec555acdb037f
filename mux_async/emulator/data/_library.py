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


def _asset_video(asset: Asset) -> Video:
    meta: Json = asset.meta or {}
    media = asset.media
    return Video(
        slot=crc32(asset.id.encode()),
        video_id=meta.get("external_id") or asset.id,
        video_title=meta.get("title") or f"Asset {asset.id[:6]}",
        video_content_type="asset",
        video_creator_id=meta.get("creator_id"),
        video_duration=60_000 if media is None else round(media.duration * 1000),
        asset_id=asset.id,
        live_stream_id=asset.live_stream_id,
        max_height=1080 if media is None or not media.has_video else media.short_side,
        **_playable(asset.playback_ids),
    )


def _stream_video(stream: LiveStream) -> Video:
    meta: Json = stream.members.get("meta") or {}
    return Video(
        slot=crc32(stream.id.encode()),
        video_id=stream.id,
        video_title=meta.get("title") or f"Live stream {stream.id[:6]}",
        video_content_type="live",
        video_duration=None,
        video_stream_type="live",
        live_stream_id=stream.id,
        **_playable(stream.playback_ids),
    )


def _playable(playback_ids: Sequence[PlaybackId]) -> Json:
    chosen = next(iter(playback_ids), None)
    if chosen is None:
        return {}
    return {"playback_id": chosen.id, "view_drm_type": "widevine" if chosen.policy == "drm" else None}


def _title_video(title: Title) -> Video:
    return Video(
        slot=crc32(title.video_id.encode()),
        video_id=title.video_id,
        video_title=title.title,
        video_series=title.series,
        video_content_type=title.content_type,
        video_creator_id=title.creator,
        video_duration=None if title.seconds is None else title.seconds * 1000,
        video_stream_type="live" if title.seconds is None else "on-demand",
        player_source_host_name="media.example.com",
        view_drm_type=title.drm,
    )


CATALOGUE = tuple(_title_video(title) for title in TITLES)
_LADDER = tuple(accumulate(title.weight for title in TITLES))
