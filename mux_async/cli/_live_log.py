"""A log that never holds up whoever writes it: lines that nobody reads in time are dropped, and counted.

A server that prints to a pipe stops when the pipe is full, which is when the other end looks elsewhere for a while: a test runner, a
supervisor. So lines go through a bounded queue to a thread of their own.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Thread

WAITING = 10_000
"""Lines that may wait to be written."""
_GRACE = 0.5
"""Seconds that the last lines get at the end."""


class LiveLog:
    """Writes lines to standard output from a thread of its own. Use as a context manager."""

    def __init__(self) -> None:
        self._lines: Queue[str | None] = Queue(WAITING)
        self._dropped = 0
        self._is_closed = False
        self._thread = Thread(
            target=self._write_all, name="live log", daemon=True
        )  # a reader that never comes holds nothing up

    def __enter__(self) -> LiveLog:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def line(self, text: str) -> None:
        """Have a line written; what a terminal might take for an order is shown as a question mark."""
        shown = "".join(character if character.isprintable() else "?" for character in text)
        try:
            self._lines.put_nowait(f"({self._dropped} lines were not read in time)\n{shown}" if self._dropped else shown)
            self._dropped = 0
        except Full:
            self._dropped += 1

    def close(self) -> bool:
        """Write what is waiting, if it is read within half a second. Any number of times.

        Returns:
            Whether it was. If not, printing anything else would wait for ever too.
        """
        if not self._is_closed:
            self._is_closed = True
            with suppress(Full):
                self._lines.put_nowait(None)
            self._thread.join(_GRACE)
        return not self._thread.is_alive()

    def _write_all(self) -> None:
        while True:
            lines = [self._lines.get()]
            with suppress(Empty):
                while len(lines) < 100:
                    lines.append(self._lines.get_nowait())
            texts = [line for line in lines if line is not None]
            if texts and not _write("\n".join(texts) + "\n"):
                return
            if len(texts) < len(lines):
                return


def _write(text: str) -> bool:
    """Write to standard output, and say whether there still is one.

    Not through its buffer: that has a lock, which a thread that waits in it for ever would hold at the end of the program.
    """
    content = text.encode(errors="replace")
    try:
        number = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # put in its place by a test runner
        sys.stdout.write(text)
        return True
    try:
        while content:
            content = content[os.write(number, content) :]
    except OSError:
        return False
    return True
