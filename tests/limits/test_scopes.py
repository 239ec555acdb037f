"""What counts together: accounts, environments, tokens of low priority. In virtual time, on asyncio and trio, without sockets."""

from __future__ import annotations

import pickle
import sqlite3
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import anyio
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mux_async import AccessToken, BucketSettings, LimitSettings, Mux, use_priority
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, RateRules, Token
from mux_async.errors import AuthenticationError, ConfigurationError, MissingCredentialsError, RateLimitedError
from mux_async.limits import Bucket, LimitEvent, RequestDelayed
from mux_async.testing import FakeTransport, SentRequest, VirtualTimeLoop, respond
from mux_async.transport import ConnectError, HttpResponse
from tests._examples import examples

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

LOW = AccessToken("low", "secret-of-low")
VARIABLES = {"MUX_LOW_PRIORITY_TOKEN_ID": LOW.id, "MUX_LOW_PRIORITY_TOKEN_SECRET": LOW.secret.reveal()}
FILM = {"inputs": [{"url": "https://example.com/film.mp4"}]}


def client(
    answer: Callable[[SentRequest], HttpResponse | Exception] | None = None, **options: Any
) -> tuple[Mux, FakeTransport]:
    """Return a client with two tokens of its own, and what it sends with."""

    async def reply(request: SentRequest) -> HttpResponse:
        await anyio.sleep(0.01)
        made = answer(request) if answer is not None else respond(json={"data": {"id": "a"}})
        if isinstance(made, Exception):
            raise made
        return made

    transport = options.pop("transport", None) or FakeTransport(reply)
    settings: dict[str, Any] = {
        "token_id": f"high-{uuid4()}",
        "token_secret": "secret",
        "low_priority": AccessToken(f"low-{uuid4()}", "secret-of-low"),
        "base_url": "https://mux.test",
        "clock": anyio.current_time,
        "random": Random(1),
    }
    return Mux(transport=transport, **{**settings, **options}), transport


def who(request: SentRequest) -> str:
    """Return which of the two tokens a request was authorised with."""
    token, _, secret = b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode().partition(":")
    assert secret == ("secret-of-low" if token.startswith("low") else "secret")
    return token.partition("-")[0]


async def post(mux: Mux) -> None:
    await mux.request("POST", "/video/v1/assets", body=FILM)


