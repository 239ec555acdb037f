"""Refuses private addresses in manifests: ``file://`` URLs and hosts of private networks.

The author of a manifest decides what is read and sent with the rights of the user who runs it. Paths are allowed; a ``file://`` URL or a
service of a private network may be an attack. The check uses only the text of the address: names are not resolved, so a public name with
a private address is not detected.
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
from mux_async.ingest._items import without_secrets

_FILES: Final = frozenset({"file", "local", "dir"})
"""Schemes of fsspec for local files."""
_HOSTS: Final = frozenset(
    {"http", "https", "ftp", "ftps", "sftp", "ssh", "smb", "hdfs", "webhdfs", "dav", "webdav", "jupyter", "jlab"}
)
"""Schemes that are followed by a host. In others a bucket or an account follows, and only numeric addresses are checked."""
_PRIVATE_NAMES: Final = re.compile(
    r"localhost|.*\.(?:localhost|localdomain|local|internal|intranet|lan|home|corp|private|home\.arpa)|[^.]*"
)
"""Names of no public server: reserved ones (RFC 6761, 6762, 8375), names used in private networks, and names without a dot."""
_EMBEDDED: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv4 addresses in IPv6 ones, for translation (RFC 6052)."""
_CHAIN: Final = re.compile(r"::(?![^\[]*\])")


def check_public(address: str, settings: Mapping[str, object]) -> None:
    """Raise `InvalidRequestError` for a private address in a manifest, or in the settings of an item."""
    for each in (address, *_addresses(settings)):
        if (what := _private(each)) is not None:
            raise InvalidRequestError(
                f"{without_secrets(each)[:80]!r} is {what}, and manifests may be untrusted: name it yourself, or allow such addresses "
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
    """Return why *address* is private; ``None`` if it is not."""
    parts = [address] if address.partition("://")[0].lower() in {"http", "https"} else _CHAIN.split(address)
    for part in parts:
        scheme, _, rest = part.strip().partition(":")
        scheme = scheme.lower()
        if scheme in _FILES:
            return "a local file"
        if rest.startswith("//") and scheme != "mux":
            host = _host(f"{scheme}:{rest}")
            if host is None or _is_private(host, is_name=scheme in _HOSTS):
                return "an address of a private network"
    return None


def _host(address: str) -> str | None:
    """Return the host as a resolver would get it; ``None`` if the address is invalid."""
    try:
        # Browsers and many other clients treat a backslash as a slash.
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
