"""What a program loads before its first answer. Counted, not timed: `benchmarks.imports` measures time."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

LIBRARIES = {"anyio", "attr", "attrs", "multidict", "msgspec", "orjson", "sniffio", "typing_extensions"}
"""What the client itself is built on, by import name. cattrs is for those who ask for a converter."""
HEAVY = {
    "asyncio",  # 40 ms, and every program that gets as far as a call has it
    "cattrs",
    "email",
    "hashlib",
    "importlib.metadata",
    "sqlite3",
    "ssl",
    "zipfile",
}

COUNT = """
import sys
mine = {name: module for name, module in sys.modules.items() if name.partition(".")[0].startswith("mux_async")}
made = {
    f"{name}.{kind.__name__}"
    for name, module in mine.items()
    for kind in vars(module).values()
    # As a value of the class: asking attrs would finish those that are not finished.
    if isinstance(kind, type) and kind.__module__ == name and isinstance(vars(kind).get("__attrs_attrs__"), tuple)
}
import json
print(json.dumps([loaded, sorted(made)]))
"""

FIRST_GET = """
import asyncio, sys
import aiohttp
with_aiohttp = set(sys.modules)
from mux_async import Mux

BODY = b'{"data":{"id":"a","status":"ready"}}'

class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%b" % (len(BODY), BODY))

async def main():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with Mux(token_id="id", token_secret="secret", base_url=origin) as mux:
        asset = await mux.video.assets.retrieve("a")
        assert asset.status == "ready"
        loaded = sorted(set(sys.modules) - with_aiohttp)
    server.close()
    return loaded

loaded = asyncio.run(main())
"""

FAILURES = """
import asyncio, sys
from multidict import CIMultiDict, CIMultiDictProxy
from mux_async import Mux, MuxError, RetryPolicy
from mux_async.errors import ConnectError, Delivery, Phase, TransportError
from mux_async.transport import HttpResponse

class Body:
    def __aiter__(self): return self
    async def __anext__(self): raise StopAsyncIteration
    async def aclose(self): pass

def answer(status):
    return HttpResponse(status, CIMultiDictProxy(CIMultiDict({"Retry-After": "0"})), Body())

class Fails:
    outcomes = [ConnectError("none"), TransportError("cut", delivery=Delivery.MAYBE_PROCESSED, phase=Phase.READ_HEAD)]
    outcomes += [answer(status) for status in (429, 500, 404)]
    async def send(self, request):
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
    async def aclose(self): pass

async def main():
    before = set(sys.modules)
    async with Mux(token_id="id", token_secret="secret", transport=Fails(), retry=RetryPolicy(first=0.0)) as mux:
        assets = mux.video.assets
        outcomes, Fails.outcomes = Fails.outcomes, [answer(400)]
        try:
            await assets.create(inputs="https://example.com/a.mp4")  # the first one loads what its body is checked with
        except MuxError:
            pass
        Fails.outcomes = outcomes
        before = set(sys.modules)
        try:
            await assets.retrieve("a")
        except MuxError as error:
            assert len(error.attempts) == 5, error.attempts
        Fails.outcomes = [TransportError("cut", delivery=Delivery.MAYBE_PROCESSED, phase=Phase.READ_HEAD)]
        try:
            await assets.create(inputs="https://example.com/a.mp4")
        except MuxError as error:
            assert type(error).__name__ == "AmbiguousOutcomeError", error
        return sorted(set(sys.modules) - before)

loaded = asyncio.run(main())
"""


PREPARED = """
import asyncio, sys
from mux_async import Mux

async def main():
    loop = asyncio.get_running_loop()
    now = loop.time()
    loop.time = lambda: now
    found = []
    async def look():
        for _ in range(3):
            await asyncio.sleep(0)
        found.append("anyio._backends._asyncio" in sys.modules)
    async with Mux(token_id="id", token_secret="secret"):
        await look()
    now += 2.0
    await look()
    async with Mux(token_id="id", token_secret="secret"):
        now += 2.0
        await look()
    return found

assert asyncio.run(main()) == [False, False, True]
loaded = []
"""


class Loaded(NamedTuple):
    """Names of modules, and of attrs classes of ours."""

    modules: set[str]
    classes: set[str]

    @property
    def mine(self) -> set[str]:
        return {name for name in self.modules if name.partition(".")[0] in {"mux_async", "mux_async_aiohttp"}}

    @property
    def foreign(self) -> set[str]:
        """Top-level names of libraries that are neither ours nor Python's."""
        tops = {name.partition(".")[0] for name in self.modules}
        return tops - set(sys.stdlib_module_names) - {"mux_async", "mux_async_aiohttp"} - EMPTY


