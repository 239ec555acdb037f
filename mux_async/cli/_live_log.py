"""A log that never blocks its caller: lines that are not read in time are dropped and counted.

Writing to a pipe blocks when the pipe is full, which happens when the reader (a test runner, a supervisor) pauses. So lines are queued, and
a thread writes them.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Thread

WAITING = 10_000
"""Maximum number of queued lines."""
_GRACE = 0.5
"""Seconds that `LiveLog.close` waits for the last lines to be written."""


class LiveLog:
    """Writes lines to standard output in a thread. Use it as a context manager."""

    def __init__(self) -> None:
        self._lines: Queue[str | None] = Queue(WAITING)
        self._dropped = 0
        self._is_closed = False
        self._thread = Thread(target=self._write_all, name="live log", daemon=True)  # never blocks the end of the process

    def __enter__(self) -> LiveLog:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def line(self, text: str) -> None:
        """Queue a line. Characters that are not printable, such as control sequences, are replaced by question marks."""
        shown = "".join(character if character.isprintable() else "?" for character in text)
        try:
            self._lines.put_nowait(f"({self._dropped} lines were not read in time)\n{shown}" if self._dropped else shown)
            self._dropped = 0
        except Full:
            self._dropped += 1

    def close(self) -> bool:
        """Write the queued lines. May be called repeatedly.

        Returns:
            Whether they were read within half a second. If not, printing anything else would block as well.
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
    """Write to standard output; return whether it is still open.

    Writes to the file descriptor: the buffer has a lock, which a blocked thread would still hold at the end of the process.
    """
    content = text.encode(errors="replace")
    try:
        number = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # replaced by a test runner
        sys.stdout.write(text)
        return True
    try:
        while content:
            content = content[os.write(number, content) :]
    except OSError:
        return False
    return True
