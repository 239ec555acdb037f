"""Connecting, over each adapter: names, several addresses, certificates, and which failures are permanent."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any
from uuid import uuid4

import anyio
import pytest
import trustme

from mux_async import BucketSettings, LimitSettings, Mux, RetryPolicy
from mux_async.errors import AmbiguousOutcomeError, ConnectError, DeadlineExceededError, Delivery
from mux_async.testing import FakeTransport
from mux_async.testing.loopback import Peer, Reply, Site, always, listen, talk
from mux_async.transport import HttpRequest, Timeouts, Transport, TransportError, TransportFactory, TransportSettings
from tests.transports.adapters import over_adapters

OK = talk(always(Reply(body=b'{"data": {"id": "a1"}}', headers=[("Content-Type", "application/json")])))


@contextmanager
def names(monkeypatch: pytest.MonkeyPatch, answer: Callable[[int], Any]) -> Generator[list[str]]:
    """Resolve every name by *answer*, which gets the port and may raise; yield the names that were looked up."""
    original = socket.getaddrinfo
    asked: list[str] = []

    def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        flags = options.get("flags", args[3] if len(args) > 3 else 0)
        if (
            name is None or not name.endswith(".test") or flags & socket.AI_NUMERICHOST
        ):  # trio first tries whether it is an address
            return original(host, port, *args, **options)
        asked.append(name)
        return answer(int(port))

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield asked


def addresses(*hosts: str) -> Callable[[int], Any]:
    return lambda port: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts]


def failing_with(number: int) -> Callable[[int], Any]:
    def fail(_port: int) -> Any:
        raise socket.gaierror(number, "as the test wants it")

    return fail


def client(transport: Transport, origin: str, **options: Any) -> Mux:
    return Mux(token_id="id", token_secret="secret", base_url=origin, transport=transport, **options)


async def attempts_until_it_fails(transport: Transport, origin: str) -> int:
    """Return the number of attempts of a create that never gets a connection."""
    async with client(
        transport, origin, max_attempts=5, retry=RetryPolicy(first=0.001), limits=LimitSettings(enabled=False)
    ) as mux:
        with pytest.raises(ConnectError) as caught:
            await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}])
    assert caught.value.delivery is Delivery.NEVER_SENT
    return len(caught.value.attempts)


@contextmanager
def full(host: str, port: int) -> Generator[None]:
    """Fill the queue of a port, so that the kernel drops new connections."""
    with ExitStack() as stack:
        stack.enter_context(socket.create_server((host, port), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex((host, port))
        yield


@over_adapters()
async def test_a_name_that_does_not_exist(monkeypatch: pytest.MonkeyPatch, make: TransportFactory) -> None:
    """A host that the name servers do not know is tried once; one that could not be looked up now is tried again."""
    for number, expected in ((socket.EAI_NONAME, 1), (socket.EAI_AGAIN, 5)):
        transport = make(TransportSettings())
        with names(monkeypatch, failing_with(number)) as asked:
            attempts = await attempts_until_it_fails(transport, "https://nowhere.test")
        await transport.aclose()

        assert (attempts, set(asked)) == (expected, {"nowhere.test"})


@over_adapters()
async def test_a_certificate_that_is_not_trusted(make: TransportFactory) -> None:
    """A certificate of an unknown authority, for another name, or out of date, is tried once, and nothing is sent."""
    authority = trustme.CA()
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(trusting)  # pyright: ignore[reportUnknownMemberType] - names pyOpenSSL's types
    past = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    certificates = {
        "unknown": (trustme.CA().issue_cert("127.0.0.1"), trusting),
        "another name": (authority.issue_cert("elsewhere.test"), trusting),
        "expired": (authority.issue_cert("127.0.0.1", not_after=past), trusting),
        "not in the default store": (authority.issue_cert("127.0.0.1"), None),
    }
    for what, (certificate, context) in certificates.items():
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(server)  # pyright: ignore[reportUnknownMemberType]
        async with listen(OK, tls=server) as site:
            transport = make(TransportSettings(ssl_context=context))
            attempts = await attempts_until_it_fails(transport, site.origin)
            await transport.aclose()

            assert (what, attempts, len(site.requests)) == (what, 1, 0)


@over_adapters()
async def test_a_refusal_may_pass(make: TransportFactory) -> None:
    """A port that refuses is tried again, a create too: nothing was sent."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        transport = make(TransportSettings())
        attempts = await attempts_until_it_fails(transport, f"http://127.0.0.1:{taken.getsockname()[1]}")
        await transport.aclose()

    assert attempts == 5


