"""The origin that a client of the HTTP server used: URLs in responses begin with it."""

from __future__ import annotations

import re

from aiohttp import web

from mux_async.emulator.http._addresses import host_name

_FORWARDED = re.compile(r"""(?:^|;)\s*(proto|host)\s*=\s*"?([^";,\s]+)""", re.IGNORECASE)


def url_host(host: str) -> str:
    """Return an address as URLs have it: IPv6 in brackets. A wildcard address becomes that of this machine."""
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"[{host}]" if ":" in host else host


def origin_of_client(request: web.BaseRequest) -> str:
    """Return scheme and host that the client used; the address of the socket if ``Host`` is missing (HTTP/1.0) or invalid.

    A proxy may have ended TLS before this server: then ``X-Forwarded-Proto`` or ``Forwarded`` (RFC 7239) says ``https``. That is
    believed if the proxy left ``Host`` as it was. Otherwise the proxy's scheme would be put before the address of this server, which
    speaks plain HTTP.
    """
    host = request.headers.get("Host", "")
    own = _own_address(request)
    if not host_name(host):
        return f"{request.scheme}://{own}"
    is_https = request.scheme == "https" or (_is_forwarded_https(request, host) and _port(host) != _port(own))
    return f"{'https' if is_https else 'http'}://{host}"


def _is_forwarded_https(request: web.BaseRequest, host: str) -> bool:
    """Whether a proxy says that the client used TLS, for this very host. Of several proxies the first counts."""
    first = {name.lower(): value for name, value in _FORWARDED.findall(_first(request, "Forwarded"))}
    scheme = _first(request, "X-Forwarded-Proto") or first.get("proto", "")
    named = _first(request, "X-Forwarded-Host") or first.get("host", "")
    return scheme.lower() == "https" and named.lower() in {"", host.lower()}


def _first(request: web.BaseRequest, name: str) -> str:
    return request.headers.get(name, "").partition(",")[0].strip()


def _own_address(request: web.BaseRequest) -> str:
    found = None if request.transport is None else request.transport.get_extra_info("sockname")
    return "localhost" if found is None else f"{url_host(found[0])}:{found[1]}"


def _port(host: str) -> str:
    return host.rpartition(":")[2] if not host.endswith("]") else ""
