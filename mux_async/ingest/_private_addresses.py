"""Addresses that a list from elsewhere may not name unasked: files of this machine by URL, and hosts of private networks.

Whoever writes a list decides what is read with the rights of whoever runs it, and sent. A path in a list is what lists are for; a ``file://``
URL, or a service of the own network, is what somebody else would put there. Judged by how the address is written: nothing is looked up, so
a public name that leads to a private address is not noticed.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final, cast
from urllib.parse import unquote, urlsplit

from mux_async.errors import InvalidRequestError

_FILES: Final = frozenset({"file", "local", "dir"})
"""Schemes by which fsspec reads files of this machine."""
_HOSTS: Final = frozenset(
    {"http", "https", "ftp", "ftps", "sftp", "ssh", "smb", "hdfs", "webhdfs", "dav", "webdav", "jupyter", "jlab"}
)
"""Schemes in which a host follows. In the others it is a bucket, an account or nothing, and only a written-out address counts."""
_PRIVATE_NAMES: Final = re.compile(
    r"localhost|.*\.(?:localhost|localdomain|local|internal|intranet|lan|home|corp|private|home\.arpa)|[^.]*"
)
"""Names that no public server has: reserved ones (RFC 6761, 6762, 8375), what private networks use, and names without a dot."""
_EMBEDDED: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv4 addresses in IPv6 ones, for translation (RFC 6052)."""
_CHAIN: Final = re.compile(r"::(?![^\[]*\])")


def check_public(address: str, settings: Mapping[str, object]) -> None:
    """Refuse an address of a list, or one in the settings beside it, that is private.

    Raises:
        InvalidRequestError: It is; the message says how to allow it.
    """
    for each in (address, *_addresses(settings)):
        if (what := _private(each)) is not None:
            raise InvalidRequestError(
                f"{_shown(each)!r} is {what}, and a list may come from elsewhere: name it yourself, or allow such addresses "
                "(--allow-private, make_plan(allow_private=True))"
            )


def _addresses(value: object, name: str = "") -> Iterator[str]:
    """Yield every URL in settings."""
    if isinstance(value, Mapping):
        for member, inner in cast("Mapping[str, object]", value).items():
            yield from _addresses(inner, member)
    elif isinstance(value, list | tuple):
        for inner in cast("list[object]", value):
            yield from _addresses(inner, name)
    elif isinstance(value, str) and name == "url":
        yield value


def _private(address: str) -> str | None:
    """Say what is private about *address*; ``None`` when it is not."""
    parts = [address] if address.partition("://")[0].lower() in {"http", "https"} else _CHAIN.split(address)
    for part in parts:
        scheme, found, rest = part.strip().partition(":")
        scheme = scheme.lower()
        if not found:
            if scheme in _FILES:
                return "a file of this machine"
            continue
        if scheme in _FILES:
            return "a file of this machine"
        if rest.startswith("//") and scheme != "mux":
            host = _host(f"{scheme}:{rest}")
            if host is None or _is_private(host, is_name=scheme in _HOSTS):
                return "an address of a private network"
    return None


def _host(address: str) -> str | None:
    """Return the host as a resolver would get it; ``None`` when it cannot be told."""
    try:
        # Browsers, and much else that fetches, take a backslash for a slash.
        host = urlsplit(address.replace("\\", "/")).hostname or ""
    except ValueError:
        return None
    return unicodedata.normalize("NFKC", unquote(host)).replace("\u3002", ".").lower().removesuffix(".")


def _is_private(host: str, *, is_name: bool) -> bool:
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        if not is_name:
            return False
        try:
            address = ipaddress.IPv4Address(socket.inet_aton(host))  # 127.1, 2130706433, 0x7f000001, 0177.0.0.1
        except (OSError, UnicodeEncodeError):
            return bool(host) and _PRIVATE_NAMES.fullmatch(host) is not None
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if inner is None and (address in _EMBEDDED or int(address) < 2**32):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        address = inner or address
    return not address.is_global or address.is_multicast


def _shown(address: str) -> str:
    """Return an address without what may be a password or a signature."""
    scheme, found, rest = address.partition("://")
    place = rest.partition("?")[0]
    host, slash, path = place.partition("/")
    return f"{scheme}{found}{host.rpartition('@')[2]}{slash}{path}"[:80]