@over_adapters()
async def test_the_second_address_answers(monkeypatch: pytest.MonkeyPatch, make: TransportFactory) -> None:
    """If the first of two addresses refuses, the second is used, and the name is looked up once."""
    async with listen(OK) as site:
        transport = make(TransportSettings())
        port = site.origin.rpartition(":")[2]
        with names(monkeypatch, addresses("127.0.0.2", "127.0.0.1")):
            response = await transport.send(HttpRequest("POST", f"http://two.test:{port}/", body=b"{}"))
            await response.body.aclose()
        await transport.aclose()

        assert response.status == 200
        assert len(site.requests) == 1


@over_adapters()
async def test_the_first_address_does_not_answer(monkeypatch: pytest.MonkeyPatch, make: TransportFactory) -> None:
    """If the first address does not answer, the second is used, long before the timeout."""
    async with listen(OK) as site:
        port = int(site.origin.rpartition(":")[2])
        with full("127.0.0.3", port):
            transport = make(TransportSettings())
            with names(monkeypatch, addresses("127.0.0.3", "127.0.0.1")), anyio.fail_after(10):
                timeouts = Timeouts(connect=30.0)
                response = await transport.send(HttpRequest("GET", f"http://two.test:{port}/", timeouts=timeouts))
                await response.body.aclose()
            await transport.aclose()

            assert response.status == 200


async def silent(peer: Peer) -> None:
    """Accept the connection and send nothing: neither a handshake nor a response."""
    await peer.request()
    await peer.wait_closed()


@asynccontextmanager
async def stalled_name(monkeypatch: pytest.MonkeyPatch, make: TransportFactory) -> AsyncGenerator[tuple[Site, Transport, str]]:
    """A host that the name servers do not answer for."""
    over = threading.Event()

    def wait(port: int) -> Any:
        over.wait(30)
        return addresses("127.0.0.1")(port)

    async with listen(silent) as site:
        with names(monkeypatch, wait):
            transport = make(TransportSettings())
            try:
                yield site, transport, site.origin.replace("http://127.0.0.1", "https://slow.test")
            finally:
                over.set()


@asynccontextmanager
async def stalled_tcp(_monkeypatch: pytest.MonkeyPatch, make: TransportFactory) -> AsyncGenerator[tuple[Site, Transport, str]]:
    """A host that drops packets."""
    async with listen(silent) as site:
        port = int(site.origin.rpartition(":")[2])
        with full("127.0.0.4", port):
            yield site, make(TransportSettings()), site.origin.replace("127.0.0.1", "127.0.0.4")


@asynccontextmanager
async def stalled_tls(_monkeypatch: pytest.MonkeyPatch, make: TransportFactory) -> AsyncGenerator[tuple[Site, Transport, str]]:
    """A host that takes the connection, and whose half of the handshake does not come."""
    async with listen(silent) as site:
        yield site, make(TransportSettings()), site.origin.replace("http:", "https:")


@asynccontextmanager
async def stalled_proxy(
    _monkeypatch: pytest.MonkeyPatch, make: TransportFactory
) -> AsyncGenerator[tuple[Site, Transport, str]]:
    """A proxy that was asked for a connection, and does not answer."""
    async with listen(silent) as site:
        yield Site("https://api.test"), make(TransportSettings(proxy=site.origin)), "https://api.test"


@asynccontextmanager
async def stalled_pool(_monkeypatch: pytest.MonkeyPatch, make: TransportFactory) -> AsyncGenerator[tuple[Site, Transport, str]]:
    """A pool whose only connection is in use."""
    async with listen(silent) as site, anyio.create_task_group() as tasks:
        transport = make(TransportSettings(max_connections=1))

        async def take() -> None:
            with suppress(TransportError):  # it is closed in the end
                await transport.send(HttpRequest("GET", f"{site.origin}/taken"))

        tasks.start_soon(take)
        with anyio.fail_after(10):
            while not site.requests:
                await anyio.lowlevel.checkpoint()
        site.requests.clear()
        yield site, transport, site.origin
        tasks.cancel_scope.cancel()


Stall = Callable[[pytest.MonkeyPatch, TransportFactory], AbstractAsyncContextManager[tuple[Site, Transport, str]]]
STALLS: list[Stall] = [stalled_name, stalled_tcp, stalled_tls, stalled_proxy, stalled_pool]

PACED = LimitSettings(post=BucketSettings(rate=0.01, burst=3), reserve=0.0, jitter=0.0)


