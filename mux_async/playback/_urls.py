"""Addresses of what a playback id plays, as methods (facts/BEHAVIOUR.md, sections 8.3, 8.4 and 9).

`PlaybackUrls` is what `mux_async.models.PlaybackId` is built on, so it is imported with every asset; how an address is made is in
`_addresses`, imported with the first one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from mux_async._tracebacks import hides_methods
from mux_async.errors import InvalidRequestError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from mux_async.playback._addresses import (
        Access,
        AnimatedOptions,
        HlsOptions,
        StoryboardImageOptions,
        StoryboardOptions,
        ThumbnailOptions,
    )
    from mux_async.playback._parameters import Kind


class Playable(Protocol):
    """Anything with a playback id's two facts."""

    @property
    def id(self) -> str:
        """The playback id."""
        ...

    @property
    def policy(self) -> str | None:
        """``public``, ``signed``, ``drm``; ``None`` when not known."""
        ...


@hides_methods
class PlaybackUrls:
    """Addresses. Each method returns a URL as text; one with a token in it is as good as the token, so keep it out of logs.

    All methods take `Access` besides their own parameters. All raise `InvalidRequestError` when the address would not work: a parameter
    is unknown or out of range; a signed id is given neither ``token=`` nor ``signer=``, or a public one either of them; a token is for
    another id or another use, or stands beside parameters that belong into it.
    """

    __slots__ = ()

    def hls_url(self: Playable, **options: Unpack[HlsOptions]) -> str:
        """Return the address of the HLS playlist: what players open."""
        return _url(self, "stream", ".m3u8", "video", options)

    def thumbnail_url(
        self: Playable, extension: Literal["jpg", "jpeg", "png", "webp"] = "jpg", **options: Unpack[ThumbnailOptions]
    ) -> str:
        """Return the address of a still picture."""
        return _url(self, "image", f"/thumbnail.{_extension(extension, _STILL)}", "thumbnail", options)

    def animated_url(self: Playable, extension: Literal["gif", "webp"] = "gif", **options: Unpack[AnimatedOptions]) -> str:
        """Return the address of a moving picture."""
        return _url(self, "image", f"/animated.{_extension(extension, _ANIMATED)}", "gif", options)

    def storyboard_url(self: Playable, extension: Literal["vtt", "json"] = "vtt", **options: Unpack[StoryboardOptions]) -> str:
        """Return the address of the list of a storyboard's tiles, for players' hover previews. Live streams have none."""
        return _url(self, "image", f"/storyboard.{_extension(extension, _LISTS)}", "storyboard", options)

    def storyboard_image_url(
        self: Playable, extension: Literal["jpg", "png", "webp"] = "jpg", **options: Unpack[StoryboardImageOptions]
    ) -> str:
        """Return the address of a storyboard's picture. Live streams have none."""
        if "format" in options:
            raise InvalidRequestError("a storyboard's picture is of the format that its extension says; leave format out")
        return _url(self, "image", f"/storyboard.{_extension(extension, _BOARDS)}", "storyboard", options)

    def text_track_url(self: Playable, track_id: str, **access: Unpack[Access]) -> str:
        """Return the address of subtitles or captions, as WebVTT. *track_id* is that of one of the asset's text tracks."""
        return _url(self, "stream", f"/text/{check_name(track_id, 'track id')}.vtt", "video", access)

    def transcript_url(self: Playable, track_id: str, **access: Unpack[Access]) -> str:
        """Return the address of a transcript, as plain text. Only tracks that Mux generated have one."""
        return _url(self, "stream", f"/text/{check_name(track_id, 'track id')}.txt", "video", access)

    def static_rendition_url(self: Playable, filename: str, *, download: str | None = None, **access: Unpack[Access]) -> str:
        """Return the address of a file: an MP4, or an M4A with the sound alone.

        Args:
            filename: Name of one of the asset's ``static_renditions.files``, such as ``720p.mp4``.
            download: Name under which browsers are to save the file instead of playing it. It stays in the query even beside a token: it is
                none of the parameters that tokens have.
            **access: See `Access`.
        """
        if re.fullmatch(r"[\w-]{1,100}\.(mp4|m4a)", filename, re.ASCII) is None:
            raise InvalidRequestError(
                f"{filename!r:.80} is no file of an asset; they are called like '720p.mp4' or 'audio.m4a'"
            )
        query = {} if download is None else {"download": download}
        return _url(self, "stream", f"/{filename}", "video", access, query)

    def license_url(self: Playable, system: Literal["widevine", "fairplay", "playready"], **access: Unpack[Access]) -> str:
        """Return the address that a player posts its DRM licence request to. Its token is of kind ``drm_license``."""
        if system not in {"widevine", "fairplay", "playready"}:
            raise InvalidRequestError(f"{system!r:.80} is none of 'widevine', 'fairplay', 'playready'")
        return _url(self, f"license/{system}", "", "drm_license", access)

    def certificate_url(self: Playable, **access: Unpack[Access]) -> str:
        """Return the address of the FairPlay certificate. Its token is of kind ``drm_license``."""
        return _url(self, "appcert/fairplay", "", "drm_license", access)

    def viewer_counts_url(self: Playable, **access: Unpack[Access]) -> str:
        """Return the address of how many are watching. It takes a token (of kind ``stats``) whatever the policy."""
        from mux_async.playback._addresses import Playback

        return _url(Playback(self.id, "signed"), "counts", "", "stats", access)


_STILL: Final = ("jpg", "jpeg", "png", "webp")
_ANIMATED: Final = ("gif", "webp")
_LISTS: Final = ("vtt", "json")
_BOARDS: Final = ("jpg", "png", "webp")


def _extension(extension: str, known: tuple[str, ...]) -> str:
    if extension not in known:
        raise InvalidRequestError(f"there is no {extension!r:.80} of this; there are {', '.join(known)}")
    return extension


def check_name(value: str, what: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_-]{1,200}", value) is None:
        raise InvalidRequestError(
            f"the {what} {value!r:.80} is empty or holds more than letters and digits; is it a whole URL?"
        )
    return value


def _url(
    playable: Playable, place: str, ending: str, kind: Kind, options: Mapping[str, Any], query: Mapping[str, str] | None = None
) -> str:
    from mux_async.playback._addresses import address

    return address(playable, place, ending, kind, options, query)
