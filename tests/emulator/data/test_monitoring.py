"""Monitoring shows views while they go on; its numbers agree with the records of the views after they have ended."""

from __future__ import annotations

import pytest

from tests.emulator.data.asking import DAY, NOON, View, ask, busy_account, near, quiet_account, views
from tests.emulator.harness import Account, Json

BASE = "/data/v1/monitoring/metrics"
CCV = f"{BASE}/current-concurrent-viewers"
NOW = int(NOON)


@pytest.fixture(scope="module")
def account() -> Account:
    return quiet_account()


@pytest.fixture(scope="module")
def known() -> list[View]:
    """The views around now, as recorded after all of them have ended."""
    later = busy_account()
    later.pass_time(4 * 3600)
    return views(later, NOON - 3600, NOON + 4 * 3600)


def watching(known: list[View], at: int) -> list[View]:
    return [view for view in known if view.is_watching(at)]


def test_concurrent_viewers(account: Account, known: list[View]) -> None:
    """Half an hour in steps of five seconds; each point counts the viewers who watch then according to later records."""
    answer = ask(account, f"{CCV}/timeseries")
    points: list[Json] = answer["data"]

    assert answer["timeframe"] == [NOW - 1800, NOW]
    assert len(points) == 361
    assert max(point["value"] for point in points) > 2
    for number, point in enumerate(points):
        at = NOW - NOW % 5 - 1800 + 5 * number
        assert point["value"] == point["concurrent_viewers"] == len(watching(known, at))


def test_breakdown(account: Account) -> None:
    """At any moment, viewers by country add up to the point of the series, and a filter keeps one row."""
    for at in range(NOW - NOW % 5 - 1800, NOW, 300):
        answer = ask(account, f"{CCV}/breakdown", dimension="country", timestamp=at)
        total = ask(account, f"{CCV}/timeseries", timestamp=at)["data"][0]["concurrent_viewers"]

        assert answer["timeframe"] == [at, at]
        assert sum(row["concurrent_viewers"] for row in answer["data"]) == total
        assert [row["negative_impact"] for row in answer["data"]] == list(range(1, len(answer["data"]) + 1))
        for row in answer["data"]:
            alone = ask(account, f"{CCV}/breakdown", dimension="country", timestamp=at, filters=[f"country:{row['value']}"])
            assert [(only["value"], only["metric_value"]) for only in alone["data"]] == [(row["value"], row["metric_value"])]


@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize(("order", "member"), [("value", "metric_value"), ("views", "concurrent_viewers"), ("field", "value")])
def test_order(account: Account, order: str, member: str, direction: str) -> None:
    """Rows have the requested order."""
    found = ask(account, f"{CCV}/breakdown", dimension="country", order_by=order, order_direction=direction)["data"]
    values = [row[member] for row in found]

    assert len(values) > 1
    assert values == sorted(values, reverse=direction == "desc")


def test_breakdown_timeseries(account: Account) -> None:
    """One minute by default; each point is a breakdown with at most ``limit`` values, by default ten."""
    answer = ask(account, f"{CCV}/breakdown-timeseries", dimension="country")
    long = ask(account, f"{CCV}/breakdown-timeseries", dimension="country", timeframe=["10:minutes"], limit=2)

    assert answer["timeframe"] == [NOW - 60, NOW]
    assert len(answer["data"]) == 13
    assert len(long["data"]) == 121
    assert max(len(point["values"]) for point in long["data"]) == 2
    for number, point in enumerate(answer["data"]):
        at = NOW - NOW % 5 - 60 + 5 * number
        rows = ask(account, f"{CCV}/breakdown", dimension="country", timestamp=at)["data"]
        assert [{name: row[name] for name in row if name != "negative_impact"} for row in rows][:10] == point["values"]


