"""`Mux.health`: every check, what it costs, and that it never raises and never hangs, on asyncio and trio."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime, formatdate
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest

from mux_async import BucketSettings, ConfigurationError, LimitSettings, Mux
from mux_async.health import Health
from mux_async.testing import FakeTransport, respond
from mux_async.transport import ConnectError, HttpResponse
from mux_async.webhooks import EventStoreError, MemoryEventStore, WebhookRouter

pytestmark = pytest.mark.anyio

WHO: dict[str, object] = {
    "data": {
        "access_token_name": "t",
        "environment_id": "e",
        "environment_name": "Production",
        "environment_type": "production",
        "organization_id": "o",
        "organization_name": "O",
        "permissions": ["video:read"],
    }
}
_accounts = count()


class Clock:
    """Monotonic seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def client(answer: Callable[[Any], Any], **options: Any) -> tuple[Mux, FakeTransport, Clock]:
    clock, transport = Clock(), FakeTransport(answer)
    given: dict[str, Any] = {"limits": LimitSettings(enabled=False), "clock": clock, "transport": transport, **options}
    return Mux(token_id="id", token_secret="secret", account=f"health-{next(_accounts)}", **given), transport, clock


def answers(status: int, body: object, headers: dict[str, str]) -> Callable[[object], HttpResponse]:
    return lambda _request: respond(status, json=body, headers=headers)


def who(_request: object) -> HttpResponse:
    return respond(200, json=WHO, headers={"Date": formatdate(usegmt=True)})


async def test_all_is_well() -> None:
    """A client that works is healthy: credentials and clock are good, and what is not there is skipped."""
    mux, transport, _ = client(who, limits=None)
    async with mux:
        health = await mux.health(webhooks=WebhookRouter("hush"))

    assert health.ok
    assert bool(health)
    assert {check.name: check.status for check in health.checks} == {
        "client": "ok",
        "limits": "ok",
        "credentials": "ok",
        "clock": "ok",
        "limits store": "skipped",
        "webhook store": "ok",
    }
    assert [request.path for request in transport.requests] == ["/system/v1/whoami"]
    assert health.to_dict()["ok"] is True
    assert "credentials: ok" in str(health)


@pytest.mark.parametrize(
    ("status", "expected", "text"),
    [
        (401, "failed", "does not know"),
        (403, "failed", "does not let it in"),
        (500, "unknown", "status 500"),
        (429, "unknown", "status 429"),
    ],
)
async def test_credentials(status: int, expected: str, text: str) -> None:
    """401 and 403 are told apart; an answer that says nothing of the credentials leaves them unknown. One attempt is made."""
    mux, transport, _ = client(lambda _: respond(status, json={}))
    async with mux:
        health = await mux.health()

    assert (health["credentials"].status, health.ok) == (expected, expected != "failed")
    assert text in health["credentials"].detail
    assert len(transport.requests) == 1


async def test_no_network() -> None:
    """A server that cannot be reached is unknown, and no failure of this program."""

    def refuse(_request: object) -> HttpResponse:
        raise ConnectError("no route to secret-host")

    mux, _, _ = client(refuse)
    async with mux:
        health = await mux.health()

    assert (health["credentials"].status, health.ok) == ("unknown", True)
    assert "secret-host" not in str(health)


async def test_remembered() -> None:
    """However many probes come, also at once, Mux is asked once in a period; the age says how old the answer is."""
    mux, transport, clock = client(who)
    async with mux:
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(mux.health)
        clock.now += 29.0
        assert (await mux.with_options(deadline=1.0).health())["credentials"].age == 29.0
        assert len(transport.requests) == 1
        clock.now += 1.0
        assert (await mux.health())["credentials"].age == 0.0
        assert (await mux.health(max_age=0)).ok
        assert len(transport.requests) == 3


async def test_hanging_server() -> None:
    """A server that does not answer costs the timeout and no more; a cancelled probe does not ask again within the period."""
    transport = Hanging()
    mux, _, _ = client(who, transport=transport)
    async with mux:
        with anyio.fail_after(5):
            with anyio.move_on_after(0.01):
                await mux.health()
            health = await mux.health(timeout=0.01)

    assert (health["credentials"].status, health.ok) == ("unknown", True)
    assert "before the probe ended" in health["credentials"].detail
    assert transport.asked == 1


class Hanging:
    """A transport of which no answer comes."""

    asked = 0

    async def send(self, request: object, /) -> HttpResponse:
        self.asked += 1
        await anyio.sleep_forever()
        raise AssertionError(request)

    async def aclose(self) -> None: ...


