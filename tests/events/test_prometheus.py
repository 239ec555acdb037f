"""The dashboard and the alerts of ``examples/observability``, against a real Prometheus that scrapes the example application under load."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Final

import aiohttp
import anyio
import attrs
import pytest
import uvicorn
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa

from examples.fastapi_app.app import create_app
from examples.fastapi_app.metrics import add_metrics
from mux_async import BucketSettings, LimitSettings, Mux, MuxError, RetryPolicy, Timeouts
from mux_async.emulator import Emulator, EmulatorSettings, Fault, RateRules, WebhookSettings
from mux_async.emulator.server import serve
from mux_async.ingest import Ingest, Journal, make_plan
from mux_async.limits import Bucket
from mux_async.signing import Signer
from mux_async.webhooks import WebhookRouter
from mux_async.webhooks.events import AssetEvent
from tests._servers import free_port, require, running
from tests.security.canaries import CANARIES, TOKEN_ID, leaks

FOLDER: Final = Path(__file__).parents[2] / "examples" / "observability"
_accounts = count()
Labels = tuple[str | None, ...]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
    return found


def panels() -> list[dict[str, Any]]:
    return [each for each in dashboard()["panels"] if each["type"] != "row"]


def rules() -> list[dict[str, str]]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait until *condition* returns something true. The caller limits the time."""
    while True:
        if await condition():
            return
        await anyio.sleep(0.1)


@attrs.frozen
class Prometheus:
    """A running server."""

    url: str
    session: aiohttp.ClientSession

    async def is_ready(self) -> bool:
        async with self.session.get(f"{self.url}/-/ready") as response:
            return response.status == 200

    async def query(self, expression: str) -> list[dict[str, Any]]:
        async with self.session.post(f"{self.url}/api/v1/query", data={"query": expression}) as response:
            answer = await response.json()
            assert answer["status"] == "success", (expression, answer)
            found: list[dict[str, Any]] = answer["data"]["result"]
            return found

    async def counts(self, expression: str, *labels: str) -> Counter[Labels]:
        """Return the values of the series of an expression that are not 0, by some labels."""
        found = Counter[Labels]()
        for each in await self.query(expression):
            found[tuple(each["metric"].get(label) for label in labels)] += int(float(each["value"][1]))
        return +found

    async def _has_scraped(self, times: int) -> bool:
        return (await self.counts("count_over_time(up[1h])")).total() >= times

    async def scraped(self) -> None:
        """Wait until a scrape that begins after this moment is stored: the one after the next."""
        before = (await self.counts("count_over_time(up[1h])")).total()
        with anyio.fail_after(20):
            await until(lambda: self._has_scraped(before + 2))


@asynccontextmanager
async def prometheus(target: int, folder: Path) -> AsyncGenerator[Prometheus]:
    """Run Prometheus, which scrapes *target* four times a second and evaluates our rules as often."""
    port = free_port()
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "250ms"}
    config["rule_files"] = [str(FOLDER / "alerts.yml")]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{target}"]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [
        require("prometheus"), f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
    ]  # fmt: skip
    with running(command, port, folder / "prometheus.log", patience=30):
        async with aiohttp.ClientSession() as session:
            found = Prometheus(f"http://127.0.0.1:{port}", session)
            with anyio.fail_after(30):
                await until(found.is_ready)
                await until(lambda: found.query("up == 1"))
            yield found


