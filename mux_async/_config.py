"""What a client is set up with, checked once: credentials, address, headers."""

from __future__ import annotations

import ipaddress
import logging
import string
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import cache
from random import Random, SystemRandom
from typing import Final, cast
from urllib.parse import urlsplit

import attrs
from multidict import CIMultiDict, CIMultiDictProxy

from mux_async._checks import check_secret, check_text, explains_arguments
from mux_async._retry import RetryPolicy
from mux_async._setting_text import check_token, read_variable
from mux_async._tracebacks import hides_arguments
from mux_async._types import Secret
from mux_async._version import __version__
from mux_async.errors import ConfigurationError, InvalidRequestError, MissingCredentialsError

logger = logging.getLogger(__name__)

DEFAULT_BASE_URL = "https://api.mux.com"
SYSTEM_RANDOM: Final = SystemRandom()
"""One for all clients: it has no state that they could share, and each one takes 2.5 KB."""
_LOW_PRIORITY = ("MUX_LOW_PRIORITY_TOKEN_ID", "MUX_LOW_PRIORITY_TOKEN_SECRET")

_TOKEN = frozenset("!#$%&'*+-.^_`|~" + string.digits + string.ascii_letters)
"""What a header name is made of: RFC 9110, section 5.6.2."""
_UNSENDABLE = frozenset(map(chr, [*range(9), *range(10, 32), 127]))
"""What a header's value may not hold: all controls but the tab."""


def _to_secret(value: str | Secret) -> Secret:
    check_secret("an access token's secret", value)
    return Secret(value)


@explains_arguments
@hides_arguments
@attrs.frozen
class AccessToken:
    """An access token, for a client that holds two: ``Mux(low_priority=AccessToken("id", "secret"))``.

    Attributes:
        id: Its id.
        secret: Its secret. Hidden in ``repr``.

    Raises:
        ConfigurationError: One of them cannot be sent in a header.
    """

    id: str
    secret: Secret = attrs.field(converter=_to_secret)

    def __attrs_post_init__(self) -> None:
        check_text("an access token's id", self.id, allow_empty=False)
        if not self.secret:
            raise ConfigurationError("an access token's secret is empty")
        _basic(self.id, self.secret, "", ("an access token's id", "an access token's secret"))


@attrs.frozen(eq=False, repr=False)
class Credentials:
    """How requests are authorised: the ``Authorization`` header, the *account* in this process (not secret), the *source* in words."""

    authorization: Secret
    account: str
    source: str = "the credentials"


def _api_headers(config: Config, more: Mapping[str, str] | None = None) -> CIMultiDictProxy[str]:
    own = {"Authorization": config.credentials.authorization.reveal(), "Accept": "application/json"}
    return CIMultiDictProxy(CIMultiDict({**config.headers, **own, **(more or {})}))


@attrs.frozen(eq=False, repr=False)
class Config:
    """What all calls of a client share."""

    credentials: Credentials
    base_url: str
    """Origin and path prefix of the API, without a trailing slash."""
    headers: Mapping[str, str] = attrs.field(repr=False)
    """Sent with every request to the API."""
    retry: RetryPolicy
    clock: Callable[[], float] = time.monotonic
    """Monotonic seconds."""
    epoch: Callable[[], float] = time.time
    """Seconds since 1970, for dates in headers."""
    random: Random = SYSTEM_RANDOM
    """Source of jitter. Without a state, which forked processes would share."""
    api_headers: CIMultiDictProxy[str] = attrs.field(
        init=False, repr=False, eq=False, default=attrs.Factory(_api_headers, takes_self=True)
    )
    """Of requests to the API that have no body. Put together once, because every request has them."""
    api_headers_with_body: CIMultiDictProxy[str] = attrs.field(
        init=False,
        repr=False,
        eq=False,
        default=attrs.Factory(lambda config: _api_headers(config, {"Content-Type": "application/json"}), takes_self=True),
    )
    """The same for those with a body of JSON."""

    @property
    def whose(self) -> str:
        """Whom requests are for, in words and without values: for errors about credentials."""
        return f"{self.base_url} did not take the credentials of {self.credentials.source}"

    @property
    def is_default_origin(self) -> bool:
        """Whether requests go to Mux itself, each to the host that serves it."""
        return self.base_url == DEFAULT_BASE_URL


def load_credentials(
    token_id: str | None,
    token_secret: str | Secret | None,
    authorization_token: str | Secret | None,
    environ: Mapping[str, str] | None = None,
) -> Credentials:
    """Choose credentials: arguments first, then ``MUX_*`` variables; a bearer token before an access token of the same kind.

    Raises:
        MissingCredentialsError: There are none, or half of a pair.
        ConfigurationError: One cannot be sent in a header.
    """
    source = "authorization_token="
    if token_id is None and token_secret is None and authorization_token is None:
        authorization_token = read_variable("MUX_AUTHORIZATION_TOKEN", environ)
        source = "MUX_AUTHORIZATION_TOKEN"
    if authorization_token is not None:
        from hashlib import sha256  # brings OpenSSL; an access token needs none of it

        bearer = check_token("authorization_token", Secret(authorization_token).reveal())
        return Credentials(Secret(f"Bearer {bearer}"), "bearer:" + sha256(bearer.encode()).hexdigest()[:12], source)
    source = " and ".join(
        variable if given is None else argument
        for argument, variable, given in [
            ("token_id=", "MUX_TOKEN_ID", token_id),
            ("token_secret=", "MUX_TOKEN_SECRET", token_secret),
        ]
    )
    token_id = token_id if token_id is not None else read_variable("MUX_TOKEN_ID", environ)
    token_secret = token_secret if token_secret is not None else read_variable("MUX_TOKEN_SECRET", environ)
    missing = [
        name
        for name, value in [("token_id (MUX_TOKEN_ID)", token_id), ("token_secret (MUX_TOKEN_SECRET)", token_secret)]
        if not value
    ]
    if missing or not token_id or not token_secret:
        raise MissingCredentialsError(
            f"no {' and no '.join(missing)}: pass Mux(token_id=..., token_secret=...) or set MUX_TOKEN_ID and MUX_TOKEN_SECRET; "
            f"access tokens are made in the Mux dashboard, and the emulator takes 'test-token' and 'test-secret'"
        )
    return _basic(token_id, Secret(token_secret), source)


