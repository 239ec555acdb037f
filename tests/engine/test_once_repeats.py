"""``once=`` across calls, callers and event loops of one process: one key is one thing. Over a fake account, in virtual time."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from random import Random
from typing import Any
from uuid import uuid4

import anyio
import attrs
import pytest

from mux_async import (
    AmbiguousOutcomeError,
    BadRequestError,
    DeadlineExceededError,
    IdempotencyKey,
    LimitSettings,
    Mux,
    MuxError,
)
from mux_async.errors import Delivery, InvalidRequestError, Phase, ServerError, TransportError
from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.transport import HttpResponse

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

EPOCH = 1_700_000_000
INPUTS: Sequence[Any] = [{"url": "https://example.com/a.mp4"}]
ASSETS = "/video/v1/assets"
Answer = HttpResponse | BaseException


def reset() -> TransportError:
    return TransportError("connection reset", delivery=Delivery.MAYBE_PROCESSED, phase=Phase.READ_HEAD)


def cut() -> HttpResponse:
    lost = TransportError("the body broke off", delivery=Delivery.ANSWERED, phase=Phase.READ_BODY)
    return respond(201, body=[b'{"da', lost])


@attrs.define
class Trouble:
    """What happens to a create.

    Attributes:
        answer: Instead of a 201.
        acts: Whether something is made.
        after: Seconds after the answer when it is made.
        hidden_for: Seconds after that for which it is not on the list.
    """

    answer: Callable[[], Answer]
    acts: bool = True
    after: float = 0.0
    hidden_for: float = 0.0


@attrs.define
class Account:
    """A Mux that keeps what it is sent. `troubles` happen to the first creates, in order; later ones succeed."""

    troubles: list[Trouble] = attrs.field(factory=list[Trouble])
    made: list[tuple[float, str, dict[str, Any]]] = attrs.field(factory=list[tuple[float, str, dict[str, Any]]])
    """From when on it shows, the path it was created at, and what it is."""
    takes: float = 0.01
    """Seconds for an answer."""
    now: Callable[[], float] = anyio.current_time
    lock: threading.Lock = attrs.field(factory=threading.Lock)

    async def handle(self, request: SentRequest) -> Answer:
        with self.lock:
            answer = self.post(request) if request.method == "POST" else self.show(request)
        await anyio.sleep(self.takes)
        return answer

    def post(self, request: SentRequest) -> Answer:
        trouble = self.troubles.pop(0) if self.troubles else Trouble(lambda: respond(201))
        at = self.now() + trouble.after
        thing: dict[str, Any] = {"status": "preparing", **(request.json or {})}
        thing |= {"id": f"thing{len(self.made)}", "created_at": str(int(EPOCH + at))}
        if trouble.acts:
            self.made.append((at + trouble.hidden_for, request.path, thing))
        answer = trouble.answer()
        return (
            respond(201, json={"data": thing})
            if isinstance(answer, HttpResponse) and answer.status == 201 and trouble.answer is not cut
            else answer
        )

    def show(self, request: SentRequest) -> HttpResponse:
        headers = {"Date": format_datetime(datetime.fromtimestamp(EPOCH + self.now(), UTC), usegmt=True)}
        things = [(shows_at, thing) for shows_at, path, thing in self.made if path == request.path]
        if not things and not any(path == request.path for _, path, _ in self.made):
            collection, _, made_id = request.path.rpartition("/")
            for _, path, thing in self.made:
                if path == collection and thing["id"] == made_id:
                    return respond(json={"data": thing}, headers=headers)
            if collection != "/video/v1":
                return respond(404, headers=headers)
        query = dict(request.query)
        limit, page = int(query.get("limit", 25)), int(query.get("page", query.get("cursor", 1)))
        shown = [thing for shows_at, thing in reversed(things) if shows_at <= self.now()]
        part = shown[(page - 1) * limit : page * limit]
        cursor = str(page + 1) if page * limit < len(shown) else None
        return respond(json={"data": part, "next_cursor": cursor}, headers=headers)

    def keys(self, path: str = ASSETS) -> Counter[str]:
        """Return how many things there are of each key."""
        return Counter(thing["meta"]["external_id"] for _, made_at, thing in self.made if made_at == path)


def client(server: Account, **options: Any) -> tuple[Mux, FakeTransport]:
    """Return a client with a transport of its own, which is as good as a process of its own."""
    transport = options.pop("transport", None) or FakeTransport(server.handle)
    settings: dict[str, Any] = {
        "token_id": "id",
        "token_secret": "secret",
        "base_url": "https://mux.test",
        "account": f"test-{uuid4()}",
        "clock": server.now,
        "random": Random(1),
        "limits": LimitSettings(enabled=False),
    }
    return Mux(transport=transport, **{**settings, **options}), transport


def sent(transport: FakeTransport) -> list[str]:
    return [request.method for request in transport.requests]


async def create(mux: Mux, once: str | IdempotencyKey = "film-7", **arguments: Any) -> str:
    return (await mux.video.assets.create(inputs=INPUTS, once=once, **arguments)).id


async def test_a_second_call() -> None:
    """A second call with a key gets what the first one made, as it is now, for one read."""
    mux, transport = client(Account())
    first = await create(mux)
    raw = await mux.video.assets.with_raw_response.create(inputs=INPUTS, once="film-7")

    assert raw.value.id == first
    assert raw.is_reconciled
    assert not raw.attempts
    assert sent(transport) == ["POST", "GET"]
    assert await create(mux, "film-8") != first


@pytest.mark.parametrize("shown", [{"data": None}, {"data": ["thing0"]}, {}, []])
async def test_a_second_call_that_is_shown_no_object(shown: object) -> None:
    """Where the read of what was made shows no object, a call returns none, sends nothing, and says that the outcome is not known."""
    account = Account()
    transport = FakeTransport(lambda request: account.post(request) if request.method == "POST" else respond(json=shown))
    mux, _ = client(account, transport=transport)
    await create(mux)
    with pytest.raises(AmbiguousOutcomeError, match=r"/video/v1/assets/thing0 was answered without the object"):
        await create(mux)

    assert sent(transport) == ["POST", "GET"]


async def test_another_client_of_the_account() -> None:
    """Clients of one token and account know each other's keys; those of other names do not."""
    account = Account()
    mux, transport = client(account, account="one name")
    other = Mux(
        token_id="id",
        token_secret="secret",
        base_url="https://mux.test",
        account="one name",
        transport=transport,
        clock=account.now,
        limits=LimitSettings(enabled=False),
    )
    stranger = Mux(
        token_id="else",
        token_secret="secret",
        base_url="https://mux.test",
        account="one name",
        transport=transport,
        clock=account.now,
    )

    assert await create(mux) == await create(other)
    assert await create(stranger) != await create(mux)


