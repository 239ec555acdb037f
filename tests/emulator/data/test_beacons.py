"""Beacons: batches of a player's events, in any order and of any content, become views of the Data API."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest

from mux_async.emulator import DEFAULT_TOKEN, Emulator, Fault, Request, Response, Token
from tests.emulator.data.asking import LIST, METRICS, ask, rows
from tests.emulator.harness import START, Account, Json, basic

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0"
WRONG = 7 * 3600 * 1000
"""By how much a player's clock may be wrong, in milliseconds."""
HOUR = 3600


def watching(data: Any = "watched", **settings: Any) -> Account:
    """An account that has watched views only, at a time that is not a whole second."""
    account = Account(data=data, **settings)
    account.clock.now = START + 1234.5
    return account


class Player:
    """A player as mux-embed is one: the first event has all fields, later ones what changed, and times are by its own clock."""

    def __init__(self, account: Account, view: str = "11111111-2222-4333-8444-555555555555", **fields: Any) -> None:
        self.account = account
        self.clock = account.clock.now * 1000 + fields.pop("wrong", 0)
        self.number = 0
        self.always = {"xid": view, "ake": fields.pop("ake", "development")}
        self.first = {
            "mvrid": "viewer-device-1",
            "vtt": "A title",
            "vid": "video-1",
            "uusid": "viewer-1",
            "pnm": "Player",
            "mapve": "2.1",
            "pswnm": "mux-player",
            "pswve": "3.14.0",
            "vsour": "https://video.example.com/a.mp4",
            "vsohn": "video.example.com",
            **fields,
        }
        self.queue: list[Json] = []

    def after(self, seconds: float) -> Player:
        """Let time pass, for the player and the emulator."""
        self.clock += seconds * 1000
        self.account.pass_time(seconds)
        return self

    def does(self, name: str, **changes: Any) -> Player:
        """Report an event."""
        self.number += 1
        first, self.first = self.first, {}
        self.queue.append({"e": name, "uti": self.clock, "xsqno": self.number, **self.always, **first, **changes})
        return self

    def starts(self) -> Player:
        return self.does("viewstart", xst=self.clock, xpntimscv=0).does("play")

    def plays(self, seconds: float, *, first_frame: int = 400) -> Player:
        """Start, show the first frame, and play for so long."""
        self.starts().after(first_frame / 1000)
        self.does("playing", xtitofifr=first_frame, xwati=first_frame, pphti=0)
        self.after(seconds)
        played = int(seconds * 1000)
        return self.does("hb", xwati=first_frame + played, xpntimscv=played, pphti=played, xmaphps=played)

    def batch(self) -> Json:
        """Return what was not sent yet."""
        sent, self.queue = self.queue, []
        return {"metadata": {"transmission_timestamp": self.clock}, "events": sent}

    def sends(self) -> Response:
        return post(self.account, self.batch())

    def ends(self) -> Response:
        self.does("viewend")
        return self.sends()


def post(account: Account, body: object, host: str = "localhost:8787", **headers: str) -> Response:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    given = {"Host": host, "User-Agent": FIREFOX, "Content-Type": "text/plain", **headers}
    return account.emulator.handle(Request("POST", "/", given, content, f"http://{host}"))


def listed(account: Account, **query: Any) -> list[Json]:
    """The views that are listed, with all fields."""
    return [account.data("GET", f"{LIST}/{row['id']}") for row in rows(account, LIST, **query)]


def test_view() -> None:
    """A view has what the player reported, and the browser and the system of its requests; the place of the viewer is unknown."""
    account = watching()
    player = Player(account, wrong=WRONG).plays(10)
    assert player.ends().status == 200
    [view] = listed(account)

    assert (view["view_playing_time"], view["watch_time"], view["time_to_first_frame"]) == ("10000", 10_400, 400)
    assert (view["view_start"], view["view_end"]) == ("2026-01-01T00:20:34.500Z", "2026-01-01T00:20:44.900Z")
    assert (view["id"], view["mux_viewer_id"]) == ("11111111-2222-4333-8444-555555555555", "viewer-device-1")
    assert (view["video_title"], view["video_id"], view["viewer_user_id"]) == ("A title", "video-1", "viewer-1")
    assert (view["viewer_application_name"], view["viewer_application_version"]) == ("Firefox", "143.0")
    assert (view["viewer_os_family"], view["viewer_os_version"]) == ("Windows", "10")
    assert (view["viewer_device_category"], view["platform_summary"]) == ("desktop", "Firefox on Windows")
    assert (view["country_code"], view["asn"], view["asset_id"]) == (None, None, None)
    assert [event["name"] for event in view["events"]] == ["viewstart", "play", "playing", "viewend"]


