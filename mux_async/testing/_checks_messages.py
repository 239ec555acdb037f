"""Checks of whole messages: what was asked for is sent, what was answered is returned. They need no sockets."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Callable

import anyio

from mux_async.errors import TransportClosedError
from mux_async.testing._bench import Bench, Upload, exchange, expect, expect_alive, failing, message_check, read, request
from mux_async.testing.loopback import Received, Reply, always

_alive = always(Reply(body=b"alive"))


@message_check
async def status_and_headers(bench: Bench) -> None:
    """Any status is an answer, with its headers as they came: in order, repeated, found in any case."""
    statuses = [200, 201, 400, 401, 404, 412, 429, 500, 503]
    for status in statuses:
        headers = [("X-Request-Id", "abc"), ("X-Part", "one"), ("x-part", "two"), ("Content-Type", "text/plain")]
        async with bench.serve(always(Reply(status, headers, b"x"))) as site, bench.transport() as transport:
            response, content = await exchange(transport, site)

            expect(response.status == status, f"status {status} came out as {response.status}")
            expect(content == b"x", "the body of an error status was lost")
            expect(response.headers.get("x-REQUEST-id") == "abc", "headers are not found regardless of case")
            expect(response.headers.getall("X-Part") == ["one", "two"], "a repeated header lost a value, or its order")


@message_check
async def empty_body(bench: Bench) -> None:
    """A body of no bytes, and an answer that can have none, end at once without a piece."""
    for reply in (Reply(200), Reply(204), Reply(200, (), [])):
        async with bench.serve(always(reply)) as site, bench.transport() as transport:
            response, content = await exchange(transport, site)

            expect(response.status == reply.status, "the status is wrong")
            expect(content == b"", "bytes came out of an empty body")


@message_check
async def large_body(bench: Bench) -> None:
    """A body of five megabytes arrives byte for byte, with its length known before or not."""
    content = bytes(range(256)) * 20_000
    pieces = [content[at : at + 70_001] for at in range(0, len(content), 70_001)]
    for body in (content, pieces):
        async with bench.serve(always(Reply(body=body))) as site, bench.transport() as transport:
            _response, received = await exchange(transport, site)

            expect(received == content, f"{len(content)} bytes were sent and {len(received)} arrived, or others")


@message_check
async def body_taken_whole(bench: Bench) -> None:
    """Where bodies can be taken whole (`WholeBody`), it is all of them or nothing yet, and the transport serves on."""
    for size in (0, 1000, 3_000_000):
        content = b"w" * size
        async with bench.serve(always(Reply(body=content))) as site, bench.transport() as transport:
            for _ in range(2):
                response = await transport.send(request(site))
                take: Callable[[], bytes | None] | None = getattr(response.body, "take_whole", None)
                taken = take() if take is not None else None
                received = await read(response) if taken is None else taken
                await response.body.aclose()

                expect(received == content, f"a body of {size} bytes was taken whole as {len(received)} bytes, or others")


@message_check
async def request_methods(bench: Bench) -> None:
    """Every method is sent as it is, and an answer to HEAD has headers and no body."""
    async with bench.serve(_alive) as site, bench.transport() as transport:
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            _response, content = await exchange(transport, site, method=method)

            expect(site.requests[-1].method == method, f"{method} was sent as {site.requests[-1].method}")
            expect(content == (b"" if method == "HEAD" else b"alive"), f"the body of an answer to {method} is wrong")


@message_check
async def request_body_of_bytes(bench: Bench) -> None:
    """Bytes are sent with their length, however many there are."""
    async with bench.serve(_alive) as site, bench.transport() as transport:
        for size in (1, 1000, 3_000_000):
            content = b"q" * size
            await exchange(transport, site, method="POST", body=content)
            received = site.requests[-1]

            expect(received.body == content, f"a body of {size} bytes arrived as {len(received.body)}, or changed")
            expect(received.headers.get("Content-Length") == str(size), "Content-Length is wrong")


@message_check
async def request_without_body(bench: Bench) -> None:
    """No body means no bytes, no chunked encoding, and a length of 0 or none at all."""
    async with bench.serve(_alive) as site, bench.transport() as transport:
        for method in ("GET", "POST", "PUT", "DELETE"):
            await exchange(transport, site, method=method)
            headers = site.requests[-1].headers

            expect("Transfer-Encoding" not in headers, f"{method} without a body was sent chunked")
            expect(headers.get("Content-Length", "0") == "0", f"{method} without a body was sent with a length")
            expect("Content-Type" not in headers, f"{method} without a body was given a Content-Type")


@message_check
async def streamed_body_with_length(bench: Bench) -> None:
    """A stream of known length is sent with ``Content-Length``, and its generator is closed."""
    upload = Upload(5, 40_000, length=200_000)
    async with bench.serve(_alive) as site, bench.transport() as transport:
        await exchange(transport, site, method="PUT", body=upload.body)
        received = site.requests[-1]

        expect(received.body == upload.content, "the streamed bytes arrived changed")
        expect(received.headers.get("Content-Length") == "200000", "Content-Length is not what the body declares")
        expect("Transfer-Encoding" not in received.headers, "a body of known length was sent chunked")
        upload.expect_closed()


@message_check
async def streamed_body_without_length(bench: Bench) -> None:
    """A stream of unknown length is sent chunked, an empty one too, and its generator is closed."""
    for upload in (Upload(5, 40_000), Upload(0)):
        async with bench.serve(_alive) as site, bench.transport() as transport:
            await exchange(transport, site, method="PUT", body=upload.body)
            received = site.requests[-1]

            expect(received.body == upload.content, "the streamed bytes arrived changed")
            expect("Content-Length" not in received.headers, "a length was made up for a body of unknown length")
            upload.expect_closed()


@message_check
async def error_of_the_body_itself(bench: Bench) -> None:
    """What the caller's generator raises reaches the caller untouched; nothing is left open, and the next request works."""
    async with bench.serve(_alive) as site, bench.transport() as transport:
        for cause in (OSError(5, "the disk broke"), RuntimeError("the caller broke")):
            upload = Upload(3, 1000, length=3000)
            upload.failure = cause
            error = await failing(transport.send(request(site, method="PUT", body=upload.body)), type(cause))

            expect(error is cause, f"{error!r} was raised in the place of the generator's own {cause!r}")
            upload.expect_closed()
        await expect_alive(transport, site)


