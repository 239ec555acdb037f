"""The options of a new asset, normalized from all forms that requests may use (facts/BEHAVIOUR.md, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

from mux_async.emulator.http._addresses import is_url
from mux_async.emulator.http._messages import invalid
from mux_async.emulator.state._ids import is_well_formed
from mux_async.emulator.state._serialization import ENCODING_TIERS
from mux_async.emulator.state._state import Environment, Json

_QUALITY_OF_TIER = {tier: quality for quality, tier in ENCODING_TIERS.items()}
CLIP_SCHEME = "mux"


def normalized(options: Mapping[str, Any]) -> Json:
    """Return validated *options* with ``inputs`` as objects, plural ``playback_policies``, and no deprecated members."""
    result = dict(options)
    inputs = _listed(result.pop("inputs", None) or result.pop("input", None))
    result.pop("input", None)
    if inputs:
        result["inputs"] = [{"url": entry} if isinstance(entry, str) else entry for entry in inputs]
        for entry in result["inputs"]:
            _check_input(entry)
    policies = _listed(result.pop("playback_policies", None) or result.pop("playback_policy", None))
    result.pop("playback_policy", None)
    if policies:
        result["playback_policies"] = policies
    tier = result.pop("encoding_tier", None)
    if tier is not None and "video_quality" not in result:
        result["video_quality"] = _QUALITY_OF_TIER[tier]
    _check_downloads(result)
    for entry in result.get("advanced_playback_policies", ()):
        check_policy(entry)
    return result


def clip_source(url: str) -> str | None:
    """Return the asset id of a ``mux://assets/{ID}`` URL; ``None`` for other URLs."""
    parts = urlsplit(url)
    if parts.scheme != CLIP_SCHEME or parts.netloc != "assets":
        return None
    return parts.path.strip("/")


def _listed(value: object) -> list[Any]:
    if value is None:
        return []
    return [*cast("Iterable[Any]", value)] if isinstance(value, list) else [value]


def _check_input(entry: Mapping[str, Any]) -> None:
    url = entry.get("url")
    if url is not None:
        check_url(url)
    source = None if url is None else clip_source(url)
    start, end = entry.get("start_time"), entry.get("end_time")
    if source is None:
        if start is not None or end is not None:
            raise invalid("start_time and end_time are only allowed with mux://assets/{ASSET_ID} inputs")
        return
    if not is_well_formed(source):
        raise invalid(f'Asset id "{source}" was invalid')
    if end is not None and end - (start or 0) < 0.5:
        raise invalid("a clip must be at least 500 milliseconds long")


def check_url(url: str, name: str = "url", example: str = "https://example.com/film.mp4") -> None:
    """Refuse what cannot be a URL; what Mux answers is not known. Raises `ApiError` (400).

    Schemes that Mux does not fetch, or send to, fail later.
    """
    if not is_url(url):
        raise invalid(f'{name} must be a URL with scheme and host, such as {example}, not "{url[:80]}"')


def _check_downloads(options: Mapping[str, Any]) -> None:
    asked: list[str] = [entry["resolution"] for entry in options.get("static_renditions", ())]
    if asked and options.get("mp4_support", "none") != "none":
        raise invalid("static_renditions and mp4_support cannot be used together")
    check_resolutions(asked)


def check_resolutions(asked: list[str]) -> None:
    """Refuse a set of static renditions that cannot go together (facts/BEHAVIOUR.md, section 4.5). Raises `ApiError` (400)."""
    if "highest" in asked and any(resolution not in {"highest", "audio-only"} for resolution in asked):
        raise invalid("the highest static rendition cannot be combined with specific resolutions")
    if len(set(asked)) != len(asked):
        raise invalid("a static rendition can be asked for only once")


def check_drm(environment: Environment, entries: Iterable[Mapping[str, Any]]) -> None:
    """Refuse playback policies that name a DRM configuration which the environment does not have. Raises `ApiError` (400)."""
    for entry in entries:
        wanted = entry.get("drm_configuration_id")
        if wanted is not None and wanted not in environment.drm_configurations:
            raise invalid(f"there is no DRM configuration {wanted}")


def check_policy(entry: Mapping[str, Any]) -> None:
    """Refuse a DRM configuration without the DRM policy. Raises `ApiError` (400)."""
    if "drm_configuration_id" in entry and entry.get("policy") != "drm":
        raise invalid("drm_configuration_id is only allowed with the drm policy")
