"""The default transport of `mux_async`: aiohttp, on asyncio and uvloop."""

from mux_async_aiohttp._options import check_settings
from mux_async_aiohttp._transport import AiohttpTransport, create_transport

__all__ = ["AiohttpTransport", "check_settings", "create_transport"]