@message_check
async def url_as_it_stands(bench: Bench) -> None:
    """The URL is sent character by character: nothing is decoded, quoted again, sorted or collapsed."""
    targets = [
        "/a%2Fb%20c/%7Ex/~x?x=%5B%5D&y=a+b&z=%2B",
        "/video/v1/assets?page=2&limit=100&filters[]=country:US&filters[]=a%3Db",
        "/upload/%E2%82%AC%e2%82%ac?Signature=a%2Bb%2F%3D%3D&Expires=1&Signature=again&empty=&bare",
        "/a;b,c/(d)!*'?q=it's(fine)*",
    ]
    async with bench.serve(_alive) as site, bench.transport() as transport:
        for target in targets:
            await exchange(transport, site, target)

            expect(site.requests[-1].target == target, f"{target!r} was sent as {site.requests[-1].target!r}")


@message_check
async def headers_as_given(bench: Bench) -> None:
    """The headers of the request are sent, and no others but those that frame the message and name the host."""
    allowed = {"host", "content-length", "transfer-encoding", "connection", "keep-alive"}
    given = {
        "User-Agent": "mux-async/test (as given)",
        "Authorization": "Basic dDpz",
        "X-Empty": "",
        "Accept": "application/json",
    }
    async with bench.serve(_alive) as site, bench.transport() as transport:
        for body in (None, b"{}"):
            await exchange(transport, site, method="POST", headers=given, body=body)
            headers = site.requests[-1].headers

            for name, value in given.items():
                expect(headers.getall(name, []) == [value], f"{name}: {value!r} arrived as {headers.getall(name, [])!r}")
            added = {name.lower() for name in headers} - {name.lower() for name in given} - allowed
            expect(not added, f"headers were added behind the caller's back: {sorted(added)}")


@message_check
async def redirect_without_location(bench: Bench) -> None:
    """A 308 without ``Location`` (how a resumable upload says "go on") is an answer like any other."""
    reply = Reply(308, [("Range", "bytes=0-262143")])
    async with bench.serve(always(reply)) as site, bench.transport() as transport:
        response, content = await exchange(transport, site, method="PUT", body=b"x" * 10)

        expect(response.status == 308 and content == b"", "308 did not come back as it was")
        expect(response.headers.get("Range") == "bytes=0-262143", "the Range header was lost")


