"""``mux-async limits --watch``: what another process sees of limits that are shared, on a terminal and in a pipe."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import anyio
import pytest

from mux_async import LimitSettings, Mux
from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.transport import HttpResponse
from tests._servers import redis_server
from tests.cli.commands import CREDENTIALS, command, environment, run

BASE = "http://127.0.0.1:9"
WATCH = ("limits", "--watch", "--interval", "0.1", "--base-url", BASE)


def client(url: str, answer: Callable[[SentRequest], HttpResponse]) -> Mux:
    """Return a client of the account that the command is of."""
    return Mux(
        token_id=CREDENTIALS["MUX_TOKEN_ID"],
        token_secret=CREDENTIALS["MUX_TOKEN_SECRET"],
        base_url=BASE,
        limits=LimitSettings(url=url),
        transport=FakeTransport(answer),
        max_attempts=1,
    )


@contextmanager
def watching(url: str | None, **options: Any) -> Generator[subprocess.Popen[str]]:
    """Run the command while the block runs; it is interrupted at the end, and ends well."""
    env = environment({**CREDENTIALS, **({} if url is None else {"MUX_LIMITS_URL": url}), "TERM": "xterm", "COLUMNS": "80"})
    process = subprocess.Popen(command(*WATCH), text=True, env=env, **options)
    try:
        yield process
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def line_with(stdout: IO[str], condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the first line that fulfils a condition."""
    for _ in range(300):
        line: dict[str, Any] = json.loads(stdout.readline())
        if condition(line):
            return line
    raise AssertionError("no such line in half a minute")


def others_wait(line: dict[str, Any]) -> bool:
    return any(line["buckets"]["other"]["others_waiting"].values())


def is_throttled(line: dict[str, Any]) -> bool:
    return bool(line["throttled_while_watching"]["post"])