def test_agreement() -> None:
    """List, metrics, dimensions, filters, comparison and exports count the same views."""
    account = watching()
    for number in range(3):
        Player(account, f"view-{number}", vtt=f"Title {number % 2}", uusid=f"viewer-{number}").plays(10 + number).ends()

    assert len(listed(account, filters=["video_title:Title 0"])) == 2
    assert len(listed(account, viewer_id="viewer-1")) == 1
    assert account.data("GET", f"{METRICS}/views/overall")["value"] == 3
    assert account.data("GET", f"{METRICS}/playing_time/overall")["value"] == 33_000
    breakdown = ask(account, f"{METRICS}/playing_time/breakdown", group_by="video_title")["data"]
    assert {row["field"]: row["value"] for row in breakdown} == {"Title 0": 22_000, "Title 1": 11_000}
    points = ask(account, f"{METRICS}/playing_time/timeseries", timeframe=["1:hours"])["data"]
    assert sum(value or 0 for _, value, _ in points) == 33_000
    totals = account.data("GET", f"{METRICS}/comparison")[0]
    assert (totals["view_count"], totals["started_views"], totals["total_playing_time"]) == (3, 3, 33_000)
    values = account.data("GET", "/data/v1/dimensions/browser")
    assert values == [{"value": "Firefox", "total_count": 3}]
    modes = account.data("GET", "/data/v1/subview-metrics/playing_time/playback_mode/breakdown")
    assert modes == [{"breakdown_value": "standard", "metric_value": 33_000}]
    insights = account.data("GET", f"{METRICS}/playing_time/insights")
    assert {row["filter_value"] for row in insights if row["filter_column"] == "video_title"} <= {"Title 0", "Title 1"}
    account.pass_time(86_400)
    files = account.data("GET", "/data/v1/exports/views")[0]["files"]
    export = account.emulator.handle(Request("GET", files[0]["path"].removeprefix("http://emulator.test")))
    assert len(gzip.decompress(export.body).splitlines()) == 4


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1), (0, 0, 1, 3, 2, 3, 1)])
def test_order_of_batches(order: Iterable[int]) -> None:
    """Batches that arrive twice or in any order make the same view."""
    account = watching()
    player = Player(account)
    batches = [player.plays(3).batch()]
    batches.append(player.does("rebufferstart", xreco=1).after(2).does("rebufferend", xredu=2000, xwati=5400).batch())
    batches.append(player.after(4).does("pause", xpntimscv=7000, pphti=7000, vtt="Another title").batch())
    batches.append(player.does("viewend", xpntimscv=7000, xwati=9400, xreco=1, xredu=2000, xst=START * 1000 + 1234_500).batch())
    for number in order:
        post(account, batches[number])
    [view] = listed(account)

    assert (view["view_playing_time"], view["watch_time"], view["video_title"]) == ("7000", 9400, "Another title")
    assert (view["buffering_count"], view["buffering_duration"], view["time_to_first_frame"]) == (1, 2000, 400)
    assert [event["name"] for event in view["events"]] == [
        *("viewstart", "play", "playing", "rebufferstart", "rebufferend", "pause", "viewend"),
    ]


def test_after_the_end() -> None:
    """What a view reports after its end changes nothing."""
    account = watching()
    player = Player(account).plays(5)
    player.ends()
    before = listed(account)
    player.after(60).does("playing", xpntimscv=60_000, vtt="Too late").sends()
    account.pass_time(1)

    assert listed(account) == before


def test_in_progress() -> None:
    """A view that goes on is in monitoring, with its videos and counts, and in no list before it has ended."""
    account = watching()
    player = Player(account).starts().after(1)
    player.sends()
    breakdown = "/data/v1/monitoring/metrics/current-concurrent-viewers/breakdown?dimension=video_title"

    def viewers() -> list[tuple[str, int, int]]:
        rows: list[Json] = account.data("GET", breakdown)
        return [(row["value"], row["concurrent_viewers"], row["starting_up_viewers"]) for row in rows]

    assert viewers() == [("A title", 0, 1)]
    player.after(1).does("playing", xtitofifr=1000, xwati=1000).sends()
    assert viewers() == [("A title", 1, 0)]
    assert account.data("GET", "/data/v1/realtime/metrics/current-concurrent-viewers/breakdown")[0]["concurrent_viewers"] == 1
    assert listed(account) == []
    player.after(10).does("rebufferstart", xreco=1).after(1).sends()
    assert account.data("GET", "/data/v1/monitoring/metrics/current-rebuffering-percentage/breakdown")[0]["metric_value"] == 1
    player.does("rebufferend").after(1).ends()
    account.pass_time(1)
    assert viewers() == []
    assert len(listed(account)) == 1


