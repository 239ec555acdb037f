"""The collector of beacons has no tokens: whatever a page posts is refused cleanly or ignored, and stores little."""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mux_async.emulator import Request
from mux_async.emulator.data._beacon_fields import short_key
from tests.emulator.data.asking import LIST, METRICS, rows
from tests.emulator.data.test_beacons import Player, listed, post, watching
from tests.emulator.harness import Account, Json

NAMES = (
    *("view_id", "view_sequence_number", "view_start", "viewer_time", "event", "env_key", "video_title", "video_source_url"),
    *("view_watch_time", "view_playing_time_ms_cumulative", "view_time_to_first_frame", "view_rebuffer_count", "player_name"),
    *("video_source_width", "video_source_height", "video_source_bitrate", "video_source_codec", "player_playback_mode"),
    *("player_error_code", "player_error_severity", "player_error_business_exception", "video_playback_range", "page_url"),
    *("video_source_duration", "video_source_is_live", "player_program_time", "mux_viewer_id"),
    *("view_total_upscaling", "view_total_content_playback_time", "view_seek_count", "custom_10", "view_rebuffer_duration"),
)
KEYS = tuple(map(short_key, NAMES[1:]))
EVENTS = (
    "viewstart",
    "play",
    "playing",
    "pause",
    "renditionchange",
    "playbackmodechange",
    "rebufferstart",
    "error",
    "viewend",
    "hb",
)
SCALARS: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text()
    | st.sampled_from(
        ["a" * 600, "\ud800", "\x00", "1e999", "http://[", "http://localhost/\udfff.m3u8", '["0:9","9:1","x"]', 2**53]
    )
)
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)
HEAD: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"xid": st.sampled_from(["a", "b", "c"]) | SCALARS, "e": st.sampled_from(EVENTS) | SCALARS}
)
REST: st.SearchStrategy[Json] = st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=12)
EVENT: st.SearchStrategy[Any] = st.tuples(REST, HEAD).map(lambda parts: {**parts[0], **parts[1]})
BATCH: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"events": st.lists(EVENT | ANYTHING, max_size=8) | ANYTHING},
    optional={"metadata": st.fixed_dictionaries({"transmission_timestamp": ANYTHING}) | ANYTHING},
)
READS = (
    *(LIST, f"{METRICS}/views/overall", f"{METRICS}/playing_time/breakdown?group_by=video_title", f"{METRICS}/comparison"),
    *("/data/v1/errors", "/data/v1/incidents", "/data/v1/subview-metrics/playing_time/rendition/breakdown"),
    *("/data/v1/monitoring/metrics/current-concurrent-viewers/timeseries", "/data/v1/dimensions/video_title"),
    *(f"{METRICS}/rebuffer_percentage/insights", f"{METRICS}/weighted_average_bitrate/timeseries"),
    "/data/v1/monitoring/metrics/current-average-bitrate/breakdown?dimension=video_title",
)


def written(value: object) -> bytes:
    """JSON as a browser writes it: half surrogate pairs as escapes; and numbers that no browser writes."""
    return json.dumps(value).encode()


def read_all(account: Account) -> None:
    """Every part of the Data API answers."""
    for path in READS:
        account.ok("GET", path)
    for row in rows(account, LIST):
        account.ok("GET", f"{LIST}/{row['id']}")


@settings(max_examples=60, deadline=None)
@given(st.lists(BATCH, min_size=1, max_size=4), st.integers(0, 7200))
def test_any_batch(batches: list[object], seconds: int) -> None:
    """Any JSON is accepted or refused, now and an hour later, and the Data API answers as before."""
    account = watching(limits=None)
    for batch in batches:
        assert post(account, written(batch)).status in {200, 400}
        read_all(account)
        account.pass_time(seconds)
    read_all(account)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["gzip", "identity", "br", ""]), st.booleans())