async def test_closed_client() -> None:
    """A closed client is unhealthy, and says so instead of raising."""
    mux, transport, _ = client(who)
    await mux.aclose()

    health = await mux.health()

    assert (health.ok, health["client"].detail) == (False, "it was closed")
    assert not transport.requests


async def test_clock() -> None:
    """A clock that differs from Mux's by more than a minute fails; a server without a date leaves it unknown."""
    late = format_datetime(datetime.fromtimestamp(datetime.now(UTC).timestamp() - 3600, UTC), usegmt=True)
    for headers, status in (({"Date": late}, "failed"), ({}, "unknown")):
        mux, _, _ = client(answers(200, WHO, headers))
        async with mux:
            assert (await mux.health())["clock"].status == status


async def test_stuck_queue() -> None:
    """Requests that wait while none gets a grant for a minute are a failure; a queue that moves is not."""
    slow = BucketSettings(rate=0.2, burst=1)
    mux, _, clock = client(who, limits=LimitSettings(other=slow))
    found: list[Health] = []
    async with mux, anyio.create_task_group() as group:
        await mux.system.utilities.whoami()
        group.start_soon(mux.system.webhooks.list)
        await anyio.wait_all_tasks_blocked()
        found.append(await mux.health(timeout=0.05))
        clock.now += 100.0
        found.append(await mux.health(timeout=0.05))
        group.cancel_scope.cancel()

    moving, stuck = found
    assert (moving["limits"].status, moving["limits"].detail) == ("ok", "1 requests wait")
    assert (stuck["limits"].status, stuck.ok) == ("failed", False)
    assert "none got a grant for 100 s" in stuck["limits"].detail


async def test_closed_bucket() -> None:
    """A bucket that a 429 closed is mentioned; one that stays closed for more than half a minute is a failure."""
    for delay, status in ((20, "ok"), (600, "failed")):
        mux, _, _ = client(answers(429, {}, {"Retry-After": str(delay)}), limits=None, max_attempts=1)
        async with mux:
            await mux.health()
            limits = (await mux.health())["limits"]
        assert limits.status == status
        assert f"other is closed for {min(delay, 60)} s" in limits.detail


async def test_limits_store(tmp_path: Path) -> None:
    """A store of limits is asked, without taking a grant; one that cannot be opened is a failure."""
    mux, _, _ = client(who, limits=LimitSettings(url=f"sqlite:///{tmp_path}/limits.db"), clock=time.monotonic)
    async with mux:
        good = await mux.health()
        granted = mux.limits.snapshot().other.granted
    (tmp_path / "file").write_text("")
    broken, _, _ = client(who, limits=LimitSettings(url=f"sqlite:///{tmp_path}/file/limits.db"), clock=time.monotonic)
    async with broken:
        bad = await broken.health()

    assert (good["limits store"].status, granted) == ("ok", 1)
    assert (bad["limits store"].status, bad.ok) == ("failed", False)


class Broken(MemoryEventStore):
    """A store that fails."""

    async def newest(self, subject: str) -> int | None:
        raise EventStoreError(f"redis://user:password@host failed for {subject}")


async def test_webhook_store() -> None:
    """A store of events that does not answer is a failure, and its address is not shown."""
    mux, _, _ = client(who)
    async with mux:
        health = await mux.health(webhooks=WebhookRouter("hush", store=Broken()))

    assert (health["webhook store"].status, health.ok) == ("failed", False)
    assert "password" not in str(health.to_dict())


class Odd:
    """A receiver with a bug."""

    async def check_store(self) -> None:
        raise RuntimeError("a secret")


async def test_broken_check() -> None:
    """A check that itself breaks is a failed check, without the text of its error."""
    mux, _, _ = client(who)
    async with mux:
        health = await mux.health(webhooks=Odd())

    assert (health["webhook store"].status, "secret" in str(health)) == ("failed", False)
    with pytest.raises(KeyError):
        health["nothing"]


async def test_misuse() -> None:
    """Only arguments of another kind are refused: what are no seconds, and what has no store."""
    mux, _, _ = client(who)
    async with mux:
        wrongs: list[dict[str, Any]] = [{"max_age": -1}, {"timeout": 0}, {"timeout": "5"}, {"webhooks": mux}, {"webhooks": 5}]
        for wrong in wrongs:
            with pytest.raises(ConfigurationError):
                await mux.health(**wrong)
