"""The state of the emulator: mutable records without behaviour, and the lookups over them.

Members that are ``None`` are absent in JSON: Mux leaves absent members out (facts/BEHAVIOUR.md, section 1.2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, TypeVar

import attrs

from mux_async.emulator._settings import EmulatorSettings, RobotsPlan
from mux_async.emulator.faults._faults import WebhookFaults, WorkFaults
from mux_async.emulator.http._messages import invalid, not_found
from mux_async.emulator.media._probe import InputProblem, MediaInfo
from mux_async.emulator.state._ids import IdGenerator, is_well_formed
from mux_async.emulator.state._records import (
    Annotation,
    DeliveredAsset,
    Delivery,
    Directive,
    DirectiveRun,
    DrmConfiguration,
    Job,
    LiveIngest,
    PlaybackRestriction,
    Record,
    Recording,
    Shots,
    Space,
    Vocabulary,
    WatchedView,
    WebhookEndpoint,
    WebhookEvent,
    WebInput,
)
from mux_async.emulator.state._scheduler import Scheduler
from mux_async.emulator.state._upload_sessions import UploadSession

T = TypeVar("T")
Json: TypeAlias = dict[str, Any]
TIER_HEIGHTS = {"1080p": 1080, "1440p": 1440, "2160p": 2160}


@attrs.define
class PlaybackId:
    """A way to play an asset or a live stream."""

    id: str
    policy: str
    drm_configuration_id: str | None = None


@attrs.define
class Track:
    """A part of an asset's media."""

    id: str
    type: Literal["video", "audio", "text"]
    status: Literal["preparing", "ready", "errored", "skipped", "deleted"] | None = None
    duration: float | None = None
    max_width: int | None = None
    max_height: int | None = None
    max_frame_rate: float | None = None
    max_channels: int | None = None
    primary: bool | None = None
    text_type: str | None = None
    text_source: str | None = None
    language_code: str | None = None
    name: str | None = None
    closed_captions: bool | None = None
    passthrough: str | None = None
    auto_language_confidence: float | None = None


@attrs.define
class StaticRendition:
    """A file to download."""

    id: str | None
    name: str
    ext: str
    resolution: str | None = None
    type: str | None = None
    status: Literal["preparing", "ready", "skipped", "errored"] | None = None
    width: int | None = None
    height: int | None = None
    bitrate: int | None = None
    filesize: str | None = None
    resolution_tier: str | None = None
    passthrough: str | None = None


@attrs.define(eq=False)
class Asset(Record):
    """An asset. ``options`` are those it was created with, in their normal form (`mux_async.emulator.resources._asset_options`)."""

    ready_at: float
    options: Json
    ingest_type: str
    status: Literal["preparing", "ready", "errored"] = "preparing"
    test: bool = False
    upload_id: str | None = None
    live_stream_id: str | None = None
    source_asset_id: str | None = None
    passthrough: str | None = None
    meta: Json | None = None
    thumbnail_time: float | None = None
    playback_ids: list[PlaybackId] = attrs.field(factory=list[PlaybackId])
    tracks: list[Track] = attrs.field(factory=list[Track])
    media: MediaInfo | None = None
    problem: InputProblem | None = None
    static_renditions: list[StaticRendition] = attrs.field(factory=list[StaticRendition])
    mp4_support: str = "none"
    mp4_status: Literal["preparing", "ready", "errored"] = "preparing"
    master_access: str = "none"
    master_status: Literal["preparing", "ready", "errored"] = "preparing"
    is_live: bool = False
    """Whether a live stream is being recorded into it."""
    recordings: list[Recording] = attrs.field(factory=list[Recording])
    shots: Shots | None = None
    pushed: MediaInfo | None = None
    """What an encoder pushes, once a part of it is stored. ``None`` if the encoder of the live stream is simulated."""

    @property
    def stored_height(self) -> int:
        """Pixels of the smaller side as stored: those of the input, up to the requested tier. 0 for audio."""
        return 0 if self.media is None else self.stored_height_of(self.media)

    def stored_height_of(self, media: MediaInfo) -> int:
        """Return what `stored_height` is when the asset holds *media*."""
        tier = self.options.get("max_resolution_tier", "1080p")
        return min(media.short_side, TIER_HEIGHTS[tier]) if media.has_video else 0


