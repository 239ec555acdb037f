"""A program on another origin: a page that uploads with ``@mux/upchunk``, and an endpoint for webhooks."""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.emulator.official import node_modules

_PAGE = Path(__file__).with_name("elsewhere.html")


@contextmanager
def elsewhere(*, with_upchunk: bool = True, more: Mapping[str, tuple[bytes, str]] | None = None) -> Generator[str, None, None]:
    """Serve the page and *more* files (by path: content and type), and accept every POST. Yields the origin."""
    files = {"/": (_PAGE.read_bytes(), "text/html; charset=utf-8")}
    if with_upchunk:
        script = node_modules() / "node_modules" / "@mux" / "upchunk" / "dist" / "upchunk.js"
        files["/upchunk.js"] = (script.read_bytes(), "text/javascript")
    files.update(more or {})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content, kind = files.get(self.path, (b"", ""))
            self._answer(200 if kind else 404, content, kind or "text/plain")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self._answer(200, b"", "text/plain")

        def _answer(self, status: int, content: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()
