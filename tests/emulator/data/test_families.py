"""Errors, incidents, exports, subviews, engagement and annotations agree with the views."""

from __future__ import annotations

import csv
import gzip
import io
import statistics
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from mux_async.emulator import EmulatorSettings, Request
from tests.emulator.data.asking import DAY, LIST, METRICS, NOON, ask, busy_account, last_day, near, quiet_account, refused, rows
from tests.emulator.harness import Account, Json, target_of

ACCOUNT = quiet_account()
MIN_SAMPLE = 6
"""Views that must have ended in an hour for it to count for incidents."""


def overall(metric: str, **query: Any) -> Json:
    found: Json = ask(ACCOUNT, f"{METRICS}/{metric}/overall", **query)["data"]
    return found


def test_errors() -> None:
    """Counts of errors are those of the views with the error; shares are of all errors."""
    found = ask(ACCOUNT, "/data/v1/errors")["data"]

    assert sum(row["count"] for row in found) == sum(view["error_type_id"] is not None for view in last_day())
    assert near(sum(row["percentage"] for row in found), 1)
    for row in found:
        met = ask(ACCOUNT, LIST, error_id=row["id"], limit=1)
        assert row["count"] == met["total_row_count"]
        assert row["last_seen"] == met["data"][0]["view_end"]
        assert row["player_error_code"] == met["data"][0]["player_error_code"]


def test_incidents() -> None:
    """An incident counts the failed views of its value in its hours; lists can be filtered and ordered; incidents have related ones."""
    found = rows(ACCOUNT, "/data/v1/incidents")

    assert {row["status"] for row in found} <= {"open", "closed", "expired"}
    assert {row["severity"] for row in found} == {"warning", "alert"}
    assert [row["started_at"] for row in found] == sorted((row["started_at"] for row in found), reverse=True)
    for row in found:
        filters = [row["incident_key"].replace("=", ":"), "playback_failure:true"]
        failed = rows(ACCOUNT, LIST, timeframe=["7:days"], filters=filters)
        assert row["started_at"] in [view["view_end"] for view in failed]
        assert row["affected_views"] <= len(failed)
        assert row["measured_value"] == round(100 * row["affected_views"] / row["sample_size"], 2)
        assert (row["resolved_at"] is None) is (row["status"] != "closed")
        assert ask(ACCOUNT, f"/data/v1/incidents/{row['id']}")["data"] == row
    alerts = rows(ACCOUNT, "/data/v1/incidents", severity="alert")
    assert alerts == [row for row in found if row["severity"] == "alert"]
    by_rate = [row["measured_value"] for row in rows(ACCOUNT, "/data/v1/incidents", order_by="value")]
    assert by_rate == sorted(by_rate, reverse=True)
    related = rows(ACCOUNT, f"/data/v1/incidents/{found[0]['id']}/related")
    assert found[0]["id"] not in {row["id"] for row in related}
    assert {row["id"] for row in found if row["incident_key"] == found[0]["incident_key"]} - {found[0]["id"]} <= {
        row["id"] for row in related
    }
    assert ACCOUNT.error("GET", "/data/v1/incidents/nosuchone")[0] == 404


