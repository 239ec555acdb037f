"""Addresses of streams, pictures, text, files and licences, with everything checked before it is asked for.

Values of the API have them as methods, ``asset.playback_ids[0].hls_url()`` and ``live_stream.ingest()``; `Playback` is for ids from
elsewhere.
"""

from mux_async.playback._hosts import MUX, Hosts
from mux_async.playback._ingest import IngestAddresses, LiveIngest, Region, ingest_addresses
from mux_async.playback._parameters import (
    AnimatedParams,
    AnyParams,
    ClipParams,
    Kind,
    NoParams,
    ParamsByKind,
    StoryboardParams,
    ThumbnailParams,
    VideoParams,
)
from mux_async.playback._urls import Access, Playable, Playback, PlaybackUrls, player_url, viewer_counts_url

__all__ = [
    "MUX",
    "Access",
    "AnimatedParams",
    "AnyParams",
    "ClipParams",
    "Hosts",
    "IngestAddresses",
    "Kind",
    "LiveIngest",
    "NoParams",
    "ParamsByKind",
    "Playable",
    "Playback",
    "PlaybackUrls",
    "Region",
    "StoryboardParams",
    "ThumbnailParams",
    "VideoParams",
    "ingest_addresses",
    "player_url",
    "viewer_counts_url",
]
