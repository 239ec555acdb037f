"""A server that swallows uploads and answers like an upload host: as little as a server can do, so that it is not what is measured.

It keeps nothing but counts: bytes per session (the path of the URL). ``GET /counts`` gives them as JSON. Runs in a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import ssl
from collections.abc import Generator
from contextlib import contextmanager

BUFFER = 1024 * 1024
LIFETIME = 900.0
"""Seconds after which it stops by itself."""


class Sink(asyncio.BufferedProtocol):
    def __init__(self, counts: dict[str, int]) -> None:
        self.counts = counts
        self.buffer = bytearray(BUFFER)
        self.view = memoryview(self.buffer)
        self.head = b""
        self.missing = 0
        self.path = ""
        self.answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        return self.view

    def buffer_updated(self, nbytes: int) -> None:
        if not self.missing:
            self.head += self.view[:nbytes]
            head, found, rest = self.head.partition(b"\r\n\r\n")
            if not found:
                return
            self.head = b""
            nbytes = len(rest)
            self.begin(head.decode("latin-1"))
        else:
            nbytes = min(nbytes, self.missing)
        self.missing -= nbytes
        self.counts[self.path] = self.counts.get(self.path, 0) + nbytes
        if not self.missing:
            self.transport.write(self.answer)

    def begin(self, head: str) -> None:
        request, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        method, target, _ = request.split(" ")
        self.path = target.partition("?")[0]
        self.missing = int(headers.get("content-length", "0"))
        if headers.get("expect", "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        extent, _, total = headers.get("content-range", "").removeprefix("bytes ").partition("/")
        last = extent.partition("-")[2]
        if method == "GET":
            body = json.dumps(self.counts).encode()
            self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        elif last and int(last) + 1 < int(total):
            self.answer = f"HTTP/1.1 308 Resume Incomplete\r\nRange: bytes=0-{last}\r\nContent-Length: 0\r\n\r\n".encode()
        else:
            self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def _serve(ports: multiprocessing.Queue[int], certificate: str | None) -> None:
    async def main() -> None:
        context = None
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
        counts: dict[str, int] = {}
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Sink(counts), "127.0.0.1", 0, ssl=context)
        ports.put(server.sockets[0].getsockname()[1])
        await asyncio.sleep(LIFETIME)

    asyncio.run(main())


@contextmanager
def sink(certificate: str | None = None) -> Generator[str]:
    """Run a sink while the block runs, and yield its origin.

    Args:
        certificate: Path of a PEM file with key and certificate, to speak TLS.
    """
    ports: multiprocessing.Queue[int] = multiprocessing.Queue()
    server = multiprocessing.Process(target=_serve, args=(ports, certificate), daemon=True)
    server.start()
    try:
        scheme, host = ("http", "127.0.0.1") if certificate is None else ("https", "localhost")
        yield f"{scheme}://{host}:{ports.get(timeout=30)}"
    finally:
        server.terminate()
        server.join()
