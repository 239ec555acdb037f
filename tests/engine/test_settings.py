"""One rule for all settings: a wrong type or value is a `ConfigurationError` that names the setting, before anything is sent."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mux_async import (
    BucketSettings,
    CallOptions,
    ConfigurationError,
    LimitSettings,
    Mux,
    MuxError,
    RetryPolicy,
    RetrySettings,
    Timeouts,
    TransportSettings,
    use_priority,
)
from mux_async.ingest import Ingest
from mux_async.limits import AdaptiveSettings
from mux_async.signing import Signer, TokenCache
from mux_async.testing import FakeTransport
from mux_async.uploads import Uploads, UploadSettings
from mux_async.webhooks import MemoryEventStore, RedisEventStore, SqliteEventStore, WebhookRouter
from tests.signing.keys import as_mux_shows_it

NAN, INF = math.nan, math.inf
HUGE = 10**400

# What no setting of a kind takes.
SECONDS: list[object] = ["2s", True, -1, NAN, INF, HUGE, [1], {}, object()]
PERIOD: list[object] = [*SECONDS, 0]
WHOLE: list[object] = ["5", True, 1.5, NAN, INF, None, -1]
COUNT: list[object] = [*WHOLE, 0]
TEXT: list[object] = [1, True, b"x", 1.5, ["x"], {}]
FLAG: list[object] = [0, 1, "yes", "", None, "false"]
THING: list[object] = [5, True, False, "x", {}, [], 1.5]
NUMBER: list[object] = ["1", True, None, NAN, -1, HUGE, [1]]


def merged(given: dict[str, Any], **defaults: Any) -> dict[str, Any]:
    return {**defaults, **given}


def mux(**given: Any) -> Mux:
    return Mux(**merged(given, token_id="id", token_secret="secret", transport=FakeTransport()))


def variant(**given: Any) -> Mux:
    return mux().with_options(**given)


def signer(**given: Any) -> Signer:
    return Signer(**merged(given, key_id="id", private_key=as_mux_shows_it()))


def ingest(**given: Any) -> Ingest:
    return Ingest(**merged(given, client=mux(), items=[]))


def uploads(**given: Any) -> Uploads:
    return Uploads(**merged(given, client=mux()))


def router(**given: Any) -> WebhookRouter:
    return WebhookRouter(**merged(given, secrets="a secret of some length"))


def bucket(**given: Any) -> BucketSettings:
    return BucketSettings(**merged(given, rate=1.0, burst=1))


def window(**given: Any) -> BucketSettings:
    return BucketSettings.for_window(**merged(given, requests=10, seconds=1.0))


def watch(**given: Any) -> object:
    return mux().live.watch(**given)


def priority(**given: Any) -> object:
    with use_priority(**given):
        return None


OPTIONS: dict[str, list[object]] = {
    "priority": [5, True, "urgent", "", b"batch"],
    "deadline": PERIOD,
    "timeouts": [*THING, TransportSettings()],
    "max_attempts": COUNT,
    "max_response_bytes": COUNT,
    "share_reads": FLAG,
}

TABLE: dict[Callable[..., object], dict[str, list[object]]] = {
    mux: {
        **OPTIONS,
        "token_id": TEXT,
        "token_secret": TEXT,
        "authorization_token": TEXT,
        "base_url": [*TEXT, "ftp://x", "nowhere"],
        "account": TEXT,
        "environment": TEXT,
        "transport": [5, True, None, "no-such-transport", {}],
        "transport_settings": [*THING, Timeouts()],
        "limits": [*THING, BucketSettings(1.0, 1)],
        "headers": [5, True, "x", [("a", "b")], {1: "x"}],
        "user_agent_suffix": TEXT,
        "options": [*THING, Timeouts()],
        "retry": [*THING, RetrySettings()],
        "uploads": [*THING, TransportSettings()],
        "allow_insecure": FLAG,
        "clock": [5, "now", None],
        "random": [5, "x", True],
    },
    variant: {**OPTIONS, "timeout": PERIOD, "options": [5, "x", {}, True]},
    CallOptions: {**OPTIONS, "timeout": PERIOD},
    priority: {"priority": [None, 5, "urgent"]},
    Timeouts: {"connect": PERIOD, "read": PERIOD, "write": PERIOD},
    TransportSettings: {
        "max_connections": COUNT,
        "keepalive": [*SECONDS, None],
        "ssl_context": [5, True, "x", False],
        "proxy": [5, True, "nowhere", b"http://x"],
        "trust_env": FLAG,
        "options": [5, "x", None, [1], {1: 2}],
    },
    RetryPolicy: {name: [*SECONDS, None] for name in ("first", "longest", "longest_retry_after")},
    RetrySettings: {"share": NUMBER, "reserve": WHOLE},
    bucket: {"rate": [*NUMBER, 0, INF], "burst": COUNT},
    window: {"requests": COUNT, "seconds": [*PERIOD, None], "burst": [*COUNT, 11], "jitter": [*SECONDS, None]},
    AdaptiveSettings: {
        "first_pause": [*SECONDS, None],
        "longest_pause": [*SECONDS, None],
        "backoff": [*NUMBER, 0, 1.1],
        "hold": [*SECONDS, None],
        "recovery": [*PERIOD, None],
        "min_rate_ratio": [*NUMBER, 0, 1.1],
        "discover": FLAG,
    },
    LimitSettings: {
        "post": THING,
        "other": THING,
        "realtime_data": THING,
        "general_data": THING,
        "adaptive": THING,
        "jitter": [*SECONDS, None],
        "reserve": [*NUMBER, 1.1],
        "guaranteed_share": [*NUMBER, 0.5],
        "retries": THING,
        "url": [5, True, b"x"],
        "enabled": FLAG,
    },
    UploadSettings: {"max_concurrent": COUNT, "max_bytes_per_second": PERIOD, "memory": [*COUNT, 100]},
    uploads: {"client": [*THING, None], "settings": THING, "random": [5, True], "max_failures": WHOLE},
    ingest: {
        "client": [*THING, None],
        "items": [5, "list.csv", None, True],
        "journal": [5, True, [], ""],
        "concurrency": COUNT,
        "playback_policies": [5, None, [1], True],
        "test": FLAG,
        "upload_timeout": COUNT,
        "wait_timeout": PERIOD,
        "chunk_size": [*COUNT, 1000],
        "on_event": [5, "x", True],
    },
    router: {
        "secrets": [5, True, [], {}],
        "store": [5, True, {}, "postgres://x"],
        "name": [5, None, True],
        "tolerance": ["5", True, None, NAN, -1],
        "max_body": COUNT,
        "timeout": [*PERIOD, None],
        "clock": [5, None],
    },
    MemoryEventStore: {"keep": [*PERIOD, None], "capacity": COUNT, "clock": [5, None]},
    SqliteEventStore: {"path": [5, None, True, ""], "keep": [*PERIOD, None], "clock": [5, None]},
    RedisEventStore: {"url": [5, None, "x"], "keep": [*PERIOD, None], "timeout": [*PERIOD, None]},
    signer: {
        "key_id": [5, None, True, ""],
        "private_key": [5, True, "x"],
        "key_id_in": [5, None, "head"],
        "cache": [5, True, {}],
        "clock": [5, None],
    },
    TokenCache: {"size": COUNT, "fresh": ["1", True, None, NAN, -1, 1, 2]},
    watch: {"buffer": COUNT},
}
NEEDED: dict[object, dict[str, object]] = {SqliteEventStore: {"path": Path("x.db")}, RedisEventStore: {"url": "redis://x"}}
CASES = [
    pytest.param(make, name, value, id=f"{getattr(make, '__name__', make)}-{name}-{str(value)[:12]}-{number}")
    for make, arguments in TABLE.items()
    for name, values in arguments.items()
    for number, value in enumerate(values)
]


@pytest.mark.parametrize(("make", "name", "value"), CASES)
def test_wrong_values(make: Callable[..., object], name: str, value: object) -> None:
    """A value that makes no sense is refused when the setting is made, by a message with its name that shows no secret."""
    with pytest.raises(ConfigurationError) as caught:
        make(**{**NEEDED.get(make, {}), name: value})

    error = caught.value
    assert isinstance(error, MuxError)
    words = {
        name,
        name.replace("_", " "),
        name.removesuffix("s"),
        name.replace("key_id", "key"),
        name.replace("_key", " key"),
        name.replace("base_", "base ").replace("url", "URL"),
    }
    assert any(word in str(error) for word in words), str(error)
    assert len(str(error)) < 400


GOOD: dict[Callable[..., object], list[dict[str, Any]]] = {
    mux: [
        {"deadline": 1, "timeouts": Timeouts(), "max_attempts": 1, "priority": "batch", "share_reads": False},
        {"deadline": None, "priority": None, "timeouts": None, "options": CallOptions(deadline=0.5), "random": Random(1)},
    ],
    variant: [{"deadline": None, "timeout": None}, {"timeout": 3}],
    Timeouts: [{"connect": None, "read": 1, "write": 0.001}],
    RetryPolicy: [{"first": 0, "longest": 0, "longest_retry_after": 0}],
    RetrySettings: [{"share": INF, "reserve": 0}],
    bucket: [{"rate": 1, "burst": 1}],
    LimitSettings: [{"reserve": 0, "guaranteed_share": 0, "jitter": 0, "url": "memory://", "enabled": False}],
    AdaptiveSettings: [{"backoff": 1, "min_rate_ratio": 1}],
    UploadSettings: [{"max_bytes_per_second": None, "max_concurrent": 1}],
    ingest: [{"wait_timeout": None, "playback_policies": [], "items": iter([])}, {"playback_policies": "public"}],
    router: [{"tolerance": INF, "secrets": [b"bytes of a secret"]}],
    TokenCache: [{"fresh": 0}],
}


@pytest.mark.parametrize(("make", "given"), [(make, given) for make, every in GOOD.items() for given in every])
def test_right_values(make: Callable[..., object], given: dict[str, Any]) -> None:
    """The ends of the ranges, ``None`` where it means something, and whole numbers where seconds are asked for, are taken."""
    make(**given)


def test_secrets_are_not_shown() -> None:
    """A secret of the wrong type is described by that, and not shown."""
    with pytest.raises(ConfigurationError) as caught:
        mux(token_secret=b"CANARY")

    assert "CANARY" not in str(caught.value)
    assert str(caught.value) == "token_secret is of type bytes; it must be a str or a Secret, or None"


def test_a_value_without_a_repr() -> None:
    """A value whose ``repr`` fails is described by its type."""

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    with pytest.raises(
        ConfigurationError, match="deadline is of type Broken; it must be above 0 seconds, or None for no limit"
    ):
        CallOptions(deadline=Broken())  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
