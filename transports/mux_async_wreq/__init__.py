"""A transport of `mux_async` for the least CPU a call: wreq, HTTP/1.1 in Rust, on asyncio and uvloop."""

from mux_async_wreq._transport import WreqTransport, create_transport

__all__ = ["WreqTransport", "create_transport"]
