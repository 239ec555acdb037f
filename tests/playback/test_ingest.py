"""Where encoders send to."""

from __future__ import annotations

import pytest

from mux_async.errors import InvalidRequestError
from mux_async.models import LiveStream, WebhookLiveStream
from mux_async.playback import ingest_addresses

WIRE = {"id": "l1", "status": "idle", "stream_key": "key-1", "srt_passphrase": "p w&"}


def test_addresses() -> None:
    """Server and key apart, or in one; SRT with its passphrase; the same for what a webhook brings."""
    found = LiveStream.from_wire(WIRE).ingest()

    assert (found.rtmps_url, found.rtmp_url, found.stream_key) == (
        "rtmps://global-live.mux.com:443/app",
        "rtmp://global-live.mux.com:5222/app",
        "key-1",
    )
    assert found.rtmps_publish_url == "rtmps://global-live.mux.com:443/app/key-1"
    assert found.rtmp_publish_url == "rtmp://global-live.mux.com:5222/app/key-1"
    assert found.srt_url == "srt://global-live.mux.com:6001?streamid=key-1&passphrase=p%20w%26"
    assert WebhookLiveStream.from_wire(WIRE).ingest() == found == ingest_addresses("key-1", "p w&")


def test_regions() -> None:
    """A region has a host of its own; without a passphrase there is no SRT address."""
    found = ingest_addresses("key-1", region="eu-west")

    assert (found.rtmps_url, found.srt_url) == ("rtmps://eu-west.live.mux.com:443/app", None)
    with pytest.raises(InvalidRequestError, match="region 'moon' does not exist; use one of global, us-east, us-west, eu-west"):
        ingest_addresses("key-1", region="moon")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="stream key is empty"):
        ingest_addresses("")


def test_secret() -> None:
    """What is printed shows neither key nor passphrase."""
    shown = repr(LiveStream.from_wire(WIRE).ingest()) + repr(LiveStream.from_wire(WIRE))

    assert "key-1" not in shown
    assert "p%20w" not in shown
    assert "p w" not in shown
