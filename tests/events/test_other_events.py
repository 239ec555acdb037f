"""Events of uploads, ingests, webhooks and live streams. In virtual time, on asyncio and trio."""

from __future__ import annotations

import os
from contextvars import ContextVar
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest

from mux_async import ConfigurationError, Mux
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport
from mux_async.errors import UploadError
from mux_async.events import (
    IngestItemChanged,
    LiveEventRead,
    UploadEnded,
    UploadProgressed,
    UploadStarted,
    WebhookEnded,
    WebhookRefused,
    WebhookStarted,
)
from mux_async.ingest import Ingest, Journal, make_plan
from mux_async.testing import FakeTransport, respond
from mux_async.webhooks import Event, WebhookRouter
from tests.webhooks.samples import NOW, SECRET, body_of, headers_of

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

_accounts = count()


def emulated(settings: EmulatorSettings | None = None) -> tuple[Emulator, Mux, list[Any]]:
    emulator = Emulator(settings, clock=lambda: 1.7e9 + anyio.current_time())
    events = list[Any]()
    mux = Mux(
        token_id="test-token",
        token_secret="test-secret",
        account=f"events-{next(_accounts)}",
        transport=EmulatorTransport(emulator),
        clock=anyio.current_time,
        listeners=[events.append],
    )
    return emulator, mux, events


def of(kind: type[Any], events: list[Any]) -> list[Any]:
    return [each for each in events if isinstance(each, kind)]


async def test_upload() -> None:
    """An upload starts, progresses and ends; the bytes that were added are together those of the file, and the server holds them."""
    _, mux, events = emulated()
    data = os.urandom(20 * 1024 * 1024 + 7)
    upload = await mux.uploads.send(data, wait=False)

    (started,), (ended,) = of(UploadStarted, events), of(UploadEnded, events)
    steps = of(UploadProgressed, events)
    assert (started.upload_id, started.size, started.held) == (upload.id, len(data), 0)
    assert len(steps) > 3
    assert sum(each.added for each in steps) == steps[-1].sent == len(data)
    assert [each.sent for each in steps] == sorted({each.sent for each in steps})
    assert (ended.outcome, ended.sent, ended.held, ended.error) == ("ok", len(data), len(data), None)
    assert ended.requests >= 1
    assert {each.id for each in (started, *steps, ended)} == {started.id}
    mine = [each for each in events if each in steps or each in (started, ended)]
    assert mine[0] is started
    assert mine[-1] is ended


async def test_upload_that_fails_and_continues() -> None:
    """An upload that stops says so, with what the server holds; what continues it counts only the bytes that it adds."""
    _, mux, events = emulated()
    data = os.urandom(20 * 1024 * 1024)
    upload = await mux.video.uploads.create()
    state = None

    def stop(progress: Any) -> None:
        nonlocal state
        if progress.state is not None and progress.state.offset:
            state = progress.state
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        await mux.uploads.deliver(upload, data, on_progress=stop)
    (ended,) = of(UploadEnded, events)
    assert (ended.outcome, ended.error) == ("error", "RuntimeError")
    assert 0 < ended.held < len(data)

    del events[:]
    await mux.uploads.deliver(upload, data, state=state)
    (started,), (ended,) = of(UploadStarted, events), of(UploadEnded, events)
    assert started.held > 0
    assert sum(each.added for each in of(UploadProgressed, events)) == len(data) - started.held
    assert ended.outcome == "ok"


async def test_upload_that_another_process_continues() -> None:
    """Without the state of the earlier run, what the server reports to hold does not count as sent by this one."""
    _, mux, events = emulated()
    data = os.urandom(20 * 1024 * 1024)
    upload = await mux.video.uploads.create()

    def stop(progress: Any) -> None:
        if progress.state is not None and progress.state.offset:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        await mux.uploads.deliver(upload, data, on_progress=stop)
    held = of(UploadEnded, events)[0].held
    del events[:]
    await mux.uploads.resume(upload.id, data)

    assert sum(each.added for each in of(UploadProgressed, events)) == len(data) - held
    assert of(UploadEnded, events)[0].sent == len(data)


async def test_upload_that_is_cancelled() -> None:
    """An upload that is cancelled has its end."""
    _, mux, events = emulated()
    upload = await mux.video.uploads.create()
    with anyio.CancelScope() as scope:
        await mux.uploads.deliver(upload, os.urandom(9_000_000), on_progress=lambda _: scope.cancel())

    (ended,) = of(UploadEnded, events)
    assert ended.outcome == "cancelled"


async def test_upload_to_a_url() -> None:
    """An upload of which only the URL is known has no upload id, and one that fails names the error."""
    _, mux, events = emulated()
    with pytest.raises(UploadError):
        await mux.uploads.put("https://mux.test/unknown?signature=CANARY", b"x" * 1000)

    (ended,) = of(UploadEnded, events)
    assert (ended.upload_id, ended.outcome, ended.held) == (None, "error", 0)
    assert ended.error in {"UploadError", "UploadGoneError"}
    assert "CANARY" not in repr(events)


