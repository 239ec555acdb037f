"""One request to a playback host, after authorization: the asset it is for, and the parameters that count."""

from __future__ import annotations

import attrs

from mux_async.emulator.http._messages import Request
from mux_async.emulator.media._backend import MediaFile
from mux_async.emulator.media._probe import MediaInfo
from mux_async.emulator.playback._params import Params
from mux_async.emulator.state._state import Asset, Environment, PlaybackId, State


@attrs.frozen
class PlaybackRequest:
    """A request for a playback id that may be played.

    Attributes:
        request: The HTTP request.
        params: The parameters of the token, or of the URL if it has no token.
        state: The state that holds the asset.
        environment: The asset's environment.
        playback_id: The playback id in the URL.
        asset: The asset, or the asset that records the live stream.
        media: What is known of the asset's media.
        media_file: The asset's media file. ``None`` without a media backend: playlists then describe the asset, and images are plain.
    """

    request: Request
    params: Params
    state: State
    environment: Environment
    playback_id: PlaybackId
    asset: Asset
    media: MediaInfo
    media_file: MediaFile | None = None
