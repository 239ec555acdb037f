"""Which arguments of `aiohttp.ClientSession` have an effect here, and what to use instead of the others.

Every argument of aiohttp 3.12 to 3.14 is in one of the two tables. What has an effect is passed on; the rest is refused, because a setting
without effect is found out in production.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractCookieJar
from yarl import URL

from mux_async.errors import ConfigurationError
from mux_async.transport import TransportSettings, check_options

HONOURED: Final = frozenset({
    "connector", "connector_owner", "cookie_jar", "cookies", "headers", "max_field_size", "max_headers",
    "max_line_size", "middlewares", "proxy_auth", "raise_for_status", "request_class", "response_class",
    "trace_configs", "version",
})  # fmt: skip
_TIMEOUT = "use Mux(timeouts=Timeouts(...)) for an attempt and deadline= for a call"
_BODIES = "bodies are made and read by the client"
_REDIRECTS = "redirects are never followed"
REFUSED: Final = {
    "auth": "the client authorises its requests: Mux(token_id=..., token_secret=...)",
    "auto_decompress": "the client decompresses answers itself, within max_response_bytes",
    "base_url": "use Mux(base_url=...)",
    "conn_timeout": _TIMEOUT,
    "fallback_charset_resolver": _BODIES,
    "json_serialize": _BODIES,
    "json_serialize_bytes": _BODIES,
    "loop": "a transport belongs to the event loop that runs when it is made",
    "proxy": "use TransportSettings(proxy=...)",
    "read_bufsize": "how far the transport reads ahead is bounded together with what surrounds a body",
    "read_timeout": _TIMEOUT,
    "requote_redirect_url": _REDIRECTS,
    "skip_auto_headers": "aiohttp adds no headers to these requests",
    "ssl_shutdown_timeout": "it belongs to the connector: options={'connector': aiohttp.TCPConnector(ssl_shutdown_timeout=...)}",
    "timeout": _TIMEOUT,
    "trust_env": "use TransportSettings(trust_env=...)",
    "ws_response_class": "there are no websockets here",
}
_OWN_HEADERS: Final = frozenset({
    hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.AUTHORIZATION, hdrs.CONNECTION, hdrs.CONTENT_ENCODING,
    hdrs.CONTENT_LENGTH, hdrs.CONTENT_TYPE, hdrs.EXPECT, hdrs.HOST, hdrs.TRANSFER_ENCODING, hdrs.UPGRADE,
    hdrs.USER_AGENT,
})  # fmt: skip
"""Requests have their own, or the transport writes them: a default would be without effect, or break the request."""
_KINDS: Final = {"connector": aiohttp.BaseConnector, "cookie_jar": AbstractCookieJar}
_MEMBERS: Final[dict[str, Callable[[object], bool]]] = {
    "middlewares": callable,
    "trace_configs": lambda value: isinstance(value, aiohttp.TraceConfig),
}
_OF_A_CONNECTOR: Final = ("max_connections", "keepalive", "ssl_context")


class _GivenCookies(aiohttp.CookieJar):
    """Holds the cookies of the session's ``cookies`` argument, and keeps none of an answer."""

    def __init__(self, cookies: Any) -> None:
        super().__init__(unsafe=True)  # for servers without a name too
        super().update_cookies(cookies)

    def update_cookies(self, cookies: Any, response_url: URL = URL()) -> None:  # noqa: B008 - aiohttp's own signature
        pass

    def update_cookies_from_headers(self, headers: Sequence[str], response_url: URL) -> None:
        pass


def check_settings(settings: TransportSettings) -> None:
    """Refuse an option that is unknown, or has no effect here, alone or together with another setting. Needs no event loop."""
    options = settings.options
    known = HONOURED & set(inspect.signature(aiohttp.ClientSession).parameters)
    check_options("aiohttp", options, valid=known, refused=REFUSED)
    for name, kind in _KINDS.items():
        value = options.get(name)
        if value is not None and not isinstance(value, kind):
            raise ConfigurationError(
                f"options={{{name!r}: ...}} is of type {type(value).__name__}; it must be an {kind.__name__}"
            )
    for name, fits in _MEMBERS.items():
        members: Any = options.get(name)
        if members is None:
            continue
        if not isinstance(members, Sequence) or not all(map(fits, cast("Sequence[object]", members))):
            raise ConfigurationError(f"options={{{name!r}: ...}} is no list of {name.replace('_', ' ')}")
    if options.get("raise_for_status"):
        raise _useless("raise_for_status", "an answer with an error status becomes an error of mux_async, or is sent again")
    if options.get("proxy_auth") is not None and settings.proxy is None:
        raise _useless("proxy_auth", "it needs TransportSettings(proxy=...)")
    if options.get("cookies") is not None and options.get("cookie_jar") is not None:
        raise _useless("cookies", "they go into the 'cookie_jar' that is given too")
    if options.get("connector") is not None:
        defaults = TransportSettings()
        for name in _OF_A_CONNECTOR:
            if getattr(settings, name) != getattr(defaults, name):
                raise ConfigurationError(
                    f"TransportSettings({name}=...) has no effect with options={{'connector': ...}}: set it on the connector"
                )
    headers: Any = options.get("headers")
    if headers is not None:
        try:
            given = sorted({name.title() for name in dict(headers)} & {str(name) for name in _OWN_HEADERS})
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigurationError(f"options={{'headers': ...}} is no mapping of names to values: {error}") from error
        if given:
            raise _useless("headers", f"each request has its own {', '.join(given)}; use Mux(headers=...) for those of the API")
    if settings.proxy is not None and not settings.proxy.lower().startswith(("http://", "https://")):
        raise ConfigurationError("the aiohttp transport takes a proxy of the form http://host:port or https://host:port")


def _useless(name: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"options={{{name!r}: ...}} has no effect on the 'aiohttp' transport: {reason}")


def check_session(session: aiohttp.ClientSession) -> None:
    """Refuse a session that was handed in and has credentials of its own, for every host."""
    if session.auth is not None or hdrs.AUTHORIZATION in session.headers:
        raise ConfigurationError(
            "the session has credentials of its own (auth=, or a default header 'Authorization'), which would go to every host: "
            "make one without, the client authorises its requests"
        )


def open_session(settings: TransportSettings) -> aiohttp.ClientSession:
    """Make a session with *settings*, which must pass `check_settings`, in the running event loop."""
    check_settings(settings)
    options: dict[str, Any] = dict(settings.options)
    cookies = options.pop("cookies", None)
    try:
        if options.get("cookie_jar") is None:
            options["cookie_jar"] = aiohttp.DummyCookieJar() if cookies is None else _GivenCookies(cookies)
        if options.get("connector") is None:
            options["connector"] = aiohttp.TCPConnector(
                limit=settings.max_connections,
                keepalive_timeout=settings.keepalive,
                ssl=settings.ssl_context if settings.ssl_context is not None else True,
            )
        if "middlewares" in options:
            options["middlewares"] = tuple(options["middlewares"] or ())
        return aiohttp.ClientSession(proxy=settings.proxy, **options)
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ConfigurationError(f"aiohttp cannot be set up with these TransportSettings: {error}") from error