def test_long_pause() -> None:
    """Who pauses is not watching, and a pause of fifty minutes is part of the view but neither playing nor watch time."""
    account = watching()
    player = Player(account).plays(10).does("pause", xpntimscv=10_000)
    player.after(1).sends()
    counts = "/data/v1/monitoring/metrics/current-concurrent-viewers/timeseries"
    assert account.data("GET", counts)[-1]["concurrent_viewers"] == 0
    player.after(3000).does("play").does("playing").after(5).does("hb", xpntimscv=15_000, xwati=15_400)
    player.sends()
    assert account.data("GET", counts)[-1]["concurrent_viewers"] == 1
    player.ends()
    [view] = listed(account)

    assert (view["view_playing_time"], view["watch_time"]) == ("15000", 15_400)
    assert (view["view_start"], view["view_end"]) == ("2026-01-01T00:20:34.500Z", "2026-01-01T01:10:50.900Z")
    at = int(START + 1234 + 100)
    assert account.data("GET", f"{counts}?timestamp={at}")[0]["concurrent_viewers"] == 0


def test_silence() -> None:
    """A view without an end is over after an hour of silence, at its last event; a player that never played is forgotten."""
    account = watching()
    Player(account).plays(20).sends()
    Player(account, "never-played").does("playerready").sends()
    account.pass_time(HOUR - 1)
    assert listed(account) == []
    account.pass_time(2)
    [view] = listed(account)

    assert (view["view_end"], view["exit_before_video_start"]) == ("2026-01-01T00:20:54.900Z", False)
    assert Player(account, "never-played").ends().status == 200
    assert len(listed(account)) == 1


def test_two_tabs() -> None:
    """Two tabs of one viewer are two views of one viewer."""
    account = watching()
    one, other = Player(account, "tab-1"), Player(account, "tab-2")
    one.plays(5)
    other.clock = one.clock
    other.plays(5)
    post(account, {"events": [event for pair in zip(one.queue, other.queue, strict=True) for event in pair]})
    one.queue.clear()
    other.queue.clear()
    one.ends()
    other.ends()

    assert [view["view_playing_time"] for view in listed(account)] == ["5000", "5000"]
    assert account.data("GET", f"{METRICS}/unique_viewers/overall")["value"] == 1


@pytest.mark.parametrize("wrong", [-WRONG, WRONG, -50 * 365 * 86_400_000])
def test_wrong_clock(wrong: float) -> None:
    """A viewer's clock that is wrong moves nothing, and one that is set meanwhile does not lengthen the view."""
    account = watching()
    player = Player(account, wrong=wrong).plays(10)
    player.sends()
    player.clock += WRONG
    player.after(10).does("hb", xwati=20_400 + WRONG, xpntimscv=20_000).ends()
    [view] = listed(account)

    assert (view["view_start"], view["view_end"]) == ("2026-01-01T00:20:34.500Z", "2026-01-01T00:20:54.900Z")
    assert (view["watch_time"], view["view_playing_time"]) == (20_400, "20000")


def test_still_clock() -> None:
    """If the emulator's clock stands still, times between events are those of the viewer."""
    account = watching()
    player = Player(account).plays(10)
    account.clock.now = START + 1234.5
    player.sends()
    player.clock += 5000
    player.does("hb", xpntimscv=15_000, xwati=15_400).ends()
    [view] = listed(account)

    assert (view["view_start"], view["view_end"]) == ("2026-01-01T00:20:19.100Z", "2026-01-01T00:20:34.500Z")


