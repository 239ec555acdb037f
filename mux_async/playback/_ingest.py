"""Where an encoder sends a live stream (facts/BEHAVIOUR.md, section 6.3)."""

from __future__ import annotations

from typing import Final, Literal, Protocol, TypeAlias
from urllib.parse import quote

import attrs

from mux_async._models.model import hidden
from mux_async._tracebacks import hides_locals
from mux_async.errors import InvalidRequestError

Region: TypeAlias = Literal["global", "us-east", "us-west", "eu-west"]
_HOSTS: Final = {
    "global": "global-live.mux.com",
    "us-east": "us-east.live.mux.com",
    "us-west": "us-west.live.mux.com",
    "eu-west": "eu-west.live.mux.com",
}


@attrs.frozen
class IngestAddresses:
    """What goes into an encoder's settings. Whoever has the key can broadcast: ``repr`` leaves out what holds it."""

    rtmps_url: str
    """Server, over TLS; most encoders ask for server and key in two fields."""
    rtmp_url: str
    """Server, not encrypted: the key crosses the network in the clear."""
    stream_key: str = attrs.field(repr=hidden)
    rtmps_publish_url: str = attrs.field(repr=hidden)
    """Server and key in one, for encoders with one field, ``ffmpeg`` for example."""
    rtmp_publish_url: str = attrs.field(repr=hidden)
    srt_url: str | None = attrs.field(repr=hidden)
    """With key and passphrase in it; ``None`` when the live stream has no passphrase."""


class _Broadcast(Protocol):
    @property
    def stream_key(self) -> str: ...

    @property
    def srt_passphrase(self) -> str | None: ...


class LiveIngest:
    """What `mux_async.models.LiveStream` is built on."""

    __slots__ = ()

    def ingest(self: _Broadcast, region: Region = "global") -> IngestAddresses:
        """Return the addresses that an encoder sends to.

        Args:
            region: ``global`` finds the nearest; the others stay where they are.

        Raises:
            InvalidRequestError: There is no such region.
        """
        return ingest_addresses(self.stream_key, self.srt_passphrase, region)


@hides_locals
def ingest_addresses(stream_key: str, srt_passphrase: str | None = None, region: Region = "global") -> IngestAddresses:
    """Return the addresses that an encoder sends to, for a stream key from somewhere else than an answer of Mux.

    Raises:
        InvalidRequestError: There is no such region, or no key.
    """
    if region not in _HOSTS:
        raise InvalidRequestError(f"there is no region {region!r:.80}; there are {', '.join(_HOSTS)}")
    if not stream_key:
        raise InvalidRequestError("the stream key is empty")
    server = _HOSTS[region]
    rtmp, rtmps = f"rtmp://{server}:5222/app", f"rtmps://{server}:443/app"
    key = quote(stream_key, safe="")
    srt = f"srt://{server}:6001?streamid={key}&passphrase={quote(srt_passphrase, safe='')}" if srt_passphrase else None
    return IngestAddresses(rtmps, rtmp, stream_key, f"{rtmps}/{key}", f"{rtmp}/{key}", srt)
