"""From a URL to the limiter for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mux_async._store_url import RedisAddress, parse_store_url
from mux_async._tracebacks import hides_locals
from mux_async._types import Secret
from mux_async.limits._limiter import Limiter, MemoryLimiter
from mux_async.limits._settings import LimitSettings

if TYPE_CHECKING:
    from mux_async.limits._events import StoreEvent


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
        url: See `parse_store_url`.
        account_key: Names the account in the store.
        settings: What the account is allowed.
        clock: Monotonic seconds; the same for all processes of a host.
        notify: Called when a shared store is lost, and when it is restored.
    """
    address = parse_store_url(Secret(url), "the limits'")
    if address is None:
        return MemoryLimiter(settings, clock)
    # Imported here: most programs do not share limits.
    from mux_async.limits._shared_limiter import CALL_TIMEOUT, SharedLimiter

    if isinstance(address, RedisAddress):
        from mux_async._redis import connect_to
        from mux_async.limits._redis_store import RedisLimitStore

        connect = connect_to(address.url, CALL_TIMEOUT, "limits shared through Redis")
        store = RedisLimitStore(address.name, account_key, settings, connect, secret=address.password)
        return SharedLimiter(store, settings, clock, notify or _ignore)
    from mux_async.limits._sqlite_store import SqliteLimitStore

    return SharedLimiter(SqliteLimitStore(address, account_key, settings, clock), settings, clock, notify or _ignore)


def _ignore(_event: StoreEvent) -> None:
    """Do nothing: there is no listener."""
