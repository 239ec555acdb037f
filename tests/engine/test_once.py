"""``once=``: where the key is set, when a create is searched for, and what the call returns. Over a fake transport, in virtual time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from random import Random
from typing import Any
from uuid import uuid4

import anyio
import attrs
import pytest

from mux_async import AmbiguousOutcomeError, LimitSettings, Mux, MuxError, RateLimitedError, RetrySettings
from mux_async.errors import ConflictError, ConnectError, Delivery, InvalidRequestError, Phase, TransportError
from mux_async.models import AssetMetadata
from mux_async.params import InputSettingsParam
from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.transport import HttpResponse

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

Answer = HttpResponse | BaseException
EPOCH = 1_700_000_000
RESET = TransportError("connection reset", delivery=Delivery.MAYBE_PROCESSED, phase=Phase.READ_HEAD)
CUT = TransportError("the body broke off", delivery=Delivery.ANSWERED, phase=Phase.READ_BODY)

AMBIGUOUS: list[Callable[[], Answer]] = [
    lambda: RESET,
    lambda: respond(500),
    lambda: respond(503, headers={"Retry-After": "1"}),
    lambda: respond(201, body=[b'{"da', CUT]),
]


@attrs.define
class Account:
    """A Mux that keeps what it is sent, and has scripted responses to creates.

    Attributes:
        answers: What creates are answered with, in turn; then they succeed. A pair also says whether the create is acted on.
        made: Things by the path they were created at, oldest first.
        hidden_for: Seconds for which new things are not on the list.
        skew: Seconds that its clock is ahead of the client's.
    """

    answers: list[tuple[Callable[[], Answer], bool]] = attrs.field(factory=list[tuple[Callable[[], Answer], bool]])
    made: dict[str, list[dict[str, Any]]] = attrs.field(factory=dict[str, list[dict[str, Any]]])
    hidden_for: float = 0.0
    skew: float = 0.0
    sends_date: bool = True
    date_format: str = "%a, %d %b %Y %H:%M:%S GMT"

    def now(self) -> float:
        return EPOCH + anyio.current_time() + self.skew

    def handle(self, request: SentRequest) -> Answer:
        if request.method == "POST":
            answer, acts = self.answers.pop(0) if self.answers else (None, True)
            thing: dict[str, Any] = {"id": f"id{sum(map(len, self.made.values()))}", "at": self.now(), **(request.json or {})}
            thing["created_at"] = str(int(self.now()))
            if acts:
                self.made.setdefault(request.path, []).append(thing)
            return respond(201, json={"data": thing}) if answer is None else answer()
        return self.show(request)

    def show(self, request: SentRequest) -> HttpResponse:
        query = dict(request.query)
        limit, page = int(query.get("limit", 25)), int(query.get("page", query.get("cursor", 1)))
        shown = [thing for thing in reversed(self.made.get(request.path, [])) if self.now() - thing["at"] >= self.hidden_for]
        cut = shown[(page - 1) * limit : page * limit]
        cursor = str(page + 1) if cut and cut[-1] is not shown[-1] else None
        headers = {"Date": datetime.fromtimestamp(self.now(), UTC).strftime(self.date_format)} if self.sends_date else {}
        return respond(json={"data": cut, "next_cursor": cursor}, headers=headers)


def client(account: Account, transport: FakeTransport | None = None, **options: Any) -> tuple[Mux, FakeTransport]:
    transport = transport or FakeTransport(account.handle)
    settings: dict[str, Any] = {
        "token_id": "id",
        "token_secret": "secret",
        "base_url": "https://mux.test",
        "account": f"test-{uuid4()}",
        "clock": anyio.current_time,
        "random": Random(1),
        "limits": LimitSettings(enabled=False),
    }
    return Mux(transport=transport, **{**settings, **options}), transport


def sent(transport: FakeTransport) -> list[str]:
    return [request.method for request in transport.requests]


INPUTS: Sequence[InputSettingsParam] = [{"url": "https://example.com/a.mp4"}]


@pytest.mark.parametrize("problem", AMBIGUOUS)
async def test_what_was_made_is_found(problem: Callable[[], Answer]) -> None:
    """A create that was performed and whose response was lost returns what it made, and is sent once."""
    account = Account([(problem, True)])
    mux, transport = client(account)
    raw = await mux.video.assets.with_raw_response.create(inputs=INPUTS, once="film-7")

    assert raw.value.id == "id0"
    assert raw.value.meta is not None
    assert raw.value.meta.external_id == "film-7"
    assert sent(transport) == ["POST", "GET"]
    assert raw.is_reconciled
    assert raw.status == 200
    assert len(raw.attempts) == 1
    assert b'"id0"' in raw.content


@pytest.mark.parametrize("problem", AMBIGUOUS[:3])
async def test_what_was_not_made_is_sent_again(problem: Callable[[], Answer]) -> None:
    """A create that was not acted on is looked for twice, three seconds apart, and sent again only then."""
    mux, transport = client(Account([(problem, False)]))
    start = anyio.current_time()
    raw = await mux.video.assets.with_raw_response.create(inputs=INPUTS, once="film-7")

    assert sent(transport) == ["POST", "GET", "GET", "POST"]
    assert anyio.current_time() - start == pytest.approx(3.5)
    assert (raw.value.id, raw.is_reconciled, len(raw.attempts)) == ("id0", False, 2)


async def test_a_slow_server_is_waited_for() -> None:
    """What shows up on the list only after the first look is found by the second."""
    account = Account([(lambda: RESET, True)], hidden_for=2.0)
    mux, transport = client(account)
    asset = await mux.video.assets.create(inputs=INPUTS, once="film-7")

    assert asset.id == "id0"
    assert sent(transport) == ["POST", "GET", "GET"]


async def test_a_201_without_its_body_is_never_sent_again() -> None:
    """When the server said 201, it is not sent again even when nothing shows; the error says what was done and what to look for."""
    account = Account([(AMBIGUOUS[3], True)], hidden_for=3600.0)
    mux, transport = client(account)
    with pytest.raises(AmbiguousOutcomeError, match=r"answered 201.*looked for.*mux\.video\.assets\.list") as caught:
        await mux.video.assets.create(inputs=INPUTS, once="film-7")

    assert sent(transport) == ["POST", "GET", "GET", "GET"]
    assert caught.value.how == "look for meta.external_id 'film-7' in mux.video.assets.list"
    assert (caught.value.once, caught.value.status) == ("film-7", 201)


async def test_only_the_newest_pages_are_read() -> None:
    """Looking ends where the list gets older than the first attempt, by the server's clock, however wrong the client's is."""
    for skew in (-7200.0, 0.0, 7200.0):
        account = Account([(lambda: RESET, False)], skew=skew)
        account.made["/video/v1/assets"] = [
            {"id": f"old{n}", "created_at": str(int(account.now()) - 300), "at": 0.0} for n in range(1000)
        ]
        mux, transport = client(account)
        await mux.video.assets.create(inputs=INPUTS, once="film-7")

        assert sent(transport) == ["POST", "GET", "GET", "POST"]


async def test_it_is_found_behind_others() -> None:
    """Others may have made hundreds of things since the first attempt: pages are read until their age says stop."""
    account = Account([(lambda: RESET, True)])

    def crowd(request: SentRequest) -> Answer:
        answer = account.handle(request)
        if request.method == "POST":
            account.made["/video/v1/assets"] += [
                {"id": f"x{n}", "created_at": str(int(account.now())), "at": 0.0} for n in range(450)
            ]
        return answer

    transport = FakeTransport(crowd)
    mux, _ = client(account, transport=transport)
    asset = await mux.video.assets.create(inputs=INPUTS, once="film-7")

    assert asset.id == "id0"
    assert sent(transport) == ["POST"] + ["GET"] * 5


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make this process's local time that of New York."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("new_york")
@pytest.mark.parametrize("zone", ["", " -0000", " GMT", " UTC", " XYZ"])
async def test_a_date_is_gmt(zone: str) -> None:
    """A ``Date`` is read as GMT, with no zone or an unknown one too, wherever this machine is: what was made is found behind others."""
    account = Account([(lambda: RESET, True)], date_format=f"%a, %d %b %Y %H:%M:%S{zone}")

    def crowd(request: SentRequest) -> Answer:
        answer = account.handle(request)
        if request.method == "POST":
            account.made["/video/v1/assets"] += [
                {"id": f"x{n}", "created_at": str(int(account.now())), "at": 0.0} for n in range(150)
            ]
        return answer

    mux, transport = client(account, transport=FakeTransport(crowd))
    asset = await mux.video.assets.create(inputs=INPUTS, once="film-7")

    assert asset.id == "id0"
    assert sent(transport) == ["POST", "GET", "GET"]


@pytest.mark.parametrize(
    "date", ["", "yesterday", "Tue, 99 Nov 2023 22:13:20 GMT", "0", "Tue, 14 Nov 99999 22:13:20 GMT", "\x00"]
)
async def test_a_malformed_date_is_as_good_as_none(date: str) -> None:
    """A ``Date`` that is no date fails nothing: the client's clock is used."""
    account = Account([(lambda: RESET, False)], date_format=date)
    mux, transport = client(account)
    await mux.video.assets.create(inputs=INPUTS, once="film-7")

    assert sent(transport) == ["POST", "GET", "GET", "POST"]


