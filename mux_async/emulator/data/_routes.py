"""All operations of the Data API."""

from __future__ import annotations

from mux_async.emulator.data import (
    _annotations,
    _dimension_values,
    _engagement,
    _errors,
    _exports,
    _incidents,
    _metric_values,
    _monitoring,
    _subviews,
    _video_views,
)

OPERATIONS = (
    *_annotations.OPERATIONS,
    *_dimension_values.OPERATIONS,
    *_engagement.OPERATIONS,
    *_errors.OPERATIONS,
    *_exports.OPERATIONS,
    *_incidents.OPERATIONS,
    *_metric_values.OPERATIONS,
    *_monitoring.OPERATIONS,
    *_subviews.OPERATIONS,
    *_video_views.OPERATIONS,
)
