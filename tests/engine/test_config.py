"""What is refused before anything is sent: credentials, base URLs, headers, options."""

from __future__ import annotations

import pytest

from mux_async import __version__, _config
from mux_async._config import check_base_url, check_headers, load_credentials
from mux_async._options import CallOptions
from mux_async._retry import RetryPolicy
from mux_async._types import Secret
from mux_async.errors import ConfigurationError, InvalidRequestError, MissingCredentialsError
from mux_async.limits import BucketSettings
from mux_async.transport import HttpRequest, Timeouts, TransportSettings


def test_missing_credentials_say_where_to_put_them() -> None:
    """Without credentials the error names both arguments and both variables."""
    with pytest.raises(MissingCredentialsError) as caught:
        load_credentials(None, None, None, environ={})

    assert all(name in str(caught.value) for name in ("token_id", "token_secret", "MUX_TOKEN_ID", "MUX_TOKEN_SECRET"))


def test_half_a_pair_is_missing_the_other_half() -> None:
    """An id without its secret names the secret only."""
    with pytest.raises(MissingCredentialsError, match=r"^no token_secret \(MUX_TOKEN_SECRET\):"):
        load_credentials("id", None, None, environ={})


def test_arguments_come_before_the_environment() -> None:
    """A token given as an argument is used even where the environment holds a bearer token."""
    environ = {"MUX_AUTHORIZATION_TOKEN": "bearer", "MUX_TOKEN_ID": "other", "MUX_TOKEN_SECRET": "other"}

    assert load_credentials("id", "secret", None, environ).authorization.reveal() == "Basic aWQ6c2VjcmV0"
    assert load_credentials(None, None, None, environ).authorization.reveal() == "Bearer bearer"


@pytest.mark.parametrize("secret", ["s3cr3t\r\nb", "s3cr3t\n", " s3cr3t", "s3cr3t\x00b", "s3crät"])
def test_credentials_that_cannot_be_sent(secret: str) -> None:
    """A secret with a line break or the like is refused, and not shown."""
    with pytest.raises(ConfigurationError) as caught:
        load_credentials("id", secret, None, environ={})

    assert secret not in str(caught.value)
    assert "token_secret" in str(caught.value)


def test_credentials_do_not_show() -> None:
    """Neither the secret nor the header made of it is in any text of the credentials."""
    credentials = load_credentials("the-id", Secret("the-secret"), None, environ={})

    assert "the-secret" not in repr(credentials)
    assert credentials.authorization.reveal() not in repr(credentials)


@pytest.mark.parametrize(
    "url", ["https://api.mux.com", "http://127.0.0.1:8787", "http://localhost:1", "http://[::1]:9", "https://x.test/prefix/"]
)
def test_base_urls_that_are_fine(url: str) -> None:
    """https to anybody and http to this machine are allowed; a trailing slash goes."""
    assert check_base_url(url, allow_insecure=False) == url.rstrip("/")


def test_credentials_do_not_go_in_the_clear() -> None:
    """Plain http to another machine is refused, with the way out, and allowed when asked for."""
    with pytest.raises(ConfigurationError, match=r"in the clear to 'api\.mux\.com'.*allow_insecure=True"):
        check_base_url("http://api.mux.com", allow_insecure=False)

    assert check_base_url("http://mux.internal", allow_insecure=True) == "http://mux.internal"


@pytest.mark.parametrize(
    "url",
    [
        "api.mux.com", "ftp://x", "http://", "https://", "https://a b", "https://x\r\nHost: y", "https://x:port", "https://x?q=1",
        "https://x#f", "https://user:pass@x", "http://127.0.0.1.evil.test", "http://localhost.evil.test",
    ],
)  # fmt: skip
def test_base_urls_that_are_refused(url: str) -> None:
    """What is no plain origin with a prefix is refused before anything is sent."""
    with pytest.raises(ConfigurationError):
        check_base_url(url, allow_insecure=False)


@pytest.mark.parametrize("name", ["a b", "", "a\r\nb", "a:b", "ä"])
def test_header_names(name: str) -> None:
    """A header name that is no token is refused."""
    with pytest.raises(InvalidRequestError, match="not a header name"):
        check_headers({name: "x"})


@pytest.mark.parametrize("value", ["a\r\nInjected: yes", "a\nb", "a\rb", "a\x00b", "a\x7f"])
def test_header_values_with_line_breaks(value: str) -> None:
    """A header value that would start another header is refused, with the header's name."""
    with pytest.raises(InvalidRequestError, match="'X-Name' holds a line break"):
        check_headers({"X-Name": value})


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "Connection"])
def test_the_transports_headers(name: str) -> None:
    """Headers that frame the message are the transport's."""
    with pytest.raises(InvalidRequestError, match="written by the transport"):
        check_headers({name: "x"})


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
    """A wait that no clock could keep is refused, by name."""
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
    """A request shows where it goes, and nothing that could be a key."""
    said = repr(HttpRequest("GET", url, {"Authorization": "canary"}))

    assert shown in said
    assert "canary" not in said


def test_the_version_is_in_the_user_agent() -> None:
    """The user agent names this SDK and its version, then the program's own suffix."""
    assert _config.user_agent("my-bot/2") == f"mux-async/{__version__} my-bot/2"
