"""Records of all objects other than assets, uploads and live streams: mutable values without behaviour.

As in `mux_async.emulator.state._state`, members that are ``None`` are absent in JSON. All values are JSON values, bytes or nested records.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import attrs

Json: TypeAlias = dict[str, Any]

DeliveryStatus: TypeAlias = Literal["waiting", "sending", "delivered", "failed", "lost", "dropped"]
"""``waiting`` for its time, ``sending`` (passed to the sender), ``delivered`` (answered 2xx), ``failed`` (given up), ``lost``
(on purpose), ``dropped`` (its endpoint is gone or disabled)."""


@attrs.define(eq=False)
class Record:
    """What most objects have: an id, their place in the order of creation (which lists and cursors go by), and epoch seconds."""

    id: str
    number: int
    created_at: float


@attrs.define(eq=False)
class UpdatedRecord(Record):
    """The same, for objects with a time of their last update."""

    updated_at: float = attrs.field(default=attrs.Factory(lambda record: record.created_at, takes_self=True), kw_only=True)


@attrs.define(eq=False)
class Annotation:
    """A note on a date. Unlike elsewhere, a ``None`` is null on the wire: as the Data API writes it."""

    id: str
    date: int
    """Epoch seconds."""
    note: str
    sub_property_id: str | None = None


@attrs.define
class BeaconEvent:
    """An event that a player reported. *number* is its place in the view; *at* is in epoch milliseconds, by the emulator's clock.

    *position* in the video and what *played* of the view until then are in milliseconds, and ``None`` where the player did not say.
    """

    number: int
    name: str
    at: int
    position: int | None
    played: int | None
    details: Json


@attrs.define(eq=False)
class WatchedView:
    """A view as the beacons of a player reported it. Times are epoch milliseconds by the emulator's clock.

    Attributes:
        id: As the player calls it.
        updated_at: When the last beacon arrived.
        last_at: Time of the event with the highest number.
        user_agent: Header of the first beacon.
        values: The last value of each field, after the number of the event that had it.
        events: Those that are shown, by their numbers.
        offset: Of the emulator's clock from the viewer's, in milliseconds.
        started_at: When playback was asked for; ``None`` before that.
        ended_at: When the player ended the view, or was heard of last; ``None`` while it goes on.
        owner: What of the account is watched: fields of a view, empty for videos from elsewhere.
        revision: Counts changes.
    """

    id: str
    updated_at: int
    last_at: int
    offset: int
    user_agent: str = ""
    values: Json = attrs.field(factory=dict[str, Any])
    events: list[BeaconEvent] = attrs.field(factory=list[BeaconEvent])
    last_number: int = 0
    started_at: int | None = None
    ended_at: int | None = None
    owner: Json = attrs.field(factory=dict[str, Any])
    revision: int = 0


JobStatus: TypeAlias = Literal["pending", "processing", "completed", "errored", "cancelled"]


@attrs.define(eq=False)
class PlaybackRestriction(UpdatedRecord):
    """Which pages and which programs may play."""

    referrer: Json
    user_agent: Json


@attrs.define(eq=False)
class Vocabulary(UpdatedRecord):
    """Words that live captions should get right."""

    phrases: list[str]
    name: str | None = None
    passthrough: str | None = None


@attrs.define(eq=False)
class DrmConfiguration:
    """Provisioned by Mux; it has only an id."""

    id: str


@attrs.define
class Shots:
    """The cuts of an asset's video."""

    status: Literal["pending", "completed", "errored", "skipped", "deleted"]
    generation: int
    """Counts the shots of the asset, so that a step of earlier ones has no effect."""
    shots_manifest_url: str | None = None
    errors: Json | None = None


@attrs.define
class Recording:
    """A stretch of a live stream, as recorded: times in epoch seconds, lengths in seconds of media."""

    started_at: float
    type: Literal["content", "slate"] = "content"
    duration: float | None = None
    """``None`` while it goes on."""
    longest_segment: float = 5.0
    """Seconds, by the latency mode of the live stream."""
    first_segments: float = 1.0
    """Seconds that can be played as soon as the stream is active, in several segments."""
    stored: float | None = None
    """Seconds that are stored of what an encoder pushes; ``None`` if there is no such encoder, and the clock counts."""


@attrs.define(eq=False)
class LiveIngest:
    """What an encoder does with a live stream.

    *session* counts connections, so that a planned step of an earlier one has no effect. *asset_id* is the asset being recorded, and stays
    through a reconnect window. *draining*: the recording was ended while the encoder was connected, which is cut off a minute later.
    *push* names the connection of an encoder that sends real media; ``None`` if the encoder is simulated.
    """

    connected: bool = False
    protocol: Literal["rtmp", "srt"] = "rtmp"
    session: int = 0
    asset_id: str | None = None
    draining: bool = False
    push: str | None = None


