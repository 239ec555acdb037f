"""Every operation of the Data API: the response is as described, and the SDK's client decodes all of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import anyio
import attrs
import pytest

from mux_async import LimitSettings, Mux, Page
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, serve
from mux_async.models import Model
from tests.emulator.data.asking import NOON, busy_account
from tests.emulator.described import validate_response
from tests.emulator.harness import Account
from tests.generated import spec

OPERATIONS = sorted(operation.id for operation in spec.operations() if operation.path.startswith("/data/"))


@attrs.frozen
class Known:
    """Ids of existing objects."""

    asset: str
    playback: str
    view: str
    incident: str
    note: str

    def fill(self, path: str) -> str:
        """Fill the parameters of a path."""
        names = {
            "ASSET_ID": self.asset,
            "PLAYBACK_ID": self.playback,
            "VIDEO_ID": "harbour-s1e1",
            "VIDEO_VIEW_ID": self.view,
            "INCIDENT_ID": self.incident,
            "ANNOTATION_ID": self.note,
            "DIMENSION_ID": "video_cdn_trace",
            "DIMENSION_NAME": "country",
            "FILTER_ID": "browser",
            "METRIC_ID": "playing_time",
            "MONITORING_METRIC_ID": "current-average-bitrate",
            "REALTIME_METRIC_ID": "current-average-bitrate",
            "MONITORING_HISTOGRAM_METRIC_ID": "video-startup-time",
            "REALTIME_HISTOGRAM_METRIC_ID": "video-startup-time",
            "SUBVIEW_TYPE": "rendition",
        }
        for name, value in names.items():
            path = path.replace(f"{{{name}}}", value)
        return path


@pytest.fixture(scope="module")
def account() -> Account:
    """One account for the module, because a week of views is slow to generate."""
    account = busy_account(settings=EmulatorSettings(limits=None, time_to_ready=0.0))
    account.create_asset(playback_policies=["public"])
    return account


@pytest.fixture(scope="module")
def kept(account: Account) -> Known:
    """The objects that no test deletes; no annotation."""
    (asset,) = account.data("GET", "/video/v1/assets")
    view = account.data("GET", "/data/v1/video-views")[0]["id"]
    incident = account.data("GET", "/data/v1/incidents")[0]["id"]
    return Known(asset["id"], asset["playback_ids"][0]["id"], view, incident, "")


@pytest.fixture
def known(account: Account, kept: Known) -> Known:
    """The objects, and an annotation of the test's own."""
    note = account.data("POST", "/data/v1/annotations", {"date": int(NOON), "note": "release"})
    return attrs.evolve(kept, note=note["id"])


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_described(account: Account, known: Known, operation_id: str) -> None:
    """A response has the described status and validates against its schema, with data and without."""
    operation = next(operation for operation in spec.operations() if operation.id == operation_id)
    body = {"date": int(NOON), "note": "x"} if operation.body else None
    path = known.fill(operation.path)
    query = "?dimension=country&values[]=US" if path.endswith("rendition/comparison") else ""

    validate_response(operation_id, account.send(operation.verb, path + query, body))
    names = {parameter["name"] for parameter in operation.parameters}
    if "filters[]" in names:
        more = "&" if query else "?"
        validate_response(operation_id, account.send(operation.verb, f"{path}{query}{more}filters[]=country:XX"))


@pytest.mark.parametrize("metric", spec.schemas()["DataMetricId"]["enum"])
def test_every_metric(account: Account, metric: str) -> None:
    """Every metric gets a described response from each operation on metrics."""
    for operation_id, end in [
        ("data.metrics.get_overall_values", "overall"),
        ("data.metrics.list_breakdown_values", "breakdown?group_by=video_cdn_trace"),
        ("data.metrics.get_timeseries", "timeseries"),
        ("data.metrics.get_insights", "insights"),
    ]:
        validate_response(operation_id, account.send("GET", f"/data/v1/metrics/{metric}/{end}"))


