"""The addresses to which an encoder sends a live stream (facts/BEHAVIOUR.md, section 6.3)."""

from __future__ import annotations

from typing import Final, Literal, Protocol, TypeAlias
from urllib.parse import quote

import attrs

from mux_async._models.model import hidden
from mux_async._tracebacks import hides_locals
from mux_async.errors import InvalidRequestError

Region: TypeAlias = Literal["global", "us-east", "us-west", "eu-west"]
"""Where an encoder connects; ``global`` takes the nearest."""
_HOSTS: Final = {
    "global": "global-live.mux.com",
    "us-east": "us-east.live.mux.com",
    "us-west": "us-west.live.mux.com",
    "eu-west": "eu-west.live.mux.com",
}


@attrs.frozen
class IngestAddresses:
    """Settings for an encoder. The stream key is a secret that allows broadcasting: ``repr`` omits every field that contains it."""

    rtmps_url: str
    """Server URL, over TLS; most encoders have separate fields for server and key."""
    rtmp_url: str
    """Server URL without encryption: the key crosses the network in clear text."""
    stream_key: str = attrs.field(repr=hidden)
    rtmps_publish_url: str = attrs.field(repr=hidden)
    """Server URL with the key, for encoders with one field, such as ``ffmpeg``."""
    rtmp_publish_url: str = attrs.field(repr=hidden)
    srt_url: str | None = attrs.field(repr=hidden)
    """SRT URL with key and passphrase; ``None`` when the live stream has no passphrase."""


class _HasStreamKey(Protocol):
    @property
    def stream_key(self) -> str: ...

    @property
    def srt_passphrase(self) -> str | None: ...


class LiveIngest:
    """A base class of `mux_async.models.LiveStream`."""

    __slots__ = ()

    def ingest(self: _HasStreamKey, region: Region = "global") -> IngestAddresses:
        """Return the addresses to which an encoder sends this stream.

        Args:
            region: ``global`` resolves to the nearest region; the others are fixed.

        Raises:
            InvalidRequestError: The region does not exist.
        """
        return ingest_addresses(self.stream_key, self.srt_passphrase, region)


@hides_locals
def ingest_addresses(stream_key: str, srt_passphrase: str | None = None, region: Region = "global") -> IngestAddresses:
    """Return the addresses to which an encoder sends, for a stream key that was not read from an API response.

    Raises:
        InvalidRequestError: The region does not exist, or the key is empty.
    """
    if region not in _HOSTS:
        raise InvalidRequestError(f"the region {region!r:.80} does not exist; use one of {', '.join(_HOSTS)}")
    if not stream_key:
        raise InvalidRequestError("the stream key is empty")
    server = _HOSTS[region]
    rtmp, rtmps = f"rtmp://{server}:5222/app", f"rtmps://{server}:443/app"
    key = quote(stream_key, safe="")
    srt = f"srt://{server}:6001?streamid={key}&passphrase={quote(srt_passphrase, safe='')}" if srt_passphrase else None
    return IngestAddresses(rtmps, rtmp, stream_key, f"{rtmps}/{key}", f"{rtmp}/{key}", srt)
