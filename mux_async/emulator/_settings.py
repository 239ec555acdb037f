"""How an emulator is set up: who may call it, how fast, and how its media behave."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import attrs

from mux_async import Secret
from mux_async.emulator.media._backend import Studio
from mux_async.emulator.media._probe import Probe, synthetic_probe
from mux_async.limits import Bucket

LimitModel: TypeAlias = Literal["token-bucket", "fixed-window", "sliding-window"]
"""How an allowance is counted; see `RateRules`."""

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
"""Everything a token can be allowed (the form is a guess: facts/BEHAVIOUR.md, section 12, question 25)."""


@attrs.frozen
class Token:
    """An access token: HTTP Basic with *id* and *secret*, and a bearer token when *bearer* is given.

    Attributes:
        id: User name.
        secret: Password.
        environment: Name of the environment it belongs to; the environment exists because a token names it.
        bearer: Accepted as ``Authorization: Bearer ...`` too; ``None`` for no bearer.
        permissions: What it may do; any token may ask whoami.
        name: As whoami shows it.
    """

    id: str
    secret: Secret = attrs.field(converter=Secret)
    environment: str = "development"
    bearer: Secret | None = attrs.field(default=None, converter=attrs.converters.optional(Secret))
    permissions: tuple[str, ...] = ALL_PERMISSIONS
    name: str = "emulator token"


DEFAULT_TOKEN = Token("test-token", "test-secret")

PUBLISHED_RATES: Mapping[Bucket, float] = {
    Bucket.POST: 1.0,
    Bucket.OTHER: 5.0,
    Bucket.REALTIME_DATA: 1.0,
    Bucket.GENERAL_DATA: 5.0,
}
"""Requests per second, sustained: facts/BEHAVIOUR.md, section 2.1."""


@attrs.frozen
class RateRules:
    """The rate limits. ``None`` in place of them means that there are none.

    Attributes:
        model: ``token-bucket`` refills steadily; ``fixed-window`` starts afresh every ``capacity / rate`` seconds;
            ``sliding-window`` lets at most ``capacity`` through in any ``capacity / rate`` seconds.
        rates: Requests per second of each bucket, above 0.
        burst: Capacity of each bucket as a multiple of its rate, so also the length of a window in seconds; at least 1.
        scope: Whether the tokens of all environments share the buckets, or those of one.
        retry_after: Whether a 429 says how long to wait; Mux was not seen to (facts/BEHAVIOUR.md, section 2.3).
        headers: Whether answers carry ``X-RateLimit-Limit`` (the capacity) and ``X-RateLimit-Remaining``.
        body: Which of the two shapes a 429 has: ``{"errors": [..]}`` as recorded, or ``{"error": {..}}``.
    """

    model: LimitModel = "token-bucket"
    rates: Mapping[Bucket, float] = PUBLISHED_RATES
    burst: float = attrs.field(default=5.0, validator=attrs.validators.ge(1.0))
    scope: Literal["account", "environment"] = "account"
    retry_after: bool = False
    headers: bool = False
    body: Literal["errors", "error"] = "errors"

    def capacity(self, bucket: Bucket) -> int:
        """Requests that *bucket* lets through at once when it is full; at least 1."""
        return max(1, int(self.rates[bucket] * self.burst))


@attrs.frozen
class WebhookSettings:
    """An endpoint that exists from the start, besides those made through ``/system/v1/webhooks``.

    Attributes:
        url: Absolute, http or https.
        secret: Signs what is sent there, as text; empty makes one up.
        environment: Name of the environment whose events are sent; ``None`` sends those of all.
    """

    url: str = attrs.field(validator=attrs.validators.matches_re(r"https?://\S+"))
    secret: Secret = attrs.field(default=Secret(""), converter=Secret)
    environment: str | None = None


@attrs.frozen
class WebhookRetries:
    """When a delivery that was not answered 2xx is tried again. Mux says 24 hours and no more (facts/BEHAVIOUR.md, section 7.1).

    Attributes:
        first: Seconds before the second attempt; doubles with each further one.
        longest: Most seconds between two attempts.
        until: Seconds after the event when it is given up.
        timeout: Seconds an endpoint has to answer; not scaled, because the endpoint lives in its own time.
    """

    first: float = attrs.field(default=60.0, validator=attrs.validators.gt(0.0))
    longest: float = attrs.field(default=3600.0, validator=attrs.validators.gt(0.0))
    until: float = attrs.field(default=24 * 3600.0, validator=attrs.validators.ge(0.0))
    timeout: float = attrs.field(default=5.0, validator=attrs.validators.gt(0.0))


@attrs.frozen
class EmulatorSettings:
    """Everything that can be chosen about an emulator.

    Attributes:
        tokens: Who may call; the first one's environment is the main one.
        limits: The rate limits, or ``None``.
        time_to_ready: Seconds from creating an asset (or a rendition, track, master) to its being ready; 0 or more.
        probe: Says what a medium is, or why it cannot be used; see `mux_async.emulator.Probe`.
        media: Makes films of what is uploaded or fetched, and pictures of them (`mux_async.emulator.media.MediaWorker`); ``None`` makes
            everything up, by *probe*. Whoever made it closes it.
        can_delete_preparing: Whether DELETE of a preparing asset succeeds, as in 2020, or is a 400, as in 2026 (facts/BEHAVIOUR.md,
            section 4.2).
        accept_robots_terms: Whether the terms of Robots v1 are accepted from the start. Otherwise v1 answers 403 until they are: by
            `Emulator.accept_robots_terms`, or ``POST /_emulator/robots/terms``.
        store: Folder that uploaded bytes are kept in, one file per upload named by its id; ``None`` drops them, unless *media* needs
            them.
        public_origin: What upload URLs begin with; ``None`` takes it from each request.
        allowed_hosts: Names or addresses, without a port, under which the page and the control calls (``/_emulator``) may be used,
            besides those of this machine and the address that a server listens at; also of pages that may call them.
        seed: Makes ids. The same seed and the same calls give the same ids.
        max_arrivals: How many `Arrival` values are remembered.
        max_body: Bytes of an API request's body; more is a 413. Uploads have no limit.
        account: Name of the organisation, in whoami.
        stub: Whether everything is answered from the description of the API alone, without memory: any request that fits it, for any
            id. Tokens, rate limits and faults are as ever.
        state: File that everything is kept in, over restarts and crashes; made when it is not there. Its seed wins over *seed*. ``None``
            keeps nothing. With it, call `Emulator.close` at the end.
        time_scale: How many times as fast Mux's time runs: work, windows, time limits, life spans and retries take so many times
            fewer seconds, above 0. Time stamps, signatures and rate limits stay those of the clock.
        instant: Whether what Mux works on is done at once. What waits for somebody (windows, time limits, life spans, retries)
            still takes its time.
        webhooks: Endpoints that exist from the start.
        webhook_retries: When deliveries are tried again.
        max_events: How many events, and how many deliveries that ended, are remembered.
        drm_configurations: How many DRM configurations Mux has provisioned for each environment.
    """

    tokens: tuple[Token, ...] = attrs.field(default=(DEFAULT_TOKEN,), validator=attrs.validators.min_len(1))
    limits: RateRules | None = RateRules()
    time_to_ready: float = attrs.field(default=1.0, validator=attrs.validators.ge(0.0))
    probe: Probe = synthetic_probe
    media: Studio | None = None
    can_delete_preparing: bool = False
    accept_robots_terms: bool = False
    store: Path | None = None
    public_origin: str | None = None
    allowed_hosts: tuple[str, ...] = ()
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

    @property
    def upload_folder(self) -> Path | None:
        """Where uploaded bytes go; ``None`` drops them."""
        return self.store if self.store is not None or self.media is None else self.media.uploads