@attrs.define(eq=False)
class Upload(Record):
    """A direct upload. ``options`` are the new asset's."""

    timeout: int
    options: Json
    session: UploadSession
    origin: str
    status: Literal["waiting", "asset_created", "errored", "cancelled", "timed_out"] = "waiting"
    cors_origin: str | None = None
    test: bool = False
    asset_id: str | None = None
    problem: InputProblem | None = None


@attrs.define
class SimulcastTarget:
    """Where a live stream is sent on to."""

    id: str
    url: str
    status: Literal["idle", "starting", "broadcasting", "errored"] = "idle"
    stream_key: str | None = None
    passthrough: str | None = None
    error_severity: Literal["normal", "fatal"] | None = None


@attrs.define(eq=False)
class LiveStream(Record):
    """A live stream. ``members`` are those that are echoed as they were given."""

    stream_key: str
    srt_passphrase: str
    options: Json
    members: Json
    status: Literal["idle", "active", "disabled"] = "idle"
    playback_ids: list[PlaybackId] = attrs.field(factory=list[PlaybackId])
    simulcast_targets: list[SimulcastTarget] = attrs.field(factory=list[SimulcastTarget])
    recent_asset_ids: list[str] = attrs.field(factory=list[str])
    """Newest last."""
    ingest: LiveIngest = attrs.field(factory=LiveIngest)


@attrs.define(eq=False)
class SigningKey(Record):
    """A key pair; the private half was shown once and is not kept."""

    public_pem: bytes = attrs.field(repr=False)


@attrs.frozen
class Owner:
    """Whose playback id it is."""

    type: Literal["asset", "live_stream"]
    id: str


@attrs.define(eq=False)
class Environment:
    """Everything of one environment, in order of creation."""

    id: str
    name: str
    assets: dict[str, Asset] = attrs.field(factory=dict[str, Asset])
    uploads: dict[str, Upload] = attrs.field(factory=dict[str, Upload])
    live_streams: dict[str, LiveStream] = attrs.field(factory=dict[str, LiveStream])
    signing_keys: dict[str, SigningKey] = attrs.field(factory=dict[str, SigningKey])
    playback: dict[str, Owner] = attrs.field(factory=dict[str, Owner])
    playback_restrictions: dict[str, PlaybackRestriction] = attrs.field(factory=dict[str, PlaybackRestriction])
    vocabularies: dict[str, Vocabulary] = attrs.field(factory=dict[str, Vocabulary])
    drm_configurations: dict[str, DrmConfiguration] = attrs.field(factory=dict[str, DrmConfiguration])
    web_inputs: dict[str, WebInput] = attrs.field(factory=dict[str, WebInput])
    spaces: dict[str, Space] = attrs.field(factory=dict[str, Space])
    jobs: dict[str, Job] = attrs.field(factory=dict[str, Job])
    directives: dict[str, Directive] = attrs.field(factory=dict[str, Directive])
    directive_runs: dict[str, DirectiveRun] = attrs.field(factory=dict[str, DirectiveRun])
    has_robots_terms: bool = False
    """Whether the terms of Robots v1 are accepted."""
    robots_plan: RobotsPlan | None = None
    """What may be done with Robots; ``None`` for what the settings say."""
    delivered: dict[str, DeliveredAsset] = attrs.field(factory=dict[str, DeliveredAsset])
    """By asset id; see `mux_async.emulator.resources._usage`."""
    webhooks: dict[str, WebhookEndpoint] = attrs.field(factory=dict[str, WebhookEndpoint])
    annotations: dict[str, Annotation] = attrs.field(factory=dict[str, Annotation])
    watched_views: dict[str, WatchedView] = attrs.field(factory=dict[str, WatchedView])
    """By the player's id of the view; see `mux_async.emulator.data._beacons`."""

    def one(self, records: Mapping[str, T], id: str, malformed: str = "Failed to parse ID", *missing: str) -> T:
        """Return the record with this *id*; raise `ApiError` 400 with the message *malformed*, or 404 with the message *missing*."""
        if id in records:
            return records[id]
        raise not_found(*missing) if is_well_formed(id) else invalid(malformed)

    def asset(self, id: str) -> Asset:
        """Return an asset, or raise as `one` does."""
        return self.one(self.assets, id, f'Asset id "{id}" was invalid')

    def live_stream(self, id: str) -> LiveStream:
        """Return a live stream, or raise as `one` does."""
        return self.one(self.live_streams, id, "Invalid live stream id, failed to parse")


