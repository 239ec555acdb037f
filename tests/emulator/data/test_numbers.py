"""All numbers are computed from the same views, so different operations return the same values."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from tests.emulator.data.asking import (
    DAY,
    LIST,
    METRICS,
    NOON,
    ask,
    busy_account,
    last_day,
    milliseconds,
    near,
    quiet_account,
    rows,
    views,
)
from tests.emulator.harness import Json
from tests.generated import spec

ACCOUNT = quiet_account()
EVERY_METRIC: list[str] = spec.schemas()["DataMetricId"]["enum"]


def overall(metric: str, **query: Any) -> Json:
    found: Json = ask(ACCOUNT, f"{METRICS}/{metric}/overall", **query)["data"]
    return found


def aggregation(metric: str) -> str:
    """The default measurement of a metric."""
    found: str = ask(ACCOUNT, f"{METRICS}/{metric}/overall")["meta"]["aggregation"]
    return found


def test_metrics_are_all() -> None:
    """Every metric of the facts exists, with the documented default measurement."""
    defaults = {metric: aggregation(metric) for metric in EVERY_METRIC}

    assert len(defaults) == 51
    assert defaults["video_startup_time"] == defaults["weighted_average_bitrate"] == defaults["rebuffer_count"] == "median"
    assert defaults["playback_failure_percentage"] == defaults["viewer_experience_score"] == defaults["seek_latency"] == "avg"
    assert defaults["ad_attempt_count"] == defaults["playing_time"] == "sum"
    assert defaults["unique_viewers"] == "count"


@pytest.mark.parametrize("metric", EVERY_METRIC)
def test_breakdown_and_overall(metric: str) -> None:
    """Rows of a breakdown add up to the overall views and watch time, and to the overall value if values can be added."""
    found = rows(ACCOUNT, f"{METRICS}/{metric}/breakdown", group_by="browser")
    whole = overall(metric)

    assert sum(row["views"] for row in found) == whole["total_views"]
    assert sum(row["total_watch_time"] for row in found) == whole["total_watch_time"]
    assert sum(row["total_playing_time"] for row in found) == whole["total_playing_time"]
    assert isinstance(whole["value"], int | float)
    assert any(row["value"] is not None for row in found)
    if metric == "views" or aggregation(metric) == "sum":
        assert sum(row["value"] for row in found) == whole["value"]
    elif aggregation(metric) == "avg":
        mean = sum(row["value"] * row["views"] for row in found) / whole["total_views"]
        assert near(mean, whole["value"])
    assert whole["total_views"] > 0


@pytest.mark.parametrize("metric", ["video_startup_time", "viewer_experience_score", "unique_viewers", "ad_break_count"])
def test_row_is_a_filtered_overall(metric: str) -> None:
    """A row of a breakdown equals the overall value filtered by the row's value."""
    for row in rows(ACCOUNT, f"{METRICS}/{metric}/breakdown", group_by="cdn"):
        alone = overall(metric, filters=[f"cdn:{row['field'] or '__empty__'}"])

        assert (alone["value"], alone["total_views"]) == (row["value"], row["views"])
        assert alone["total_watch_time"] == row["total_watch_time"]


@pytest.mark.parametrize("measurement", ["95th", "median", "avg", "count", "sum"])
def test_measurements(measurement: str) -> None:
    """Each measurement is computed from the views' values as its name says."""
    values = [view["time_to_first_frame"] for view in last_day() if view["watched"]]
    value = overall("video_startup_time", measurement=measurement)["value"]
    wanted = {
        "median": statistics.median(values),
        "avg": statistics.fmean(values),
        "count": len(values),
        "sum": sum(values),
    }

    if measurement == "95th":
        assert sum(other <= value for other in values) / len(values) >= 0.95
        assert sum(other < value for other in values) / len(values) < 0.95
    else:
        assert near(value, wanted[measurement])


