"""Transports without a network keep the part of the contract that applies to them: the emulator's, and the fake."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from mux_async import emulator
from mux_async.emulator import EmulatorTransport
from mux_async.testing import (
    IN_PROCESS_CHECKS,
    Check,
    FakeTransport,
    Received,
    Script,
    SentRequest,
    check_in_process,
    respond,
)
from mux_async.transport import HttpResponse, Transport

pytestmark = pytest.mark.anyio


class _Conversation:
    """One request, as the emulator's transport passes it on, answered by a script instead of an emulator."""

    is_refused = False

    def __init__(self, script: Script, request: emulator.Request) -> None:
        self._script = script
        self._request = request
        self._body = bytearray()

    def feed(self, data: bytes) -> bool:
        self._body += data
        return True

    def finish(self) -> emulator.Reply:
        request = self._request
        headers = CIMultiDict(request.headers)
        headers["Host"] = request.origin.partition("://")[2]
        reply = self._script(Received(request.method, request.target, CIMultiDictProxy(headers), bytes(self._body)))
        body = reply.body if isinstance(reply.body, bytes) else b"".join(reply.body)
        return emulator.Reply(emulator.Response(reply.status, reply.headers, body))

    def cut(self) -> None:
        pass


class _Endpoint:
    def __init__(self, script: Script) -> None:
        self._script = script

    def begin(self, request: emulator.Request) -> _Conversation:
        return _Conversation(self._script, request)


def connect_emulator(script: Script) -> Transport:
    return EmulatorTransport(_Endpoint(script))


def connect_fake(script: Script) -> Transport:
    def handler(request: SentRequest) -> HttpResponse:
        headers = CIMultiDict(request.headers)
        origin, _, rest = request.url.removeprefix("http://").partition("/")
        headers["Host"] = origin
        if request.content:
            headers["Content-Length"] = str(len(request.content))
        reply = script(Received(request.method, f"/{rest}", CIMultiDictProxy(headers), request.content))
        return respond(reply.status, body=b"" if request.method == "HEAD" else reply.body, headers=reply.headers)

    return FakeTransport(handler)


@pytest.mark.parametrize("check", IN_PROCESS_CHECKS, ids=str)
async def test_emulator(check: Check) -> None:
    """The emulator's in-process transport keeps the promise that the check is about."""
    await check_in_process(connect_emulator, [check])


# The fake reads a body before it knows how it will be framed.
@pytest.mark.parametrize("check", [c for c in IN_PROCESS_CHECKS if c.name != "streamed body without length"], ids=str)
async def test_fake(check: Check) -> None:
    """The fake transport keeps the promise that the check is about."""
    await check_in_process(connect_fake, [check])