class Application:
    """The example application with metrics, in this event loop, and what makes a load on it."""

    def __init__(self, origin: str, port: int) -> None:
        fast = BucketSettings(rate=40.0, burst=40)
        self.hooks = WebhookRouter(CANARIES["webhook secret"])
        self.mux = Mux(
            token_id=TOKEN_ID,
            token_secret=CANARIES["token secret"],
            base_url=origin,
            account=f"prometheus-{next(_accounts)}",
            headers={"X-Own": CANARIES["header"]},
            limits=LimitSettings(post=fast, other=fast),
            timeouts=Timeouts(connect=5.0, read=5.0),
            retry=RetryPolicy(first=0.01, longest=0.05),
            share_reads=False,
            random=Random(7),
        )
        self.app = create_app(self.mux, self.hooks, Signer("key", rsa.generate_private_key(65537, 2048)))
        add_metrics(self.app, self.mux)
        self.url = f"http://127.0.0.1:{port}"
        self._server = uvicorn.Server(uvicorn.Config(self.app, host="127.0.0.1", port=port, log_level="error", lifespan="off"))
        self._handled = count()

        @self.hooks.on("video.asset.ready")
        async def fail_sometimes(event: AssetEvent) -> None:
            if next(self._handled) % 2:
                raise ValueError(f"no {event.id}")

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        async with self.mux, anyio.create_task_group() as tasks:
            tasks.start_soon(self._server.serve)
            with anyio.fail_after(20):
                await until(self._is_started)
            yield
            self._server.should_exit = True

    async def _is_started(self) -> bool:
        return self._server.started

    async def load(self, folder: Path, name: str) -> None:
        """Use everything that is measured: reads of all priorities, creates, the application's page, an ingest, webhooks."""
        (folder / name).mkdir()
        for number in range(3):
            (folder / name / f"{name}-{number}.mp4").write_bytes(bytes(200_000 + number))
        with Journal.in_memory() as journal:
            assert (await Ingest(self.mux, make_plan([folder / name]).items, journal=journal).run()).is_complete
        async with aiohttp.ClientSession() as session, anyio.create_task_group() as tasks:
            for number in range(90):
                client = self.mux.with_options(priority=("interactive", "default", "batch")[number % 3])
                tasks.start_soon(quietly, lambda client=client, number=number: client.video.assets.list(limit=number + 1))
            for number in range(12):
                tasks.start_soon(quietly, lambda number=number: self.mux.video.live_streams.retrieve(f"{number}"))
                tasks.start_soon(self._upload, session, f"{name} {number}")
            tasks.start_soon(self._forge, session)

    async def _upload(self, session: aiohttp.ClientSession, title: str) -> None:
        async with session.post(f"{self.url}/uploads", json={"title": title}) as response:
            if response.status != 200:
                return
            upload = await response.json()
        async with session.put(upload["url"], data=b"x" * 1000):
            pass

    async def _forge(self, session: aiohttp.ClientSession) -> None:
        async with session.post(f"{self.url}/webhooks/mux", data=b"{}") as response:
            assert response.status == 400


async def quietly(call: Callable[[], Any]) -> None:
    try:
        await call()
    except MuxError:
        return


@pytest.mark.proof
@pytest.mark.asyncio
async def test_dashboard_rules_and_counts(tmp_path: Path) -> None:
    """Every query of the dashboard and of the rules returns data, and what Prometheus has counted is what the emulator has, exactly.

    With faults, 429s, retries, uploads, an ingest, webhooks that fail and one that is forged; and no secret is in what was scraped.
    """
    port = free_port()
    few = RateRules(rates={**RateRules().rates, Bucket.POST: 12.0, Bucket.OTHER: 30.0}, burst=1.0)
    emulator = Emulator(
        EmulatorSettings(
            tokens=(attrs.evolve(EmulatorSettings().tokens[0], id=TOKEN_ID, secret=CANARIES["token secret"]),),
            limits=few,
            time_to_ready=0.2,
            webhooks=(WebhookSettings(f"http://127.0.0.1:{port}/webhooks/mux", CANARIES["webhook secret"]),),
        )
    )
    emulator.faults.add(Fault(method="GET", path="/video/v1/assets", nth=range(3, 1000, 7), status=503))
    emulator.faults.add(Fault(method="GET", path="/video/v1/assets", nth=range(5, 1000, 11), cut="before"))
    emulator.faults.add(Fault(method="GET", path="/video/v1/assets", nth=range(6, 1000, 13), truncate=10))
    async with serve(emulator) as origin:
        application = Application(origin, port)
        async with application.run(), prometheus(port, tmp_path) as server:
            await application.load(tmp_path, "first")  # every series appears
            await server.scraped()
            await application.load(tmp_path, "second")  # every one grows
            await server.scraped()

            empty = list[str]()
            for panel in panels():
                for target in panel["targets"]:
                    expression = target["expr"].replace("$__rate_interval", "30s").replace("$job", ".*")
                    if not await server.query(f"({expression}) >= 0"):  # neither nothing nor NaN
                        empty.append(f"{panel['title']}: {expression}")
            for rule in rules():
                if "record" in rule and not (await server.query(f"{rule['record']} >= 0")):
                    empty.append(rule["record"])
            assert empty == []
            async with server.session.get(f"{server.url}/api/v1/rules") as response:
                groups = (await response.json())["data"]["groups"]
            assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}

            arrived = [each for each in emulator.arrivals if each.path.startswith(("/video/", "/system/", "/data/"))]
            requests = await server.counts(
                'http_client_request_duration_seconds_count{otel_scope_name="mux_async"}',
                "http_request_method", "http_response_status_code", "mux_rate_limit_bucket",
            )  # fmt: skip
            assert requests == Counter(
                (each.method, None if each.status is None else str(each.status), each.bucket and each.bucket.value)
                for each in arrived
            )
            throttled = await server.counts("mux_rate_limit_throttled_total", "mux_rate_limit_bucket")
            assert throttled == Counter((each.bucket and each.bucket.value,) for each in arrived if each.status == 429)
            assert throttled.total() > 0
            retries = await server.counts("mux_call_retries_total", "mux_retry_reason")
            calls = await server.counts("mux_call_duration_seconds_count")
            assert retries.total() == len(arrived) - calls.total()
            assert set(retries) >= {("throttled",), ("status",), ("no_answer",), ("broken_answer",)}
            (sent,) = (await server.counts("mux_upload_bytes_total")).values()
            assert sent == 2 * (200_000 + 200_001 + 200_002)
            assert await server.counts("mux_ingest_ended_total", "mux_outcome") == {("done",): 6}
            assert (await server.counts("mux_webhook_events_total", "mux_outcome"))["refused",] == 2
            async with server.session.get(f"{application.url}/metrics") as response:
                assert leaks(await response.read()) == []


