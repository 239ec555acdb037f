"""Requests for images with absurd parameters: none takes long, and none holds up another."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import attrs
import pytest

pytest.importorskip("av", reason="real media need PyAV: pip install 'mux-async[media]'")

from tests.emulator.media.serving import MediaClient, playback

pytestmark = pytest.mark.proof

KINDS = [
    *(f"thumbnail.{extension}" for extension in ("jpg", "jpeg", "png", "webp")),
    *(f"animated.{extension}" for extension in ("gif", "webp")),
    *(f"storyboard.{extension}" for extension in ("jpg", "png", "webp", "json", "vtt")),
]
ABSURD = [
    "width=99999",
    "height=99999",
    "width=99999&height=99999&fit_mode=pad",
    "width=999999999999999&height=1&fit_mode=stretch",
    "width=4096&rotate=90",
    "width=4096&height=1&fit_mode=crop",
    "width=1&height=640&start=43200&end=43210&fps=30&time=43200",
    "width=640&height=640&start=0&end=10&fps=30&time=1e300",
    "fps=99999&start=0&end=99999&rotate=99999&asset_start_time=43200",
    "width=0&height=0&fps=0&time=-1",
    "width=nan&height=inf&fps=1e9&time=nan&start=nan&end=inf",
    "fit_mode=&width=&height=&time=&rotate=&format=&fps=",
]
SLOWEST = 12.0
"""Seconds: less than the time limit of a thumbnail (15 s), more than its turn takes behind eight large ones on a busy machine."""


@pytest.mark.parametrize("name", ["long.mp4", "narrow.mp4"])
def test_absurd(client: MediaClient, inputs: Path, name: str) -> None:
    """Every kind of image with every set of absurd parameters is made or refused (200 or 400), while other requests are answered."""
    asset = client.upload(inputs / name)
    playback_id = playback(asset)
    targets = [f"/{playback_id}/{kind}?{query}" for kind, query in product(KINDS, ABSURD)]
    small = f"/{playback_id}/storyboard.json", f"/{playback_id}.m3u8", f"/video/v1/assets/{asset['id']}"
    times: list[tuple[float, str]] = []
    patient = attrs.evolve(client, timeout=120.0)
    with ThreadPoolExecutor(8) as threads:
        replies = [threads.submit(patient.get, target) for target in targets]
        number = 0
        while not all(reply.done() for reply in replies):
            for target in (*small, f"/{playback_id}/thumbnail.jpg?width=16&time={number / 1000}"):
                began = time.monotonic()
                assert client.get(target).status == 200
                times.append((time.monotonic() - began, target))
            number += 1
        statuses = {target: reply.result().status for target, reply in zip(targets, replies, strict=True)}

    assert {target: status for target, status in statuses.items() if status not in {200, 400}} == {}
    assert max(times) < (SLOWEST, "")
    assert sum(status == 200 for status in statuses.values()) > len(KINDS)
