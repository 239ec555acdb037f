"""``GET /metrics``: what `mux_async.otel` measures, for Prometheus.

It needs ``pip install 'mux-async[otel]' opentelemetry-sdk opentelemetry-exporter-prometheus``.
"""

from __future__ import annotations

from fastapi import FastAPI, Response
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from mux_async import Mux
from mux_async.otel import instrument


def add_metrics(app: FastAPI, mux: Mux) -> None:
    """Measure what *mux* does, and the webhooks of the router that it is attached to. Keep ``/metrics`` from the public."""
    registry = CollectorRegistry()
    instrument(mux, meter_provider=MeterProvider([PrometheusMetricReader(registry=registry)]))

    @app.get("/metrics", include_in_schema=False)
    def show_metrics() -> Response:  # not asynchronous: it runs in a thread, and writing many series takes milliseconds
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
