"""Create an event store from a URL."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from mux_async._tracebacks import hides_locals
from mux_async._types import Secret
from mux_async.errors import ConfigurationError
from mux_async.webhooks._store import EventStore, MemoryEventStore

_FORMS = "memory://, sqlite:///path or redis://[user[:password]@]host[:port][/db] (rediss:// for TLS)"


@hides_locals
def open_event_store(url: str | Secret) -> EventStore:
    """Return the store for *url*. The first delivery opens files and connections.

    Args:
        url: ``memory://``, ``sqlite:///relative/path``, ``sqlite:////absolute/path``, ``redis://...`` or ``rediss://...``.

    Raises:
        ConfigurationError: The URL is not one of these. The message does not repeat it, because it may contain a password.
        MissingExtraError: The store needs a library that is not installed.
    """
    text = Secret(url).reveal()
    scheme = text.partition(":")[0]
    if scheme == "memory":
        return MemoryEventStore()
    if scheme == "sqlite":
        from mux_async.webhooks._store_sqlite import SqliteEventStore

        parts = urlsplit(text)
        path = unquote(parts.path).removeprefix("/")
        if parts.netloc or parts.query or parts.fragment or not path or path.startswith(":"):
            raise ConfigurationError(
                "the store's URL contains no file; use sqlite:///relative/path or sqlite:////absolute/path"
            )
        return SqliteEventStore(Path(path))
    if scheme in {"redis", "rediss"}:
        from mux_async.webhooks._store_redis import RedisEventStore

        return RedisEventStore(text)
    raise ConfigurationError(f"the store's URL has an unknown form; use {_FORMS}")
