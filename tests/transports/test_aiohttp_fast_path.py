"""The fast path beside aiohttp's session: which requests take it, that both send the same bytes, and how read timeouts end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import anyio
import anyio.lowlevel
import attrs
import pytest
from aiohttp.client_proto import ResponseHandler
from multidict import CIMultiDict, CIMultiDictProxy

from mux_async.testing.loopback import Peer, Reply, always, listen, talk
from mux_async.transport import (
    ConnectError,
    Delivery,
    HttpRequest,
    Phase,
    Timeouts,
    TransportError,
    TransportSettings,
    TransportTimeoutError,
)
from mux_async_aiohttp import AiohttpTransport

pytestmark = pytest.mark.asyncio

OK = talk(always(Reply(body=b"ok")))
HEADERS = CIMultiDictProxy(CIMultiDict({"User-Agent": "me", "Accept": "*/*", "Accept-Encoding": "gzip", "Content-Type": "a/b"}))
SMALL = 32 * 1024
"""Bytes of the largest body that is sent without the session."""
BY_SESSION = TransportSettings(options={"raise_for_status": False})


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """URLs of the requests that sessions performed."""
    seen: list[str] = []
    build: Any = aiohttp.ClientSession._build_url  # pyright: ignore[reportPrivateUsage] - replacing a public method changes the way

    def watched(self: aiohttp.ClientSession, url: Any) -> Any:
        seen.append(str(url))
        return build(self, url)

    monkeypatch.setattr(aiohttp.ClientSession, "_build_url", watched)
    return seen


async def fetch(transport: AiohttpTransport, request: HttpRequest) -> bytes:
    response = await transport.send(request)
    try:
        return b"".join([piece async for piece in response.body])
    finally:
        await response.body.aclose()


async def test_small_requests_pass_the_session_by(sessions: list[str]) -> None:
    """Requests without a body, and with one of at most 32 KiB, need no session; a larger body does."""
    async with listen(OK) as site:
        transport = AiohttpTransport()
        for body in (None, b"", b"{}", bytes(SMALL)):
            assert await fetch(transport, HttpRequest("POST", f"{site.origin}/direct", HEADERS, body)) == b"ok"
        assert not sessions
        await fetch(transport, HttpRequest("POST", f"{site.origin}/session", HEADERS, bytes(SMALL + 1)))
        await transport.aclose()

        assert sessions == [f"{site.origin}/session"]
        assert [len(received.body) for received in site.requests] == [0, 0, 2, SMALL, SMALL + 1]


def _another_release(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(aiohttp, "__version__", "3.99.0")


def _another_signature(patch: pytest.MonkeyPatch) -> None:
    original: Callable[..., None] = ResponseHandler.set_response_params

    def renamed(self: ResponseHandler, **params: Any) -> None:
        original(self, **params)

    patch.setattr(ResponseHandler, "set_response_params", renamed)


def _somebody_listens(patch: pytest.MonkeyPatch) -> None:
    original = aiohttp.ClientSession.__init__

    def traced(self: aiohttp.ClientSession, **options: Any) -> None:
        original(self, **options, trace_configs=[aiohttp.TraceConfig()])

    patch.setattr(aiohttp.ClientSession, "__init__", traced)


@pytest.mark.parametrize("change", [_another_release, _another_signature, _somebody_listens])
async def test_an_aiohttp_that_is_not_known(
    monkeypatch: pytest.MonkeyPatch, sessions: list[str], change: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """Every request goes through the session if aiohttp is of an unknown release, lacks what is needed, or has traced sessions."""
    change(monkeypatch)
    async with listen(OK) as site:
        transport = AiohttpTransport()
        assert await fetch(transport, HttpRequest("GET", f"{site.origin}/", HEADERS)) == b"ok"
        await transport.aclose()

        assert len(sessions) == 1


async def test_somebody_in_the_session_s_place(monkeypatch: pytest.MonkeyPatch, sessions: list[str]) -> None:
    """A replacement of the session's method gets every request while it is in place, and none afterwards."""
    original: Any = aiohttp.ClientSession._request  # pyright: ignore[reportPrivateUsage] - what such libraries replace

    async def recorded(self: aiohttp.ClientSession, *arguments: Any, **options: Any) -> aiohttp.ClientResponse:
        response: aiohttp.ClientResponse = await original(self, *arguments, **options)
        return response

    async with listen(OK) as site:
        transport = AiohttpTransport()
        request = HttpRequest("GET", f"{site.origin}/", HEADERS)
        with monkeypatch.context() as patch:
            patch.setattr(aiohttp.ClientSession, "_request", recorded)
            await fetch(transport, request)
        assert len(sessions) == 1
        await fetch(transport, request)
        await transport.aclose()

        assert len(sessions) == 1


