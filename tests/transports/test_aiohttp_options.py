"""Options of aiohttp's session: each is honoured or refused, those that are honoured have their effect, and user code in them may fail."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from mux_async import ConfigurationError, LimitSettings, Mux, MuxError, TransportSettings
from mux_async.testing import FakeTransport
from mux_async.testing.loopback import Peer, Reply, always, listen, talk
from mux_async.transport import ConnectError, Delivery, HttpRequest, TransportError
from mux_async_aiohttp import AiohttpTransport, check_settings, create_transport

pytestmark = pytest.mark.asyncio

OK = talk(always(Reply(body=b"ok")))
SMALL, LARGE = b"{}", bytes(100_000)


async def fetch(transport: AiohttpTransport, url: str, method: str = "GET", body: bytes | None = None) -> bytes:
    response = await transport.send(HttpRequest(method, url, {"User-Agent": "me"}, body))
    return b"".join([piece async for piece in response.body])


ARGUMENTS = sorted(inspect.signature(aiohttp.ClientSession).parameters)
HONOURED = {
    "connector",
    "connector_owner",
    "cookie_jar",
    "cookies",
    "headers",
    "max_field_size",
    "max_headers",
    "max_line_size",
    "middlewares",
    "proxy_auth",
    "raise_for_status",
    "request_class",
    "response_class",
    "trace_configs",
    "version",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(HONOURED.intersection(ARGUMENTS)))
async def test_accepted(name: str) -> None:
    """An argument of the installed aiohttp's session that has an effect is accepted: its default passes."""
    default = inspect.signature(aiohttp.ClientSession).parameters[name].default

    check_settings(TransportSettings(options={name: default}))


@pytest.mark.parametrize("name", sorted(set(ARGUMENTS) - HONOURED))
async def test_refused(name: str) -> None:
    """Every other argument is refused by its name, with what to use instead and the options there are."""
    with pytest.raises(ConfigurationError, match=rf"option '{name}' of the 'aiohttp' transport has no effect: .*middlewares"):
        AiohttpTransport(TransportSettings(options={name: None}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"options": {"middelwares": ()}},
            r"option 'middelwares' .* is not known; did you mean 'middlewares'\?.*cookie_jar, cookies",
        ),
        ({"options": {"raise_for_status": True}}, "'raise_for_status'"),
        ({"options": {"proxy_auth": ("a", "b")}}, r"needs TransportSettings\(proxy=\.\.\.\)"),
        ({"options": {"cookies": {"a": "b"}, "cookie_jar": aiohttp.CookieJar}}, "'cookies'"),
        ({"options": {"headers": {"authorization": "x", "X-Mine": "y"}}}, r"has its own Authorization; use Mux\(headers"),
        ({"options": {"headers": [("Content-Length", "1")]}}, "Content-Length"),
        ({"options": {"headers": 5}}, "no mapping"),
        (
            {"options": {"connector": aiohttp.TCPConnector}, "max_connections": 5},
            r"max_connections=\.\.\.\) has no effect with .*connector",
        ),
        ({"options": {"connector": aiohttp.TCPConnector}, "keepalive": 5.0}, "keepalive"),
        ({"proxy": "socks5://localhost:1080"}, "http://host:port"),
    ],
)
async def test_refused_for_its_value(settings: dict[str, Any], message: str) -> None:
    """A value without effect, alone or beside another setting, is refused; by the client too, when it is made."""
    options: dict[str, Any] = settings.get("options", {})
    made = {name: value() if isinstance(value, type) else value for name, value in options.items()}  # these need an event loop
    given = TransportSettings(**dict[str, Any](settings, options=made))
    with pytest.raises(ConfigurationError, match=message):
        create_transport(given)
    with pytest.raises(ConfigurationError, match=message):
        Mux(token_id="id", token_secret="s", transport_settings=given)
    if "connector" in made:
        await made["connector"].close()


@pytest.mark.parametrize(
    "options",
    [{"connector": "none"}, {"trace_configs": [1]}, {"middlewares": 5}, {"cookies": 5}, {"cookie_jar": 5, "cookies": None}],
)
async def test_values_of_a_wrong_type(options: dict[str, object]) -> None:
    """A value that aiohttp cannot use is a `ConfigurationError` when the transport is made."""
    with pytest.raises(ConfigurationError, match=r"set up|no list|of type"):
        create_transport(TransportSettings(options=options))


