"""Completion in the shell: what the command prints for bash, and what bash completes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import environment, run, run_here


def test_commands_and_options() -> None:
    """Commands, options and the values of options are completed."""

    def complete(words: str) -> list[str]:
        variables = {
            "_MUX_ASYNC_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        }
        return run_here(env=variables).stdout.split()

    assert complete("mux-async bul") == ["bulk", "bulk-status"]
    assert {"--retry-failed", "--report"} <= set(complete("mux-async ingest --re"))
    assert complete("mux-async ingest --dedup ") == ["key", "content", "none"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("mux-async upload film.mp4 --policy s", "signed"),
        ("mux-async sign ID --kind sp", "space"),
        ("mux-async emulate --limits o", "off"),
        ("mux-async emulate --limit-model s", "sliding"),
        ("mux-async emulate --tl", "--tls-port"),
        ("mux-async emulate-ca r", "remove"),
        ("mux-async webhooks trigger video.asset.re", "video.asset.ready"),
        ("mux-async api DE", "DELETE"),
        ("mux-async api GET /video/v1/as", "/video/v1/assets"),
    ],
)
def test_values(words: str, expected: str) -> None:
    """Values of arguments and options are completed: policies, kinds, event types, methods, paths."""
    variables = {"_MUX_ASYNC_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    printed = run_here(env=variables).stdout.split()

    assert expected in printed


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_in_bash(tmp_path: Path) -> None:
    """The script of ``--show-completion`` works in bash: it completes commands, and leaves names of files to the shell."""
    program = tmp_path / "mux-async"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m mux_async.cli "$@"\n')
    program.chmod(0o755)
    # Without a shell above the tests, as in the background of a script, the shell has to be named; this variable makes it possible.
    script = run("--show-completion", "bash", env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}).stdout
    assert "complete -o default" in script

    (tmp_path / "complete.sh").write_text(
        f"{script}\nCOMP_WORDS=(mux-async bulk-s); COMP_CWORD=1\n"
        "$(complete -p mux-async | sed 's/.*-F \\([^ ]*\\).*/\\1/') mux-async\n"
        'echo "${COMPREPLY[@]}"\n'
    )
    variables = environment()
    done = subprocess.run(
        ["bash", str(tmp_path / "complete.sh")],
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
        env={**variables, "PATH": f"{tmp_path}{os.pathsep}{variables['PATH']}"},
    )

    assert done.stdout.split() == ["bulk-status"], done.stderr
