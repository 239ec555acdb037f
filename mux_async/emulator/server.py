"""The emulator as an HTTP server: `serve` and `serve_tls`. A module of its own, because aiohttp is imported with it."""

from mux_async.emulator.frontends._rtmp_server import serve_rtmp
from mux_async.emulator.frontends._server import serve, serve_tls
from mux_async.emulator.frontends._srt_relay import SrtUnavailableError, ffmpeg_with_srt, serve_srt

__all__ = ["SrtUnavailableError", "ffmpeg_with_srt", "serve", "serve_rtmp", "serve_srt", "serve_tls"]
