"""The in-process transport passes the conformance checks of transports."""

from __future__ import annotations

from urllib.parse import urlsplit

import attrs
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from mux_async.emulator import EmulatorTransport, Request, Response
from mux_async.emulator import Reply as EmulatorReply
from mux_async.testing import IN_PROCESS_CHECKS, Check, Received, Script, check_in_process

pytestmark = pytest.mark.anyio


@attrs.define
class _Scripted:
    """A replacement for an emulator that responds by a script."""

    script: Script
    request: Request | None = None
    body: bytes = b""
    is_refused: bool = False

    def begin(self, request: Request) -> _Scripted:
        return _Scripted(self.script, request)

    def feed(self, data: bytes) -> bool:
        self.body += data
        return True

    def finish(self) -> EmulatorReply:
        assert self.request is not None
        headers = CIMultiDict(self.request.headers)
        headers["Host"] = urlsplit(self.request.origin).netloc
        reply = self.script(
            Received(self.request.method, self.request.target, CIMultiDictProxy(headers), self.body, is_complete=True)
        )
        body = reply.body if isinstance(reply.body, bytes) else b"".join(reply.body)
        return EmulatorReply(Response(reply.status, reply.headers, body))

    def cut(self) -> None:
        pass


@pytest.mark.parametrize("check", IN_PROCESS_CHECKS, ids=str)
async def test_conformance(check: Check) -> None:
    """Each check that needs no network passes."""
    await check_in_process(lambda script: EmulatorTransport(_Scripted(script)), [check])
