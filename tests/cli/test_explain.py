"""``mux-async explain``: errors out of files and standard input, and what ``--debug`` prints for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mux_async.errors import ConfigurationError
from tests.cli.commands import CREDENTIALS, Emulate, emulate_here, run, run_here


@pytest.fixture
def server() -> Iterator[Emulate]:
    with emulate_here() as server:
        yield server


@pytest.fixture
def refused() -> str:
    return json.dumps(ConfigurationError("the pool is 3").to_dict())


def test_standard_input(refused: str) -> None:
    """Lines of JSON on standard input are explained, those without an error are skipped."""
    ended = run_here("explain", stdin=f'text\n{{"a": [1]}}\nERROR {refused}\n{{"event": {{"error": {refused}}}}}\n'.encode())

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("ConfigurationError: the pool is 3") == 2
    assert ended.stdout.count("Where:   this program: its settings") == 2


def test_nothing_to_explain(tmp_path: Path) -> None:
    """A log without an error, and a file that cannot be read, are errors that say what is needed."""
    (tmp_path / "log").write_text('{"a": 1}\n[[[[\n' + "[" * 100_000 + "\n")
    ended = run_here("explain", "log", cwd=tmp_path)
    assert ended.returncode == 2
    assert "error.to_dict()" in ended.stderr

    ended = run_here("explain", "missing", cwd=tmp_path)
    assert ended.returncode == 2
    assert "'missing' cannot be read" in ended.stderr


def test_control_characters(tmp_path: Path) -> None:
    """What a file says is not sent to the terminal as commands."""
    error = {"type": "MuxError", "message": "\x1b[2Jgone", "attempts": [{"error": "\x07", "elapsed": "x"}]}
    (tmp_path / "log").write_text(json.dumps(error))

    shown = run_here("explain", "log", cwd=tmp_path).stdout
    assert "\x1b" not in shown
    assert "\x07" not in shown


@pytest.mark.proof
def test_debug_prints_what_can_be_explained(server: Emulate) -> None:
    """What ``--debug`` prints on standard error is explained: the request, its status and its request id."""
    failed = run("--debug", "api", "GET", "/video/v1/assets/nothing", env={**CREDENTIALS, "MUX_BASE_URL": server.origin})
    assert failed.returncode != 0
    ended = run_here("explain", stdin=failed.stderr.encode())

    assert "attempt 1: answered 400" in ended.stdout, failed.stderr
    assert "Mux knows it as request id" in ended.stdout
