"""Access control for the control calls below ``/_emulator`` and for the page. They need no token: where a request comes from decides.

Two kinds of request are refused. First, a browser sends requests for any open page, and names the page in ``Origin`` and
``Sec-Fetch-Site``. Second, a page whose name resolves to this machine (DNS rebinding) looks like the emulator's own page, except in
``Host``. The emulated API is open to pages, as Mux's is, and needs a token.
"""

from __future__ import annotations

from collections.abc import Collection

from mux_async.emulator.http._addresses import host_name, is_loopback
from mux_async.emulator.http._messages import ApiError, Request

_OWN_SITES = {"same-origin", "none"}
"""``Sec-Fetch-Site`` of the emulator's own page, and of an address typed into the browser."""


def check_control_access(request: Request, hosts: Collection[str], *, is_page: bool = False) -> None:
    """Refuse requests from a foreign page or for a foreign host.

    Args:
        request: The request; in-process requests have no ``Host``.
        hosts: Names and addresses that count as the emulator's own, besides those of this machine.
        is_page: Whether it is for the page itself, which other pages may link to.

    Raises:
        ApiError: 403; the message says what allows it.
    """
    for host in request.headers.getall("Host", ()):
        if not _is_own(host, hosts):
            raise _refused(f"it is for the host {host!r:.200}", host_name(host) or host)
    if is_page:
        return
    is_declared = False
    for origin in request.headers.getall("Origin", ()):
        authority = origin.partition("://")[2]
        is_declared = host_name(authority) in hosts
        if authority not in request.headers.getall("Host", (request.origin.partition("://")[2],)) and not is_declared:
            raise _refused(f"it comes from a page of {origin!r:.200}", host_name(authority) or "HOST")
    site = request.headers.get("Sec-Fetch-Site", "none")
    if site not in _OWN_SITES and not is_declared:
        raise _refused(f"it comes from a foreign page (Sec-Fetch-Site: {site:.40})", "HOST")


def _is_own(host: str, hosts: Collection[str]) -> bool:
    name = host_name(host)
    return name is not None and (name in hosts or is_loopback(name))


def _refused(why: str, name: str) -> ApiError:
    return ApiError(
        403,
        "forbidden",
        f"this call of the emulator is refused, because {why}; if that is yours, start it with --allow-host {name} "
        f"or EmulatorSettings(allowed_hosts=({name!r},))",
    )
