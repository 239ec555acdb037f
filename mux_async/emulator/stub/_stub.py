"""The stub: a response without state to every request that fits the API description.

The response repeats what the request gives where it fits: the id in the path, and the members of the body. Everything else is generated
from the seed and the path, so that the same request has the same response in every run. A list has one page with one element, so that a
client that reads all pages ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import parse_qsl

import orjson

from mux_async.emulator.http._messages import Request, Response, invalid, json_response, not_found, text
from mux_async.emulator.playback import _placeholder_images
from mux_async.emulator.playback._files import EMPTY_MP4
from mux_async.emulator.state._upload_sessions import ContentRange, SessionError
from mux_async.emulator.stub._examples import Examples
from mux_async.emulator.validation._spec import JsonSchema, Operation, Spec, load
from mux_async.emulator.validation._validation import Validator

_PLAYLIST = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:5\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-ENDLIST\n"
_CAPTIONS = "WEBVTT\n\n00:00:00.000 --> 00:00:05.000\nNothing is known.\n"


class Stub:
    """Answers requests from the description alone. Ids depend on the seed."""

    def __init__(self, seed: int | str) -> None:
        self._spec: Spec = load()
        self._validator = Validator(self._spec.schemas)
        self._seed = seed

    def answer(self, request: Request, body: bytes) -> Response:
        """Answer a request to the API, to playback or to images.

        Raises:
            ApiError: 400, with the field named, when the request does not fit the description; 404 when there is no such operation.
        """
        found = self._spec.find(request.method, request.raw_path)
        if found is None:
            raise not_found()
        operation, params = found
        pairs = parse_qsl(request.target.partition("?")[2], keep_blank_values=True)
        problems = self._path_problems(operation, params)
        problems += self._validator.query_problems(operation, pairs)
        given: dict[str, Any] = {}
        if operation.body is not None:
            given = self._read_body(body, operation.body, problems)
        if problems:
            raise invalid(*problems)
        if operation.type is None:
            return Response(operation.status)
        if operation.host != "api":
            return _medium(request, operation, params)
        return json_response(operation.status, self._made(request, operation, params, given, dict(pairs)))

    def _path_problems(self, operation: Operation, params: Mapping[str, str]) -> list[str]:
        problems: list[str] = []
        for parameter in operation.of("path"):
            # FILENAME lists fewer files than there are: facts/README.md, Oddities.
            if parameter.name != "FILENAME":
                problems += self._validator.problems(params[parameter.name], parameter.schema, parameter.name)
        return problems

    def _read_body(self, body: bytes, schema: JsonSchema, problems: list[str]) -> dict[str, Any]:
        try:
            value: object = orjson.loads(body) if body else {}
        except ValueError:
            problems.append("The request body is not valid JSON")
            return {}
        problems += self._validator.problems(value, schema, "")
        return cast("dict[str, Any]", value) if isinstance(value, dict) else {}

    def _made(
        self,
        request: Request,
        operation: Operation,
        params: Mapping[str, str],
        given: Mapping[str, Any],
        query: Mapping[str, str],
    ) -> Any:
        examples = Examples(self._spec, f"{self._seed}/{operation.id}/{request.raw_path}")
        answer = examples.make(operation.answer)
        if not isinstance(answer, dict):
            return answer
        envelope = cast("dict[str, Any]", answer)
        data = envelope.get("data")
        members = self._spec.resolve(operation.answer).get("properties", {}).get("data", {})
        if isinstance(data, dict):
            made = cast("dict[str, Any]", data)
            self._echo(made, members, params, given)
            if operation.id == "video.uploads.create":
                made["url"] = f"{request.origin}/_upload/{made['id']}"
        elif isinstance(data, list):
            _end_list(envelope, query)
        return envelope

    def _echo(self, data: dict[str, Any], schema: JsonSchema, params: Mapping[str, str], given: Mapping[str, Any]) -> None:
        """Repeat members of the request in the object, where they fit."""
        name: str = schema.get("$ref", "")
        members: Mapping[str, JsonSchema] = self._spec.resolve(schema).get("properties", {})
        known = dict(given)
        for parameter, value in params.items():
            known[parameter.lower()] = value
            if name.endswith((_camel(parameter.removesuffix("_ID")), _camel(parameter))):
                known["id"] = value
        data.update(
            {key: value for key, value in known.items() if key in members and self._validator.fits(value, members[key])}
        )


def _camel(parameter: str) -> str:
    return "".join(word.capitalize() for word in parameter.split("_"))


def _end_list(envelope: dict[str, Any], query: Mapping[str, str]) -> None:
    """End a list after its first page."""
    if query.get("page", "1") not in {"", "1"} or query.get("cursor"):
        envelope["data"] = []
    if "next_cursor" in envelope:
        envelope["next_cursor"] = None


def _medium(request: Request, operation: Operation, params: Mapping[str, str]) -> Response:
    headers = {"Access-Control-Allow-Origin": "*"}
    extension = params.get("EXTENSION") or request.raw_path.rpartition(".")[2]
    kind = operation.type or ""
    content: bytes | str
    match extension:
        case "m3u8":
            content = _PLAYLIST
        case "vtt":
            content = _CAPTIONS
        case "txt":
            content = "Nothing is known.\n"
        case "json":
            url = f"{request.origin}/{params['PLAYBACK_ID']}/storyboard.jpg"
            shape = {"tile_width": 256, "tile_height": 160, "duration": 5.0, "tiles": [{"start": 0, "x": 0, "y": 0}]}
            return json_response(200, {"url": url, **shape}).with_headers(headers)
        case "png" | "jpg" | "webp" | "gif":
            kind, content = _placeholder_images.TYPES[extension], _placeholder_images.picture(extension, 16, 9)
        case _:
            kind, content = "audio/mp4" if extension == "m4a" else "video/mp4", EMPTY_MP4
    return text(operation.status, content, kind).with_headers(headers)


class StubStorage:
    """One request at an upload URL: whole files are accepted, pieces are acknowledged, and nothing is stored."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def feed(self, data: bytes) -> None:
        """Ignore bytes of the body."""

    def finish(self) -> Response:
        """Respond as if all of the body were stored."""
        headers = self._request.headers
        allowed = {"Access-Control-Allow-Origin": headers.get("Origin", "*"), "Access-Control-Expose-Headers": "Range"}
        return self._answer(headers.get("Content-Range")).with_headers(allowed)

    def _answer(self, header: str | None) -> Response:
        if self._request.method == "OPTIONS":
            asked = self._request.headers.get("Access-Control-Request-Headers", "Content-Range, Content-Type")
            preflight = {"Access-Control-Allow-Methods": "PUT, POST, PATCH, DELETE", "Access-Control-Allow-Headers": asked}
            return text(200, "").with_headers(preflight)
        if self._request.method == "DELETE":
            return text(499, "")
        if self._request.method not in {"PUT", "POST", "PATCH"}:
            return text(405, "An upload URL takes PUT")
        try:
            given = None if header is None else ContentRange.parse(header)
        except SessionError as error:
            return text(error.status, error.message)
        if given is None or (given.last is not None and given.total == given.last + 1):
            return text(200, "")
        return Response(308, {} if given.last is None else {"Range": f"bytes=0-{given.last}"})

    def cut(self) -> None:
        """Do nothing, because nothing was stored."""
