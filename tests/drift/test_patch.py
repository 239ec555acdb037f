"""``mux-async drift``: what it shows, and that its patch, applied to the overlays, gives everything a name."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import orjson

from mux_async.drift import Drift, drift
from mux_async.emulator import Emulator, EmulatorSettings
from mux_async.models import Asset
from mux_async.webhooks.events import parse_event_text
from tests.cli.commands import run_here, serve_here
from tests.emulator.harness import Json
from tests.generated import spec

ROOT = Path(__file__).parents[2]


def tomorrow() -> tuple[bytes, bytes]:
    """An asset and an event as Mux may send them tomorrow."""
    asset: Json = spec.make({"$ref": f"{spec.REF}Asset"}, Random(1), is_answer=False)
    asset |= {
        "status": "paused",
        "max_stored_resolution": "8K",
        "bitrate": 5.5,
        "labels": ["a"],
        "trimmed_at": "2026-12-01T10:00:00Z",
    }
    asset["loudness"] = {"lufs": -23.5, "peaks": [{"at": 1, "level": 0.5, "note": None}, {"note": "x"}]}
    asset["playback_ids"][0]["policy"] = "members"
    event = {"type": "video.asset.thumbnails.ready", "id": "e", "data": asset}
    return orjson.dumps(asset), orjson.dumps(event)


def save(folder: Path) -> Path:
    """Receive both, and save the report of that in *folder*."""
    drift.clear()
    asset, event = tomorrow()
    Asset.from_json(asset).to_wire()
    parse_event_text(event)
    path = folder / "report.json"
    path.write_text(json.dumps(drift.report().to_dict()))
    drift.clear()
    return path


def test_patch_leaves_decisions(tmp_path: Path) -> None:
    """What a report cannot decide is a comment that says what there is to decide; values that are not shown are not in the patch."""
    counted = Drift()
    counted.record("wrong_type", "Asset", "duration", "x", expected="a number")
    counted.record("unexpected_status", "video.assets.list", "418")
    counted.record("unknown_event", "webhooks", "audio.mix.ready", {})
    counted.record("unknown_field", "Asset", "both", 1)
    counted.record("unknown_field", "Asset", "both", "x")
    counted.record("unknown_field", "Asset", "a-b", "x")
    counted.record("unknown_field", "response of Asset", "more", "x")
    counted.record("unknown_value", "Asset", "status", "Zk3jVx9QpL0wTn7RbYcE2sUa")
    counted.record("unknown_value", "Source", "via", "carrier")
    counted.record("missing_field", "Upload", "timeout")
    path = tmp_path / "report.json"
    path.write_text(json.dumps(counted.report().to_dict()))

    text = run_here("drift", str(path), "--patch", "-").stdout

    assert text.count("# to decide: ") == 8
    assert [line for line in text.splitlines() if line.startswith("at = ")] == ['at = "/components/schemas/Upload/required"']
    assert 'drop = "timeout"' in text


def test_saved_reports(tmp_path: Path) -> None:
    """Saved reports are merged and shown as text or JSON; ``--check`` exits with 1; a file that is no report is refused."""
    path = save(tmp_path)

    done = run_here("drift", str(path), str(path))
    assert done.returncode == 0
    assert "- unknown value: PlaybackId.policy, seen 2 times, expected one of 3 values, sent members" in done.stdout
    again = run_here("drift", "-", "--json", "--check", stdin=path.read_bytes())
    assert again.returncode == 1
    assert json.loads(again.stdout) == json.loads(path.read_text())
    refused = run_here("drift", str(ROOT / "pyproject.toml"))
    assert refused.returncode == 2
    assert "cannot be read as a report of drift" in refused.stderr


def test_account() -> None:
    """Without files the lists of the account are read with GETs; the emulator has no drift. What the token may not read is left out."""
    emulator = Emulator(EmulatorSettings(limits=None))
    with serve_here(emulator) as server:
        done = run_here("drift", "--check", "--base-url", server.origin)

    assert done.returncode == 0, done.stdout
    assert done.stdout == "Mux sent nothing that this version has no name for.\n"
    assert {arrival.method for arrival in emulator.arrivals} == {"GET"}
    assert len(emulator.arrivals) == 15
    assert "robots.jobs.list is left out" in done.stderr
