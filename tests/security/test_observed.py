"""No secret is in a report of drift, in a result of `Mux.health`, or in the file of a recorder, wherever Mux or the program puts it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mux_async import (
    AmbiguousOutcomeError,
    Delivery,
    DriftError,
    LimitSettings,
    Mux,
    Phase,
    TransportError,
    UndecodableResponseError,
)
from mux_async.drift import drift
from mux_async.recorder import Recorder
from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.transport import HttpResponse
from mux_async.webhooks import EventStoreError, MemoryEventStore, WebhookRouter
from mux_async.webhooks.events import parse_event_text
from tests.security.canaries import CANARIES, TOKEN_ID, leaks

pytestmark = pytest.mark.anyio

EVERYWHERE: dict[str, Any] = {
    "id": CANARIES["token"],
    "status": CANARIES["stream key"],
    "created_at": CANARIES["header"],
    "video_quality": {CANARIES["private key"]: CANARIES["private key"]},
    CANARIES["webhook secret"]: [CANARIES["input URL"], {"deep": CANARIES["upload URL"]}],
    "tracks": [{"id": "t", "type": CANARIES["token secret"], "new": CANARIES["proxy password"]}],
    "playback_ids": CANARIES["database password"],
}


def make_client(answer: Callable[[SentRequest], HttpResponse], **more: Any) -> Mux:
    return Mux(
        token_id=TOKEN_ID,
        token_secret=CANARIES["token secret"],
        headers={"X-Own": CANARIES["header"]},
        transport=FakeTransport(answer),
        limits=LimitSettings(enabled=False),
        max_attempts=1,
        **more,
    )


async def test_drift() -> None:
    """Whatever Mux sends in fields, names of fields, enums and types of events: the report and the error of strict mode show none of it."""
    drift.clear()
    body = {"data": EVERYWHERE, CANARIES["header"]: CANARIES["header"]}
    async with make_client(lambda _: respond(200, json=body)) as mux:
        (await mux.video.assets.retrieve("a")).to_wire()
        parse_event_text(json.dumps({"type": CANARIES["token"], "id": "e", "data": EVERYWHERE}).encode())
        report = mux.drift.report()
    async with make_client(lambda _: respond(200, json=body), strict=True) as mux:
        with pytest.raises(DriftError) as caught:
            await mux.video.assets.retrieve("a")
    drift.clear()

    assert len(report) > 8
    assert leaks(f"{report}\n{report!r}\n{json.dumps(report.to_dict())}") == []
    assert leaks(f"{caught.value}\n{caught.value.places}") == []


class Broken(MemoryEventStore):
    """A store whose error shows its address."""

    async def newest(self, subject: str) -> int | None:
        raise EventStoreError(f"redis://user:{CANARIES['database password']}@host: {subject}")


@pytest.mark.parametrize("status", [200, 401, 403, 500])
async def test_health(status: int) -> None:
    """No answer of Mux, and no error of a store, is in a result."""
    body = {"error": {"type": CANARIES["token"], "messages": [CANARIES["header"]]}, "data": EVERYWHERE}
    async with make_client(lambda _: respond(status, json=body, headers={"Date": CANARIES["header"]})) as mux:
        health = await mux.health(webhooks=WebhookRouter(CANARIES["webhook secret"], store=Broken()))

    assert not health.ok
    assert leaks(f"{health}\n{health!r}\n{json.dumps(health.to_dict())}") == []


async def test_recorder(tmp_path: Path) -> None:
    """No part of a request or an answer is in the file: query, body, headers, path, names of members, answers, errors."""

    def answer(request: SentRequest) -> HttpResponse:
        if request.method == "POST":
            raise TransportError(CANARIES["proxy password"], delivery=Delivery.MAYBE_PROCESSED, phase=Phase.READ_HEAD)
        return respond(200, json={"data": [EVERYWHERE], "next_cursor": CANARIES["token"]})

    async with make_client(answer, recorder=Recorder(tmp_path / "calls.json")) as mux:
        await mux.request("GET", f"/video/v1/{CANARIES['token']}", query={CANARIES["header"]: CANARIES["header"]})
        await mux.video.assets.list(live_stream_id=CANARIES["stream key"])
        with pytest.raises(UndecodableResponseError):
            await mux.video.assets.retrieve(CANARIES["token"])
        with pytest.raises(AmbiguousOutcomeError):
            await mux.video.assets.create(
                inputs=[{"url": f"https://e.com/{CANARIES['input URL']}"}],
                passthrough=CANARIES["token"],
                extra_body={CANARIES["private key"]: {"deep": [CANARIES["private key"]], "some_id": CANARIES["upload URL"]}},
            )

    content = (tmp_path / "calls.json").read_bytes()
    assert len(json.loads(content)["calls"]) == 4
    assert leaks(content) == []
