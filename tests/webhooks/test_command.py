"""``mux-async webhooks``: receiving, triggering example events, replaying recorded ones, and refused arguments."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import orjson
import pytest

from mux_async.cli import main
from mux_async.emulator import example_event
from mux_async.webhooks import EVENTS, parse_event, unwrap
from tests.cli.commands import command, environment
from tests.emulator.validating import statuses_of, validate_event
from tests.webhooks.samples import SECRET, body_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def without_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUX_WEBHOOK_SECRET", raising=False)


def invoke(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["webhooks", *arguments])
    said = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, said.out, " ".join(re.sub("[│╭╰─╮╯]", " ", said.err).split())


@contextmanager
def listening(*arguments: str, secret: str | None = SECRET) -> Generator[tuple[str, subprocess.Popen[str]]]:
    """Run ``webhooks receive`` on a free port; yield its URL."""
    env = environment({} if secret is None else {"MUX_WEBHOOK_SECRET": secret})
    process = subprocess.Popen(
        command("webhooks", "receive", "--port", "0", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env=env,
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        found = re.search(r"http://\S+", first)
        assert found is not None, (first, process.communicate(timeout=20))
        assert ("NOT verified" in first) == (secret is None)
        yield found[0], process
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_round_trip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A triggered event is received, shown and recorded; a recorded one is replayed; a wrong secret is refused and shown."""
    record = tmp_path / "events.jsonl"
    with listening("--record", str(record), "--count", "3") as (url, process):
        wrong = invoke(capsys, "trigger", "video.asset.ready", "--to", url, "--secret", "other")
        first = invoke(capsys, "trigger", "video.asset.ready", "--to", url, "--secret", SECRET, "--data", '{"id":"mine"}')
        second = invoke(capsys, "trigger", "robots.job.moderate.errored", "--to", url, "--secret", SECRET)
        one_line = tmp_path / "one.jsonl"
        one_line.write_text(record.read_text().splitlines()[0] + "\n\n")
        again = invoke(capsys, "replay", str(one_line), "--to", url, "--secret", SECRET)
        out, err = process.communicate(timeout=20)

    assert (wrong[0], first[0], second[0], again[0]) == (1, 0, 0, 0)
    assert wrong[1].endswith("-> 400\n")
    assert re.fullmatch(r"video\.asset\.ready \(event [0-9a-f-]{36}\) -> 200\n", first[1])
    assert again[1] == first[1]
    assert process.returncode == 0
    assert [line.split()[1] for line in out.splitlines()] == [
        "video.asset.ready",
        "robots.job.moderate.errored",
        "video.asset.ready",
    ]
    assert "asset mine (event " in out
    assert "refused: no signature matches the body" in err
    events = [json.loads(line) for line in record.read_text().splitlines()]
    assert events[0] == events[2]
    assert events[0]["data"]["id"] == "mine"
    assert SECRET not in out + err


@contextmanager
def receiving() -> Generator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """Serve an endpoint that accepts every POST; yield its URL and the received requests."""
    got: list[tuple[dict[str, str], bytes]] = []

    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(202)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hooks", got
        finally:
            server.shutdown()
            thread.join(10)


def test_forwarding(capsys: pytest.CaptureFixture[str]) -> None:
    """A forwarded delivery keeps its bytes and signature, and the response is passed back; without a server it is a 502."""
    with ExitStack() as stack:
        target, got = stack.enter_context(receiving())
        with listening("--json", "--forward", target, "--count", "2", secret=None) as (url, process):
            passed = invoke(capsys, "trigger", "video.upload.created", "--to", url, "--secret", SECRET)
            stack.close()
            alone = invoke(capsys, "trigger", "video.upload.created", "--to", url, "--secret", SECRET)
            shown, complaint = process.communicate(timeout=20)

    assert passed[1].endswith("-> 202\n")
    assert alone[1].endswith("-> 502\n")
    assert (passed[0], alone[0]) == (0, 1)
    ((headers, body),) = got
    assert unwrap(body, headers, SECRET).type == "video.upload.created"
    assert [json.loads(line)["type"] for line in shown.splitlines()] == ["video.upload.created"] * 2
    assert "does not answer" in complaint


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trigger", "video.asset.redy", "--secret", "s"], "video.asset.ready"),
        (["trigger", "nonsense", "--secret", "s"], "trigger list"),
        (["trigger", "video.asset.ready"], "MUX_WEBHOOK_SECRET"),
        (["trigger", "video.asset.ready", "--secret", "s", "--to", "localhost"], "absolute URL"),
        (["trigger", "video.asset.ready", "--secret", "s", "--to", "http://[x"], "absolute URL"),
        (["trigger", "video.asset.ready", "--secret", "s", "--data", "[]"], "not a JSON object"),
        (["receive", "--forward", "nowhere"], "absolute URL"),
        (["receive", "--record", "/nowhere/events.jsonl"], "cannot write"),
        (["replay", "/nowhere.jsonl", "--secret", "s"], "does not exist"),
    ],
)
def test_refused(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong arguments are refused with a message before anything is sent or a port is opened."""
    code, out, err = invoke(capsys, *arguments)

    assert (code, out) == (2, "")
    assert said in err


def test_a_broken_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line that is not an event is named, and nothing of the file is sent."""
    file = tmp_path / "events.jsonl"
    file.write_bytes(body_of() + b"\n" + b"{broken\n")
    code, out, err = invoke(capsys, "replay", str(file), "--to", "http://127.0.0.1:1/", "--secret", "s")

    assert (code, out) == (2, "")
    assert "line 2 of" in err
    assert "nothing was sent" in err


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    """All types can be listed."""
    code, out, _ = invoke(capsys, "trigger", "list")

    assert code == 0
    assert out.split() == list(EVENTS)


@pytest.mark.parametrize("kind", EVENTS)
def test_samples(kind: Any) -> None:
    """An example event of every type matches the description and is parsed as its class; its status is the one of its type."""
    made = example_event(kind, NOW, seed="seed")
    event = parse_event(made)

    validate_event(orjson.dumps(made))
    assert isinstance(event, EVENTS[kind])
    assert event.to_wire() == made
    assert event.created_at == NOW
    what = kind.rpartition(".")[2]
    if what in statuses_of(kind):
        assert made["data"].get(kind, made["data"])["status"] == what
