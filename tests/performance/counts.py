"""How much work a call makes: bytecode instructions of this project's own code, and bytes that an answer holds.

Time depends on the machine and on what else it does; these counts are the same on every machine for one version of Python, because the
interpreter's instructions change with it. Only code of the project counts, what attrs generates for its classes included, so that a new
release of a library changes nothing here. What they do not see is how long an instruction takes: a slow call into C looks like a fast
one. `benchmarks` measures time.

``python -m tests.performance.counts`` prints the figures, and ``--write`` commits to them.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import inspect
import itertools
import json
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

from multidict import CIMultiDict, CIMultiDictProxy

from benchmarks._answers import CREATED, HUNDRED, ONE
from mux_async import BucketSettings, LimitSettings, Mux
from mux_async._models import model
from mux_async.transport import HttpRequest, HttpResponse, Transport

FIGURES = Path(__file__).parent / "figures.json"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
_ROOT = Path(__file__).parents[2]
_OURS = (str(_ROOT / "mux_async"), str(_ROOT / "transports"))
_GENERATED = "<attrs generated methods mux_async"
_TIMES = 20


class _Once:
    """A body that is there as a whole."""

    def __init__(self, content: bytes) -> None:
        self.pieces = iter([content])

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        for piece in self.pieces:
            return piece
        raise StopAsyncIteration

    async def aclose(self) -> None: ...


class Canned:
    """A transport that has the answers ready."""

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        content = CREATED if request.method == "POST" else HUNDRED if request.url.endswith("?limit=100") else ONE
        return HttpResponse(200, _HEADERS, _Once(content))

    async def aclose(self) -> None: ...


_HEADERS = CIMultiDictProxy(CIMultiDict({"Content-Type": "application/json", "X-Request-Id": "r1"}))


async def instructions(call: Callable[[], Awaitable[object]]) -> int:
    """Return the number of bytecode instructions of the project's own code in one *call*, once it is warm."""
    count = 0

    def count_one(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        if event == "opcode":
            count += 1
        return count_one

    def enter(frame: FrameType, _event: str, _argument: object) -> Any:
        place = frame.f_code.co_filename
        if not place.startswith(_OURS) and not place.startswith(_GENERATED):
            return None
        frame.f_trace_opcodes = True
        return count_one

    for _ in range(3):
        await call()
    before = sys.gettrace()
    # Since Python 3.12, `settrace` asks for events of instructions only if a frame wanted them before.
    own = inspect.currentframe()
    assert own is not None
    own.f_trace_opcodes = True
    sys.settrace(enter)
    try:
        await call()  # the first one counts less, while the interpreter replaces its instructions by those that report
        count = 0
        for _ in range(_TIMES):
            await call()
    finally:
        sys.settrace(before)
    return count // _TIMES


async def held(call: Callable[[], Awaitable[object]], *, each: int) -> int:
    """Return the bytes that the answer of a *call* holds, for one of the *each* things in it."""
    kept = [await call() for _ in range(3)]
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept += [await call() for _ in range(_TIMES)]
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) // (_TIMES * each)
    finally:
        tracemalloc.stop()


def make_client(transport: Transport | str, base_url: str = "http://127.0.0.1:9") -> Mux:
    """Return a client whose limits are on and out of the way, and whose clock has nothing of the machine's."""
    fast = BucketSettings(rate=1e6, burst=1_000_000)
    return Mux(
        token_id="id",
        token_secret="secret",
        account="tests.performance",
        base_url=base_url,
        transport=transport,
        limits=LimitSettings(post=fast, other=fast, realtime_data=fast, general_data=fast),
        clock=itertools.count(1.0, 0.001).__next__,
    )


class _Server(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        del data
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(ONE), ONE)
        )


CLIENTS = """
import gc, tracemalloc
from mux_async import Mux

class Unused:
    async def send(self, request): raise NotImplementedError
    async def aclose(self): pass

transport = Unused()
def make(count):
    return [Mux(token_id=f"id-{number:04}", token_secret="secret", transport=transport) for number in range(count)]
make(10)
gc.collect()
tracemalloc.start()
clients = make(1000)
gc.collect()
print(tracemalloc.get_traced_memory()[0] // 1000)
"""


def client_at_rest() -> int:
    """Return the bytes of a client that has sent nothing, one of a thousand for as many accounts; in a new process, which has no other.

    There are two results, 130 bytes apart, because a set of weak references grows sooner in some processes: the middle is committed.
    """
    done = subprocess.run([sys.executable, "-c", CLIENTS], capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)


async def measure() -> dict[str, int]:
    """Return every figure."""
    model.forget_decoders()  # those that were rebuilt for what other tests received
    figures: dict[str, int] = {}
    async with make_client(Canned()) as mux:
        assets = mux.video.assets
        patient = mux.with_options(deadline=60.0).video.assets

        async def get_page() -> Any:
            return await assets.list(limit=100)

        async def get_and_read() -> object:
            asset = await assets.retrieve("x" * 40)
            return asset.tracks

        async def get_ids() -> object:
            return [asset.id for asset in (await get_page()).data]

        inputs: list[Any] = [{"url": "https://example.com/film.mp4"}]
        figures["instructions of a GET"] = await instructions(lambda: assets.retrieve("x" * 40))
        figures["instructions of a GET with a deadline"] = await instructions(lambda: patient.retrieve("x" * 40))
        figures["instructions of a GET and of reading its asset"] = await instructions(get_and_read)
        figures["instructions of a list of 100 assets"] = await instructions(get_page)
        figures["instructions of a list of 100 assets and of reading their ids"] = await instructions(get_ids)
        figures["instructions of a POST"] = await instructions(
            lambda: assets.create(inputs=inputs, playback_policies=["public"])
        )
        figures["bytes of an asset in a list that is held"] = await held(get_page, each=100)
    figures["bytes of a client at rest, each with an account of its own"] = client_at_rest()
    server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0)
    async with make_client("aiohttp", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as mux:
        assets = mux.video.assets
        figures["instructions of a GET over aiohttp"] = await instructions(lambda: assets.retrieve("x" * 40))
    server.close()
    await server.wait_closed()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="make what is measured now the figures of this version of Python")
    found = asyncio.run(measure())
    print(f"Python {VERSION}")
    committed: dict[str, dict[str, int]] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for name, figure in found.items():
        print(f"{figure:8} {name}; committed: {committed.get(VERSION, {}).get(name)}")
    if parser.parse_args().write:
        FIGURES.write_text(json.dumps({**committed, VERSION: found}, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
