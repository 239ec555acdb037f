"""Asset settings in a manifest: parses cells, checks values, and converts them into the body of the create call.

The names and types of settings come from the generated `AssetOptions`. Three rules:

1. A value that Mux would refuse is refused here, with its name and what to write instead.
2. Everything that can be part of the create call is made part of it: a track that is added later is a POST of its own, and an account
   may make one POST a second.
3. Settings that this version does not know go under ``extra``, which is sent unchanged.
"""

from __future__ import annotations

import difflib
import functools
import json
import math
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, Union, cast, get_args, get_origin, get_type_hints

import attrs

from mux_async._models.model import Model
from mux_async.models.shared_video import AssetOptions, InputSettings

SettingProblem: TypeAlias = tuple[str, str]
"""Name of the setting, and what is wrong with it."""

_MAIN: Final = ("generated_subtitles", "start_time", "end_time")
"""Settings of the main media, the first of ``inputs`` in the create call, which a manifest names directly."""
_TRACKS: Final = "tracks"
"""Further inputs: subtitles, audio tracks, overlays."""

MAX_LENGTHS: Final = {"passthrough": 255, "title": 512, "creator_id": 128, "external_id": 128, "key": 128}
"""Characters; the key goes into ``meta.external_id``. facts/BEHAVIOUR.md, section 4.1."""

_SHORT: Final[Mapping[str, str]] = {
    "advanced_playback_policies": "policy",
    "directives": "id",
    "generated_subtitles": "language_code",
    "static_renditions": "resolution",
}
"""The member that a plain value sets: ``highest`` is short for ``{"resolution": "highest"}``."""

_RENAMED: Final[Mapping[str, str]] = {
    **dict.fromkeys(["captions", "input", "subtitles", "text_tracks"], _TRACKS),
    **dict.fromkeys(["downloads", "mp4", "renditions"], "static_renditions"),
    **dict.fromkeys(["playback_id", "playback_ids", "policies", "policy"], "playback_policies"),
    "quality": "video_quality",
    "resolution_tier": "max_resolution_tier",
    "shots": "generate_shots",
}
"""Other names of settings, and names of later requests, with the setting that replaces them in the create call."""

_OLDER: Final = (("playback_policy", "playback_policies"), ("encoding_tier", "video_quality"))
_SHORTEST_CLIP: Final = 0.5
"""Seconds. facts/BEHAVIOUR.md, section 4.1."""


@functools.cache
def setting_types() -> Mapping[str, Any]:
    """Return the settings that a manifest can have, with their types, without ``None``."""
    found = dict(_members(AssetOptions))
    del found["meta"], found["input"], found["inputs"]  # `meta` is given by its members, the inputs by these:
    inputs = _members(InputSettings)
    found |= {name: inputs[name] for name in _MAIN}
    found[_TRACKS] = list[InputSettings]
    return found


def suggest(name: str, known: Sequence[str]) -> str:
    """Return advice about an unknown name."""
    if name in _RENAMED:
        return f"write {_RENAMED[name]!r}, which is part of the create and costs no request of its own"
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"it takes {', '.join(known)}"


def read_cell(name: str, text: str) -> object:
    """Return the value of a CSV cell; raise a `ValueError` that says why it cannot be parsed.

    Lists are separated by semicolons, or written as JSON; settings with members are JSON; booleans are yes, no, true, false, 1 or 0.
    """
    kind = setting_types()[name]
    if kind is bool:
        word = text.strip().lower()
        if word not in {"true", "yes", "1", "false", "no", "0"}:
            raise ValueError(f"{text!r} is neither true nor false")
        return word in {"true", "yes", "1"}
    if kind is float:
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a number") from None
    if get_origin(kind) is list or _is_model(kind):
        if text.lstrip().startswith(("[", "{")):
            try:
                return json.loads(text)
            except (ValueError, RecursionError):
                raise ValueError(f"{text[:40]!r} is not JSON") from None
        return [part.strip() for part in text.split(";") if part.strip()]
    return text


def to_create_members(given: Mapping[str, object]) -> dict[str, object]:
    """Return the members of the create call for *given*: with short forms expanded, and tracks and subtitles as inputs."""
    folded: dict[str, object] = {}
    main: dict[str, object] = {}
    tracks: list[object] = []
    for name, value in given.items():
        written = _long(name, value)
        if name in _MAIN:
            main[name] = written
        elif name == _TRACKS:
            tracks = cast("list[object]", written)
        else:
            folded[name] = written
    if main or tracks:
        folded["inputs"] = [main, *tracks]
    return folded


def _long(name: str, value: object) -> object:
    if get_origin(setting_types().get(name)) is not list:
        return value
    values: list[object] = list(cast("list[object]", value)) if isinstance(value, list) else [value]
    short = _SHORT.get(name)
    return [{short: each} if short is not None and isinstance(each, str) else each for each in values]


def check(given: Mapping[str, object], *, is_clip: bool) -> Iterator[SettingProblem]:
    """Yield the problems for which Mux would refuse the settings of a line. *is_clip* if the item is a clip of another asset."""
    wrong = False
    for name, value in given.items():
        for where, what in _check(_long(name, value), setting_types()[name], name):
            wrong = True
            yield where.partition(".")[0].partition("[")[0], what if where == name else f"{where}: {what}"
    if not wrong:  # the next checks rely on the types
        yield from _check_together(given, is_clip=is_clip)


