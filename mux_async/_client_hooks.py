"""Functions that are called with every client that is made: how an instrumentation reaches clients that it does not make.

Process-wide, and for `mux_async.otel` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mux_async._client import Mux

client_hooks: Final[list[Callable[[Mux], object]]] = []
