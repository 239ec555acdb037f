"""``mux-async emulate``, as another process and as a function."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import ClassVar
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import attrs
import pytest
import typer
from typer.testing import CliRunner

from mux_async._config import is_loopback
from mux_async.cli import emulate as command
from mux_async.cli._emulate_options import MODELS, SWITCHES, complete_token, completing, parse_token
from mux_async.cli.emulate import emulate
from mux_async.emulator import ALL_PERMISSIONS, EmulatorSettings, RateRules, sign_webhook
from mux_async.emulator.frontends import _server
from tests.emulator.harness import basic

ROOT = Path(__file__).parents[2]
PROGRAM = "import typer; from mux_async.cli.emulate import emulate; typer.run(emulate)"

app = typer.Typer()
app.command()(emulate)


@contextmanager
def running(*arguments: str) -> Generator[tuple[subprocess.Popen[str], list[str]], None, None]:
    """Start the command on a free port; give the process and the lines it printed before it was ready."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-c", PROGRAM, "--port", "0", *arguments]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            lines: list[str] = []
            while not lines or "rate limits" not in lines[-1]:
                line = process.stdout.readline()
                assert line, lines
                lines.append(line.rstrip("\n"))
            yield process, lines
        finally:
            if process.poll() is None:
                process.kill()


def ask(method: str, url: str, authorization: str, body: bytes | None = None) -> int:
    request = Request(url, body, {"Authorization": authorization, "Content-Type": "application/json"}, method=method)
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=10) as response:
            return int(response.status)
    except HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_run(tmp_path: Path, stop: signal.Signals) -> None:
    """It says where it is and how to reach it, answers, logs every request, also in a file, and stops by itself when told to."""
    log = tmp_path / "arrivals.jsonl"
    tokens = ["--token", "me:mine:@stage", "--token", "reader:eyes:video:read"]
    with running(*tokens, "--arrivals", str(log)) as (process, lines):
        origin = lines[0].split()[-1]
        statuses = [
            ask("POST", f"{origin}/video/v1/uploads", basic("me", "mine"), b"{}"),
            ask("GET", f"{origin}/video/v1/uploads", basic("reader", "eyes")),
            ask("POST", f"{origin}/video/v1/uploads", basic("reader", "eyes"), b"{}"),
            ask("GET", f"{origin}/video/v1/uploads", basic()),
        ]
        process.send_signal(stop)
        rest, _ = process.communicate(timeout=20)

    assert origin.startswith("http://127.0.0.1:")
    assert f"  export MUX_BASE_URL={origin}" in lines
    assert "  export MUX_TOKEN_ID=me" in lines
    assert "  export MUX_TOKEN_SECRET=mine" in lines
    assert lines[-1] == "  rate limits on (token-bucket, burst x5, per account)"
    assert "  token reader:eyes (environment development, video:read)" in lines
    assert statuses == [201, 200, 403, 401]
    assert [json.loads(line)["status"] for line in log.read_text().splitlines()] == statuses
    *requests, last = rest.splitlines()
    assert [line.split(" ", 1)[1] for line in requests] == [
        "POST /video/v1/uploads 201",
        "GET /video/v1/uploads 200",
        "POST /video/v1/uploads 403",
        "GET /video/v1/uploads 401",
    ]
    assert last == "stopped"
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], RateRules()),
        (["--limits", "off"], None),
        (["--no-limits"], None),
        (["--limits", "on", "--limit-model", "sliding", "--burst", "1"], RateRules(model="sliding-window", burst=1.0)),
        (["--limit-model", "fixed", "--scope", "environment"], RateRules(model="fixed-window", scope="environment")),
        (["--limit-scope", "environment-and-priority"], RateRules(scope="environment-and-priority")),
        (
            ["--limit-model", "fixed-window", "--retry-after", "--rate-headers"],
            RateRules("fixed-window", retry_after=True, headers=True),
        ),
    ],
)
def test_limits_options(options: list[str], expected: RateRules | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits can be chosen, by short names and long ones, and turned off."""
    made: list[EmulatorSettings] = []

    def note(settings: EmulatorSettings, *_: object, **__: object) -> None:
        made.append(settings)

    monkeypatch.setattr(command, "_run", note)
    result = CliRunner().invoke(app, options)

    assert result.exit_code == 0, result.output
    assert made[0].limits == expected


def test_state(tmp_path: Path) -> None:
    """With a state file, what one run made the next one has; without memory, anything is there."""
    found: list[int] = []
    for _ in range(2):
        with running("--state", str(tmp_path / "state")) as (process, lines):
            origin = lines[0].split()[-1]
            assert ask("POST", f"{origin}/video/v1/uploads", basic(), b"{}") == 201
            with build_opener(ProxyHandler({})).open(f"{origin}/_emulator/uploads", timeout=10) as response:
                found.append(len(json.loads(response.read())["uploads"]))
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
    with running("--stub") as (_, lines):
        assert ask("GET", f"{lines[0].split()[-1]}/video/v1/uploads/anything", basic()) == 200

    assert found == [1, 2]


def test_taken_port() -> None:
    """A port that is taken is said in a sentence, with what to do, and exit status 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = CliRunner().invoke(app, ["--port", str(taken.getsockname()[1])])

    assert result.exit_code == 1
    assert "choose another with --port" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["--token", "hush-only"],
        ["--token", "a:hush:c:d"],
        ["--token", "a:hush:"],
        ["--token", "a:hush:video@"],
        ["--token", ":hush"],
        ["--token", "a:hush", "--token", "a:hush2"],
        ["--limits", "maybe"],
        ["--webhook-secret", "hush"],
        ["--limit-model", "leaky"],
        ["--limit-scope", "galaxy"],
        ["--burst", "0.5"],
        ["--stub", "--state", "somewhere"],
        ["--state", "no/such/folder/state"],
        ["--time-scale", "0"],
        ["--webhook-url", "example.com/hooks"],
        ["--faults", "no-such-file.json"],
        ["--faults", __file__],
    ],
)
def test_wrong_options(arguments: list[str]) -> None:
    """Wrong options are refused with exit status 2, and a token is not repeated."""
    result = CliRunner().invoke(app, arguments)

    assert result.exit_code == 2
    assert "hush" not in result.output