def _check(value: object, kind: Any, where: str) -> Iterator[SettingProblem]:
    name = where.rpartition(".")[2]
    if get_origin(kind) is list:
        if not isinstance(value, list):
            yield where, f"{_shown(value)} is not a list"
            return
        (inner,) = get_args(kind)
        for number, each in enumerate(cast("list[object]", value)):
            yield from _check(each, inner, f"{where}[{number}]")
    elif _is_model(kind):
        yield from _check_object(value, kind, where)
    elif kind is bool:
        if not isinstance(value, bool):
            yield where, f"{_shown(value)} is neither true nor false"
    elif kind is float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            yield where, f"{_shown(value)} is not a number of seconds"
    elif not isinstance(value, str):
        yield where, f"{_shown(value)} is not text"
    elif (values := _values(kind)) and value not in values:
        close = difflib.get_close_matches(value, values, n=1)
        yield where, f"{_shown(value)} is not one of {', '.join(values)}" + (f"; did you mean {close[0]!r}?" if close else "")
    elif len(value) > MAX_LENGTHS.get(name, len(value)):
        yield where, f"{value[:20]!r}... has {len(value)} characters; Mux keeps {MAX_LENGTHS[name]}"


def _check_object(value: object, kind: Any, where: str) -> Iterator[SettingProblem]:
    if not isinstance(value, dict):
        yield where, f"{_shown(value)} is not an object"
        return
    members = _members(kind)
    given = cast("dict[str, object]", value)
    for name, each in given.items():
        if name not in members:
            yield where, f"it has {name!r}; {suggest(name, list(members))}"
        else:
            yield from _check(each, members[name], f"{where}.{name}")
    for field in attrs.fields(kind):
        if field.default is attrs.NOTHING and field.name not in given:
            yield where, f"it needs {field.name!r}"


def _check_together(given: Mapping[str, object], *, is_clip: bool) -> Iterator[SettingProblem]:
    """Yield settings that exclude each other. Source: facts/BEHAVIOUR.md, sections 4.1 and 4.5."""
    for older, newer in _OLDER:
        if older in given and newer in given:
            yield older, f"{newer!r} is given too, which is its newer name: give one of them"
    if "static_renditions" in given and given.get("mp4_support", "none") != "none":
        yield "mp4_support", "Mux takes either it or 'static_renditions': remove this one, which is older"
    sizes = [cast("Mapping[str, str]", each)["resolution"] for each in _list("static_renditions", given)]
    if "highest" in sizes and set(sizes) - {"highest", "audio-only"}:
        yield "static_renditions", "'highest' can only be combined with 'audio-only': name the sizes, or only 'highest'"
    yield from _check_policies(given)
    yield from _check_inputs(given, is_clip=is_clip)


def _check_policies(given: Mapping[str, object]) -> Iterator[SettingProblem]:
    advanced = [cast("Mapping[str, str]", each) for each in _list("advanced_playback_policies", given)]
    for each in advanced:
        if "policy" not in each:
            yield "advanced_playback_policies", "each needs a 'policy'"
        elif (each["policy"] == "drm") != ("drm_configuration_id" in each):
            yield "advanced_playback_policies", "'drm' needs a 'drm_configuration_id', and other policies must not have one"
    for name in ("playback_policies", "playback_policy"):
        if "drm" in _list(name, given):
            example = '[{"policy": "drm", "drm_configuration_id": "..."}]'
            yield name, f"'drm' needs a DRM configuration: write it as 'advanced_playback_policies': {example}"
    if any(each.get("policy") == "drm" for each in advanced) and given.get("video_quality") == "basic":
        yield "video_quality", "DRM takes 'plus' or 'premium'"


def _check_inputs(given: Mapping[str, object], *, is_clip: bool) -> Iterator[SettingProblem]:
    for number, track in enumerate(cast("list[Mapping[str, object]]", _list(_TRACKS, given))):
        if not track.get("url"):
            yield _TRACKS, f"{_TRACKS}[{number}] needs a 'url': Mux fetches further inputs itself"
        if track.get("type") in {"text", "audio"} and not track.get("language_code"):
            yield _TRACKS, f"{_TRACKS}[{number}] needs a 'language_code', such as 'en': text and audio tracks have one"
    start, end = given.get("start_time"), given.get("end_time")
    for name in ("start_time", "end_time"):
        if name in given and not is_clip:
            yield name, "only a clip of another asset takes it, whose URL is like mux://assets/{id}"
    if end is not None and cast("float", end) - cast("float", start or 0.0) < _SHORTEST_CLIP:
        yield "end_time", f"a clip lasts at least {_SHORTEST_CLIP:g} s"


def _list(name: str, given: Mapping[str, object]) -> list[object]:
    return cast("list[object]", _long(name, given[name])) if name in given else []


@functools.cache
def _members(model: Any) -> Mapping[str, Any]:
    """Return the fields of a model by name, with their types, without ``None``."""
    hints = get_type_hints(model)
    return {field.name: _without_none(hints[field.name]) for field in attrs.fields(model) if field.name != "extra"}


def _without_none(kind: Any) -> Any:
    if get_origin(kind) not in {Union, types.UnionType}:
        return kind
    rest = tuple(each for each in get_args(kind) if each is not types.NoneType)
    return rest[0] if len(rest) == 1 else Union[rest]  # noqa: UP007 - built at run time


def _values(kind: Any) -> tuple[str, ...]:
    """Return the values of an open enum; empty for other types."""
    literal = next((each for each in get_args(kind) if get_origin(each) is Literal), None)
    return get_args(literal) if literal is not None else ()


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Model)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
