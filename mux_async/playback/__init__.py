"""Addresses of streams, pictures, text, files and licences, with everything checked before it is asked for.

Values of the API have them as methods, ``asset.playback_ids[0].hls_url()`` and ``live_stream.ingest()``; `Playback` is for ids from
elsewhere.
"""

from typing import TYPE_CHECKING

from mux_async._lazy_exports import lazy_exports

if TYPE_CHECKING:
    from mux_async.playback._addresses import Access, Playback, player_url, viewer_counts_url
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
    from mux_async.playback._urls import Playable, PlaybackUrls

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

if not TYPE_CHECKING:  # a type checker would believe in every misspelt name
    # An asset brings `PlaybackUrls`, and most programs play nothing.
    __getattr__ = lazy_exports(
        __name__,
        {
            "_addresses": ["Access", "Playback", "player_url", "viewer_counts_url"],
            "_hosts": ["MUX", "Hosts"],
            "_ingest": ["IngestAddresses", "LiveIngest", "Region", "ingest_addresses"],
            "_parameters": [
                "AnimatedParams",
                "AnyParams",
                "ClipParams",
                "Kind",
                "NoParams",
                "ParamsByKind",
                "StoryboardParams",
                "ThumbnailParams",
                "VideoParams",
            ],
            "_urls": ["Playable", "PlaybackUrls"],
        },
    )