def by_hour(incident: Json, filters: list[str]) -> list[int]:
    """Count the views that ended in each hour of an incident, from its start to the hour that closed it."""
    start, end = (datetime.fromisoformat(incident[name]).timestamp() // 3600 for name in ("started_at", "resolved_at"))
    period = [int(start) * 3600, int(end) * 3600]
    found = ask(ACCOUNT, f"{METRICS}/views/timeseries", timeframe=period, group_by="hour", filters=filters)["data"]
    return [row[2] or 0 for row in found]


def test_hours_of_incidents() -> None:
    """Every counted hour of an incident is bad, the hour that closes it is good, and its numbers are the sums of the bad hours."""
    closed = rows(ACCOUNT, "/data/v1/incidents", status="closed")
    for row in closed:
        filters = [row["incident_key"].replace("=", ":")]
        whole, failures = by_hour(row, filters), by_hour(row, [*filters, "playback_failure:true"])
        ended, failed = zip(*[pair for pair in zip(whole, failures, strict=True) if pair[0] >= MIN_SAMPLE], strict=True)
        *bad, good = [part / count for part, count in zip(failed, ended, strict=True)]

        assert min(bad) >= 0.15 > good or failed[-1] < 3
        assert row["sample_size"] == sum(ended[:-1])
        assert row["affected_views"] == sum(failed[:-1])
    assert len(closed) > 2


def test_open_incident() -> None:
    """An incident is open while a CDN fails; later the same incident is closed or expired."""
    account = busy_account()
    opened: list[Json] = []
    while not opened:
        account.pass_time(3600)
        opened = rows(account, "/data/v1/incidents", status="open")
    one = opened[0]
    account.pass_time(DAY)
    later = ask(account, f"/data/v1/incidents/{one['id']}")["data"]

    assert one["resolved_at"] is None
    assert later["status"] in {"closed", "expired"}
    assert later["started_at"] == one["started_at"]


def test_exports() -> None:
    """Both operations list the same days; a file has a line for every view of its day; its URL expires."""
    account = busy_account()
    listed = ask(account, "/data/v1/exports/views")["data"]
    legacy = ask(account, "/data/v1/exports")["data"]
    assert [row["files"][0]["path"] for row in listed] == legacy

    def fetch(address: str) -> Any:
        return account.emulator.handle(Request("GET", target_of(address)))

    midnight = int(NOON) - int(NOON) % DAY
    for back in (1, len(listed)):
        (file,) = listed[back - 1]["files"]
        start = midnight - back * DAY
        lines = list(csv.DictReader(io.StringIO(gzip.decompress(fetch(file["path"]).body).decode())))
        shown = {view["id"]: view for view in rows(account, LIST, timeframe=[start, start + DAY])}
        assert {line["view_id"] for line in lines} == shown.keys()
        assert all(line["video_title"] == (shown[line["view_id"]]["video_title"] or "") for line in lines)
    address = listed[0]["files"][0]["path"]
    assert fetch(address[:-1] + ("0" if address[-1] != "0" else "1")).status == 403
    assert fetch(address.partition("?")[0]).status == 403
    assert account.emulator.handle(Request("GET", target_of(address.replace("csv", "tsv")))).status == 403
    account.pass_time(3601)
    assert fetch(address).status == 403


@pytest.mark.parametrize("kind", ["rendition", "playback_mode"])
def test_subviews(kind: str) -> None:
    """Playing time by subview adds up to the metric of that name, however it is grouped, filtered, compared or divided into hours."""
    base = f"/data/v1/subview-metrics/playing_time/{kind}"
    whole = ask(ACCOUNT, f"{base}/overall")["data"]["metric_value"]
    found = rows(ACCOUNT, f"{base}/breakdown")
    values = rows(ACCOUNT, f"/data/v1/subview-metrics/{kind}/dimensions/country")

    assert whole == overall("playing_time")["value"]
    assert sum(row["metric_value"] for row in found) == whole
    assert sum(row["playing_time"] for row in values) == whole
    assert [row["metric_value"] for row in found] == sorted((row["metric_value"] for row in found), reverse=True)
    compared = ask(ACCOUNT, f"{base}/comparison", dimension="country", values=["US", "DE"], breakdown_value_limit=100)["data"]
    for group in compared:
        alone = ask(ACCOUNT, f"{base}/breakdown", filters=[f"country:{group['dimension_value']}"], limit=100)["data"]
        assert group["values"] == alone
    now = int(NOON)
    hours = [now - now % 3600 - 6 * 3600, now - now % 3600]
    series = ask(ACCOUNT, f"{base}/breakdown-timeseries", timeframe=hours, breakdown_value_limit=100)
    assert (
        sum(row["metric_value"] for point in series["data"] for row in point["values"])
        == (overall("playing_time", timeframe=hours)["value"])
    )
    assert {point["status"] for point in series["data"]} == {"complete"}


def test_subview_details() -> None:
    """Rows are grouped by the given fields; the unfinished hour is left out; values can be searched; ``__empty__`` is a value."""
    base = "/data/v1/subview-metrics/playing_time/rendition"
    heights = ask(ACCOUNT, f"{base}/breakdown", group_by=["video_source_height"])
    series = ask(ACCOUNT, f"{base}/breakdown-timeseries", timeframe=["3:hours"])

    assert {row["breakdown_value"] for row in heights["data"]} == {"270", "360", "540", "720", "1080"}
    assert heights["meta"]["group_by"] == ["video_source_height"]
    assert len(series["data"]) == 3
    assert [point["status"] for point in series["data"]] == ["partial", "complete", "complete"]
    assert max(point["date"] for point in series["data"]) < series["meta"]["complete_through"]
    titles = rows(ACCOUNT, "/data/v1/subview-metrics/rendition/dimensions/video_title", query="KNIFE", order_by="value")
    assert [row["value"] for row in titles] == ["Knife Skills in Ten Minutes"]
    series_names = {row["value"] for row in rows(ACCOUNT, "/data/v1/subview-metrics/rendition/dimensions/video_series")}
    assert "__empty__" in series_names
    empty = ask(ACCOUNT, f"{base}/overall", filters=["video_series:__empty__"])["data"]["metric_value"]
    named = ask(ACCOUNT, f"{base}/overall", filters=["!video_series:__empty__"])["data"]["metric_value"]
    assert empty + named == overall("playing_time")["value"]
    only = ask(ACCOUNT, f"{base}/overall", filters=["video_source_height:720"])["data"]["metric_value"]
    assert only == next(row["metric_value"] for row in heights["data"] if row["breakdown_value"] == "720")


def test_heatmap() -> None:
    """The sum of a heatmap times the length of a part is the average playing time; the start is watched more than the end."""
    found = ask(ACCOUNT, "/data/v1/engagement/videos/harbour-s1e1/heatmap")["data"]
    watching = [view for view in last_day() if view["video_id"] == "harbour-s1e1"]
    duration = watching[0]["video_duration"]
    mean = sum(int(view["view_playing_time"]) for view in watching) / len(watching)

    assert found["total_views"] == len(watching)
    assert len(found["value"]) == 1000
    assert abs(sum(found["value"]) * duration / 1000 / mean - 1) < 1e-3
    assert statistics.fmean(found["value"][:100]) > statistics.fmean(found["value"][-100:])


def test_hotspots() -> None:
    """Hotspots are the most watched parts of the heatmap, or the least watched ones, with scores from 0 to 1."""
    path = "/data/v1/engagement/videos/kitchen-101/hotspots"
    hot = ask(ACCOUNT, path, limit=100)["data"]["hotspots"]
    cold = ask(ACCOUNT, path, order_direction="asc", limit=3)["data"]["hotspots"]
    heat = ask(ACCOUNT, "/data/v1/engagement/videos/kitchen-101/heatmap")["data"]["value"]

    assert [spot["score"] for spot in hot] == sorted((spot["score"] for spot in hot), reverse=True)
    assert hot[0]["score"] == 1
    assert len(ask(ACCOUNT, path)["data"]["hotspots"]) == 5
    assert [spot["score"] for spot in cold] == [spot["score"] for spot in hot[::-1][:3]]
    ordered = sorted(hot, key=lambda spot: spot["start_ms"])
    assert [spot["end_ms"] for spot in ordered[:-1]] == [spot["start_ms"] for spot in ordered[1:]]
    assert (ordered[0]["start_ms"], ordered[-1]["end_ms"]) == (0, 612_000)
    size = len(heat) / len(ordered)
    means = [statistics.fmean(heat[int(n * size) : int((n + 1) * size)]) for n in range(len(ordered))]
    hottest = max(range(len(means)), key=means.__getitem__)
    assert abs(ordered.index(hot[0]) - hottest) <= 1


def test_engagement_of_own() -> None:
    """An asset, its playback id and its video id have the same heatmap; an unknown id is a 404, an unwatched asset has zeros."""
    account = Account(EmulatorSettings(limits=None, time_to_ready=0.0))
    account.clock.now = NOON
    asset = account.create_asset(playback_policies=["public"])
    preparing = Account(EmulatorSettings(limits=None, seed=1, time_to_ready=60.0))
    unwatched = preparing.create_asset()
    playback_id = asset["playback_ids"][0]["id"]
    paths = [f"assets/{asset['id']}", f"playback-ids/{playback_id}", f"videos/{asset['id']}"]
    found = [ask(account, f"/data/v1/engagement/{path}/heatmap")["data"] for path in paths]

    assert found[0] == found[1] == found[2]
    assert found[0]["total_views"] > 100
    assert 10 <= len(found[0]["value"]) <= 1000
    assert preparing.data("GET", f"/data/v1/engagement/assets/{unwatched['id']}/heatmap") == {
        "total_views": 0,
        "value": [0.0] * 10,
    }
    assert preparing.data("GET", f"/data/v1/engagement/assets/{unwatched['id']}/hotspots") == {"total_views": 0, "hotspots": []}
    for path in (f"assets/{unwatched['id']}", f"playback-ids/{unwatched['id']}", "videos/nothing"):
        assert account.error("GET", f"/data/v1/engagement/{path}/heatmap")[0] == 404


def test_annotations() -> None:
    """Annotations are created, read, changed, listed by date with and without a period, and deleted."""
    account = busy_account()
    base = "/data/v1/annotations"
    dates = [int(NOON) - 3600, int(NOON) + DAY, int(NOON) - 3 * DAY]
    made = [account.data("POST", base, {"date": date, "note": f"note {n}"}) for n, date in enumerate(dates)]
    changed = account.data("PATCH", f"{base}/{made[0]['id']}", {"date": dates[0] + 1, "note": "later", "sub_property_id": "tv"})

    assert made[0] == {"id": made[0]["id"], "date": "2026-01-01T11:20:34.000Z", "note": "note 0", "sub_property_id": None}
    assert changed == {**made[0], "date": "2026-01-01T11:20:35.000Z", "note": "later", "sub_property_id": "tv"}
    assert account.data("GET", f"{base}/{made[0]['id']}") == changed
    everything = ask(account, base)
    assert [note["id"] for note in everything["data"]] == [made[n]["id"] for n in (1, 0, 2)]
    assert everything["total_row_count"] == 3
    recent = ask(account, base, timeframe=["1:day"], order_direction="asc")
    assert [note["id"] for note in recent["data"]] == [made[0]["id"]]
    assert account.send("DELETE", f"{base}/{made[0]['id']}").status == 204
    assert account.error("GET", f"{base}/{made[0]['id']}")[0] == 404
    assert account.error("DELETE", f"{base}/{made[0]['id']}")[0] == 404
    for body in (
        {},
        {"date": 1},
        {"note": "x"},
        {"date": "soon", "note": "x"},
        {"date": 1.5, "note": "x"},
        {"date": 1, "note": 2},
    ):
        status, _, messages = account.error("POST", base, body)
        assert status == 400
        assert all(message.startswith(("date", "note")) for message in messages)
        assert account.error("PATCH", f"{base}/{made[1]['id']}", body)[0] == 400
    assert refused(account, base, timeframe=["x"]).startswith("timeframe[]")


def test_annotations_are_kept(tmp_path: Path) -> None:
    """With a state file, annotations and views are the same after a restart."""
    settings = EmulatorSettings(limits=None, state=tmp_path / "state")
    one = busy_account(settings=settings)
    note = one.data("POST", "/data/v1/annotations", {"date": 1, "note": "before"})
    one.data("PATCH", f"/data/v1/annotations/{note['id']}", {"date": 2, "note": "after"})
    seen = ask(one, LIST)
    one.emulator.close()
    other = busy_account(settings=settings)

    assert [row["note"] for row in ask(other, "/data/v1/annotations")["data"]] == ["after"]
    assert ask(other, LIST) == seen
    other.emulator.close()