@pytest.mark.parametrize(
    "shown",
    [
        dict[str, object](),
        list[object](),
        None,
        {"data": None},
        {"data": "x"},
        {"data": 7},
        {"data": [1]},
        {"data": [dict[str, object](), None]},
    ],
)
async def test_an_answer_without_a_list_proves_nothing(shown: object) -> None:
    """When the search is answered with something else than a list, the outcome stays unknown and nothing is sent again."""
    transport = FakeTransport(lambda request: RESET if request.method == "POST" else respond(json=shown))
    mux, _ = client(Account(), transport=transport)
    with pytest.raises(AmbiguousOutcomeError, match="without the list"):
        await mux.video.assets.create(inputs=INPUTS, once="film-7")

    assert sent(transport) == ["POST", "GET"]


@pytest.mark.parametrize(("shown", "posts"), [({"data": {}}, 2), ({"data": {"tracks": []}}, 2), ({"data": None}, 1), ({}, 1)])
async def test_an_object_may_leave_its_list_out(shown: object, posts: int) -> None:
    """An asset without tracks has no list of them; what is no asset proves nothing."""

    def answer(request: SentRequest) -> Answer:
        if request.method == "GET":
            return respond(json=shown)
        return RESET if sent(transport).count("POST") == 1 else respond(201, json={"data": {"id": "t1"}})

    transport = FakeTransport(answer)
    mux, _ = client(Account(), transport=transport)
    create = partial(mux.video.assets.create_track, "a1", language_code="de", type="text", url="https://example.com/de.vtt")
    if posts == 2:
        assert (await create(once="german")).id == "t1"
    else:
        with pytest.raises(AmbiguousOutcomeError):
            await create(once="german")

    assert sent(transport).count("POST") == posts


