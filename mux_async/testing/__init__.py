"""For tests of programs that use `mux_async`, and of transports written for it. Imports no HTTP library."""

from typing import TYPE_CHECKING

from mux_async._lazy_exports import lazy_exports

if TYPE_CHECKING:
    from mux_async.testing._aioresponses import patched_aioresponses
    from mux_async.testing._bench import Check, ConformanceError, Connect
    from mux_async.testing._conformance import CHECKS, IN_PROCESS_CHECKS, check_in_process, check_transport
    from mux_async.testing._drift import check_drift
    from mux_async.testing._fake import FakeBody, FakeTransport, Handler, SentRequest, respond
    from mux_async.testing._virtual_time import VirtualTimeLoop, virtual_trio_options
    from mux_async.testing.loopback import Received, Reply, Script

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
    "check_drift",
    "check_in_process",
    "check_transport",
    "patched_aioresponses",
    "respond",
    "virtual_trio_options",
]

if not TYPE_CHECKING:  # a type checker would believe in every misspelt name
    # On first use, because pytest imports the plugin beside this in every project that has it installed.
    __getattr__ = lazy_exports(
        __name__,
        {
            "_aioresponses": ["patched_aioresponses"],
            "_bench": ["Check", "ConformanceError", "Connect"],
            "_conformance": ["CHECKS", "IN_PROCESS_CHECKS", "check_in_process", "check_transport"],
            "_drift": ["check_drift"],
            "_fake": ["FakeBody", "FakeTransport", "Handler", "SentRequest", "respond"],
            "loopback": ["Received", "Reply", "Script"],
            "_virtual_time": ["VirtualTimeLoop", "virtual_trio_options"],
        },
    )
