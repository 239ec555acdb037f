"""Query parameters of the Data API: filters, periods, orders and pages, and errors that name the parameter."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mux_async.emulator import Token
from tests._examples import examples
from tests.emulator.data.asking import DAY, LIST, METRICS, NOON, ask, get, last_day, quiet_account, refused, rows
from tests.emulator.harness import Account, basic
from tests.generated import spec

ACCOUNT = quiet_account()
DIMENSIONS: list[str] = spec.schemas()["MetricBreakdownDimension"]["enum"]
EMPTY = "__empty__"


def every_id() -> set[str]:
    """Ids of the views of the last day."""
    return {view.id for view in last_day()}


def listed(*filters: str, **query: Any) -> set[str]:
    """Ids of the views in a list, from all its pages."""
    return {row["id"] for row in rows(ACCOUNT, LIST, filters=list(filters), **query)}


def having(dimension: str, *values: str | None) -> set[str]:
    return {view.id for view in last_day() if view.value(dimension) in values}


@pytest.mark.proof
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_partition(dimension: str) -> None:
    """A filter by a value and its negation select complementary sets of views, for every dimension."""
    value = last_day()[0].value(dimension)
    text = EMPTY if value is None else value
    kept, dropped = listed(f"{dimension}:{text}"), listed(f"!{dimension}:{text}")

    assert kept == having(dimension, value)
    assert kept | dropped == every_id()
    assert not kept & dropped


def test_alternatives() -> None:
    """Filters on one dimension are alternatives, filters on several must all match, and exclusions always apply."""
    assert listed("country:US", "country:DE") == having("country", "US", "DE")
    assert listed("country:US", "browser:Chrome") == having("country", "US") & having("browser", "Chrome")
    assert listed("country:US", "country:DE", "!country:DE") == having("country", "US")
    assert listed("!country:US", "!country:DE") == every_id() - having("country", "US", "DE")


def test_empty() -> None:
    """``__empty__`` stands for views without a value, and is one of the alternatives."""
    assert listed(f"cdn:{EMPTY}") == having("cdn", None)
    assert listed(f"cdn:{EMPTY}", "cdn:fastly") == having("cdn", None, "fastly")
    assert having("cdn", None)


def test_value_with_colon() -> None:
    """Only the first colon divides; booleans and numbers are written as text."""
    url = next(view["page_url"] for view in last_day() if view["page_url"] is not None)

    assert listed(f"page_url:{url}") == having("page_url", url)
    assert listed("playback_failure:true") == {view.id for view in last_day() if view["playback_failure"]}
    assert listed("asn:3320") == {view.id for view in last_day() if view["asn"] == 3320}


def test_trace() -> None:
    """For a trace, plus requires an element, minus excludes it, brackets match the whole list; an unescaped plus works, too."""
    with_fastly = {view.id for view in last_day() if "fastly" in view["video_cdn_trace"]}
    changed = {view.id for view in last_day() if view["video_cdn_trace"] == ["fastly", "akamai"]}

    assert listed("+video_cdn_trace:fastly") == with_fastly
    assert listed("-video_cdn_trace:fastly") == every_id() - with_fastly
    assert listed("video_cdn_trace:[fastly,akamai]") == listed("video_cdn_trace:[fastly, akamai]") == changed
    assert listed("!video_cdn_trace:[fastly,akamai]") == every_id() - changed
    assert changed
    bare = ACCOUNT.ok("GET", f"{LIST}?filters[]=+video_cdn_trace:fastly")
    assert bare["total_row_count"] == len(with_fastly)


@settings(max_examples=examples(30), deadline=None, derandomize=True)
@given(
    limit=st.integers(0, 6000),
    relation=st.sampled_from([(">=", "<"), ("<=", ">"), ("=", "!="), ("==", "!=")]),
    metric=st.sampled_from(["aggregate_startup_time", "rebuffer_count", "max_request_latency"]),
)
def test_metric_filter(limit: int, relation: tuple[str, str], metric: str) -> None:
    """A filter by a metric and its opposite select complementary sets of the views that have a value; other views match neither."""
    kept, dropped = (listed(metric_filters=[f"{metric}{sign}{limit}"]) for sign in relation)
    measured = {view.id for view in last_day() if view["watched"] or metric == "rebuffer_count"}

    assert kept | dropped == measured
    assert not kept & dropped


def test_viewer_and_error() -> None:
    """A viewer is found by either id, an error by its number."""
    view = next(view for view in last_day() if view["viewer_user_id"] is not None)
    theirs = {other.id for other in last_day() if other["mux_viewer_id"] == view["mux_viewer_id"]}
    failed = next(view for view in last_day() if view["error_type_id"] is not None)

    assert listed(viewer_id=view["viewer_user_id"]) == listed(viewer_id=view["mux_viewer_id"]) == theirs
    met = {view.id for view in last_day() if view["error_type_id"] == failed["error_type_id"]}
    assert listed(error_id=failed["error_type_id"]) == met
    assert listed(error_id=1) == set()


def test_pages() -> None:
    """Pages cover each row once, in order, newest first; past the end they are empty; more than 100 rows count as 100."""
    found = rows(ACCOUNT, LIST)
    by_sevens = [
        row["id"] for page in range(1, 11) for row in ask(ACCOUNT, LIST, page=page, limit=7)["data"]
    ]  # fmt: skip
    ends = [row["view_end"] for row in found]

    assert len({row["id"] for row in found}) == len(found) == ask(ACCOUNT, LIST)["total_row_count"] == len(last_day())
    assert by_sevens == [row["id"] for row in found[:70]]
    assert ends == sorted(ends, reverse=True)
    assert [row["id"] for row in rows(ACCOUNT, LIST, order_direction="asc")] == [row["id"] for row in reversed(found)]
    assert {row["total_row_count"] for row in found} == {len(last_day())}
    assert len(ask(ACCOUNT, LIST)["data"]) == 25
    assert len(ask(ACCOUNT, LIST, limit=1000)["data"]) == 100
    past = ask(ACCOUNT, LIST, page=1000)
    assert (past["data"], past["total_row_count"]) == ([], len(last_day()))


def test_timeframe() -> None:
    """Two times or a span up to now, the last 24 hours by default, always answered as two integers; the end is excluded."""
    now = int(NOON)
    for given_timeframe, wanted in [
        (None, [now - DAY, now]),
        (["3:hours"], [now - 3 * 3600, now]),
        (["1:day"], [now - DAY, now]),
        (["[24:hours]"], [now - DAY, now]),  # as Mux's AI package sends it
        (["90:minutes"], [now - 5400, now]),
        (["60:seconds"], [now - 60, now]),
        ([str(now - 500), str(now - 100)], [now - 500, now - 100]),
    ]:
        answer = ask(ACCOUNT, LIST, timeframe=given_timeframe)
        assert answer["timeframe"] == wanted
        assert answer["total_row_count"] == sum(wanted[0] <= view.end / 1000 < wanted[1] for view in last_day())
    cut = now - 3600
    halves = [ask(ACCOUNT, LIST, timeframe=[start, end])["total_row_count"] for start, end in [(now - DAY, cut), (cut, now)]]
    assert sum(halves) == len(last_day())


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"timeframe": ["tomorrow"]}, "timeframe[]"),
        ({"timeframe": ["7:weeks"]}, "timeframe[]"),
        ({"timeframe": ["[7:days"]}, "timeframe[]"),
        ({"timeframe": ["7:days]"]}, "timeframe[]"),
        ({"timeframe": ["0:days"]}, "timeframe[]"),
        ({"timeframe": ["999999999:days"]}, "timeframe[]"),
        ({"timeframe": ["1", "2", "3"]}, "timeframe[]"),
        ({"timeframe": ["1", "x"]}, "timeframe[]"),
        ({"timeframe": ["2", "1"]}, "timeframe[]"),
        ({"timeframe": ["1", "99999999999999"]}, "timeframe[]"),
        ({"timeframe": ["1", "٣"]}, "timeframe[]"),
        ({"filters": ["country"]}, "filters[]"),
        ({"filters": ["country:"]}, "filters[]"),
        ({"filters": [":US"]}, "filters[]"),
        ({"filters": ["planet:Earth"]}, "filters[]"),
        ({"filters": ["+country:US"]}, "filters[]"),
        ({"metric_filters": ["video_startup_time"]}, "metric_filters[]"),
        ({"metric_filters": ["joy>1"]}, "metric_filters[]"),
        ({"metric_filters": ["video_startup_time>fast"]}, "metric_filters[]"),
        ({"metric_filters": ["video_startup_time>nan"]}, "metric_filters[]"),
        ({"metric_filters": ["views>1"]}, "metric_filters[]"),
        ({"metric_filters": ["unique_viewers>1"]}, "metric_filters[]"),
        ({"metric_filters": ["exits_before_video_start>0"]}, "metric_filters[]"),
        ({"metric_filters": ["video_startup_failure_percentage>0"]}, "metric_filters[]"),
        ({"metric_filters": ["view_dropped_percentage>0"]}, "metric_filters[]"),
        ({"order_direction": "up"}, "order_direction"),
        ({"page": 0}, "page"),
        ({"limit": "many"}, "limit"),
        ({"error_id": "-1"}, "error_id"),
    ],
)
def test_malformed(query: dict[str, Any], named: str) -> None:
    """A parameter without meaning is a 400, whose message begins with the name of the parameter."""
    assert refused(ACCOUNT, LIST, **query).startswith(named)


@pytest.mark.parametrize(
    ("path", "query", "named"),
    [
        (f"{METRICS}/joy/overall", {}, "METRIC_ID"),
        (f"{METRICS}/views/overall", {"measurement": "mode"}, "measurement"),
        (f"{METRICS}/views/breakdown", {"group_by": "planet"}, "group_by"),
        (f"{METRICS}/views/breakdown", {"order_by": "luck"}, "order_by"),
        (f"{METRICS}/views/timeseries", {"group_by": "week"}, "group_by"),
        (f"{METRICS}/views/timeseries", {"group_by": "minute", "timeframe": ["0", "1767225600"]}, "timeframe[]"),
        (f"{METRICS}/comparison", {"dimension": "country"}, "value"),
        (f"{METRICS}/comparison", {"value": "US"}, "dimension"),
        (f"{METRICS}/comparison", {"dimension": "video_source_fps", "value": "30"}, "dimension"),
        ("/data/v1/dimensions/planet", {}, "DIMENSION_ID"),
        ("/data/v1/dimensions/country/elements", {}, "DIMENSION_ID"),
        ("/data/v1/filters/planet", {}, "FILTER_ID"),
        ("/data/v1/incidents", {"status": "sad"}, "status"),
        ("/data/v1/incidents", {"severity": "mild"}, "severity"),
        ("/data/v1/incidents/not-an-id", {}, "Incident id"),
        ("/data/v1/monitoring/metrics/joy/timeseries", {}, "MONITORING_METRIC_ID"),
        ("/data/v1/monitoring/metrics/current-concurrent-viewers/breakdown", {"dimension": "browser"}, "dimension"),
        ("/data/v1/monitoring/metrics/current-concurrent-viewers/breakdown", {"filters": ["browser:Chrome"]}, "filters[]"),
        ("/data/v1/monitoring/metrics/current-concurrent-viewers/timeseries", {"timestamp": int(NOON) + 9}, "timestamp"),
        ("/data/v1/monitoring/metrics/current-concurrent-viewers/histogram-timeseries", {}, "MONITORING_HISTOGRAM_METRIC_ID"),
        (
            "/data/v1/monitoring/metrics/current-concurrent-viewers/breakdown-timeseries",
            {"timeframe": ["11:minutes"]},
            "timeframe[]",
        ),
        (
            "/data/v1/monitoring/metrics/current-concurrent-viewers/breakdown-timeseries",
            {"timeframe": [int(NOON) - DAY - 60, int(NOON) - DAY]},
            "timeframe[]",
        ),
        ("/data/v1/realtime/metrics/video-startup-failure-percentage/timeseries", {}, "REALTIME_METRIC_ID"),
        ("/data/v1/realtime/metrics/current-average-bitrate/breakdown", {"dimension": "view_has_ad"}, "dimension"),
        ("/data/v1/subview-metrics/playing_time/chapter/overall", {}, "SUBVIEW_TYPE"),
        ("/data/v1/subview-metrics/joy/rendition/overall", {}, "METRIC_ID"),
        ("/data/v1/subview-metrics/playing_time/rendition/breakdown", {"group_by": ["planet"]}, "group_by[]"),
        ("/data/v1/subview-metrics/playing_time/rendition/overall", {"filters": ["+video_cdn_trace:a"]}, "filters[]"),
        ("/data/v1/subview-metrics/playing_time/rendition/comparison", {"values": ["US"]}, "dimension"),
        ("/data/v1/subview-metrics/playing_time/rendition/comparison", {"dimension": "country"}, "values[]"),
        (
            "/data/v1/subview-metrics/playing_time/rendition/comparison",
            {"dimension": "country", "values": list("abcde")},
            "values[]",
        ),
        ("/data/v1/subview-metrics/rendition/dimensions/planet", {}, "DIMENSION_NAME"),
        ("/data/v1/engagement/assets/short/heatmap", {}, "Asset id"),
        ("/data/v1/engagement/playback-ids/short/heatmap", {}, "Playback id"),
        ("/data/v1/annotations/7", {}, "Annotation id"),
    ],
)
def test_malformed_elsewhere(path: str, query: dict[str, Any], named: str) -> None:
    """The same holds for every family: paths, enumerations, and periods that are too long."""
    assert refused(ACCOUNT, path, **query).startswith(named)


@settings(max_examples=examples(60), deadline=None, derandomize=True)
@given(
    name=st.sampled_from(["filters", "metric_filters", "timeframe", "order_by", "page", "limit", "group_by", "value"]),
    values=st.lists(
        st.text(max_size=12) | st.sampled_from(["country:[", "!a:b", "+x:", "9" * 30, "views>", "1:day"]), max_size=3
    ),
    path=st.sampled_from([LIST, f"{METRICS}/views/breakdown", f"{METRICS}/comparison", "/data/v1/incidents"]),
)
def test_nothing_breaks(name: str, values: list[str], path: str) -> None:
    """Whatever a parameter holds, the answer is a success or a 400."""
    encodable = [value.encode("utf-8", "ignore").decode() for value in values]

    assert get(ACCOUNT, path, **{name: encodable or None}).status in {200, 400}


def test_dimension_values() -> None:
    """The values of a dimension, by the number of their views, which add up to all views. The deprecated path returns the same."""
    for dimension in ("country", "cdn", "video_series", "video_cdn_trace"):
        found = rows(ACCOUNT, f"/data/v1/dimensions/{dimension}")

        assert {row["value"]: row["total_count"] for row in found} == {
            value: len(having(dimension, value)) for value in {view.value(dimension) for view in last_day()}
        }
        counts = [row["total_count"] for row in found]
        assert counts == sorted(counts, reverse=True)
        assert sum(counts) == len(last_day())
        assert found == rows(ACCOUNT, f"/data/v1/filters/{dimension}")


def test_trace_elements() -> None:
    """Each element of a trace is counted once per view; rows can be ordered both ways."""
    path = "/data/v1/dimensions/video_cdn_trace/elements"
    found = {row["value"]: row["total_count"] for row in rows(ACCOUNT, path)}
    by_name = [row["value"] for row in rows(ACCOUNT, path, order_by="value")]

    assert found == {name: len(listed(f"+video_cdn_trace:{name}")) for name in ("fastly", "cloudflare", "akamai")}
    assert by_name == sorted(found)
    assert [row["value"] for row in rows(ACCOUNT, path, order_by="value", order_direction="desc")] == by_name[::-1]


def test_permissions() -> None:
    """Reading needs data:read, notes need data:write."""
    account = Account(
        tokens=(Token("reader", "r", permissions=("data:read",)), Token("video", "v", permissions=("video:read",)))
    )
    body = {"date": 1, "note": "x"}

    assert account.send("GET", LIST, authorization=basic("reader", "r")).status == 200
    assert account.send("POST", "/data/v1/annotations", body, authorization=basic("reader", "r")).status == 403
    assert account.send("GET", LIST, authorization=basic("video", "v")).status == 403
