"""Request bodies agree with the facts: what a schema forbids is refused, and what it allows is accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, cast

import attrs
import pytest

from mux_async.emulator import Emulator
from tests.emulator.harness import Account
from tests.generated import spec

Json = dict[str, Any]
Wrap: TypeAlias = Callable[[object], object]
Problems: TypeAlias = Callable[[str, object], list[str]]

SPEC = spec.document()
SCHEMAS = cast("Json", SPEC["components"]["schemas"])


def _whole(value: object) -> object:
    return value


@attrs.frozen
class Place:
    """Where the API takes a value of a schema.

    Attributes:
        verb: Of the request.
        path: With ``{asset}``, ``{stream}``, ``{audio}`` and ``{text}`` for ids.
        prefix: What the names of members begin with in messages.
        wrap: Makes the body of the value.
    """

    verb: str
    path: str
    prefix: str = ""
    wrap: Wrap = _whole


ASSET, STREAM = "/video/v1/assets/{asset}", "/video/v1/live-streams/{stream}"
FILM = "https://example.com/film.mp4"
PLACES: dict[str, Place] = {
    "AnnotationInput": Place("POST", "/data/v1/annotations"),
    "AssetMetadata": Place("PATCH", ASSET, "meta.", lambda value: {"meta": value}),
    "AssetOptions": Place("POST", "/video/v1/uploads", "new_asset_settings.", lambda value: {"new_asset_settings": value}),
    "CreateAssetRequest": Place("POST", "/video/v1/assets"),
    "CreateLiveStreamRequest": Place("POST", "/video/v1/live-streams"),
    "CreatePlaybackIdRequest": Place("POST", f"{ASSET}/playback-ids"),
    "CreateSimulcastTargetRequest": Place("POST", f"{STREAM}/simulcast-targets"),
    "CreateStaticRenditionRequest": Place("POST", f"{ASSET}/static-renditions"),
    "CreateTrackRequest": Place("POST", f"{ASSET}/tracks"),
    "CreateUploadRequest": Place("POST", "/video/v1/uploads"),
    "GenerateTrackSubtitlesRequest": Place("POST", f"{ASSET}/tracks/{{audio}}/generate-subtitles"),
    "InputSettings": Place("POST", "/video/v1/assets", "inputs[0].", lambda value: {"inputs": [value]}),
    "UpdateAssetMasterAccessRequest": Place("PUT", f"{ASSET}/master-access"),
    "UpdateAssetMp4SupportRequest": Place("PUT", f"{ASSET}/mp4-support"),
    "UpdateAssetRequest": Place("PATCH", ASSET),
    "UpdateLiveStreamEmbeddedSubtitlesRequest": Place("PUT", f"{STREAM}/embedded-subtitles"),
    "UpdateLiveStreamGeneratedSubtitlesRequest": Place("PUT", f"{STREAM}/generated-subtitles"),
    "UpdateLiveStreamNewAssetSettingsStaticRenditionsRequest": Place("PUT", f"{STREAM}/new-asset-settings/static-renditions"),
    "UpdateLiveStreamRequest": Place("PATCH", STREAM),
    "UpdateTrackRequest": Place("PATCH", f"{ASSET}/tracks/{{text}}"),
}
NOT_REQUIRED_ON_THE_WIRE = {
    "cors_origin",  # a create without it was recorded: facts/BEHAVIOUR.md, section 5.1
    "inputs",  # the deprecated `input` takes its place, and the handler says so
}


ACCOUNT = Account()
BASES: dict[str, Json] = {"CreateAssetRequest": {"inputs": [{"url": FILM}]}, "InputSettings": {"url": FILM}}
"""What a body has besides the member of a test, where that is more than the schema requires."""
_CLIP = {"url": f"mux://assets/{ACCOUNT.ready_asset()['id']}"}
_DRM = ACCOUNT.data("GET", "/video/v1/drm-configurations")[0]["id"]
ACCEPTED: dict[tuple[str, str], Json] = {
    ("CreateAssetRequest", "inputs"): BASES["CreateAssetRequest"],
    ("CreateAssetRequest", "input"): {"input": [{"url": FILM}]},
    ("CreatePlaybackIdRequest", "drm_configuration_id"): {"policy": "drm", "drm_configuration_id": _DRM},
    ("InputSettings", "url"): {"url": FILM},
    ("InputSettings", "start_time"): {**_CLIP, "start_time": 1},
    ("InputSettings", "end_time"): {**_CLIP, "end_time": 1},
}
"""Bodies with a member that is only accepted with another one, or as more than the schema requires."""


@pytest.fixture
def problems() -> Problems:
    """Send a value of a schema to where the API takes it, about objects of the test's own; return what is wrong with it."""
    asset = ACCOUNT.ready_asset(inputs=[{"url": FILM}, {"url": f"{FILM}.vtt", "type": "text", "language_code": "en"}])
    ids = {track["type"]: track["id"] for track in asset["tracks"]}
    ids |= {"asset": asset["id"], "stream": ACCOUNT.data("POST", "/video/v1/live-streams", {})["id"]}

    def send(name: str, value: object) -> list[str]:
        place = PLACES[name]
        response = ACCOUNT.send(place.verb, place.path.format_map(ids), place.wrap(value))
        if response.status < 300:
            return []
        assert response.status == 400, response.body
        messages: list[str] = response.json()["error"]["messages"]
        return messages

    return send