async def test_other_arguments() -> None:
    """The key decides: with other arguments, too, a call gets what the first one made."""
    mux, transport = client(Account())
    first = await mux.video.assets.create(inputs=INPUTS, once="k", passthrough="a")
    second = await mux.video.assets.create(inputs=[], once="k", passthrough="b")

    assert second.id == first.id
    assert second.passthrough == "a"
    assert sent(transport).count("POST") == 1


async def test_what_keys_belong_to() -> None:
    """The same key is another one for another operation, and for another object in the path."""
    mux, transport = client(Account())
    await create(mux, "k")
    await mux.video.live_streams.create(once="k")
    for asset in ("a1", "a2"):
        await mux.video.assets.create_track(asset, language_code="de", type="text", url="https://example.com/a.vtt", once="k")

    assert sent(transport) == ["POST"] * 4


async def test_what_was_deleted_is_made_again() -> None:
    """A thing that is gone no longer stands for its key."""
    account = Account()
    mux, _ = client(account)
    first = await create(mux)
    account.made.clear()
    account.made.append((0.0, ASSETS, {"id": "other", "meta": {"external_id": "x"}, "created_at": str(EPOCH)}))

    assert await create(mux) != first
    assert account.keys() == {"x": 1, "film-7": 1}


async def test_many_callers_at_once() -> None:
    """Fifty callers with one key at the same time send one POST and no read, and all get the same thing."""
    account = Account(takes=1.0)
    mux, transport = client(account)
    found: list[str] = []

    async def call() -> None:
        found.append(await create(mux))

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(call)

    assert len(found) == 50
    assert len(set(found)) == 1
    assert sent(transport) == ["POST"]