def test_panels() -> None:
    """Ids of the dashboard are unique, panels do not overlap, and each query is of the chosen data source and job."""
    found = dashboard()["panels"]
    places = [each["gridPos"] for each in found]
    cells = Counter(
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    )
    targets = [target for panel in panels() for target in panel["targets"]]

    assert len({each["id"] for each in found}) == len(found)
    assert set(cells.values()) == {1}
    assert max(x for x, _ in cells) < 24
    assert all('job=~"$job"' in each["expr"] and each["datasource"]["uid"] == "${datasource}" for each in targets)


def test_alerts_compare_what_is_recorded() -> None:
    """An alert has thresholds of rules that record, and nothing else, so that the test above sees that its queries return data."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    alerts = [rule for rule in rules() if "alert" in rule]

    assert {"MuxThrottled", "MuxQueueWaitLong", "MuxRateLow", "MuxCallsFail", "MuxWebhooksFail", "MuxIngestStalled"} <= {
        rule["alert"] for rule in alerts
    }
    for rule in alerts:
        plain = re.sub(r"\{[^}]*\}", "", rule["expr"])
        assert set(re.findall(r"mux:\w+:\w+", plain)) <= recorded
        assert re.fullmatch(r"(mux:\w+:\w+ (>|<|==) [\d.]+( (and|unless) )?)+", plain), rule["expr"]


@pytest.fixture
def promtool() -> str:
    return require("promtool", "prometheus")


def run_promtool(promtool: str, kind: str, folder: Path) -> subprocess.CompletedProcess[str]:
    file = {"check": "alerts.yml", "test": "alerts_test.yml"}[kind]
    return subprocess.run([promtool, kind, "rules", file], cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_rules_are_valid(promtool: str) -> None:
    """``promtool check rules`` accepts them, and the configuration for the example."""
    done = run_promtool(promtool, "check", FOLDER)
    assert (done.returncode, f"SUCCESS: {len(rules())} rules found" in done.stdout) == (0, True), done.stdout + done.stderr
    config = subprocess.run(
        [promtool, "check", "config", str(FOLDER / "prometheus.yml")], capture_output=True, text=True, check=False, timeout=60
    )
    assert config.returncode == 0, config.stdout + config.stderr


def test_alerts_fire(promtool: str) -> None:
    """``promtool test rules``: each alert fires on a series made for it, and not on a healthy one."""
    done = run_promtool(promtool, "test", FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr


def mutants() -> list[Any]:
    return [
        pytest.param(rule["alert"], expression, id=f"{rule['alert']}-{name}")
        for rule in rules()
        if "alert" in rule
        for name, expression in (("never", "vector(0) > 1"), ("always", f"0 * {rule['expr'].split()[0]} or vector(1)"))
    ]


@pytest.mark.parametrize(("alert", "expression"), mutants())
def test_each_alert_is_tested(promtool: str, tmp_path: Path, alert: str, expression: str) -> None:
    """The series notice an alert that never fires, and one that always does."""
    content = yaml.safe_load((FOLDER / "alerts.yml").read_text())
    for group in content["groups"]:
        for rule in group["rules"]:
            if rule.get("alert") == alert:
                rule["expr"] = expression
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(content))
    (tmp_path / "alerts_test.yml").write_text((FOLDER / "alerts_test.yml").read_text())

    done = run_promtool(promtool, "test", tmp_path)

    assert done.returncode != 0
    assert f"alertname: {alert}" in done.stdout + done.stderr
