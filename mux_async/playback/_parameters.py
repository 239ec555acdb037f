"""Parameters of playback URLs: names, types and ranges for each kind of URL (facts/BEHAVIOUR.md, sections 9.2 and 9.3).

The same parameters go into the query of a public URL and into the claims of a signed URL's token, so one check serves both. Sizes are in
pixels. Times are seconds of the media; times of a live broadcast are a `datetime` or Unix seconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, Literal, TypeAlias, TypedDict, cast

from mux_async.errors import InvalidRequestError

Kind: TypeAlias = Literal["video", "thumbnail", "gif", "storyboard", "drm_license", "stats"]
"""The use of a playback token, named as in Mux's own clients."""

Resolution: TypeAlias = Literal["270p", "360p", "480p", "540p", "720p", "1080p", "1440p", "2160p"] | str
FitMode: TypeAlias = Literal["preserve", "stretch", "crop", "smartcrop", "pad"]
BroadcastTime: TypeAlias = datetime | int


class ClipParams(TypedDict, total=False):
    """A part of the media. Clips are cut at segment boundaries, so they may be longer than requested."""

    asset_start_time: float
    """Seconds of the asset, 0 or more."""
    asset_end_time: float
    """Seconds of the asset, after the start."""
    program_start_time: BroadcastTime
    """Time of the live broadcast."""
    program_end_time: BroadcastTime
    """Time of the live broadcast, after the start."""


class VideoParams(ClipParams, total=False):
    """Parameters of a stream."""

    max_resolution: Resolution
    """Omit larger renditions."""
    min_resolution: Resolution
    """Omit smaller renditions."""
    rendition_order: Literal["desc"]
    """``desc`` lists the highest quality first; by default a medium one is first."""
    redundant_streams: bool
    roku_trick_play: bool
    default_subtitles_lang: str
    """BCP 47 tag of the subtitles that players select by default."""
    exclude_pdt: bool
    """Whether date and time tags are omitted."""
    low_latency: bool
    """``False`` plays a low-latency stream with the usual latency."""


class ThumbnailParams(TypedDict, total=False):
    """Parameters of a thumbnail image."""

    time: float
    """Second of the media; default the asset's ``thumbnail_time``, else the middle."""
    program_time: BroadcastTime
    """Time of the live broadcast."""
    latest: bool
    """The newest frame of an active live stream; Mux answers 400 for anything else."""
    width: int
    height: int
    rotate: Literal[90, 180, 270]
    fit_mode: FitMode
    """Every mode except ``preserve`` needs both width and height."""
    flip_v: bool
    flip_h: bool


class AnimatedParams(TypedDict, total=False):
    """Parameters of an animated image."""

    start: float
    """Second of the media; default 0."""
    end: float
    """0.25 to 10 s after the start; default 5 s after it."""
    width: int
    """At most 640; default 320."""
    height: int
    """At most 640."""
    fps: int
    """At most 30; default 15."""


class StoryboardParams(ClipParams, total=False):
    """Parameters of a storyboard."""

    format: Literal["jpg", "png", "webp"]
    """Format of the image that ``.vtt`` and ``.json`` refer to; default ``jpg``."""


class NoParams(TypedDict, total=False):
    """DRM licences and viewer counts have no parameters."""


class ParamsByKind(TypedDict, total=False):
    """Parameters of several kinds."""

    video: VideoParams
    thumbnail: ThumbnailParams
    gif: AnimatedParams
    storyboard: StoryboardParams


AnyParams: TypeAlias = VideoParams | ThumbnailParams | AnimatedParams | StoryboardParams | NoParams | Mapping[str, object]
"""Parameters of any kind of playback URL; a mapping is sent as it is."""

_LARGEST: Final = 2**53 - 1
"""The upper bound where Mux documents none: most languages cannot represent larger integers exactly."""

Check: TypeAlias = Callable[[str, object], object]
"""Takes name and value; returns the value for the URL or token."""


def _number(name: str, value: object, low: float, high: float, unit: str) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        bound = f"from {low:g} to {high:g}" if high < _LARGEST else f"of at least {low:g}"
        raise InvalidRequestError(f"{name} is {value!r:.80}; it must be a number {bound} {unit}")
    return int(value) if value == int(value) else value


def _seconds(name: str, value: object) -> object:
    return _number(name, value, 0, _LARGEST, "seconds")


def _whole(high: float, unit: str = "pixels") -> Check:
    def check(name: str, value: object) -> object:
        if isinstance(value, float):
            raise InvalidRequestError(f"{name} is {value!r}; it must be a whole number")
        return _number(name, value, 1, high, unit)

    return check


def _time(name: str, value: object) -> object:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidRequestError(f"{name} is a datetime without a time zone; add one, as in datetime.now(UTC)")
        return int(value.timestamp())
    return _number(name, value, 0, _LARGEST, "Unix seconds (or a datetime)")


def _flag(name: str, value: object) -> object:
    if not isinstance(value, bool):
        raise InvalidRequestError(f"{name} is {value!r:.80}; it must be True or False")
    return value