async def test_callers_behind_one_that_is_refused() -> None:
    """When the first of several callers is refused, the next one sends its own request, and the rest get what that made."""
    account = Account([Trouble(lambda: respond(400), acts=False)], takes=1.0)
    mux, transport = client(account)
    outcomes: Counter[str] = Counter()

    async def call() -> None:
        try:
            outcomes[await create(mux)] += 1
        except BadRequestError:
            outcomes["refused"] += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(call)

    assert outcomes == {"refused": 1, "thing0": 4}
    assert sent(transport) == ["POST", "POST"]


async def test_callers_behind_one_that_is_cancelled() -> None:
    """When the first of several callers is cancelled with its request under way, the others find what that made."""
    account = Account(takes=1.0)
    mux, transport = client(account)
    found: list[str] = []

    async def call() -> None:
        found.append(await create(mux))

    async with anyio.create_task_group() as tasks:
        with anyio.move_on_after(0.5):
            async with anyio.create_task_group() as first:
                first.start_soon(call)
                await anyio.sleep(0.1)
                for _ in range(5):
                    tasks.start_soon(call)
                await anyio.sleep_forever()

    assert found == ["thing0"] * 5
    assert sent(transport).count("POST") == 1


async def test_a_caller_that_cannot_wait() -> None:
    """If a deadline passes behind the request of another caller, the error says that the outcome is unknown, and the other call goes on."""
    account = Account(takes=1.0)
    mux, transport = client(account)

    async def hurry() -> None:
        await anyio.sleep(0.1)
        with pytest.raises(AmbiguousOutcomeError) as caught:
            await mux.with_options(deadline=0.3).video.assets.create(inputs=INPUTS, once="film-7")
        assert isinstance(caught.value.__cause__, DeadlineExceededError)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hurry)
        assert await create(mux) == "thing0"

    assert sent(transport) == ["POST"]


@pytest.mark.parametrize("hidden_for", [0.0, 4.0, 9.0])
async def test_cancelled_while_it_was_sent(hidden_for: float) -> None:
    """A call after one that was cancelled with its request under way finds what that made, and waits as long as that may take."""
    account = Account([Trouble(lambda: respond(201), hidden_for=hidden_for)], takes=1.0)
    mux, transport = client(account)
    with anyio.move_on_after(0.5):
        await create(mux)

    assert await create(mux) == "thing0"
    assert sent(transport).count("POST") == 1


@pytest.mark.parametrize("trouble", [reset, lambda: respond(502), cut])
@pytest.mark.parametrize("hidden_for", [0.0, 5.0, 9.0])
async def test_repeated_after_an_unknown_outcome(trouble: Callable[[], Answer], hidden_for: float) -> None:
    """A call that is repeated after `AmbiguousOutcomeError` makes no second thing, however long (up to 10 s) the list lags behind."""
    account = Account([Trouble(trouble, hidden_for=hidden_for)])
    mux, transport = client(account, max_attempts=1)
    ids: list[str] = []
    while not ids:
        try:
            ids.append(await create(mux))
        except AmbiguousOutcomeError:
            assert hidden_for

    assert ids == ["thing0"]
    assert account.keys() == {"film-7": 1}
    assert sent(transport).count("POST") == 1


async def test_a_repeat_that_has_no_time_to_wait() -> None:
    """Where the deadline does not leave the time until absence can be believed, the call says so at once and sends nothing."""
    account = Account([Trouble(reset, acts=False)])
    mux, transport = client(account, max_attempts=1)
    with pytest.raises(AmbiguousOutcomeError):
        await create(mux)
    before = anyio.current_time()
    with pytest.raises(
        AmbiguousOutcomeError, match=r"was not sent: an earlier attempt with the key 'film-7'.*mux\.video\.assets\.list"
    ):
        await mux.with_options(deadline=2.0).video.assets.create(inputs=INPUTS, once="film-7")

    assert anyio.current_time() - before < 0.5
    assert sent(transport).count("POST") == 1
    assert await create(mux) == "thing0"
    assert sent(transport).count("POST") == 2


