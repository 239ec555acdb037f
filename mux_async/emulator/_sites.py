"""Mux's host names, and those of custom domains: which requests each of them serves.

All hosts are one server here, and ``Host`` tells them apart. Under any other name (localhost, an address, a name of a container) everything
is on one origin, and a request without ``Host``, as of a client in the same process, is not restricted either.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from mux_async.emulator.control._api import CONTROL_PREFIX, is_download
from mux_async.emulator.http._addresses import COLLECTION, MUX, host_name, is_within
from mux_async.emulator.http._messages import ApiError, Request, Response, invalid, not_found
from mux_async.emulator.playback import _drm_licenses, _viewer_counts
from mux_async.emulator.playback._hosts import CORS
from mux_async.emulator.resources import _uploads
from mux_async.emulator.state._ids import is_well_formed

API_FAMILIES: Final = frozenset({"video", "data", "system", "robots"})

Kind: TypeAlias = Literal[
    "api", "collection", "control", "download", "image", "license", "master", "page", "stats", "stream", "upload"
]
Site: TypeAlias = Literal["api", "collection", "domain", "image", "license", "master", "nothing", "stats", "stream", "uploads"]

_SERVED: Final[Mapping[Site, frozenset[Kind]]] = {
    # URLs in responses of the API begin with the host of the request: those of uploads, downloads and masters.
    "api": frozenset({"api", "download", "master", "upload"}),
    "stream": frozenset({"stream"}),
    "image": frozenset({"image"}),
    "license": frozenset({"license"}),
    "stats": frozenset({"stats"}),
    "master": frozenset({"master"}),
    "uploads": frozenset({"upload"}),
    "collection": frozenset({"collection"}),
    "domain": frozenset({"stream", "image", "license", "collection"}),
    "nothing": frozenset(),
}
_MUX_SITES: Final[Mapping[str, Site]] = {
    "api": "api",
    "stream": "stream",
    "image": "image",
    "license": "license",
    "stats": "stats",
    "master": "master",
    "direct-uploads": "uploads",
    "storage": "uploads",
}
_DOMAIN_SITES: Final[Mapping[str, Site]] = {"": "domain", "stream": "stream", "image": "image", "license": "license"}
"""What players put before a custom domain."""
_IMAGES: Final = frozenset({"thumbnail", "animated", "storyboard"})


def kind_of(request: Request) -> Kind:
    """Return what a request is for, by its path."""
    match request.segments:
        case ("",):
            return "page" if request.method in {"GET", "HEAD"} else "collection"
        case (family, *_) if family in API_FAMILIES:
            return "api"
        case (_uploads.UPLOAD_PREFIX, *_):
            return "upload"
        case (first, *_) if first == CONTROL_PREFIX:
            return "download" if is_download(request) else "control"
        case (family, *_) if family in _drm_licenses.FAMILIES:
            return "license"
        case _viewer_counts.PATH:
            return "stats"
        case (_, "master.mp4"):
            return "master"
        case (_, name) if name.partition(".")[0] in _IMAGES:
            return "image"
        case _:
            return "stream"


class Sites:
    """Finds the site of a request. *domains* are custom domains, as `domain_name` returns them."""

    def __init__(self, domains: Collection[str]) -> None:
        self._domains = sorted(domains, key=len, reverse=True)  # a domain may be below another
        self._find = lru_cache(maxsize=256)(self._site_of)

    def find(self, request: Request) -> Site | None:
        """Return the site that ``Host`` names; ``None`` for a name that serves everything."""
        host = request.headers.get("Host")
        return None if host is None else self._find(host)

    def _site_of(self, host: str) -> Site | None:
        name = (host_name(host) or "").removesuffix(".")
        for domain in self._domains:
            prefix = _before(name, domain)
            if prefix is not None:
                return _DOMAIN_SITES.get(prefix, "nothing")
        if is_within(name, COLLECTION):
            return "collection"
        prefix = _before(name, MUX)
        return None if prefix is None else _MUX_SITES.get(prefix.partition(".")[0], "nothing")

    def refusal(self, request: Request) -> Response | None:
        """Return the response to a request that its host does not serve; ``None`` if it does."""
        site = self.find(request)
        if site is None or kind_of(request) in _SERVED[site]:
            return None
        error = _unplayable(request) if site in {"stream", "image", "domain"} else not_found()
        # Pages of any origin use all hosts but that of the API (facts/BEHAVIOUR.md, section 1.1).
        return error.response().with_headers({} if site == "api" else CORS)

    def is_for_programs(self, request: Request) -> bool:
        """Whether the API is on the request's host, so that URLs of the API may begin with it."""
        return self.find(request) in {None, "api"}


def _before(name: str, domain: str) -> str | None:
    """Return the labels before *domain*; ``None`` if *name* is not in it."""
    return name.removesuffix(domain).removesuffix(".") if is_within(name, domain) else None


def _unplayable(request: Request) -> ApiError:
    """400 for what cannot be a playback id, else 404 (facts/BEHAVIOUR.md, section 9.1)."""
    playback_id = request.segments[0].partition(".")[0]
    return not_found() if is_well_formed(playback_id) else invalid("Failed to parse ID")
