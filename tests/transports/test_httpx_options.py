"""Options of httpx: each is honoured or refused, and those that are honoured have their effect."""

from __future__ import annotations

import inspect
import socket
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import anyio
import anyio.abc
import pytest

from mux_async import ConfigurationError, Mux, TransportSettings
from mux_async.testing.loopback import Reply, always, listen, talk
from mux_async.transport import ConnectError, HttpRequest
from mux_async_httpx import HttpxTransport, check_settings, create_transport

pytestmark = pytest.mark.anyio

OK = talk(always(Reply(body=b"ok")))


async def fetch(transport: HttpxTransport, url: str) -> bytes:
    response = await transport.send(HttpRequest("GET", url))
    return b"".join([piece async for piece in response.body])


HONOURED = {"local_address", "socket_options", "uds"}
CLASSES: list[Any] = [
    getattr(import_module(name), cls) for name in ("httpx", "httpx2") for cls in ("AsyncHTTPTransport", "AsyncClient")
]
ARGUMENTS = {name for cls in CLASSES for name in inspect.signature(cls).parameters}


@pytest.mark.parametrize("name", sorted(HONOURED))
def test_accepted(name: str) -> None:
    """An argument of the libraries' transports that has an effect is accepted."""
    check_settings(TransportSettings(options={name: None}))


@pytest.mark.parametrize("name", sorted(ARGUMENTS - HONOURED))
async def test_refused_without_effect(name: str) -> None:
    """Every other argument of the libraries' transports and of their clients is refused by its name, with what to use instead."""
    with pytest.raises(ConfigurationError, match=rf"option '{name}' .* has no effect: .*\(.*takes local_address"):
        create_transport(TransportSettings(options={name: None}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"options": {"local_adress": "::"}}, r"is not known; did you mean 'local_address'\?"),
        ({"options": {"socket_options": 5}}, "must be a Sequence"),
        ({"options": {"uds": b"/x"}}, "must be a str"),
        ({"options": {"uds": "/x"}, "proxy": "http://p:1"}, "connections to a proxy"),
        ({"options": {"local_address": "127.0.0.1"}, "trust_env": True}, "connections to a proxy"),
        ({"proxy": "ftp://p:1"}, "of the form"),
        ({"proxy": "socks5://me:canary@p:1"}, "set up"),
    ],
)
async def test_refused(settings: dict[str, Any], message: str) -> None:
    """What would have no effect, or cannot be used, is refused when the transport is made, with what to use instead."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        create_transport(TransportSettings(**settings))
    assert "canary" not in str(caught.value)


def test_refused_by_the_client() -> None:
    """An option that is refused is refused when the client is made."""
    with pytest.raises(ConfigurationError, match="'http2'"):
        Mux(token_id="i", token_secret="s", transport="httpx", transport_settings=TransportSettings(options={"http2": True}))


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
async def test_honoured(library: Literal["httpx", "httpx2"], tmp_path: Path) -> None:
    """The address that connections come from, options of their sockets, and a socket of the file system instead of the network."""
    async with listen(OK) as site:
        options = {"local_address": "127.0.0.1", "socket_options": [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]}
        transport = HttpxTransport(TransportSettings(options=options), library=library)
        assert await fetch(transport, site.origin + "/") == b"ok"
        await transport.aclose()

    path = tmp_path / "socket"
    served: list[bytes] = []

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            served.append(await stream.receive())
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    listener = await anyio.create_unix_listener(path)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        transport = HttpxTransport(TransportSettings(options={"uds": str(path)}), library=library)
        assert await fetch(transport, "http://nowhere.test/") == b"ok"
        await transport.aclose()
        tasks.cancel_scope.cancel()
    assert served[0].startswith(b"GET / HTTP/1.1")


async def test_a_value_of_no_use() -> None:
    """A value that fails at the first connection is a `ConnectError`, which says that nothing was sent."""
    async with listen(OK) as site:
        transport = create_transport(TransportSettings(options={"local_address": "not an address"}))
        with pytest.raises(ConnectError):
            await fetch(transport, site.origin + "/")
        await transport.aclose()
        assert not site.requests


def test_check_settings_needs_no_loop() -> None:
    """Valid settings pass the check."""
    check_settings(TransportSettings(proxy="socks5h://p:1", options={"uds": None}))
