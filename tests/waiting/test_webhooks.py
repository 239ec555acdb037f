"""Webhooks end waits: which waiters wake when, and what is still polled. In virtual time, on asyncio and trio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from mux_async import AssetErroredError, Mux, NotFoundError, UploadError
from mux_async.models import Asset
from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.transport import HttpResponse
from mux_async.webhooks import WebhookEvent, parse_event

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

CREATED = 1_700_000_000


def event(kind: str, **data: object) -> WebhookEvent:
    """Return a delivery of Mux, about asset or upload ``data["id"]``."""
    return parse_event(
        {
            "type": kind,
            "id": "3f1e4d50-0000-4000-8000-000000000000",
            "created_at": "2026-01-01T00:00:00.000000Z",
            "object": {"type": kind.split(".")[1], "id": data["id"]},
            "environment": {"name": "Test", "id": "j0863n"},
            "attempts": [],
            "data": data,
        }
    )


def asset(asset_id: str, status: str, **more: object) -> dict[str, object]:
    """Return an asset as webhooks write it: with integer times."""
    return {
        "id": asset_id,
        "created_at": CREATED,
        "encoding_tier": "smart",
        "master_access": "none",
        "max_resolution_tier": "1080p",
        "progress": {"state": "completed", "progress": 100},
        "status": status,
        **more,
    }


class Server:
    """A fake API whose assets change only when the test changes them."""

    def __init__(self) -> None:
        self.transport = FakeTransport(self.answer)
        self.status: dict[str, str] = {}
        self.became: dict[str, str] = {}
        """Assets by the upload they came from."""

    def answer(self, request: SentRequest) -> HttpResponse:
        last = request.path.rpartition("/")[2]
        if request.path.startswith("/video/v1/uploads/"):
            return respond(json={"data": {"id": last, "status": "waiting", "timeout": 3600, "url": "https://x"}})
        if last != "assets":
            return respond(json={"data": self.asset(last)})
        wanted = dict(request.query).get("upload_id")
        listed = [*self.status] if wanted is None else [self.became[wanted]] if wanted in self.became else []
        return respond(json={"data": [self.asset(each) for each in listed], "next_cursor": None})

    def asset(self, asset_id: str) -> dict[str, object]:
        return {**asset(asset_id, self.status.get(asset_id, "preparing")), "created_at": str(CREATED)}

    @property
    def asked(self) -> int:
        return len(self.transport.requests)


@asynccontextmanager
async def connected() -> AsyncGenerator[tuple[Server, Mux]]:
    server = Server()
    account = f"test-{id(server)}"
    async with Mux(
        token_id="i",
        token_secret="s",
        base_url="https://mux.test",
        account=account,
        transport=server.transport,
        clock=anyio.current_time,
    ) as mux:
        yield server, mux


async def meanwhile(wait: Callable[[], Awaitable[Any]], tell: Callable[[], object], *, after: float = 3.0) -> tuple[Any, float]:
    """Run *wait*, call *tell* after some seconds, and return the outcome of the wait and the seconds between the two."""
    outcome: list[Any] = []
    start, ended = anyio.current_time(), 0.0

    async def run() -> None:
        nonlocal ended
        try:
            outcome.append(await wait())
        except (AssetErroredError, NotFoundError, UploadError) as error:
            outcome.append(error)
        ended = anyio.current_time()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.sleep(after)
        tell()
    return outcome[0], ended - start - after


async def test_a_webhook_ends_the_wait() -> None:
    """``video.asset.ready`` ends the wait at once, with the asset of the event and without another request."""
    async with connected() as (server, mux):
        before = 0

        def tell() -> None:
            nonlocal before
            before = server.asked
            mux.webhook_received(event("video.asset.ready", **asset("a", "ready", duration=12.5)))

        found, late = await meanwhile(lambda: mux.video.assets.wait_until_ready("a"), tell)

    assert isinstance(found, Asset)
    assert (found.id, found.status, found.duration) == ("a", "ready", 12.5)
    assert found.created_at == datetime.fromtimestamp(CREATED, UTC)
    assert late == 0.0
    assert server.asked == before


async def test_one_of_many() -> None:
    """Only the waiters of the event's asset wake, also if one of them is the leader."""
    async with connected() as (server, mux):
        ended: dict[str, float] = {}

        async def wait(asset_id: str) -> None:
            await mux.video.assets.wait_until_ready(asset_id)
            ended[asset_id] = anyio.current_time()

        async with anyio.create_task_group() as tasks:
            for asset_id in "abc":
                server.status[asset_id] = "preparing"
                tasks.start_soon(wait, asset_id)
            await anyio.sleep(5)
            for number, asset_id in enumerate("abc"):
                await anyio.sleep(1)
                mux.webhook_received(event("video.asset.ready", **asset(asset_id, "ready")))
                await anyio.sleep(0.5)
                assert len(ended) == number + 1

    assert ended == {"a": pytest.approx(6.0), "b": pytest.approx(7.5), "c": pytest.approx(9.0)}


