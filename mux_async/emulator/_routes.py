"""The routes of every API operation that the emulator serves, apart from the Data API."""

from __future__ import annotations

from mux_async.emulator.live import _live_streams, _spaces, _web_inputs
from mux_async.emulator.resources import (
    _asset_parts,
    _assets,
    _drm_configurations,
    _playback_restrictions,
    _shots,
    _signing_keys,
    _transcription_vocabularies,
    _uploads,
    _usage,
    _webhook_endpoints,
)
from mux_async.emulator.robots import _directives, _jobs
from mux_async.emulator.routing._router import Route

ROUTES: tuple[Route, ...] = (
    *_asset_parts.ROUTES,
    *_assets.ROUTES,
    *_directives.ROUTES,
    *_drm_configurations.ROUTES,
    *_live_streams.ROUTES,
    *_playback_restrictions.ROUTES,
    *_jobs.ROUTES,
    *_shots.ROUTES,
    *_signing_keys.ROUTES,
    *_spaces.ROUTES,
    *_uploads.ROUTES,
    *_usage.ROUTES,
    *_transcription_vocabularies.ROUTES,
    *_web_inputs.ROUTES,
    *_webhook_endpoints.ROUTES,
)
