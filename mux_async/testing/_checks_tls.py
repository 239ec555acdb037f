"""Checks of TLS: nothing is sent to a server that is not who it should be. They make their certificates with ``trustme``."""

from __future__ import annotations

import ssl

from mux_async.errors import ConnectError, Delivery, Phase
from mux_async.testing._bench import BODIES, SocketBench, expect, expect_alive, expect_failure, failing, request, socket_check
from mux_async.testing.loopback import Peer, Reply, Site, always, talk

_alive = talk(always(Reply(body=b"alive")))


@socket_check
async def untrusted_certificate(bench: SocketBench) -> None:
    """A certificate that is not trusted, or is for another name, is a permanent `ConnectError`; the right one is asked for once."""
    trusted, server = make_certificates("127.0.0.1")
    _also_trusted, wrong_name = make_certificates("elsewhere.test")
    for context, client in ((server, None), (wrong_name, _also_trusted), (wrong_name, trusted)):
        async with bench.listen(_alive, tls=context) as site, bench.transport(ssl_context=client) as transport:
            for method, body in BODIES.items():
                error = await failing(transport.send(request(site, method=method, body=body)), ConnectError)
                expect_failure(error, Delivery.NEVER_SENT, Phase.CONNECT)
                expect(error.is_permanent, f"{error!r} is not said to be permanent, and certificates do not get better")
            expect(not site.requests, "a request was sent to a server that is not trusted")
    async with bench.listen(_alive, tls=server) as site, bench.transport(ssl_context=trusted) as transport:
        await expect_alive(transport, site)
        await expect_alive(transport, site)
        expect(site.connections == 1, "a TLS connection was not used again")


@socket_check
async def no_tls_at_the_other_end(bench: SocketBench) -> None:
    """A server that closes, or talks plain HTTP, in the handshake is a `ConnectError`."""

    async def close(peer: Peer) -> None:
        await peer.receive()

    async def plain(peer: Peer) -> None:
        await peer.receive()
        await peer.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    for conversation in (close, plain):
        async with bench.listen(conversation) as site, bench.transport() as transport:
            secure = Site(site.origin.replace("http:", "https:"))
            for method, body in BODIES.items():
                error = await failing(transport.send(request(secure, method=method, body=body)), ConnectError)
                expect_failure(error, Delivery.NEVER_SENT, Phase.CONNECT)


def make_certificates(name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make an authority; return a context for clients that trust it, and one for a server of *name*."""
    try:
        import trustme
    except ImportError:
        raise ImportError("the checks of TLS need trustme: pip install trustme") from None
    authority = trustme.CA()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nothing else, whose certificates would take time to load
    authority.configure_trust(client)  # pyright: ignore[reportUnknownMemberType] - names pyOpenSSL's types
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(server)  # pyright: ignore[reportUnknownMemberType]
    return client, server