async def test_ingest(tmp_path: Path) -> None:
    """Every item passes its stages once, in order, and ends done or dead; a second run reports it as skipped."""
    _, mux, events = emulated()
    for number in range(3):
        (tmp_path / f"{number}.mp4").write_bytes(os.urandom(1000 + number))
    plan = make_plan([tmp_path])
    journal = Journal.in_memory()
    await Ingest(mux, plan.items, journal=journal).run()

    stages = dict[str, list[IngestItemChanged]]()
    for each in of(IngestItemChanged, events):
        stages.setdefault(each.key, []).append(each)
    assert len(stages) == 3
    for steps in stages.values():
        assert [each.stage for each in steps] == ["creating", "created", "sending", "sent", "waiting", "done"]
        assert [each.before for each in steps] == [None, "creating", "created", "sending", "sent", "waiting"]
        assert len({each.id for each in steps}) == 1
        assert steps[-1].asset_id
        assert not steps[-1].is_skipped

    del events[:]
    await Ingest(mux, plan.items, journal=journal).run()
    skipped = of(IngestItemChanged, events)
    assert [(each.stage, each.is_skipped) for each in skipped] == [("done", True)] * 3
    journal.close()


def router(**options: Any) -> WebhookRouter:
    return WebhookRouter(SECRET, clock=lambda: NOW, **options)


async def test_webhook_handled() -> None:
    """A delivery starts before its handlers and ends after them, in their context; a repeated one was handled before."""
    events = list[Any]()
    where: ContextVar[str] = ContextVar("where", default="nowhere")

    def listener(event: Any) -> None:
        events.append(event)
        if isinstance(event, WebhookStarted):
            where.set(event.event_id)

    hooks = router(listeners=[listener])
    seen = list[str]()

    @hooks.on("video.asset.ready")
    async def handle(event: Event) -> None:
        await anyio.sleep(1.5)
        seen.append(where.get())

    body = body_of("video.asset.ready", "e1")
    for _ in range(2):
        assert (await hooks.receive(body, headers_of(body))).status == 200

    assert seen == ["e1"]
    first, second = of(WebhookStarted, events)
    assert (first.type, first.event_id) == ("video.asset.ready", "e1")
    ends = of(WebhookEnded, events)
    assert [(each.outcome, each.status) for each in ends] == [("handled", 200), ("handled before", 200)]
    assert ends[0].elapsed == pytest.approx(1.5)
    assert [each.id for each in ends] == [first.id, second.id]


async def test_webhook_outcomes() -> None:
    """No handler, a handler that fails, a delivery while another is handled, and one that is cancelled have names of their own."""
    events = list[Any]()
    hooks = router()
    with hooks.listen(events.append):
        for kind, event_id in (("video.asset.created", "e0"), ("video.asset.errored", "e1")):
            if event_id == "e1":

                @hooks.on("video.asset.errored")
                async def fail(_: Event) -> None:
                    raise RuntimeError

                @hooks.on("video.asset.ready")
                async def wait(_: Event) -> None:
                    await anyio.sleep(5.0)

            body = body_of(kind, event_id)
            await hooks.receive(body, headers_of(body))
        body = body_of("video.asset.ready", "e2")
        with anyio.move_on_after(1.0):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hooks.receive, body, headers_of(body))
                await anyio.sleep(0.1)
                await hooks.receive(body, headers_of(body))

    assert [each.outcome for each in of(WebhookEnded, events)] == ["no handler", "failed", "busy", "cancelled"]
    assert len(of(WebhookStarted, events)) == 4


async def test_webhook_refused() -> None:
    """A forged, oversized or meaningless delivery is refused, for a reason, and nothing of it is in the event."""
    events = list[Any]()
    hooks = router(listeners=[events.append], max_body=2000)
    body = body_of()
    await hooks.receive(body, headers_of(body, "wrong"))
    await hooks.receive(b"x" * 3000, headers_of(b"x"))
    await hooks.receive(b"{}", headers_of(b"{}"))

    assert [(type(each), each.status) for each in events] == [
        (WebhookRefused, 400), (WebhookRefused, 413), (WebhookRefused, 400),
    ]  # fmt: skip
    assert events[0].reason == "mismatch"
    assert len({each.id for each in events}) == 3


async def test_webhooks_of_an_attached_client() -> None:
    """Listeners of a client get the deliveries of the routers that it is attached to."""
    events = list[Any]()
    hooks = router()
    mux = Mux(transport=FakeTransport(lambda _: respond(json={})), token_id="id", token_secret="s", account="attached")
    hooks.attach(mux)
    body = body_of()
    await hooks.receive(body, headers_of(body))
    assert not events

    with mux.listen(events.append):
        await hooks.receive(body, headers_of(body))
    assert [type(each) for each in events] == [WebhookStarted, WebhookEnded]


async def test_a_listener_of_webhooks_that_fails() -> None:
    """A listener that raises does not change what a delivery is answered with; an asynchronous one is refused."""

    def broken(_: object) -> None:
        raise RuntimeError

    async def slow(_: object) -> None: ...

    hooks = router(listeners=[broken])
    body = body_of()
    assert (await hooks.receive(body, headers_of(body))).status == 200
    with pytest.raises(ConfigurationError):
        hooks.listen(slow)


async def test_live() -> None:
    """Each event that a program reads from a watch is reported, with where it came from."""
    emulator, mux, events = emulated()
    stream = await mux.video.live_streams.create(playback_policies=["public"])
    read = list[str]()

    async def watch() -> None:
        async for event in mux.live.watch(stream):
            read.append(event.type)
            if event.type.endswith("active"):
                break

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        await anyio.sleep(0.5)
        emulator.live.connect(stream.id)

    found = of(LiveEventRead, events)
    assert [each.type for each in found] == read
    assert {each.live_stream_id for each in found} == {stream.id}
    assert not any(each.is_webhook for each in found)
    assert len({each.id for each in found}) == 1
