"""From a URL to the limiter for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

import attrs

from mux_async._tracebacks import hides_locals
from mux_async._types import Secret
from mux_async.errors import ConfigurationError
from mux_async.limits._limiter import Limiter, MemoryLimiter
from mux_async.limits._settings import LimitSettings

if TYPE_CHECKING:
    from pathlib import Path

    from mux_async.limits._events import StoreEvent

_FORMS = "memory://, sqlite:///path or redis://[user[:password]@]host[:port][/db] (rediss:// for TLS)"


@hides_locals
def open_limiter(
    url: str | Secret,
    account_key: str,
    settings: LimitSettings,
    clock: Callable[[], float],
    notify: Callable[[StoreEvent], object] | None = None,
) -> Limiter:
    """Return the limiter for *url*. Nothing is opened yet: the first request opens files and connections.

    Args:
        url: ``memory://``, ``sqlite:///relative/path``, ``sqlite:////absolute/path``, ``redis://...`` or ``rediss://...``.
        account_key: Names the account in the store.
        settings: What the account is allowed.
        clock: Monotonic seconds; the same for all processes of a host.
        notify: Called when a shared store is lost, and when it is restored.

    Raises:
        ConfigurationError: The URL names no store. The message does not repeat it, for it may hold a password.
        MissingExtraError: The store needs a library that is not installed.
    """
    place = locate(Secret(url))
    if place is None:
        return MemoryLimiter(settings, clock)
    # Imported here: most programs do not share limits.
    from mux_async.limits._shared_limiter import SharedLimiter

    if isinstance(place, RedisAddress):
        from mux_async.limits._redis_store import RedisLimitStore, connect_to

        store = RedisLimitStore(place.name, account_key, settings, connect_to(place.url), secret=place.password)
        return SharedLimiter(store, settings, clock, notify or _ignore)
    from mux_async.limits._sqlite_store import SqliteLimitStore

    return SharedLimiter(SqliteLimitStore(place, account_key, settings, clock), settings, clock, notify or _ignore)


@attrs.frozen
class RedisAddress:
    """A Redis server.

    Attributes:
        name: Where it is, without secrets.
        url: Whole.
        password: Must not show up in messages.
    """

    name: str
    url: Secret
    password: Secret | None


def locate(url: Secret) -> RedisAddress | Path | None:
    """Return where *url* says that what processes share is kept: a server, a file, or ``None`` for this process.

    Raises:
        ConfigurationError: It names no such place. The message does not repeat it, for it may hold a password.
    """
    try:
        parts = urlsplit(url.reveal())
        port = parts.port
    except ValueError:
        raise ConfigurationError(f"the limits' URL is not a URL; it is {_FORMS}") from None
    match parts.scheme:
        case "memory":
            return None
        case "sqlite":
            return _file_of(parts)
        case "redis" | "rediss":
            if not parts.hostname:
                raise ConfigurationError(f"the limits' URL names no host; it is {_FORMS}")
            if not (database := parts.path.removeprefix("/")).isdecimal() and database:
                # The library would take the first database for it.
                raise ConfigurationError(f"the limits' URL names a database that is no number; it is {_FORMS}")
            host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
            name = f"{parts.scheme}://{host}:{port or 6379}{parts.path}"
            return RedisAddress(name, url, Secret(unquote(parts.password)) if parts.password else None)
        case scheme:
            raise ConfigurationError(f"limits cannot be kept at {scheme!r} URLs; the URL is {_FORMS}")


def _file_of(parts: SplitResult) -> Path:
    from pathlib import Path

    path = unquote(parts.path).removeprefix("/")
    if os.name == "nt":
        path = path.lstrip("/")
    if parts.netloc or not path or path.startswith(":") or parts.query or parts.fragment:
        raise ConfigurationError(
            "the limits' URL names no file; it is sqlite:///relative/path or sqlite:////absolute/path, and limits that only "
            "this process uses are memory://"
        )
    return Path(path).absolute()


def _ignore(_event: StoreEvent) -> None:
    """Do nothing: there is no listener."""
