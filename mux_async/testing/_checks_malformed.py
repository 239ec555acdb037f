"""Checks of answers that are not HTTP, and of answers that never end.

What a malformed answer contains gets into no message, no cause of an error, and no log. What surrounds a body is bounded (rule 6 of
`mux_async.transport`), and what is well-formed is read.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from itertools import repeat

import anyio

from mux_async.errors import Delivery, TransportError
from mux_async.testing._bench import PATIENCE, SocketBench, exchange, expect, read, request, socket_check
from mux_async.testing.loopback import Peer, Reply, always, talk
from mux_async.transport import FRAMING_ALLOWANCE

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


_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: <" + b"a" * 2000 + b">\r\n\r\n"
_PIECE = 64 * 1024
_MOST = FRAMING_ALLOWANCE + 16 * 1024 * 1024
"""Bytes that a server may get rid of: what is allowed, and what systems hold in their buffers."""

_ENDLESS = {
    "interim answers": (b"", _HINTS, False),
    "headers of interim answers": (b"HTTP/1.1 102 Processing\r\n", b"X: y\r\n", False),
    "headers": (_OK, b"X-Header: value\r\n", False),
    "one header": (_OK + b"X-Header: ", b"value", False),
    "a reason": (b"HTTP/1.1 200 ", b"very ", False),
    "the size of a chunk": (_CHUNKED, b"0", True),
    "an extension of a chunk": (_CHUNKED + b"1;", b"a=b;", True),
    "extensions of chunks": (_CHUNKED, b"1;" + b"x" * 4000 + b"\r\na\r\n", True),
    "trailers": (_CHUNKED + b"0\r\n", b"X-Trailer: value\r\n", True),
    "one trailer": (_CHUNKED + b"0\r\nX-Trailer: ", b"value", True),
}
"""What comes first, what is repeated for ever, and whether the head of the answer is complete by then."""


@socket_check
async def endless_answer(bench: SocketBench) -> None:
    """An answer whose framing does not end is given up after a bounded number of bytes, with what that says about the request."""
    for what, (first, repeated, is_answered) in _ENDLESS.items():
        piece = repeated * (_PIECE // len(repeated))

        async def conversation(peer: Peer, first: bytes = first, piece: bytes = piece) -> None:
            await peer.request()
            await peer.send(first)
            for data in repeat(piece, _MOST // len(piece) + 1):
                await peer.send(data)

        async with bench.listen(conversation) as site, bench.transport() as transport:
            with anyio.fail_after(PATIENCE):
                try:
                    await read(await transport.send(request(site, method="POST", body=b"{}")))
                except TransportError as error:
                    # A head may be complete to a library that reads on before it says so.
                    may_be = error.delivery is Delivery.MAYBE_PROCESSED or (is_answered and error.delivery is Delivery.ANSWERED)
                    expect(may_be, f"endless {what}: the delivery is {error.delivery.name}")
                else:
                    expect(False, f"endless {what} came to an end")  # noqa: FBT003 - there is no other way to say it
                await site.wait_idle()
            expect(site.sent < _MOST, f"endless {what}: {site.sent} bytes were read")


@socket_check
async def framing_that_is_large(bench: SocketBench) -> None:
    """A body in chunks of a single byte, one larger than what is allowed around it, and a few interim answers are read to their end."""
    content = bytes(range(256)) * 512
    bodies: dict[str, bytes | list[bytes]] = {
        "chunks of a byte": [content[place : place + 1] for place in range(10_000)],
        "a large body": content * 80,
        "large chunks": [content] * 80,
    }
    for what, body in bodies.items():
        wanted = body if isinstance(body, bytes) else b"".join(body)
        async with bench.listen(talk(always(Reply(body=body)))) as site, bench.transport() as transport:
            _, found = await exchange(transport, site)
            expect(found == wanted, f"{what}: {len(found)} bytes of {len(wanted)} arrived")


@socket_check
async def kept_connection_with_much_framing(bench: SocketBench) -> None:
    """What is allowed is allowed for each exchange, and not for the life of a connection."""

    async def conversation(peer: Peer) -> None:
        while await peer.request() is not None:
            await peer.send(_HINTS * (FRAMING_ALLOWANCE // 3000))
            await peer.reply(Reply(body=b"ok"))

    async with bench.listen(conversation) as site, bench.transport() as transport:
        for _ in range(4):
            _, content = await exchange(transport, site)
            expect(content == b"ok", "the answer behind many interim ones is another")
        expect(site.connections == 1, "the connection was not kept")