async def test_a_list_without_end_proves_nothing() -> None:
    """A search reads 50 pages of 100. If they do not go back far enough, the outcome stays unknown and nothing is sent again."""
    account = Account([(lambda: RESET, False)])
    account.made["/video/v1/assets"] = [{"id": f"x{n}", "created_at": str(EPOCH + 60), "at": 0.0} for n in range(5001)]
    mux, transport = client(account)
    with pytest.raises(AmbiguousOutcomeError, match="did not go back"):
        await mux.video.assets.create(inputs=INPUTS, once="film-7")

    assert sent(transport).count("POST") == 1


async def test_without_a_date_the_own_clock_does() -> None:
    """A server that sends no Date is measured by the client's clock, with more slack."""
    account = Account([(lambda: RESET, False)], sends_date=False)
    account.made["/video/v1/assets"] = [{"id": f"x{n}", "created_at": "1000000000", "at": 0.0} for n in range(300)]
    mux, transport = client(account)
    await mux.video.assets.create(inputs=INPUTS, once="film-7")

    assert sent(transport) == ["POST", "GET", "GET", "POST"]


async def test_a_search_that_fails_leaves_the_doubt() -> None:
    """When looking fails for good, the create is not sent again, and the error carries its attempts and the reason."""
    transport = FakeTransport(lambda request: respond(500) if request.method == "GET" else RESET)
    mux, _ = client(Account(), transport=transport)
    with pytest.raises(AmbiguousOutcomeError, match=r"looking for it came to nothing.*500") as caught:
        await mux.video.assets.create(inputs=INPUTS, once="film-7")

    assert sent(transport) == ["POST"] + ["GET"] * 5
    assert len(caught.value.attempts) == 1
    assert isinstance(caught.value.__cause__, TransportError)


