"""The Data API: generated views, and metrics computed from them, so that all numbers agree with each other.

May import ``http``, ``validation``, ``state`` and ``routing``.
"""

from mux_async.emulator.data._archive import Archive
from mux_async.emulator.data._exports import PREFIX as EXPORTS_PREFIX
from mux_async.emulator.data._exports import download
from mux_async.emulator.data._routes import OPERATIONS

__all__ = ["EXPORTS_PREFIX", "OPERATIONS", "Archive", "download"]
