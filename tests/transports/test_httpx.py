"""What is particular to the httpx adapter: which library, which event loop, one after the other."""

from __future__ import annotations

import importlib.util
from typing import Any, Literal

import anyio
import pytest

from mux_async.errors import MissingExtraError
from mux_async.testing.loopback import Reply, always, listen, talk
from mux_async.transport import HttpRequest, Transport, TransportFactory, TransportSettings
from mux_async_aiohttp import create_transport as create_aiohttp
from mux_async_httpx import HttpxTransport, create_transport

_fits: type[Transport] = HttpxTransport
_makes: TransportFactory = create_transport


@pytest.mark.anyio
@pytest.mark.parametrize("library", ["httpx", "httpx2"])
async def test_library_of_choice(library: Literal["httpx", "httpx2"], monkeypatch: pytest.MonkeyPatch) -> None:
    """Either library can be asked for; one that is missing is named."""
    await HttpxTransport(library=library).aclose()
    find = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> Any:
        return None if name == library else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    with pytest.raises(MissingExtraError, match=f"needs {library}:"):
        HttpxTransport(library=library)
    await create_transport(TransportSettings()).aclose()


@pytest.mark.parametrize(
    ("create", "backends"),
    [
        (create_aiohttp, ["asyncio", "asyncio"]),
        (create_transport, ["asyncio", "trio"]),
        (create_transport, ["trio", "asyncio", "asyncio"]),
    ],
)
def test_event_loops_in_turn(create: TransportFactory, backends: list[str]) -> None:
    """A new transport on a new event loop works after the loop before it is gone, of its own kind or the other."""

    async def once() -> bytes:
        async with listen(talk(always(Reply(body=b"ok")))) as site:
            transport = create(TransportSettings())
            response = await transport.send(HttpRequest("GET", site.origin + "/"))
            content = b"".join([piece async for piece in response.body])
            await transport.aclose()
            return content

    assert [anyio.run(once, backend=backend) for backend in backends] == [b"ok"] * len(backends)
