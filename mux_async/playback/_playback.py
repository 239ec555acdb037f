"""`Playback`, apart from `PlaybackUrls`, which is imported with every asset."""

from __future__ import annotations

import attrs

from mux_async.playback._urls import PlaybackUrls


@attrs.frozen
class Playback(PlaybackUrls):
    """A playback id that was not read from an API response: from your own database or from a request, for example.

    Attributes:
        id: The playback id; not the id of the asset or live stream.
        policy: ``public``, ``signed`` or ``drm``. With ``None`` the policy is unknown, and the URL has a token if one is given.
    """

    id: str
    policy: str | None = None
