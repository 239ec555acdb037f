"""Events of live streams, from webhooks and from polls alike."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

import attrs

from mux_async._models.model import Model

if TYPE_CHECKING:
    from mux_async.models import Asset, LiveStream
    from mux_async.webhooks._event import Event
    from mux_async.webhooks.events import WebhookEvent

LiveEventType: TypeAlias = (
    Literal[
        "video.live_stream.created",
        "video.live_stream.connected",
        "video.live_stream.recording",
        "video.live_stream.active",
        "video.live_stream.disconnected",
        "video.live_stream.idle",
        "video.live_stream.updated",
        "video.live_stream.enabled",
        "video.live_stream.disabled",
        "video.live_stream.deleted",
        "video.live_stream.warning",
        "video.asset.created",
        "video.asset.ready",
        "video.asset.errored",
        "video.asset.live_stream_completed",
        "video.asset.deleted",
    ]
    | str
)
"""Mux's event types (facts/BEHAVIOUR.md, section 6.2), and others such as ``video.live_stream.simulcast_target.errored``."""

CREATED: Final = "video.live_stream.created"
CONNECTED: Final = "video.live_stream.connected"
RECORDING: Final = "video.live_stream.recording"
ACTIVE: Final = "video.live_stream.active"
DISCONNECTED: Final = "video.live_stream.disconnected"
IDLE: Final = "video.live_stream.idle"
ENABLED: Final = "video.live_stream.enabled"
DISABLED: Final = "video.live_stream.disabled"
DELETED: Final = "video.live_stream.deleted"
ASSET_CREATED: Final = "video.asset.created"
ASSET_READY: Final = "video.asset.ready"
ASSET_ERRORED: Final = "video.asset.errored"
ASSET_COMPLETED: Final = "video.asset.live_stream_completed"
ASSET_DELETED: Final = "video.asset.deleted"

STREAM_STATES: Final = frozenset({CONNECTED, RECORDING, ACTIVE, DISCONNECTED, IDLE, ENABLED, DISABLED, DELETED})
"""Events about the state of a stream: a newer one supersedes older ones."""
ASSET_STATES: Final = (ASSET_CREATED, ASSET_READY, ASSET_ERRORED, ASSET_COMPLETED, ASSET_DELETED)
"""Events about the state of a recording, in the order in which they occur."""


@attrs.frozen(kw_only=True)
class LiveEvent:
    """An event of a live stream or of one of its recordings.

    Attributes:
        type: Mux's event type, such as ``video.live_stream.active``.
        live_stream_id: The live stream.
        asset_id: The recording: of this broadcast, or the asset itself. ``None`` if there is no recording or it is unknown.
        created_at: Time of the event in UTC; for events that a poll found, the time of the poll.
        live_stream: The stream at that time; ``None`` for events that do not contain it.
        asset: The asset at that time; ``None`` for events about the stream.
        webhook: The webhook event; ``None`` for events that a poll found.
    """

    type: LiveEventType
    live_stream_id: str
    asset_id: str | None = None
    created_at: dt.datetime
    live_stream: LiveStream | None = attrs.field(default=None, repr=False)
    asset: Asset | None = attrs.field(default=None, repr=False)
    webhook: WebhookEvent | None = attrs.field(default=None, repr=False)

    @property
    def subject(self) -> str:
        """Id of the object of the event: the asset or the live stream."""
        return self.asset_id or self.live_stream_id if self.type.startswith("video.asset.") else self.live_stream_id

    @property
    def is_state(self) -> bool:
        """Whether the event is about the state of its subject, so that a newer one supersedes it."""
        return self.type in STREAM_STATES or self.type in ASSET_STATES


def read_webhook(event: Event) -> LiveEvent | None:
    """Return the live event in a webhook event; ``None`` if it is not about a live stream."""
    kind: object = getattr(event, "type", None)
    if not isinstance(kind, str) or not (kind in ASSET_STATES or kind.startswith("video.live_stream.")):
        return None
    data: object = getattr(event, "data", None)
    at: object = getattr(event, "created_at", None)  # may be of any type
    if not isinstance(data, Model) or not isinstance(at, dt.datetime):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=dt.UTC)
    wire = data.to_wire()
    webhook = cast("WebhookEvent", event)
    own, parent = _text(wire, "id"), _text(wire, "live_stream_id")
    if kind in ASSET_STATES:
        if own is None or parent is None:
            return None
        from mux_async.models import Asset

        return LiveEvent(
            type=kind, live_stream_id=parent, asset_id=own, created_at=at, asset=Asset.from_wire(wire), webhook=webhook
        )
    stream_id = parent or own  # events about parts of a stream have an id of their own
    if stream_id is None:
        return None
    if kind.count(".") > 2 or "stream_key" not in wire or "latency_mode" not in wire:
        return LiveEvent(type=kind, live_stream_id=stream_id, created_at=at, webhook=webhook)
    from mux_async.models import LiveStream

    stream = LiveStream.from_wire(wire)
    asset_id = last_asset(stream) if kind == IDLE else stream.active_asset_id
    return LiveEvent(type=kind, live_stream_id=stream_id, asset_id=asset_id, created_at=at, live_stream=stream, webhook=webhook)


def last_asset(stream: LiveStream) -> str | None:
    """Return the newest recording of a stream that is not on air: the last of the list (facts/BEHAVIOUR.md, section 6.1)."""
    return stream.recent_asset_ids[-1] if stream.recent_asset_ids else None


def _text(wire: dict[str, object], name: str) -> str | None:
    value = wire.get(name)
    return value if isinstance(value, str) else None
