"""The router: which handlers an event matches, the responses to deliveries, and that nothing is handled twice."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import anyio
import pytest

from mux_async import LimitSettings, Mux, Secret
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, WebhookRequest, WebhookSettings, carrying
from mux_async.errors import ConfigurationError
from mux_async.models import Asset
from mux_async.testing import FakeTransport, respond
from mux_async.webhooks import (
    Claim,
    Event,
    EventKey,
    EventStore,
    EventStoreError,
    MemoryEventStore,
    UnknownEvent,
    WebhookAnswer,
    WebhookEvent,
    WebhookRouter,
    open_event_store,
    parse_event,
)
from mux_async.webhooks.events import AssetEvent, AssetTrackEvent, LiveStreamEvent
from tests.webhooks.samples import ASSET, NOW, SECRET, body_of, envelope, headers_of

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


def router(**options: Any) -> WebhookRouter:
    options.setdefault("clock", lambda: NOW)
    return WebhookRouter(SECRET, **options)


async def deliver(hooks: WebhookRouter, kind: str = "video.asset.ready", event_id: str = "e1", **more: Any) -> WebhookAnswer:
    body = body_of(kind, event_id, **more)
    return await hooks.receive(body, headers_of(body))


class Noted:
    """A handler that records events, and calls a function before."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.failing = 0
        self.gate: anyio.Event | None = None

    async def __call__(self, event: Event) -> None:
        self.ids.append(event.id)
        if self.gate is not None:
            await self.gate.wait()
        if self.failing:
            self.failing -= 1
            raise RuntimeError("CANARY: it fails")


async def test_typed_handlers() -> None:
    """Types, patterns and classes each match their events; handlers run in the order of registration."""
    hooks = router()
    ran: list[str] = []

    @hooks.on("video.asset.ready", "video.asset.created")
    async def by_type(event: AssetEvent) -> None:
        ran.append(f"type {event.data.status}")

    @hooks.on("video.asset.*")
    async def by_pattern(event: WebhookEvent) -> None:
        ran.append(f"pattern {event.type}")

    @hooks.on("video.**")
    async def by_deep_pattern(event: WebhookEvent) -> None:
        ran.append("deep")

    @hooks.on(AssetTrackEvent)
    @hooks.on(AssetEvent)
    async def by_class(event: AssetEvent | AssetTrackEvent) -> None:
        ran.append(type(event).__name__)

    @hooks.on(UnknownEvent)
    async def unknown(event: UnknownEvent) -> None:
        ran.append(f"unknown {event.type}")

    @hooks.on(Event)
    async def everything(event: Event) -> None:
        ran.append("all")

    answers = [
        await deliver(hooks, kind, kind)
        for kind in ("video.asset.ready", "video.asset.track.ready", "robots.job.moderate.completed", "video.asset.new", "x.y")
    ]

    assert {answer.status for answer in answers} == {200}
    assert ran == [
        *("type ready", "pattern video.asset.ready", "deep", "AssetEvent", "all"),
        *("deep", "AssetTrackEvent", "all"),
        "all",
        *("pattern video.asset.new", "deep", "unknown video.asset.new", "all"),
        *("unknown x.y", "all"),
    ]


def test_types() -> None:
    """Type checkers know which events a handler receives, and refuse one that expects others."""
    hooks = router()

    async def of_assets(event: AssetEvent) -> None: ...

    async def of_any(event: WebhookEvent) -> None: ...

    hooks.on("video.asset.ready", "video.asset.deleted")(of_assets)
    hooks.on(AssetEvent)(of_assets)
    hooks.on("video.asset.*")(of_any)
    hooks.on("video.asset.ready")(of_any)
    hooks.on("video.live_stream.idle")(of_assets)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    hooks.on("video.asset.*")(of_assets)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    hooks.on(LiveStreamEvent)(of_assets)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("video.asset.redy", "video.asset.ready"),
        ("video.aset.*", "no event type of this version matches"),
        ("video.asset", "similar"),
        ("video.asset.re*", "replaces whole parts"),
        ("", "not an event type"),
        ("video..ready", "not an event type"),
        ("video.asset.ready|x", "not an event type"),
    ],
)
def test_misspelt(wanted: str, said: str) -> None:
    """A type or pattern that matches nothing known raises at its registration, with similar ones."""
    with pytest.raises(ValueError, match=said.replace("*", r"\*")):
        router().on(wanted)(Noted())


