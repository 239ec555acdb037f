"""What does reading an answer cost beside decoding its JSON, and what would other ways of filling a model cost?

Method: one process, CPU time, the answer to a GET of one ready asset of about 2 KB and 14 objects, median of the ratios to
``orjson.loads`` of the same bytes within a round. *Model* is what the SDK does with the body: unknown fields kept, nulls told from absent
fields, times read. A model is parsed on first access, object by object, so there are four rows: nothing is read; a field of the asset,
which parses all fields of the asset; a playback id besides; and every one of the 14 objects. *With news*: the asset has a field and a
value that this version does not have. *From a dictionary*: `Asset.from_wire` of what ``orjson.loads`` returned. *Constructor* makes the
same objects by calling the class, which is what a user does. *Stock cattrs* structures plain attrs classes of the same fields, all of
them text, and drops what is unknown.

*Held*: bytes by tracemalloc of one of 2000 results that are kept.
"""

from __future__ import annotations

import argparse
import gc
import platform
import tracemalloc
from collections.abc import Callable
from typing import Any

import attrs
import cattrs
import orjson

from benchmarks._answers import ASSET
from benchmarks._timing import compare
from mux_async._models.model import table_of
from mux_async._models.response_decoder import decoder
from mux_async._operation import Bucket, Operation, Replay
from mux_async.models import (
    Asset,
    AssetMetadata,
    AssetProgress,
    AssetRecordingTime,
    AssetStaticRenditions,
    PlaybackId,
    StaticRendition,
    Track,
)

RAW: dict[str, Any] = {
    **ASSET,
    "recording_times": [{"started_at": "2026-10-01T10:00:00Z", "duration": 120.04, "type": "content"}],
}
NESTED = {"created_at", "progress", "meta", "playback_ids", "tracks", "static_renditions", "recording_times"}


def construct(raw: dict[str, Any], read: Asset) -> Asset:
    plain = {name: raw[name] for name in raw if name not in NESTED}
    return Asset(
        **plain,
        created_at=read.created_at,
        progress=AssetProgress(**raw["progress"]),
        meta=AssetMetadata(**raw["meta"]),
        playback_ids=[PlaybackId(**item) for item in raw["playback_ids"]],
        tracks=[Track(**item) for item in raw["tracks"]],
        static_renditions=AssetStaticRenditions(files=[StaticRendition(**item) for item in raw["static_renditions"]["files"]]),
        recording_times=read.recording_times,
    )


def stock() -> Any:
    """Make plain attrs classes with the fields of an asset, as a cattrs user would write them."""
    many: Any = list

    def plain(model: type[Any], **nested: Any) -> Any:
        fields = {name: attrs.field(type=nested.get(name, str)) for name in table_of(model).required}
        fields |= {name: attrs.field(type=nested.get(name, str | None), default=None) for name in table_of(model).optional}
        return attrs.make_class(f"Plain{model.__name__}", fields, slots=True, frozen=True, kw_only=True)

    return plain(
        Asset,
        progress=plain(AssetProgress),
        meta=plain(AssetMetadata),
        playback_ids=many[plain(PlaybackId)],
        tracks=many[plain(Track)],
        recording_times=many[plain(AssetRecordingTime)],
        static_renditions=plain(AssetStaticRenditions, files=many[plain(StaticRendition)]),
    )


NEWS: dict[str, Any] = {"hologram": {"depth": 3}, "resolution_tier": "4320p"}

retrieve: Callable[[bytes], Any] = decoder(
    Operation("video.assets.retrieve", "GET", "/", Bucket.OTHER, Replay.SAFE, model="video_assets:Asset")
)


def look(asset: Any) -> Asset:
    if asset.status != "ready":
        raise SystemExit("that is not the asset")
    return asset


def play(asset: Any) -> Asset:
    look(asset)
    if asset.playback_ids is None or asset.playback_ids[0].policy != "public":
        raise SystemExit("that is not the asset")
    return asset


def read_all(asset: Any) -> Asset:
    """Look at one field of each of the 14 objects."""
    play(asset)
    files = asset.static_renditions.files if asset.static_renditions is not None else None
    parts = [asset.progress, asset.meta, *(asset.playback_ids or ()), *(asset.tracks or ())]
    for part in [*parts, *(asset.recording_times or ()), *(files or ())]:
        part.extra  # noqa: B018
    return asset


def held(make: Callable[[], object], count: int = 2000) -> float:
    """Return the bytes that one of *count* results takes."""
    make()
    gc.collect()
    tracemalloc.start()
    results = [make() for _ in range(count)]
    gc.collect()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / len(results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--count", type=int, default=3000)
    options = parser.parse_args()
    content, news = orjson.dumps({"data": RAW}), orjson.dumps({"data": {**RAW, **NEWS}})
    read = Asset.from_wire(RAW)
    converter = cattrs.Converter()
    plain = stock()

    def loaded() -> Any:
        return orjson.loads(content)["data"]

    contenders: dict[str, Callable[[], object]] = {
        "orjson.loads": loaded,
        "model, untouched": lambda: retrieve(content),
        "model, asset read": lambda: look(retrieve(content)),
        "model, and playback id": lambda: play(retrieve(content)),
        "model, all 14 read": lambda: read_all(retrieve(content)),
        "with news, asset read": lambda: look(retrieve(news)),
        "from a dictionary": lambda: look(Asset.from_wire(loaded())),
        "loads + constructor": lambda: construct(loaded(), read),
        "loads + stock cattrs": lambda: converter.structure(loaded(), plain),
    }
    print(f"Python {platform.python_version()}, {platform.machine()}, attrs {attrs.__version__}, {len(content)} bytes")
    compare(contenders, rounds=options.rounds, count=options.count)
    print("bytes of one that is held")
    for name in ("orjson.loads", "model, untouched", "model, asset read", "model, all 14 read"):
        print(f"{name:24} {held(contenders[name]):8.0f}")


if __name__ == "__main__":
    main()
