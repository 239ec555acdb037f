"""The steps of a call with a key: when it claims, searches, sends, renews and lets go. Over a fake registry, in virtual time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any, cast

import anyio
import attrs
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from mux_async._arguments import Arguments
from mux_async._idempotency.guard import KeyGuard, KeyInFlight, KeyLostError
from mux_async._idempotency.key import IdempotencyKey
from mux_async._idempotency.keys._records import KeyCommand
from mux_async._idempotency.keys._registry import KeyClaim
from mux_async._idempotency.search import Lookup, LookupPage
from mux_async._operation import Bucket, KeySpec, LookupSpec, Operation, Pagination, Replay
from mux_async._response import Answer
from mux_async.errors import AmbiguousOutcomeError, Delivery, MuxError, Phase, TransportError
from mux_async.transport import HttpResponse

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

EPOCH = 1_700_000_000
ITEMS = LookupSpec("video.items.list", "/items", Bucket.OTHER, Pagination.CURSOR, limit=2, is_newest_first=True)
KEYS = KeySpec(("name",), 5, ITEMS, "/items/{ID}")
CREATE: Operation[Any] = Operation(
    id="video.items.create",
    method="POST",
    path="/items",
    bucket=Bucket.POST,
    replay=Replay.NEVER,
    found_in="video.items.list",
    once=KEYS,
)
RESET = TransportError("connection reset", delivery=Delivery.MAYBE_PROCESSED, phase=Phase.READ_HEAD)
MADE = Answer(cast("HttpResponse", SimpleNamespace()), b'{"data":{"id":"i1"}}', ["sent"])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]
IN_DOUBT = "POST /items was not sent: an earlier attempt with the key 'k' may have made something; "
REPEAT = ". Repeat the call later, or look for name 'k' in mux.video.items.list"


@attrs.define
class Registry:
    """Answers claims from a list, then with `KeyClaim(is_mine=True)`; records commands and when they came."""

    held: list[KeyClaim] = attrs.field(factory=list[KeyClaim])
    is_kept: list[bool] = attrs.field(factory=list[bool])
    is_shared: bool = False
    takes: float = 0.0
    commands: list[tuple[str, str, str]] = attrs.field(factory=list[tuple[str, str, str]])
    times: list[float] = attrs.field(factory=list[float])
    outcomes: list[KeyCommand] = attrs.field(factory=list[KeyCommand])

    def name(self, *parts: str) -> str:
        return "/".join(parts)

    async def _record(self, verb: str, name: str, token: str) -> None:
        self.times.append(anyio.current_time())
        if self.takes:
            await anyio.sleep(self.takes)
        self.commands.append((verb, name, token))

    async def claim(self, name: str, token: str) -> KeyClaim:
        await self._record("claim", name, token)
        return self.held.pop(0) if self.held else KeyClaim(is_mine=True)

    async def announce(self, name: str, token: str) -> bool:
        await self._record("announce", name, token)
        return self.is_kept.pop(0) if self.is_kept else True

    async def renew(self, name: str, token: str) -> bool:
        await self._record("renew", name, token)
        return True

    async def finish(self, name: str, command: KeyCommand) -> None:
        await self._record(command.verb, name, command.token)
        self.outcomes.append(command)

    @property
    def verbs(self) -> list[str]:
        return [verb for verb, _, _ in self.commands]


@attrs.define(eq=False)
class Server:
    """Answers reads with pages, in turn, the last one for ever; records their paths and times."""

    pages: list[Any] = attrs.field(factory=lambda: [{"data": []}])
    sends_date: bool = True
    asked: list[str] = attrs.field(factory=list[str])
    times: list[float] = attrs.field(factory=list[float])

    async def read(self, operation: Operation[object], arguments: Arguments) -> LookupPage:
        self.asked.append(operation.path + "".join(f"?{value}" for name, value in arguments.query.items() if name == "cursor"))
        self.times.append(anyio.current_time())
        page = self.pages.pop(0) if len(self.pages) > 1 else self.pages[0]
        if isinstance(page, Exception):
            raise page
        date = {"Date": format_datetime(datetime.fromtimestamp(EPOCH + int(anyio.current_time()), UTC), usegmt=True)}
        headers = CIMultiDictProxy(CIMultiDict(date if self.sends_date else {}))
        return LookupPage(page, headers, SimpleNamespace(response=f"response {len(self.asked)}"))


@attrs.define(eq=False)
class Caller:
    """What a guard needs of a call."""

    lookup: Lookup
    operation: Operation[Any] = CREATE
    delivery: Delivery = Delivery.NEVER_SENT
    left: float | None = None
    attempts: list[Any] = attrs.field(factory=list[Any])
    config: Any = attrs.field(
        factory=lambda: SimpleNamespace(clock=anyio.current_time, epoch=lambda: EPOCH + anyio.current_time())
    )

    def remaining(self) -> float | None:
        return self.left

    def describe(self, error: MuxError) -> MuxError:
        error.operation = "described"
        return error


@attrs.define(eq=False)
class Run:
    """A guard, and all around it."""

    registry: Registry = attrs.field(factory=Registry)
    server: Server = attrs.field(factory=Server)
    key: IdempotencyKey = attrs.field(factory=lambda: IdempotencyKey("k"))
    spec: KeySpec = KEYS
    replay: Replay = Replay.NEVER
    left: float | None = None
    in_flight: dict[str, KeyInFlight] = attrs.field(factory=dict[str, KeyInFlight])
    sent: list[float] = attrs.field(factory=list[float])
    caller: Caller = attrs.field(init=False)
    guard: KeyGuard = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        operation = attrs.evolve(CREATE, replay=self.replay)
        self.caller = Caller(Lookup("k", self.spec, operation, Arguments(), self.key), operation, left=self.left)
        self.guard = KeyGuard(self.caller, self.registry, self.server.read)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

    async def send(self) -> Answer:
        await self.guard.announce()
        self.sent.append(anyio.current_time())
        return MADE

    async def perform(self, send: Callable[[], Awaitable[Answer]] | None = None) -> Answer:
        return await self.guard.run(self.in_flight, send or self.send)


NAME = "video.items.create//items/[('limit', 2)]/k"


async def test_a_new_key() -> None:
    """A key that was not used is claimed, announced with the attempt, and released with the id of what was made, under one token."""
    run = Run()

    async def send() -> Answer:
        performing: object = run.in_flight[NAME].call
        assert performing is run.caller
        return await run.send()

    assert await run.perform(send) is MADE
    ((_, _, token), *_) = run.registry.commands
    assert run.registry.commands == [("claim", NAME, token), ("announce", NAME, token), ("made", NAME, token)]
    assert run.registry.outcomes == [KeyCommand("made", token, made_id="i1")]
    assert len(token) == 16
    assert not run.in_flight
    assert not run.server.asked


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"data":{}}', b'{"data":{"id":7}}', b'{"data":"id"}', b'{"id":"i1"}'])
async def test_what_was_made_has_no_id(content: bytes) -> None:
    """An answer without an id is recorded as made, without one."""
    run = Run()

    async def send() -> Answer:
        return attrs.evolve(MADE, content=content)

    await run.perform(send)
    (outcome,) = run.registry.outcomes
    assert (outcome.verb, outcome.made_id) == ("made", None)


@pytest.mark.parametrize(
    ("delivery", "is_announced", "verb", "is_acted"),
    [
        (Delivery.NEVER_SENT, True, "nothing", False),
        (Delivery.MAYBE_PROCESSED, True, "unknown", False),
        (Delivery.ANSWERED, True, "unknown", True),
        (Delivery.ANSWERED, False, "unknown", False),
        (Delivery.NEVER_SENT, False, "unknown", False),
    ],
)
async def test_what_failed(delivery: Delivery, verb: str, *, is_announced: bool, is_acted: bool) -> None:
    """A failure is recorded as nothing made if no attempt left, and as unknown otherwise; without an attempt it changes nothing."""
    run = Run()
    run.caller.delivery = delivery

    async def send() -> Answer:
        if is_announced:
            await run.guard.announce()
        raise RESET

    with pytest.raises(TransportError) as caught:
        await run.perform(send)

    assert caught.value is RESET
    (outcome,) = run.registry.outcomes
    assert (outcome.verb, outcome.is_acted, outcome.made_id) == (verb, is_acted, None)
    assert outcome.token == run.registry.commands[0][2]
    assert not run.in_flight


async def test_a_key_that_another_process_took(caplog: pytest.LogCaptureFixture) -> None:
    """A call that lost its key before an attempt does not send; it lets go, claims again, and says so in the log."""
    caplog.set_level(logging.INFO, "mux_async")
    run = Run(Registry(is_kept=[False], held=[KeyClaim(is_mine=True), KeyClaim(is_mine=False), KeyClaim(is_mine=True)]))

    assert await run.perform() is MADE
    assert len(run.sent) == 1
    assert run.registry.verbs == ["claim", "announce", "unknown", "claim", "claim", "announce", "made"]
    assert [record.getMessage() for record in caplog.records] == ["POST /items: its key was taken over by another process"]


async def test_an_attempt_before_a_key_was_lost() -> None:
    """After a lost key, only what was announced since then counts."""
    run = Run(Registry(is_kept=[False]))
    run.caller.delivery = Delivery.NEVER_SENT
    rounds: list[int] = []

    async def send() -> Answer:
        rounds.append(1)
        if len(rounds) == 1:
            await run.guard.announce()
        raise RESET

    with pytest.raises(TransportError):
        await run.perform(send)

    assert [outcome.verb for outcome in run.registry.outcomes] == ["unknown", "unknown"]


async def test_an_announcement() -> None:
    """An announcement of a key that is not held any more is an error."""
    run = Run(Registry(is_kept=[True, False]))
    await run.guard.announce()
    with pytest.raises(KeyLostError):
        await run.guard.announce()


async def test_a_key_that_is_held() -> None:
    """A key that another call holds is claimed again after 0.05 s, then after twice the pause each time, 1 s at most."""
    run = Run(Registry(held=[KeyClaim(is_mine=False)] * 8))
    start = anyio.current_time()
    await run.perform()

    claims = [at - start for at, verb in zip(run.registry.times, run.registry.verbs, strict=True) if verb == "claim"]
    assert claims == pytest.approx([0, 0.05, 0.15, 0.35, 0.75, 1.55, 2.55, 3.55, 4.55])


@pytest.mark.parametrize(("is_shared", "renewals"), [(True, [5, 10, 15]), (False, [])])
async def test_a_long_attempt(*, is_shared: bool, renewals: list[float]) -> None:
    """A key of a shared store is renewed every 5 s while a request is under way, and not afterwards."""
    run = Run(Registry(is_shared=is_shared))
    start = anyio.current_time()

    async def send() -> Answer:
        await anyio.sleep(16)
        return MADE

    assert await run.perform(send) is MADE
    await anyio.sleep(20)
    renewed = [at - start for at, verb in zip(run.registry.times, run.registry.verbs, strict=True) if verb == "renew"]
    assert renewed == pytest.approx(renewals)
    assert len(set(run.registry.commands)) == 2 + is_shared
    assert {command[1:] for command in run.registry.commands} == {run.registry.commands[0][1:]}


async def test_a_shared_attempt_that_fails() -> None:
    """While a key is renewed, the error of the request is raised as it is."""
    run = Run(Registry(is_shared=True))

    async def send() -> Answer:
        raise RESET

    with pytest.raises(TransportError) as caught:
        await run.perform(send)

    assert caught.value is RESET


async def test_cancelled_with_the_answer_there() -> None:
    """A cancellation that comes with the answer loses neither the answer nor the record of it, however long the store takes."""
    run = Run(Registry(is_shared=True, takes=0.5))
    answers: list[Answer] = []
    with anyio.CancelScope() as scope:

        async def send() -> Answer:
            await anyio.sleep(6)
            scope.cancel()
            return MADE

        answers.append(await run.perform(send))

    assert answers == [MADE]
    assert [outcome.verb for outcome in run.registry.outcomes] == ["made"]


async def test_cancelled_while_a_key_is_claimed() -> None:
    """A claim under way is not interrupted, and what it got is let go of."""
    run = Run(Registry(takes=0.5))
    with anyio.move_on_after(0.2):
        await run.perform()

    assert run.registry.verbs == ["claim", "nothing"]
    assert not run.sent
    assert not run.in_flight


async def test_behind_another_call() -> None:
    """A call behind another one of its event loop has that one's attempts while it waits, and then its answer with none."""
    first, second = Run(Registry(takes=1.0)), Run()
    second.in_flight = first.in_flight
    first.caller.attempts = ["an attempt"]
    answers: list[Answer] = []

    async def follow() -> None:
        answers.append(await second.perform())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first.perform)
        await anyio.sleep(0.5)
        tasks.start_soon(follow)
        await anyio.sleep(0.5)
        assert second.caller.attempts is first.caller.attempts

    (answer,) = answers
    assert (answer.response, answer.content, answer.attempts, answer.is_reconciled) == (MADE.response, MADE.content, [], True)
    assert second.caller.attempts == []
    assert not second.registry.commands