@pytest.mark.parametrize(
    "proxy", ["localhost:3128", "proxy.test", "http://", "http://user:canary@", "//p:1", "http://p:notaport"]
)
async def test_a_proxy_that_is_no_address(proxy: str) -> None:
    """A proxy that is no URL is refused when the settings are made, without showing its password."""
    with pytest.raises(ConfigurationError, match="of the form http://") as caught:
        TransportSettings(proxy=proxy)
    assert "canary" not in str(caught.value)


async def test_settings_beside_a_transport() -> None:
    """Settings beside a transport or a session that is handed in would have no effect, and are refused."""
    with pytest.raises(ConfigurationError, match="FakeTransport"):
        Mux(token_id="i", token_secret="s", transport=FakeTransport(), transport_settings=TransportSettings(max_connections=5))
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ConfigurationError, match="handed in"):
            AiohttpTransport(TransportSettings(max_connections=5), session=session)


@pytest.mark.parametrize("body", [None, SMALL, LARGE])
@pytest.mark.parametrize("is_ours", [True, False])
async def test_middlewares_run(body: bytes | None, *, is_ours: bool) -> None:
    """Middlewares run, in their order, for requests of every size, in a session of ours and in one that is handed in."""
    seen: list[str] = []

    def make(name: str) -> aiohttp.ClientMiddlewareType:
        async def middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            seen.append(f"{name} {request.method}")
            request.headers["X-Signed"] = name
            response = await handler(request)
            seen.append(f"{name} {response.status}")
            return response

        return middleware

    middlewares = (make("one"), make("two"))
    async with listen(OK) as site, aiohttp.ClientSession(middlewares=middlewares) as session:
        transport = (
            create_transport(TransportSettings(options={"middlewares": middlewares}))
            if is_ours
            else AiohttpTransport(session=session)
        )
        assert await fetch(transport, site.origin + "/", "PUT", body) == b"ok"
        await transport.aclose()

        assert seen == ["one PUT", "two PUT", "two 200", "one 200"]
        assert site.requests[0].headers["X-Signed"] == "two"


async def test_cookies() -> None:
    """``cookies`` go out with every request, and those of answers are not kept; with a jar of one's own they are."""
    answer = talk(always(Reply(headers=[("Set-Cookie", "theirs=2; Path=/")], body=b"ok")))
    async with listen(answer) as site:
        cases: list[tuple[dict[str, object], list[str | None]]] = [
            ({"cookies": {"mine": "1"}}, ["mine=1", "mine=1"]),
            ({"cookie_jar": aiohttp.CookieJar(unsafe=True)}, [None, "theirs=2"]),
            ({}, [None, None]),
        ]
        for options, wanted in cases:
            site.requests.clear()
            transport = create_transport(TransportSettings(options=options))
            for body in (None, LARGE):
                await fetch(transport, site.origin + "/", "PUT", body)
            await transport.aclose()

            assert [received.headers.get("Cookie") for received in site.requests] == wanted


class _Request(aiohttp.ClientRequest):
    def update_headers(self, headers: Any) -> None:
        super().update_headers(headers)
        self.headers["X-Class"] = type(self).__name__


class _Response(aiohttp.ClientResponse):
    made = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        type(self).made += 1


async def test_classes_headers_and_version() -> None:
    """Request and response classes are used, default headers sent, and the version of HTTP is the one that was asked for."""
    async with listen(OK) as site:
        options = {"request_class": _Request, "response_class": _Response, "headers": {"X-Mine": "1"}}
        transport = create_transport(TransportSettings(options=options))
        await fetch(transport, site.origin + "/")
        await transport.aclose()
        assert (site.requests[0].headers["X-Class"], site.requests[0].headers["X-Mine"], _Response.made) == ("_Request", "1", 1)

    async with listen(OK) as site:
        transport = create_transport(TransportSettings(options={"version": aiohttp.HttpVersion10}))
        await fetch(transport, site.origin + "/")
        await transport.aclose()
        assert site.requests[0].headers["Connection"] == "keep-alive"  # as HTTP/1.0 asks for it


@pytest.mark.parametrize("name", ["max_line_size", "max_field_size", "max_headers"])
async def test_bounds_of_heads(name: str) -> None:
    """A lower bound of the head of answers is kept."""
    if name not in inspect.signature(aiohttp.ClientSession).parameters:
        pytest.skip(f"this release of aiohttp has no {name}")

    async def answer(peer: Peer) -> None:
        while await peer.request() is not None:
            lines = "".join(f"X-{number}: {'y' * 300}\r\n" for number in range(20))
            await peer.send(f"HTTP/1.1 200 {'z' * 300}\r\n{lines}Content-Length: 0\r\n\r\n".encode())

    async with listen(answer) as site:
        transport = create_transport(TransportSettings(options={name: 10}))
        with pytest.raises(TransportError):
            await fetch(transport, site.origin + "/")
        await transport.aclose()


