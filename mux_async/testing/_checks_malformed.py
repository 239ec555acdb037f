"""Checks of answers that are not HTTP: what the server sent gets into no message, no cause of an error, and no log."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

import anyio

from mux_async.errors import Delivery, TransportError
from mux_async.testing._bench import PATIENCE, SocketBench, expect, read, request, socket_check
from mux_async.testing.loopback import Peer

_MARK = "cAnArY"
_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"


def _parts(mark: bytes) -> dict[str, tuple[bytes, bytes]]:
    """What is sent before and after the client had time to read the head."""
    return {
        "a status line": (mark + b" 200 OK\r\n\r\n", b""),
        "a status": (b"HTTP/1.1 " + mark + b"\r\n\r\n", b""),
        "a header without a colon": (_OK + mark + b"\r\n\r\n", b""),
        "the name of a header": (_OK + mark + b" x: y\r\n\r\n", b""),
        "a header of other bytes": (_OK + b"\xff\xfe" + mark + b": y\r\n\r\n", b""),
        "the value of a header": (_OK + b"X: " + mark + b"\x00\r\n\r\n", b""),
        "a length": (_OK + b"Content-Length: " + mark + b"\r\n\r\n", b""),
        "two lengths": (_OK + b"Content-Length: 5\r\nContent-Length: 6" + mark + b"\r\n\r\n", b""),
        "a long header": (_OK + b"X: " + mark * 30_000 + b"\r\n\r\n", b""),
        "half a head": (_OK + b"X: 1\r\nY: " + mark, b""),
        "the size of a chunk": (_CHUNKED, mark + b"\r\nx\r\n"),
        "the size of a second chunk": (_CHUNKED + b"1\r\nx\r\n", mark + b"\r\nx\r\n"),
        "the end of a chunk": (_CHUNKED, b"1\r\nx" + mark + b"\r\n"),
        "a trailer": (_CHUNKED, b"1\r\nx\r\n0\r\n" + mark + b" bad\r\n\r\n"),
        "a short body": (_OK + b"Content-Length: 1000\r\n\r\n", mark),
    }


@socket_check
async def malformed_answer(bench: SocketBench) -> None:
    """Bytes of an answer that is not HTTP are in no message, no cause or context of the error, and no log record at any level."""
    for what, (head, rest) in _parts(_MARK.encode()).items():
        for is_split in (False, True) if rest else (False,):
            has_head = anyio.Event()

            async def conversation(
                peer: Peer, head: bytes = head, rest: bytes = rest, is_split: bool = is_split, has_head: anyio.Event = has_head
            ) -> None:
                await peer.request()
                if is_split:
                    await peer.send(head)
                    await has_head.wait()
                    await peer.send(rest)
                else:
                    await peer.send(head + rest)

            async with bench.listen(conversation) as site, bench.transport() as transport:
                with _recorded() as records, anyio.fail_after(PATIENCE):
                    try:
                        response = await transport.send(request(site, method="POST", body=b"{}"))
                        has_head.set()
                        await read(response)
                    except TransportError as error:
                        expect(
                            error.delivery is not Delivery.NEVER_SENT,
                            f"{what}: it was sent, and {error!r} says that it was not",
                        )
                        shown = [text for each in _chain(error) for text in (str(each), repr(each))]
                        expect(_MARK not in "".join(shown), f"{what} that is malformed is shown by the error: {shown}")
                formatter = logging.Formatter()
                logged = [record.name for record in records if _MARK in formatter.format(record)]
                expect(not logged, f"{what} that is malformed gets into the log: {logged}")


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and each not in found:
            found.append(each)
            waiting += [each.__cause__, each.__context__]
    return found


@contextmanager
def _recorded() -> Generator[list[logging.LogRecord], None, None]:
    """Record what any logger says at any level."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.DEBUG)
    handler.emit = records.append  # type: ignore[method-assign,assignment]
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield records
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
