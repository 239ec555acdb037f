"""``python -m mux_async.cli``: the ``mux-async`` command where its script is not on the path."""

from mux_async.cli import main

main()