@pytest.mark.parametrize(
    "metric",
    [
        "current-rebuffering-percentage",
        "exits-before-video-start",
        "playback-failure-percentage",
        "video-startup-failure-percentage",
    ],
)
def test_shares(account: Account, metric: str) -> None:
    """Percentages are shares from 0 to 1, or null without viewers; over a day some are above 0."""
    found: list[float | None] = []
    for hour in range(24):
        points = ask(account, f"{BASE}/{metric}/timeseries", timestamp=NOW - DAY + hour * 3600)["data"]
        found += [point["value"] for point in points]

    assert all(value is None or 0 <= value <= 1 for value in found)
    assert any(value for value in found)
    assert any(value == 0 for value in found)


def test_bitrate(account: Account, known: list[View]) -> None:
    """The bitrate is the average of the current viewers."""
    point = ask(account, f"{BASE}/current-average-bitrate/timeseries", timestamp=NOW - NOW % 5 - 600)["data"][0]
    rates = [view["weighted_average_bitrate"] or 0 for view in watching(known, NOW - NOW % 5 - 600)]

    assert near(point["value"], sum(rates) / len(rates))


def test_stalls(account: Account, known: list[View]) -> None:
    """The share of stalled viewers at a moment is that of the views with a stall at that moment in their records."""
    stalled = [(start, view) for view in known for start, end in view.stalls if start // 1000 < NOW - 5 and end - start > 1500]
    start, _ = stalled[-1]
    at = start // 1000 + 1
    found = ask(account, f"{BASE}/current-rebuffering-percentage/breakdown", dimension="video_title", timestamp=at)["data"]
    there = watching(known, at)
    still = [view for view in there if any(begin <= at * 1000 < end for begin, end in view.stalls)]

    assert still
    assert near(sum(row["metric_value"] * row["concurrent_viewers"] for row in found), len(still))


def test_histogram(account: Account, known: list[View]) -> None:
    """One row per minute; its buckets count the views whose first frame is in that minute, and their shares add up to 1."""
    answer = ask(account, f"{BASE}/video-startup-time/histogram-timeseries")
    rows = answer["data"]
    times = [
        view["time_to_first_frame"]
        for view in known
        if any((NOW - 1800) * 1000 <= shown <= NOW * 1000 for shown in view.times("playing"))
    ]

    assert len(rows) == 31
    assert answer["meta"]["bucket_unit"] == "milliseconds"
    assert [bucket["start"] for bucket in answer["meta"]["buckets"]] == [0, 100, 500, 1000, 2000, 5000, 10_000]
    assert sum(row["sum"] for row in rows) == len(times) > 0
    for row in rows:
        assert sum(value["count"] for value in row["bucket_values"]) == row["sum"]
        assert near(sum(value["percentage"] for value in row["bucket_values"]), 1 if row["sum"] else 0)
        assert (row["median"] is None) is (row["sum"] == 0)
    slow = [index for index, bucket in enumerate(answer["meta"]["buckets"]) if bucket["start"] >= 1000]
    assert sum(row["bucket_values"][index]["count"] for row in rows for index in slow) == sum(time >= 1000 for time in times)


def test_twins(account: Account) -> None:
    """The deprecated paths return the same, with one metric and one dimension less."""
    old = "/data/v1/realtime"

    def names(path: str) -> list[str]:
        return [row["name"] for row in ask(account, path)["data"]]

    for end in ("timeseries", "breakdown"):
        path = f"metrics/current-concurrent-viewers/{end}"
        assert ask(account, f"{old}/{path}") == ask(account, f"/data/v1/monitoring/{path}")
    assert set(names("/data/v1/monitoring/dimensions")) - set(names(f"{old}/dimensions")) == {"view_has_ad"}
    assert set(names(BASE)) - set(names(f"{old}/metrics")) == {"video-startup-failure-percentage"}
    path = "metrics/video-startup-time/histogram-timeseries"
    assert ask(account, f"{old}/{path}") == ask(account, f"/data/v1/monitoring/{path}")
