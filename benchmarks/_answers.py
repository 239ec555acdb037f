"""What the local server answers: the same bytes for everybody."""

from __future__ import annotations

import json
from typing import Any

ASSET: dict[str, Any] = {
    "id": "AbC1" * 10,
    "created_at": "1700000000",
    "status": "ready",
    "encoding_tier": "smart",
    "video_quality": "plus",
    "master_access": "none",
    "max_resolution_tier": "1080p",
    "max_stored_resolution": "HD",
    "max_stored_frame_rate": 29.97,
    "resolution_tier": "1080p",
    "aspect_ratio": "16:9",
    "duration": 634.567,
    "mp4_support": "none",
    "normalize_audio": False,
    "test": False,
    "ingest_type": "on_demand_direct_upload",
    "upload_id": "UpL1" * 10,
    "passthrough": "benchmark",
    "meta": {"title": "A film", "creator_id": "creator", "external_id": "external"},
    "progress": {"state": "completed", "progress": 100},
    "playback_ids": [{"id": f"PlA{n}" * 10, "policy": "public"} for n in range(3)],
    "tracks": [
        {"id": "TrA1" * 10, "type": "video", "max_width": 1920, "max_height": 1080, "max_frame_rate": 29.97, "duration": 634.5},
        {"id": "TrA2" * 10, "type": "audio", "max_channels": 2, "max_channel_layout": "stereo", "duration": 634.5},
        {
            "id": "TrA3" * 10,
            "type": "text",
            "text_type": "subtitles",
            "text_source": "uploaded",
            "language_code": "en",
            "name": "English",
            "closed_captions": False,
            "status": "ready",
        },
    ],
    "static_renditions": {
        "files": [
            {"id": f"ReN{n}" * 10, "name": f"{h}p.mp4", "ext": "mp4", "height": h, "width": h * 16 // 9, "status": "ready"}
            for n, h in enumerate((1080, 720, 480))
        ]
    },
}


TITLES = (
    "Une journée d'été à la plage, première fête",
    "Größe und Stärke: ein Märchen für Mädchen",
    "Тихий вечер на берегу большой реки",  # noqa: RUF001 - it is Cyrillic
    "مقابلة مع المخرج حول الفيلم الجديد",
    "東京の朝、市場を歩く(完全版)",
    "Ski trip 🎿⛷️ day 2 🏔️ with friends 🎉",
)
"""What people call their videos, in the scripts that they write."""


def _body(data: object, *, is_escaped: bool = False, **more: object) -> bytes:
    return json.dumps({"data": data, **more}, separators=(",", ":"), ensure_ascii=is_escaped).encode()


def _written(number: int) -> dict[str, Any]:
    """Return an asset of a list: every third has texts that are not ASCII."""
    asset = {**ASSET, "id": f"{number:03}x" * 10}
    if number % 3 == 0:
        title = TITLES[number // 3 % len(TITLES)]
        asset["passthrough"] = f"{title} ({number})"
        asset["meta"] = {"title": title, "creator_id": title.split()[0], "external_id": f"external-{number}"}
    return asset


def _hundred() -> bytes:
    """Return a list of 100 assets: of the texts that are not ASCII a quarter is escaped, the others are UTF-8 as Mux sends it."""
    items = [_body(_written(number), is_escaped=number % 12 == 0)[len(b'{"data":') : -1] for number in range(100)]
    return b'{"data":[' + b",".join(items) + b'],"next_cursor":null}'


ONE = _body(ASSET)
HUNDRED = _hundred()
HUNDRED_ASCII = _body([{**ASSET, "id": f"{n:03}x" * 10} for n in range(100)], next_cursor=None)
CREATED = _body({name: ASSET[name] for name in ("id", "created_at", "playback_ids", "encoding_tier")} | {"status": "preparing"})
