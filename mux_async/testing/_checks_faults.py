"""Checks of what goes wrong between two machines: each failure says what may have reached the server, and in which phase it came."""

from __future__ import annotations

import socket

import anyio
import attrs

from mux_async.errors import ConnectError, Delivery, Phase, TransportError, TransportTimeoutError
from mux_async.testing._bench import (
    BODIES,
    LONG,
    PATIENCE,
    SHORT_CONNECT,
    SHORT_READ,
    SHORT_WRITE,
    SocketBench,
    Upload,
    exchange,
    expect,
    expect_alive,
    expect_failure,
    failing,
    read,
    request,
    sending,
    socket_check,
)
from mux_async.testing.loopback import Peer, Reply, Site, always, talk
from mux_async.transport import HttpRequest

_alive = talk(always(Reply(body=b"alive")))


@socket_check
async def refused_connection(bench: SocketBench) -> None:
    """A refused connection is a `ConnectError`: nothing was sent, the generator of the body not even begun or closed again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        site = Site(f"http://127.0.0.1:{taken.getsockname()[1]}")
    async with bench.transport() as transport:
        for method, body in BODIES.items():
            error = await failing(transport.send(request(site, method=method, body=body)), ConnectError)
            expect_failure(error, Delivery.NEVER_SENT, Phase.CONNECT)
            expect(not error.is_permanent, f"{error!r} is said to be permanent; a refusal may pass")
        upload = Upload()
        await failing(transport.send(request(site, method="PUT", body=upload.body)), ConnectError)
        upload.expect_closed()


@socket_check
async def unusable_url(bench: SocketBench) -> None:
    """A URL that no connection can be made for is a `ConnectError`, and its message shows nothing of the query."""
    async with bench.transport() as transport:
        for url in (
            "ftp://127.0.0.1/?Signature=secret",
            "http://127.0.0.1:99999/?Signature=secret",
            "http:///?Signature=secret",
            "http://[::1/?Signature=secret",
        ):
            error = await failing(transport.send(HttpRequest("GET", url)), ConnectError)
            expect(error.is_permanent, f"{error!r} is not said to be permanent")
            shown: BaseException | None = error
            while shown is not None:
                expect("secret" not in str(shown), f"a message shows the query of the URL: {shown!r}")
                shown = shown.__cause__ or shown.__context__


@socket_check
async def lost_before_an_answer(bench: SocketBench) -> None:
    """A connection reset or closed after the request and before an answer: it may have been processed, and was sent once."""

    async def reset(peer: Peer) -> None:
        await peer.request()
        await peer.reset()

    half_a_head, no_http = sending(b"HTTP/1.1 200 OK\r\nContent-Le"), sending(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
    for conversation in (reset, sending(), half_a_head, no_http):
        async with bench.listen(conversation) as site, bench.transport() as transport:
            for sent, (method, body) in enumerate(BODIES.items(), 1):
                error = await failing(transport.send(request(site, method=method, body=body)), TransportError)

                expect_failure(error, Delivery.MAYBE_PROCESSED, Phase.READ_HEAD)
                expect(not isinstance(error, ConnectError | TransportTimeoutError), f"it is no matter of {error!r}")
                expect(len(site.requests) == sent, f"a {method} was put on the wire {len(site.requests) - sent + 1} times")
            upload = Upload(3, 1000, length=3000)
            error = await failing(transport.send(request(site, method="PUT", body=upload.body)), TransportError)
            expect_failure(error, Delivery.MAYBE_PROCESSED, Phase.READ_HEAD)
            upload.expect_closed()


@socket_check
async def lost_on_a_kept_connection(bench: SocketBench) -> None:
    """A kept connection that the server cuts at the second request: whatever the verb, the request is on the wire once."""

    async def conversation(peer: Peer) -> None:
        if await peer.request() is not None:
            await peer.reply(Reply(body=b"first"))
        if await peer.request() is not None:
            await peer.reset()

    for method, body in BODIES.items():
        async with bench.listen(conversation) as site, bench.transport() as transport:
            await exchange(transport, site)
            error = await failing(transport.send(request(site, "/second", method=method, body=body)), TransportError)

            expect_failure(error, Delivery.MAYBE_PROCESSED, Phase.READ_HEAD, Phase.WRITE)
            seconds = [received for received in site.requests if received.target == "/second"]
            expect(len(seconds) == 1, f"{method} was put on the wire {len(seconds)} times by one send")


@socket_check
async def stale_kept_connection(bench: SocketBench) -> None:
    """A kept connection that the server closed while idle: one send is on the wire once at most, and says so truly."""

    async def conversation(peer: Peer) -> None:
        received = await peer.request()
        if received is not None:
            await peer.reply(Reply(body=b"answer"))

    for method, body in BODIES.items():
        async with bench.listen(conversation) as site, bench.transport() as transport:
            await exchange(transport, site)
            await site.wait_idle()
            count = 0
            try:
                await exchange(transport, site, "/second", method=method, body=body)
                count = 1
            except TransportError as error:
                count = -1 if error.delivery is Delivery.NEVER_SENT else 0
            seconds = sum(received.target == "/second" for received in site.requests)

            expect(seconds <= 1, f"{method} was put on the wire {seconds} times by one send")
            expect(count != 1 or seconds == 1, f"{method} gave an answer to a request that never arrived")
            expect(count != -1 or seconds == 0, f"{method} is said never to have been sent, and it arrived")


@socket_check
async def broken_body(bench: SocketBench) -> None:
    """An answer whose body breaks off (short of its length, between chunks, reset) was answered in part."""
    bodies = {
        "short": b"Content-Length: 1000\r\n\r\n" + b"x" * 100,
        "between chunks": b"Transfer-Encoding: chunked\r\n\r\n64\r\n" + b"x" * 100 + b"\r\n",
        "in a chunk": b"Transfer-Encoding: chunked\r\n\r\nffff\r\n" + b"x" * 100,
    }
    for body in bodies.values():
        async with bench.listen(sending(b"HTTP/1.1 200 OK\r\n" + body)) as site, bench.transport() as transport:
            response = await transport.send(request(site))
            error = await failing(read(response), TransportError)

            expect_failure(error, Delivery.ANSWERED, Phase.READ_BODY)
            await response.body.aclose()
            await site.wait_idle()


@socket_check
async def reset_in_the_body(bench: SocketBench) -> None:
    """A reset between two pieces of a body was answered in part."""
    got_first = anyio.Event()

    async def conversation(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 100)
        await got_first.wait()
        await peer.reset()

    async with bench.listen(conversation) as site, bench.transport() as transport:
        response = await transport.send(request(site, method="POST", body=b"{}"))
        await anext(aiter(response.body))
        got_first.set()
        error = await failing(read(response), TransportError)

        expect_failure(error, Delivery.ANSWERED, Phase.READ_BODY)


@socket_check
async def silence_before_an_answer(bench: SocketBench) -> None:
    """A server that takes the request and says nothing: a timeout of the read, and it may have been processed."""
    async with bench.listen(sending(waits=True)) as site, bench.transport() as transport:

        async def send(method: str, body: bytes | None) -> None:
            error = await failing(
                transport.send(request(site, method=method, body=body, timeouts=SHORT_READ)), TransportTimeoutError
            )
            expect_failure(error, Delivery.MAYBE_PROCESSED, Phase.READ_HEAD)

        async with anyio.create_task_group() as tasks:
            for method, body in BODIES.items():
                tasks.start_soon(send, method, body)
        await _left(site)
        for method in BODIES:
            sent = [received.method for received in site.requests].count(method)
            expect(sent == 1, f"a {method} that timed out was sent {sent} times")


@socket_check
async def silence_in_the_body(bench: SocketBench) -> None:
    """A body that stops coming: a timeout, answered in part."""
    begun = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 100
    async with bench.listen(sending(begun, waits=True)) as site, bench.transport() as transport:
        response = await transport.send(request(site, timeouts=SHORT_READ))
        error = await failing(read(response), TransportTimeoutError)

        expect_failure(error, Delivery.ANSWERED, Phase.READ_BODY)
        await response.body.aclose()
        await _left(site)


@socket_check
async def slow_but_steady(bench: SocketBench) -> None:
    """The read timeout is for silence: a body that takes longer in all, and never pauses as long, arrives."""

    async def conversation(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            await anyio.sleep(0.1)
            await peer.send(b"x")

    timeouts = attrs.evolve(LONG, read=0.7)
    async with bench.listen(conversation) as site, bench.transport() as transport:
        _response, content = await exchange(transport, site, timeouts=timeouts)

        expect(content == b"x" * 8, "a slow body did not arrive whole")


@socket_check
async def silence_while_connecting(bench: SocketBench) -> None:
    """A handshake that nobody answers: a timeout of the connection, and nothing was sent."""
    async with bench.listen(Peer.wait_closed) as site, bench.transport() as transport:
        secure = Site(site.origin.replace("http:", "https:"))

        async def send(method: str, body: bytes | None) -> None:
            error = await failing(
                transport.send(request(secure, method=method, body=body, timeouts=SHORT_CONNECT)), TransportTimeoutError
            )
            expect_failure(error, Delivery.NEVER_SENT, Phase.CONNECT)

        async with anyio.create_task_group() as tasks:
            for method, body in BODIES.items():
                tasks.start_soon(send, method, body)
        await _left(site)


@socket_check
async def no_free_connection(bench: SocketBench) -> None:
    """Waiting in vain for one of ``max_connections`` is a timeout of the connection; the next request gets one."""
    release = anyio.Event()

    async def conversation(peer: Peer) -> None:
        while await peer.request() is not None:
            await release.wait()
            await peer.reply(Reply(body=b"alive"))

    async with bench.listen(conversation) as site, bench.transport(max_connections=1) as transport:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(expect_alive, transport, site)
            while not site.requests:
                await anyio.lowlevel.checkpoint()
            error = await failing(
                transport.send(request(site, method="POST", body=b"{}", timeouts=SHORT_CONNECT)), TransportTimeoutError
            )
            expect_failure(error, Delivery.NEVER_SENT, Phase.CONNECT)
            expect(len(site.requests) == 1, "a request without a connection was sent")
            release.set()
        await expect_alive(transport, site)


@socket_check
async def upload_that_nobody_reads(bench: SocketBench) -> None:
    """An upload that the server stops reading: a timeout, the generator is asked for no more than buffers hold, and closed."""

    async def conversation(peer: Peer) -> None:
        await peer.head()
        await anyio.sleep(PATIENCE)

    upload = Upload(10_000, 100_000)
    async with bench.listen(conversation) as site, bench.transport() as transport:
        error = await failing(
            transport.send(request(site, method="PUT", body=upload.body, timeouts=SHORT_WRITE)), TransportTimeoutError
        )

        expect_failure(error, Delivery.MAYBE_PROCESSED, Phase.WRITE, Phase.READ_HEAD)
        expect(upload.given < 64_000_000, f"{upload.given} bytes were taken from the generator and could not be sent")
        upload.expect_closed()


@socket_check
async def upload_cut_off(bench: SocketBench) -> None:
    """An upload that the server cuts in the middle may have been processed, and the generator is closed."""

    async def conversation(peer: Peer) -> None:
        await peer.head()
        await peer.receive()
        await peer.reset()

    upload = Upload(10_000, 100_000)
    async with bench.listen(conversation) as site, bench.transport() as transport:
        error = await failing(transport.send(request(site, method="PUT", body=upload.body)), TransportError)

        expect_failure(error, Delivery.MAYBE_PROCESSED, Phase.WRITE, Phase.READ_HEAD)
        upload.expect_closed()


@socket_check
async def answer_before_the_upload_ended(bench: SocketBench) -> None:
    """A server that answers early and closes: its answer comes out, or a failure that may have been processed; nothing stays open."""

    async def conversation(peer: Peer) -> None:
        received = await peer.head()
        if received is not None and received.target == "/alive":
            await peer.reply(Reply(200, [("Connection", "close")], b"alive"))
            return
        await peer.receive()
        await peer.reply(Reply(413, [("Connection", "close")], b"too large"))

    upload = Upload(10_000, 100_000)
    async with bench.listen(conversation) as site, bench.transport() as transport:
        try:
            with anyio.fail_after(PATIENCE):
                response = await transport.send(request(site, method="PUT", body=upload.body))
        except TransportError as error:
            expect_failure(error, Delivery.MAYBE_PROCESSED, Phase.WRITE, Phase.READ_HEAD)
        else:
            expect(response.status == 413, f"the early answer came out as {response.status}")
            await response.body.aclose()
        upload.expect_closed()
        await expect_alive(transport, site)


@socket_check
async def body_of_another_length(bench: SocketBench) -> None:
    """A streamed body that gives more or less than it declares is a `TransportError`; the server never gets a whole request."""
    async with bench.listen(_alive) as site, bench.transport() as transport:
        for declared in (2000, 4000):
            upload = Upload(3, 1000, length=declared)
            await failing(transport.send(request(site, method="PUT", body=upload.body)), TransportError)

            expect(not any(received.is_complete for received in site.requests), "a request of a wrong length was completed")
            upload.expect_closed()
        await expect_alive(transport, site)


async def _left(site: Site) -> None:
    with anyio.move_on_after(PATIENCE):
        await site.wait_idle()
    expect(not site.open, f"{site.open} connections that timed out were left open")
