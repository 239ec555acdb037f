"""Requests to the stream and image hosts, and their parameters, from the URL or from the claims of a token.

For a signed playback id the claims of the token count and parameters in the URL do not; for a public one the URL counts
(facts/BEHAVIOUR.md, section 8.2). Names, defaults and bounds are those of sections 9.2 and 9.3. This module parses and validates; it does
not use media.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from mux_async.emulator.http._messages import Request, invalid
from mux_async.emulator.media._backend import LivePart, MediaFile, Still
from mux_async.emulator.media._probe import MediaInfo
from mux_async.emulator.state._state import Asset, Environment, PlaybackId, State
from mux_async.emulator.validation._validation import whole_parameter

Params = Mapping[str, str]
"""Parameters by name, as text, from wherever they count."""

_REGISTERED = frozenset({"aud", "custom", "exp", "iat", "iss", "jti", "kid", "nbf", "playback_restriction_id", "sub"})
_FIT_MODES = ("preserve", "stretch", "crop", "smartcrop", "pad")
_RESOLUTIONS = ("270p", "360p", "480p", "540p", "720p", "1080p", "1440p", "2160p")
MAX_SECONDS = 12 * 3600.0
"""No medium is longer."""
_MAX_EPOCH = 1e11
MAX_SIDE = 4096
"""Pixels of the longer side of a thumbnail. Mux's own bound is not documented."""


@attrs.frozen
class PlaybackRequest:
    """A request for a playback id that may be played.

    *params* are those of the token, or of the URL if it has no token. *asset* may be the one that records the live stream. Without a media
    backend, *media_file* is ``None``: playlists then describe the asset, and images are plain.
    """

    request: Request
    params: Params
    state: State
    environment: Environment
    playback_id: PlaybackId
    asset: Asset
    media: MediaInfo
    media_file: MediaFile | None = None
    live_parts: tuple[LivePart, ...] = ()
    """What encoders pushed, if *asset* is the recording of that."""


