"""A server that swallows uploads and answers like an upload host: as little as a server can do, so that it is not what is measured.

It keeps nothing but counts: bytes per session (the path of the URL). ``GET /counts`` gives them as JSON. Runs in a process of its own.

In the clear, bodies are thrown away by the kernel (``MSG_TRUNC``) where it can, so that they are never copied to the server: it then takes
several times what any client sends. Over TLS they have to be decrypted.
"""

from __future__ import annotations

import json
import multiprocessing
import socket
import socketserver
import ssl
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import ClassVar, NamedTuple

BUFFER = 1024 * 1024
DISCARD = socket.MSG_TRUNC if sys.platform == "linux" else 0
"""Of a TCP socket on Linux: the bytes are dropped instead of copied."""
LIFETIME = 900.0
"""Seconds after which it stops by itself."""


class Served(NamedTuple):
    """A server in a process of its own."""

    origin: str
    pid: int


class Exchange:
    """Reads the heads of requests, and says how many bytes follow and what to answer after them."""

    def __init__(self, counts: dict[str, int]) -> None:
        self.counts = counts
        self.missing = 0
        self.path = ""
        self.answer = b""

    def begin(self, head: str) -> bytes:
        """Take in a head; return what to send at once."""
        request, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        method, target, _ = request.split(" ")
        self.path = target.partition("?")[0]
        self.missing = int(headers.get("content-length", "0"))
        extent, _, total = headers.get("content-range", "").removeprefix("bytes ").partition("/")
        last = extent.partition("-")[2]
        if method == "GET":
            body = json.dumps(self.counts).encode()
            self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        elif last and int(last) + 1 < int(total):
            self.answer = f"HTTP/1.1 308 Resume Incomplete\r\nRange: bytes=0-{last}\r\nContent-Length: 0\r\n\r\n".encode()
        else:
            self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        return b"HTTP/1.1 100 Continue\r\n\r\n" if headers.get("expect", "").lower() == "100-continue" else b""

    def count(self, received: int) -> bool:
        """Note bytes of the body; return whether it is complete."""
        self.missing -= received
        self.counts[self.path] = self.counts.get(self.path, 0) + received
        return not self.missing


class Handler(socketserver.BaseRequestHandler):
    counts: ClassVar[dict[str, int]] = {}
    context: ClassVar[ssl.SSLContext | None] = None

    def handle(self) -> None:
        connection: socket.socket = self.request
        flags = DISCARD
        if self.context is not None:
            connection, flags = self.context.wrap_socket(connection, server_side=True), 0
        exchange, buffer, held = Exchange(self.counts), bytearray(BUFFER), b""
        while True:
            while b"\r\n\r\n" not in held:
                part = connection.recv(8192)
                if not part:
                    return
                held += part
            head, _, held = held.partition(b"\r\n\r\n")
            connection.sendall(exchange.begin(head.decode("latin-1")))
            first, held = held[: exchange.missing], held[exchange.missing :]
            is_complete = exchange.count(len(first))
            while not is_complete:
                received = connection.recv_into(buffer, min(BUFFER, exchange.missing), flags)
                if not received:
                    return
                is_complete = exchange.count(received)
            connection.sendall(exchange.answer)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128


def _serve(ports: multiprocessing.Queue[int], certificate: str | None) -> None:
    if certificate is not None:
        Handler.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        Handler.context.load_cert_chain(certificate)
    with Server(("127.0.0.1", 0), Handler) as server:
        ports.put(server.server_address[1])
        threading.Timer(LIFETIME, server.shutdown).start()
        server.serve_forever()


@contextmanager
def sink(certificate: str | None = None) -> Generator[Served]:
    """Run a sink while the block runs.

    Args:
        certificate: Path of a PEM file with key and certificate, to speak TLS.
    """
    ports: multiprocessing.Queue[int] = multiprocessing.Queue()
    server = multiprocessing.Process(target=_serve, args=(ports, certificate), daemon=True)
    server.start()
    try:
        scheme, host = ("http", "127.0.0.1") if certificate is None else ("https", "localhost")
        assert server.pid is not None
        yield Served(f"{scheme}://{host}:{ports.get(timeout=30)}", server.pid)
    finally:
        server.terminate()
        server.join()
