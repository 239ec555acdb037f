"""``mux-async emulate``, as another process and as a function."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import ClassVar
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import pytest
import typer
from aiohttp import web
from aiohttp.web import TCPSite
from typer.testing import CliRunner

from mux_async import Mux
from mux_async.cli import emulate as command
from mux_async.cli.emulate import banner, emulate
from mux_async.emulator import ALL_PERMISSIONS, Emulator, EmulatorSettings, RateRules, RobotsPlan, Token, sign_webhook
from mux_async.emulator.server import serve
from tests.cli.commands import run_here
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


SettingsOf = Callable[[list[str]], EmulatorSettings]


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch) -> SettingsOf:
    """The settings that the command makes of its options; no server is started."""
    made: list[EmulatorSettings] = []

    def note(settings: EmulatorSettings, *_: object, **__: object) -> None:
        made.append(settings)

    monkeypatch.setattr(command, "_run", note)

    def read(options: list[str]) -> EmulatorSettings:
        result = CliRunner().invoke(app, options)
        assert result.exit_code == 0, result.output
        return made[-1]

    return read


@pytest.mark.parametrize("stop", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.proof)])
def test_run(tmp_path: Path, stop: signal.Signals) -> None:
    """It prints its address and credentials, responds, logs every request, also in a file, and stops at a signal."""
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
def test_limits_options(settings_of: SettingsOf, options: list[str], expected: RateRules | None) -> None:
    """The limits can be chosen, by short names and long ones, and turned off."""
    assert settings_of(options).limits == expected


def test_state_options(settings_of: SettingsOf, tmp_path: Path) -> None:
    """The options name the state file, or ask for an emulator without state."""
    path = tmp_path / "state"

    assert (settings_of(["--state", str(path)]).state, settings_of(["--state", str(path)]).stub) == (path, False)
    assert (settings_of(["--stub"]).state, settings_of(["--stub"]).stub) == (None, True)


def test_instant(settings_of: SettingsOf) -> None:
    """``--instant`` asks for an emulator whose work is done at once."""
    assert settings_of(["--instant"]).instant
    assert not settings_of([]).instant


def test_media_off(settings_of: SettingsOf) -> None:
    """With ``--media off`` media are generated, also where the library for real ones is installed, and the command says so."""
    settings = settings_of(["--media", "off"])

    assert settings.media is None
    assert any(line.startswith("  media made up") for line in banner(settings, "http://127.0.0.1:8787"))


def test_robots_options(settings_of: SettingsOf) -> None:
    """The options accept the terms of Robots, and limit its units and workflows; without them v1 is refused, and nothing is limited."""
    options = [
        "--accept-robots-terms",
        "--robots-units",
        "0",
        "--robots-workflow",
        "summarize",
        "--robots-workflow",
        "moderate",
    ]
    settings, default = settings_of(options), settings_of([])

    assert (settings.accept_robots_terms, settings.robots_plan) == (True, RobotsPlan(0, ("summarize", "moderate")))
    assert (default.accept_robots_terms, default.robots_plan) == (False, RobotsPlan())


@pytest.mark.proof
def test_state(tmp_path: Path) -> None:
    """With a state file, the next run has what the last one created; without state, every object exists."""
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
    """A taken port is one sentence that says what to do, and exit status 1."""
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
        ["--robots-workflow", "dance"],
        ["--stub", "--state", "somewhere"],
        ["--state", "no/such/folder/state"],
        ["--time-scale", "0"],
        ["--webhook-url", "example.com/hooks"],
        ["--faults", "no-such-file.json"],
        ["--faults", __file__],
        ["--rtmp", "70000"],
        ["--rtmp", "0", "--media", "off"],
        ["--rtmp", "0", "--stub"],
        ["--simulcast-anywhere"],
        ["--srt", "0"],
        ["--srt-stream", "hush", "--rtmp", "0"],
    ],
)
def test_wrong_options(arguments: list[str]) -> None:
    """Wrong options are refused with exit status 2, and a token is not repeated."""
    result = CliRunner().invoke(app, arguments)

    assert result.exit_code == 2
    assert "hush" not in result.output


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, "not in PATH"),
        ("echo 'Input:'; echo '  file'; echo 'Output:'; echo '  srt'", "has no srt"),
        ("exit 1", "has no srt"),
    ],
)
def test_srt_without_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, said: str) -> None:
    """``--srt`` says what is missing if there is no ffmpeg, or one that does not read SRT."""
    pytest.importorskip("av", reason="real media need mux-async[media]")
    if script is not None:
        (tmp_path / "ffmpeg").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    result = CliRunner().invoke(app, ["--rtmp", "0", "--srt", "0"])

    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("a:b", Token("a", "b")),
        ("a:p@ss", Token("a", "p@ss")),
        ("a:b:@stage", Token("a", "b", "stage")),
        ("a:b:all", Token("a", "b")),
        ("a:b:video:read,data@stage", Token("a", "b", "stage", permissions=("video:read", "data:read", "data:write"))),
        ("a:b:read", Token("a", "b", permissions=tuple(name for name in ALL_PERMISSIONS if name.endswith("read")))),
    ],
)
def test_token(settings_of: SettingsOf, option: str, expected: Token) -> None:
    """A token has all permissions in the default environment, unless its permissions or its environment are given."""
    (token,) = settings_of(["--token", option]).tokens

    assert token == expected
    assert token.secret.reveal() == expected.secret.reveal()


def test_environment_without_at() -> None:
    """A permission that does not exist may be meant as an environment; the error says how that is written."""
    assert "@stage" in CliRunner().invoke(app, ["--token", "a:b:stage"]).output


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--limit-model s", ["sliding", "sliding-window"]),
        ("--limits ", ["on", "off"]),
        ("--limit-scope a", ["account"]),
        ("--token a:b", []),
        ("--token a:b:video@s", []),
        ("--token a:b:vid", ["a:b:video:read", "a:b:video:write", "a:b:video"]),
        ("--token a:b:video,data:r", ["a:b:video,data:read"]),
    ],
)
def test_completion(words: str, expected: list[str]) -> None:
    """A shell completes values: switches, models, scopes, and the permissions of a token, one after the other."""
    line = f"mux-async emulate {words}"
    variables = {"_MUX_ASYNC_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}

    assert run_here(env=variables).stdout.split() == expected


def test_full_pipe() -> None:
    """While nothing reads its output, the server responds and stops at a signal."""
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


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("host", "shown"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("localhost", "localhost")],
)
async def test_origin(host: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that listens on every address gives an origin that a client can connect to and accepts without encryption."""
    if ":" in host and not has_ipv6():
        pytest.skip("this machine has no IPv6")

    def on_loopback(runner: web.ServerRunner, _: str, port: int, **__: object) -> TCPSite:
        return TCPSite(runner, shown.strip("[]"), port)

    monkeypatch.setattr(web, "TCPSite", on_loopback)  # tests listen on no other address
    async with (
        serve(Emulator(EmulatorSettings(limits=None)), host) as origin,
        Mux(token_id="test-token", token_secret="test-secret", base_url=origin) as mux,
    ):
        assert origin.rpartition(":")[0] == f"http://{shown}"
        assert list(await mux.video.assets.list()) == []


def has_ipv6() -> bool:
    """Whether this machine has an address of its own in IPv6."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


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
