"""Damaged requests: good ones, recorded on the tour of the whole API, with random mistakes that depend on a seed.

What is damaged: members of bodies (left out, put in, of another type, nested, huge), bodies as bytes, path segments (ids of other objects,
escapes, dots, nothing), query parameters, verbs, and the headers that anything depends on. The ids of responses are put into later
requests, at the places where they belong, so that most requests are about objects that exist. The fuzzer does not measure coverage;
states that need a rare order of many good calls have tests of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from random import Random
from typing import Any, TypeAlias, cast
from urllib.parse import quote

import attrs
import orjson

from mux_async.emulator import Response
from tests.emulator import tour
from tests.emulator.harness import Account, basic, target_of

MAX_IDS = 30
_SLOW = re.compile(r"POST /(system|video)/v1/signing-keys.*")
"""Left out, because it generates an RSA key, which is slow, and takes no body."""

VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    2**31,
    2**63,
    10**30,
    1e308,
    "",
    " ",
    "x" * 300,
    "ä\u0000\u202e",
    "0",
    "-1",
    "1e999",
    "NaN",
    "null",
    "public",
    "signed",
    "drm",
    "text",
    "audio",
    "en",
    "auto",
    "480p",
    "highest",
    "standard",
    "mux://assets/",
    "http://[",
    "https://example.com/film.mp4",
    "https://gone.invalid/film.mp4",
    "javascript:alert(1)",
    [],
    {},
    [None],
    [[[[]]]],
    {"url": None},
    [{"url": "https://example.com/a.mp4"}] * 3,
    ["7:days"],
    {"": {"": []}},
)
SEGMENTS = (
    "",
    ".",
    "..",
    "%00",
    "%2F",
    "%2e%2e",
    "%ff",
    "x" * 300,
    "None",
    "ä",
    "*",
    "{ASSET_ID}",
    "0",
    "somefakeid",
    "a;b",
    "a%0d%0ab",
)
WORDS = (
    *("limit", "page", "cursor", "timeframe[]", "filters[]", "metric_filters[]"),
    *("order_by", "order_direction", "group_by", "measurement", "dimension", "value"),
    *("token", "time", "width", "height", "fit_mode", "rotate"),
    *("start", "end", "fps", "asset_start_time", "asset_end_time", "program_start_time"),
    *("max_resolution", "min_resolution", "rendition_order", "redundant_streams", "default_subtitles_lang", "format"),
    *("download", "upload_id", "live_stream_id", "status", "stream_key", "viewer_id"),
)
QUERY_VALUES = (
    *(
        "",
        "0",
        "1",
        "-1",
        "100",
        "1e400",
        "nan",
        "inf",
        "9" * 40,
        "1.5",
        "true",
        "desc",
        "7:days",
        "0:days",
        "-3:hours",
        "9999999:weeks",
    ),
    *(
        "country:US",
        "!country:US",
        "+video_cdn_trace:a",
        "video_cdn_trace:[a,b]",
        ":",
        "!:",
        "views>=1",
        "views>=",
        "a" * 500,
        "%00",
        "[]",
    ),
    *("270p", "2160p", "crop", "stretch", "90", "45", "webp", "id", "1767225600", "253402300800", "99999999999999", "۳", "²"),
)
RANGES = (
    "bytes 0-2/3",
    "bytes */*",
    "bytes */3",
    "bytes 3-2/3",
    "bytes 0-99999999999999999999/9",
    "bytes a-b/c",
    "items 0-1/2",
    "",
    "²",
)


MEMBERS = ("inputs", "url", "policy", "meta", "test", "passthrough", "timeout", "parameters", "x")
Holder: TypeAlias = "dict[object, object] | list[object]"


@attrs.frozen
class RecordedRequest:
    """One request."""

    method: str
    target: str
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])


class Recorder(Account):
    """An account that records its requests."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(**changes)
        self.requests: list[RecordedRequest] = []

    def send(self, method: str, target: str, body: object = None, **more: Any) -> Response:
        content = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        self.requests.append(RecordedRequest(method, target, content))
        return super().send(method, target, body, **more)

    def put(self, url: str, body: bytes = b"", content_range: str | None = None, **headers: str) -> Response:
        self.requests.append(
            RecordedRequest("PUT", target_of(url), body, {"Content-Range": content_range} if content_range else {})
        )
        return super().put(url, body, content_range, **headers)


