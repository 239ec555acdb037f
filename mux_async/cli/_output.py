"""Output of the command line: consoles, exit codes, units, and error messages."""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress
from typing import Final, cast
from unicodedata import category

import typer
from anyio import wait_writable
from rich.console import Console

from mux_async.errors import ConfigurationError, InvalidRequestError, MuxError

FAILED: Final = 1
WRONG: Final = 2
STOPPED: Final = 130
"""Exit codes; 0 is success."""

MOST_LINES: Final = 20
"""Maximum number of lines of one kind; the rest is counted."""


_PIECE: Final = getattr(select, "PIPE_BUF", 512)
"""Bytes that a pipe takes without blocking when it says that it takes any."""


def stdout() -> Console:
    """Return a console on standard output as it is now."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty())


def stderr() -> Console:
    """Return a console on standard error as it is now."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def complain(message: str) -> None:
    """Print an error message."""
    stderr().print(f"error: {message}", markup=False)


def explain(error: BaseException) -> int | None:
    """Print an error message and return the exit code; ``None`` for errors that are bugs and need their traceback."""
    if isinstance(error, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", error).exceptions
        codes = [explain(each) for each in inner]
        return None if None in codes else max(code for code in codes if code is not None)
    if isinstance(error, KeyboardInterrupt):
        return STOPPED
    if isinstance(error, InvalidRequestError):
        from mux_async.ingest import PlanError  # most commands do not need it to start

        if isinstance(error, PlanError):
            for problem in error.problems[:MOST_LINES]:
                complain(printable(str(problem)))
            if len(error.problems) > MOST_LINES:
                complain(f"and {len(error.problems) - MOST_LINES} more of that kind")
            return WRONG
    if isinstance(error, MuxError):
        complain(str(error))
        return WRONG if isinstance(error, ConfigurationError | InvalidRequestError) else FAILED
    return None


_CONTROL = frozenset({"Cc", "Zl", "Zp"})
"""Unicode categories of control characters and line breaks."""


def printable(text: str) -> str:
    """Return *text* for one line of output: file names may have line breaks, control sequences and bytes that are not text."""
    shown = "".join(each.encode("unicode_escape").decode() if category(each) in _CONTROL else each for each in text)
    encoding = sys.stdout.encoding or "utf-8"
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def counted(count: int, noun: str) -> str:
    """Format a number of things: ``1 item``, ``3 items``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def size(count: float) -> str:
    """Format a number of bytes: ``532 B``, ``1.4 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def span(seconds: float) -> str:
    """Format seconds: ``4.2 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


async def write(content: bytes) -> None:
    """Write to standard output; wait, and can be cancelled, while the reader of a pipe does not read."""
    try:
        number = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # replaced by a test runner
        typer.echo(content, nl=False)
        return
    while content:
        with suppress(OSError, ValueError):  # a file never blocks, and cannot be waited for
            await wait_writable(number)
        content = content[os.write(number, content[:_PIECE]) :]