async def test_behind_a_call_that_fails() -> None:
    """A call behind one that failed performs itself, with attempts of its own."""
    first, second = Run(), Run()
    second.in_flight = first.in_flight
    first.caller.attempts = ["an attempt"]

    async def fail() -> Answer:
        await anyio.sleep(1)
        raise RESET

    async def lead() -> None:
        with pytest.raises(TransportError):
            await first.perform(fail)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lead)
        await anyio.sleep(0.5)
        assert await second.perform() is MADE

    assert second.caller.attempts == []
    assert second.registry.verbs == ["claim", "announce", "made"]


def made_before(**known: Any) -> Run:
    return Run(Registry([attrs.evolve(KeyClaim(is_mine=True, first_age=100.0, last_age=100.0), **known)]))


async def test_what_is_known_is_read() -> None:
    """An object whose id is known is read by it; the answer has what it is now, and the attempts of this call."""
    run = made_before(made_id="i7")
    run.server.pages = [{"data": {"id": "i7", "name": "k"}}]
    answer = await run.perform()

    assert run.server.asked == ["/items/i7"]
    assert (str(answer.response), answer.content, answer.is_reconciled) == (
        "response 1",
        b'{"data":{"id":"i7","name":"k"}}',
        True,
    )
    assert answer.attempts is run.caller.attempts
    assert not run.sent
    assert [(outcome.verb, outcome.made_id) for outcome in run.registry.outcomes] == [("made", "i7")]