def check_lines(url: str) -> None:
    """A pipe gets JSON lines in which grants, a 429 and waiting calls of another process are seen."""

    def answer(request: SentRequest) -> HttpResponse:
        return respond(429 if request.method == "POST" else 200, json={"data": {"id": "a", "status": "ready"}, "error": {}})

    async def use(stdout: IO[str]) -> None:
        waiting = dict[str, Any]()
        async with client(url, answer) as mux:
            async with anyio.create_task_group() as tasks:
                for number in range(14):
                    tasks.start_soon(mux.with_options(priority="batch").video.assets.retrieve, f"a{number}")
                waiting = await anyio.to_thread.run_sync(line_with, stdout, others_wait)
            assert waiting["buckets"]["other"]["level"] < 9
            assert waiting["buckets"]["other"]["others_waiting"] == {"interactive": 0, "default": 0, "batch": 1}
            assert waiting["buckets"]["other"]["loops"] == 1
            with pytest.raises(Exception, match="429"):
                await mux.video.live_streams.create()
            throttled = await anyio.to_thread.run_sync(line_with, stdout, is_throttled)
            assert throttled["throttled_while_watching"] == {"post": 1, "other": 0, "realtime_data": 0, "general_data": 0}
            assert throttled["buckets"]["post"]["since_throttled"] < 10
            assert throttled["buckets"]["post"]["closed_for"] > 0

    with watching(url, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with process.stdout:
            line_with(process.stdout, lambda line: line["buckets"]["post"]["level"] > 0)
            anyio.run(use, process.stdout)


@pytest.mark.proof
def test_lines_of_sqlite(tmp_path: Path) -> None:
    """Limits that are shared in a file are seen by another process."""
    check_lines(f"sqlite:///{tmp_path / 'limits.db'}")


@pytest.mark.proof
def test_lines_of_redis(tmp_path: Path) -> None:
    """Limits that are shared in Redis are seen by another process."""
    with redis_server(tmp_path / "redis.log") as server:
        check_lines(server.url)


def read_until(number: int, pattern: str) -> str:
    """Read from a terminal until something is displayed."""
    shown = ""
    while not re.search(pattern, shown):
        shown += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", os.read(number, 65536).decode(errors="replace"))
    return shown


@pytest.mark.parametrize("is_shared", [True, False])
def test_on_a_terminal(tmp_path: Path, *, is_shared: bool) -> None:
    """A terminal of 80 columns gets a table that is drawn again and again, and says whether other processes can be seen."""
    url = f"sqlite:///{tmp_path / 'limits.db'}" if is_shared else None
    ours, theirs = pty.openpty()
    with watching(url, stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        shown = read_until(ours, "(?s)general-data.*general-data")
        shown += read_until(ours, "Ctrl-C ends")
    os.close(ours)

    for text in ("realtime-data", "a second", "queue i/d/b", "wait", "429s", "0/0/0", "0.985/0.985"):
        assert text in shown, shown
    assert ("MUX_LIMITS_URL" in shown, "no other process" in shown) == (True, not is_shared)


def test_a_reader_that_ends(tmp_path: Path) -> None:
    """As with ``head -1``: the command ends without a word."""
    process = subprocess.Popen(
        command(*WATCH), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment({**CREDENTIALS, "MUX_LIMITS_URL": f"sqlite:///{tmp_path / 'limits.db'}"}),
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(20) == 0


@pytest.mark.proof
def test_a_store_that_is_lost(tmp_path: Path) -> None:
    """The lines say that the store does not answer, without its password, and go on; when it is back they say nothing more of it."""
    with redis_server(tmp_path / "redis.log") as server:
        url = server.url.replace("redis://", "redis://:CANARY@")  # a server without a password takes none: it refuses
        lost = run("limits", "--json", "--base-url", BASE, env={**CREDENTIALS, "MUX_LIMITS_URL": url})
        assert "CANARY" not in lost.stdout + lost.stderr
        with watching(server.url, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            with process.stdout, process.stderr:
                line_with(process.stdout, lambda line: "store_problem" not in line)
                os.kill(server.pid, signal.SIGSTOP)
                try:
                    line_with(process.stdout, lambda line: "store_problem" in line)
                finally:
                    os.kill(server.pid, signal.SIGCONT)
                line_with(process.stdout, lambda line: "store_problem" not in line)


@pytest.mark.parametrize("interval", ["0", "-1", "soon"])
def test_bad_intervals(interval: str) -> None:
    """They are refused before anything is shown."""
    done = run("limits", "--watch", "--interval", interval)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--interval" in done.stderr


def test_the_view_once_is_up_to_date(tmp_path: Path) -> None:
    """Without ``--watch`` the command also asks the store: it shows what another process took."""
    url = f"sqlite:///{tmp_path / 'limits.db'}"

    async def use() -> None:
        async with client(url, lambda _: respond(429, json={"error": {}})) as mux:
            with pytest.raises(Exception, match="429"):
                await mux.video.live_streams.create()

    anyio.run(use)
    done = run("limits", "--json", "--base-url", BASE, env={**CREDENTIALS, "MUX_LIMITS_URL": url})

    buckets = json.loads(done.stdout)["buckets"]
    assert buckets["post"]["since_throttled"] is not None
    assert buckets["other"]["since_throttled"] is None


@pytest.mark.anyio
async def test_reading_changes_nothing(tmp_path: Path) -> None:
    """Neither `Limits.refresh` nor a readiness check changes what a bucket has learned from the server's counts."""

    def learned() -> list[Any]:
        with sqlite3.connect(tmp_path / "limits.db") as connection:
            rows = connection.execute("SELECT bucket, state FROM mux_async_limits_1 ORDER BY bucket").fetchall()
        connection.close()
        states = [(bucket, json.loads(state)) for bucket, state in rows]
        return [
            (bucket, {name: value for name, value in state["numbers"].items() if name != "now"}, state["grants"])
            for bucket, state in states
        ]

    async with client(f"sqlite:///{tmp_path / 'limits.db'}", lambda _: respond(200, json={"data": {"id": "a"}})) as mux:
        await mux.video.assets.retrieve("a")
        await mux.limits.refresh()
        before = learned()
        await mux.limits.refresh()
        health = await mux.health()
        await mux.limits.refresh()

    assert any(check.name == "limits store" for check in health.checks)
    assert [each for each in learned() if each[0] != "other"] == [each for each in before if each[0] != "other"]
    (other,) = (numbers for bucket, numbers, _ in learned() if bucket == "other")
    assert other.get("_max_remaining", 0) < 100
