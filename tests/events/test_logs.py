"""Log records of this package: quiet by default, with fields, and what ``MUX_LOG`` writes of them."""

from __future__ import annotations

import ast
import json
import logging
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

import mux_async
from mux_async import ConfigurationError, LimitSettings, Mux, MuxError
from mux_async.errors import ConnectError
from mux_async.testing import respond
from tests.cli.commands import run_here
from tests.events.recording import client, recorded, script

SOURCES = Path(mux_async.__file__).parent
FREE = LimitSettings(enabled=False)
WRITES = {f"logger.{level}" for level in ("debug", "info", "warning", "error", "exception", "critical", "log")}
LOGGERS = ("mux_async", "mux_async_aiohttp", "mux_async_httpx")

PROGRAM = """
import asyncio, logging
from mux_async import Mux, MuxError
from mux_async.testing import FakeTransport, respond

answers = [respond(503, json={}, headers={"X-Request-Id": "r1"}), respond(404, json={}, headers={"X-Request-Id": "r2"})]

async def main():
    mux = Mux(token_id="CANARY-id", token_secret="CANARY-secret", transport=FakeTransport(lambda _: answers.pop(0)))
    try:
        await mux.video.assets.retrieve("a1")
    except MuxError:
        pass
    assert not logging.getLogger().handlers, "the root logger is the program's"

asyncio.run(main())
"""


def make() -> Mux:
    return Mux(token_id="id", token_secret="secret", transport=script())


@pytest.fixture
def loggers() -> Generator[None]:
    """The loggers of the package, as they were before."""
    before = [(logging.getLogger(each), logging.getLogger(each).level, [*logging.getLogger(each).handlers]) for each in LOGGERS]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_fields_of_a_call(caplog: pytest.LogCaptureFixture) -> None:
    """Every record about a call has its operation, attempt, request id and status as fields; with a listener, the id of its events."""
    answers = (lambda: ConnectError("refused"), lambda: respond(404, json={}, headers={"X-Request-Id": "r2"}))
    mux, events = recorded(script(*answers))
    with caplog.at_level(logging.DEBUG, "mux_async"), pytest.raises(MuxError):
        await mux.video.assets.retrieve("a1")

    found = [(each.levelname, vars(each)) for each in caplog.records if each.name.startswith("mux_async")]
    assert [level for level, _ in found] == ["DEBUG", "INFO", "DEBUG"]
    assert {fields["mux_operation"] for _, fields in found} == {"video.assets.retrieve"}
    assert [fields["mux_attempt"] for _, fields in found] == [1, 1, 2]
    assert [fields["mux_request_id"] for _, fields in found] == [None, None, "r2"]
    assert [fields["mux_status"] for _, fields in found] == [None, None, 404]
    assert {fields["mux_call"] for _, fields in found} == {events[0].id}


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_a_call_without_a_listener_has_no_id(caplog: pytest.LogCaptureFixture) -> None:
    """Without a listener there are no ids of calls, and everything else is there."""
    mux = client(script(lambda: respond(json={"data": {"id": "a1"}})), limits=FREE)
    with caplog.at_level(logging.DEBUG, "mux_async"):
        await mux.video.assets.retrieve("a1")

    (record,) = (each for each in caplog.records if each.name.startswith("mux_async"))
    assert vars(record)["mux_call"] is None
    assert record.getMessage() == "GET /video/v1/assets/{ASSET_ID}: attempt 1: 200 (request id None)"


def test_lines_of_a_program() -> None:
    """``MUX_LOG`` writes operation, attempt and request id in every line about a call; without it nothing is written."""

    def run(**environ: str) -> list[str]:
        command = [sys.executable, "-c", PROGRAM]
        ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env={"PATH": "", **environ})
        assert not ended.stdout
        assert "CANARY" not in ended.stderr
        return ended.stderr.splitlines()

    debug = run(MUX_LOG="debug")
    assert len(debug) == 3
    assert all("operation=video.assets.retrieve attempt=" in each for each in debug)
    assert debug[0].endswith("[operation=video.assets.retrieve attempt=1 request_id=r1 status=503]")
    assert debug[2].endswith("[operation=video.assets.retrieve attempt=2 request_id=r2 status=404]")
    info = run(MUX_LOG="info")
    assert len(info) == 1
    assert "retry in" in info[0]
    assert run() == []


def test_only_our_loggers(loggers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """``MUX_LOG`` sets up the loggers of the package and never the root; a value that is no level is refused with those that are."""
    root = logging.getLogger()
    before = root.level, [*root.handlers]
    monkeypatch.setenv("MUX_LOG", "debug")
    make()
    assert (root.level, root.handlers) == before
    assert all(logging.getLogger(each).level == logging.DEBUG for each in LOGGERS)

    monkeypatch.setenv("MUX_LOG", "trace")
    with pytest.raises(ConfigurationError, match="MUX_LOG is 'trace'; it is one of 'debug', 'info'"):
        make()


def test_a_program_with_handlers(loggers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a handler sees the messages already, ``MUX_LOG`` sets the level, and no line is written twice."""
    own = logging.NullHandler()
    for each in LOGGERS:
        logging.getLogger(each).handlers[:] = [own]
    monkeypatch.setenv("MUX_LOG", "info")
    make()

    assert [(logging.getLogger(each).level, logging.getLogger(each).handlers) for each in LOGGERS] == [
        (logging.INFO, [own])
    ] * 3


def test_every_line_has_fields() -> None:
    """Every line that the package logs has fields, so that a program can search for what it is about."""
    lines = dict[str, bool]()
    for path in SOURCES.rglob("*.py"):
        if "emulator" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in WRITES:
                lines[f"{path.relative_to(SOURCES)}:{node.lineno}"] = any(each.arg == "extra" for each in node.keywords)

    assert len(lines) > 35
    assert not [line for line, has_fields in lines.items() if not has_fields]


def test_names_of_fields() -> None:
    """Every field in the package begins with ``mux_``, so that it takes no name of a record and a program can tell it from its own."""
    names = set[str]()
    for path in SOURCES.rglob("*.py"):
        if "emulator" in path.parts or "getLogger" not in path.read_text("utf-8"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Dict):
                keys = [each.value for each in node.keys if isinstance(each, ast.Constant) and isinstance(each.value, str)]
                if any(each.startswith("mux_") for each in keys):
                    assert all(each.startswith("mux_") for each in keys), f"{path}: {keys}"
                    names.update(keys)
    record = logging.LogRecord("n", 0, "p", 0, "m", None, None)

    assert {"mux_operation", "mux_attempt", "mux_request_id", "mux_event_id", "mux_upload_id", "mux_store"} <= names
    assert not names & vars(record).keys()


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_an_error_in_a_log_can_be_explained(tmp_path: Path) -> None:
    """A line of JSON that holds `MuxError.to_dict`, wherever, is explained by ``mux-async explain``."""
    with pytest.raises(MuxError) as caught:
        await client(script(lambda: respond(404, json={}, headers={"X-Request-Id": "r2"}))).video.assets.retrieve("a1")
    log = tmp_path / "log.jsonl"
    line = json.dumps({"level": "error", "context": [{"mux_error": caught.value.to_dict()}]})
    log.write_text(f"no JSON\n{{broken\n2026-12-01 ERROR {line}\n[]\n")

    shown = run_here("explain", str(log)).stdout
    assert "attempt 1: answered 404" in shown
    assert "request id r2" in shown
    assert "Repeat:" in shown
