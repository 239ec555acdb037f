"""The httpx adapter: choice of the library, shared certificates, and one event loop after the other."""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
import trustme

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


@pytest.mark.anyio
@pytest.mark.parametrize("library", ["httpx", "httpx2"])
async def test_certificates_are_loaded_once(
    library: Literal["httpx", "httpx2"], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Transports share the default certificates, unless the environment names another file, where it is trusted."""
    module = importlib.import_module(library)
    load: Any = module.create_ssl_context
    loaded: list[str] = []

    def counted(*, trust_env: bool) -> Any:
        if trust_env:
            loaded.append(os.environ["SSL_CERT_FILE"])
        return load(trust_env=trust_env)

    monkeypatch.setattr(module, "create_ssl_context", counted)
    names = [str(tmp_path / name) for name in ("a.pem", "b.pem")]
    for name in names:
        trustme.CA().cert_pem.write_to_path(name)
        monkeypatch.setenv("SSL_CERT_FILE", name)
        for trust_env in (True, True, False):
            await HttpxTransport(TransportSettings(trust_env=trust_env), library=library).aclose()

    assert loaded == names


@pytest.mark.parametrize(
    ("create", "backends"),
    [
        (create_aiohttp, ["asyncio", "asyncio"]),
        (create_transport, ["asyncio", "trio"]),
        (create_transport, ["trio", "asyncio", "asyncio"]),
    ],
)
def test_event_loops_in_turn(create: TransportFactory, backends: list[str]) -> None:
    """A new transport on a new event loop works after an earlier loop ended, asyncio or trio."""

    async def once() -> bytes:
        async with listen(talk(always(Reply(body=b"ok")))) as site:
            transport = create(TransportSettings())
            response = await transport.send(HttpRequest("GET", site.origin + "/"))
            content = b"".join([piece async for piece in response.body])
            await transport.aclose()
            return content

    assert [anyio.run(once, backend=backend) for backend in backends] == [b"ok"] * len(backends)