@message_check
async def redirect_to_another_host(bench: Bench) -> None:
    """No redirect is followed, so that no credentials reach a host they were not meant for."""
    async with bench.serve(_alive) as other:
        locations = [other.origin + "/stolen", "http://[not-a-url", "/relative"]
        for status in (301, 302, 303, 307, 308):
            for location in locations:
                reply = Reply(status, [("Location", location)], b"moved")
                async with bench.serve(always(reply)) as site, bench.transport() as transport:
                    response, content = await exchange(transport, site, headers={"Authorization": "Basic c2VjcmV0"})

                    expect(response.status == status and content == b"moved", f"a {status} did not come back as it was")
                    expect(len(site.requests) == 1, f"a {status} was followed on the same host")
        expect(not other.requests, "a redirect to another host was followed")


@message_check
async def compressed_body(bench: Bench) -> None:
    """A compressed body comes out compressed, with the header that says so: even one that would unpack to thirty megabytes."""
    for size in (100, 30_000_000):
        packed = _packed(size)
        reply = Reply(200, [("Content-Encoding", "gzip")], packed)
        async with bench.serve(always(reply)) as site, bench.transport() as transport:
            response, content = await exchange(transport, site)

            expect(content == packed, f"a body of {len(packed)} bytes came out as {len(content)}")
            expect(response.headers.get("Content-Encoding") == "gzip", "Content-Encoding was lost")


@functools.cache
def _packed(size: int) -> bytes:
    return gzip.compress(bytes(size), mtime=0)


@message_check
async def no_cookies(bench: Bench) -> None:
    """A cookie that a server sets is shown in the answer's headers and never sent back."""
    reply = Reply(200, [("Set-Cookie", "session=1; Path=/"), ("Set-Cookie", "b=2")], b"")
    async with bench.serve(always(reply)) as site, bench.transport() as transport:
        response, _content = await exchange(transport, site)
        await exchange(transport, site)

        expect(len(response.headers.getall("Set-Cookie")) == 2, "a Set-Cookie header was lost")
        expect("Cookie" not in site.requests[-1].headers, "a cookie was kept and sent")


@message_check
async def many_at_once(bench: Bench) -> None:
    """Requests at the same time do not mix: each gets the answer to itself."""
    wrong: list[str] = []
    async with bench.serve(lambda received: Reply(body=received.target.encode())) as site, bench.transport() as transport:

        async def one(number: int) -> None:
            _response, content = await exchange(transport, site, f"/{number}")
            if content != f"/{number}".encode():
                wrong.append(f"/{number} got {content!r}")

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(one, number)

    expect(not wrong, f"answers were mixed up: {wrong}")


@message_check
async def body_closed(bench: Bench) -> None:
    """A body may be closed unread, in the middle, after its end, and again; the next request works."""
    content = b"z" * 300_000

    def script(received: Received) -> Reply:
        return Reply(body=b"alive" if received.target == "/alive" else content)

    async with bench.serve(script) as site, bench.transport() as transport:
        for pieces in (0, 1, 1000):
            response = await transport.send(request(site, "/long"))
            async for _piece in response.body:
                pieces -= 1
                if pieces <= 0:
                    break
            await response.body.aclose()
            await response.body.aclose()
            await expect_alive(transport, site)

        unread = await transport.send(request(site, "/long"))
        await unread.body.aclose()
        await expect_alive(transport, site)


@message_check
async def closed_twice(bench: Bench) -> None:
    """``aclose`` may be called again, and on a transport that was never used."""
    async with bench.serve(_alive) as site:
        async with bench.transport() as unused:
            await unused.aclose()
            await unused.aclose()
        async with bench.transport() as transport:
            await expect_alive(transport, site)
            await transport.aclose()
            await transport.aclose()


@message_check
async def used_after_closing(bench: Bench) -> None:
    """After ``aclose`` a request is refused by `TransportClosedError`, and nothing is sent."""
    upload = Upload()
    async with bench.serve(_alive) as site, bench.transport() as transport:
        await transport.aclose()
        await failing(transport.send(request(site, method="PUT", body=upload.body)), TransportClosedError)

        expect(not site.requests, "a closed transport sent a request")
        upload.expect_closed()


@message_check
async def response_read_once(bench: Bench) -> None:
    """Reading in two goes, with a pause between, gives the body once and whole."""
    content = bytes(range(256)) * 2000
    async with bench.serve(always(Reply(body=content))) as site, bench.transport() as transport:
        response = await transport.send(request(site))
        first = await anext(aiter(response.body))
        rest = await read(response)

        expect(first + rest == content, "bytes were lost or repeated between two goes at the body")