def test_one_value() -> None:
    """If only one view has a value, each measurement is that value, and the count is 1."""
    one = next(view for view in last_day() if view["watched"] and view["view_session_id"] is not None)

    def measured(measurement: str) -> float:
        value: float = overall(
            "video_startup_time", measurement=measurement, filters=[f"view_session_id:{one['view_session_id']}"]
        )["value"]
        return value

    assert {measured(name) for name in ("95th", "median", "avg", "sum")} == {one["time_to_first_frame"]}
    assert measured("count") == 1


@pytest.mark.parametrize("order", ["negative_impact", "value", "views", "field"])
@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_order(order: str, direction: str) -> None:
    """Rows have the requested order, and the pages of any size make up the whole list."""
    path = f"{METRICS}/video_startup_time/breakdown"
    found = rows(ACCOUNT, path, group_by="video_title", order_by=order, order_direction=direction)
    paged = [
        row
        for page in range(1, len(found) // 3 + 2)
        for row in ask(ACCOUNT, path, group_by="video_title", order_by=order, order_direction=direction, page=page, limit=3)[
            "data"
        ]
    ]
    values = [row[order] for row in found if row[order] is not None]

    assert values == sorted(values, reverse=direction == "desc")
    assert paged == found
    assert len({row["field"] for row in found}) == len(found)


def test_impact() -> None:
    """The impact is a rank: 1 for the row that worsens the metric most, weighted by views."""
    path = f"{METRICS}/viewer_experience_score/breakdown"
    found = rows(ACCOUNT, path, group_by="country")
    whole = overall("viewer_experience_score")["value"]
    harm = [(whole - row["value"]) * row["views"] for row in found]

    assert [row["negative_impact"] for row in found] == list(range(1, len(found) + 1))
    assert harm == sorted(harm, reverse=True)


@pytest.mark.parametrize(
    ("timeframe", "granularity"),
    [("89:minutes", "minute"), ("90:minutes", "ten_minutes"), ("6:hours", "hour"), ("7:days", "hour")],
)
def test_timeseries_and_list(timeframe: str, granularity: str) -> None:
    """Views of the points add up to the total of the list; the width of a point depends on the period; empty points are null."""
    answer = ask(ACCOUNT, f"{METRICS}/views/timeseries", timeframe=[timeframe])
    total = ask(ACCOUNT, LIST, timeframe=[timeframe])["total_row_count"]
    times = [row[0] for row in answer["data"]]

    assert sum(row[2] or 0 for row in answer["data"]) == sum(row[1] or 0 for row in answer["data"]) == total
    assert answer["meta"] == {"aggregation": "count", "granularity": granularity}
    assert times == sorted(set(times))
    assert len(times) == answer["total_row_count"]
    assert all((row[1] is None) is (row[2] is None) for row in answer["data"])


def test_long_timeseries() -> None:
    """More than 15 days are shown by day; three days by hour are 73 points, as recorded, unless they begin on the hour."""
    now = int(NOON)

    assert ask(ACCOUNT, f"{METRICS}/views/timeseries", timeframe=["16:days"])["meta"]["granularity"] == "day"
    assert ask(ACCOUNT, f"{METRICS}/views/timeseries", timeframe=["3:days"])["total_row_count"] == 73
    whole = [now - now % 3600 - 3 * DAY, now - now % 3600]
    assert ask(ACCOUNT, f"{METRICS}/views/timeseries", timeframe=whole)["total_row_count"] == 72


def test_point_is_an_overall() -> None:
    """A point of a series equals the overall value of its hour."""
    now = int(NOON)
    end = now - now % 3600
    answer = ask(ACCOUNT, f"{METRICS}/video_startup_time/timeseries", timeframe=[end - 5 * 3600, end], group_by="hour")
    for number, (_, value, count) in enumerate(answer["data"]):
        start = end - (5 - number) * 3600
        alone = overall("video_startup_time", timeframe=[start, start + 3600])
        assert (alone["value"], alone["total_views"]) == (value, count)
    backwards = ask(
        ACCOUNT,
        f"{METRICS}/video_startup_time/timeseries",
        timeframe=[end - 5 * 3600, end],
        group_by="hour",
        order_direction="desc",
    )
    assert backwards["data"] == answer["data"][::-1]


def test_comparison() -> None:
    """Every score and metric of a comparison equals the filtered overall value and the row of the breakdown."""
    totals, *scores = ask(ACCOUNT, f"{METRICS}/comparison", dimension="country", value="US")["data"]
    found = [score for score in scores if "value" in score] + [item for score in scores for item in score.get("items", ())]

    assert totals["view_count"] == totals["ended_views"] == overall("views", filters=["country:US"])["value"]
    assert totals["unique_viewers"] == overall("unique_viewers", filters=["country:US"])["value"]
    assert totals["watch_time"] == sum(view["watch_time"] for view in last_day() if view["country_code"] == "US")
    assert len(found) > 25
    for item in found:
        measurement = item.get("measurement")
        broken = rows(ACCOUNT, f"{METRICS}/{item['metric']}/breakdown", group_by="country", measurement=measurement)
        (row,) = [row for row in broken if row["field"] == "US"]
        assert (
            item["value"] == row["value"] == overall(item["metric"], filters=["country:US"], measurement=measurement)["value"]
        )


def test_comparison_of_all() -> None:
    """Without a dimension, a comparison counts all views; started views count whether they have ended or not."""
    totals = ask(ACCOUNT, f"{METRICS}/comparison", timeframe=["1:hour"])["data"][0]
    later = busy_account()
    later.pass_time(4 * 3600)
    now = int(NOON)
    known = views(later, now - 3600, now + 4 * 3600)
    started = [view for view in known if (now - 3600) * 1000 <= milliseconds(view["view_start"]) < now * 1000]

    assert totals["view_count"] == ask(ACCOUNT, LIST, timeframe=["1:hour"])["total_row_count"]
    assert totals["started_views"] == len(started)
    assert totals["started_views"] != totals["ended_views"]


def test_insights() -> None:
    """An insight is a row of a breakdown that worsens the metric, worst first; the order can be reversed."""
    found = ask(ACCOUNT, f"{METRICS}/video_startup_time/insights")["data"]
    scores = [row["negative_impact_score"] for row in found]

    assert scores == sorted(scores, reverse=True)
    assert min(scores) > 0
    for row in found[:5]:
        broken = rows(ACCOUNT, f"{METRICS}/video_startup_time/breakdown", group_by=row["filter_column"])
        (same,) = [other for other in broken if other["field"] == row["filter_value"]]
        assert (row["metric"], row["total_views"]) == (same["value"], same["views"])
        assert row["metric"] > overall("video_startup_time")["value"]
    turned = ask(ACCOUNT, f"{METRICS}/video_startup_time/insights", order_direction="asc")["data"]
    assert [row["negative_impact_score"] for row in turned] == scores[::-1]


def test_nothing_to_measure() -> None:
    """If no view matches, the results are zeros, empty lists and nulls, not errors."""
    nobody = {"filters": ["country:XX"]}

    assert overall("video_startup_time", **nobody)["value"] == 0
    assert overall("video_startup_time", measurement="count", **nobody)["value"] == 0
    assert ask(ACCOUNT, f"{METRICS}/video_startup_time/breakdown", **nobody)["data"] == []
    assert ask(ACCOUNT, f"{METRICS}/video_startup_time/insights", **nobody)["data"] == []
    totals, *scores = ask(ACCOUNT, f"{METRICS}/comparison", **nobody)["data"]
    assert totals["view_count"] == 0
    assert all("value" not in score for score in scores)
    assert ask(ACCOUNT, "/data/v1/errors", **nobody)["data"] == []
