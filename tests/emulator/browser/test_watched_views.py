"""What is watched in Mux's own player becomes a view of the Data API, by the beacons that the player sends."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

import attrs
import pytest

from tests.emulator import official
from tests.emulator.browser.browsing import PATIENCE, Account, Visit
from tests.emulator.browser.elsewhere import elsewhere
from tests.emulator.browser.film import HEIGHT, WIDTH, film
from tests.emulator.harness import Json

pytestmark = pytest.mark.proof

OpenPage = Callable[[str], Visit]
SECONDS = 16
PAGE = b"""<!doctype html><meta charset="utf-8"><title>Watch</title><script type="module" src="/mux-player.js"></script><body></body>"""
WATCH = """attributes => {
    const player = document.createElement('mux-player');
    for (const [name, value] of Object.entries(attributes)) player.setAttribute(name, value);
    player.addEventListener('error', () => { window.failed = true; });
    document.body.append(player);
    window.player = player;
}"""


@attrs.frozen
class Cinema:
    """The emulator with a film, and a site with a player for it."""

    account: Account
    site: str
    asset_id: str
    playback_id: str

    @property
    def collector(self) -> str:
        return f"localhost:{self.account.origin.rpartition(':')[2]}"

    def watch(self, visit: Visit, viewer: str, **more: str) -> None:
        """Put a player on a page, which starts by itself."""
        attributes = {
            "src": f"{self.account.origin}/{self.playback_id}.m3u8",
            "beacon-collection-domain": self.collector,
            "env-key": "development",
            "metadata-viewer-user-id": viewer,
            "metadata-video-title": "The film of a test",
            "metadata-player-name": "Player of a test",
            "autoplay": "muted",
            **{name.replace("_", "-"): value for name, value in more.items()},
        }
        visit.page.evaluate(WATCH, attributes)

    def get(self, path: str, **query: str) -> Any:
        return self.account.data("GET", f"/data/v1/{path}?{urlencode(query)}")

    def views(self, viewer: str, count: int = 1) -> list[Json]:
        """Wait until the viewer has so many views, and return them, newest first, with all fields."""
        until = time.monotonic() + PATIENCE
        while len(rows := self.get("video-views", viewer_id=viewer)) < count:
            assert time.monotonic() < until, self.get("video-views")
            time.sleep(0.1)
        assert len(rows) == count
        return [self.get(f"video-views/{row['id']}") for row in rows]

    def is_watched(self, title: str) -> None:
        """Wait until monitoring shows one viewer, who watches the video with this title."""
        until = time.monotonic() + PATIENCE
        path = "monitoring/metrics/current-concurrent-viewers/breakdown"
        while not (rows := self.get(path, dimension="video_title")) or rows[0]["concurrent_viewers"] == 0:
            assert time.monotonic() < until, rows
            time.sleep(0.1)
        assert [(row["value"], row["concurrent_viewers"]) for row in rows] == [(title, 1)]

    def fault(self, **fault: object) -> None:
        self.account.send("DELETE", "/_emulator/faults")
        self.account.send("POST", "/_emulator/faults", fault)


def leave(visit: Visit) -> float:
    """Pause and close the page; return the position in milliseconds."""
    position: float = visit.page.evaluate("() => { player.pause(); return player.currentTime; }")
    visit.page.close()
    return position * 1000


@contextmanager
def cinema_of(site: str, *options: str) -> Generator[Cinema, None, None]:
    """Run the emulator, and upload the film."""
    with official.emulate(
        "--limits", "off", "--time-to-ready", "0.1", "--media", "auto", "--data", "watched", *options
    ) as origin:
        account = Account(origin)
        settings = {"playback_policies": ["public"], "meta": {"title": "A stored title", "creator_id": "creator-1"}}
        upload = account.data("POST", "/video/v1/uploads", {"cors_origin": "*", "new_asset_settings": settings})
        build_opener(ProxyHandler({})).open(Request(upload["url"], data=film(SECONDS), method="PUT"), timeout=PATIENCE).close()
        asset = account.finished_asset(account.data("GET", f"/video/v1/uploads/{upload['id']}")["asset_id"])
        yield Cinema(account, site, asset["id"], asset["playback_ids"][0]["id"])


@pytest.fixture(scope="module")
def site() -> Generator[str, None, None]:
    film(SECONDS)  # or there is a reason to skip
    script = official.node_modules() / "node_modules" / "@mux" / "mux-player" / "dist" / "mux-player.mjs"
    files = {"/watch": (PAGE, "text/html; charset=utf-8"), "/mux-player.js": (script.read_bytes(), "text/javascript")}
    with elsewhere(with_upchunk=False, more=files) as origin:
        yield f"{origin}/watch"


@pytest.fixture(scope="module")
def cinema(site: str) -> Generator[Cinema, None, None]:
    with cinema_of(site) as opened:
        yield opened


def test_watched_for_ten_seconds(cinema: Cinema, open_page: OpenPage) -> None:
    """Ten seconds in the player are a view with the right numbers everywhere, and nothing was rebuffered."""
    visit = open_page(cinema.site)
    cinema.watch(visit, "ten-seconds", metadata_video_id="film-1", metadata_video_series="Tests")
    visit.until("player.currentTime >= 10")
    cinema.is_watched("The film of a test")  # beacons are sent every ten seconds
    played = leave(visit)
    [view] = cinema.views("ten-seconds")

    playing = int(view["view_playing_time"])
    assert playing == pytest.approx(played, abs=1500)
    assert view["watch_time"] == pytest.approx(playing + view["time_to_first_frame"], abs=500)
    assert 0 < view["time_to_first_frame"] < 10_000
    assert (view["buffering_count"], view["buffering_duration"], view["rebuffer_percentage"]) == (0, 0, "0.0")
    assert (view["video_title"], view["video_id"], view["video_series"]) == ("The film of a test", "film-1", "Tests")
    assert (view["asset_id"], view["playback_id"]) == (cinema.asset_id, cinema.playback_id)
    assert view["video_creator_id"] == "creator-1"
    assert (view["player_name"], view["player_software"], view["player_software_version"]) == (
        "Player of a test",
        "mux-player",
        "3.14.0",
    )
    assert (view["viewer_application_name"], view["viewer_os_family"], view["viewer_device_category"]) == (
        "Chrome",
        "Linux",
        "desktop",
    )
    assert (view["video_source_width"], view["video_source_height"], view["video_codec"]) == (WIDTH, HEIGHT, "avc")
    assert view["video_duration"] == pytest.approx(SECONDS * 1000, abs=300)
    assert (view["video_stream_type"], view["live_stream_id"], view["country_code"]) == ("on-demand", None, None)
    assert (view["exit_before_video_start"], view["playback_failure"], view["error_type_id"]) == (False, False, None)
    assert [event["name"] for event in view["events"]][-1] == "viewend"
    only = {"filters[]": "video_id:film-1"}
    assert cinema.get("metrics/playing_time/overall", **only)["value"] == playing
    assert cinema.get("metrics/video_startup_time/overall", **only)["value"] == view["time_to_first_frame"]
    heat = cinema.get(f"engagement/assets/{cinema.asset_id}/heatmap")["value"]
    assert heat[2] == pytest.approx(1.0, abs=0.1)
    assert heat[-1] == 0
    assert not [line for line in visit.errors if "CORS" in line or cinema.collector in line]


def test_stalled_segment(cinema: Cinema, open_page: OpenPage) -> None:
    """A segment that arrives too late is rebuffering, of about the time that it was missing."""
    cinema.fault(path=r"/.*-1\.m4s", delay=8.0)
    visit = open_page(cinema.site)
    cinema.watch(visit, "stalled")
    visit.until("player.currentTime > 6")
    played = leave(visit)
    cinema.account.send("DELETE", "/_emulator/faults")
    [view] = cinema.views("stalled")

    assert view["buffering_count"] == 1
    assert 1500 < view["buffering_duration"] < 8500
    assert float(view["rebuffer_percentage"]) == pytest.approx(view["buffering_duration"] / view["watch_time"], abs=0.01)
    assert int(view["view_playing_time"]) == pytest.approx(played, abs=1500)
    names = [event["name"] for event in view["events"]]
    assert names.index("playing") < names.index("rebufferstart") < names.index("rebufferend")


def test_error(cinema: Cinema, open_page: OpenPage) -> None:
    """A film that cannot be played is a view with the error of the player, which is listed among the errors."""
    cinema.fault(path=r"/.*\.m3u8", status=404, headers={"Access-Control-Allow-Origin": "*"})
    visit = open_page(cinema.site)
    cinema.watch(visit, "unlucky")
    visit.until("window.failed")
    visit.page.close()
    cinema.account.send("DELETE", "/_emulator/faults")
    [view] = cinema.views("unlucky")

    assert (view["playback_failure"], view["video_startup_failure"], view["exit_before_video_start"]) == (True, True, False)
    assert view["player_error_code"]
    assert view["player_error_message"]
    assert view["time_to_first_frame"] is None
    assert view["view_playing_time"] == "0"
    error = next(row for row in cinema.get("errors") if row["id"] == view["error_type_id"])
    assert (error["message"], error["count"]) == (view["player_error_message"], 1)
    assert [row["id"] for row in cinema.get("video-views", error_id=str(error["id"]))] == [view["view_id"]]


def test_exit(cinema: Cinema, open_page: OpenPage) -> None:
    """Who leaves before the first frame is counted as an exit before the start."""
    cinema.fault(path=r"/.*\.m4s", delay=15.0)
    visit = open_page(cinema.site)
    cinema.watch(visit, "impatient")
    visit.page.wait_for_timeout(2500)
    visit.page.close()
    cinema.account.send("DELETE", "/_emulator/faults")
    [view] = cinema.views("impatient")

    assert (view["exit_before_video_start"], view["playback_failure"], view["time_to_first_frame"]) == (True, False, None)


def test_two_tabs_and_a_seek(cinema: Cinema, open_page: OpenPage) -> None:
    """Two tabs are two views of one viewer; seeking in one is neither playing time nor rebuffering."""
    one, other = open_page(cinema.site), open_page(cinema.site)
    cinema.watch(one, "two-tabs", metadata_video_title="Seeking")
    cinema.watch(other, "two-tabs", metadata_video_title="Straight")
    one.until("player.currentTime > 1.5")
    one.page.evaluate("() => { player.currentTime = 11; }")
    one.until("player.currentTime > 12.5")
    other.until("player.currentTime > 3")
    one.page.close()
    other.page.close()
    seeking, straight = sorted(cinema.views("two-tabs", 2), key=lambda view: str(view["video_title"]))

    assert seeking["mux_viewer_id"] == straight["mux_viewer_id"]
    assert seeking["id"] != straight["id"]
    assert (seeking["view_seek_count"], straight["view_seek_count"]) == (1, 0)
    assert 2000 < int(seeking["view_playing_time"]) < int(seeking["watch_time"]) < 9000
    assert float(seeking["view_max_playhead_position"]) > 12_000
    assert (seeking["buffering_count"], straight["buffering_count"]) == (0, 0)


def test_another_source(cinema: Cinema, open_page: OpenPage) -> None:
    """A player that changes its source ends a view and begins another."""
    visit = open_page(cinema.site)
    cinema.watch(visit, "zapping", metadata_video_id="one")
    visit.until("player.currentTime > 2")
    visit.page.evaluate(
        "() => { player.metadata = {...player.metadata, video_id: 'two'}; player.src = player.src + '?again=1'; }"
    )
    visit.until("player.currentTime < 1")
    [first] = cinema.views("zapping")  # which has ended, though the page is open
    visit.until("player.currentTime > 1")
    visit.page.close()
    second, _ = cinema.views("zapping", 2)

    assert first["events"][-1]["name"] == "viewend"
    assert first["view_end"] <= second["view_start"]
    assert int(first["view_playing_time"]) == pytest.approx(2000, abs=1500)


SEVEN_HOURS_LATE = """
const begin = performance.timing.navigationStart - 7 * 3600000;
Object.defineProperty(performance, 'timing', {value: {navigationStart: begin, domContentLoadedEventEnd: begin + 100}});
"""


def test_wrong_clock_and_restart(site: str, open_page: OpenPage, tmp_path: Path) -> None:
    """A browser whose clock is seven hours late watches while the emulator restarts: one view, at the emulator's time."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    state = ("--port", port, "--state", str(tmp_path / "state"))
    began = time.time()
    visit = open_page(site)
    visit.page.add_init_script(SEVEN_HOURS_LATE)
    visit.page.reload()
    with cinema_of(site, *state) as opened:
        opened.watch(visit, "late")
        visit.until("player.currentTime > 2")
    with official.emulate("--limits", "off", "--media", "auto", "--data", "watched", *state):
        visit.until("player.currentTime > 5")
        played = leave(visit)
        [view] = opened.views("late")

    start, end = (datetime.fromisoformat(view[name]).timestamp() for name in ("view_start", "view_end"))
    assert began < start < end < time.time()
    assert end - start == pytest.approx(view["watch_time"] / 1000, abs=2)
    assert int(view["view_playing_time"]) == pytest.approx(played, abs=1500)


