"""Whose fault a failed step is, and how often it is repeated."""

from __future__ import annotations

import enum
from typing import Final

from mux_async.errors import (
    APIStatusError,
    AuthenticationError,
    ClosedError,
    ConfigurationError,
    Delivery,
    MuxError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
    TransportError,
    UploadError,
)

MAX_OUTAGES: Final = 30
"""Failures of the network or of Mux in a row after which an item is dead: about half an hour."""
MAX_UNKNOWN_OUTCOMES: Final = 5
"""Creates with an unknown outcome after which an item is dead; each made several requests."""
_MAX_PAUSE: Final = 60.0

_EVERY_ITEM: Final = (AuthenticationError, ClosedError, ConfigurationError, PermissionDeniedError)


class Fault(enum.Enum):
    """Whose fault a failed step is."""

    ACCOUNT = enum.auto()
    """Every other item would fail as well. A create was not performed."""
    ITEM = enum.auto()
    """The item's own. A create was not performed."""
    OUTAGE = enum.auto()
    """The network's or Mux's: repeat the step. A create was not performed."""
    UNKNOWN = enum.auto()
    """Whether a create was performed is not known: look it up before it is repeated."""


def fault_of(error: MuxError, *, is_create: bool) -> Fault:
    """Return whose fault *error* is, in a create or in any other step."""
    if isinstance(error, _EVERY_ITEM):
        return Fault.ACCOUNT
    if isinstance(error, RateLimitedError) or (isinstance(error, TransportError) and error.delivery is Delivery.NEVER_SENT):
        return Fault.OUTAGE
    is_outage = isinstance(error, TransportError | ServerError)
    if is_create:
        is_refused = isinstance(error, APIStatusError) and not isinstance(error, ServerError)
        return Fault.ITEM if is_refused or isinstance(error, ValueError) else Fault.UNKNOWN
    return Fault.OUTAGE if is_outage or (isinstance(error, UploadError) and error.resumable) else Fault.ITEM


def pause_after(outages: int) -> float:
    """Return the seconds to wait after a number of failures in a row."""
    return min(2.0**outages, _MAX_PAUSE)
