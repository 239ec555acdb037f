"""For tests of programs that use `mux_async`, and of transports written for it. Imports no HTTP library."""

from mux_async.testing._fake import FakeBody, FakeTransport, Handler, SentRequest, respond
from mux_async.testing._virtual_time import VirtualTimeLoop, virtual_trio_options

__all__ = [
    "FakeBody",
    "FakeTransport",
    "Handler",
    "SentRequest",
    "VirtualTimeLoop",
    "respond",
    "virtual_trio_options",
]
