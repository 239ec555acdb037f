"""URLs of the stores that processes share: this process, a SQLite file, or a Redis server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, unquote, urlsplit

import attrs

from mux_async._types import Secret
from mux_async.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

_FORMS: Final = "memory://, sqlite:///path or redis://[user[:password]@]host[:port][/db] (rediss:// for TLS)"


@attrs.frozen
class RedisAddress:
    """A Redis server: its address without secrets, the whole URL, and the password, which must not appear in messages."""

    name: str
    url: Secret
    password: Secret | None


def parse_store_url(url: Secret, owner: str) -> RedisAddress | Path | None:
    """Return the server or the file that *url* names, or ``None`` for this process.

    Args:
        url: ``memory://``, ``sqlite:///relative/path``, ``sqlite:////absolute/path``, ``redis://...`` or ``rediss://...``.
        owner: Whose URL it is, for messages: ``"the limits'"``.

    Raises:
        ConfigurationError: It names none of them. The message does not repeat it, for it may hold a password.
    """
    try:
        parts = urlsplit(url.reveal())
        port = parts.port
    except ValueError:
        raise ConfigurationError(f"{owner} URL is not a URL; it is {_FORMS}") from None
    match parts.scheme:
        case "memory":
            return None
        case "sqlite":
            return _file_of(parts, owner)
        case "redis" | "rediss":
            if not parts.hostname:
                raise ConfigurationError(f"{owner} URL names no host; it is {_FORMS}")
            if (database := parts.path.removeprefix("/")) and not database.isdecimal():
                # The library would use the first database instead.
                raise ConfigurationError(f"{owner} URL names a database that is not a number; it is {_FORMS}")
            host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
            name = f"{parts.scheme}://{host}:{port or 6379}{parts.path}"
            return RedisAddress(name, url, Secret(unquote(parts.password)) if parts.password else None)
        case scheme:
            raise ConfigurationError(f"{owner} URL has the unknown scheme {scheme!r}; it is {_FORMS}")


def _file_of(parts: SplitResult, owner: str) -> Path:
    from pathlib import Path

    path = unquote(parts.path).removeprefix("/")
    if os.name == "nt":
        path = path.lstrip("/")
    if parts.netloc or not path or path.startswith(":") or parts.query or parts.fragment:
        raise ConfigurationError(
            f"{owner} URL names no file; it is sqlite:///relative/path or sqlite:////absolute/path, and memory:// for what only this "
            "process uses"
        )
    return Path(path).absolute()