_STARTUP, _BITRATE = "video-startup-time", "current-average-bitrate"
Calls = Mapping[str, Callable[[Mux, Known], Awaitable[object]]]
CALLS: Calls = {
    "data.annotations.create": lambda mux, _: mux.data.annotations.create(date=datetime.fromtimestamp(NOON, UTC), note="x"),
    "data.annotations.delete": lambda mux, known: mux.data.annotations.delete(known.note),
    "data.annotations.list": lambda mux, _: mux.data.annotations.list(),
    "data.annotations.retrieve": lambda mux, known: mux.data.annotations.retrieve(known.note),
    "data.annotations.update": lambda mux, known: mux.data.annotations.update(
        known.note, date=datetime.fromtimestamp(NOON, UTC), note="y"
    ),
    "data.dimensions.list": lambda mux, _: mux.data.dimensions.list(),
    "data.dimensions.list_trace_elements": lambda mux, _: mux.data.dimensions.list_trace_elements("video_cdn_trace"),
    "data.dimensions.list_values": lambda mux, _: mux.data.dimensions.list_values("country"),
    "data.engagement.assets.heatmap": lambda mux, known: mux.data.engagement.assets.heatmap(known.asset),
    "data.engagement.assets.hotspots": lambda mux, known: mux.data.engagement.assets.hotspots(known.asset),
    "data.engagement.playback_ids.heatmap": lambda mux, known: mux.data.engagement.playback_ids.heatmap(known.playback),
    "data.engagement.playback_ids.hotspots": lambda mux, known: mux.data.engagement.playback_ids.hotspots(known.playback),
    "data.engagement.videos.heatmap": lambda mux, _: mux.data.engagement.videos.heatmap("kitchen-101"),
    "data.engagement.videos.hotspots": lambda mux, _: mux.data.engagement.videos.hotspots("kitchen-101"),
    "data.errors.list": lambda mux, _: mux.data.errors.list(timeframe="7:days"),
    "data.exports.list": lambda mux, _: mux.data.exports.list(),  # pyright: ignore[reportDeprecated]
    "data.exports.list_video_views": lambda mux, _: mux.data.exports.list_video_views(),
    "data.filters.list": lambda mux, _: mux.data.filters.list(),  # pyright: ignore[reportDeprecated]
    "data.filters.list_values": lambda mux, _: mux.data.filters.list_values("browser"),  # pyright: ignore[reportDeprecated]
    "data.incidents.list": lambda mux, _: mux.data.incidents.list(),
    "data.incidents.list_related": lambda mux, known: mux.data.incidents.list_related(known.incident),
    "data.incidents.retrieve": lambda mux, known: mux.data.incidents.retrieve(known.incident),
    "data.metrics.get_insights": lambda mux, _: mux.data.metrics.get_insights("video_startup_time"),
    "data.metrics.get_overall_values": lambda mux, _: mux.data.metrics.get_overall_values(
        "views", filters="+video_cdn_trace:fastly"
    ),
    "data.metrics.get_timeseries": lambda mux, _: mux.data.metrics.get_timeseries("views", group_by="hour"),
    "data.metrics.list": lambda mux, _: mux.data.metrics.list(dimension="country", value="US"),
    "data.metrics.list_breakdown_values": lambda mux, _: mux.data.metrics.list_breakdown_values("views", group_by="browser"),
    "data.monitoring.list_dimensions": lambda mux, _: mux.data.monitoring.list_dimensions(),
    "data.monitoring.metrics.get_breakdown": lambda mux, _: mux.data.monitoring.metrics.get_breakdown(
        "current-concurrent-viewers"
    ),
    "data.monitoring.metrics.get_breakdown_timeseries": lambda mux, _: mux.data.monitoring.metrics.get_breakdown_timeseries(
        "current-concurrent-viewers", dimension="country"
    ),
    "data.monitoring.metrics.get_histogram_timeseries": lambda mux, _: mux.data.monitoring.metrics.get_histogram_timeseries(
        "video-startup-time"
    ),
    "data.monitoring.metrics.get_timeseries": lambda mux, _: mux.data.monitoring.metrics.get_timeseries(
        "current-average-bitrate"
    ),
    "data.monitoring.metrics.list": lambda mux, _: mux.data.monitoring.metrics.list(),
    "data.real_time.list_dimensions": lambda mux, _: mux.data.real_time.list_dimensions(),  # pyright: ignore[reportDeprecated]
    "data.real_time.list_metrics": lambda mux, _: mux.data.real_time.list_metrics(),  # pyright: ignore[reportDeprecated]
    "data.real_time.retrieve_breakdown": lambda mux, _: mux.data.real_time.retrieve_breakdown(  # pyright: ignore[reportDeprecated]
        "current-concurrent-viewers"
    ),
    "data.real_time.retrieve_histogram_timeseries": lambda mux, _: mux.data.real_time.retrieve_histogram_timeseries(_STARTUP),  # pyright: ignore[reportDeprecated]
    "data.real_time.retrieve_timeseries": lambda mux, _: mux.data.real_time.retrieve_timeseries(_BITRATE),  # pyright: ignore[reportDeprecated]
    "data.subview_metrics.get_breakdown_timeseries": lambda mux, _: mux.data.subview_metrics.get_breakdown_timeseries(
        "playing_time", "rendition"
    ),
    "data.subview_metrics.get_overall_values": lambda mux, _: mux.data.subview_metrics.get_overall_values(
        "playing_time", "rendition"
    ),
    "data.subview_metrics.list_breakdown_values": lambda mux, _: mux.data.subview_metrics.list_breakdown_values(
        "playing_time", "rendition"
    ),
    "data.subview_metrics.list_comparison_values": lambda mux, _: mux.data.subview_metrics.list_comparison_values(
        "playing_time", "playback_mode", dimension="country", values=["US", "__empty__"]
    ),
    "data.subview_metrics.list_dimension_values": lambda mux, _: mux.data.subview_metrics.list_dimension_values(
        "rendition", "country"
    ),
    "data.subview_metrics.list_dimensions": lambda mux, _: mux.data.subview_metrics.list_dimensions("rendition"),
    "data.video_views.list": lambda mux, _: mux.data.video_views.list(filters=["!country:US"], timeframe="7:days"),
    "data.video_views.retrieve": lambda mux, known: mux.data.video_views.retrieve(known.view),
}


