"""Mux on your own machine: a stateful emulator of its API, uploads and playback.

The core is a function of a request and a time (`Emulator.handle`). It has two frontends: `EmulatorTransport` for a client in the same
process, and `mux_async.emulator.server.serve` (also ``mux-async emulate``) for clients in any language::

    emulator = Emulator(EmulatorSettings(time_to_ready=0.1))
    async with Mux(token_id="test-token", token_secret="test-secret", transport=EmulatorTransport(emulator)) as mux:
        asset = await mux.video.assets.create(inputs=[{"url": "https://example.com/film.mp4"}])
"""

from typing import TYPE_CHECKING

from mux_async.emulator._emulator import Emulator, StoredUpload
from mux_async.emulator._settings import (
    ALL_PERMISSIONS,
    DEFAULT_TOKEN,
    DataSource,
    EmulatorSettings,
    LimitModel,
    RateRules,
    RobotsPlan,
    Token,
    WebhookRetries,
    WebhookSettings,
)
from mux_async.emulator.faults._faults import Fault, Faults, WebhookFault, WebhookFaults, WorkFault, WorkFaults
from mux_async.emulator.faults._faults_file import read_faults_file
from mux_async.emulator.frontends._transport import EmulatorTransport
from mux_async.emulator.http._messages import Request, Response
from mux_async.emulator.media._probe import InputProblem, MediaInfo, MediaSource, Probe, synthetic_probe
from mux_async.emulator.routing._exchange import Arrival, ConnectionCutError, Exchange, Reply
from mux_async.emulator.state._records import Delivery, DeliveryAttempt, WebhookEvent
from mux_async.emulator.state._state_file import StateFileError
from mux_async.emulator.stub._examples import example_event
from mux_async.emulator.webhooks._deliveries import WebhookRequest, sign_webhook
from mux_async.emulator.webhooks._sender import Carrier, carry_webhooks, carrying

__all__ = [
    "ALL_PERMISSIONS",
    "DEFAULT_TOKEN",
    "Arrival",
    "Carrier",
    "ConnectionCutError",
    "DataSource",
    "Delivery",
    "DeliveryAttempt",
    "Emulator",
    "EmulatorSettings",
    "EmulatorTransport",
    "Exchange",
    "Fault",
    "Faults",
    "InputProblem",
    "LimitModel",
    "MediaInfo",
    "MediaSource",
    "Probe",
    "RateRules",
    "Reply",
    "Request",
    "Response",
    "RobotsPlan",
    "StateFileError",
    "StoredUpload",
    "Token",
    "WebhookEvent",
    "WebhookFault",
    "WebhookFaults",
    "WebhookRequest",
    "WebhookRetries",
    "WebhookSettings",
    "WorkFault",
    "WorkFaults",
    "carry_webhooks",
    "carrying",
    "example_event",
    "read_faults_file",
    "serve",
    "serve_tls",
    "sign_webhook",
    "synthetic_probe",
]


if TYPE_CHECKING:
    from mux_async.emulator.server import serve, serve_tls


def __getattr__(name: str) -> object:
    if name in {"serve", "serve_tls"}:  # aiohttp is imported with them, and only then
        from mux_async.emulator import server

        return getattr(server, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
