"""What many calls at once, and one after many, cost over the httpx transport, whose pool looks through its requests and connections.

``python -m benchmarks.httpx_pool`` serves on loopback, in a process of its own, and prints CPU time of the client alone: for each of
*calls* GETs at once; and for each of some GETs one after the other, on a fresh transport and after 100 connections were open.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

from mux_async.transport import HttpRequest, Timeouts, Transport, TransportTimeoutError
from mux_async_aiohttp import AiohttpTransport
from mux_async_httpx import HttpxTransport

_ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"data": 1}'


def _serve(ready: Connection) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(0.01)
                writer.write(_ANSWER)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(converse, "127.0.0.1", 0, backlog=4096)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


async def _measure(make: Callable[..., Transport], library: str, port: int, calls: int) -> None:
    transport = make(**({} if library == "aiohttp" else {"library": library}))
    request = HttpRequest("GET", f"http://127.0.0.1:{port}/", timeouts=Timeouts(connect=60))

    async def get() -> bool:
        try:
            response = await transport.send(request)
        except TransportTimeoutError:
            return False
        _ = [piece async for piece in response.body]
        await response.body.aclose()
        return True

    async def one_after_the_other(count: int) -> float:
        began = time.process_time()
        for _ in range(count):
            await get()
        return (time.process_time() - began) / count * 1e3

    await get()
    fresh = await one_after_the_other(100)
    began, cpu = time.monotonic(), time.process_time()
    done = sum(await asyncio.gather(*(get() for _ in range(calls))))
    cpu, took = time.process_time() - cpu, time.monotonic() - began
    after = await one_after_the_other(100)
    await transport.aclose()
    print(
        f"{library:8} one by one {fresh:6.2f} ms CPU a call, {calls} at once {cpu / calls * 1e3:6.2f} ms ({done} answered, {took:.1f} s), "
        f"one by one afterwards {after:6.2f} ms"
    )


def main() -> None:
    """Print what each library costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    calls: int = parser.parse_args().calls
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=_serve, args=(there,), daemon=True)
    server.start()
    port: int = here.recv()
    try:
        for library in ("aiohttp", "httpx2", "httpx"):
            make = AiohttpTransport if library == "aiohttp" else HttpxTransport
            asyncio.run(_measure(make, library, port, calls))
    finally:
        server.terminate()


if __name__ == "__main__":
    main()
