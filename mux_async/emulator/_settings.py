"""Settings of an emulator: tokens, rate limits, webhooks, media and time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import attrs

from mux_async import Secret
from mux_async.emulator.http._addresses import MUX_DOMAINS, domain_name, is_within
from mux_async.emulator.media._backend import MediaBackend
from mux_async.emulator.media._probe import Probe, synthetic_probe
from mux_async.limits import Bucket, LimitScope
from mux_async.models.shared_robots import ROBOTS_V1_WORKFLOW_VALUES, ROBOTS_WORKFLOW_VALUES

DataSource: TypeAlias = Literal["generated", "watched", "both"]
"""Where the views of the Data API come from; see `EmulatorSettings`."""
LimitModel: TypeAlias = Literal["token-bucket", "fixed-window", "sliding-window"]
"""How a rate limit counts; see `RateRules`."""

ALL_PERMISSIONS = (
    "video:read",
    "video:write",
    "data:read",
    "data:write",
    "system:read",
    "system:write",
    "robots:read",
    "robots:write",
)
"""All permissions of a token (the form is a guess: facts/BEHAVIOUR.md, section 12, question 25)."""


@attrs.frozen
class Token:
    """An access token: HTTP Basic with *id* and *secret*, and a bearer token when *bearer* is given.

    Attributes:
        id: User name.
        secret: Password.
        environment: Name of its environment. The environments are those that tokens name.
        bearer: Accepted as ``Authorization: Bearer ...`` too; ``None`` for no bearer.
        permissions: Its permissions; whoami needs none.
        name: As whoami shows it.
        priority: Which buckets of its environment its requests count against, where `RateRules.scope` depends on priorities.
    """

    id: str
    secret: Secret = attrs.field(converter=Secret)
    environment: str = "development"
    bearer: Secret | None = attrs.field(default=None, converter=attrs.converters.optional(Secret))
    permissions: tuple[str, ...] = ALL_PERMISSIONS
    name: str = "emulator token"
    priority: Literal["high", "low"] = "high"


DEFAULT_TOKEN = Token("test-token", "test-secret")
"""The access token that an emulator accepts unless its settings name others."""

PUBLISHED_RATES: Mapping[Bucket, float] = {
    Bucket.POST: 1.0,
    Bucket.OTHER: 5.0,
    Bucket.REALTIME_DATA: 1.0,
    Bucket.GENERAL_DATA: 5.0,
}
"""Requests per second, sustained: facts/BEHAVIOUR.md, section 2.1."""


@attrs.frozen
class RateRules:
    """The rate limits.

    Attributes:
        model: ``token-bucket`` refills steadily; ``fixed-window`` starts afresh every ``capacity / rate`` seconds;
            ``sliding-window`` lets at most ``capacity`` through in any ``capacity / rate`` seconds.
        rates: Requests per second of each bucket, above 0.
        burst: Capacity of each bucket as a multiple of its rate, so also the length of a window in seconds; at least 1.
        scope: Which tokens share the buckets.
        retry_after: Whether a 429 has ``Retry-After``. Mux was never seen to send it (facts/BEHAVIOUR.md, section 2.3).
        headers: Whether responses have ``X-RateLimit-Limit`` (the capacity) and ``X-RateLimit-Remaining``.
        body: The shape of a 429: ``{"errors": [..]}`` as recorded, or ``{"error": {..}}``.
    """

    model: LimitModel = "token-bucket"
    rates: Mapping[Bucket, float] = PUBLISHED_RATES
    burst: float = attrs.field(default=5.0, validator=attrs.validators.ge(1.0))
    scope: LimitScope = "account"
    retry_after: bool = False
    headers: bool = False
    body: Literal["errors", "error"] = "errors"

    def capacity(self, bucket: Bucket) -> int:
        """Requests that pass at once if *bucket* is full; at least 1."""
        return max(1, int(self.rates[bucket] * self.burst))


@attrs.frozen
class WebhookSettings:
    """A webhook endpoint that exists from the start. ``/system/v1/webhooks`` creates others.

    Attributes:
        url: Absolute, http or https.
        secret: Signing secret; empty generates one.
        environment: Name of the environment whose events are sent; ``None`` sends those of all.
    """

    url: str = attrs.field(validator=attrs.validators.matches_re(r"https?://\S+"))
    secret: Secret = attrs.field(default=Secret(""), converter=Secret)
    environment: str | None = None


@attrs.frozen
class WebhookRetries:
    """When a delivery without a 2xx response is retried. Mux documents only the 24 hours (facts/BEHAVIOUR.md, section 7.1).

    Attributes:
        first: Seconds before the second attempt; doubles with each further one.
        longest: Maximum seconds between two attempts.
        until: Seconds after the event until the delivery fails.
        timeout: Seconds that an endpoint has to respond; not scaled, because it runs in real time.
    """

    first: float = attrs.field(default=60.0, validator=attrs.validators.gt(0.0))
    longest: float = attrs.field(default=3600.0, validator=attrs.validators.gt(0.0))
    until: float = attrs.field(default=24 * 3600.0, validator=attrs.validators.ge(0.0))
    timeout: float = attrs.field(default=5.0, validator=attrs.validators.gt(0.0))


def _check_workflows(_: object, __: object, workflows: tuple[str, ...] | None) -> None:
    known = {*ROBOTS_WORKFLOW_VALUES, *ROBOTS_V1_WORKFLOW_VALUES}
    if unknown := set(workflows or ()) - known:
        raise ValueError(f"{min(unknown)!r} is not a workflow of Robots; there are {', '.join(sorted(known))}")


@attrs.frozen
class RobotsPlan:
    """What an environment may do with Robots, of both versions. More is a 403.

    Attributes:
        units: Units that its jobs of the last 30 days may have consumed before the next is refused (``robots_units_limit_exceeded``); 0
            refuses all, ``None`` is no limit.
        workflows: Names of the workflows as in paths (``find-key-moments``); others are ``robots_workflow_not_available``. ``None`` allows
            all.
    """

    units: int | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.ge(0)))
    workflows: tuple[str, ...] | None = attrs.field(default=None, validator=_check_workflows)


def _domain_names(names: Iterable[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(map(domain_name, names)))
    for name in found:
        if any(is_within(name, domain) for domain in MUX_DOMAINS):
            raise ValueError(f"{name!r} is Mux's own domain, which is served anyway")
    return found


@attrs.frozen
class EmulatorSettings:
    """Settings of an emulator.

    Attributes:
        tokens: Access tokens; the environment of the first is the main one.
        limits: The rate limits; ``None`` for none.
        time_to_ready: Seconds until a new asset (or rendition, track, master) is ready; 0 or more.
        probe: Returns what an input holds, or why it cannot be used; see `mux_async.emulator.Probe`.
        media: Converts uploaded and fetched files, and makes images of them (`mux_async.emulator.media.MediaWorker`). ``None`` generates
            media by *probe*. The emulator does not close it.
        can_delete_preparing: Whether DELETE of a preparing asset succeeds, as in 2020, or is a 400, as in 2026 (facts/BEHAVIOUR.md,
            section 4.2).
        accept_robots_terms: Whether the terms of Robots v1 are accepted from the start. Otherwise v1 answers 403 until they are: by
            `Emulator.accept_robots_terms`, or ``POST /_emulator/robots/terms``.
        robots_plan: What environments may do with Robots, until `Emulator.set_robots_plan` or ``POST /_emulator/robots/plan`` changes it.
        store: Folder for uploaded files, each named by the id of its upload. ``None`` drops them, unless *media* needs them.
        public_origin: Origin of upload URLs; ``None`` takes it from each request.
        allowed_hosts: Names or addresses, without a port, under which the page and the control calls (``/_emulator``) may be used,
            in addition to those of this machine and the address of the server. Pages of these hosts may call them too.
        domains: Custom domains for playback, as of ``custom-domain`` of Mux's players: ``stream.`` and ``image.`` before each,
            and each itself.
        seed: Seed of ids: the same seed and the same calls give the same ids.
        max_arrivals: Maximum length of the log of requests.
        max_body: Maximum bytes of a body of an API request; more is a 413. Uploads have no limit.
        account: Name of the organisation, in whoami.
        stub: Whether responses come from the API description alone, without state: for any request that fits it, and any id. Tokens, rate
            limits and faults work as usual.
        state: File that stores all state over restarts and crashes; created if missing. Its seed overrides *seed*. Call
            `Emulator.close` at the end. ``None`` stores nothing.
        time_scale: How many times as fast Mux's time runs: work, windows, time limits, life spans and retries take so many times
            fewer seconds, above 0. Time stamps, signatures and rate limits stay those of the clock.
        instant: Whether Mux's work finishes at once. Windows, time limits, life spans and retries still take their time.
        webhooks: Endpoints that exist from the start.
        webhook_retries: When deliveries are retried.
        max_events: Maximum number of events, and of ended deliveries, that are kept.
        drm_configurations: Number of DRM configurations of each environment.
        data: Which views the Data API has: those ``generated`` from the seed, those that players report with beacons (``watched``), or
            ``both``.
        max_views: Maximum number of watched views that are kept of each environment.
    """

    tokens: tuple[Token, ...] = attrs.field(default=(DEFAULT_TOKEN,), validator=attrs.validators.min_len(1))
    limits: RateRules | None = RateRules()
    time_to_ready: float = attrs.field(default=1.0, validator=attrs.validators.ge(0.0))
    probe: Probe = synthetic_probe
    media: MediaBackend | None = None
    can_delete_preparing: bool = False
    accept_robots_terms: bool = False
    robots_plan: RobotsPlan = RobotsPlan()
    store: Path | None = None
    public_origin: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    domains: tuple[str, ...] = attrs.field(default=(), converter=_domain_names)
    seed: int | str = 0
    max_arrivals: int = 100_000
    max_body: int = 1024 * 1024
    account: str = "Emulated organization"
    stub: bool = False
    state: Path | None = None
    time_scale: float = attrs.field(default=1.0, validator=attrs.validators.gt(0.0))
    instant: bool = False
    webhooks: tuple[WebhookSettings, ...] = ()
    webhook_retries: WebhookRetries = WebhookRetries()
    max_events: int = attrs.field(default=10_000, validator=attrs.validators.ge(1))
    drm_configurations: int = attrs.field(default=1, validator=attrs.validators.ge(0))
    data: DataSource = attrs.field(default="both", validator=attrs.validators.in_(get_args(DataSource)))
    max_views: int = attrs.field(default=1000, validator=attrs.validators.ge(1))

    @property
    def upload_folder(self) -> Path | None:
        """Where uploaded bytes go; ``None`` drops them."""
        return self.store if self.store is not None or self.media is None else self.media.uploads
