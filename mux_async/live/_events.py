"""What happens to a live stream, as one kind of value: whether a webhook said so or a look at the API."""

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
"""Names of Mux's events (facts/BEHAVIOUR.md, section 6.2). Others, such as ``video.live_stream.simulcast_target.errored``, come too."""

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
"""Events of a stream of which a newer one makes the older ones old news."""
ASSET_STATES: Final = (ASSET_CREATED, ASSET_READY, ASSET_ERRORED, ASSET_COMPLETED, ASSET_DELETED)
"""Events of a recording, none of which comes after one further right."""


@attrs.frozen(kw_only=True)
class LiveEvent:
    """Something that happened to a live stream, or to a recording of it.

    Attributes:
        type: Mux's name for it, such as ``video.live_stream.active``.
        live_stream_id: The live stream.
        asset_id: The recording that it is about: of this broadcast, or the asset itself. ``None`` where there is none, or it is not known.
        created_at: When it happened; what was found by looking has the time of the look. UTC.
        live_stream: The stream as it was then; ``None`` for events that do not carry it.
        asset: The asset as it was then; ``None`` for events about the stream.
        webhook: The event as it was delivered; ``None`` when it was found by looking.
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
        """Id of what it is about: the asset or the live stream."""
        return self.asset_id or self.live_stream_id if self.type.startswith("video.asset.") else self.live_stream_id

    @property
    def is_state(self) -> bool:
        """Whether it says how its subject stands, so that a newer one replaces it."""
        return self.type in STREAM_STATES or self.type in ASSET_STATES


def read_webhook(event: Event) -> LiveEvent | None:
    """Return what a delivery says of a live stream; ``None`` when it is about something else."""
    kind: object = getattr(event, "type", None)
    if not isinstance(kind, str) or not (kind in ASSET_STATES or kind.startswith("video.live_stream.")):
        return None
    data: object = getattr(event, "data", None)
    at: object = getattr(event, "created_at", None)  # whatever stood there
    if not isinstance(data, Model) or not isinstance(at, dt.datetime):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=dt.UTC)
    wire = data.to_wire()
    said = cast("WebhookEvent", event)
    own, parent = _text(wire, "id"), _text(wire, "live_stream_id")
    if kind in ASSET_STATES:
        if own is None or parent is None:
            return None
        from mux_async.models import Asset

        return LiveEvent(
            type=kind, live_stream_id=parent, asset_id=own, created_at=at, asset=Asset.from_wire(wire), webhook=said
        )
    stream_id = parent or own  # events about a stream's parts name it besides
    if stream_id is None:
        return None
    if kind.count(".") > 2 or "stream_key" not in wire or "latency_mode" not in wire:
        return LiveEvent(type=kind, live_stream_id=stream_id, created_at=at, webhook=said)
    from mux_async.models import LiveStream

    stream = LiveStream.from_wire(wire)
    asset_id = last_asset(stream) if kind == IDLE else stream.active_asset_id
    return LiveEvent(type=kind, live_stream_id=stream_id, asset_id=asset_id, created_at=at, live_stream=stream, webhook=said)


def last_asset(stream: LiveStream) -> str | None:
    """Return the newest recording of a stream that is not on air (facts/BEHAVIOUR.md, section 6.1: the newest is the last)."""
    return stream.recent_asset_ids[-1] if stream.recent_asset_ids else None


def _text(wire: dict[str, object], name: str) -> str | None:
    value = wire.get(name)
    return value if isinstance(value, str) else None