async def test_a_connector_of_one_s_own() -> None:
    """A connector's settings hold, on the fast path; with ``connector_owner=False`` it stays open."""
    async with listen(OK) as site:
        connector = aiohttp.TCPConnector(force_close=True)
        transport = create_transport(TransportSettings(options={"connector": connector, "connector_owner": False}))
        for _ in range(2):
            await fetch(transport, site.origin + "/")
        await transport.aclose()

        assert site.connections == 2
        assert not connector.closed
        await connector.close()


async def test_a_connector_that_is_closed() -> None:
    """A closed connector is an error when the transport is made, or a `TransportError` of the request."""
    connector = aiohttp.TCPConnector()
    await connector.close()
    with pytest.raises(MuxError):
        await fetch(create_transport(TransportSettings(options={"connector": connector})), "http://127.0.0.1:1/")


async def test_trace_configs() -> None:
    """Trace configs see every request."""
    seen: list[str] = []
    config = aiohttp.TraceConfig()

    async def note(_session: object, _context: object, params: aiohttp.TraceRequestStartParams) -> None:
        seen.append(params.url.path)

    config.on_request_start.append(note)
    async with listen(OK) as site:
        transport = create_transport(TransportSettings(options={"trace_configs": [config]}))
        await fetch(transport, site.origin + "/a")
        await fetch(transport, site.origin + "/b", "PUT", LARGE)
        await transport.aclose()
    assert seen == ["/a", "/b"]


class Oops(Exception):
    pass


def _early(error: Exception) -> dict[str, object]:
    async def middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        raise error

    return {"middlewares": [middleware]}


def _late(error: Exception) -> dict[str, object]:
    async def middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        (await handler(request)).close()
        raise error

    return {"middlewares": [middleware]}


def _traced(name: str) -> Callable[[Exception], dict[str, object]]:
    def make(error: Exception) -> dict[str, object]:
        async def fail(*_arguments: object) -> None:
            raise error

        config = aiohttp.TraceConfig()
        getattr(config, name).append(fail)
        return {"trace_configs": [config]}

    return make


def _resolver(error: Exception) -> dict[str, object]:
    class Resolver(AbstractResolver):
        async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
            raise error

        async def close(self) -> None: ...

    return {"connector": aiohttp.TCPConnector(resolver=Resolver())}


def _response_class(error: Exception) -> dict[str, object]:
    class Response(aiohttp.ClientResponse):
        async def start(self, connection: Any) -> aiohttp.ClientResponse:
            await super().start(connection)
            raise error

    return {"response_class": Response}


@pytest.mark.parametrize("error", [Oops("x"), ValueError("x"), OSError("x"), aiohttp.ClientError("x"), KeyError("x")], ids=repr)
@pytest.mark.parametrize("body", [None, SMALL, LARGE], ids=["no body", "small", "large"])
@pytest.mark.parametrize(
    ("fault", "delivery"),
    [
        (_early, Delivery.NEVER_SENT),
        (_traced("on_request_start"), Delivery.NEVER_SENT),
        (_traced("on_connection_create_start"), Delivery.NEVER_SENT),
        (_resolver, Delivery.NEVER_SENT),
        (_late, Delivery.MAYBE_PROCESSED),
        (_traced("on_request_end"), Delivery.MAYBE_PROCESSED),
        (_response_class, Delivery.MAYBE_PROCESSED),
    ],
)
async def test_what_takes_part_may_fail(
    fault: Callable[[Exception], dict[str, object]], delivery: Delivery, body: bytes | None, error: Exception
) -> None:
    """What a middleware, a trace, a resolver or a class raises becomes an error of the tree. Its class never decides whether the request
    left: an error after the answer is not "never sent", and one before the connection is."""
    async with listen(OK) as site:
        transport = create_transport(TransportSettings(options=fault(error)))
        with pytest.raises(TransportError) as caught:
            await fetch(transport, site.origin.replace("127.0.0.1", "localhost") + "/", "POST", body)
        await transport.aclose()

        assert caught.value.delivery is delivery
        assert caught.value.__cause__ is not None
        assert bool(site.requests) == (delivery is Delivery.MAYBE_PROCESSED)