@pytest.mark.parametrize(
    "settings", [TransportSettings(trust_env=True), TransportSettings(options={"headers": {"X-Mine": "1"}})]
)
async def test_settings_of_the_session(sessions: list[str], settings: TransportSettings) -> None:
    """Settings that only the session implements send every request through it."""
    async with listen(OK) as site:
        transport = AiohttpTransport(settings)
        await fetch(transport, HttpRequest("GET", f"{site.origin}/", HEADERS))
        await transport.aclose()

        assert len(sessions) == 1


REQUESTS: list[tuple[str, str, Mapping[str, str], bytes | None]] = [
    *(
        (method, "/", HEADERS, body)
        for method in ("GET", "HEAD", "OPTIONS", "DELETE", "PATCH", "POST", "PUT")
        for body in (None, b"{}")
    ),
    ("GET", "/a%2Fb//c/../d;x=1?b=c%20d&e=/&f='\"", HEADERS, None),
    ("GET", "/a#fragment", HEADERS, None),
    ("GET", "?x", HEADERS, None),
    ("GET", "", HEADERS, None),
    ("POST", "/", {"user-agent": "me", "X-Latin": "caf\u00e9"}, b"x"),
    ("GET", "/", {"User-Agent": "me", "Host": "other.test"}, None),
]


@pytest.mark.parametrize(("method", "place", "headers", "body"), REQUESTS)
async def test_both_ways_write_the_same(method: str, place: str, headers: Mapping[str, str], body: bytes | None) -> None:
    """Both ways send the same bytes, but for the order of the headers."""
    async with listen(OK) as site:
        for settings in (TransportSettings(), BY_SESSION):
            transport = AiohttpTransport(settings)
            await fetch(transport, HttpRequest(method, site.origin + place, headers, body))
            await transport.aclose()

        direct, by_session = site.requests
        assert (direct.method, direct.target, direct.body) == (by_session.method, by_session.target, by_session.body)
        assert sorted(direct.headers.items()) == sorted(by_session.headers.items())


@pytest.mark.parametrize(
    ("method", "headers"),
    [("GET", {"X-A": "1\r\nX-B: 2"}), ("GET", {"X-A\r\nX-B": "2"}), ("GET / HTTP/1.1\r\nX:", {})],
)
async def test_a_line_break_is_not_sent(method: str, headers: dict[str, str]) -> None:
    """A method or a header that would begin another line is refused, and nothing is sent."""
    async with listen(OK) as site:
        transport = AiohttpTransport()
        with pytest.raises(TransportError) as caught:
            await transport.send(HttpRequest(method, f"{site.origin}/", headers))
        await transport.aclose()

        assert caught.value.delivery is Delivery.NEVER_SENT
        assert not site.requests


async def test_headers_that_changed() -> None:
    """If a mapping of headers changes between two requests, each request is sent with the current ones."""
    headers = {"User-Agent": "me", "X-Number": "1"}
    async with listen(OK) as site:
        transport = AiohttpTransport()
        await fetch(transport, HttpRequest("GET", f"{site.origin}/", headers))
        headers["X-Number"] = "2"
        await fetch(transport, HttpRequest("GET", f"{site.origin}/", headers))
        await transport.aclose()

        assert [received.headers["X-Number"] for received in site.requests] == ["1", "2"]


async def test_headers_of_several_clients() -> None:
    """A request is never sent with the headers, credentials among them, of the one before."""
    several = [CIMultiDictProxy(CIMultiDict({"User-Agent": "me", "Authorization": f"Basic {number}"})) for number in range(3)]
    async with listen(OK) as site:
        transport = AiohttpTransport()
        for headers in [*several, *several]:
            await fetch(transport, HttpRequest("GET", f"{site.origin}/", headers))
            await fetch(transport, HttpRequest("POST", f"{site.origin}/", headers, b"x"))
        await transport.aclose()

        sent = [received.headers["Authorization"] for received in site.requests]
        assert sent == [f"Basic {number}" for number in (0, 0, 1, 1, 2, 2)] * 2


async def test_many_origins() -> None:
    """Requests that alternate between more origins than are cached reach the right one."""
    async with listen(OK) as one, listen(OK) as other:
        transport = AiohttpTransport()
        places = [site.origin.replace("127.0.0.1", host) for site in (one, other) for host in ("127.0.0.1", "localhost")]
        for _ in range(3):
            for number in range(20):
                await fetch(transport, HttpRequest("GET", f"{places[number % 4]}/{number}", HEADERS))
        await transport.aclose()

        assert len(one.requests) == len(other.requests) == 30
        assert {received.headers["Host"] for received in one.requests} == {
            place.removeprefix("http://") for place in places[:2]
        }


async def test_informational_answers() -> None:
    """Informational responses (1xx) before the final one are skipped."""

    async def conversation(peer: Peer) -> None:
        while await peer.request() is not None:
            await peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            await anyio.sleep(0.01)
            await peer.send(b"HTTP/1.1 102 Processing\r\n\r\n")
            await peer.reply(Reply(body=b"ok"))

    async with listen(conversation) as site:
        transport = AiohttpTransport()
        for _ in range(2):
            assert await fetch(transport, HttpRequest("GET", f"{site.origin}/", HEADERS)) == b"ok"
        await transport.aclose()

        assert site.connections == 1


