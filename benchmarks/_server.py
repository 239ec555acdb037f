"""A server that is not what is measured: it finds the end of a request and writes bytes that were put together before.

``python -m benchmarks._server CORE`` prints its port, and ends with its standard input. ``GET /answered`` says how many requests it has
answered so far, that one not counted: whoever measures can see that what was called was also asked.
"""

from __future__ import annotations

import asyncio
import os
import sys
from importlib.util import find_spec
from typing import ClassVar, cast

from benchmarks._answers import CREATED, HUNDRED, HUNDRED_ASCII, ONE


def _answer(status: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Request-Id: benchmark\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


_ONE, _CREATED = _answer("200 OK", ONE), _answer("201 Created", CREATED)
_HUNDRED, _HUNDRED_ASCII = _answer("200 OK", HUNDRED), _answer("200 OK", HUNDRED_ASCII)


class _Connection(asyncio.Protocol):
    """Knows a GET of one asset, of a list, and a POST with a ``Content-Length``."""

    answered: ClassVar[int] = 0
    transport: asyncio.Transport

    def __init__(self) -> None:
        self.pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are none by class

    def data_received(self, data: bytes) -> None:
        self.pending += data
        while (end := self.pending.find(b"\r\n\r\n")) >= 0:
            answer, length = _HUNDRED, 0
            if self.pending.startswith(b"GET /video/v1/assets/"):
                answer = _ONE
            elif b"&live_stream_id=ascii" in self.pending[:end].partition(b"\r")[0]:
                answer = _HUNDRED_ASCII
            elif self.pending.startswith(b"POST"):
                answer = _CREATED
                length = int(self.pending[:end].lower().partition(b"content-length:")[2].partition(b"\r")[0])
            if len(self.pending) < end + 4 + length:
                return
            if self.pending.startswith(b"GET /answered"):
                answer = _answer("200 OK", str(_Connection.answered).encode())
            else:
                _Connection.answered += 1
            self.pending = self.pending[end + 4 + length :]
            self.transport.write(answer)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(sys.argv[1])})
    if find_spec("uvloop"):
        import uvloop

        uvloop.run(_serve())
    else:
        asyncio.run(_serve())


if __name__ == "__main__":
    main()
