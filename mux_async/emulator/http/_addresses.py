"""Names and addresses of hosts, as URLs, ``Host`` headers and settings have them."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

MUX: Final = "mux.com"
COLLECTION: Final = "litix.io"
"""Players send beacons to hosts below it (facts/NEWER.md, section 7)."""
MUX_DOMAINS: Final = (MUX, COLLECTION)

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")


def is_loopback(host: str) -> bool:
    """Whether *host*, a name or an address without a port, is this machine. No name is resolved."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_url(text: str) -> bool:
    """Whether *text* can be a URL with scheme and host: no blank, no impossible port, no control characters."""
    try:
        parts = urlsplit(text)
        return bool(parts.scheme and parts.hostname) and (parts.port is None or parts.port > 0) and text.isprintable()
    except ValueError:  # brackets that do not match, or a port above 65535
        return False


def host_name(host: str) -> str | None:
    """Return a ``Host`` header without its port and in lower case; ``None`` if it is not a host."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    is_whole = not (parts.path or parts.query or parts.fragment or "@" in host)
    return parts.hostname if is_whole else None


def is_within(name: str, domain: str) -> bool:
    """Whether *name* is *domain* or below it; both in lower case."""
    return name == domain or name.endswith(f".{domain}")


def domain_name(text: str, labels: int = 2) -> str:
    """Return a domain name in lower case and in its ASCII form (``xn--...``), as ``Host`` headers have it.

    Raises:
        ValueError: It is not a domain name of at least so many labels; the message says why.
    """
    name = text.strip().lower().removesuffix(".")
    try:
        ascii_name = name.encode("idna").decode()
        is_exact = name.isascii() or ascii_name.encode().decode("idna") == name
    except UnicodeError:
        raise ValueError(f"{text!r:.100} is not a domain name") from None
    if not is_exact:
        # The codec of the standard library maps some letters otherwise than browsers do.
        raise ValueError(f"{text!r:.100} has letters with more than one ASCII form: write it as browsers send it, xn--...")
    parts = ascii_name.split(".")
    if len(ascii_name) > 253 or len(parts) < labels or not all(map(_LABEL.fullmatch, parts)) or parts[-1].isdigit():
        raise ValueError(f"{text!r:.100} is not a domain name: it looks like 'video.example.com', without scheme, port or path")
    return ascii_name
