"""What a client leaves behind when its event loop ends, and what a forked child does to the connections of its parent: nothing.

Each test runs a program of its own (`lifetimes`) against a server here, because descriptors, warnings at the end of a process and forks
belong to a whole process.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.limits.stores import redis_server

PROGRAM = Path(__file__).with_name("lifetimes.py")
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"data":{}}'
MEMORY = 4 * 1024 * 1024
"""Bytes by which a process may grow that holds no more than before: fragmentation, caches. A loop with its connections takes 100 KB."""

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork, and no /proc"),
    pytest.mark.timeout(400),  # more than `perform` waits; what is measured is no time
]


class Origin:
    """A server in a thread that answers every request head alike, and keeps connections open.

    ``/held`` is answered when ``/release`` was asked for; ``/until-held`` is answered when ``/held`` has arrived.
    """

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self._context = context
        self._held, self._released = threading.Event(), threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http{'s' if self._context else ''}://127.0.0.1:{self.listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                pending = b""
                while data := connection.recv(65536):
                    *whole, pending = (pending + data).split(b"\r\n\r\n")
                    pending = pending.removeprefix(b"{}")  # the body of a create
                    for head in whole:
                        self._reach(head.removeprefix(b"{}").split(b" ", 2)[1])
                        connection.sendall(ANSWER)
        except OSError:
            connection.close()

    def _reach(self, path: bytes) -> None:
        if path == b"/held":
            self._held.set()
            self._released.wait(60)
        elif path == b"/until-held":
            self._held.wait(60)
        elif path == b"/release":
            self._released.set()


@contextmanager
def serving(certificates: Path | None) -> Generator[Origin]:
    context = None
    if certificates is not None:
        authority = trustme.CA()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)  # pyright: ignore[reportUnknownMemberType] - names pyOpenSSL
        authority.cert_pem.write_to_path(certificates)
    origin = Origin(context)
    try:
        yield origin
    finally:
        origin.listener.shutdown(socket.SHUT_RDWR)
        origin.listener.close()


def perform(
    scenario: str, tmp_path: Path, *, runner: str, transport: str, count: int, tls: bool, redis: str | None = None
) -> tuple[list[dict[str, int]], Origin]:
    """Run the program and return what it held at a quarter of its way and at the end. It has to write nothing else."""
    certificates = tmp_path / "authority.pem" if tls else None
    with serving(certificates) as origin:
        arguments = [scenario, origin.url, str(certificates or ""), runner, transport, str(count)]
        done = subprocess.run(
            [sys.executable, "-W", "error", str(PROGRAM), *arguments],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={**os.environ, **({"MUX_LIMITS_URL": redis} if redis is not None else {})},
        )
    assert done.stderr == ""
    assert done.returncode == 0
    shown: list[dict[str, int]] = json.loads(done.stdout)
    return shown, origin


def assert_flat(shown: list[dict[str, int]], loops: int) -> None:
    early, late = shown
    assert late["loops"] <= loops
    assert abs(late["descriptors"] - early["descriptors"]) <= 4, shown
    assert late["memory"] - early["memory"] < MEMORY, shown


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(
    ("runner", "transport"),
    [
        ("asyncio", "aiohttp"),
        ("uvloop", "aiohttp"),
        ("asgiref", "aiohttp"),
        ("portal", "aiohttp"),
        ("anyio", "httpx"),
        ("uvloop", "httpx"),
        ("trio", "httpx"),
    ],
)
def test_a_loop_that_ends_takes_its_connections_along(tmp_path: Path, runner: str, transport: str, tls: bool) -> None:
    """Event loops that end without ``aclose`` leave no loop, no descriptor, no memory, and not a line of log or warning."""
    shown, _ = perform("in-turn", tmp_path, runner=runner, transport=transport, count=40, tls=tls)

    assert_flat(shown, loops=0)


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
def test_two_hundred_runs(tmp_path: Path, transport: str) -> None:
    """200 times ``asyncio.run`` in a row with one client, never closed, hold what 50 held."""
    shown, _ = perform("in-turn", tmp_path, runner="asyncio", transport=transport, count=200, tls=False)

    assert_flat(shown, loops=0)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
def test_loops_that_are_merely_closed(tmp_path: Path, transport: str, tls: bool) -> None:
    """``loop.close()`` runs nothing: what is open goes in silence when the next loop is used, and the last one with the process."""
    shown, _ = perform("in-turn", tmp_path, runner="closed", transport=transport, count=40, tls=tls)

    assert_flat(shown, loops=1)


@pytest.mark.parametrize("runner", ["asyncio", "uvloop", "closed"])
def test_connections_to_redis(tmp_path: Path, runner: str) -> None:
    """What is shared through Redis (limits, ``once`` keys, handled events) keeps nothing of an event loop that ended either."""
    with redis_server(tmp_path) as url:
        shown, _ = perform("in-turn", tmp_path, runner=runner, transport="aiohttp", count=40, tls=False, redis=url)

    assert_flat(shown, loops=1 if runner == "closed" else 0)


def test_connections_to_redis_after_a_fork(tmp_path: Path) -> None:
    """Children ask Redis over connections of their own, and the parent goes on with its own."""
    with redis_server(tmp_path) as url:
        _, origin = perform("forks", tmp_path, runner="asyncio", transport="aiohttp", count=2, tls=False, redis=url)

    assert origin.connections == 1 + 4


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
def test_clients_that_are_dropped_in_a_loop_that_lives(tmp_path: Path, transport: str) -> None:
    """A client that nobody holds any more is closed in its loop, in silence, as notebooks and ``run_until_complete`` leave them."""
    shown, _ = perform("dropped", tmp_path, runner="asyncio", transport=transport, count=40, tls=False)

    assert_flat(shown, loops=1)


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
def test_a_program_that_closes_nothing(tmp_path: Path, transport: str) -> None:
    """A program that ends with its loop and its client open writes nothing about them."""
    perform("left-open", tmp_path, runner="asyncio", transport=transport, count=1, tls=False)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(("runner", "transport"), [("asyncio", "aiohttp"), ("uvloop", "aiohttp"), ("asyncio", "httpx")])
def test_forks_in_a_running_loop(tmp_path: Path, runner: str, transport: str, tls: bool) -> None:
    """Children that use, close or collect the client do nothing to the parent's connection: its next create is answered on it."""
    _, origin = perform("forks", tmp_path, runner=runner, transport=transport, count=2, tls=tls)

    assert origin.connections == 1 + 4  # the parent's one, and one of each child that used the client