async def test_allow_unknown() -> None:
    """A type that this version does not know can be registered explicitly."""
    hooks, noted = router(), Noted()
    hooks.on("video.hologram.*", allow_unknown=True)(noted)

    assert (await deliver(hooks, "video.hologram.projected")).text == "handled"
    assert noted.ids == ["e1"]


def test_handlers_that_are_none() -> None:
    """A handler must be an async function, possibly wrapped, and must be registered for events."""
    hooks = router()

    def plain(_: WebhookEvent) -> None: ...

    handlers: list[Any] = [plain, print, partial(plain)]
    for handler in handlers:
        with pytest.raises(TypeError, match="not an async function"):
            hooks.on("video.asset.ready")(handler)
    with pytest.raises(TypeError, match="pass either types and patterns"):
        hooks.on(Noted())(Noted())  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]

    async def bound(extra: int, event: WebhookEvent) -> None: ...

    hooks.on("**")(partial(bound, 1))


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_settings(timeout: float) -> None:
    """Handlers need a timeout, and the router needs a secret."""
    with pytest.raises(ValueError, match="timeout"):
        router(timeout=timeout)
    with pytest.raises(ConfigurationError):
        WebhookRouter("")


async def test_no_handler() -> None:
    """An event without a handler gets a 200, so that Mux does not send it again, and is not remembered."""
    hooks = router(store=Broken())

    assert await deliver(hooks, "video.asset.ready") == WebhookAnswer(200, "no handler")


async def test_forgeries(caplog: pytest.LogCaptureFixture) -> None:
    """A delivery that does not verify gets a 400, reaches no handler, and is logged without secret or body."""
    hooks, noted = router(), Noted()
    hooks.on("**")(noted)
    body = body_of(data={"id": "CANARY"})
    answers = [
        await hooks.receive(body, {}),
        await hooks.receive(body, headers_of(body, "other")),
        await hooks.receive(body, headers_of(body, at=NOW - 301)),
        await hooks.receive(body, headers_of(body, at=NOW + 301)),
        await hooks.receive(b"[]", headers_of(b"[]")),
        await hooks.receive(b"{}", headers_of(b"{}")),
        await hooks.receive(b'{"id":"1"}', headers_of(b'{"id":"1"}')),
        await hooks.receive(b'{"type":"x","id":""}', headers_of(b'{"type":"x","id":""}')),
    ]

    assert {answer.status for answer in answers} == {400}
    assert [answer.text for answer in answers[:5]] == [
        "refused: missing",
        "refused: mismatch",
        "refused: too old",
        "refused: too new",
        "refused: not an event",
    ]
    assert noted.ids == []
    assert "CANARY" not in caplog.text
    assert SECRET not in caplog.text
    assert len(caplog.records) == len(answers)


async def test_repeated() -> None:
    """A handled event gets a 200 without running handlers; another event about the same object runs them."""
    hooks, noted = router(), Noted()
    hooks.on("**")(noted)
    texts = [(await deliver(hooks, event_id=each)).text for each in ("a", "a", "b", "a")]

    assert texts == ["handled", "handled before", "handled", "handled before"]
    assert noted.ids == ["a", "b"]


async def test_failing_handler(caplog: pytest.LogCaptureFixture) -> None:
    """A handler's failure is a 500 and a log line, those after it do not run, and the next delivery runs all again."""
    hooks, first, second, third = router(), Noted(), Noted(), Noted()
    second.failing = 1
    for each in (first, second, third):
        hooks.on("**")(each)
    with caplog.at_level(logging.ERROR):
        answers = [await deliver(hooks), await deliver(hooks), await deliver(hooks)]

    assert [answer.status for answer in answers] == [500, 200, 200]
    assert "CANARY" not in answers[0].text
    assert (first.ids, second.ids, third.ids) == (["e1"] * 2, ["e1"] * 2, ["e1"])
    assert "video.asset.ready e1; Mux will deliver it again" in caplog.text


