"""The certificates of the server: which one a client gets, by the name that it asks for (SNI)."""

from __future__ import annotations

import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from mux_async.emulator.http._addresses import domain_name, is_within
from mux_async.emulator.tls._authority import LEAF_LIFE, Authority, utc

MOST = 32
"""Certificates that are kept, besides the usual one of each authority."""


class ServerCertificates:
    """Issues certificates when clients ask for them, and again before they expire. Their keys are in memory only.

    Args:
        authorities: The first issues the certificate for clients that send no name, or one that no authority may certify.
        clock: Gives epoch seconds.
    """

    def __init__(self, authorities: Sequence[Authority], clock: Callable[[], float] = time.time) -> None:
        self.authorities: tuple[Authority, ...] = tuple(authorities)
        self._clock = clock
        self._contexts: OrderedDict[tuple[str, ...], tuple[ssl.SSLContext, float]] = OrderedDict()

    def ssl_context(self) -> ssl.SSLContext:
        """Return a context for a server."""
        context = self._context(self.authorities[0], self.authorities[0].names)
        context.sni_callback = self._choose
        return context

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        try:
            asked = domain_name(name or "", labels=1)
        except ValueError:
            asked = ""
        connection.context = self._context_for(asked)

    def _context_for(self, name: str) -> ssl.SSLContext:
        authority = next((each for each in self.authorities if each.permits(name)), None)
        if authority is None:
            return self._context(self.authorities[0], self.authorities[0].names)
        is_usual = any(name == own or (own.startswith("*.") and _is_one_below(name, own[2:])) for own in authority.names)
        return self._context(authority, authority.names if is_usual else (name,))

    def _context(self, authority: Authority, names: tuple[str, ...]) -> ssl.SSLContext:
        now = self._clock()
        found = self._contexts.get(names)
        if found is not None and now < found[1]:
            self._contexts.move_to_end(names)
            return found[0]
        context = _load(authority.issue(names, utc(now)))
        self._contexts[names] = (context, now + LEAF_LIFE.total_seconds() / 2)
        while len(self._contexts) > MOST + len(self.authorities):
            self._contexts.popitem(last=False)
        return context


def _is_one_below(name: str, domain: str) -> bool:
    return name != domain and is_within(name, domain) and "." not in name.removesuffix(f".{domain}")


def _load(pem: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # The ssl module reads keys from files only.
    with TemporaryDirectory(prefix="mux-async-") as folder:
        path = Path(folder, "certificate.pem")
        path.touch(mode=0o600)
        path.write_bytes(pem)
        context.load_cert_chain(path)
    return context