class TestTokens:
    async def test_batch_calls_have_the_token_of_low_priority(self) -> None:
        """A batch call goes out with it, however its priority was given; interactive and default calls do not."""
        mux, transport = client()
        await post(mux)
        await post(mux.with_options(priority="interactive"))
        await post(mux.with_options(priority="batch"))
        with use_priority("batch"):
            await mux.video.assets.retrieve("a")
            await post(mux.with_options(priority="default"))
        await mux.with_options(priority="batch").request("GET", "/video/v1/assets")

        assert [who(request) for request in transport.requests] == ["high", "high", "low", "low", "high", "low"]

    @pytest.mark.parametrize("priority", ["batch", "default"])
    @pytest.mark.parametrize("failure", [lambda: respond(429), lambda: respond(503), lambda: ConnectError("nobody is there")])
    async def test_a_retry_stays_with_its_token(self, priority: Any, failure: Callable[[], HttpResponse | Exception]) -> None:
        """A call that is sent again, after whatever failure, is authorised as it was the first time."""
        answers = iter([failure, failure])
        mux, transport = client(lambda _: next(answers, lambda: respond(json={"data": {"id": "a"}}))(), priority=priority)
        await mux.video.assets.retrieve("a")

        assert {who(request) for request in transport.requests} == {"low" if priority == "batch" else "high"}
        assert len(transport.requests) == 3

    async def test_the_search_for_a_lost_create_stays_with_its_token(self) -> None:
        """What looks for the object of a create whose answer was lost is authorised as the create was."""

        def answer(request: SentRequest) -> HttpResponse:
            if request.method == "POST" and len(transport.requests) == 1:
                return respond(500)
            return respond(json={"data": [] if request.method == "GET" else {"id": "a"}})

        mux, transport = client(answer)
        with use_priority("batch"):
            await mux.video.assets.create(inputs=[{"url": "https://example.com/film.mp4"}], once="key")

        assert {request.method for request in transport.requests} == {"GET", "POST"}
        assert {who(request) for request in transport.requests} == {"low"}

    async def test_reads_of_two_tokens_are_not_shared(self) -> None:
        """The same GET at the same time is sent once with each token, and a batch write counts as a write for both."""
        mux, transport = client(limits=LimitSettings(enabled=False))
        batch = mux.with_options(priority="batch")

        async def run(call: Callable[[str], Awaitable[object]], asset_id: str, after: float = 0.0) -> None:
            await anyio.sleep(after)
            await call(asset_id)

        async with anyio.create_task_group() as tasks:
            for each in (mux, batch):
                tasks.start_soon(run, each.video.assets.retrieve, "a")
        assert sorted(who(request) for request in transport.requests) == ["high", "low"]

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, batch.video.assets.delete, "a")
            tasks.start_soon(run, mux.video.assets.retrieve, "a", 0.005)
            tasks.start_soon(run, mux.video.assets.retrieve, "a", 0.012)
        assert [who(request) for request in transport.requests[2:]] == ["low", "high", "high"]

    async def test_one_token_is_for_everything(self) -> None:
        """Without a token of low priority, batch calls go out and count as they always did."""
        mux, transport = client(low_priority=None)
        await post(mux.with_options(priority="batch"))

        assert [who(request) for request in transport.requests] == ["high"]
        assert mux.limits.low_priority is None
        assert mux.limits.snapshot().post.granted == 1

    async def test_a_refused_token_is_named(self) -> None:
        """A 401 says which of the two tokens the server did not take, and shows neither."""
        mux, _ = client(lambda _: respond(401, json={"error": {"type": "unauthorized", "messages": ["no"]}}))
        with pytest.raises(AuthenticationError, match="credentials of low_priority=") as caught:
            await post(mux.with_options(priority="batch"))

        assert "secret-of-low" not in str(caught.value)
        with pytest.raises(AuthenticationError, match="credentials of token_id= and token_secret="):
            await post(mux)


