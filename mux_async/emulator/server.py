"""The emulator as an HTTP server: `serve`. A module of its own, because aiohttp is imported with it."""

from mux_async.emulator.frontends._server import serve

__all__ = ["serve"]
