"""The account's retry budget: its bound, and what is counted against it."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from uuid import uuid4

import anyio
import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mux_async import ConfigurationError, LimitSettings, Mux, RetryPolicy, RetrySettings, ServerError
from mux_async.errors import ConnectError
from mux_async.testing import FakeTransport, VirtualTimeLoop, respond
from mux_async.transport import HttpResponse
from tests._examples import examples


def client(transport: FakeTransport, retries: RetrySettings, policy: RetryPolicy | None = None) -> Mux:
    return Mux(
        token_id="id",
        token_secret="secret",
        base_url="https://mux.test",
        account=f"test-{uuid4()}",
        transport=transport,
        clock=anyio.current_time,
        random=Random(1),
        limits=LimitSettings(enabled=False, retries=retries),
        retry=policy,
    )


@attrs.define
class Outage:
    """A server that answers every request with a 500, and a client of it that retries at once.

    Attributes:
        calls: When each call sent its first request.
        retries: When each of the other requests was sent.
    """

    calls: list[float] = attrs.field(factory=list[float])
    retries: list[float] = attrs.field(factory=list[float])
    _paths: set[str] = attrs.field(factory=set[str])

    def answer(self, path: str) -> HttpResponse:
        (self.retries if path in self._paths else self.calls).append(anyio.current_time())
        self._paths.add(path)
        return respond(500)

    def client(self, share: float, reserve: int) -> Mux:
        transport = FakeTransport(lambda request: self.answer(request.path))
        return client(transport, RetrySettings(share, reserve), RetryPolicy(first=1e-6, longest=1e-6))

    async def call(self, mux: Mux, attempts: int) -> int:
        """Make a call that fails, and return how often it was retried."""
        before = len(self.retries)
        with pytest.raises(ServerError):
            await mux.with_options(max_attempts=attempts).request("GET", f"/video/v1/assets/{uuid4()}")
        return len(self.retries) - before


steps = st.lists(st.tuples(st.floats(0.0, 100.0), st.integers(1, 10), st.integers(1, 6)), max_size=12)


@given(steps, st.floats(0.0, 3.0), st.integers(0, 20))
@settings(max_examples=examples(100))
def test_bound(script: list[tuple[float, int, int]], share: float, reserve: int) -> None:
    """In every window, retries stay within the reserve, its refill, and the share of the calls made in it."""
    outage = Outage()

    async def run() -> None:
        mux = outage.client(share, reserve)
        for delay, calls, attempts in script:
            await anyio.sleep(delay)
            async with anyio.create_task_group() as tasks:
                for _ in range(calls):
                    tasks.start_soon(outage.call, mux, attempts)

    anyio.run(run, backend="asyncio", backend_options={"loop_factory": VirtualTimeLoop})
    kept = max(reserve, 1.0 if share else 0.0)
    for first, start in enumerate(outage.retries):
        for last, end in enumerate(outage.retries[first:], first):
            calls = sum(start - 1e-3 <= moment <= end for moment in outage.calls)
            assert last - first + 1 <= kept + reserve * (end - start) / 60.0 + share * calls + 1e-3


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_reserve_comes_back() -> None:
    """The reserve of a program with few calls refills within a minute."""
    outage = Outage()
    mux = outage.client(share=0.2, reserve=6)

    assert await outage.call(mux, 11) == 6
    await anyio.sleep(30.0)
    assert await outage.call(mux, 11) == 3
    await anyio.sleep(970.0)
    assert await outage.call(mux, 11) == 6


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_no_budget() -> None:
    """An infinite share allows every retry."""
    outage = Outage()

    assert await outage.call(outage.client(share=math.inf, reserve=0), 200) == 199


@pytest.mark.parametrize(("share", "reserve"), [(-0.1, 1), (math.nan, 1), (0.2, -1)])
def test_nonsense(share: float, reserve: int) -> None:
    """Settings out of range are refused."""
    with pytest.raises(ConfigurationError, match="retry budget"):
        RetrySettings(share, reserve)


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_an_outage_is_not_multiplied() -> None:
    """When every answer is a 500, a hundred calls send a hundred requests, a fifth more, and the reserve; the errors say why."""
    transport = FakeTransport(lambda _: respond(500))
    mux = client(transport, RetrySettings(share=0.2, reserve=5))
    notes = 0
    for number in range(100):
        with pytest.raises(ServerError) as caught:
            await mux.request("GET", f"/video/v1/assets/{number}")
        notes += any("retry budget" in note for note in getattr(caught.value, "__notes__", ()))

    elapsed = anyio.current_time()
    assert 120 <= len(transport.requests) <= 100 + 20 + 5 + 5 * elapsed / 60 + 1
    assert notes > 70


@pytest.mark.anyio
@pytest.mark.virtual_time
@pytest.mark.parametrize("problem", [lambda: respond(429), lambda: ConnectError("refused")])
async def test_what_costs_the_server_nothing_is_not_counted(problem: Callable[[], HttpResponse | BaseException]) -> None:
    """A 429 and a refused connection are retried with an empty budget too."""
    answers: list[Callable[[], HttpResponse | BaseException]] = [problem, problem, lambda: respond(json={})]
    transport = FakeTransport(lambda _: answers.pop(0)())
    mux = client(transport, RetrySettings(share=0.0, reserve=0))
    await mux.request("GET", "/video/v1/assets")

    assert len(transport.requests) == 3