def _one_of(*choices: object) -> Check:
    def check(name: str, value: object) -> object:
        if value not in choices or isinstance(value, bool):
            raise InvalidRequestError(f"{name} is {value!r:.80}; it must be one of {', '.join(map(repr, choices))}")
        return value

    return check


_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_RESOLUTION: Final = re.compile(r"[1-9][0-9]{2,3}p")


def _matching(pattern: re.Pattern[str], example: str) -> Check:
    def check(name: str, value: object) -> object:
        if not isinstance(value, str) or pattern.fullmatch(value) is None:
            raise InvalidRequestError(f"{name} is {value!r:.80}; it looks like {example!r}")
        return value

    return check


_CLIP: Final[Mapping[str, Check]] = {
    "asset_start_time": _seconds,
    "asset_end_time": _seconds,
    "program_start_time": _time,
    "program_end_time": _time,
}
_CHECKS: Final[Mapping[Kind, Mapping[str, Check]]] = {
    "video": {
        **_CLIP,
        "max_resolution": _matching(_RESOLUTION, "1080p"),
        "min_resolution": _matching(_RESOLUTION, "480p"),
        "rendition_order": _one_of("desc"),
        "redundant_streams": _flag,
        "roku_trick_play": _flag,
        "default_subtitles_lang": _matching(_LANGUAGE, "en-US"),
        "exclude_pdt": _flag,
        "low_latency": _flag,
    },
    "thumbnail": {
        "time": _seconds,
        "program_time": _time,
        "latest": _flag,
        "width": _whole(_LARGEST),
        "height": _whole(_LARGEST),
        "rotate": _one_of(90, 180, 270),
        "fit_mode": _one_of("preserve", "stretch", "crop", "smartcrop", "pad"),
        "flip_v": _flag,
        "flip_h": _flag,
    },
    "gif": {
        "start": _seconds,
        "end": _seconds,
        "width": _whole(640),
        "height": _whole(640),
        "fps": _whole(30, "frames per second"),
    },
    "storyboard": {**_CLIP, "format": _one_of("jpg", "png", "webp")},
    "drm_license": {},
    "stats": {},
}
KINDS: Final[tuple[Kind, ...]] = tuple(_CHECKS)
NAMES: Final[Mapping[Kind, frozenset[str]]] = {kind: frozenset(checks) for kind, checks in _CHECKS.items()}
"""Parameters of each kind."""


def check_parameters(kind: Kind, params: Mapping[str, object]) -> dict[str, object]:
    """Return *params* as they are written in a URL or token, in the given order: text, numbers, booleans; times as Unix seconds.

    Numbers and booleans may also be given as their text in a URL, as Mux's Node client does (``{"time": "2"}``); the text is kept.

    Raises:
        InvalidRequestError: A parameter does not exist, or its value is out of range.
    """
    checks = _CHECKS[kind]
    if not params:
        return {}
    checked: dict[str, object] = {}
    values: dict[str, object] = {}
    for name, value in params.items():
        check = checks.get(name)
        if check is None:
            known = ", ".join(checks) or "no parameters"
            raise InvalidRequestError(f"{name!r} is not a parameter of kind {kind!r}, which takes {known}")
        parsed = parse_text(value) if isinstance(value, str) else value
        if isinstance(value, str) and parsed is not value:
            check(name, parsed)
            checked[name] = value
        else:
            parsed = checked[name] = check(name, value)
        values[name] = parsed
    _check_combination(kind, values)
    return checked


def parse_text(text: str) -> object:
    """Return the number or boolean that *text* represents, else *text* itself."""
    if text in {"true", "false"}:
        return text == "true"
    if re.fullmatch(r"[0-9]{1,15}", text):
        return int(text)
    return float(text) if re.fullmatch(r"[0-9]{1,15}\.[0-9]{1,9}", text) else text


def _check_combination(kind: Kind, params: Mapping[str, object]) -> None:
    for clock in ("asset", "program"):
        start, end = params.get(f"{clock}_start_time"), params.get(f"{clock}_end_time")
        if start is not None and end is not None and cast("float", end) <= cast("float", start):
            raise InvalidRequestError(f"{clock}_end_time ({end}) is not after {clock}_start_time ({start})")
    if kind == "thumbnail":
        if params.get("fit_mode", "preserve") != "preserve" and not {"width", "height"} <= params.keys():
            raise InvalidRequestError(f"fit_mode {params['fit_mode']!r} needs both width and height")
        chosen = [name for name in ("time", "program_time", "latest") if params.get(name, False) is not False]
        if len(chosen) > 1:
            raise InvalidRequestError(f"{' and '.join(chosen)} select different frames; give one of them")
    elif kind == "gif" and "end" in params:
        length = cast("float", params["end"]) - cast("float", params.get("start", 0))
        if not 0.25 <= length <= 10:
            raise InvalidRequestError(f"start and end are {length:g} seconds apart; an animated image lasts from 0.25 to 10")
    elif kind == "video" and {"min_resolution", "max_resolution"} <= params.keys():
        low, high = (int(str(params[name])[:-1]) for name in ("min_resolution", "max_resolution"))
        if low > high:
            raise InvalidRequestError(f"min_resolution ({low}p) is above max_resolution ({high}p)")