def test_token() -> None:
    """A token may do everything in the default environment, with high priority, unless it says otherwise."""
    everything = parse_token("a:b")
    assert (everything.environment, everything.permissions) == ("development", ALL_PERMISSIONS)
    assert parse_token("a:p@ss").secret.reveal() == "p@ss"
    assert parse_token("a:b:@stage") == attrs.evolve(everything, environment="stage")
    assert parse_token("a:b:all").permissions == ALL_PERMISSIONS
    assert parse_token("a:b:high") == everything
    assert parse_token("a:b:low@stage") == attrs.evolve(everything, environment="stage", priority="low")
    assert parse_token("a:b:video:read,low") == attrs.evolve(everything, permissions=("video:read",), priority="low")
    assert parse_token("a:b:video:read,data@stage").permissions == ("video:read", "data:read", "data:write")
    assert parse_token("a:b:read").permissions == tuple(name for name in ALL_PERMISSIONS if name.endswith("read"))
    with pytest.raises(typer.BadParameter, match="an environment is written @stage"):
        parse_token("a:b:stage")


def test_completion() -> None:
    """A shell completes values: switches, models, scopes, and the permissions of a token, word by word."""
    assert completing(MODELS)("s") == ["sliding"]
    assert completing(SWITCHES)("") == ["on", "off"]
    assert complete_token("a:b") == complete_token("a:b:video@s") == []
    assert complete_token("a:b:vid") == ["a:b:video:read", "a:b:video:write", "a:b:video"]
    assert complete_token("a:b:video,data:r") == ["a:b:video,data:read"]
    assert complete_token("a:b:video,lo") == ["a:b:video,low"]


