"""For tests of programs that use `mux_async`, and of transports written for it. Imports no HTTP library."""

from mux_async.testing._aioresponses import patched_aioresponses
from mux_async.testing._bench import Check, ConformanceError, Connect
from mux_async.testing._conformance import CHECKS, IN_PROCESS_CHECKS, check_in_process, check_transport
from mux_async.testing._fake import FakeBody, FakeTransport, Handler, SentRequest, respond
from mux_async.testing._loopback import Received, Reply, Script
from mux_async.testing._virtual_time import VirtualTimeLoop, virtual_trio_options

__all__ = [
    "CHECKS",
    "IN_PROCESS_CHECKS",
    "Check",
    "ConformanceError",
    "Connect",
    "FakeBody",
    "FakeTransport",
    "Handler",
    "Received",
    "Reply",
    "Script",
    "SentRequest",
    "VirtualTimeLoop",
    "check_in_process",
    "check_transport",
    "patched_aioresponses",
    "respond",
    "virtual_trio_options",
]