@asynccontextmanager
async def client(emulator: Emulator, door: str) -> AsyncGenerator[Mux, None]:
    given: dict[str, Any] = {
        "token_id": "test-token",
        "token_secret": "test-secret",
        "limits": LimitSettings(enabled=False),
        "account": f"data {id(emulator)}",
    }
    if door == "in-process":
        async with Mux(transport=EmulatorTransport(emulator), clock=anyio.current_time, **given) as mux:
            yield mux
    else:
        async with serve(emulator) as origin, Mux(base_url=origin, **given) as mux:
            yield mux


def unknown(value: object, where: str = "$") -> list[str]:
    """Return where a decoded value has members that its class does not know."""
    if isinstance(value, Page):
        return unknown(cast("Page[object, object]", value).envelope, where)
    if isinstance(value, Model):
        found = [f"{where}.{name}" for name in value.extra]
        for attribute in attrs.fields(type(value)):
            found += unknown(getattr(value, attribute.name, None), f"{where}.{attribute.name}")
        return found
    if isinstance(value, list):
        return [found for one in cast("list[object]", value) for found in unknown(one, f"{where}[]")]
    return []


def test_calls_are_all() -> None:
    """Each of the 46 operations is called below."""
    assert sorted(CALLS) == OPERATIONS
    assert len(OPERATIONS) == 46


@pytest.mark.anyio
@pytest.mark.virtual_time
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the deprecated twins are called on purpose
async def test_client(account: Account, known: Known) -> None:
    """The client decodes the response of every operation without unknown members."""
    emulator = account.emulator
    before = len(emulator.arrivals)
    async with client(emulator, "in-process") as mux:
        for operation_id in (*(name for name in CALLS if not name.endswith(".delete")), "data.annotations.delete"):
            answer = await CALLS[operation_id](mux, known)
            assert unknown(answer) == [], operation_id
    assert {arrival.status for arrival in emulator.arrivals[before:]} <= {200, 201, 204}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("anyio_backend", "door"),
    [("asyncio", "in-process"), ("trio", "in-process"), ("asyncio", "server")],
    indirect=["anyio_backend"],
)
async def test_doors(account: Account, known: Known, door: str) -> None:
    """The transport and the server give the same response as the emulator itself, for an operation of each family."""
    chosen = [
        "data.annotations.retrieve",
        "data.dimensions.list_values",
        "data.engagement.assets.heatmap",
        "data.errors.list",
        "data.incidents.list",
        "data.metrics.get_timeseries",
        "data.monitoring.metrics.get_breakdown",
        "data.subview_metrics.list_breakdown_values",
        "data.video_views.retrieve",
    ]
    async with client(account.emulator, door) as mux:
        for operation_id in chosen:
            operation = next(operation for operation in spec.operations() if operation.id == operation_id)
            path = known.fill(operation.path)
            answer = await mux.request("GET", path)
            assert answer.value == account.send("GET", path).json(), operation_id
            assert unknown(await CALLS[operation_id](mux, known)) == []