def run(program: str) -> Loaded:
    """Run *program*, which sets ``loaded``, in a new interpreter."""
    done = subprocess.run([sys.executable, "-c", program + COUNT], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    modules, classes = json.loads(done.stdout)
    return Loaded(set(modules), set(classes))


def after(statement: str) -> Loaded:
    return run(f"import sys\n{statement}\nloaded = sorted(sys.modules)\n")


EMPTY = {name.partition(".")[0] for name in run("import sys\nloaded = sorted(sys.modules)\n").modules}
"""What is there before anything is imported: an environment may have hooks."""


def test_import_brings_nothing() -> None:
    """``import mux_async`` loads no library at all, and none of the client: names come with their first use."""
    loaded = after("import mux_async")

    assert loaded.foreign == set()
    assert loaded.mine == {"mux_async", "mux_async._lazy_exports", "mux_async._version"}
    assert not loaded.modules & HEAVY


def test_errors_bring_no_client() -> None:
    """Whoever catches errors or writes a transport loads neither engine nor limits."""
    loaded = after("from mux_async import MuxError, Timeouts")

    assert loaded.mine == {
        "mux_async",
        "mux_async._checks",
        "mux_async._lazy_exports",
        "mux_async._tracebacks",
        "mux_async._types",
        "mux_async._version",
        "mux_async.errors",
        "mux_async.transport",
    }


def test_client_brings_what_it_is_built_on() -> None:
    """``from mux_async import Mux`` loads the client and its few libraries; no event loop, no TLS, no metadata of packages."""
    loaded = after("from mux_async import Mux")

    assert loaded.foreign <= LIBRARIES
    assert not loaded.modules & HEAVY
    assert len(loaded.mine) <= 48
    assert len(loaded.classes) <= 35


def test_making_a_client_imports_nothing() -> None:
    """A client is made of what is there: neither the first nor a later one waits for an import."""
    program = """
import sys
from mux_async import Mux
before = set(sys.modules)
Mux(token_id="id", token_secret="secret")
loaded = sorted(set(sys.modules) - before)
"""

    assert run(program).modules == set()


def test_first_answer_brings_little() -> None:
    """From ``import aiohttp`` to an asset: the client, the adapter, one resource and its models; no back end of anyio, no waiting."""
    loaded = run(FIRST_GET)

    assert loaded.foreign <= LIBRARIES
    assert not loaded.modules & HEAVY
    assert not {name for name in loaded.modules if name.startswith("anyio._backends")}
    assert {name for name in loaded.mine if name.startswith("mux_async.models.")} <= {
        "mux_async.models.ids",
        "mux_async.models.shared",
        "mux_async.models.shared_video",
        "mux_async.models.video_assets",
    }
    assert not loaded.mine & {
        f"mux_async.{name}" for name in ("_listeners", "_observer", "drift", "events", "health", "recorder")
    }
    assert len(loaded.mine) <= 70
    assert not {name for name in loaded.classes if name.startswith("mux_async.models.")}  # nobody constructs one
    assert len(loaded.classes) <= 35


def test_failures_import_nothing_of_ours() -> None:
    """What deals with a failed request is there before it fails: a process that can open no more files cannot import either."""
    assert run(FAILURES).mine == set()


def test_back_end_is_there_before_failures() -> None:
    """A client that has been open for a while has imported what deals with failures on its event loop; one that was closed leaves it."""
    assert run(PREPARED).modules == set()


@pytest.mark.parametrize("package", ["mux_async", "mux_async.limits", "mux_async.playback", "mux_async.testing"])
def test_names_agree(package: str) -> None:
    """A package whose names come with their first use has the same ones for type checkers, in ``__all__`` and at run time."""
    module: Any = import_module(package)
    assert module.__file__ is not None
    tree = ast.parse(Path(module.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    shown = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }

    assert {*shown, *({"__version__"} & set(module.__all__))} == set(module.__all__)
    for name, home in shown.items():
        assert getattr(module, name) is getattr(import_module(home), name)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'Nonsense'"):
        _ = module.Nonsense