async def test_what_is_known_and_does_not_show() -> None:
    """A read by a known id that shows no object leaves the doubt: nothing is returned in its place, and nothing is sent."""
    run = made_before(made_id="i7")
    run.server.pages = [{"data": None}]
    with pytest.raises(AmbiguousOutcomeError, match=r"\(/items/i7 was answered without the object that belongs there\)"):
        await run.perform()

    assert not run.sent


async def test_what_is_known_and_has_no_path() -> None:
    """An object that cannot be read by its id is searched for; what is not there 10 s after the last attempt was deleted."""
    for age, times in ((4.0, [0, 6]), (10.0, [0])):
        run = made_before(made_id="i7", last_age=age)
        run.caller.lookup = attrs.evolve(run.caller.lookup, key_spec=attrs.evolve(KEYS, retrieve=None))
        run.guard = KeyGuard(run.caller, run.registry, run.server.read)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        start = anyio.current_time()
        await run.perform()

        assert [at - start for at in run.server.times] == pytest.approx(times)
        assert run.server.asked == ["/items"] * len(times)
        assert len(run.sent) == 1


@pytest.mark.parametrize(("age", "times"), [(0.0, [0, 10]), (4.0, [0, 6]), (9.5, [0, 0.5]), (10.0, [0]), (60.0, [0])])
async def test_an_outcome_that_is_unknown(age: float, times: list[float]) -> None:
    """After an unknown outcome the request is sent only if a search 10 s or more after that attempt finds nothing."""
    await anyio.sleep(1000)
    run = made_before(last_age=age)
    start = anyio.current_time()
    await run.perform()

    assert [at - start for at in run.server.times] == pytest.approx(times)
    assert [at - start for at in run.sent] == pytest.approx(times[-1:])


