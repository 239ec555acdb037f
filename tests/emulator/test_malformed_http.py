"""Malformed and incomplete HTTP at the emulator's socket: it is refused or dropped, nothing fails, and the next client is served.

Sent are the cases that parsers are known to stumble over, each by name, and bytes of good requests with random damage. The requests behind
a good head are `test_fuzz`'s.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from random import Random
from urllib.parse import urlsplit

import pytest

from mux_async.emulator import Emulator, EmulatorSettings, serve
from tests._examples import examples
from tests.emulator.harness import basic

HEAD = f"Host: emulator\r\nAuthorization: {basic()}\r\n".encode()
BODY = b'{"inputs": [{"url": "https://example.com/film.mp4"}]}'
GET = b"GET /video/v1/assets HTTP/1.1\r\n" + HEAD + b"\r\n"
POST = b"POST /video/v1/assets HTTP/1.1\r\n" + HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
CHUNKED = b"POST /video/v1/assets HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
WAIT = 20.0
"""Seconds that a response may take on a busy machine; a longer one counts as a hang."""
QUIET = 0.05
"""Seconds without a byte after which our half is closed. On a slow machine less is heard of what is answered; nothing fails of it."""

CASES = {
    "nothing": b"",
    "noise": bytes(range(256)) * 8,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "HTTP/0.9": b"GET /\r\n",
    "unknown version": GET.replace(b"HTTP/1.1", b"HTTP/3.7"),
    "unknown verb": GET.replace(b"GET", b"FROB"),
    "very long verb": GET.replace(b"GET", b"G" * 100_000),
    "very long path": GET.replace(b"assets", b"a" * 100_000),
    "very long header": GET.replace(b"Host", b"X-Long: " + b"x" * 100_000 + b"\r\nHost"),
    "very many headers": GET.replace(b"Host", b"".join(b"X-%d: 1\r\n" % number for number in range(20_000)) + b"Host"),
    "no host": b"GET /video/v1/assets HTTP/1.1\r\n\r\n",
    "two hosts": GET.replace(b"Host", b"Host: other\r\nHost"),
    "odd host": GET.replace(b"Host: emulator", b"Host: [::"),
    "null in a header": GET.replace(b"Host: emu", b"Host: \x00emu"),
    "folded header": GET.replace(b"Host: emulator", b"Host: emulator\r\n  folded"),
    "header without colon": GET.replace(b"Host", b"nothing\r\nHost"),
    "space before colon": GET.replace(b"Host:", b"Host :"),
    "bare line feeds": GET.replace(b"\r\n", b"\n"),
    "absolute target": GET.replace(b"GET /video", b"GET http://elsewhere.example/video"),
    "asterisk": GET.replace(b"GET /video/v1/assets", b"OPTIONS *"),
    "CONNECT": GET.replace(b"GET /video/v1/assets", b"CONNECT example.com:443"),
    "upgrade": GET.replace(b"Host", b"Connection: Upgrade\r\nUpgrade: websocket\r\nHost"),
    "broken escapes": GET.replace(b"assets", b"%zz%ff%00%c3%28"),
    "control characters in the path": GET.replace(b"assets", b"a\x1b[2Jb"),
    "non-ASCII path": GET.replace(b"assets", "ähm".encode()),
    "head only": POST.partition(b"\r\n\r\n")[0],
    "half a body": POST[:-10],
    "body that is too long": POST + b"tail",
    "length of letters": POST.replace(b"Content-Length: ", b"Content-Length: x"),
    "negative length": POST.replace(b"Content-Length: ", b"Content-Length: -"),
    "huge length": POST.replace(b"Content-Length: ", b"Content-Length: 99999999999999999999"),
    "two lengths": POST.replace(b"Content-Length", b"Content-Length: 5\r\nContent-Length"),
    "length and chunks": POST.replace(b"Content-Length", b"Transfer-Encoding: chunked\r\nContent-Length"),
    "unknown coding": POST.replace(b"Content-Length", b"Transfer-Encoding: gzip\r\nContent-Length"),
    "content that is no gzip": POST.replace(b"Content-Length", b"Content-Encoding: gzip\r\nContent-Length"),
    "chunk without size": CHUNKED + b"\r\nabc\r\n0\r\n\r\n",
    "chunk of letters": CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n",
    "chunk that is short": CHUNKED + b"ff\r\nabc",
    "chunk that is long": CHUNKED + b"1\r\nabcdef\r\n0\r\n\r\n",
    "huge chunk": CHUNKED + b"fffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "very long chunk extension": CHUNKED + b"1;" + b"x" * 100_000 + b"\r\na\r\n0\r\n\r\n",
    "odd trailers": CHUNKED + b"2\r\n{}\r\n0\r\nno trailer\r\n\r\n",
    "unknown expectation": POST.replace(b"Content-Length", b"Expect: wonders\r\nContent-Length"),
    "upload that ends early": b"PUT /_upload/x HTTP/1.1\r\nHost: x\r\nContent-Range: bytes 0-9/10\r\nContent-Length: 10\r\n\r\nab",
    "pipelined, the second bad": GET + b"\x00\x01\x02\r\n\r\n" + GET,
    "much pipelined": GET * 200,
    "pipelined bodies": POST * 20 + GET,
}


class Served:
    """A server, and clients of it."""

    def __init__(self, origin: str) -> None:
        parts = urlsplit(origin)
        self._address = parts.hostname or "", parts.port or 0

    async def send(self, content: bytes, *, pieces: int = 1, answers: int | None = None) -> bytes:
        """Send bytes, and return the response.

        Until there are so many answers; or until it has been quiet for a moment, and then, with our half of the connection closed, until
        the server closes its own.
        """
        reader, writer = await asyncio.open_connection(*self._address)
        received = bytearray()
        try:
            with suppress(ConnectionError):  # it need not hear us out
                for number in range(pieces):
                    size = -(-len(content) // pieces)
                    writer.write(content[number * size : (number + 1) * size])
                    await writer.drain()
                while answers is None or len(statuses(received)) < answers:
                    async with asyncio.timeout(QUIET if answers is None else WAIT):
                        piece = await reader.read(65536)
                    if not piece:
                        break
                    received += piece
        except TimeoutError:
            with suppress(ConnectionError):
                writer.write_eof()
                async with asyncio.timeout(WAIT):
                    received += await reader.read()
        finally:
            writer.close()
        return bytes(received)

    async def is_well(self) -> bool:
        """Whether a normal request gets a response."""
        return statuses(await self.send(GET, answers=1)) == [200]


@asynccontextmanager
async def serving(caplog: pytest.LogCaptureFixture) -> AsyncGenerator[Served]:
    """Serve an emulator, and check afterwards that no failure was logged."""
    with caplog.at_level(logging.WARNING):
        async with serve(Emulator(EmulatorSettings(limits=None))) as origin:
            yield Served(origin)
    assert [record.getMessage() for record in caplog.records] == []


def statuses(answers: bytes | bytearray) -> list[int]:
    """The statuses of pipelined responses. No body looks like a status line."""
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answers)]


async def statuses_of(server: Served, cases: Iterable[tuple[str, bytes, int]]) -> set[int]:
    """Send each case (its name, the bytes, in how many pieces), many at a time, and see that none of them makes anything fail.

    Returns:
        The statuses that were answered.
    """
    waiting = iter(cases)
    seen: set[int] = set()

    async def work() -> None:
        for name, content, pieces in waiting:
            found = statuses(await server.send(content, pieces=pieces))
            assert all(status < 500 or status == 501 for status in found), (name, content, found)
            seen.update(found)

    await asyncio.gather(*(work() for _ in range(40)))
    assert await server.is_well()
    return seen


@pytest.mark.asyncio
async def test_known_cases(caplog: pytest.LogCaptureFixture) -> None:
    """A malformed request, whole or in pieces, gets a 4xx, a success or no response, and the next client is served."""
    async with serving(caplog) as server:
        seen = await statuses_of(server, ((name, content, pieces) for name, content in CASES.items() for pieces in (1, 7)))

    assert {200, 201, 400} <= seen


@pytest.mark.asyncio
async def test_pipelining(caplog: pytest.LogCaptureFixture) -> None:
    """Pipelined requests are answered in order, all of them."""
    async with serving(caplog) as server:
        found = statuses(await server.send(GET * 50 + POST * 10 + GET, answers=61))

    assert found == [200] * 50 + [201] * 10 + [200]


@pytest.mark.asyncio
async def test_clients_that_stay(caplog: pytest.LogCaptureFixture) -> None:
    """Idle connections, and those with half a request, do not keep other requests waiting."""
    async with serving(caplog) as server:
        host, port = server._address  # pyright: ignore[reportPrivateUsage]
        idle = [await asyncio.open_connection(host, port) for _ in range(50)]
        for number, (_, writer) in enumerate(idle):
            writer.write(POST[: number * 3])
        assert await server.is_well()
        for _, writer in idle:
            writer.close()
        assert await server.is_well()


def damaged(random: Random) -> bytes:
    """A good request or one of the cases, with a few bytes changed, repeated, removed or inserted, followed by a good request."""
    whole = random.choice([GET, POST, CHUNKED + b"35\r\n" + BODY + b"\r\n0\r\n\r\n", *CASES.values()])
    content = bytearray(whole[:5000] + GET)
    for _ in range(random.randrange(1, 6)):
        at = random.randrange(len(content))
        match random.randrange(4):
            case 0:
                content[at] = random.randrange(256)
            case 1:
                del content[at : at + random.randrange(1, 20)]
            case 2:
                content[at:at] = content[at : at + random.randrange(1, 40)]
            case _:
                content[at:at] = random.choice([b"\r\n", b"\x00", b":", b"Content-Length: 3\r\n", b"%", b"\xff\xfe"])
    return bytes(content)


@pytest.mark.asyncio
async def test_damaged(caplog: pytest.LogCaptureFixture) -> None:
    """Randomly damaged requests cause no failure of the server."""
    random = Random("malformed")  # the same in every run
    async with serving(caplog) as server:
        seen = await statuses_of(
            server, ((f"number {number}", damaged(random), random.choice([1, 1, 2, 5])) for number in range(examples(1000)))
        )

    assert {200, 400, 401, 404} <= seen
