"""The generated views: reproducible, whatever is asked when, and each consistent in itself."""

from __future__ import annotations

import pytest

from mux_async.emulator import DEFAULT_TOKEN, EmulatorSettings, Token
from mux_async.emulator.data._dataset import Dataset
from mux_async.emulator.data._library import Library
from mux_async.emulator.data._view_generator import MAX_SPAN
from mux_async.emulator.data._views import View
from tests.emulator.data.asking import DAY, LIST, NOON, ask, busy_account, milliseconds, quiet_account, refused, rows, views
from tests.emulator.harness import Account, basic


@pytest.fixture(scope="module")
def week() -> list[View]:
    """The views of the quiet account, which are generated once in a process, with what the API does not show of them."""
    environment = quiet_account().data("GET", "/system/v1/whoami")["environment_id"]
    dataset = Dataset(f"0/{environment}")
    dataset.update(Library(), NOON)
    return dataset.ended(0, int(NOON) * 1000)


def test_size(week: list[View]) -> None:
    """There are a few thousand views in a week, of several hundred viewers, each with an id of its own."""
    assert 4000 < len(week) < 6000
    assert len({view.id for view in week}) == len({view.record_id for view in week}) == len(week)
    assert 300 < len({view.viewer.mux_viewer_id for view in week}) < 1000


def test_same_seed() -> None:
    """The same seed gives the same views, in another emulator and in another order of requests; another seed gives others."""
    one, other, seeded = busy_account(), busy_account(), busy_account(seed=1)
    before = NOON - 2 * DAY, NOON - 2 * DAY + 3600
    hour = NOON - 3600, NOON
    views(other, *before)

    assert views(one, *hour) == views(other, *hour)
    assert views(one, *before) == views(other, *before)
    assert {row["id"] for row in rows(one, LIST)}.isdisjoint(row["id"] for row in rows(seeded, LIST))


def test_clock() -> None:
    """As time passes, views are added, and existing ones do not change."""
    account = busy_account()
    before = views(account, NOON - 3 * 3600, NOON)
    account.pass_time(3600)
    after = views(account, NOON - 3 * 3600, NOON + 3600)

    assert after[: len(before)] == before
    assert len(after) > len(before)
    assert all(view.end >= int(NOON) * 1000 for view in after[len(before) :])


def test_retention() -> None:
    """Nothing is older than a week, and nothing is from the future."""
    account = quiet_account()
    period = [0, int(NOON) + DAY]
    (newest,) = ask(account, LIST, timeframe=period, limit=1)["data"]
    (oldest,) = ask(account, LIST, timeframe=period, limit=1, order_direction="asc")["data"]

    assert NOON - 7 * DAY <= milliseconds(oldest["view_end"]) / 1000 < NOON - 6.9 * DAY
    assert NOON - DAY / 24 < milliseconds(newest["view_end"]) / 1000 <= NOON
    assert ask(account, LIST, timeframe=["0", "86400"])["total_row_count"] == 0


def test_agrees_with_itself(week: list[View]) -> None:
    """Watch time is waiting, playing, stalls and seeks; intervals and ranges add up to the playing time; stalls lie within the view."""
    for view in week:
        playback, rebuffering = view.playback, view.rebuffering
        parts = view.startup.waited, playback.view_playing_time, rebuffering.buffering_duration, playback.view_seek_duration

        assert view.view_end - view.view_start == view.watch_time == sum(parts) <= MAX_SPAN
        assert sum(stretch.playing_time for stretch in playback.stretches) == playback.view_playing_time
        if view.video.video_duration and playback.watched:
            assert sum(end - start for start, end in playback.watched_ranges) == playback.view_playing_time
            assert all(0 <= start < end <= view.video.video_duration for start, end in playback.watched_ranges)
        assert len(rebuffering.stalls) == rebuffering.buffering_count
        assert all(view.view_start <= start < end <= view.view_end for start, end in rebuffering.stalls)


def test_outcomes(week: list[View]) -> None:
    """A view that failed to start or was left before it started has no first frame; all others have one; every outcome occurs."""
    for view in week:
        outcome = view.outcome
        never = outcome.exit_before_video_start or outcome.video_startup_failure or outcome.video_startup_business_exception

        assert view.playback.watched is not never
        assert (view.startup.time_to_first_frame is None) is never
        assert (outcome.error_type_id is None) is not (outcome.playback_failure or outcome.playback_business_exception)
        assert 0 <= outcome.viewer_experience_score <= 1
    failed = sum(view.outcome.playback_failure for view in week) / len(week)
    assert 0.01 < failed < 0.1
    for flag in ("exit_before_video_start", "video_startup_failure", "playback_business_exception", "view_dropped"):
        assert any(getattr(view.outcome, flag) for view in week)