@attrs.define(eq=False)
class WebInput(Record):
    """A web page that is recorded (legacy)."""

    url: str
    live_stream_id: str
    status: Literal["idle", "launching", "streaming"] = "idle"
    auto_launch: bool | None = None
    passthrough: str | None = None
    resolution: str | None = None
    timeout: int | None = None
    session: int = 0
    """Counts launches."""


@attrs.define(eq=False)
class Broadcast:
    """A broadcast of a space to a live stream (legacy)."""

    id: str
    live_stream_id: str
    status: Literal["idle", "active"] = "idle"
    layout: str = "gallery"
    resolution: str = "1920x1080"
    background: str | None = None
    passthrough: str | None = None


@attrs.define(eq=False)
class Space(Record):
    """A room for video calls (legacy). ``participants`` are names."""

    type: str = "server"
    status: Literal["idle", "active"] = "idle"
    passthrough: str | None = None
    active_session_id: str | None = None
    broadcasts: list[Broadcast] = attrs.field(factory=list[Broadcast])
    participants: list[str] = attrs.field(factory=list[str])


@attrs.define(eq=False)
class Job(UpdatedRecord):
    """A Robots job. ``fingerprint`` identifies what it works on, to recognise duplicates."""

    workflow: str
    asset_id: str
    parameters: Json
    fingerprint: str
    status: JobStatus = "pending"
    passthrough: str | None = None
    units_consumed: int = 0
    outputs: Json | None = None
    errors: list[Json] | None = None
    directive: Json | None = None
    version: int = 0
    """Of Robots; the versions do not see each other's jobs and directives."""


@attrs.define(eq=False)
class Directive(UpdatedRecord):
    """Robots jobs that are run together. Members are kept as they were given."""

    name: str
    subject: Json
    workflows: list[Json]
    resources: list[Json]
    version: int = 0


@attrs.define
class Node:
    """One workflow of a run: its job once it is dispatched, or the reason of its failure."""

    reference_id: str
    workflow: str
    job_id: str | None = None
    reason: str | None = None


@attrs.define(eq=False)
class DirectiveRun:
    """A directive at work on an asset. ``requested`` are the resources that were asked of the API for it."""

    id: str
    number: int
    directive_id: str
    directive: Json
    """The directive as it was then: it may be deleted meanwhile."""
    asset_id: str
    started_at: float
    status: str = "pending"
    completed_at: float | None = None
    nodes: list[Node] = attrs.field(factory=list[Node])
    requested: list[str] = attrs.field(factory=list[str])
    version: int = 0


@attrs.define(eq=False)
class DeliveredAsset:
    """What was played of an asset. It is kept after the asset was deleted, because it is billed."""

    id: str
    created_at: float
    duration: float
    encoding_tier: str
    video_quality: str
    resolution_tier: str
    live_stream_id: str | None = None
    passthrough: str | None = None
    deleted_at: float | None = None
    hours: dict[str, dict[str, float]] = attrs.field(factory=dict[str, dict[str, float]])
    """Seconds by resolution tier (``tier_1080p``) by hour (epoch seconds of its beginning, in digits)."""


@attrs.define(eq=False)
class WebhookEndpoint(Record):
    """Where events are sent to."""

    address: str
    secret: str = attrs.field(repr=False)
    enabled: bool = True


@attrs.frozen
class WebhookEvent:
    """Something that happened.

    Attributes:
        id: A UUID, the same in every delivery.
        at: Epoch seconds.
        environment: Name of the environment.
        type: ``video.asset.ready``, ...
        object_type: ``asset``, ``live``, ...
        object_id: Of that object.
        body: The whole envelope, as JSON text: exactly what is sent and signed.
    """

    id: str
    at: float
    environment: str
    type: str
    object_type: str
    object_id: str
    body: str = attrs.field(repr=False)


@attrs.frozen
class DeliveryAttempt:
    """One try to deliver.

    Attributes:
        at: Epoch seconds of its beginning.
        status: Of the answer; ``None`` when there was none.
        error: Why there was none.
    """

    at: float
    status: int | None = None
    error: str | None = None


@attrs.define(eq=False)
class Delivery:
    """The delivery of an event to one endpoint.

    Attributes:
        id: Of this delivery; two deliveries of one event to one endpoint differ in it.
        event: What is delivered.
        environment_id: Of the environment.
        endpoint_id: Of the endpoint.
        address: Of the endpoint, when this was planned.
        status: See `DeliveryStatus`.
        next_at: Epoch seconds of the next attempt; ``None`` when there is none.
        attempts: Those that ended, in order.
    """

    id: str
    event: WebhookEvent
    environment_id: str
    endpoint_id: str
    address: str
    status: DeliveryStatus = "waiting"
    next_at: float | None = None
    began_at: float | None = None
    """Epoch seconds of the attempt under way."""
    attempts: list[DeliveryAttempt] = attrs.field(factory=list[DeliveryAttempt])