async def test_an_outcome_that_shows_late() -> None:
    """What a later search finds is the result."""
    run = made_before(last_age=4.0)
    run.server.pages = [{"data": []}, {"data": [{"id": "i2", "name": "k"}]}]

    assert (await run.perform()).content == b'{"data":{"id":"i2","name":"k"}}'
    assert not run.sent


@pytest.mark.parametrize("replay", [Replay.HARMLESS, Replay.IDEMPOTENT])
async def test_an_outcome_that_does_not_matter(replay: Replay) -> None:
    """Where a second request does no harm, one search is enough."""
    run = Run(Registry([KeyClaim(is_mine=True, first_age=1.0, last_age=1.0)]), replay=replay)
    await run.perform()

    assert len(run.server.asked) == len(run.sent) == 1


@pytest.mark.parametrize(("age", "is_sent"), [(50.0, False), (59.9, False), (60.0, True)])
async def test_what_mux_said_it_made(*, age: float, is_sent: bool) -> None:
    """After a success without its body nothing is sent for 60 s, and the error says that something was made."""
    run = made_before(last_age=age, is_acted=True)
    if is_sent:
        await run.perform()
        assert run.sent
        return
    with pytest.raises(AmbiguousOutcomeError) as caught:
        await run.perform()

    assert str(caught.value) == f"{IN_DOUBT}Mux said that it made one, and it does not show{REPEAT}"
    assert not run.sent