async def test_a_deadline_within_the_search_leaves_the_doubt() -> None:
    """A deadline that passes while it is looked for is no clean failure: the create may have gone through."""
    mux, transport = client(Account([(lambda: RESET, False)]), deadline=2.0)
    start = anyio.current_time()
    with pytest.raises(AmbiguousOutcomeError) as caught:
        await mux.video.assets.create(inputs=INPUTS, once="film-7")

    assert anyio.current_time() - start == pytest.approx(2.0)
    assert caught.value.once == "film-7"
    assert sent(transport) == ["POST", "GET"]


async def test_attempts_are_bounded() -> None:
    """After the last attempt it is still looked for; when it is not there, that is an unknown outcome, and not a failure."""
    mux, transport = client(Account([(lambda: RESET, False)] * 9), max_attempts=2)
    with pytest.raises(AmbiguousOutcomeError, match="not there yet") as caught:
        await mux.video.assets.create(inputs=INPUTS, once="film-7")

    assert sent(transport) == ["POST", "GET", "GET"] * 2
    assert len(caught.value.attempts) == 2


async def test_a_clean_failure_after_a_doubt_says_so() -> None:
    """A refusal that follows an attempt in doubt carries a note of it."""
    refused = [(lambda: respond(429), False)] * 9
    mux, _ = client(Account([(lambda: RESET, False), *refused]), max_attempts=3)
    with pytest.raises(RateLimitedError) as caught:
        await mux.video.assets.create(inputs=INPUTS, once="film-7")

    assert any("earlier attempt" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(("answer", "posts"), [(lambda: respond(429), 2), (lambda: ConnectError("refused"), 2)])
async def test_refusals_need_no_search(answer: Callable[[], Answer], posts: int) -> None:
    """What was refused or never sent goes again without being looked for."""
    mux, transport = client(Account([(answer, False)]))
    await mux.video.assets.create(inputs=INPUTS, once="film-7")

    assert sent(transport) == ["POST"] * posts


async def test_a_conflict_stays_final() -> None:
    """A 409 of Robots is given to the caller, with a key too."""
    mux, transport = client(Account([(lambda: respond(409), False)]))
    with pytest.raises(ConflictError):
        await mux.robots.jobs.summarize.create(parameters={"asset_id": "a"}, once="k")

    assert sent(transport) == ["POST"]


async def test_jobs_are_looked_at_one_by_one() -> None:
    """The list of Robots jobs has no keys: jobs of the asset and workflow that were made since are retrieved one by one."""
    jobs = {"j2": "other", "j1": "k"}

    def answer(request: SentRequest) -> Answer:
        now = EPOCH + int(anyio.current_time())
        if request.method == "POST":
            return RESET
        if request.path == "/robots/v1/jobs":
            assert dict(request.query) == {"limit": "100", "asset_id": "a", "workflow": "summarize"}
            listed = [{"id": job, "created_at": now} for job in jobs] + [{"id": "old", "created_at": now - 3600}]
            return respond(
                json={"data": listed, "total_row_count": 3}, headers={"Date": format_datetime(datetime.fromtimestamp(now, UTC))}
            )
        job = request.path.removeprefix("/robots/v1/jobs/summarize/")
        return respond(json={"data": {"id": job, "passthrough": jobs[job]}})

    transport = FakeTransport(answer)
    mux, _ = client(Account(), transport=transport)
    job = await mux.robots.jobs.summarize.create(parameters={"asset_id": "a"}, once="k")

    assert job.id == "j1"
    assert sent(transport) == ["POST", "GET", "GET", "GET"]


async def test_things_inside_others_are_found() -> None:
    """A track is looked for in its asset, by its passthrough."""

    def answer(request: SentRequest) -> Answer:
        if request.method == "POST":
            return respond(500)
        assert request.path == "/video/v1/assets/a1"
        return respond(json={"data": {"id": "a1", "tracks": [{"id": "t0"}, {"id": "t1", "passthrough": "german"}]}})

    transport = FakeTransport(answer)
    mux, _ = client(Account(), transport=transport)
    track = await mux.video.assets.create_track(
        "a1", language_code="de", type="text", url="https://example.com/de.vtt", once="german"
    )

    assert track.id == "t1"
    assert transport.requests[0].json["passthrough"] == "german"


async def test_an_upload_is_stamped_and_sent_again() -> None:
    """A second upload does no harm, so it goes again at once; the asset that it becomes carries the key."""
    mux, transport = client(Account([(lambda: RESET, False)]))
    await mux.video.uploads.create(new_asset_settings={"playback_policies": ["public"]}, once="k")

    assert sent(transport) == ["POST", "POST"]
    assert transport.requests[1].json == {"new_asset_settings": {"playback_policies": ["public"], "meta": {"external_id": "k"}}}


@pytest.mark.parametrize(
    "meta",
    [
        {"title": "A film"},
        AssetMetadata(title="A film"),
        {"title": "A film", "external_id": "k"},
        {"title": "A film", "external_id": None},
    ],
)
async def test_the_stamp_joins_what_is_there(meta: Any) -> None:
    """The key is written beside the other members of ``meta``, in whatever form they were given, and not into the caller's own object."""
    before = str(meta)
    mux, transport = client(Account())
    await mux.video.assets.create(inputs=INPUTS, meta=meta, once="k")

    assert transport.requests[0].json["meta"] == {"title": "A film", "external_id": "k"}
    assert str(meta) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"once": "k", "meta": {"external_id": "mine"}},
            r"meta\.external_id is set to something else.*leave meta\.external_id out",
        ),
        ({"once": "k", "extra_body": {"meta": {"external_id": "mine"}}}, r"meta\.external_id is set to something else"),
        ({"once": "k" * 129}, "129 characters.*takes 128"),
        ({"once": ""}, "at least one"),
        ({"once": " k"}, "no space at either end"),
        ({"once": "a\nb"}, "printable"),
        ({"once": 7}, "of type int"),
        ({"once": "k", "meta": "text"}, "pass a mapping"),
    ],
)
async def test_keys_that_are_refused(arguments: dict[str, Any], message: str) -> None:
    """A key that does not fit, or whose place is taken, is refused before anything is sent, and the message says how to mend it."""
    mux, transport = client(Account())
    with pytest.raises(InvalidRequestError, match=message):
        await mux.video.assets.create(inputs=INPUTS, **arguments)

    assert not transport.requests


