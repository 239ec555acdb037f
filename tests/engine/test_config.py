"""What is refused before anything is sent: credentials, base URLs, headers, options."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mux_async import CallOptions, Mux, RetryPolicy, Secret, __version__
from mux_async.errors import ConfigurationError, InvalidRequestError, MissingCredentialsError
from mux_async.limits import BucketSettings
from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.transport import HttpRequest, Timeouts, TransportSettings


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKEN_ID", "TOKEN_SECRET", "AUTHORIZATION_TOKEN", "BASE_URL"):
        monkeypatch.delenv(f"MUX_{name}", raising=False)


def sent(headers: dict[str, str] | None = None, **settings: Any) -> SentRequest:
    """Return what a client with *settings* sends for ``GET /x`` with *headers*."""
    transport = FakeTransport(lambda _request: respond(json={}))

    async def call() -> None:
        await Mux(transport=transport, **settings).request("GET", "/x", headers=headers)

    asyncio.run(call())
    return transport.requests[0]


def with_base_url(url: str, *, allow_insecure: bool = False) -> Mux:
    return Mux(token_id="id", token_secret="secret", base_url=url, allow_insecure=allow_insecure)


def send_with(headers: dict[str, str]) -> SentRequest:
    return sent(headers, token_id="id", token_secret="secret")


def test_missing_credentials_say_where_to_put_them() -> None:
    """Without credentials the error names both arguments and both variables."""
    with pytest.raises(MissingCredentialsError) as caught:
        Mux()

    assert all(name in str(caught.value) for name in ("token_id", "token_secret", "MUX_TOKEN_ID", "MUX_TOKEN_SECRET"))


def test_half_a_pair_is_missing_the_other_half() -> None:
    """An id without its secret names the secret only."""
    with pytest.raises(MissingCredentialsError, match=r"^no token_secret \(MUX_TOKEN_SECRET\):"):
        Mux(token_id="id")


def test_arguments_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token given as an argument is used even where the environment holds a bearer token."""
    for name, value in [("AUTHORIZATION_TOKEN", "bearer"), ("TOKEN_ID", "other"), ("TOKEN_SECRET", "other")]:
        monkeypatch.setenv(f"MUX_{name}", value)

    assert sent(token_id="id", token_secret="secret").headers["Authorization"] == "Basic aWQ6c2VjcmV0"
    assert sent().headers["Authorization"] == "Bearer bearer"


@pytest.mark.parametrize("secret", ["s3cr3t\r\nb", "s3cr3t\n", " s3cr3t", "s3cr3t\x00b", "s3crät"])
def test_credentials_that_cannot_be_sent(secret: str) -> None:
    """A secret with a line break or the like is refused, and not shown."""
    with pytest.raises(ConfigurationError) as caught:
        Mux(token_id="id", token_secret=secret)

    assert secret not in str(caught.value)
    assert "token_secret" in str(caught.value)


def test_credentials_do_not_show() -> None:
    """Neither the secret nor the header made of it is in the repr of a client or of what it sends."""
    mux = Mux(token_id="the-id", token_secret=Secret("the-secret"))
    request = sent(token_id="the-id", token_secret=Secret("the-secret"))

    for shown in (repr(mux), repr(request)):
        assert "the-secret" not in shown
        assert request.headers["Authorization"] not in shown


@pytest.mark.parametrize(
    "url", ["https://api.mux.com", "http://127.0.0.1:8787", "http://localhost:1", "http://[::1]:9", "https://x.test/prefix/"]
)
def test_base_urls_that_are_fine(url: str) -> None:
    """https to anybody and http to this machine are allowed; a trailing slash goes."""
    assert with_base_url(url).base_url == url.rstrip("/")


def test_credentials_do_not_go_in_the_clear() -> None:
    """Plain http to another machine is refused, with the way out, and allowed when asked for."""
    with pytest.raises(ConfigurationError, match=r"in the clear to 'api\.mux\.com'.*allow_insecure=True"):
        with_base_url("http://api.mux.com")

    assert with_base_url("http://mux.internal", allow_insecure=True).base_url == "http://mux.internal"