def test_nobody_reads_the_log() -> None:
    """When nobody reads what it prints, it goes on answering, and stops when told to."""
    with running("--limits", "off") as (process, lines):
        origin = lines[0].split()[-1]
        parts = urlsplit(origin)
        with socket.create_connection((parts.hostname or "", parts.port or 0)) as connection:
            request = b"GET /video/v1/assets/%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * 2000)
            answers = connection.makefile("rb")
            for _ in range(100):  # more than a pipe holds
                connection.sendall(request)
                heads = [answers.readline()]
                while (line := answers.readline()).strip():
                    heads.append(line)
                answers.read(next(int(head.split()[1]) for head in heads if head.lower().startswith(b"content-length:")))
                assert heads[0].split()[1] == b"401"
        process.send_signal(signal.SIGTERM)

        assert process.wait(timeout=20) == 0


@pytest.mark.parametrize(
    ("host", "shown"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("localhost", "localhost")],
)
def test_addresses_to_go_to(host: str, shown: str) -> None:
    """A server that listens on every address names one that a client can go to, and that the client takes for this machine's."""
    assert _server._reachable(host) == shown  # pyright: ignore[reportPrivateUsage]
    assert is_loopback(shown.strip("[]"))


class Hook(BaseHTTPRequestHandler):
    """An endpoint that notes what arrives."""

    received: ClassVar[Queue[tuple[str, bytes]]] = Queue()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.put((self.headers["Mux-Signature"], body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def listening() -> Generator[str, None, None]:
    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hooks"
        finally:
            server.shutdown()
            thread.join()


def test_webhooks(tmp_path: Path) -> None:
    """Events go to the given URL, signed with the given secret; time can be hurried, and faults come from a file; it is all printed."""
    faults = tmp_path / "faults.json"
    faults.write_text('{"requests": [{"method": "GET", "status": 503}], "webhooks": [{"type": ".*created", "copies": 2}]}')
    with listening() as url:
        options = ["--webhook-url", url, "--webhook-secret", "hush", "--time-scale", "20", "--time-to-ready", "1"]
        with running(*options, "--faults", str(faults), "-v") as (process, lines):
            origin = lines[0].split()[-1]
            body = b'{"inputs": [{"url": "https://example.com/a.mp4"}]}'
            created = ask("POST", f"{origin}/video/v1/assets", basic(), body)
            broken = ask("GET", f"{origin}/video/v1/assets", basic())
            received = [Hook.received.get(timeout=10) for _ in range(3)]
            process.send_signal(signal.SIGTERM)
            rest, _ = process.communicate(timeout=20)

    assert (created, broken) == (201, 503)
    assert f"  webhooks to {url}" in lines
    assert "  export MUX_WEBHOOK_SECRET=hush" in lines
    types = [json.loads(body)["type"] for _, body in received]
    assert types == ["video.asset.created", "video.asset.created", "video.asset.ready"]
    for signature, body in received:
        assert signature == sign_webhook("hush", int(signature[2:].partition(",")[0]), body)
    assert sum(line.endswith(f" webhook video.asset.created {url} 200") for line in rest.splitlines()) == 2


def test_instant() -> None:
    """With ``--instant`` an asset is ready as soon as somebody looks."""
    with running("--instant", "--time-to-ready", "3600", "--quiet") as (_, lines):
        origin = lines[0].split()[-1]
        ask("POST", f"{origin}/video/v1/assets", basic(), b'{"inputs": [{"url": "https://example.com/a.mp4"}]}')
        request = Request(f"{origin}/video/v1/assets", headers={"Authorization": basic()})
        with build_opener(ProxyHandler({})).open(request, timeout=10) as response:
            (asset,) = json.load(response)["data"]

    assert asset["status"] == "ready"