def test_renditions_and_modes() -> None:
    """Playing time is divided by the renditions and modes that the player reports."""
    account = watching()
    player = Player(account).starts()
    small = {"vsowd": 640, "vsoht": 360, "vsobi": 800_000, "vsonm": "360p", "vsocc": "avc1.4d401e", "vsofp": 25}
    large = {"vsowd": 1920, "vsoht": 1080, "vsobi": 5_000_000, "vsonm": "1080p", "vsocc": "hvc1.1.6", "vsofp": 50}
    player.does("renditionchange", vsowd=0, vsoht=0).does("playing", xtitofifr=300).does("renditionchange", **small)
    player.after(4).does("renditionchange", xpntimscv=4000, **large)
    player.after(4).does("playbackmodechange", xpntimscv=8000, ppbmp="fullscreen")
    player.after(2).does("viewend", xpntimscv=10_000, xwati=10_300).sends()
    [view] = listed(account)

    renditions = account.data("GET", "/data/v1/subview-metrics/playing_time/rendition/breakdown?group_by[]=video_source_height")
    assert renditions == [{"breakdown_value": "1080", "metric_value": 6000}, {"breakdown_value": "360", "metric_value": 4000}]
    modes = account.data("GET", "/data/v1/subview-metrics/playing_time/playback_mode/breakdown")
    assert {row["breakdown_value"]: row["metric_value"] for row in modes} == {"standard": 8000, "fullscreen": 2000}
    assert view["weighted_average_bitrate"] == (4 * 800_000 + 6 * 5_000_000) / 10
    assert (view["rendition_change_count"], view["rendition_upshift_count"], view["used_fullscreen"]) == (1, 1, True)
    assert (view["video_codec_initial"], view["video_codec"], view["video_source_fps"]) == ("avc", "hevc", 50)


def test_errors() -> None:
    """Errors end playback, exceptions of the business are no failures, and warnings are neither."""
    account = watching()
    failed = {"percd": "3", "perme": "Broken media", "percz": "at 0:01"}
    Player(account, "error").plays(1).does("error", **failed).ends()
    Player(account, "startup").starts().does("error", **failed).ends()
    Player(account, "never-started").does("error", percd="2", perme="No network").ends()
    Player(account, "business").starts().does("error", percd="9", perme="Plan expired", perbzez=True).ends()
    Player(account, "warning").plays(1).does("error", percd="1", perme="Slow", persy="warning").ends()
    by_id = {view["id"]: view for view in listed(account)}
    found = sorted(
        (view["player_error_code"] or "", view["playback_failure"], view["video_startup_failure"]) for view in by_id.values()
    )

    assert found == [("", False, False), ("2", True, True), ("3", True, False), ("3", True, True), ("9", False, False)]
    errors = {row["message"]: (row["count"], row["code"], row["percentage"]) for row in account.data("GET", "/data/v1/errors")}
    assert errors == {"Broken media": (2, 3, 0.5), "No network": (1, 2, 0.25), "Plan expired": (1, 9, 0.25)}


def test_assets_and_live_streams() -> None:
    """The playback id in the source finds the asset or the live stream, whose title serves where the page gives none."""
    account = watching()
    asset = account.ready_asset(
        playback_policies=["public"], meta={"title": "Stored", "creator_id": "c-1", "external_id": "e-1"}
    )
    stream = account.data("POST", "/video/v1/live-streams", {"playback_policies": ["public"]})
    film, live = asset["playback_ids"][0]["id"], stream["playback_ids"][0]["id"]
    none: Json = {"vtt": None, "vid": None}
    Player(account, "film", vsour=f"https://stream.mux.com/{film}.m3u8?token=secret", **none).plays(1).ends()
    Player(account, "live", vsour=f"https://stream.mux.com/{live}.m3u8", vsoisli=True, **none).plays(1).does(
        "hb", ppgti=account.clock.now * 1000 - 9000
    ).ends()
    account.ok("DELETE", f"/video/v1/assets/{asset['id']}")
    first, second = sorted(listed(account), key=lambda view: view["video_stream_type"])

    assert (first["video_stream_type"], second["video_stream_type"]) == ("live", "on-demand")
    assert (first["live_stream_id"], first["playback_id"], first["video_duration"]) == (stream["id"], live, None)
    assert (first["live_stream_latency"], second["live_stream_latency"]) == (9000, None)
    assert (second["asset_id"], second["playback_id"]) == (asset["id"], film)
    assert (second["video_title"], second["video_id"], second["video_creator_id"]) == ("Stored", "e-1", "c-1")
    assert "secret" not in str(second)


TOKENS = (DEFAULT_TOKEN, Token("two", "secret", "production"))