def test_live(cinema: Cinema, open_page: OpenPage) -> None:
    """A live stream that is watched is a live view of it, with its latency and without a duration."""
    stream = cinema.account.data(
        "POST", "/video/v1/live-streams", {"playback_policies": ["public"], "meta": {"title": "A broadcast"}}
    )
    cinema.account.send("POST", f"/_emulator/live-streams/{stream['id']}/connect", {})
    visit = open_page(cinema.site)
    url = f"{cinema.account.origin}/{stream['playback_ids'][0]['id']}.m3u8"
    until = time.monotonic() + PATIENCE
    while cinema.account.data("GET", f"/video/v1/live-streams/{stream['id']}")["status"] != "active":
        assert time.monotonic() < until
        time.sleep(0.1)
    cinema.watch(visit, "live", src=url, stream_type="live")
    visit.until("player.currentTime > 0 && !player.paused")
    visit.page.wait_for_timeout(2500)
    leave(visit)
    cinema.account.send("POST", f"/_emulator/live-streams/{stream['id']}/disconnect", {})
    [view] = cinema.views("live")

    assert (view["video_stream_type"], view["live_stream_id"], view["video_duration"]) == ("live", stream["id"], None)
    assert view["video_title"] == "The film of a test"
    assert int(view["view_playing_time"]) > 1500
    assert 0 < view["live_stream_latency"] < 60_000