@pytest.mark.parametrize(
    "url",
    [
        "api.mux.com", "ftp://x", "http://", "https://", "https://a b", "https://x\r\nHost: y", "https://x:port", "https://x?q=1",
        "https://x#f", "https://user:pass@x", "http://127.0.0.1.evil.test", "http://localhost.evil.test",
    ],
)  # fmt: skip
def test_base_urls_that_are_refused(url: str) -> None:
    """A URL that is not an origin with an optional path is refused before anything is sent."""
    with pytest.raises(ConfigurationError):
        with_base_url(url)


@pytest.mark.parametrize("name", ["a b", "", "a\r\nb", "a:b", "ä"])
def test_header_names(name: str) -> None:
    """A header name that is not a token is refused."""
    with pytest.raises(InvalidRequestError, match="not a header name"):
        send_with({name: "x"})


@pytest.mark.parametrize("value", ["a\r\nInjected: yes", "a\nb", "a\rb", "a\x00b", "a\x7f"])
def test_header_values_with_line_breaks(value: str) -> None:
    """A header value that would start another header is refused, with the header's name."""
    with pytest.raises(InvalidRequestError, match="'X-Name' holds a line break"):
        send_with({"X-Name": value})


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "Connection"])
def test_the_transports_headers(name: str) -> None:
    """Headers that frame the message are refused: the transport writes them."""
    with pytest.raises(InvalidRequestError, match="written by the transport"):
        send_with({name: "x"})


@pytest.mark.parametrize(
    "options",
    [
        {"deadline": 0.0},
        {"deadline": -1.0},
        {"max_attempts": 0},
        {"max_attempts": 1.5},
        {"max_attempts": True},
        {"max_response_bytes": 0},
        {"max_response_bytes": 1e9},
        {"priority": "urgent"},
    ],
)
def test_options_that_make_no_sense(options: dict[str, object]) -> None:
    """An option out of its range is refused, by name."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        CallOptions(**options)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), True])
@pytest.mark.parametrize("name", ["first", "longest", "longest_retry_after"])
def test_retry_policies_that_make_no_sense(name: str, value: float) -> None:
    """A negative or infinite wait is refused, by name."""
    with pytest.raises(ConfigurationError, match=f"the retry policy's {name} is"):
        RetryPolicy(**{name: value})


@pytest.mark.parametrize("burst", [0, -1, 1.5, True])
def test_bursts_that_make_no_sense(burst: int) -> None:
    """Requests are whole, and a burst holds at least one."""
    with pytest.raises(ConfigurationError, match="a bucket's burst is"):
        BucketSettings(rate=1.0, burst=burst)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["connect", "read", "write"])
def test_timeouts_that_make_no_sense(name: str, value: float) -> None:
    """A timeout out of its range is refused, by name: to one HTTP library 0 is no time, to another no limit."""
    with pytest.raises(ConfigurationError, match=f"the {name} timeout"):
        Timeouts(**{name: value})


def test_transport_settings_that_make_no_sense() -> None:
    """No connections at all, or a negative time, is refused; a proxy's password is not shown."""
    with pytest.raises(ConfigurationError, match="max_connections"):
        TransportSettings(max_connections=0)
    with pytest.raises(ConfigurationError, match="keepalive"):
        TransportSettings(keepalive=-1.0)
    settings = TransportSettings(proxy="http://me:canary@proxy.test", options={"headers": {"X": "canary"}})

    assert "canary" not in repr(settings)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:canary@api.test:8/a/b?canary#canary", "https://api.test:8/a/b?..."),
        ("https://api.test", "https://api.test "),
        ("https://[/a?canary", "<no URL>/a?..."),
    ],
)
def test_requests_show_no_secret(url: str, shown: str) -> None:
    """The repr of a request has its origin and path, and nothing that could be a secret."""
    said = repr(HttpRequest("GET", url, {"Authorization": "canary"}))

    assert shown in said
    assert "canary" not in said


def test_the_version_is_in_the_user_agent() -> None:
    """The user agent names this SDK and its version, then the program's own suffix."""
    request = sent(token_id="id", token_secret="secret", user_agent_suffix="my-bot/2")

    assert request.headers["User-Agent"] == f"mux-async/{__version__} my-bot/2"