async def create(mux: Mux, once: str | None, **options: Any) -> Any:
    return await mux.with_options(**options).video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}], once=once)


@over_adapters()
@pytest.mark.parametrize("stall", STALLS)
async def test_a_deadline_while_connecting(monkeypatch: pytest.MonkeyPatch, make: TransportFactory, stall: Stall) -> None:
    """A create, with a key or without, whose deadline passes while it still waits for a connection was never sent, says so, and gives
    its grant back."""
    errors: list[DeadlineExceededError] = []
    levels: list[float] = []

    async def fail(once: str | None) -> None:
        async with client(transport, origin, account=f"t-{uuid4()}", limits=PACED) as mux:
            with pytest.raises(DeadlineExceededError, match="while attempt 1 was connecting") as caught:
                await create(mux, once, deadline=0.2)
            errors.append(caught.value)
            levels.append(mux.limits.snapshot().post.level)

    async with stall(monkeypatch, make) as (site, transport, origin):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail, None)
            tasks.start_soon(fail, "a key")
        await transport.aclose()

        assert [error.delivery for error in errors] == [Delivery.NEVER_SENT] * 2
        assert [[attempt.error for attempt in error.attempts] for error in errors] == [
            ["it was cut off while it was connecting"]
        ] * 2
        assert levels == pytest.approx([3.0, 3.0], abs=0.1)
        assert site.requests == []


@over_adapters()
@pytest.mark.parametrize("stall", STALLS)
async def test_a_cancellation_while_connecting(monkeypatch: pytest.MonkeyPatch, make: TransportFactory, stall: Stall) -> None:
    """A create that its caller cancels while it waits for a connection costs no grant, and leaves its key unused."""
    async with stall(monkeypatch, make) as (site, transport, origin):
        async with client(transport, origin, account=f"t-{uuid4()}", limits=PACED) as mux:
            for _ in range(2):
                with anyio.move_on_after(0.1) as scope:
                    await create(mux, "the key")
                level = mux.limits.snapshot().post.level

                assert scope.cancelled_caught
                assert level == pytest.approx(3.0, abs=0.1)
            other = mux.limits.snapshot().other
        await transport.aclose()

        assert (other.granted, site.requests) == (0, [])  # nothing was looked for


@over_adapters()
@pytest.mark.parametrize("size", [10, 100_000])
async def test_a_deadline_after_the_request(make: TransportFactory, size: int) -> None:
    """A create whose deadline passes when it was sent has an unknown outcome, and keeps its grant."""
    async with listen(silent) as site:
        transport = make(TransportSettings())
        async with client(transport, site.origin, account=f"t-{uuid4()}", limits=PACED) as mux:
            with pytest.raises(AmbiguousOutcomeError) as caught:
                await mux.with_options(deadline=0.3).video.assets.create(inputs=[], passthrough="x" * size)
            level = mux.limits.snapshot().post.level
        await transport.aclose()

        assert isinstance(caught.value.__cause__, DeadlineExceededError)
        assert caught.value.__cause__.delivery is Delivery.MAYBE_PROCESSED
        assert level == pytest.approx(2.0, abs=0.1)
        assert len(site.requests) == 1


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_permanent_failures_are_not_repeated() -> None:
    """A permanent `ConnectError` of any transport is raised at once."""

    def fail(_request: HttpRequest) -> Any:
        raise ConnectError("no such place", is_permanent=True)

    transport = FakeTransport(fail)
    async with client(transport, "https://api.test") as mux:
        with pytest.raises(ConnectError) as caught:
            await mux.request("GET", "/x")

    assert len(caught.value.attempts) == len(transport.requests) == 1
    assert anyio.current_time() < 0.1


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_a_connection_that_stalls() -> None:
    """When connecting takes three seconds, a call that has the time is answered, and one with a deadline of two ends at two."""

    class Stalling:
        def __init__(self) -> None:
            self.inner = FakeTransport()

        async def send(self, request: HttpRequest, /) -> Any:
            await anyio.sleep(3.0)
            return await self.inner.send(request)

        async def aclose(self) -> None:
            await self.inner.aclose()

    transport = Stalling()
    async with client(transport, "https://api.test") as mux:
        await mux.request("GET", "/x")
        assert anyio.current_time() == pytest.approx(3.0, abs=0.01)
        with pytest.raises(DeadlineExceededError):
            await mux.with_options(deadline=2.0).request("GET", "/x")

        assert anyio.current_time() == pytest.approx(5.0, abs=0.01)
        assert len(transport.inner.requests) == 1