async def test_a_session_with_credentials() -> None:
    """A session with credentials of its own would send them to every host, and is refused."""

    def with_auth() -> aiohttp.ClientSession:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # newer releases prefer a header
            return aiohttp.ClientSession(auth=aiohttp.BasicAuth("a", "b"))

    for make in (with_auth, lambda: aiohttp.ClientSession(headers={"authorization": "Bearer canary"})):
        async with make() as session:
            with pytest.raises(ConfigurationError, match="credentials of its own") as caught:
                AiohttpTransport(session=session)
            assert "canary" not in str(caught.value)


async def test_settings_of_a_session_that_is_handed_in() -> None:
    """Settings of a session that would change a response do not apply: errors as exceptions, a timeout, decompression, a base URL."""
    answer = talk(always(Reply(status=404, headers=[("Content-Encoding", "gzip")], body=b"no gzip")))
    options: dict[str, Any] = {
        "raise_for_status": True,
        "timeout": aiohttp.ClientTimeout(total=1e-9),
        "base_url": "http://elsewhere.test/prefix/",
    }
    async with listen(answer) as site, aiohttp.ClientSession(**options) as session:
        for body in (None, LARGE):
            transport = AiohttpTransport(session=session)
            response = await transport.send(HttpRequest("PUT", site.origin + "/", body=body))
            assert (response.status, b"".join([piece async for piece in response.body])) == (404, b"no gzip")
            await transport.aclose()


@pytest.mark.parametrize("is_ours", [True, False])
async def test_netrc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, is_ours: bool) -> None:
    """With ``trust_env``, a ``.netrc`` that names the host neither breaks requests nor takes the place of the client's credentials."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login other password wrong\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with listen(OK) as site, aiohttp.ClientSession(trust_env=True) as session:
        transport = AiohttpTransport(TransportSettings(trust_env=True)) if is_ours else AiohttpTransport(session=session)
        for body in (None, LARGE):
            response = await transport.send(HttpRequest("PUT", site.origin + "/", {"Authorization": "Basic mine"}, body))
            await response.body.aclose()
        await transport.aclose()

        assert [received.headers.getall("Authorization") for received in site.requests] == [["Basic mine"]] * 2


@pytest.mark.parametrize("form", ["http://me:word@{}", "me:word@{}"])
async def test_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """A proxy of the environment may have credentials, and may lack its scheme; hosts in ``NO_PROXY`` are asked directly."""
    async with listen(OK) as proxy, listen(OK) as site:
        monkeypatch.setenv("http_proxy", form.format(URL(proxy.origin).authority))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        transport = create_transport(TransportSettings(trust_env=True))
        await fetch(transport, "http://nowhere.test/")
        await fetch(transport, site.origin + "/")
        await transport.aclose()

        assert [received.headers["Proxy-Authorization"] for received in proxy.requests] == ["Basic bWU6d29yZA=="]
        assert len(site.requests) == 1


@pytest.mark.parametrize("body", [None, LARGE])
async def test_nothing_of_tls_about_plain_http(body: bytes | None) -> None:
    """An error about plain http does not mention TLS, in its message or its cause."""
    transport = create_transport(TransportSettings())
    with pytest.raises(ConnectError, match=r"no connection to http://127.0.0.1:1: .*Connect call failed") as caught:
        await fetch(transport, "http://127.0.0.1:1/", "PUT", body)
    await transport.aclose()

    error: BaseException | None = caught.value
    while error is not None:
        assert "ssl" not in str(error)
        error = error.__cause__


async def test_check_settings_needs_no_loop() -> None:
    """Valid settings pass the check."""
    check_settings(
        TransportSettings(proxy="http://p:1", options={"proxy_auth": None, "raise_for_status": False, "headers": {}})
    )


async def test_the_client_s_own_options() -> None:
    """A client with middlewares runs them, and its calls work."""
    seen: list[str] = []

    async def middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        seen.append(request.url.path)
        return await handler(request)

    async with listen(talk(always(Reply(body=b'{"data": {}}')))) as site:
        settings = TransportSettings(options={"middlewares": [middleware]})
        limits = LimitSettings(enabled=False)
        async with Mux(token_id="i", token_secret="s", base_url=site.origin, transport_settings=settings, limits=limits) as mux:
            await mux.request("GET", "/x")
    assert seen == ["/x"]