class TestSettings:
    def test_variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The token of low priority may be in variables; those belong to the token in variables, and to no other."""
        for name, value in {**VARIABLES, "MUX_TOKEN_ID": "high", "MUX_TOKEN_SECRET": "secret"}.items():
            monkeypatch.setenv(name, value)

        assert Mux().limits.low_priority is not None
        assert Mux(token_id="other", token_secret="secret").limits.low_priority is None
        monkeypatch.delenv("MUX_LOW_PRIORITY_TOKEN_SECRET")
        with pytest.raises(MissingCredentialsError, match=r"^MUX_LOW_PRIORITY_TOKEN_SECRET is not set, and MUX_LOW_PRIORITY"):
            Mux()

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda: Mux(token_id="a", token_secret="s", low_priority=("b", "secret-of-low")), "it must be an AccessToken"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            (lambda: Mux(token_id="low", token_secret="s", low_priority=LOW), "is the token 'low' itself"),
            (lambda: AccessToken("", "s"), "access token's id"),
            (lambda: AccessToken("a", ""), "access token's secret is empty"),
            (lambda: AccessToken("a:b", "s"), "access token's id holds a colon"),
            (lambda: AccessToken("a", "s\n"), "access token's secret holds a line break"),
            (lambda: AccessToken("a", 5), "access token's secret is of type int"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            (lambda: LimitSettings(scope="galaxy"), "scope is 'galaxy'"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            (lambda: LimitSettings(low_priority=3), "it must be a LimitSettings"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            (lambda: LimitSettings(scope="account", low_priority=LimitSettings()), "does not tell priorities apart"),
            (lambda: LimitSettings(low_priority=LimitSettings(low_priority=LimitSettings())), "has a low_priority of its own"),
        ],
    )
    def test_what_cannot_be_right_is_refused(self, make: Callable[[], object], words: str) -> None:
        """Settings that cannot be right are refused when they are made, and secrets in them are not shown."""
        with pytest.raises(ConfigurationError, match=words) as caught:
            make()
        assert "secret-of-low" not in str(caught.value)

    def test_a_token_does_not_show_its_secret(self) -> None:
        """An `AccessToken` shows its id and not its secret, and cannot be pickled."""
        assert repr(LOW) == "AccessToken(id='low', secret=Secret('***'))"
        assert AccessToken("low", "secret-of-low") == LOW
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(LOW)

    async def test_limits_of_its_own(self) -> None:
        """`LimitSettings.low_priority` is what the token of low priority is allowed; by default it is allowed the same."""
        slow = LimitSettings(post=BucketSettings(0.5, 1))
        both, _ = client(limits=LimitSettings(post=BucketSettings(4.0, 8), low_priority=slow))
        same, _ = client(limits=LimitSettings(post=BucketSettings(4.0, 8)))

        assert both.limits.low_priority is not None
        assert same.limits.low_priority is not None
        assert (both.limits.snapshot().post.rate, both.limits.low_priority.snapshot().post.rate) == (4.0, 0.5)
        assert same.limits.low_priority.snapshot().post.rate == 4.0
        forecast = both.limits.forecast(post=100)
        assert [forecast.default, forecast.batch] == pytest.approx([23.25, 198.0], abs=0.5)


CLIENTS: dict[str, dict[str, Any]] = {
    "one token": {"token_id": "high", "low_priority": None},
    "another token": {"token_id": "other", "low_priority": None},
    "the low token alone": {"token_id": "low", "low_priority": None},
    "both": {"token_id": "high", "low_priority": LOW},
    "both, by account": {"token_id": "high", "low_priority": LOW, "limits": LimitSettings(scope="account")},
    "acme": {"token_id": "high", "low_priority": None, "account": "acme"},
    "acme, both": {"token_id": "x", "low_priority": LOW, "account": "acme"},
    "acme, staging": {"token_id": "high", "low_priority": None, "account": "acme", "environment": "staging"},
    "acme, staging, both": {"token_id": "x", "low_priority": LOW, "account": "acme", "environment": "staging"},
    "acme, staging, two others": {
        "token_id": "y",
        "low_priority": AccessToken("low-2", "secret-of-low"),
        "account": "acme",
        "environment": "staging",
    },
    "acme, staging, by account": {
        "token_id": "high",
        "low_priority": LOW,
        "account": "acme",
        "environment": "staging",
        "limits": LimitSettings(scope="account"),
    },
}


@pytest.mark.parametrize(
    ("priority", "sender", "counted"),
    [
        ("default", "one token", {"one token", "both"}),
        ("batch", "one token", {"one token", "both"}),
        ("batch", "both", {"the low token alone", "both (low)"}),
        ("default", "the low token alone", {"the low token alone", "both (low)"}),
        ("batch", "both, by account", {"both, by account"}),
        ("default", "acme", {"acme", "acme, both"}),
        ("batch", "acme, both", {"acme, both (low)"}),
        ("default", "acme, staging", {"acme, staging", "acme, staging, both", "acme, staging, two others"}),
        ("batch", "acme, staging, both", {"acme, staging, both (low)", "acme, staging, two others (low)"}),
        ("batch", "acme, staging, by account", {"acme, staging, by account"}),
    ],
)
async def test_who_counts_together(priority: Any, sender: str, counted: set[str]) -> None:
    """A request is seen in the limits of exactly those clients that share them, as account, environment and tokens say."""
    server = f"https://{uuid4()}.test"  # the settings of `by account` differ, and one account has one set of them
    by_account = "by account" in sender
    clients = {
        name: client(base_url=server, **options)[0] for name, options in CLIENTS.items() if ("by account" in name) is by_account
    }
    await post(clients[sender].with_options(priority=priority))

    limits = {name: mux.limits for name, mux in clients.items()}
    limits.update({f"{name} (low)": low for name, each in limits.items() if (low := each.low_priority) is not None})
    assert {name for name, each in limits.items() if each.snapshot().post.granted} == counted


@pytest.mark.runtimes("asyncio", "trio")
async def test_a_shared_store_keeps_them_apart(tmp_path: Path) -> None:
    """In a file that processes share, each scope has rows of its own; those of the default scope have the names they always had."""
    path = tmp_path / "limits.db"
    limits = LimitSettings(url=f"sqlite:///{path}", post=BucketSettings(100.0, 3))
    async with client(
        token_id="high-1", low_priority=AccessToken("low-1", "secret-of-low"), limits=limits, clock=time.monotonic
    )[0] as mux:
        await post(mux)
        await post(mux.with_options(priority="batch"))
    async with client(token_id="high-1", account="acme", environment="staging", limits=limits, clock=time.monotonic)[0] as mux:
        await post(mux.with_options(priority="batch"))

    with closing(sqlite3.connect(path)) as connection:
        rows = {row[0] for row in connection.execute("SELECT account FROM mux_async_limits_1")}
    assert rows == {"https://mux.test high-1", "https://mux.test low-1", "https://mux.test acme/staging low-priority"}


async def crowd(mux: Mux, batch: int, seconds: float, workers: int = 8) -> list[float]:
    """Create uploads as people, as fast as may be, beside a *batch* of assets. Returns when the uploads were sent, from the start."""
    start = anyio.current_time()
    sent: list[float] = []

    async def create_uploads() -> None:
        while True:
            await mux.with_options(priority="interactive").request("POST", "/video/v1/uploads", body={})
            sent.append(anyio.current_time() - start)

    async with anyio.create_task_group() as tasks:
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as people:
                for _ in range(workers):
                    people.start_soon(create_uploads)
                for _ in range(batch):
                    tasks.start_soon(post, mux.with_options(priority="batch"))
    return sent


@pytest.mark.parametrize("creates", [150, pytest.param(1000, marks=pytest.mark.proof)])
async def test_a_batch_takes_nothing_from_people(creates: int) -> None:
    """A batch of creates with a token of low priority: people wait exactly as long as without it, nothing is answered 429, and both
    tokens use at least 98 % of what they are allowed."""
    rate = 1.0
    rules = RateRules(rates=dict.fromkeys(Bucket, rate), scope="environment-and-priority", headers=True)
    settings = EmulatorSettings(
        tokens=(Token("high", "secret"), Token("low", "secret-of-low", priority="low")), limits=rules, max_arrivals=10_000
    )
    sent: list[list[float]] = []
    for batch in (0, creates):
        emulator = Emulator(settings, clock=anyio.current_time)
        async with client(
            token_id="high",
            low_priority=LOW,
            base_url=f"https://{uuid4()}.test",
            limits=LimitSettings(post=BucketSettings(rate, 2)),
            transport=EmulatorTransport(emulator),
        )[0] as mux:
            sent.append(await crowd(mux, batch, float(creates)))
        arrivals = [one for one in emulator.arrivals if one.method == "POST"]

    assert sent[0] == sent[1]
    assert [one.status for one in arrivals if one.status != 201] == []
    for path in ("/video/v1/uploads", "/video/v1/assets"):
        times = [one.at for one in arrivals if one.path == path]
        assert (len(times) - 1) / (times[-1] - times[0]) >= 0.98 * rate
    assert sum(one.path == "/video/v1/assets" for one in arrivals) == creates


async def test_a_429_is_of_one_token() -> None:
    """A 429 closes the bucket of the token that got it: the other one goes on."""
    mux, _ = client(lambda request: respond(429 if who(request) == "low" else 200, json={"data": {}}))
    with pytest.raises(RateLimitedError):
        await post(mux.with_options(priority="batch", max_attempts=1))
    await post(mux)

    assert mux.limits.low_priority is not None
    high, low = mux.limits.snapshot().post, mux.limits.low_priority.snapshot().post
    assert (high.throttled, low.throttled) == (0, 1)
    assert high.closed_for == 0.0 < low.closed_for


async def test_waits_of_both_are_heard() -> None:
    """A listener hears of waits of both tokens; one of the low-priority limits only of theirs."""
    mux, _ = client(limits=LimitSettings(post=BucketSettings(1.0, 1)))
    events: dict[str, list[LimitEvent]] = {"both": [], "low": []}
    assert mux.limits.low_priority is not None
    with mux.limits.listen(events["both"].append), mux.limits.low_priority.listen(events["low"].append):
        for each in (mux, mux.with_options(priority="batch")):
            await post(each)
            await post(each)

    delays = {name: [event.priority for event in heard if isinstance(event, RequestDelayed)] for name, heard in events.items()}
    assert delays == {"both": ["default", "batch"], "low": ["batch"]}


class TestHeaders:
    async def test_each_bucket_is_told(self) -> None:
        """`X-RateLimit-Limit` and `X-RateLimit-Remaining` are of the token and the bucket of their request, and seen in the snapshot."""

        def answer(request: SentRequest) -> HttpResponse:
            left = "1" if who(request) == "low" else "2"
            return respond(json={"data": {}}, headers={"X-RateLimit-Limit": "7", "X-RateLimit-Remaining": left})

        mux, _ = client(answer, limits=LimitSettings(post=BucketSettings(0.001, 9)))
        await post(mux)
        await post(mux.with_options(priority="batch"))

        assert mux.limits.low_priority is not None
        high, low = mux.limits.snapshot(), mux.limits.low_priority.snapshot()
        assert [high.post.level, low.post.level] == pytest.approx([2.0, 1.0], abs=0.01)
        assert [(each.post.reported_limit, each.post.reported_remaining) for each in (high, low)] == [(7, 2), (7, 1)]
        assert (high.other.reported_limit, high.other.reported_remaining) == (None, None)

    @pytest.mark.parametrize(
        ("limit", "remaining"),
        [("5", "6"), ("5", "-1"), ("5", ""), ("5", "NaN"), ("5", "1e3"), ("5", "1, 2"), ("5", "9" * 5000), (None, "0x1")],
    )
    async def test_nonsense_is_ignored(self, limit: str | None, remaining: str) -> None:
        """A count that is no whole number, has too many digits, or is above the limit that is named with it changes nothing."""
        headers = {"X-RateLimit-Remaining": remaining, **({} if limit is None else {"X-RateLimit-Limit": limit})}
        mux, _ = client(
            lambda _: respond(json={"data": {}}, headers=headers), limits=LimitSettings(post=BucketSettings(0.001, 9))
        )
        await post(mux)

        post_bucket = mux.limits.snapshot().post
        assert post_bucket.level == pytest.approx(8.0, abs=0.01)
        assert post_bucket.reported_remaining is None


_texts = st.one_of(
    st.integers(-5, 12).map(str),
    st.integers(-(10**30), 10**30).map(str),
    st.sampled_from(["NaN", "", "0", "1, 2", "-0"]),
    st.text(),
).filter(lambda text: text.isprintable() and text.isascii())


@given(headers=st.lists(st.tuples(_texts, _texts), min_size=1, max_size=8), paced=st.booleans())
@hypothesis_settings(max_examples=examples(100))
def test_whatever_the_headers_say(headers: list[tuple[str, str]], paced: bool) -> None:
    """Whatever the headers say, calls are sent within the configured bound and, without a 429, at a quarter of the rate at least.

    Batch calls wait for the whole burst to come back, where the server says that it is gone.
    """
    rate, burst, calls = 2.0, 6, 40
    moments: list[float] = []

    def answer(_: SentRequest) -> HttpResponse:
        moments.append(anyio.current_time())
        limit, remaining = headers[len(moments) % len(headers)]
        return respond(json={"data": {}}, headers={"X-RateLimit-Limit": limit, "X-RateLimit-Remaining": remaining})

    async def main() -> None:
        priority: Any = "batch" if paced else "interactive"
        mux, _ = client(answer, limits=LimitSettings(post=BucketSettings(rate, burst)), priority=priority, low_priority=None)
        async with anyio.create_task_group() as tasks:
            for _ in range(calls):
                tasks.start_soon(post, mux)

    anyio.run(main, backend_options={"loop_factory": VirtualTimeLoop})

    assert len(moments) == calls
    assert moments[-1] - moments[0] <= calls * (0.02 + (burst if paced else 1) / (rate / 4))
    for first, start in enumerate(moments):
        for last in range(first, calls):
            assert last - first + 1 <= burst + rate * (moments[last] - start) + 1e-6
