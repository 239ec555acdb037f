"""What the emulator's tests share: an account with a clock that tests set."""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any, cast

import attrs
import orjson

from mux_async.emulator import Arrival, Emulator, EmulatorSettings, MediaInfo, MediaSource, Probe, Request, Response

START = 1_767_225_600.0
"""The first second of 2026."""

Json = dict[str, Any]


def basic(token_id: str = "test-token", secret: str = "test-secret") -> str:
    return "Basic " + b64encode(f"{token_id}:{secret}".encode()).decode()


class Clock:
    """Epoch seconds that a test sets."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Account:
    """An emulator, by default without rate limits, and short calls of it."""

    def __init__(
        self,
        settings: EmulatorSettings | None = None,
        *,
        on_arrival: Callable[[Arrival], None] | None = None,
        **changes: Any,
    ) -> None:
        self.clock = Clock()
        base = EmulatorSettings(limits=None) if settings is None else settings
        self.emulator = Emulator(attrs.evolve(base, **changes), clock=self.clock, on_arrival=on_arrival)

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds

    def send(
        self,
        method: str,
        target: str,
        body: object = None,
        *,
        headers: dict[str, str] | None = None,
        authorization: str | None = None,
    ) -> Response:
        """Send a request; *body* is bytes, or a value that is written as JSON."""
        content = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        given = {"Authorization": basic() if authorization is None else authorization, **(headers or {})}
        given.setdefault("Content-Length", str(len(content)))
        return self.emulator.handle(Request(method, target, given, content))

    def ok(self, method: str, target: str, body: object = None) -> Json:
        """Send, and return the body of a success; ``{}`` if it is empty."""
        response = self.send(method, target, body)
        assert 200 <= response.status < 300, (response.status, response.body)
        return cast("Json", response.json()) if response.body else {}

    def data(self, method: str, target: str, body: object = None) -> Any:
        """Send, and return what is under ``data``."""
        return self.ok(method, target, body)["data"]

    def error(self, method: str, target: str, body: object = None) -> tuple[int, str, list[str]]:
        """Send, and return status, type and messages of an error."""
        response = self.send(method, target, body)
        assert response.status >= 400, (response.status, response.body)
        error = response.json()["error"]
        return response.status, error["type"], error["messages"]

    def create_asset(self, url: str = "https://example.com/film.mp4", **members: Any) -> Json:
        return cast("Json", self.data("POST", "/video/v1/assets", {"inputs": [{"url": url}], **members}))

    def ready_asset(self, **members: Any) -> Json:
        asset = self.create_asset(**members)
        self.pass_time(self.emulator.settings.time_to_ready)
        return self.asset(asset["id"])

    def asset(self, asset_id: str) -> Json:
        return cast("Json", self.data("GET", f"/video/v1/assets/{asset_id}"))

    def create_upload(self, **members: Any) -> Json:
        return cast("Json", self.data("POST", "/video/v1/uploads", members))

    def upload(self, upload_id: str) -> Json:
        return cast("Json", self.data("GET", f"/video/v1/uploads/{upload_id}"))

    def put(self, url: str, body: bytes = b"", content_range: str | None = None, **headers: str) -> Response:
        """PUT to an upload URL, without credentials."""
        given = {"Content-Length": str(len(body)), **headers}
        if content_range is not None:
            given["Content-Range"] = content_range
        return self.emulator.handle(Request("PUT", target_of(url), given, body))


def target_of(url: str) -> str:
    """Path and query of *url*."""
    return "/" + url.split("/", 3)[3]


def always(medium: MediaInfo) -> Probe:
    """A probe that returns the same for every input."""

    def probe(source: MediaSource) -> MediaInfo:
        del source
        return medium

    return probe


def id_of(raw: bytes) -> str:
    """Write bytes as an id in Mux's format (facts/BEHAVIOUR.md, section 1.5)."""
    written = urlsafe_b64encode(raw).decode().rstrip("=")
    return written.replace("0", "00").replace("-", "01").replace("_", "02")


def id_bytes(id: str) -> bytes:
    """Return the bytes that an id in Mux's format stands for."""
    symbols = re.sub("0[012]", lambda match: "0-_"[int(match[0][1])], id)
    raw = urlsafe_b64decode(symbols + "=" * (-len(symbols) % 4))
    assert id_of(raw) == id
    return raw


def well_formed_id(byte: bytes = b"x") -> str:
    """An id in Mux's format that no object has; another *byte*, another id."""
    return id_of(byte * 32)
