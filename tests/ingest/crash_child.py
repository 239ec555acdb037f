"""A program that runs ingests and kills them: it reads lists of orders, one a line, forks a child for each order, and prints the results.

It imports everything once, so that a child costs a fork and no start of Python. A child runs on a clock that jumps, and speaks to the
emulator over sockets of its own, in threads: then nothing in it ever waits but for the network. Before and after every transaction of
the journal (and within it), before every request, in the middle of every body of bytes, and before and after the body of every answer it
counts; at the number that it was told to die at it kills itself with SIGKILL, as a power cut would.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sqlite3
import sys
import traceback
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import attrs
from multidict import CIMultiDict, CIMultiDictProxy

from mux_async import Mux
from mux_async.errors import Delivery, Phase, TransportError
from mux_async.ingest import Ingest, Item, Journal, file_item, url_item
from mux_async.ingest._journal_store import JournalStore
from mux_async.limits import LimitSettings
from mux_async.testing import FakeBody, VirtualTimeLoop
from mux_async.transport import Body, HttpRequest, HttpResponse

NOW_HEADER = "X-Test-Now"
"""Carries the child's time to the emulator, which has no clock of its own here."""
CHUNK = 256 * 1024


class KillPoints:
    """Counts the points at which the process may be killed, and kills it at the chosen one."""

    def __init__(self, kill_at: int, tell: int) -> None:
        self._kill_at = kill_at
        self._tell = tell
        self.points = 0

    def __call__(self, place: str) -> None:
        self.points += 1
        if self.points == self._kill_at:
            os.write(self._tell, json.dumps({"killed": place}).encode())
            os.kill(os.getpid(), signal.SIGKILL)


class KilledStore(JournalStore):
    def __init__(self, path: Path, kill_points: KillPoints) -> None:
        self._kill_points = kill_points
        super().__init__(path)

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        self._kill_points("before a transaction")
        with super()._transaction() as sql:
            yield sql
            self._kill_points("within a transaction")
        self._kill_points("after a transaction")


class KilledTransport:
    """HTTP with blocking sockets, in threads."""

    def __init__(self, kill_points: KillPoints, base: float) -> None:
        self._kill_points = kill_points
        self._base = base

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        parts = urlsplit(request.url)
        line = f"{request.method} {parts.path.partition('_upload')[0]}"
        self._kill_points(f"before {line}")
        body = request.body
        pieces = [piece async for piece in _pieces(body)] if isinstance(body, Body) else [body or b""]
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        try:
            now = self._base + anyio.current_time()
            answer = await anyio.to_thread.run_sync(self._exchange, connection, request, b"".join(pieces), now)
            self._kill_points(f"at the head of the answer to {line}")
            content = await anyio.to_thread.run_sync(answer.read)
            self._kill_points(f"after the answer to {line}")
        except (OSError, http.client.HTTPException) as error:
            raise TransportError(repr(error), delivery=Delivery.MAYBE_PROCESSED, phase=Phase.READ_HEAD) from error
        finally:
            connection.close()
        headers = CIMultiDictProxy(CIMultiDict(answer.getheaders()))
        return HttpResponse(answer.status, headers, FakeBody([content]))

    def _exchange(
        self, connection: http.client.HTTPConnection, request: HttpRequest, body: bytes, now: float
    ) -> http.client.HTTPResponse:
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        parts = urlsplit(request.url)
        connection.putrequest(request.method, parts.path + (f"?{parts.query}" if parts.query else ""))
        for name, value in request.headers.items():
            connection.putheader(name, value)
        connection.putheader(NOW_HEADER, repr(now))
        if body or request.method != "GET":
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        if len(body) >= CHUNK // 4:
            half = len(body) // 2
            connection.send(body[:half])
            self._kill_points("in the middle of the bytes")
            body = body[half:]
        if body:
            connection.send(body)
        return connection.getresponse()

    async def aclose(self) -> None:
        """Do nothing: no connection is kept open."""


async def _pieces(body: Body) -> AsyncIterator[bytes]:
    async for piece in body.pieces():
        yield bytes(piece)


def items(folder: Path) -> list[Item]:
    """Return mixed items: files of one chunk and of several, URLs, a changed file, and one that Mux cannot process."""
    good = [file_item(folder / name) for name in ("small.mp4", "large.mp4", "errored.mp4")]
    urls = [url_item(f"https://example.com/{name}.mp4") for name in ("a", "b")]
    changed = attrs.evolve(file_item(folder / "changed.mp4"), modified_ns=1)
    return [good[0], urls[0], changed, good[1], urls[1], good[2]]


async def run(origin: str, folder: Path, journal: Path, kill_points: KillPoints, base: float) -> dict[str, Any]:
    mux = Mux(
        token_id="test-token",
        token_secret="test-secret",
        base_url=origin,
        transport=KilledTransport(kill_points, base),
        limits=LimitSettings(enabled=False),
        clock=anyio.current_time,
        random=Random(1),
    )
    writer = Journal(KilledStore(journal, kill_points))
    summary = await Ingest(mux, items(folder), journal=writer, concurrency=2, chunk_size=CHUNK).run()
    writer.close()
    return {"points": kill_points.points, "summary": attrs.asdict(summary)}


def child(origin: str, folder: Path, order: dict[str, Any], tell: int) -> None:
    kill_points = KillPoints(order["kill_at"], tell)
    answer = anyio.run(
        run,
        origin,
        folder,
        Path(order["journal"]),
        kill_points,
        order["base"],
        backend_options={"loop_factory": VirtualTimeLoop},
    )
    os.write(tell, json.dumps(answer).encode())


def main() -> None:
    for module in ("models", "resources.system", "resources.video"):
        import_module(f"mux_async.{module}")  # once, here, and not in every child
    origin, folder = sys.argv[1], Path(sys.argv[2])
    for line in sys.stdin:
        started = [start(origin, folder, order) for order in json.loads(line)]
        print(json.dumps([finish(pid, read) for pid, read in started]), flush=True)


def start(origin: str, folder: Path, order: dict[str, Any]) -> tuple[int, int]:
    """Fork a child. Returns its process id, and the descriptor of its output."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            child(origin, folder, order, write)
            status = 0
        except BaseException:  # noqa: BLE001 - it ends here, without the parent's ways of saying so
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(write)
    return pid, read


def finish(pid: int, read: int) -> dict[str, Any]:
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    return {"status": status, **(json.loads(said) if said else {})}


if __name__ == "__main__":
    main()
