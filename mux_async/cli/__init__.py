"""The ``mux-async`` command. Needs the extra ``cli``; prints a message if that is not installed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit.

    Args:
        arguments: Without the program's name; the process's own by default.

    Exit codes: 0 all went well; 1 something failed; 2 wrong arguments or settings, nothing was sent; 130 interrupted.
    """
    missing = [library for library in ("typer", "rich") if importlib.util.find_spec(library) is None]
    if missing:
        sys.stderr.write(f"the mux-async command needs {' and '.join(missing)}: pip install 'mux-async[cli]'\n")
        sys.exit(2)
    from mux_async.cli._app import run

    run(sys.argv[1:] if arguments is None else arguments)