def from_claims(claims: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters that a token carries: texts as they are, numbers and booleans as a URL would have them."""
    found: dict[str, str] = {}
    for name, value in claims.items():
        if name in _REGISTERED:
            continue
        if isinstance(value, bool):
            found[name] = "true" if value else "false"
        elif isinstance(value, int | float):
            found[name] = str(int(value)) if float(value).is_integer() else str(value)
        elif isinstance(value, str):
            found[name] = value
    return found


def seconds(params: Params, name: str, default: float | None = None, most: float = MAX_SECONDS) -> float | None:
    """Read a parameter that is a number of seconds, from 0 to *most*. Raises `ApiError` (400) otherwise."""
    given = params.get(name)
    if not given:
        return default
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= most:
        raise invalid(f"{name} must be a number of seconds")
    return value


def is_on(params: Params, name: str) -> bool:
    """Read a parameter that is true or false, and false when it is not there. Raises `ApiError` (400) otherwise."""
    given = params.get(name) or "false"
    if given not in {"true", "false"}:
        raise invalid(f"{name} must be true or false")
    return given == "true"


def thumbnail(playback: PlaybackRequest, extension: str) -> Still:
    """Read a thumbnail's parameters. Raises `ApiError` (400): a parameter makes no sense, alone or with the others."""
    params, media, asset = playback.params, playback.media, playback.asset
    if is_on(params, "latest") and not asset.is_live:
        raise invalid("latest is for live streams that are active")
    default = media.duration / 2 if asset.thumbnail_time is None else asset.thumbnail_time
    default = media.duration if is_on(params, "latest") else default
    time = seconds(params, "time", default) or 0.0
    seconds(params, "program_time", most=_MAX_EPOCH)
    fit_mode = params.get("fit_mode") or "preserve"
    if fit_mode not in _FIT_MODES:
        raise invalid(f"fit_mode must be one of {', '.join(_FIT_MODES)}")
    rotate = whole_parameter(params, "rotate", 0, minimum=0)
    if rotate not in {0, 90, 180, 270}:
        raise invalid("rotate must be 90, 180 or 270")
    turned = (media.height, media.width) if rotate in {90, 270} else (media.width, media.height)
    asked = whole_parameter(params, "width", 0, minimum=0), whole_parameter(params, "height", 0, minimum=0)
    if max(asked) > MAX_SIDE:
        raise invalid(f"width and height must be at most {MAX_SIDE}")
    if fit_mode != "preserve" and not all(asked):
        raise invalid(f"fit_mode {fit_mode} needs both width and height")
    width, height = asked if fit_mode != "preserve" else fitted(*asked, *turned, MAX_SIDE)
    flips = is_on(params, "flip_h"), is_on(params, "flip_v")
    return Still(extension, min(time, media.duration), width, height, fit_mode, rotate, *flips)


def fitted(width: int, height: int, whole_width: int, whole_height: int, most: int) -> tuple[int, int]:
    """Return the largest size with the aspect ratio of the source within *width* x *height*; no side has more than *most* pixels.

    A *width* or *height* of 0 is not given; the source's own size is the default.
    """
    scales = [asked / whole for asked, whole in ((width, whole_width), (height, whole_height)) if asked]
    scale = min(min(scales, default=1.0), most / max(whole_width, whole_height))
    return max(1, round(whole_width * scale)), max(1, round(whole_height * scale))


def pick_rungs(rungs: Sequence[int], params: Params) -> list[int]:
    """Choose among the sizes of a ladder (pixels of the smaller side, smallest first; 0 is audio only), in the order of the playlist.

    ``max_resolution``, ``min_resolution`` and ``rendition_order`` count. A size that is not there falls to the next lower one; at least one
    rung stays. The middle one is first unless ``rendition_order=desc``; with ``redundant_streams=true`` all are there twice.
    """
    most, least = _resolution(params, "max_resolution"), _resolution(params, "min_resolution")
    if most is not None and least is not None and least > most:
        raise invalid("min_resolution must not be above max_resolution")
    kept = [rung for rung in rungs if most is None or rung <= most] or [rungs[0]]
    if least is not None:
        floor = max((rung for rung in kept if rung <= least), default=kept[0])
        kept = [rung for rung in kept if rung >= floor]
    order = params.get("rendition_order")
    if order == "desc":
        kept.reverse()
    elif order:
        raise invalid("rendition_order must be desc")
    else:
        middle = kept[len(kept) // 2]
        kept = [middle, *(rung for rung in kept if rung != middle)]
    return [*kept, *kept] if is_on(params, "redundant_streams") else kept


def _resolution(params: Params, name: str) -> int | None:
    given = params.get(name)
    if not given:
        return None
    if given not in _RESOLUTIONS:
        raise invalid(f"{name} must be one of {', '.join(_RESOLUTIONS)}")
    return int(given[:-1])


def window(params: Params, duration: float, began_at: float | None = None) -> tuple[float, float]:
    """Return the requested stretch of a medium, in seconds of the medium; all of it if none is requested. Raises `ApiError` (400).

    Args:
        params: ``asset_start_time`` and ``asset_end_time`` in seconds of the medium; ``program_start_time`` and ``program_end_time`` in
            epoch seconds, for recordings of live streams.
        duration: Seconds of the whole medium.
        began_at: Epoch seconds of its first frame; ``None`` if it is no recording.
    """
    start, end = seconds(params, "asset_start_time", 0.0), seconds(params, "asset_end_time", duration)
    for name in ("program_start_time", "program_end_time"):
        moment = seconds(params, name, most=_MAX_EPOCH)
        if moment is None:
            continue
        if began_at is None:
            raise invalid(f"{name} is for recordings of live streams")
        if name == "program_start_time":
            start = max(0.0, moment - began_at)
        else:
            end = moment - began_at
    start, end = start or 0.0, min(duration if end is None else end, duration)
    if not start < end:
        raise invalid("the stretch that was asked for begins after its end, or after that of the asset")
    return start, end


def default_language(params: Params, languages: Iterable[str]) -> str | None:
    """Return the language whose subtitles are shown unasked: ``default_subtitles_lang``, or the same without its region; else none."""
    wanted = (params.get("default_subtitles_lang") or "").lower()
    there = {language.lower(): language for language in languages}
    return there.get(wanted) or there.get(wanted.partition("-")[0])
