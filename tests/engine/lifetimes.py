"""A program that uses one client in many event loops, or beside many forks, for `test_lifetimes`. Prints what it holds, as JSON.

Run as ``python -W error lifetimes.py SCENARIO ORIGIN CERTIFICATES RUNNER TRANSPORT COUNT``. Whatever it writes to stderr is a fault.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import multiprocessing
import os
import signal
import ssl
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from mux_async import BucketSettings, LimitSettings, Mux, Timeouts
from mux_async.transport import TransportSettings
from mux_async.webhooks import RedisEventStore

T = TypeVar("T")
Main = Callable[[], Coroutine[Any, Any, T]]

SCENARIO, ORIGIN, CERTIFICATES, RUNNER, TRANSPORT, COUNT = sys.argv[1:7]
SECONDS = 20.0
"""That an answer may take. One that does not come takes longer, so this is no bound on how busy the machine may be."""


def client() -> Mux:
    context = ssl.create_default_context(cafile=CERTIFICATES) if CERTIFICATES else None
    return Mux(
        token_id="id",
        token_secret="secret",
        base_url=ORIGIN,
        transport=TRANSPORT,
        transport_settings=TransportSettings(ssl_context=context),
        timeouts=Timeouts(read=SECONDS),
        limits=LimitSettings(post=BucketSettings(10_000.0, 1000), other=BucketSettings(10_000.0, 1000)),
        max_attempts=1,
    )


def run(main: Main[T], runner: str = RUNNER) -> T:
    """Run *main* in an event loop that ends with it."""
    match runner:
        case "asyncio":
            return asyncio.run(main())
        case "uvloop":
            import uvloop

            return uvloop.run(main())
        case "trio":
            import trio

            return trio.run(main)
        case "anyio":
            import anyio

            return anyio.run(main)
        case "asgiref":
            from asgiref.sync import async_to_sync

            return async_to_sync(main)()
        case "portal":
            from anyio.from_thread import start_blocking_portal

            with start_blocking_portal() as portal:
                return portal.call(main)
        case "closed":
            loop = asyncio.new_event_loop()
            try:
                return loop.run_until_complete(main())
            finally:
                loop.close()
        case _:
            raise ValueError(runner)


def measure() -> dict[str, int]:
    gc.collect()
    loops = [each for each in gc.get_objects() if isinstance(each, asyncio.AbstractEventLoop)]
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {"descriptors": len(list(Path("/proc/self/fd").iterdir())), "loops": len(loops), "memory": resident}


def in_turn() -> list[dict[str, int]]:
    """One client in one event loop after the other, never closed."""
    mux, shown = client(), list[dict[str, int]]()
    url = os.environ.get("MUX_LIMITS_URL")
    events = RedisEventStore(url) if url else None

    async def main() -> None:
        await mux.request("GET", "/a")
        if events is not None:
            await events.newest("subject")
            await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}], once=f"key-{number}")
        await mux.request("GET", "/b", query={"long": "x" * 9000})

    for number in range(int(COUNT)):
        run(main)
        if number in {int(COUNT) // 4, int(COUNT) - 1}:
            shown.append(measure())
    return shown


def dropped() -> list[dict[str, int]]:
    """One client after the other, never closed, in one event loop that lives on."""
    loop, shown = asyncio.new_event_loop(), list[dict[str, int]]()

    async def main() -> None:
        mux = client()
        await mux.request("GET", "/a")
        _ = mux.uploads, mux.live.watch("stream")

    for number in range(int(COUNT)):
        loop.run_until_complete(main())
        gc.collect()
        if number in {int(COUNT) // 4, int(COUNT) - 1}:
            for _ in range(5):  # what was dropped is closed when the loop runs again
                loop.run_until_complete(asyncio.sleep(0))
            shown.append(measure())
    loop.close()
    return shown


def left_open() -> list[dict[str, int]]:
    """A loop that is not even closed when the program ends."""
    mux = client()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(mux.request("GET", "/a"))
    warnings.simplefilter("ignore", ResourceWarning)  # of the loop's own
    return []


class Forks:
    """Children that use the client of a parent whose event loop goes on."""

    def __init__(self) -> None:
        self.mux = client()

    async def create(self) -> None:
        assert (await self.mux.request("POST", "/create", body={})).status == 200

    def child(self, how: str) -> None:
        if how == "collects":
            del self.mux
            gc.collect()
            return
        runner = "asyncio" if how == "multiprocessing" else RUNNER
        run(self.create, runner)
        if how == "closes":
            run(self.mux.aclose, runner)

    def fork(self, how: str) -> int:
        """Fork a child that does as *how* says, wait for it, and return how it ended."""
        if how == "multiprocessing":
            process = multiprocessing.get_context("fork").Process(target=self.child, args=(how,))
            process.start()
            process.join()
            return process.exitcode or 0
        pid = os.fork()
        if not pid:
            status = 1
            try:
                signal.alarm(60)
                self.child(how)
                status = 0
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    async def inside(self) -> list[dict[str, int]]:
        """Fork in a running loop, and create with the connection that was there before."""
        shown = list[dict[str, int]]()
        for number in range(int(COUNT)):
            await self.create()
            for how in ("uses", "closes", "multiprocessing", "collects") if number == 0 else ("uses",):
                assert self.fork(how) == 0, how
                await self.create()
            if number in {int(COUNT) // 4, int(COUNT) - 1}:
                shown.append(measure())
        return shown

    async def in_flight(self) -> list[dict[str, int]]:
        """Fork while an answer is awaited, which comes when the child has ended."""
        await self.create()
        begun: asyncio.Task[object] = asyncio.ensure_future(self.mux.request("POST", "/held", body={}))
        await self.mux.request("GET", "/until-held")
        assert self.fork("uses") == 0
        await self.mux.request("GET", "/release")
        assert (await begun) is not None
        await self.create()
        return []

    def beside(self, end: Callable[[], None]) -> list[dict[str, int]]:
        """Fork in a thread beside the loop's, as a server does that loads its application first; the child's interpreter ends as usual."""
        import anyio.to_thread

        warnings.filterwarnings("ignore", ".*fork.*", DeprecationWarning)
        ready, forked, failures = threading.Event(), threading.Event(), list[BaseException]()

        async def main() -> None:
            try:
                await self.create()
                await anyio.to_thread.run_sync(
                    ready.set
                )  # after all imports: a lock of one would be held for ever in the child
                await anyio.to_thread.run_sync(forked.wait)
                await self.create()
            except BaseException as error:
                failures.append(error)
                raise
            finally:
                ready.set()

        thread = threading.Thread(target=run, args=(main,), daemon=True)
        thread.start()
        ready.wait()
        pid = os.fork()
        if not pid:
            signal.alarm(60)
            end()
            sys.exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        # libuv (in uvloop 0.23) joins its threads when a process ends, also in a child that has none of them. By then Python has ended.
        assert status == 0 or (RUNNER == "uvloop" and status == -signal.SIGSEGV), status
        forked.set()
        thread.join()
        assert not failures
        return []


def main() -> list[dict[str, int]]:
    logging.basicConfig(level=logging.INFO)
    forks = Forks()
    scenarios: dict[str, Callable[[], list[dict[str, int]]]] = {
        "in-turn": in_turn,
        "dropped": dropped,
        "left-open": left_open,
        "forks": lambda: run(forks.inside),
        "in-flight": lambda: run(forks.in_flight),
        "beside": lambda: forks.beside(lambda: forks.child("uses")),
        "beside-unused": lambda: forks.beside(lambda: None),
    }
    return scenarios[SCENARIO]()


if __name__ == "__main__":
    found = main()
    if os.getpid() != multiprocessing.current_process().pid:  # a child that ends as usual
        sys.exit(0)
    print(json.dumps(found), flush=True)