def test_any_bytes(body: bytes, encoding: str, is_packed: bool) -> None:
    """Any bytes are refused, or are a batch by accident."""
    account = watching()
    assert post(account, gzip.compress(body) if is_packed else body, **{"Content-Encoding": encoding}).status in {200, 400}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 500_000, 400),
        (b'{"events":' * 50_000, 400),
        (b'{"events": [' + b"[" * 900 + b"]" * 900 + b"]}", 200),
        (b'{"events": [1' + b"0" * 5000 + b"]}", 400),
        (b'{"events": [{"xid": "a", "e": "viewstart", "vtt": "' + b"x" * 900_000 + b'"}]}', 200),
        (b'{"events": "' + b"x" * 1_100_000 + b'"}', 413),
        (b"[]", 400),
        (b"null", 400),
        (b"", 400),
        (b"\xff\xfe", 400),
    ],
    ids=["deep list", "deep object", "nested", "long number", "long text", "too long", "list", "null", "empty", "no UTF-8"],
)
def test_extreme_bodies(body: bytes, status: int) -> None:
    """Bodies that are deep, long or of another type get the status that they should."""
    account = watching()
    assert post(account, body).status == status
    read_all(account)


def test_cut_surrogate_pair() -> None:
    """A title that ends in half an emoji, which a page may send, does not lose the view."""
    account = watching()
    batch = Player(account, vtt="Wave \ud83d").plays(1).does("viewend").batch()
    assert post(account, written(batch)).status == 200
    assert [view["video_title"] for view in listed(account)] == ["Wave ?"]


def test_header_that_is_no_text(tmp_path: Path) -> None:
    """A header with bytes that are no UTF-8 can be stored and shown."""
    account = watching(state=tmp_path / "state")
    assert post(account, Player(account).plays(1).does("viewend").batch(), **{"User-Agent": "caf\udce9"}).status == 200
    assert [view["viewer_user_agent"] for view in listed(account)] == ["caf?"]
    account.emulator.close()


def flood(account: Account, random: Random, views: int, events: int) -> Json:
    """A batch of events of many views, with the longest texts."""
    long = {short_key(f"custom_{number}"): "x" * 1000 for number in range(1, 11)} | {"wur": "y" * 5000, "percz": "z" * 5000}
    names = ("error", "renditionchange", "pause", "play")
    return {
        "events": [
            {
                "xid": f"view-{random.randrange(views)}",
                "ake": "development",
                "e": random.choice(names),
                "xst": account.clock.now * 1000,
                "xsqno": random.randrange(1, 10**9),
                "vsonm": "n" * 600,
                **(long if number % 10 == 0 else {}),
            }
            for number in range(events)
        ]
    }


def test_flood() -> None:
    """One page that sends views and events without end stores no more than the limits, and answers stay small."""
    account = watching(max_views=20)
    random = Random(1)
    for _ in range(3):
        assert post(account, flood(account, random, 500, 300)).status == 200
    tracemalloc.start()
    for _ in range(20):
        assert post(account, flood(account, random, 500, 300)).status == 200
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    account.pass_time(7200)

    assert grown < 4_000_000
    assert len(rows(account, LIST)) <= 20
    account = watching()
    for _ in range(10):
        post(account, flood(account, random, 1, 300))
    account.pass_time(7200)
    [view] = listed(account)
    assert len(view["events"]) <= 220
    assert len(json.dumps(view)) < 80_000


def test_time_of_a_batch() -> None:
    """The largest batch takes so little time that other requests do not wait for it."""
    account = watching()
    random = Random(2)
    bodies: list[bytes] = [
        written(flood(account, random, 1000, 500)),
        written({"events": [{"xid": "a", **{f"k{number}": 1 for number in range(40)}} for _ in range(1000)]}),
        written({"events": [{"xid": f"v{number}", "e": "x", "ake": "development"} for number in range(30_000)]}),
        written({"events": [{"xid": "a", "ake": "development", "e": "pause", "xsqno": 2000 - n} for n in range(1000)]}),
    ]
    for body in bodies:
        began = time.process_time()
        post(account, body[: 1024 * 1024])
        account.emulator.handle(Request("GET", "/_emulator/health", {"Host": "127.0.0.1"}, origin="http://127.0.0.1"))
        assert time.process_time() - began < 0.5
