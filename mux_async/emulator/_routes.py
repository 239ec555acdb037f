"""Every operation of the API that the emulator serves: the route tables of all resources."""

from __future__ import annotations

from mux_async.emulator import (
    _asset_parts,
    _assets,
    _directives,
    _drm_configurations,
    _live_streams,
    _restrictions,
    _robots,
    _shots,
    _signing_keys,
    _spaces,
    _uploads,
    _usage,
    _vocabularies,
    _web_inputs,
    _webhooks,
)
from mux_async.emulator._router import Route

ROUTES: tuple[Route, ...] = (
    *_asset_parts.ROUTES,
    *_assets.ROUTES,
    *_directives.ROUTES,
    *_drm_configurations.ROUTES,
    *_live_streams.ROUTES,
    *_restrictions.ROUTES,
    *_robots.ROUTES,
    *_shots.ROUTES,
    *_signing_keys.ROUTES,
    *_spaces.ROUTES,
    *_uploads.ROUTES,
    *_usage.ROUTES,
    *_vocabularies.ROUTES,
    *_web_inputs.ROUTES,
    *_webhooks.ROUTES,
)
