"""Which arguments of httpx's ``AsyncHTTPTransport`` and ``AsyncClient`` have an effect here, and what to use instead of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mux_async.errors import ConfigurationError
from mux_async.transport import TransportSettings, check_options

HONOURED: Final = frozenset({"local_address", "socket_options", "uds"})
_REDIRECTS = "redirects are never followed"
_CLIENT = "httpx's client is not used, its transport is"
_HTTP = "this adapter speaks HTTP/1.1, and what it says of a request that failed holds for that"
REFUSED: Final = {
    "auth": "the client authorises its requests: Mux(token_id=..., token_secret=...)",
    "base_url": "use Mux(base_url=...)",
    "cert": "load it into the context: TransportSettings(ssl_context=...)",
    "cookies": _CLIENT,
    "default_encoding": "bodies are read by the client",
    "event_hooks": _CLIENT,
    "follow_redirects": _REDIRECTS,
    "headers": "use Mux(headers=...)",
    "http1": _HTTP,
    "http2": _HTTP,
    "limits": "use TransportSettings(max_connections=..., keepalive=...)",
    "max_redirects": _REDIRECTS,
    "mounts": _CLIENT,
    "params": "every call has its own, and extra_query=",
    "proxy": "use TransportSettings(proxy=...)",
    "retries": "whether a request is sent again is up to Mux(max_attempts=..., retry=...)",
    "timeout": "use Mux(timeouts=Timeouts(...)) for an attempt and deadline= for a call",
    "transport": "pass an object or a factory of your own: Mux(transport=...)",
    "trust_env": "use TransportSettings(trust_env=...)",
    "verify": "use TransportSettings(ssl_context=...)",
}
_KINDS: Final[dict[str, type]] = {"local_address": str, "socket_options": Sequence, "uds": str}
_NOT_BY_PROXY: Final = ("local_address", "socket_options", "uds")


def check_settings(settings: TransportSettings) -> None:
    """Refuse an option that is unknown, or has no effect here, alone or together with another setting. Needs no event loop."""
    options = settings.options
    check_options("httpx", options, valid=HONOURED, refused=REFUSED)
    for name, kind in _KINDS.items():
        value = options.get(name)
        if value is not None and not isinstance(value, kind):
            raise ConfigurationError(
                f"options={{{name!r}: ...}} is of type {type(value).__name__}; it must be a {kind.__name__}"
            )
    if settings.proxy is not None or settings.trust_env:
        for name in _NOT_BY_PROXY:
            if options.get(name) is not None:
                raise ConfigurationError(
                    f"options={{{name!r}: ...}} has no effect on connections to a proxy: leave one of the two out"
                )
    if settings.proxy is not None and settings.proxy.partition("://")[0].lower() not in {"http", "https", "socks5", "socks5h"}:
        raise ConfigurationError("the httpx transport takes a proxy of the form http://host:port, https://... or socks5://...")
