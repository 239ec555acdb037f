"""The transport of `mux_async` that runs on asyncio and trio: httpx2 where it is installed, else httpx."""

from mux_async_httpx._options import check_settings
from mux_async_httpx._transport import HttpxTransport, create_transport

__all__ = ["HttpxTransport", "check_settings", "create_transport"]