async def test_the_upload_of_the_asset() -> None:
    """The wait for an upload's asset ends with the event of the asset, which names the upload."""
    async with connected() as (_, mux):
        found, late = await meanwhile(
            lambda: mux.video.assets.wait_for_upload("u"),
            lambda: mux.webhook_received(event("video.asset.ready", **asset("a", "ready", upload_id="u"))),
        )

    assert (found.id, late) == ("a", 0.0)


async def test_an_upload_became_an_asset() -> None:
    """``video.upload.asset_created`` contains no asset, so it causes a poll at once."""
    async with connected() as (server, mux):

        def tell() -> None:
            server.became["u"] = "a"
            mux.webhook_received(
                event("video.upload.asset_created", id="u", status="asset_created", timeout=3600, asset_id="a")
            )

        found, late = await meanwhile(lambda: mux.video.assets.wait_for_upload("u", until="created"), tell)

    assert (found.id, late) == ("a", 0.0)


async def test_an_asset_is_there_before_it_is_ready() -> None:
    """``video.asset.created`` ends waits for an asset to exist, and no others."""
    async with connected() as (_, mux):
        told = event("video.asset.created", **asset("a", "preparing", upload_id="u"))
        found, late = await meanwhile(
            lambda: mux.video.assets.wait_for_upload("u", until="created"), lambda: mux.webhook_received(told)
        )
        with anyio.move_on_after(1.0) as scope:
            mux.webhook_received(told)
            await mux.video.assets.wait_for_upload("u")

    assert (found.status, late) == ("preparing", 0.0)
    assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (
            event("video.asset.errored", **asset("a", "errored", errors={"type": "invalid_input", "messages": ["no"]})),
            AssetErroredError,
        ),
        (event("video.asset.deleted", **asset("a", "ready")), NotFoundError),
    ],
)
async def test_bad_ends(told: WebhookEvent, kind: type[Exception]) -> None:
    """An asset that failed or was deleted ends the wait with the error that a poll would have raised."""
    async with connected() as (_, mux):
        outcome, late = await meanwhile(lambda: mux.video.assets.wait_until_ready("a"), lambda: mux.webhook_received(told))

    assert isinstance(outcome, kind)
    assert late == 0.0


@pytest.mark.parametrize("what", ["cancelled", "errored"])
async def test_bad_ends_of_uploads(what: str) -> None:
    """An upload that will not become an asset ends the wait for one."""
    async with connected() as (_, mux):
        outcome, late = await meanwhile(
            lambda: mux.video.assets.wait_for_upload("u"),
            lambda: mux.webhook_received(event(f"video.upload.{what}", id="u", status=what, timeout=3600)),
        )

    assert isinstance(outcome, UploadError)
    assert late == 0.0


async def test_the_event_came_first() -> None:
    """An event that arrives before the wait is remembered: the wait ends at once, without a request."""
    async with connected() as (server, mux):
        mux.webhook_received(event("video.asset.ready", **asset("a", "ready")))
        found = await mux.video.assets.wait_until_ready("a")

    assert found.id == "a"
    assert server.asked == 0


async def test_looking_gets_rare() -> None:
    """While webhooks arrive, assets are polled every 10 to 60 s instead of every 1 to 10; that ends when a poll finds a change that
    no webhook reported."""
    told = untold = 0
    async with connected() as (server, mux):
        server.status = {"a": "preparing", "b": "preparing", "c": "preparing"}
        async with anyio.create_task_group() as tasks:
            for asset_id in "abc":
                tasks.start_soon(mux.video.assets.wait_until_ready, asset_id)
            await anyio.sleep(5)
            mux.webhook_received(event("video.asset.updated", **asset("z", "ready")))
            before = server.asked
            await anyio.sleep(600)
            told = server.asked - before
            server.status["a"] = "ready"  # and its webhook gets lost
            await anyio.sleep(61)
            before = server.asked
            await anyio.sleep(600)
            untold = server.asked - before
            tasks.cancel_scope.cancel()

    assert 9 <= told <= 17
    assert 55 <= untold <= 75


async def test_events_about_other_things() -> None:
    """Events that concern no wait, and events of unknown types, change nothing."""
    async with connected() as (_, mux):
        for told in [
            event("video.live_stream.active", id="l", status="active"),
            event("video.asset.track.ready", id="t", status="ready", asset_id="a"),
            event("video.asset.static_renditions.ready", **asset("a", "ready")),
            event("video.upload.created", id="u", status="waiting", timeout=3600),
            event("video.asset.invented_tomorrow", id="a", status="ready"),
        ]:
            mux.webhook_received(told)
        with anyio.move_on_after(5.0) as scope:
            await mux.video.assets.wait_until_ready("a")

    assert scope.cancelled_caught


async def test_what_is_remembered_is_bounded() -> None:
    """256 events are remembered: the oldest of more is removed, so that memory is bounded."""
    async with connected() as (server, mux):
        for number in range(257):
            mux.webhook_received(event("video.asset.ready", **asset(f"a{number}", "ready")))
        await mux.video.assets.wait_until_ready("a256")
        assert server.asked == 0
        server.status["a0"] = "ready"
        await mux.video.assets.wait_until_ready("a0")

    assert server.asked == 1
