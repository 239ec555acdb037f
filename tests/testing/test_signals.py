"""However the tests are started, the programs that they start get signals as from a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals of POSIX")

SHOW = """
import signal
names = ["SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGALRM", "SIGCHLD"]
print([name for name in names if signal.getsignal(signal.Signals[name]) is signal.SIG_IGN], signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""
DEAF = """
import os, signal, sys
for name in ["SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGALRM", "SIGCHLD"]:
    signal.signal(signal.Signals[name], signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_programs_get_default_signals() -> None:
    """No signal is ignored or blocked in a program that a test starts."""
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["[]", "set()"]


def test_also_in_the_background_of_a_script() -> None:
    """The test above passes in a pytest that ignores and blocks what a shell, ``nohup`` or a runner may make it ignore and block."""
    inner = f"{Path(__file__)}::{test_programs_get_default_signals.__name__}"
    command = [sys.executable, "-c", DEAF, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", inner]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2], env={**os.environ}
    )

    assert done.returncode == 0, done.stdout