@pytest.mark.parametrize(("left", "waits"), [(5.9, False), (6.0, False), (6.1, True), (None, True)])
async def test_a_deadline_before_it_counts(left: float | None, *, waits: bool) -> None:
    """A deadline that leaves no time to wait is an error at once, which says how to go on."""
    run = made_before(last_age=4.0)
    run.caller.left = left
    start = anyio.current_time()
    if waits:
        await run.perform()
        assert anyio.current_time() - start == pytest.approx(6)
        return
    with pytest.raises(AmbiguousOutcomeError) as caught:
        await run.perform()

    error = caught.value
    assert anyio.current_time() == start
    assert str(error) == f"{IN_DOUBT}it is not there 4 s after that attempt, and may show up until 10 s after{REPEAT}"
    assert (error.how, error.once) == ("look for name 'k' in mux.video.items.list", "k")
    assert error.operation == "described"
    assert error.__cause__ is None
    assert not run.sent


async def test_a_search_that_proves_nothing() -> None:
    """A search without a result leaves a create unsent, and does not hold up one of which a second does no harm."""
    run = made_before()
    run.server.pages = [{"data": None}]
    with pytest.raises(AmbiguousOutcomeError) as caught:
        await run.perform()

    reason = "video.items.list was answered without the list that belongs there"
    assert str(caught.value) == f"{IN_DOUBT}looking for it came to nothing ({reason}){REPEAT}"
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None
    harmless = Run(
        Registry([KeyClaim(is_mine=True, first_age=1.0, last_age=1.0)]), Server([{"data": None}]), replay=Replay.HARMLESS
    )
    assert await harmless.perform() is MADE