def test_own_assets() -> None:
    """Most views are of the account's own assets and live streams, with their ids and titles."""
    account = Account(EmulatorSettings(limits=None, time_to_ready=0.0))
    account.clock.now = NOON
    made = [account.create_asset(playback_policies=["public"], meta={"title": f"Film {n}"}) for n in range(4)]
    stream = account.data("POST", "/video/v1/live-streams", {"playback_policies": ["public"]})
    found = views(account, NOON - DAY / 2, NOON)
    share = {asset["id"]: sum(view["asset_id"] == asset["id"] for view in found) / len(found) for asset in made}

    assert all(0.08 < part < 0.22 for part in share.values())
    assert any(view["live_stream_id"] == stream["id"] for view in found)
    assert any(view["asset_id"] is None for view in found)
    of_first = {
        (view["video_title"], view["playback_id"], view["video_duration"])
        for view in found
        if view["asset_id"] == made[0]["id"]
    }
    duration = round(account.asset(made[0]["id"])["duration"] * 1000)
    assert of_first == {("Film 0", made[0]["playback_ids"][0]["id"], duration)}


def test_asset_comes_and_goes() -> None:
    """A new asset takes views from all others evenly; after it is deleted, the views are as before."""
    account = Account(EmulatorSettings(limits=None, time_to_ready=0.0))
    account.clock.now = NOON
    account.create_asset()
    before = {row["id"]: row["video_title"] for row in rows(account, LIST)}
    second = account.create_asset()
    during = {row["id"]: row["video_title"] for row in rows(account, LIST)}
    account.send("DELETE", f"/video/v1/assets/{second['id']}")
    after = {row["id"]: row["video_title"] for row in rows(account, LIST)}
    moved = [view_id for view_id in before if before[view_id] != during[view_id]]

    assert before == after
    assert before.keys() == during.keys()
    assert 0.25 < len(moved) / len(before) < 0.5
    assert {during[view_id] for view_id in moved} == {f"Asset {second['id'][:6]}"}


def test_environments() -> None:
    """Each environment has views of its own, and a view of one is not found in another."""
    other = Token("other", "other-secret", environment="production")
    account = busy_account(tokens=(DEFAULT_TOKEN, other))
    authorization = basic("other", "other-secret")
    mine = {row["id"] for row in ask(account, LIST)["data"]}
    theirs = [row["id"] for row in account.send("GET", LIST, authorization=authorization).json()["data"]]

    assert mine.isdisjoint(theirs)
    assert account.send("GET", f"{LIST}/{theirs[0]}", authorization=authorization).status == 200
    assert account.send("GET", f"{LIST}/{theirs[0]}").status == 404


def test_retrieve() -> None:
    """A single view has the fields of its row, and another id; its events are in order, from its start to its end."""
    account = quiet_account()
    for row in ask(account, LIST, limit=100)["data"]:
        view = account.data("GET", f"{LIST}/{row['id']}")

        assert view["view_id"] == row["id"] != view["id"]
        shared = row.keys() - {"id", "total_row_count", "viewer_experience_score"}
        assert {name: view[name] for name in shared} == {name: row[name] for name in shared}
        assert float(view["viewer_experience_score"]) == row["viewer_experience_score"]
        times = [event["event_time"] for event in view["events"]]
        names = [event["name"] for event in view["events"]]
        assert times == sorted(times)
        assert (names[0], names[-1]) == ("viewinit", "viewend")
        assert times[-1] - times[0] == view["watch_time"]
        assert names.count("rebufferstart") == view["buffering_count"]
        assert names.count("seeking") == view["view_seek_count"]
        assert ("error" in names) is (view["error_type_id"] is not None)


def test_unknown_view() -> None:
    """A malformed id is a 400, a well-formed unknown one a 404."""
    account = quiet_account()

    assert "somefakeid" in refused(account, f"{LIST}/somefakeid")
    assert account.error("GET", f"{LIST}/{'x' * 35}")[0] == 404


def test_reset() -> None:
    """After a reset the views are the same, and annotations are deleted."""
    account = busy_account()
    before = ask(account, LIST)
    account.data("POST", "/data/v1/annotations", {"date": 1, "note": "x"})
    account.send("POST", "/_emulator/reset")

    assert ask(account, LIST) == before
    assert ask(account, "/data/v1/annotations")["data"] == []
