"""``transport=`` as a name, an object or a factory: what it is resolved to, and the errors."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import mux_async_aiohttp
import mux_async_httpx
from mux_async import Mux
from mux_async._transports import installed_transports, load_transport, resolve_transport
from mux_async.errors import ConfigurationError, MissingExtraError, UnknownTransportError, WrongRuntimeError
from mux_async.testing import FakeTransport, check_in_process
from mux_async.transport import HttpRequest, TransportSettings

PACKAGE = """
from mux_async.testing import FakeTransport, respond

def create_transport(settings):
    return FakeTransport(lambda request: respond(218, headers={"X-Connections": str(settings.max_connections)}))
"""


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution on the path that registers transports: one that works, one that cannot be imported, one that is not a function."""
    (tmp_path / "someones_transport.py").write_text(PACKAGE)
    (tmp_path / "someones_broken.py").write_text("import no_such_library\n")
    info = tmp_path / "someones_transport-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: someones-transport\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[mux_async.transports]\n"
        "someones = someones_transport:create_transport\n"
        "broken = someones_broken:create_transport\n"
        "number = someones_transport:__doc__\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    return tmp_path


def test_built_in_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own adapters are found without a scan of installed entry points."""

    def scan(**_options: Any) -> metadata.EntryPoints:
        raise AssertionError("entry points were scanned")

    monkeypatch.setattr(metadata, "entry_points", scan)

    assert load_transport("aiohttp") is mux_async_aiohttp.create_transport
    assert load_transport("httpx") is mux_async_httpx.create_transport


@pytest.mark.anyio
async def test_third_party(third_party: Path) -> None:
    """A third-party adapter is found by its entry point, and gets the settings."""
    choice = resolve_transport("someones")
    transport = choice(TransportSettings(max_connections=7))
    response = await transport.send(HttpRequest("GET", "https://api.test/"))

    assert response.status == 218
    assert response.headers["X-Connections"] == "7"
    assert not choice.is_shared
    assert "someones" in installed_transports()


def test_unknown_name(third_party: Path) -> None:
    """An unknown name is refused; the error lists the installed ones and suggests the nearest."""
    with pytest.raises(UnknownTransportError, match=r"called 'aiohtp'; did you mean 'aiohttp'\?") as caught:
        resolve_transport("aiohtp")
    for name in ("'aiohttp'", "'httpx'", "'someones'"):
        assert name in str(caught.value)


def test_broken_third_party(third_party: Path) -> None:
    """An adapter that is installed and does not work says so, and which."""
    with pytest.raises(ConfigurationError, match=r"'broken' transport .*no_such_library"):
        resolve_transport("broken")
    with pytest.raises(ConfigurationError, match="'number' transport"):
        resolve_transport("number")


def test_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our adapter without its library says how to get it."""
    find = importlib.util.find_spec

    def without_httpx(name: str, package: str | None = None) -> Any:
        return None if name in ("httpx", "httpx2") else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without_httpx)
    with pytest.raises(MissingExtraError, match=r"needs httpx2 or httpx: pip install 'mux-async\[httpx\]'"):
        resolve_transport("httpx")


def test_own_transport() -> None:
    """An object is used as it is on every event loop; a class is a factory."""
    fake = FakeTransport()
    choice = resolve_transport(fake)
    made = resolve_transport(lambda settings: FakeTransport())

    assert choice.is_shared
    assert choice(TransportSettings()) is fake
    assert choice(TransportSettings()) is fake
    assert not made.is_shared
    assert made(TransportSettings()) is not made(TransportSettings())
    assert not resolve_transport(mux_async_aiohttp.AiohttpTransport).is_shared


def test_nonsense() -> None:
    """Anything but a name, a transport or a factory is refused, with its type."""
    with pytest.raises(ConfigurationError, match="of type int"):
        resolve_transport(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.runtimes("trio")
@pytest.mark.anyio
async def test_on_trio() -> None:
    """aiohttp on trio is refused before anything is opened, in a sentence that says what would do."""
    with pytest.raises(WrongRuntimeError, match=r"runs on asyncio, and this is trio.*httpx"):
        mux_async_aiohttp.create_transport(TransportSettings())


@pytest.mark.parametrize("create", [mux_async_aiohttp.create_transport, mux_async_httpx.create_transport])
def test_outside_an_event_loop(create: Any) -> None:
    """A transport cannot be made where no event loop runs."""
    with pytest.raises(WrongRuntimeError, match="outside an event loop"):
        create(TransportSettings())


@pytest.mark.parametrize("name", ["aiohttp", "httpx"])
def test_no_library_by_name(name: str) -> None:
    """Finding one of our adapters imports no HTTP library; making the first transport does."""
    code = (
        f"import sys; from mux_async._transports import resolve_transport; resolve_transport({name!r}); "
        "print(sorted({'httpx', 'httpx2', 'aiohttp'} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert output.strip() == "[]"


@pytest.mark.anyio
async def test_own_adapter_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter of ours that cannot be imported says which and why, when the first transport is opened."""
    monkeypatch.setitem(sys.modules, "mux_async_aiohttp", None)
    mux = Mux(token_id="id", token_secret="secret")
    with pytest.raises(ConfigurationError, match="'aiohttp' transport is installed and cannot be imported"):
        await mux.video.assets.retrieve("a")


@pytest.mark.anyio
async def test_checks_that_need_sockets() -> None:
    """The in-process check refuses checks that are about sockets instead of passing them."""
    from mux_async.testing import CHECKS

    with pytest.raises(ValueError, match="is about sockets"):
        await check_in_process(lambda script: FakeTransport(), CHECKS[-1:])
