"""What people pass and type who come from elsewhere: values of other libraries, names of other SDKs; and what a 401 and ``MUX_LOG`` say."""

from __future__ import annotations

import copy
import enum
import logging
import subprocess
import sys
from collections.abc import Callable, Generator
from decimal import Decimal
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import numpy as np
import pydantic
import pytest
import yarl

from mux_async import (
    AuthenticationError,
    CallOptions,
    ConfigurationError,
    LimitSettings,
    Mux,
    MuxError,
    RetryPolicy,
    TransportSettings,
)
from mux_async.errors import InvalidRequestError, UnknownArgumentError, UnknownNameError
from mux_async.testing import FakeTransport, respond
from mux_async.uploads import UploadSettings

pytestmark = pytest.mark.anyio

_accounts = count()
ID = UUID("12345678-1234-5678-1234-567812345678")
URL = "https://example.com/a%20b.mp4?x=1"


class Policy(enum.StrEnum):
    PUBLIC = "public"


class Number(enum.IntEnum):
    TEN = 10


class Plain(enum.Enum):
    PUBLIC = "public"
    ID = "a1"


def client(transport: FakeTransport | None = None, **given: Any) -> Mux:
    settings: dict[str, Any] = {
        "token_id": "id",
        "token_secret": "secret",
        "account": f"values-{next(_accounts)}",
        "limits": LimitSettings(enabled=False),
        **given,
    }
    return Mux(transport=transport or FakeTransport(), **settings)


def _anything(value: Any) -> Any:
    """Return *value* without its type, for calls that type checkers refuse."""
    return value


VALUES: list[tuple[object, object, str]] = [
    (np.int64(7), 7, "7"),
    (np.uint8(7), 7, "7"),
    (np.float64(0.5), 0.5, "0.5"),
    (np.float32(0.5), 0.5, "0.5"),
    (np.bool_(True), True, "true"),  # noqa: FBT003
    (np.str_("x"), "x", "x"),
    (ID, str(ID), str(ID)),
    (Decimal("0.1"), 0.1, "0.1"),
    (Decimal("12.50"), 12.5, "12.5"),
    (Decimal("1E+3"), 1000, "1000"),
    (yarl.URL(URL), URL, URL),
    (httpx.URL(URL), URL, URL),
    (pydantic.HttpUrl(URL), URL, URL),
    (urlsplit(URL), URL, URL),
    (Policy.PUBLIC, "public", "public"),
    (Plain.PUBLIC, "public", "public"),
    (Number.TEN, 10, "10"),
]


@pytest.mark.parametrize(("given", "in_body", "in_query"), VALUES, ids=[type(value).__name__ for value, _, _ in VALUES])
async def test_values_that_are_taken(given: Any, in_body: object, in_query: str) -> None:
    """What has one plain form is sent as that: in a body, deep inside one, and in a query."""
    transport = FakeTransport(lambda _: respond(json={"data": {}}))
    mux = client(transport)
    await mux.video.assets.create(
        inputs=[{"url": given}], extra_body={"own": given, "more": {"deep": [given]}}, extra_query={"q": given, "r[]": [given]}
    )
    (request,) = transport.requests

    assert request.json["inputs"] == [{"url": in_body}]
    assert request.json["own"] == in_body
    assert type(request.json["own"]) is type(in_body)
    assert request.json["more"] == {"deep": [in_body]}
    assert request.query == [("q", in_query), ("r[]", in_query)]


@pytest.mark.parametrize("given", [ID, Plain.ID, Policy.PUBLIC, np.str_("a1")])
async def test_ids_that_are_taken(given: Any) -> None:
    """A UUID and a member of an enum of texts can name what a request is about."""
    transport = FakeTransport(lambda _: respond(json={"data": {}}))
    await client(transport).video.assets.retrieve(given)
    text = str(given.value if isinstance(given, enum.Enum) else given)

    assert transport.requests[0].path == f"/video/v1/assets/{text}"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Path("/films/a.mp4"), r"is a path, and Mux cannot read files of this machine: mux\.uploads\.send\(path\)"),
        (PurePosixPath("a"), "is a path"),
        (Decimal("0.1234567890123456789"), "more digits than a number keeps"),
        (Decimal("NaN"), "JSON has no such number"),
        (np.array([1, 2]), r"is an array; pass its tolist\(\)"),
        (np.float64("nan"), "nan"),
        (1j, "of type complex"),
        (object(), "of type object"),
    ],
)
async def test_values_that_are_refused(given: Any, message: str) -> None:
    """What could mean several things is refused unsent, by its name, in a body and in a query."""
    transport = FakeTransport()
    mux = client(transport)
    cases: list[dict[str, Any]] = [{"extra_body": {"own": given}}, {"extra_query": {"own": given}}]
    for arguments in cases:
        with pytest.raises(InvalidRequestError, match=message if "extra_body" in arguments else "own") as caught:
            await mux.video.assets.create(inputs=[], **arguments)
        assert "own" in str(caught.value)

    assert not transport.requests


