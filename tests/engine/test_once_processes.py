"""``once=`` in several processes that share limits through SQLite or Redis: one key is one asset, also if a process dies. Real sockets."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from time import sleep, time
from typing import Any

import pytest

from tests.limits.stores import redis_server

pytestmark = pytest.mark.proof

ROOT = Path(__file__).parents[2]


class Account:
    """What the server has been sent, and how it treats creates.

    Attributes:
        takes: Seconds that a create takes to be answered; it is acted on first.
        trouble: Share of creates that are acted on, or not, and cut off.
    """

    def __init__(self, *, takes: float = 0.05, trouble: float = 0.0) -> None:
        self.takes = takes
        self.trouble = trouble
        self.assets: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self.random = Random(7)

    def keys(self) -> Counter[str]:
        return Counter(asset["meta"]["external_id"] for asset in self.assets)


class Handler(BaseHTTPRequestHandler):
    """Creates, lists and shows assets."""

    protocol_version = "HTTP/1.1"
    account: Account

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def answer(self, status: int, body: object) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        with suppress(OSError):  # a process that was killed reads no answer
            self.end_headers()
            self.wfile.write(text)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        account = self.account
        with account.lock:
            is_cut = account.random.random() < account.trouble
            acts = not is_cut or account.random.random() < 0.5
            asset = {"id": f"asset{len(account.assets)}", "status": "preparing", "created_at": str(int(time())), **body}
            if acts:
                account.assets.append(asset)
        sleep(account.takes)
        if is_cut:
            self.close_connection = True
            self.connection.close()
        else:
            self.answer(201, {"data": asset})

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        with self.account.lock:
            listed = list(reversed(self.account.assets))
        if path == "/video/v1/assets":
            self.answer(200, {"data": listed[:100], "next_cursor": None})
            return
        found = [asset for asset in listed if path == f"/video/v1/assets/{asset['id']}"]
        self.answer(200 if found else 404, {"data": found[0]} if found else {"error": {"type": "not_found", "messages": []}})


@contextmanager
def serving(account: Account) -> Generator[str]:
    handler = type("Bound", (Handler,), {"account": account})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/limits.db"
    else:
        with redis_server(tmp_path) as url:
            yield url


def start(url: str, store: str, seed: int, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.engine.once_worker", url, store, str(seed), str(number)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def result(process: subprocess.Popen[str]) -> dict[str, str]:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    found: dict[str, str] = json.loads(output)
    return found


def test_three_processes(store: str) -> None:
    """Three processes that create the same 25 keys at the same time, a third of the creates cut off, agree on 25 assets."""
    account = Account(trouble=0.33)
    with serving(account) as url:
        found = [result(process) for process in [start(url, store, seed, 25) for seed in range(3)]]

    assert account.keys() == {f"key-{index}": 1 for index in range(25)}
    assert found[0] == found[1] == found[2]


def test_a_process_that_dies(store: str) -> None:
    """What a process had sent when it was killed is found by the next one, which waits for its lease to run out, and is not made again."""
    account = Account(takes=30.0)
    with serving(account) as url:
        dead = start(url, store, 1, 5)
        give_up = time() + 60
        while len(account.assets) < 5 and time() < give_up:
            sleep(0.02)
        dead.kill()
        dead.communicate(timeout=60)
        account.takes = 0.0
        found = result(start(url, store, 2, 5))

    assert account.keys() == {f"key-{index}": 1 for index in range(5)}
    assert found == {asset["meta"]["external_id"]: asset["id"] for asset in account.assets}


def test_one_after_the_other(store: str) -> None:
    """A key that one process used is known to the next one, which gets what that made for a read."""
    account = Account()
    with serving(account) as url:
        first = result(start(url, store, 1, 3))
        second = result(start(url, store, 2, 3))

    assert first == second
    assert len(account.assets) == 3
