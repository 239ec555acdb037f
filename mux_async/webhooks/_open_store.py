"""Create an event store from a URL."""

from __future__ import annotations

from mux_async._store_url import RedisAddress, parse_store_url
from mux_async._tracebacks import hides_locals
from mux_async._types import Secret
from mux_async.webhooks._store import EventStore, MemoryEventStore


@hides_locals
def open_event_store(url: str | Secret) -> EventStore:
    """Return the store for *url*. The first delivery opens files and connections.

    Args:
        url: ``memory://``, ``sqlite:///relative/path``, ``sqlite:////absolute/path``, ``redis://...`` or ``rediss://...``.

    Raises:
        ConfigurationError: The URL is not one of these. The message does not repeat it, because it may contain a password.
        MissingExtraError: The store needs a library that is not installed.
    """
    address = parse_store_url(Secret(url), "the store's")
    if address is None:
        return MemoryEventStore()
    if isinstance(address, RedisAddress):
        from mux_async.webhooks._store_redis import RedisEventStore

        return RedisEventStore(address.url)
    from mux_async.webhooks._store_sqlite import SqliteEventStore

    return SqliteEventStore(address)
