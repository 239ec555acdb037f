"""Checks of settings that people write: each names the setting, what it is, and what it takes."""

from __future__ import annotations

import math

from mux_async.errors import ConfigurationError


def check_whole(name: str, value: object, least: int, takes: str) -> None:
    """Refuse what is not a whole number from *least* on.

    Args:
        name: Of the setting.
        value: As given; a ``bool`` is no number here, and 1.5 is not rounded.
        least: The smallest that is taken.
        takes: What it must be, to end the sentence with.

    Raises:
        ConfigurationError: It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{name} is {value!r}; {takes}")


def check_seconds(name: str, value: object) -> None:
    """Refuse what is not a finite number of seconds, 0 or more.

    Raises:
        ConfigurationError: It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not (value >= 0 and math.isfinite(value)):
        raise ConfigurationError(f"{name} is {value!r}; it must be 0 seconds or more")
