"""URLs of streams, images, text tracks, static renditions and DRM licences, checked before anything is requested.

Models have them as methods: ``asset.playback_ids[0].hls_url()`` and ``live_stream.ingest()``. `Playback` is for playback ids from
elsewhere.
"""

from typing import TYPE_CHECKING

from mux_async._lazy_exports import lazy_exports

if TYPE_CHECKING:
    from mux_async.playback._hosts import MUX, Hosts
    from mux_async.playback._live_ingest import IngestAddresses, LiveIngest, Region, ingest_addresses
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
    from mux_async.playback._playback import Playback
    from mux_async.playback._url_builder import Access, TokenSigner, player_url, viewer_counts_url
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
    "TokenSigner",
    "VideoParams",
    "ingest_addresses",
    "player_url",
    "viewer_counts_url",
]

if not TYPE_CHECKING:  # a type checker would accept every misspelt name
    # Every asset imports `PlaybackUrls`, and most programs build no URL.
    __getattr__ = lazy_exports(
        __name__,
        {
            "_hosts": ["MUX", "Hosts"],
            "_live_ingest": ["IngestAddresses", "LiveIngest", "Region", "ingest_addresses"],
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
            "_url_builder": ["Access", "TokenSigner", "player_url", "viewer_counts_url"],
            "_playback": ["Playback"],
            "_urls": ["Playable", "PlaybackUrls"],
        },
    )
