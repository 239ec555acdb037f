"""Playback URLs as methods of a playback id (facts/BEHAVIOUR.md, sections 8.3, 8.4 and 9).

`PlaybackUrls` is a base class of `mux_async.models.PlaybackId`, so it is imported with every asset. `_url_builder` is imported when the
first URL is built.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from mux_async._tracebacks import hides_methods
from mux_async.errors import InvalidRequestError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from mux_async.playback._notebook import Shown
    from mux_async.playback._parameters import Kind
    from mux_async.playback._url_builder import (
        Access,
        AnimatedOptions,
        HlsOptions,
        StoryboardImageOptions,
        StoryboardOptions,
        ThumbnailOptions,
    )


class Playable(Protocol):
    """An object with a playback id and its policy."""

    @property
    def id(self) -> str:
        """The playback id."""
        ...

    @property
    def policy(self) -> str | None:
        """``public``, ``signed`` or ``drm``; ``None`` when unknown."""
        ...


@hides_methods
class PlaybackUrls:
    """Playback URLs. Each method returns a URL as text. A URL with a token in it grants what the token grants, so keep it out of logs.

    All methods take `Access` besides their own parameters. All raise `InvalidRequestError` when the URL would not work: a parameter
    is unknown or out of range; a signed id has neither ``token=`` nor ``signer=``, or a public one has either of them; a token is for
    another id or another use, or is given beside parameters that belong in it.
    """

    __slots__ = ()

    def hls_url(self: Playable, **options: Unpack[HlsOptions]) -> str:
        """Return the URL of the HLS playlist, which players open."""
        return _url(self, "stream", ".m3u8", "video", options)

    def thumbnail_url(
        self: Playable, extension: Literal["jpg", "jpeg", "png", "webp"] = "jpg", **options: Unpack[ThumbnailOptions]
    ) -> str:
        """Return the URL of a thumbnail image."""
        return _url(self, "image", f"/thumbnail.{_extension(extension, _THUMBNAILS)}", "thumbnail", options)

    def animated_url(self: Playable, extension: Literal["gif", "webp"] = "gif", **options: Unpack[AnimatedOptions]) -> str:
        """Return the URL of an animated image."""
        return _url(self, "image", f"/animated.{_extension(extension, _ANIMATED)}", "gif", options)

    def storyboard_url(self: Playable, extension: Literal["vtt", "json"] = "vtt", **options: Unpack[StoryboardOptions]) -> str:
        """Return the URL of a storyboard's tile list, for the hover previews of players. Live streams have no storyboard."""
        return _url(self, "image", f"/storyboard.{_extension(extension, _TILE_LISTS)}", "storyboard", options)

    def storyboard_image_url(
        self: Playable, extension: Literal["jpg", "png", "webp"] = "jpg", **options: Unpack[StoryboardImageOptions]
    ) -> str:
        """Return the URL of a storyboard's image. Live streams have no storyboard."""
        if "format" in options:
            raise InvalidRequestError("the extension says the format of a storyboard's image; leave format out")
        return _url(self, "image", f"/storyboard.{_extension(extension, _STORYBOARDS)}", "storyboard", options)

    def text_track_url(self: Playable, track_id: str, **access: Unpack[Access]) -> str:
        """Return the URL of subtitles or captions, as WebVTT. *track_id* is the id of one of the asset's text tracks."""
        return _url(self, "stream", f"/text/{_check_track(track_id)}.vtt", "video", access)

    def transcript_url(self: Playable, track_id: str, **access: Unpack[Access]) -> str:
        """Return the URL of a transcript, as plain text. Only text tracks that Mux generated have a transcript."""
        return _url(self, "stream", f"/text/{_check_track(track_id)}.txt", "video", access)

    def static_rendition_url(self: Playable, filename: str, *, download: str | None = None, **access: Unpack[Access]) -> str:
        """Return the URL of a static rendition: an MP4, or an M4A with audio only.

        Args:
            filename: Name of one of the asset's ``static_renditions.files``, such as ``720p.mp4``.
            download: File name under which browsers save the file instead of playing it. It stays in the query even beside a token,
                because tokens have no such parameter.
            **access: See `Access`.
        """
        if re.fullmatch(r"[\w-]{1,100}\.(mp4|m4a)", filename, re.ASCII) is None:
            raise InvalidRequestError(
                f"{filename!r:.80} is not the name of a static rendition; names look like '720p.mp4' or 'audio.m4a'"
            )
        query = {} if download is None else {"download": download}
        return _url(self, "stream", f"/{filename}", "video", access, query)

    def license_url(self: Playable, system: Literal["widevine", "fairplay", "playready"], **access: Unpack[Access]) -> str:
        """Return the URL to which a player posts its DRM licence request. Its token is of kind ``drm_license``."""
        if system not in {"widevine", "fairplay", "playready"}:
            raise InvalidRequestError(f"{system!r:.80} is not one of 'widevine', 'fairplay', 'playready'")
        return _url(self, f"license/{system}", "", "drm_license", access)

    def certificate_url(self: Playable, **access: Unpack[Access]) -> str:
        """Return the URL of the FairPlay certificate. Its token is of kind ``drm_license``."""
        return _url(self, "appcert/fairplay", "", "drm_license", access)

    def viewer_counts_url(self: Playable, **access: Unpack[Access]) -> str:
        """Return the URL of the number of viewers. It needs a token (of kind ``stats``) whatever the policy is."""
        from mux_async.playback._url_builder import build_url

        return build_url(self.id, "signed", "counts", "", "stats", access)


class AssetInNotebook:
    """Shows an asset in notebooks."""

    __slots__ = ()

    def _repr_html_(self: Shown) -> str:
        from mux_async.playback._notebook import asset_html  # only notebooks ask

        return asset_html(self)


_THUMBNAILS: Final = ("jpg", "jpeg", "png", "webp")
_ANIMATED: Final = ("gif", "webp")
_TILE_LISTS: Final = ("vtt", "json")
_STORYBOARDS: Final = ("jpg", "png", "webp")


def _extension(extension: str, known: tuple[str, ...]) -> str:
    if extension not in known:
        raise InvalidRequestError(f"the extension {extension!r:.80} does not exist here; use one of {', '.join(known)}")
    return extension


def _check_track(track_id: str) -> str:
    from mux_async.playback._url_builder import check_name

    return check_name(track_id, "track id")


def _url(
    playable: Playable,
    service: str,
    suffix: str,
    kind: Kind,
    options: Mapping[str, Any],
    query: Mapping[str, str] | None = None,
) -> str:
    from mux_async.playback._url_builder import build_url

    return build_url(playable.id, playable.policy, service, suffix, kind, options, query)
