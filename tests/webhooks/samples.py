"""Deliveries for tests: bodies as Mux writes them, and headers that sign them."""

from __future__ import annotations

from typing import Any

import orjson

from mux_async.webhooks import sign

SECRET = "SuperSecret123"
NOW = 1_767_225_600
ASSET: dict[str, Any] = {
    "id": "asset-1",
    "created_at": NOW - 60,
    "encoding_tier": "smart",
    "master_access": "none",
    "max_resolution_tier": "1080p",
    "progress": {"state": "completed", "progress": 100},
    "status": "ready",
}


def envelope(
    kind: str = "video.asset.ready", event_id: str = "4813455b-8fe8-40cc-9150-9aa5e2de67ca", **more: Any
) -> dict[str, Any]:
    """Return an event as in facts/BEHAVIOUR.md, section 7.2."""
    object_kind = {"live_stream": "live"}.get(kind.split(".")[1], kind.split(".")[1])
    return {
        "type": kind,
        "id": event_id,
        "created_at": "2026-01-01T00:00:00.000000Z",
        "object": {"type": object_kind, "id": "asset-1"},
        "environment": {"name": "Development", "id": "dvlv0o"},
        "data": ASSET,
        "request_id": None,
        "attempts": [],
        "accessor": None,
        "accessor_source": None,
        **more,
    }


def body_of(kind: str = "video.asset.ready", event_id: str = "4813455b-8fe8-40cc-9150-9aa5e2de67ca", **more: Any) -> bytes:
    return orjson.dumps(envelope(kind, event_id, **more))


def headers_of(body: bytes, secret: str = SECRET, at: int | None = NOW) -> dict[str, str]:
    return {"content-type": "application/json", "user-agent": "Mux", "mux-signature": sign(body, secret, at=at)}
