"""``MUX_LOG``: the log of this package on standard error, for programs that have set up no logging of their own.

``debug`` shows every attempt, ``info`` every retry; nothing of what is logged holds credentials, bodies or signed URLs. Records have
fields (``extra``) whose names begin with ``mux_``; the handler that is made here writes them at the end of each line. The root logger is
left alone.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Final

from mux_async.errors import ConfigurationError

VARIABLE: Final = "MUX_LOG"
LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "off": logging.CRITICAL + 1,
}
LOGGERS: Final = ("mux_async", "mux_async_aiohttp", "mux_async_httpx")
_PREFIX: Final = "mux_"


class FieldFormatter(logging.Formatter):
    """Writes the fields of a record after its message: ``[operation=video.assets.create attempt=1 request_id=r1]``."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - of logging
        """Return the line without its traceback."""
        fields = {name[len(_PREFIX) :]: value for name, value in vars(record).items() if name.startswith(_PREFIX)}
        text = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
        return super().formatMessage(record) + (f" [{text}]" if text else "")


def set_up(environ: Mapping[str, str] | None = None) -> None:
    """Do what ``MUX_LOG`` says. Any number of times; without the variable nothing is changed.

    Where a handler would see the messages already, only the level is set.

    Raises:
        ConfigurationError: The variable holds no level.
    """
    value = (os.environ if environ is None else environ).get(VARIABLE, "").strip().lower()
    if not value:
        return
    if value not in LEVELS:
        raise ConfigurationError(f"{VARIABLE} is {value[:40]!r}; it is one of {', '.join(map(repr, LEVELS))}")
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(LEVELS[value])
        if not logger.hasHandlers():
            handler = logging.StreamHandler()
            handler.setFormatter(FieldFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
            logger.addHandler(handler)