async def test_without_a_key_the_error_says_where_to_look() -> None:
    """Without ``once`` nothing is looked for, and the error names the operation that would show what was made."""
    mux, transport = client(Account([(lambda: RESET, True)]))
    with pytest.raises(AmbiguousOutcomeError, match=r"see what mux\.video\.playback_restrictions\.list shows") as caught:
        await mux.video.playback_restrictions.create(referrer={"allowed_domains": []}, user_agent={})

    assert caught.value.how == "see what mux.video.playback_restrictions.list shows"
    assert caught.value.once is None
    assert sent(transport) == ["POST"]


async def test_a_write_that_is_nowhere_shown() -> None:
    """A POST that this version does not know has no ``how``."""
    mux, _ = client(Account([(lambda: RESET, True)]))
    with pytest.raises(AmbiguousOutcomeError, match="look whether it was done") as caught:
        await mux.request("POST", "/video/v1/new-things")

    assert caught.value.how is None


async def test_searches_share_their_pages() -> None:
    """Fifty creates that lost their answers at the same moment read the list once, not fifty times."""
    account = Account([(lambda: RESET, True)] * 50)

    async def slowly(request: SentRequest) -> Answer:
        await anyio.sleep(0.01)
        return account.handle(request)

    transport = FakeTransport(slowly)
    mux, _ = client(account, transport)
    found: list[str] = []

    async def create(number: int) -> None:
        asset = await mux.video.assets.create(inputs=INPUTS, once=f"film-{number}")
        assert asset.meta is not None
        assert asset.meta.external_id == f"film-{number}"
        found.append(asset.id)

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(create, number)

    assert len(set(found)) == 50
    assert sent(transport).count("POST") == 50
    assert sent(transport).count("GET") == 1


async def test_the_retry_budget_bounds_sending_again() -> None:
    """What was looked for and not found is not sent again when the account's budget is used up."""
    limits = LimitSettings(enabled=False, retries=RetrySettings(share=0.0, reserve=0))
    mux, transport = client(Account([(lambda: RESET, False)]), limits=limits)
    with pytest.raises(AmbiguousOutcomeError) as caught:
        await mux.video.assets.create(inputs=INPUTS, once="k")

    assert isinstance(caught.value.__cause__, MuxError)
    assert any("retry budget" in note for note in caught.value.__cause__.__notes__)
    assert sent(transport) == ["POST", "GET", "GET"]
