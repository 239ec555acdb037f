"""mux-embed, which sends the beacons of all Mux players, without a browser."""

from __future__ import annotations

import pytest

from tests.emulator import official
from tests.emulator.browser.browsing import Account
from tests.emulator.harness import Json

pytestmark = pytest.mark.proof


def test_two_views() -> None:
    """A player without a key that changes its source makes two views, in the environment of the playback id, each with its own numbers."""
    official.node_modules()
    with official.emulate(
        "--limits", "off", "--instant", "--data", "watched", "--token", "one:secret@first", "--token", "test-token:test-secret"
    ) as origin:
        account = Account(origin)
        asset = account.data(
            "POST", "/video/v1/assets", {"inputs": [{"url": "https://example.com/a.mp4"}], "playback_policies": ["public"]}
        )
        playback_id = asset["playback_ids"][0]["id"]
        done = official.run_node("beacons.cjs", COLLECTOR=f"localhost:{origin.rpartition(':')[2]}", PLAYBACK_ID=playback_id)
        assert done.returncode == 0, done.stderr
        listed: list[Json] = account.data("GET", "/data/v1/video-views?order_direction=asc")
        views: list[Json] = [account.data("GET", f"/data/v1/video-views/{row['id']}") for row in listed]

    first, second = views
    assert (first["asset_id"], first["playback_id"], first["viewer_user_id"]) == (asset["id"], playback_id, "node-viewer")
    assert int(first["view_playing_time"]) == pytest.approx(1200, abs=300)
    assert first["time_to_first_frame"] == pytest.approx(200, abs=150)
    assert (first["view_seek_count"], first["playback_failure"], first["custom_2"], first["cdn"]) == (1, False, "two", "fastly")
    assert float(first["view_max_playhead_position"]) > 30_000
    assert (first["video_title"], second["video_title"], second["asset_id"]) == ("First", "Second", asset["id"])
    assert (second["video_startup_failure"], second["player_error_message"]) == (True, "No network")
    assert first["mux_viewer_id"] == second["mux_viewer_id"]
    assert [event["name"] for event in first["events"]][-1] == "viewend"
