"""Real-time spaces, which Mux ended in 2023: from create to the last event, against the emulator."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mux_async.models import Broadcast, Space
from mux_async.signing import Signer, TokenRefusedError, verify
from mux_async.webhooks import UnknownEvent, parse_event
from tests.emulator.test_client import emulated

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.virtual_time,
    pytest.mark.filterwarnings("ignore:Mux ended real-time spaces:DeprecationWarning"),
]

EVENTS = {
    *(f"video.space.{name}" for name in ("created", "active", "idle", "updated", "deleted")),
    *(f"video.space.broadcast.{name}" for name in ("created", "active", "idle", "deleted")),
}


async def test_life() -> None:
    """A space is made, joined with tokens, broadcast and deleted; all nine events come, typed, and tell of it in order."""
    async with emulated() as (emulator, mux):
        key = await mux.system.signing_keys.create()
        signer = Signer(key.id, key.private_key, clock=lambda: emulator.now)
        stream = await mux.video.live_streams.create(playback_policies=["public"])
        spaces: Any = mux.video.spaces  # pyright, strict, reports every use of what is deprecated
        space = await spaces.create(passthrough="room 5")

        host = verify(
            signer.sign_space(space.id, role="publisher", participant_id="ann", expires_in="2h30m"),
            signer.public_keys,
            audience="rt",
            subject=space.id,
            now=emulator.now,
        )
        assert (host.claims["role"], host.claims["participant_id"]) == ("publisher", "ann")
        with pytest.raises(TokenRefusedError, match="'rt' is required"):
            verify(signer.sign(space.id), signer.public_keys, audience="rt", now=emulator.now)

        emulator.spaces.join(space.id, str(host.claims["participant_id"]))
        assert (await spaces.retrieve(space.id)).status == "active"
        broadcast = await spaces.create_broadcast(space.id, live_stream_id=stream.id)
        await spaces.start_broadcast(space.id, broadcast.id)
        assert (await spaces.retrieve_broadcast(space.id, broadcast.id)).status == "active"
        await spaces.stop_broadcast(space.id, broadcast.id)
        await spaces.delete_broadcast(space.id, broadcast.id)
        emulator.spaces.leave(space.id, "ann")
        assert [found.id async for found in spaces.list()] == [space.id]
        await spaces.delete(space.id)

        events = [parse_event(json.loads(event.body)) for event in emulator.events if ".space." in event.type]

    assert {event.type for event in events} == EVENTS
    assert not [event for event in events if isinstance(event, UnknownEvent)]
    for event in events:
        assert isinstance(event.data, Broadcast if ".broadcast." in event.type else Space)
        assert event.data.id == (broadcast.id if ".broadcast." in event.type else space.id)
    assert [event.type.removeprefix("video.space.") for event in events] == [
        "created",
        "active",
        "broadcast.created",
        "updated",
        "broadcast.active",
        "broadcast.idle",
        "broadcast.deleted",
        "updated",
        "idle",
        "deleted",
    ]