async def test_slow_handler(caplog: pytest.LogCaptureFixture) -> None:
    """A handler that exceeds its timeout is cancelled: 500, and the event is free for the next delivery at once."""
    hooks, noted = router(timeout=10), Noted()
    noted.gate = anyio.Event()
    hooks.on("**")(noted)
    started = anyio.current_time()
    answer = await deliver(hooks)

    assert answer.status == 500
    assert anyio.current_time() - started == pytest.approx(10)
    assert "longer than 10 s" in caplog.text
    noted.gate.set()
    assert (await deliver(hooks)).status == 200


async def test_its_own_timeout_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    """A `TimeoutError` of the handler itself is logged as its failure."""
    hooks = router()

    @hooks.on("**")
    async def impatient(_: WebhookEvent) -> None:
        with anyio.fail_after(1):
            await anyio.sleep_forever()

    assert (await deliver(hooks)).status == 500
    assert "test_its_own_timeout_is_a_failure.<locals>.impatient failed" in caplog.text


async def test_while_it_is_handled() -> None:
    """A concurrent second delivery gets a 409 at once, and a 200 after the first has finished."""
    hooks, noted = router(), Noted()
    noted.gate = anyio.Event()
    hooks.on("**")(noted)
    answers: list[int] = []

    async def first() -> None:
        answers.append((await deliver(hooks)).status)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await anyio.sleep(1)
        answers.append((await deliver(hooks)).status)
        noted.gate.set()
    answers.append((await deliver(hooks)).status)

    assert answers == [409, 200, 200]
    assert noted.ids == ["e1"]


async def test_cancelled() -> None:
    """A delivery that is cancelled, because its client went away, leaves the event free for the next at once."""
    hooks, noted = router(), Noted()
    noted.gate = anyio.Event()
    hooks.on("**")(noted)
    with anyio.move_on_after(1) as scope:
        await deliver(hooks)
    assert scope.cancelled_caught
    noted.gate.set()

    assert (await deliver(hooks)).text == "handled"
    assert noted.ids == ["e1", "e1"]


async def test_crash() -> None:
    """The event of a process that crashed in its handler is free when the claim expires, and not before."""
    store = MemoryEventStore(clock=anyio.current_time)
    hooks, noted = router(store=store, timeout=30), Noted()
    hooks.on("**")(noted)
    await store.claim(EventKey("default:e1", None, 0), "a process that is no more", 45)
    statuses = [(await deliver(hooks)).status]
    await anyio.sleep(45)
    statuses.append((await deliver(hooks)).status)

    assert statuses == [409, 200]


async def test_names() -> None:
    """Programs with different names share a store without claiming each other's events."""
    store = MemoryEventStore()
    web, worker, twin = router(store=store, name="web"), router(store=store, name="worker"), router(store=store, name="web")
    noted = Noted()
    for hooks in (web, worker, twin):
        hooks.on("**")(noted)

    assert [(await deliver(hooks)).text for hooks in (web, worker, twin)] == ["handled", "handled", "handled before"]


async def test_out_of_order() -> None:
    """With ``latest``, an event older than the newest of its object is skipped and gets a 200; other handlers run."""
    hooks, latest, all_of_them = router(), Noted(), Noted()
    hooks.on("video.asset.*", latest=True)(latest)
    hooks.on("video.asset.*")(all_of_them)
    for number, second in enumerate((5, 3, 5, 6)):
        answer = await deliver(hooks, event_id=str(number), created_at=f"2026-01-01T00:00:0{second}.000000Z")
        assert answer.status == 200
    await deliver(hooks, event_id="other", created_at="2026-01-01T00:00:01Z", object={"type": "asset", "id": "asset-2"})

    assert latest.ids == ["0", "2", "3", "other"]
    assert all_of_them.ids == ["0", "1", "2", "3", "other"]
    assert await hooks.is_stale(parse_event(envelope(created_at="2026-01-01T00:00:05.999999Z")))
    assert not await hooks.is_stale(parse_event(envelope(created_at="2026-01-01T00:00:06Z")))