@pytest.mark.parametrize("given", [7, 1.5, True, None, Path("a1"), yarl.URL(URL), np.int64(7), Number.TEN, [], b"a1"])
async def test_ids_that_are_refused(given: Any) -> None:
    """What is no text cannot name what a request is about."""
    transport = FakeTransport()
    with pytest.raises(InvalidRequestError, match="asset_id is of type"):
        await client(transport).video.assets.retrieve(given)

    assert not transport.requests


ARGUMENTS: list[tuple[Callable[[], object], str]] = [
    (
        lambda: client(timeout=5),
        r"Mux has no argument 'timeout'; here it is deadline=.*timeouts=Timeouts.*CallOptions\(timeout=",
    ),
    (lambda: client(max_retries=2), r"max_attempts=.*max_retries=2 is max_attempts=3"),
    (lambda: client(api_key="k"), "token_id= and token_secret="),
    (lambda: client(proxy="http://x"), r"TransportSettings\(proxy="),
    (lambda: client(baseUrl="https://x"), "here it is base_url="),
    (lambda: client(deadlin=5), "did you mean deadline="),
    (lambda: client(xyzzy=5), "it takes account, "),
    (lambda: _anything(client()).with_options(max_retries=2), "unexpected keyword argument"),
    (lambda: _anything(CallOptions)(max_retries=2), "max_attempts="),
    (lambda: _anything(RetryPolicy)(firts=1), "did you mean first="),
    (lambda: _anything(LimitSettings)(enable=False), "did you mean enabled="),
    (lambda: _anything(TransportSettings)(maxConnections=5), "here it is max_connections="),
    (lambda: _anything(UploadSettings)(concurrency=5), "max_concurrent="),
]


@pytest.mark.parametrize(("make", "message"), ARGUMENTS)
def test_arguments_of_other_names(make: Callable[[], object], message: str) -> None:
    """An argument that a client or a setting does not have is a `TypeError` that says what it is called here."""
    with pytest.raises(TypeError, match=message) as caught:
        make()

    assert isinstance(caught.value, UnknownArgumentError) or "with_options" in str(caught.value)


NAMES: list[tuple[Callable[[Any], object], str]] = [
    (lambda mux: mux.assets, r"mux has no 'assets'; here it is mux\.video\.assets"),
    (lambda mux: mux.live_streams, r"here it is mux\.video\.live_streams"),
    (lambda mux: mux.liveStreams, r"here it is mux\.video\.live_streams"),
    (lambda mux: mux.asset, r"here it is mux\.video\.assets"),
    (lambda mux: mux.playback_ids, r"mux\.video\.playback_ids"),
    (lambda mux: mux.whoami, r"here it is mux\.system\.utilities\.whoami\(\)"),
    (lambda mux: mux.webhooks, r"mux_async\.webhooks .*mux\.system\.webhooks"),
    (lambda mux: mux.jwt, r"mux\.signer"),
    (lambda mux: mux.close, r"mux\.aclose\(\)"),
    (lambda mux: mux.get, r'mux\.request\("GET", path\)'),
    (lambda mux: mux.Video, r"here it is mux\.video"),
    (lambda mux: mux.uploads.create, r"here it is mux\.video\.uploads\.create\(\)"),
    (lambda mux: mux.uploads.list, r"here it is mux\.video\.uploads\.list\(\)"),
    (lambda mux: mux.video.Assets, r"here it is mux\.video\.assets"),
    (lambda mux: mux.video.assets.get, r"here it is mux\.video\.assets\.retrieve\(\)"),
    (lambda mux: mux.video.assets.createPlaybackId, r"mux\.video\.assets\.create_playback_id"),
    (lambda mux: mux.video.assets.create_asset, r"here it is mux\.video\.assets\.create$"),
    (lambda mux: mux.video.assets.get_asset, r"mux\.video\.assets\.retrieve\(\)"),
    (lambda mux: mux.video.assets.xyzzy, "mux.video.assets has no 'xyzzy'$"),
    (lambda mux: mux.data.metric, r"here it is mux\.data\.metrics"),
]


@pytest.mark.parametrize(("find", "message"), NAMES)
def test_names_of_other_sdks(find: Callable[[Any], object], message: str) -> None:
    """A name that is not there is an `AttributeError` that says where it is, or what it is called here."""
    with pytest.raises(AttributeError, match=message) as caught:
        find(client())

    assert isinstance(caught.value, UnknownNameError)
    assert isinstance(caught.value, MuxError)