@pytest.mark.parametrize("known", [{"made_id": "i7"}, {"first_age": None, "last_age": None, "is_store_lost": True}])
async def test_a_read_that_fails_without_a_doubt(known: dict[str, Any]) -> None:
    """A read that fails while no attempt is in doubt is the error of the call, with its own cause."""
    run = made_before(**known)
    error = TransportError("read failed", delivery=Delivery.MAYBE_PROCESSED, phase=Phase.READ_HEAD)
    error.__cause__ = OSError("cause")
    cause = error.__cause__
    run.server.pages = [error]
    with pytest.raises(TransportError) as caught:
        await run.perform()

    assert caught.value is error
    assert (error.operation, error.__cause__) == ("described", cause)
    assert not run.sent


async def test_a_read_that_fails_in_doubt() -> None:
    """A read that fails while an attempt is in doubt leaves the doubt, and is its cause; an unknown outcome is raised as it is."""
    run = made_before()
    run.server.pages = [RESET]
    with pytest.raises(AmbiguousOutcomeError) as caught:
        await run.perform()

    assert str(caught.value) == f"{IN_DOUBT}looking for it came to nothing (connection reset){REPEAT}"
    assert caught.value.__cause__ is RESET
    unknown = AmbiguousOutcomeError("unknown", how=None, once=None)
    run = made_before()
    run.server.pages = [unknown]
    with pytest.raises(AmbiguousOutcomeError) as caught:
        await run.perform()

    assert caught.value is unknown


def by_look(look_back: float | None) -> IdempotencyKey:
    return IdempotencyKey("k", look_first=True, look_back=look_back)


DAY = 24 * 3600.0


@pytest.mark.parametrize(
    ("key", "known", "age"),
    [
        (IdempotencyKey("k"), {"first_age": 100.0, "last_age": 50.0}, 100.0),
        (IdempotencyKey("k"), {"is_store_lost": True}, DAY),
        (IdempotencyKey("k"), {"is_store_lost": True, "first_age": 100.0, "last_age": 50.0}, 100.0),
        (by_look(70.0), {}, 70.0),
        (by_look(70.0), {"first_age": 100.0, "last_age": 50.0}, 100.0),
        (by_look(200.0), {"first_age": 100.0, "last_age": 50.0}, 200.0),
        (by_look(None), {"first_age": 100.0, "last_age": 50.0}, None),
        (by_look(None), {}, None),
    ],
)
@pytest.mark.parametrize("slack", [10.0, 300.0])
async def test_how_far_back(key: IdempotencyKey, known: dict[str, Any], age: float | None, slack: float) -> None:
    """A search goes back to the first attempt, or to where the caller wants; a server without ``Date`` is given more slack."""
    reach = 10 * DAY if age is None else age + slack
    for made, asked in ((reach - 2, ["/items", "/items?c"]), (reach + 2, ["/items", "/items?c"][: 1 + (age is None)])):
        await anyio.sleep(1000)
        at = EPOCH + anyio.current_time() - made
        server = Server(
            [{"data": [{"id": "x", "created_at": int(at)}], "next_cursor": "c"}, {"data": []}], sends_date=slack < 100
        )
        run = Run(Registry([KeyClaim(is_mine=True, **known)]), server, key)
        await run.perform()

        assert server.asked == asked
        assert len(run.sent) == 1


async def test_how_far_back_after_a_wait() -> None:
    """The age of the first attempt grows while a call waits for the next search."""
    run = Run(Registry([KeyClaim(is_mine=True, first_age=5.0, last_age=5.0)]), Server([{"data": []}]))
    start = EPOCH + anyio.current_time()
    run.server.pages = [{"data": []}, {"data": [{"id": "x", "created_at": int(start - 14)}], "next_cursor": "c"}, {"data": []}]
    await run.perform()

    assert run.server.asked == ["/items", "/items", "/items?c"]