def load_low_priority(
    token: AccessToken | None, *, reads_environment: bool, environ: Mapping[str, str] | None = None
) -> Credentials | None:
    """Return the credentials of the token of low priority: *token*, else that of the variables; ``None`` when there is none.

    Args:
        token: As given.
        reads_environment: Whether the variables count: they belong to the token that is in variables, and to no other.
        environ: The variables; those of the process when not given.

    Raises:
        MissingCredentialsError: One of the two variables is not set.
        ConfigurationError: One cannot be sent in a header.
    """
    if token is not None:
        return _basic(token.id, token.secret, "low_priority=")
    token_id, secret = (read_variable(name, environ) if reads_environment else None for name in _LOW_PRIORITY)
    if token_id and secret:
        return _basic(token_id, Secret(secret), " and ".join(_LOW_PRIORITY), _LOW_PRIORITY)
    if token_id or secret:
        raise MissingCredentialsError(f"{_LOW_PRIORITY[bool(token_id)]} is not set, and {_LOW_PRIORITY[bool(secret)]} is")
    return None


def _basic(
    token_id: str, token_secret: Secret, source: str, names: tuple[str, str] = ("token_id", "token_secret")
) -> Credentials:
    token_id = check_token(names[0], token_id)
    secret = check_token(names[1], token_secret.reveal())
    if ":" in token_id:
        raise ConfigurationError(f"{names[0]} holds a colon, which ends it in HTTP Basic; is it 'id:secret' in one piece?")
    basic = b64encode(f"{token_id}:{secret}".encode()).decode()
    return Credentials(Secret(f"Basic {basic}"), token_id, source)


def check_base_url(base_url: str, *, allow_insecure: bool) -> str:
    """Return *base_url* without a trailing slash.

    Refuse what is no absolute http(s) URL, or would send credentials in the clear to another machine.
    """
    if "@" in base_url or "?" in base_url or "#" in base_url:  # not shown: it may hold a password
        raise ConfigurationError(
            "the base URL holds a query, a fragment or a user name; it is https://host[:port][/prefix] only"
        )
    try:
        parts = urlsplit(base_url)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigurationError(f"the base URL {base_url!r} is not a URL: {error}") from error
    if parts.scheme not in {"http", "https"} or not host or not base_url.isprintable() or " " in base_url:
        raise ConfigurationError(f"the base URL {base_url!r} is not of the form https://host[:port][/prefix]")
    if parts.scheme == "http" and not allow_insecure and not is_loopback(host):
        raise ConfigurationError(
            f"the base URL {base_url!r} would send the access token in the clear to {host!r}: use https, "
            f"or say Mux(allow_insecure=True) if that network is yours"
        )
    return base_url.rstrip("/")


@cache
def tell_foreign_host(base_url: str) -> None:
    """Log, once in a process, that the environment's *base_url* sends credentials elsewhere than to Mux or this machine."""
    try:
        host = urlsplit(base_url).hostname or ""
    except ValueError:
        return  # `check_base_url` refuses it
    if host and host != "mux.com" and not host.endswith(".mux.com") and not is_loopback(host):
        logger.warning(
            "MUX_BASE_URL: requests and the access token go to %s, which is not Mux's", host, extra={"mux_host": host}
        )


def is_loopback(host: str) -> bool:
    """Whether *host* is this machine, by its name or address; nothing is looked up."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return *headers*, each of which can be sent as it is.

    Refuse a name that is not a token, a value with CR, LF, NUL or a character outside Latin-1, and a header that the transport writes.
    """
    for name, value in headers.items():
        if not name or not _TOKEN.issuperset(str(name)):
            raise InvalidRequestError(f"{name!r} is not a header name; it takes letters, digits and hyphens")
        given = cast("object", value)
        if not isinstance(given, str):
            raise InvalidRequestError(f"the value of header {name!r} is of type {type(given).__name__}; it must be a str")
        if not _UNSENDABLE.isdisjoint(value):
            raise InvalidRequestError(
                f"the value of header {name!r} holds a line break or another control character; remove it"
            )
        try:
            value.encode("latin-1")
        except UnicodeEncodeError:
            raise InvalidRequestError(
                f"the value of header {name!r} holds characters outside Latin-1; encode them first"
            ) from None
        if name.lower() in {"host", "content-length", "transfer-encoding", "connection"}:
            raise InvalidRequestError(f"header {name!r} is written by the transport; leave it out")
    return headers


def user_agent(suffix: str | None = None) -> str:
    """Return the ``User-Agent``: this SDK, then what the user adds."""
    return f"mux-async/{__version__}" + (f" {suffix}" if suffix else "")