def test_lookups_stay_ordinary() -> None:
    """``hasattr`` and ``copy`` work as on any object, and what an attribute itself raises comes through."""

    class Shop(Mux):
        @property
        def broken(self) -> str:
            raise AttributeError("of its own")

    shop = Shop(token_id="id", token_secret="s", transport=FakeTransport())

    assert not hasattr(shop, "nope")
    assert not hasattr(shop.video, "__wrapped__")
    assert copy.copy(shop).base_url == shop.base_url
    with pytest.raises(AttributeError, match="of its own"):
        shop.broken  # noqa: B018


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("MUX_TOKEN_ID", "MUX_TOKEN_SECRET", "MUX_AUTHORIZATION_TOKEN", "MUX_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("environ", "given", "source"),
    [
        ({"MUX_TOKEN_ID": "CANARY1", "MUX_TOKEN_SECRET": "CANARY2"}, {}, "MUX_TOKEN_ID and MUX_TOKEN_SECRET"),
        ({"MUX_TOKEN_SECRET": "CANARY2"}, {"token_id": "CANARY1"}, "token_id= and MUX_TOKEN_SECRET"),
        ({}, {"token_id": "CANARY1", "token_secret": "CANARY2"}, "token_id= and token_secret="),
        ({"MUX_AUTHORIZATION_TOKEN": "CANARY1"}, {}, "MUX_AUTHORIZATION_TOKEN"),
        ({"MUX_TOKEN_ID": "x"}, {"authorization_token": "CANARY1"}, "authorization_token="),
    ],
)
async def test_a_401_names_server_and_variables(
    unset: pytest.MonkeyPatch, environ: dict[str, str], given: dict[str, str], source: str
) -> None:
    """A 401 says which server refused which credentials, by the names of variables and arguments and never by their values."""
    for name, value in environ.items():
        unset.setenv(name, value)
    body = {"error": {"type": "unauthorized", "messages": ["Unauthorized request"]}}
    transport = FakeTransport(lambda _: respond(401, json=body))
    mux = Mux(transport=transport, base_url="https://mux.example", **given)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    with pytest.raises(AuthenticationError) as caught:
        await mux.system.utilities.whoami()

    assert f"https://mux.example did not take the credentials of {source}: check" in str(caught.value)
    assert "CANARY" not in str(caught.value)


@pytest.fixture
def loggers() -> Generator[None]:
    names = ("mux_async", "mux_async_aiohttp", "mux_async_httpx")
    before = [
        (logging.getLogger(name), logging.getLogger(name).level, list(logging.getLogger(name).handlers)) for name in names
    ]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


def test_a_log_by_variable(loggers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """``MUX_LOG`` sets the level; an empty one changes nothing, and a level that is none is refused with those that are."""
    logger = logging.getLogger("mux_async")

    def level(value: str | None) -> int:
        if value is None:
            monkeypatch.delenv("MUX_LOG", raising=False)
        else:
            monkeypatch.setenv("MUX_LOG", value)
        Mux(token_id="id", token_secret="secret", transport=FakeTransport())
        return logger.level

    before = logger.level
    assert level(None) == level("") == before
    assert level("Debug") == logging.DEBUG
    assert level("warn") == logging.WARNING
    with pytest.raises(ConfigurationError, match="MUX_LOG is 'loud'; it is one of 'debug', 'info'"):
        level("loud")


PROGRAM = """
import asyncio
from mux_async import Mux
from mux_async.testing import FakeTransport, respond

async def main():
    mux = Mux(token_id="CANARY-id", token_secret="CANARY-secret", transport=FakeTransport(lambda _: respond(json={"data": {"id": "a1"}})))
    await mux.video.assets.retrieve("a1")
    Mux(token_id="id", token_secret="s", transport=FakeTransport())

asyncio.run(main())
"""


def test_a_log_of_a_program() -> None:
    """With ``MUX_LOG=debug`` a program without logging of its own shows each attempt on standard error, once, and no secret."""

    def run(**environ: str) -> str:
        command = [sys.executable, "-c", PROGRAM]
        ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env={"PATH": "", **environ})
        assert not ended.stdout
        return ended.stderr

    shown = run(MUX_LOG="debug")
    assert shown.count("GET /video/v1/assets/{ASSET_ID}: attempt 1: 200") == 1
    assert "DEBUG mux_async._engine" in shown
    assert "CANARY" not in shown
    assert not run(MUX_LOG="info")
    assert not run()
