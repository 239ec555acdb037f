"""Which clients share the limits of an account: the open ones, not those that were closed."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from mux_async import BucketSettings, LimitSettings, Mux
from mux_async.errors import ConfigurationError, MuxError, WrongRuntimeError
from mux_async.testing import FakeTransport, respond
from mux_async.transport import Transport, TransportFactory, TransportSettings

ONE, OTHER = LimitSettings(post=BucketSettings(2.0, 5)), LimitSettings(post=BucketSettings(3.0, 5))
_accounts = itertools.count()


@pytest.fixture
def account() -> str:
    return f"sharing-{next(_accounts)}"


def client(account: str, limits: LimitSettings | None, transport: Transport | TransportFactory | None = None) -> Mux:
    chosen = transport or FakeTransport(lambda _: respond(404))
    return Mux(token_id="id", token_secret="secret", account=account, limits=limits, transport=chosen)


async def fail(mux: Mux) -> None:
    async with mux:
        await mux.request("GET", "/gone")


def test_a_client_that_was_closed_does_not_count(account: str) -> None:
    """While the error of a finished client is still held, with its traceback, the next client may have other limits."""
    with pytest.raises(MuxError) as held:
        asyncio.run(fail(client(account, ONE)))

    assert client(account, OTHER).limits.settings == OTHER
    assert held.tb is not None


def test_a_client_whose_loop_ended_does_not_count(account: str) -> None:
    """The same without ``aclose``: a client is closed when its event loop ends."""
    first = client(account, ONE)
    with pytest.raises(MuxError):
        asyncio.run(first.request("GET", "/gone"))

    assert client(account, OTHER).limits.settings == OTHER
    assert first.limits.settings == ONE


def test_a_client_whose_loop_was_merely_closed_does_not_count(account: str) -> None:
    """The same where ``loop.close()`` was all that happened to the event loop."""
    first, loop = client(account, ONE), asyncio.new_event_loop()
    with pytest.raises(MuxError):
        loop.run_until_complete(first.request("GET", "/gone"))
    loop.close()

    assert client(account, OTHER).limits.settings == OTHER


def test_a_client_that_could_not_be_opened_does_not_count(account: str) -> None:
    """The same for one whose transport could not be made."""

    def on_throttled(_: TransportSettings) -> Transport:
        raise WrongRuntimeError("made up", running="asyncio", supported=("trio",))

    with pytest.raises(WrongRuntimeError) as held:
        asyncio.run(fail(client(account, ONE, on_throttled)))

    assert client(account, OTHER).limits.settings == OTHER
    assert held.tb is not None


def test_a_client_that_is_closed_unused_does_not_count(account: str) -> None:
    """The same for one that was closed without a request."""
    first = client(account, ONE)
    asyncio.run(first.aclose())

    assert client(account, OTHER).limits.settings == OTHER


def test_open_and_new_clients_count(account: str) -> None:
    """Other limits than those of a client that is open, or about to be, are refused when a client is made."""

    async def main() -> None:
        first = client(account, ONE)
        with pytest.raises(ConfigurationError, match="has other limits"):
            client(account, OTHER)
        async with first:
            with pytest.raises(ConfigurationError, match="has other limits"):
                client(account, OTHER)
            assert client(account, None).limits.settings == ONE

    asyncio.run(main())


def test_a_client_that_comes_back(account: str) -> None:
    """A client that is opened again takes up the limits of its account, and is refused while others have other ones."""
    first, flexible = client(account, ONE), client(account, None)

    async def use(mux: Mux) -> None:
        async with mux:
            pass

    asyncio.run(use(first))
    asyncio.run(use(flexible))
    second = client(account, OTHER)

    async def main() -> None:
        async with second:
            with pytest.raises(ConfigurationError, match="has other limits"):
                await first.request("GET", "/gone")
            await use(flexible)
            assert flexible.limits.settings == OTHER

    asyncio.run(main())
    asyncio.run(use(first))
    assert first.limits.settings == ONE


def test_what_a_closed_client_used_is_not_forgotten(account: str) -> None:
    """A client with the same limits uses the buckets of a closed one: closing gives no new burst."""
    first = client(account, ONE, FakeTransport(lambda _: respond(200, json={"data": {}})))

    async def use(mux: Mux) -> float:
        async with mux:
            for _ in range(3):
                await mux.request("POST", "/x")
            return mux.limits.snapshot().post.level

    asyncio.run(use(first))

    assert client(account, ONE).limits.snapshot().post.granted == 3