@pytest.mark.parametrize(
    "change", [{"object": None}, {"object": {"type": 1}}, {"created_at": "yesterday"}, {"created_at": None}]
)
async def test_without_order(change: dict[str, Any]) -> None:
    """An event without an object or a time is never stale."""
    hooks, noted = router(), Noted()
    hooks.on("**", latest=True)(noted)
    await deliver(hooks, event_id="newer")

    assert (await deliver(hooks, event_id="odd", **change)).text == "handled"
    assert noted.ids == ["newer", "odd"]


class Broken(MemoryEventStore):
    """A store that fails in chosen methods."""

    def __init__(self, *failing: str) -> None:
        super().__init__()
        self.failing = failing or ("claim",)

    async def claim(self, event: EventKey, token: str, lease: float) -> Claim:
        self._fail("claim")
        return await super().claim(event, token, lease)

    async def finish(self, event: EventKey) -> None:
        self._fail("finish")
        await super().finish(event)

    async def release(self, event: EventKey, token: str) -> None:
        self._fail("release")
        await super().release(event, token)

    def _fail(self, name: str) -> None:
        if name in self.failing:
            raise EventStoreError("it is away")


@pytest.mark.parametrize(("failing", "runs"), [("claim", 0), ("finish", 1)])
async def test_store_away(failing: str, runs: int, caplog: pytest.LogCaptureFixture) -> None:
    """If the store fails, nothing is acknowledged: 503, and Mux delivers again."""
    hooks, noted = router(store=Broken(failing)), Noted()
    hooks.on("**")(noted)

    assert (await deliver(hooks)).status == 503
    assert len(noted.ids) == runs
    assert "it is away" in caplog.text


async def test_store_away_after_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    """If the event cannot be released after a failure, the response is still that of the failure."""
    hooks, noted = router(store=Broken("release")), Noted()
    noted.failing = 1
    hooks.on("**")(noted)

    assert (await deliver(hooks)).status == 500
    assert "free again when its claim expires" in caplog.text


async def chunks(*parts: bytes, read: list[int]) -> AsyncIterator[bytes]:
    for part in parts:
        read.append(len(part))
        yield part


@pytest.mark.parametrize("declared", [True, False])
async def test_size(declared: bool) -> None:
    """A body with too large a Content-Length is not read; any other, at most one chunk beyond the limit."""
    hooks, read = router(max_body=100), list[int]()
    headers = {**headers_of(b"x"), **({"Content-Length": "101"} if declared else {})}
    answer = await hooks.answer(headers, chunks(*[b"x" * 40] * 10, read=read))

    assert answer == WebhookAnswer(413, "refused: larger than 100 bytes")
    assert read == ([] if declared else [40, 40, 40])
    assert (await hooks.receive(b"x" * 101, headers)).status == 413


@pytest.mark.parametrize("length", ["-1", "1e9", "\u0661", "9" * 5000, "", "abc"])
async def test_odd_lengths(length: str) -> None:
    """A Content-Length that is not a number is ignored: the bytes are counted."""
    hooks, noted = router(), Noted()
    hooks.on("**")(noted)
    body = body_of()
    answer = await hooks.answer({**headers_of(body), "Content-Length": length}, chunks(body[:50], b"", body[50:], read=[]))

    assert answer.status == 200


async def test_without_signature_nothing_is_read() -> None:
    """A request without a signature is refused before its body is read."""
    read = list[int]()

    assert (await router().answer([(b"host", b"x")], chunks(b"x", read=read))).status == 400
    assert read == []


@pytest.mark.runtimes("asyncio", "trio")
@pytest.mark.parametrize("deliveries", [100, pytest.param(1000, marks=pytest.mark.proof)])
async def test_concurrent_deliveries(store: EventStore, deliveries: int) -> None:
    """Concurrent deliveries of one event run its handler once, on every store; the others get a 409."""
    hooks, noted = router(store=store), Noted()
    noted.gate = anyio.Event()
    hooks.on("**")(noted)
    body = body_of()
    headers = headers_of(body)
    answers: Counter[int] = Counter()

    async def one() -> None:
        answers[(await hooks.receive(body, headers)).status] += 1
        if answers.total() == deliveries - 1 and noted.gate is not None:
            noted.gate.set()  # all the others were answered while the handler ran

    async with anyio.create_task_group() as tasks:
        for _ in range(deliveries):
            tasks.start_soon(one)
    again = await hooks.receive(body, headers)
    await hooks.aclose()

    assert noted.ids == ["4813455b-8fe8-40cc-9150-9aa5e2de67ca"]
    assert answers == {409: deliveries - 1, 200: 1}
    assert again.text == "handled before"


