"""``/video/v1/drm-configurations``: read-only. Mux provisions them; here a setting does (facts/BEHAVIOUR.md, section 8.4)."""

from __future__ import annotations

from mux_async.emulator.resources._collections import list_route, retrieve_route
from mux_async.emulator.state._records import DrmConfiguration
from mux_async.emulator.state._state import Environment

_PATH = "/video/v1/drm-configurations"


def _configurations(environment: Environment) -> dict[str, DrmConfiguration]:
    return environment.drm_configurations


ROUTES = (list_route(_PATH, _configurations), retrieve_route(_PATH, "DRM_CONFIGURATION_ID", _configurations))
