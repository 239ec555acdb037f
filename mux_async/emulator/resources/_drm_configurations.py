"""``/video/v1/drm-configurations``: read-only. Mux provisions them; here a setting does (facts/BEHAVIOUR.md, section 8.4)."""

from __future__ import annotations

from mux_async.emulator.http._messages import Response, data
from mux_async.emulator.routing._router import ApiCall, Route
from mux_async.emulator.state._state import present


def _list(call: ApiCall) -> Response:
    found = call.page(list(reversed(call.environment.drm_configurations.values())))
    return data([present(configuration) for configuration in found])


def _retrieve(call: ApiCall) -> Response:
    wanted = call.params["DRM_CONFIGURATION_ID"]
    return data(present(call.environment.one(call.environment.drm_configurations, wanted)))


ROUTES = (
    Route("GET", "/video/v1/drm-configurations", _list),
    Route("GET", "/video/v1/drm-configurations/{DRM_CONFIGURATION_ID}", _retrieve),
)