async def test_a_closed_body_gives_nothing_more() -> None:
    """Iterating a body that was closed in its middle is an error, not a wait."""
    async with listen(talk(always(Reply(body=bytes(1_000_000))))) as site:
        transport = AiohttpTransport()
        response = await transport.send(HttpRequest("GET", f"{site.origin}/", HEADERS))
        await anext(aiter(response.body))
        await response.body.aclose()
        with anyio.fail_after(10), pytest.raises(TransportError):
            _ = [piece async for piece in response.body]
        await transport.aclose()


async def test_silence_of_several_lengths() -> None:
    """Each request has its own read timeout, whatever others have, and a response to one does not extend another."""

    async def conversation(peer: Peer) -> None:
        while (received := await peer.request()) is not None:
            if received.target == "/silent":
                await peer.wait_closed()
                return
            await anyio.sleep(0.1)
            await peer.reply(Reply(body=b"ok"))

    short, long = Timeouts(read=0.05), Timeouts(read=5.0)
    caught: list[TransportTimeoutError] = []
    async with listen(conversation) as site:
        transport = AiohttpTransport()
        request = HttpRequest("GET", f"{site.origin}/", HEADERS, None, long)

        async def be_patient() -> None:
            assert await fetch(transport, request) == b"ok"

        async def be_impatient() -> None:
            with pytest.raises(TransportTimeoutError) as error:
                await fetch(transport, attrs.evolve(request, url=f"{site.origin}/silent", timeouts=short))
            caught.append(error.value)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(be_patient)
                tasks.start_soon(be_impatient)
        await transport.aclose()

        assert [(error.phase, error.delivery) for error in caught] == [(Phase.READ_HEAD, Delivery.MAYBE_PROCESSED)] * 3


async def test_clients_of_one_transport_share_its_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests with equal timeouts that are not the same object, as many clients on one transport have, start one timer together."""
    loop = asyncio.get_running_loop()
    real, timers = loop.call_later, list[asyncio.TimerHandle]()

    def call_later(delay: float, *arguments: Any, **context: Any) -> asyncio.TimerHandle:
        handle = real(delay, *arguments, **context)
        if delay == 1234.0:
            timers.append(handle)
        return handle

    monkeypatch.setattr(loop, "call_later", call_later)
    async with listen(OK) as site:
        transport = AiohttpTransport()
        for _ in range(20):
            request = HttpRequest("GET", f"{site.origin}/", HEADERS, None, Timeouts(read=1234.0))
            assert await fetch(transport, request) == b"ok"
        await transport.aclose()

    assert len(timers) == 1


class ClosingConnector(aiohttp.TCPConnector):
    """Returns a connection that is being closed, as one is that the server ended in the same iteration of the event loop."""

    closes = False

    async def connect(self, *args: Any, **options: Any) -> aiohttp.connector.Connection:
        connection = await super().connect(*args, **options)
        if self.closes and connection.transport is not None:
            connection.transport.abort()
            self.closes = False
        return connection


@pytest.mark.parametrize("is_new", [True, False])
async def test_a_connection_that_is_being_closed(*, is_new: bool) -> None:
    """Nothing is written to a connection that is being closed: a kept one is replaced, and a new one is a failure that sent nothing."""
    async with listen(OK) as site:
        connector = ClosingConnector()
        transport = AiohttpTransport(TransportSettings(options={"connector": connector}))
        request = HttpRequest("POST", f"{site.origin}/", HEADERS, b"{}")
        if not is_new:
            await fetch(transport, request)
        connector.closes = True
        if is_new:
            with pytest.raises(ConnectError) as caught:
                await fetch(transport, request)
            assert caught.value.delivery is Delivery.NEVER_SENT
        else:
            assert await fetch(transport, request) == b"ok"
        await transport.aclose()

        assert len(site.requests) == (0 if is_new else 2)


async def test_a_server_that_speaks_first() -> None:
    """If the server sends a refusal on a new connection before the request, or closes it, the error says that nothing was sent."""

    async def refuse(peer: Peer) -> None:
        peer.send_now(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")

    async def end(peer: Peer) -> None:
        del peer

    for conversation in (refuse, end):
        async with listen(conversation) as site:
            settled = SlowConnector()
            transport = AiohttpTransport(TransportSettings(options={"connector": settled}))
            for body in (b"{}", b"x" * (SMALL + 1)):
                with pytest.raises(ConnectError) as caught:
                    await fetch(transport, HttpRequest("POST", f"{site.origin}/", HEADERS, body))
                assert caught.value.delivery is Delivery.NEVER_SENT
                assert not caught.value.is_permanent
            await transport.aclose()


class SlowConnector(aiohttp.TCPConnector):
    """Returns a new connection after the server had time to act on it."""

    async def connect(self, *args: Any, **options: Any) -> aiohttp.connector.Connection:
        connection = await super().connect(*args, **options)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        return connection