def test_two_hundred_forks(tmp_path: Path) -> None:
    """200 forks beside a parent that goes on leave it with the connection, descriptors and memory that it had."""
    shown, origin = perform("forks", tmp_path, runner="asyncio", transport="aiohttp", count=200, tls=False)

    assert_flat(shown, loops=1)
    assert origin.connections == 1 + 3 + 199


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(("runner", "transport"), [("asyncio", "aiohttp"), ("uvloop", "aiohttp"), ("asyncio", "httpx")])
def test_a_fork_while_a_call_is_under_way(tmp_path: Path, runner: str, transport: str, tls: bool) -> None:
    """The parent gets the answer that it waited for when it forked."""
    perform("in-flight", tmp_path, runner=runner, transport=transport, count=1, tls=tls)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("scenario", ["beside", "beside-unused"])
@pytest.mark.parametrize(
    ("runner", "transport"), [("asyncio", "aiohttp"), ("uvloop", "aiohttp"), ("asyncio", "httpx"), ("trio", "httpx")]
)
def test_children_whose_interpreter_ends(tmp_path: Path, runner: str, transport: str, scenario: str, tls: bool) -> None:
    """A worker that was forked beside the loop's thread, and ends as programs do, collects nothing of its parent's either."""
    _, origin = perform(scenario, tmp_path, runner=runner, transport=transport, count=1, tls=tls)

    assert origin.connections == (2 if scenario == "beside" else 1)