def corpus() -> list[RecordedRequest]:
    """Good requests: those of the tour, and control calls."""
    account = Recorder(accept_robots_terms=True)
    asset = tour.everything(account)
    playback_id, stream = asset["playback_ids"][0]["id"], account.data("POST", "/video/v1/live-streams", {"test": True})["id"]
    upload = account.create_upload()
    account.put(upload["url"], b"x" * 10, "bytes 0-9/20")
    account.put(upload["url"], b"", "bytes */*")
    own: list[tuple[str, str, Any]] = [
        ("POST", "/_emulator/faults", [{"path": "/video/.*", "nth": [2], "status": 404, "delay": 0.5}]),
        ("POST", "/_emulator/work/faults", {"work": "track", "nth": 1, "message": "no"}),
        ("POST", "/_emulator/webhooks/faults", {"type": "video.*", "copies": 2, "jitter": 3}),
        ("POST", f"/_emulator/live-streams/{stream}/connect", {"protocol": "srt"}),
        ("POST", f"/_emulator/live-streams/{stream}/disconnect", None),
        ("POST", f"/_emulator/live-streams/{stream}/simulcast-targets/x/fail", {"severity": "fatal"}),
        ("POST", f"/_emulator/live-streams/{stream}/simulcast-targets/x/update", {"url": "rtmp://x"}),
        ("POST", f"/_emulator/assets/{asset['id']}/warning", {"message": "odd"}),
        ("POST", "/_emulator/delivery/high-traffic", {"threshold": 1}),
        ("POST", "/_emulator/uploads", {"title": "film"}),
        ("POST", "/_emulator/spaces/x/join", {"participant": "me"}),
        ("GET", "/_emulator/overview", None),
        ("GET", "/_emulator/events", None),
        ("GET", "/_emulator/webhooks", None),
        ("GET", "/_emulator/uploads", None),
        ("GET", "/", None),
        ("GET", f"/{playback_id}.m3u8?max_resolution=720p&asset_start_time=1", None),
        ("GET", f"/{playback_id}/rendition/270-0.m4s", None),
        ("GET", f"/{playback_id}/rendition/270.mp4", None),
        ("GET", f"/{playback_id}/thumbnail.png?width=64&height=64&fit_mode=pad&time=1", None),
        ("GET", f"/{playback_id}/animated.gif?start=1&end=2&fps=5", None),
        ("GET", f"/{playback_id}/storyboard.vtt?format=webp", None),
        ("POST", f"/license/widevine/{playback_id}?token=x", {"challenge": 1}),
        ("GET", f"/appcert/fairplay/{playback_id}?token=x", None),
        ("GET", "/counts?token=x", None),
    ]
    for method, target, body in own:
        account.send(method, target, body)
    return [request for request in account.requests if not _SLOW.fullmatch(f"{request.method} {request.target}")]