def _resolved(schema: Json) -> Json:
    while "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rsplit("/", 1)[-1]]
    return schema


def _good(schema: Json, name: str = "") -> object:
    """Something the schema allows in a member of that *name*."""
    schema = _resolved(schema)
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema["type"]
    if kind == "object":
        return {name: _good(schema["properties"][name], name) for name in schema.get("required", ())}
    if kind == "array":
        return [_good(schema["items"])]
    if kind == "string" and name.endswith("url"):
        return "https://example.com/x"
    return {"string": "x", "boolean": True}.get(kind, schema.get("minimum", 1))


def _base(name: str) -> Json:
    return {**cast("Json", _good(SCHEMAS[name])), **BASES.get(name, {})}


def _bad(schema: Json) -> Iterator[object]:
    """Things the schema forbids."""
    schema = _resolved(schema)
    if "enum" in schema:
        yield "no such value"
        return
    kind = schema["type"]
    yield {"string": 5, "boolean": "yes", "object": 5, "array": 5}.get(kind, "five")
    if "maxLength" in schema:
        yield "x" * (schema["maxLength"] + 1)
    if "minimum" in schema:
        yield schema["minimum"] - 1
    if "maximum" in schema:
        yield schema["maximum"] + 1
    if kind == "integer":
        yield 60.5
    if kind == "array":
        for element in _bad(schema["items"]):
            yield [element]
    if kind == "object":
        for name, member in schema.get("properties", {}).items():
            for value in _bad(member):
                yield {**cast("Json", _good(schema)), name: value}


def _members() -> Iterator[tuple[str, str]]:
    for name in PLACES:
        for member in SCHEMAS[name]["properties"]:
            yield name, member


def test_served() -> None:
    """The API operations that are answered are those that Mux has: all of them, and no other."""
    described = {
        (method.upper(), path)
        for path, item in SPEC["paths"].items()
        for method, raw in item.items()
        if method != "parameters" and raw["x-host"] == "https://api.mux.com"
    }

    assert Emulator().served == described


@pytest.mark.parametrize(("name", "member"), list(_members()))
def test_member(problems: Problems, name: str, member: str) -> None:
    """Of every member that a schema has, a good value is accepted, and each bad one is reported under the member's name."""
    schema = SCHEMAS[name]["properties"][member]
    base = _base(name)

    assert problems(name, ACCEPTED.get((name, member), {**base, member: _good(schema, member)})) == []
    for value in _bad(schema):
        if _is_shortcut(member, value):
            continue
        found = problems(name, {**base, member: value})
        assert found, (member, value)
        assert all(problem.startswith(PLACES[name].prefix + member) for problem in found), found


def _is_shortcut(member: str, value: object) -> bool:
    """A bare URL where the schema wants a list of inputs is taken by Mux (facts/BEHAVIOUR.md, section 4.1)."""
    if member not in {"inputs", "input"} or not isinstance(value, list):
        return False
    return all(isinstance(entry, str) for entry in cast("list[object]", value))


@pytest.mark.parametrize("name", PLACES)
def test_required(problems: Problems, name: str) -> None:
    """What the schema requires is required, but for what was seen to be left out; a null counts as left out."""
    required = set(SCHEMAS[name].get("required", ())) - NOT_REQUIRED_ON_THE_WIRE
    base = _base(name)

    for member in required:
        without = {key: value for key, value in base.items() if key != member}
        expected = [f"{PLACES[name].prefix}{member} is required"]
        assert problems(name, without) == problems(name, {**base, member: None}) == expected