async def test_wakes_who_waits() -> None:
    """A delivery wakes the waiting tasks of an attached client, before a handler runs and also without one."""
    transport = FakeTransport(
        lambda request: respond(json={"data": {**ASSET, "status": "preparing"} if request.path.endswith("1") else []})
    )
    mux = Mux(token_id="a", token_secret="b", transport=transport, limits=LimitSettings(enabled=False))
    hooks = router()
    hooks.attach(mux)
    hooks.attach(mux)
    found: list[Asset] = []

    async def wait() -> None:
        found.append(await mux.video.assets.wait_until_ready("asset-1"))

    started = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.sleep(0.1)
        assert (await deliver(hooks)).text == "no handler"

    assert anyio.current_time() - started == pytest.approx(0.1, abs=0.01)
    assert (found[0].id, found[0].status) == ("asset-1", "ready")


async def test_a_client_that_cannot_be_told() -> None:
    """Data that a client cannot process does not make the router refuse the event."""
    hooks, noted = router(), Noted()
    mux = Mux(token_id="a", token_secret="b", transport=FakeTransport(lambda _: respond()))
    hooks.attach(mux)
    await mux.aclose()
    hooks.on("**")(noted)
    deep: Any = 1
    for _ in range(200):
        deep = {"a": deep}

    assert (await deliver(hooks, data={**ASSET, "new": deep})).text == "handled"


async def test_emulated() -> None:
    """The router handles the deliveries of the emulator: every event of an asset, once, in order."""
    emulator = Emulator(
        EmulatorSettings(limits=None, webhooks=(WebhookSettings("https://example.com/hooks", SECRET),)),
        clock=lambda: NOW + anyio.current_time(),
    )
    hooks = WebhookRouter(SECRET, clock=lambda: emulator.now)
    seen: list[str] = []

    @hooks.on("video.asset.*")
    async def note(event: WebhookEvent) -> None:
        seen.append(event.type)

    @hooks.on(LiveStreamEvent)
    async def never(_: LiveStreamEvent) -> None:
        raise AssertionError

    async def carry(request: WebhookRequest) -> int:
        return (await hooks.receive(request.body, request.headers)).status

    token = emulator.settings.tokens[0]
    mux = Mux(
        token_id=token.id, token_secret=token.secret, transport=EmulatorTransport(emulator), limits=LimitSettings(enabled=False)
    )
    hooks.attach(mux)
    async with carrying(emulator, carry), mux:
        asset = await mux.video.assets.create(inputs=[{"url": "https://example.com/film.mp4"}])
        asset = await mux.video.assets.wait_until_ready(asset.id)
        await anyio.sleep(1)
    emulator.close()

    assert asset.status == "ready"
    assert seen == ["video.asset.created", "video.asset.ready"]
    assert {delivery.status for delivery in emulator.deliveries} == {"delivered"}


PROGRAM = """
import asyncio, sys
from mux_async.webhooks import WebhookRouter, parse_event
hooks = WebhookRouter("secret")
async def handler(event): ...
hooks.on(sys.argv[1])(handler)
before = set(sys.modules)
print(parse_event({"type": sys.argv[2], "id": "1", "data": {}}).data)
print(*(name for name in set(sys.modules) - before if name.startswith("mux_async")))
"""


def test_nothing_is_imported_in_the_event_loop() -> None:
    """The models of events are imported when their handler is registered, not by the first delivery."""
    command = [sys.executable, "-c", PROGRAM, "robots.job.moderate.*", "robots.job.moderate.completed"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=50)

    assert done.stdout.splitlines()[0].startswith("ModerateJob(")
    assert done.stdout.splitlines()[1:] == [""]


def test_the_secret_is_not_shown() -> None:
    """No part of a router shows its secret."""
    store = open_event_store("redis://:CANARY@127.0.0.1/0")
    hooks = WebhookRouter(["CANARY", Secret("CANARY-2")], store=store)

    assert "CANARY" not in repr(hooks) + repr(vars(hooks)) + repr(vars(store))