class Mutator:
    """Damages good requests.

    Args:
        random: Chooses the requests and the mistakes.
        good: Good requests.
    """

    def __init__(self, random: Random, good: list[RecordedRequest]) -> None:
        self._random = random
        self._good = good
        self._known: dict[str, list[str]] = {}
        """Ids from responses, by the path segment before them."""

    @property
    def _ids(self) -> list[str]:
        return self._random.choice([*self._known.values(), ["somefakeid"]])

    def learn(self, request: RecordedRequest, response: Response) -> None:
        """Remember the ids of a response, instead of older ones."""
        try:
            content: object = orjson.loads(response.body)
        except ValueError:
            return
        words = [part for part in request.target.partition("?")[0].split("/") if len(part) < 30]
        self._find(content, words[-1] if words else "")

    def _find(self, value: object, word: str) -> None:
        if isinstance(value, list):
            for inner in cast("list[object]", value)[:20]:
                self._find(inner, word)
        elif isinstance(value, dict):
            for key, inner in cast("dict[str, object]", value).items():
                if key == "id" and isinstance(inner, str):
                    ids = self._known.setdefault(word, [])
                    ids.append(inner)
                    del ids[:-MAX_IDS]
                elif isinstance(inner, list | dict):
                    self._find(cast("object", inner), word if key == "data" else key.replace("_", "-"))
                elif key == "url" and isinstance(inner, str) and "/_upload/" in inner:
                    self._known.setdefault("_upload", []).append(inner.rpartition("/_upload/")[2].partition("?")[0])

    def next_request(self) -> RecordedRequest:
        """Return the next request: sometimes a good one, otherwise one with up to three mistakes."""
        request = self._random.choice(self._good)
        if self._random.random() < 0.9:
            request = attrs.evolve(
                request, target=self._with_known_ids(request.target), body=self._with_known_members(request.body)
            )
        for _ in range(self._random.choice([0, 0, 1, 1, 1, 2, 3])):
            request = self._random.choice(
                [self._body, self._member, self._member, self._member, self._path, self._query, self._rest]
            )(request)
        return request

    def _with_known_ids(self, target: str) -> str:
        path, mark, query = target.partition("?")
        parts = path.split("/")
        for at, part in enumerate(parts):
            ending = part.rpartition(".")[1] + part.rpartition(".")[2] if "." in part else ""
            if len(part) > 30:
                parts[at] = self._random.choice(self._known.get(parts[at - 1] or "playback-ids") or [part]) + ending
        return "/".join(parts) + mark + query

    def _with_known_members(self, body: bytes) -> bytes:
        def known(found: re.Match[bytes]) -> bytes:
            word = found[1].decode().replace("_", "-") + "s"
            return b'"%s_id":"%s"' % (found[1], self._random.choice(self._known.get(word) or ["x"]).encode())

        return re.sub(rb'"(asset|track|live_stream)_id":"[^"]*"', known, body)

    def _path(self, request: RecordedRequest) -> RecordedRequest:
        path, mark, query = request.target.partition("?")
        parts = path.split("/")
        at = self._random.randrange(1, len(parts))
        match self._random.randrange(4):
            case 0:
                parts[at] = self._random.choice(SEGMENTS)
            case 1:
                parts[at] = quote(self._random.choice(self._ids), safe="")
            case 2:
                parts.insert(at, self._random.choice(SEGMENTS))
            case _:
                del parts[at]
        return attrs.evolve(request, target=("/".join(parts) or "/") + mark + query)

    def _query(self, request: RecordedRequest) -> RecordedRequest:
        name = self._random.choice(WORDS)
        value = self._random.choice([*QUERY_VALUES, self._random.choice(self._ids)])
        pair = f"{name}={quote(value, safe='%:!+[]>=')}"
        mark = "&" if "?" in request.target else "?"
        return attrs.evolve(request, target=f"{request.target}{mark}{pair}")

    def _body(self, request: RecordedRequest) -> RecordedRequest:
        body = bytearray(request.body or b"{}")
        match self._random.randrange(6):
            case 0:
                del body[self._random.randrange(len(body)) :]
            case 1:
                body[self._random.randrange(len(body))] = self._random.randrange(256)
            case 2:
                body = bytearray(b"[" * 2000)
            case 3:
                body = bytearray(
                    self._random.choice([b"null", b"5", b'"x"', b"[]", b"\xff\xfe", b'{"a": NaN}', b'{"a": "\\ud800"}'])
                )
            case 4:
                body += b"x" * self._random.choice([1, 1_100_000])
            case _:
                body = bytearray(self._random.randbytes(30))
        return attrs.evolve(request, body=bytes(body))

    def _member(self, request: RecordedRequest) -> RecordedRequest:
        try:
            whole = orjson.loads(request.body or b"{}")
        except ValueError:
            return request
        holders: list[Holder] = []
        _collect(whole, holders)
        if not holders:
            return request
        holder = self._random.choice(holders)
        value = self._random.choice([*VALUES, self._random.choice(self._ids)])
        keys = [*range(len(holder))] if isinstance(holder, list) else [*holder]
        if not keys or self._random.random() < 0.2:
            self._add(holder, value)
            return attrs.evolve(request, body=json.dumps(whole).encode())
        key: Any = self._random.choice(keys)
        if self._random.random() < 0.2:
            del holder[key]
        else:
            holder[key] = value
        return attrs.evolve(request, body=json.dumps(whole).encode())  # which writes numbers of any length

    def _add(self, holder: Holder, value: object) -> None:
        if isinstance(holder, list):
            holder.append(value)
        else:
            holder[self._random.choice(MEMBERS)] = value

    def _rest(self, request: RecordedRequest) -> RecordedRequest:
        headers = dict(request.headers)
        match self._random.randrange(5):
            case 0:
                method = self._random.choice(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
                return attrs.evolve(request, method=method)
            case 1:
                headers["Authorization"] = self._random.choice(
                    ["", "Basic", "Basic ???", "Basic /w==", "Bearer x", basic("a", "ä")]
                )
            case 2:
                headers["Content-Range"] = self._random.choice(RANGES)
            case 3:
                headers[self._random.choice(["Origin", "Referer"])] = self._random.choice(
                    ["null", "http://[", "https://example.com", "ä"]
                )
            case _:
                headers["Content-Length"] = self._random.choice(["", "x", "-1", "3", "9" * 30, "²"])
        return attrs.evolve(request, headers=headers)


def _collect(value: object, holders: list[Holder]) -> None:
    """Find all objects and arrays in a value, including itself."""
    if isinstance(value, dict):
        holders.append(cast("dict[object, object]", value))
    elif isinstance(value, list):
        holders.append(cast("list[object]", value))
    else:
        return
    for inner in [*holders[-1].values()] if isinstance(holders[-1], dict) else [*holders[-1]]:
        _collect(inner, holders)
