"""The operations of the API that the emulator serves. Those of the Data API need the views of the environment besides."""

from __future__ import annotations

from mux_async.emulator.data import (
    _annotations,
    _dimension_values,
    _engagement,
    _exports,
    _incidents,
    _metric_values,
    _monitoring,
    _subviews,
    _video_views,
)
from mux_async.emulator.data._requests import Operation
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

DATA_OPERATIONS: tuple[Operation, ...] = (
    *_annotations.OPERATIONS,
    *_dimension_values.OPERATIONS,
    *_engagement.OPERATIONS,
    *_exports.OPERATIONS,
    *_incidents.OPERATIONS,
    *_metric_values.OPERATIONS,
    *_monitoring.OPERATIONS,
    *_subviews.OPERATIONS,
    *_video_views.OPERATIONS,
)