async def test_what_mux_said_it_made() -> None:
    """After a 201 without its body nothing is sent for a minute, though nothing shows; later it counts as deleted."""
    account = Account([Trouble(cut, acts=False)])
    mux, transport = client(account)
    for _ in range(3):
        with pytest.raises(AmbiguousOutcomeError):
            await create(mux)
    assert sent(transport).count("POST") == 1
    await anyio.sleep(60)

    assert await create(mux) == "thing0"


async def test_a_refusal_leaves_no_trace() -> None:
    """After a request that was refused, or never left, the next one is sent without a look."""
    account = Account([Trouble(lambda: respond(400), acts=False)])
    mux, transport = client(account)
    with pytest.raises(BadRequestError):
        await create(mux)
    await create(mux)

    assert sent(transport) == ["POST", "POST"]


async def test_looking_first() -> None:
    """With ``look_first`` a call finds what another process made, before it sends anything; without, it cannot know."""
    account = Account()
    first = await create(client(account)[0])
    mux, transport = client(account)
    found = await create(mux, IdempotencyKey("film-7", look_first=True))

    assert found == first
    assert sent(transport) == ["GET"]
    assert await create(client(account)[0]) != first


async def test_looking_first_and_finding_nothing() -> None:
    """A look that finds nothing where nothing is known of the key costs one read and no wait."""
    mux, transport = client(Account())
    start = anyio.current_time()
    await create(mux, IdempotencyKey("film-7", look_first=True))

    assert sent(transport) == ["GET", "POST"]
    assert anyio.current_time() - start < 0.1


@pytest.mark.parametrize(("look_back", "finds"), [(3600.0, False), (7200.0, True), (None, True)])
async def test_how_far_back(look_back: float | None, *, finds: bool) -> None:
    """A look goes back as far as ``look_back`` says, and to the end of the list for ``None``."""
    account = Account()
    first = await create(client(account)[0])
    for number in range(150):
        account.made.append((0.0, ASSETS, {"id": f"x{number}", "meta": {"external_id": "x"}, "created_at": str(EPOCH + 60)}))
    await anyio.sleep(5400)
    mux, _ = client(account)

    assert (await create(mux, IdempotencyKey("film-7", look_first=True, look_back=look_back)) == first) == finds


async def test_a_list_that_is_too_long() -> None:
    """A look that cannot go back far enough proves nothing: the call fails and sends nothing."""
    account = Account()
    for number in range(5001):
        account.made.append((0.0, ASSETS, {"id": f"x{number}", "meta": {"external_id": "x"}, "created_at": str(EPOCH)}))
    mux, transport = client(account)
    with pytest.raises(AmbiguousOutcomeError, match="did not go back"):
        await create(mux, IdempotencyKey("film-7", look_first=True))

    assert "POST" not in sent(transport)


async def test_a_look_that_fails() -> None:
    """A read that fails is its own error when no attempt is in doubt, and leaves the doubt when one is; nothing is sent either way."""
    account = Account([Trouble(reset)])
    is_down = True

    async def handle(request: SentRequest) -> Answer:
        return respond(500) if is_down and request.method == "GET" else await account.handle(request)

    transport = FakeTransport(handle)
    mux = Mux(
        token_id="i",
        token_secret="s",
        account=str(uuid4()),
        transport=transport,
        clock=anyio.current_time,
        limits=LimitSettings(enabled=False),
    )
    with pytest.raises(ServerError):
        await create(mux, IdempotencyKey("k", look_first=True))
    for _ in range(2):
        with pytest.raises(AmbiguousOutcomeError, match="looking for it came to nothing"):
            await create(mux, "k")
    is_down = False

    assert sent(transport).count("POST") == 1
    assert await create(mux, "k") == "thing0"
    assert sent(transport).count("POST") == 1


