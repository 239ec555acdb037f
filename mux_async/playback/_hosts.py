"""The hosts that serve media: Mux's own, a custom domain, or one origin for all media, as the emulator has."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import attrs

from mux_async._operation import Host
from mux_async.errors import ConfigurationError


def _check(_: object, field: attrs.Attribute[str], value: str) -> None:
    try:
        parts = urlsplit(value)
        is_origin = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_origin = False
    if not is_origin or set(value) & set("@?#\\ ") or not value.isascii() or not value.isprintable():
        raise ConfigurationError(f"{field.name} is not an origin; it looks like 'https://video.example.com'")


def _without_slash(value: str) -> str:
    return value.rstrip("/")


@attrs.frozen
class Hosts:
    """Origins, without a trailing slash. A custom domain usually replaces *stream* and *image*.

    Raises:
        ConfigurationError: A value is not of the form ``https://host[:port][/prefix]``.
    """

    stream: str = attrs.field(default=Host.STREAM.value, converter=_without_slash, validator=_check)
    image: str = attrs.field(default=Host.IMAGE.value, converter=_without_slash, validator=_check)
    license: str = attrs.field(default="https://license.mux.com", converter=_without_slash, validator=_check)
    stats: str = attrs.field(default="https://stats.mux.com", converter=_without_slash, validator=_check)
    player: str = attrs.field(default="https://player.mux.com", converter=_without_slash, validator=_check)

    @classmethod
    def at(cls, origin: str) -> Hosts:
        """Return hosts that all have the same origin."""
        return cls(origin, origin, origin, origin, origin)

    @classmethod
    def of(cls, base_url: str) -> Hosts:
        """Return the media hosts for an API origin: Mux's own for Mux, and *base_url* for any other server."""
        return MUX if base_url.rstrip("/") == Host.API.value else cls.at(base_url)


MUX: Final = Hosts()
"""Mux's own hosts."""