@attrs.define(eq=False)
class State:
    """The whole account, its clock and the scheduled steps."""

    settings: EmulatorSettings
    id_generator: IdGenerator
    now: float
    scheduler: Scheduler = attrs.field(factory=Scheduler)
    environments: dict[str, Environment] = attrs.field(factory=dict[str, Environment])
    """By name."""
    counter: int = 0
    origin: str = "http://emulator.test"
    """The origin of URLs that are made outside of requests: that of the last request."""
    events: list[WebhookEvent] = attrs.field(factory=list[WebhookEvent])
    """The last that happened, oldest first; see `EmulatorSettings.max_events`."""
    emitted: int = 0
    """Number of events so far, including those that `events` does not keep any more."""
    deliveries: dict[str, Delivery] = attrs.field(factory=dict[str, Delivery])
    """Their deliveries, in the order of scheduling."""
    outbox: list[str] = attrs.field(factory=list[str])
    """Ids of the deliveries that are due, for the sender to take."""
    webhook_faults: WebhookFaults = attrs.field(factory=WebhookFaults)
    work_faults: WorkFaults = attrs.field(factory=WorkFaults)

    @classmethod
    def create(cls, settings: EmulatorSettings, now: float, *, generation: int = 0) -> State:
        """Make an account with the environments that the tokens name. *generation* counts earlier runs with the same state."""
        id_generator = IdGenerator(settings.seed, generation)
        state = cls(settings, id_generator, now)
        for token in settings.tokens:
            if token.environment not in state.environments:
                environment = Environment(id_generator.named("environment", token.environment), token.environment)
                state.environments[token.environment] = environment
                for _ in range(settings.drm_configurations):
                    configuration = DrmConfiguration(id_generator.id("drm configuration"))
                    environment.drm_configurations[configuration.id] = configuration
        for hook in settings.webhooks:
            secret = hook.secret.reveal() or id_generator.opaque("webhook secret", 40)
            endpoint = WebhookEndpoint(*state.identity("webhook"), hook.url, secret)
            for environment in state.environments.values():
                if hook.environment in {None, environment.name}:
                    environment.webhooks[endpoint.id] = attrs.evolve(endpoint)
        return state

    def work(self, seconds: float, step: str, environment: Environment, subject: str) -> None:
        """Schedule the end of work of Mux: *seconds* from now, sooner on a time scale, at once with ``instant``."""
        self._plan(0.0 if self.settings.instant else seconds, step, environment, subject)

    def wait(self, seconds: float, step: str, environment: Environment, subject: str) -> None:
        """Schedule the end of a period (a window, a time limit, a life span): sooner on a time scale."""
        self._plan(seconds, step, environment, subject)

    def _plan(self, seconds: float, step: str, environment: Environment, subject: str) -> None:
        self.scheduler.add(self.now + seconds / self.settings.time_scale, step, environment.id, subject)

    def media_seconds(self, began: float, ended: float | None = None) -> float:
        """How much media was recorded since *began* (epoch seconds): more than the clock says, on a time scale."""
        return round(max(0.0, (self.now if ended is None else ended) - began) * self.settings.time_scale, 3)

    def next_number(self) -> int:
        """Number the next object of any kind."""
        self.counter += 1
        return self.counter

    def identity(self, kind: str) -> tuple[str, int, float]:
        """Return id, number and time of a new `Record` whose id is of this kind."""
        return self.id_generator.id(kind), self.next_number(), self.now

    def environment_by_id(self, id: str) -> Environment:
        """Return the environment with this *id*, which exists."""
        return next(environment for environment in self.environments.values() if environment.id == id)

    def find(self, records: Callable[[Environment], Mapping[str, T]], id: str) -> tuple[Environment, T] | None:
        """Return the record with this *id* from the same mapping of any environment, and its environment."""
        for environment in self.environments.values():
            if id in records(environment):
                return environment, records(environment)[id]
        return None

    def find_playback(self, id: str) -> tuple[Environment, Owner] | None:
        """Return the owner of a playback id, in any environment."""
        return self.find(lambda environment: environment.playback, id)

    def find_upload(self, id: str) -> tuple[Environment, Upload] | None:
        """Return an upload, in any environment."""
        return self.find(lambda environment: environment.uploads, id)

    def find_asset(self, id: str) -> tuple[Environment, Asset]:
        """Return an asset, in any environment, or raise `ApiError` (404)."""
        found = self.find(lambda environment: environment.assets, id)
        if found is None:
            raise not_found()
        return found