async def test_uploads() -> None:
    """A second call gets the same upload as long as it can become an asset, and a new one afterwards."""
    account = Account()
    mux, transport = client(account)
    first = await mux.video.uploads.create(once="k")
    again = await mux.video.uploads.create(once="k")
    account.made[0][2]["status"] = "timed_out"
    later = await mux.video.uploads.create(once="k")

    assert first.id == again.id != later.id
    assert sent(transport) == ["POST", "GET", "GET", "POST"]
    elsewhere, _ = client(account)
    assert (await elsewhere.video.uploads.create(once=IdempotencyKey("k", look_first=True))).id == later.id


async def test_parts_of_things() -> None:
    """A part of another thing, which cannot be read by itself, is found in that on the second call."""
    tracks: list[dict[str, Any]] = []

    def handle(request: SentRequest) -> Answer:
        if request.method == "POST":
            tracks.append({"id": f"t{len(tracks)}", **request.json})
            return respond(201, json={"data": tracks[-1]})
        return respond(json={"data": {"id": "a1", "tracks": tracks}})

    mux = Mux(
        token_id="i",
        token_secret="s",
        account=str(uuid4()),
        transport=FakeTransport(handle),
        clock=anyio.current_time,
        limits=LimitSettings(enabled=False),
    )
    ids = [
        (await mux.video.assets.create_track("a1", language_code="de", type="text", url="https://x.test/a", once="k")).id
        for _ in range(2)
    ]

    assert ids == ["t0", "t0"]


@pytest.mark.proof
async def test_five_hundred_keys() -> None:
    """Of 500 keys whose creates go wrong in every way, and are repeated until they succeed by two callers each, none has two things.

    What is acted on shows up to 6 s after the connection was cut. Seeded.
    """
    random = Random(20261130)
    account = Account()

    def trouble() -> Trouble:
        kind = random.choice(["ok", "reset", "502", "cut", "429", "refused", "late"])
        shows_in = random.choice([0.0, 0.0, random.uniform(0, 6)])
        return {
            "ok": Trouble(lambda: respond(201)),
            "reset": Trouble(reset, acts=random.random() < 0.5, hidden_for=shows_in),
            "502": Trouble(lambda: respond(502), acts=random.random() < 0.5, hidden_for=shows_in),
            "cut": Trouble(cut, hidden_for=shows_in),
            "429": Trouble(lambda: respond(429), acts=False),
            "refused": Trouble(lambda: respond(408), acts=False),
            "late": Trouble(reset, after=shows_in / 2, hidden_for=shows_in / 2),
        }[kind]

    account.troubles = [trouble() for _ in range(1500)]
    mux, _ = client(account, max_attempts=1)
    ids: dict[str, set[str]] = {}

    async def persist(key: str) -> None:
        while True:
            try:
                ids.setdefault(key, set()).add(await create(mux, key))
            except MuxError:
                await anyio.sleep(random.uniform(0, 3))
            else:
                return

    async with anyio.create_task_group() as tasks:
        for number in range(500):
            tasks.start_soon(persist, f"key-{number}")
            tasks.start_soon(persist, f"key-{number}")

    counts = account.keys()
    assert len(counts) == 500
    assert set(counts.values()) == {1}
    assert all(len(found) == 1 for found in ids.values())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: IdempotencyKey(7), r"once is 7"),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        (lambda: IdempotencyKey("k", look_first="yes"), "look_first is 'yes'"),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        (lambda: IdempotencyKey("k", look_back=0), "look_back is 0"),
        (lambda: IdempotencyKey("k", look_back=float("nan")), "look_back is nan"),
    ],
)
def test_what_is_no_key(given: Callable[[], IdempotencyKey], message: str) -> None:
    """A key of the wrong type, or a look of no length, is refused when it is written down."""
    with pytest.raises(InvalidRequestError, match=message):
        given()


@pytest.mark.runtimes("asyncio")
async def test_two_threads() -> None:
    """Callers in event loops of several threads agree too."""
    import time

    account = Account(takes=0.2, now=time.monotonic)
    mux, transport = client(account)
    found: list[str] = []

    def run() -> None:
        async def main() -> None:
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(call)

        async def call() -> None:
            found.append(await create(mux))

        anyio.run(main)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await anyio.to_thread.run_sync(thread.join)

    assert len(found) == 12
    assert len(set(found)) == 1
    assert sent(transport).count("POST") == 1