def test_environments() -> None:
    """The key names the environment, by its id or its name, in the beacon or in the host; without one the playback id does."""
    account = watching(tokens=TOKENS)
    account.ready_asset(playback_policies=["public"])
    playback_id = account.data("GET", "/video/v1/assets")[0]["playback_ids"][0]["id"]
    other = account.send("GET", "/system/v1/whoami", authorization=basic("two", "secret")).json()["data"]["environment_id"]

    def where(key: str | None, source: str = "", host: str = "localhost:8787") -> str:
        view = f"{key}-{bool(source)}-{len(host)}"
        player = Player(account, view, ake=key, vsour=source or None).plays(1).does("viewend")
        assert post(account, player.batch(), host).status == 200
        for token in TOKENS:
            response = account.send("GET", LIST, authorization=basic(token.id, token.secret.reveal()))
            titles = [row["view_end"] for row in response.json()["data"]]
            if len(titles) > seen.get(token.environment, 0):
                seen[token.environment] = len(titles)
                return token.environment
        return "none"

    seen: dict[str, int] = {}
    url = f"http://localhost/{playback_id}.m3u8"
    assert where("production") == where(other) == "production"
    assert where(None, host=f"{other}.litix.io") == "production"
    assert where(None, url) == where(None, url, "inferred.litix.io") == where("key-of-a-real-account", url) == "development"
    assert where(None) == where(None, "https://example.com/a.mp4") == where("key-of-a-real-account") == "none"


def test_cors() -> None:
    """Pages of all origins may send beacons, with and without a preflight, on the collector's hosts too."""
    account = watching()
    for host in ("localhost:8787", "inferred.litix.io"):
        asked = {"Host": host, "Origin": "https://example.com", "Access-Control-Request-Method": "POST"}
        preflight = account.emulator.handle(Request("OPTIONS", "/", asked))
        assert (preflight.status, preflight.headers["Access-Control-Allow-Origin"]) == (204, "*")
        assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    for body in (b'{"events": []}', b"no JSON"):
        assert post(account, body).headers["Access-Control-Allow-Origin"] == "*"


def test_gzip() -> None:
    """Batches may be compressed; one that unpacks to more than the limit is refused."""
    account = watching()
    body = orjson.dumps(Player(account).plays(5).does("viewend").batch())
    assert post(account, gzip.compress(body), **{"Content-Encoding": "gzip"}).status == 200
    assert len(listed(account)) == 1

    assert post(account, gzip.compress(bytes(50_000_000)), **{"Content-Encoding": "gzip"}).status == 413
    assert post(account, b"no gzip", **{"Content-Encoding": "gzip"}).status == 400


def test_sources() -> None:
    """The Data API has generated views, watched ones, or both."""
    counts: dict[str, int] = {}
    for source in ("generated", "watched", "both"):
        account = watching(data=source)
        assert Player(account).plays(1).ends().status == 200
        counts[source] = account.data("GET", f"{METRICS}/views/overall")["value"]

    assert counts["watched"] == 1
    assert counts["both"] == counts["generated"] + 1 > 100


def test_restart(tmp_path: Path) -> None:
    """Watched views survive a restart, those that go on too."""
    account = watching(state=tmp_path / "state")
    Player(account, "ended").plays(5).ends()
    player = Player(account, "going").plays(5)
    player.sends()
    before = listed(account)
    account.emulator.close()
    account.emulator = Emulator(account.emulator.settings, clock=account.clock)
    assert listed(account) == before
    player.after(5).does("hb", xpntimscv=10_000, xwati=10_400).ends()
    account.pass_time(1)
    player = Player(account, "silent").plays(5)
    player.sends()
    account.emulator.close()
    account.pass_time(2 * HOUR)
    account.emulator = Emulator(account.emulator.settings, clock=account.clock)

    assert [view["view_playing_time"] for view in listed(account)] == ["5000", "10000", "5000"]
    account.emulator.reset()
    assert listed(account) == []
    account.emulator.close()


def test_faults_and_arrivals() -> None:
    """Beacons are in the log of requests, and can be lost by faults; players repeat them."""
    account = watching()
    account.emulator.faults.add(Fault(method="POST", path="/", nth=1, status=503))
    batch = Player(account).plays(5).does("viewend").batch()
    assert [post(account, batch).status, post(account, batch).status] == [503, 200]

    assert [(arrival.path, arrival.status) for arrival in account.emulator.arrivals] == [("/", 503), ("/", 200)]
    assert len(listed(account)) == 1


def test_origin() -> None:
    """Beacons do not change the origin of URLs that are made outside of requests."""
    account = watching()
    asset = account.create_asset(generate_shots=True)
    post(account, {"events": []}, "abc123.litix.io")
    account.pass_time(10)

    events = [event.body for event in account.emulator.events]
    assert asset["id"] in events[-1]
    assert "http://emulator.test" in " ".join(events)
    assert "litix.io" not in " ".join(events)
