"""The conformance check finds what it is there to find: an adapter that breaks one promise fails the check of that promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from mux_async.errors import ConnectError, Delivery, Phase, TransportError
from mux_async.testing import CHECKS, ConformanceError, check_transport
from mux_async.transport import Body, HttpRequest, HttpResponse, TransportSettings
from mux_async_aiohttp import AiohttpTransport

pytestmark = pytest.mark.asyncio

BY_NAME = {check.name: check for check in CHECKS}


class Meddled(AiohttpTransport):
    """An adapter whose requests to aiohttp are changed on their way."""

    def __init__(self, settings: TransportSettings, options: dict[str, Any]) -> None:
        super().__init__(settings)
        self._fast_path = None  # all of them over the session path
        vars(self._session)["_retry_connection"] = True  # a habit that the adapter has turned off
        request = self._session.request
        self._session = _Session(self._session, lambda *args, **kwargs: request(*args, **{**kwargs, **options}))  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
        vars(self._session_path)["_session"] = self._session


class _Session:
    def __init__(self, session: aiohttp.ClientSession, request: Callable[..., Any]) -> None:
        self._session = session
        self.request = request

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"allow_redirects": True}, "redirect to another host"),
        ({"auto_decompress": True}, "compressed body"),
        ({}, "lost on a kept connection"),
        ({}, "lost before an answer"),
        ({"skip_auto_headers": ()}, "headers as given"),
        ({"skip_auto_headers": ()}, "request without body"),
        ({"headers": {}}, "headers as given"),
    ],
)
async def test_habits_of_a_library(options: dict[str, Any], name: str) -> None:
    """An adapter that leaves a habit of its library turned on is found out."""
    with pytest.raises(ConformanceError):
        await check_transport(lambda settings: Meddled(settings, options), [BY_NAME[name]])


async def test_cookies_kept() -> None:
    """An adapter that keeps cookies is found out."""

    def create(settings: TransportSettings) -> AiohttpTransport:
        return AiohttpTransport(TransportSettings(options={"cookie_jar": aiohttp.CookieJar(unsafe=True)}))

    with pytest.raises(ConformanceError, match="cookie"):
        await check_transport(create, [BY_NAME["no cookies"]])


async def test_environment_trusted() -> None:
    """An adapter that asks the environment for proxies unasked is found out."""
    with pytest.raises(ConformanceError, match="unasked"):
        await check_transport(
            lambda _: AiohttpTransport(TransportSettings(trust_env=True)), [BY_NAME["proxies of the environment"]]
        )


async def test_framing_without_a_bound() -> None:
    """An adapter that reads interim answers for as long as they come is found out."""

    def create(settings: TransportSettings) -> AiohttpTransport:
        return AiohttpTransport(session=sessions[-1])

    sessions: list[aiohttp.ClientSession] = []
    async with aiohttp.ClientSession() as session:
        sessions.append(session)
        with pytest.raises(ConformanceError, match=r"endless interim answers: .* bytes were read"):
            await check_transport(create, [BY_NAME["endless answer"]])


class Wrapper:
    """An adapter with a fault of its own around a good one."""

    def __init__(self, settings: TransportSettings) -> None:
        self.inner = AiohttpTransport(settings)

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        return await self.inner.send(request)

    async def aclose(self) -> None:
        await self.inner.aclose()


class SendsTwice(Wrapper):
    async def send(self, request: HttpRequest, /) -> HttpResponse:
        try:
            return await self.inner.send(request)
        except TransportError:
            return await self.inner.send(request)


class CallsEverythingUnsent(Wrapper):
    async def send(self, request: HttpRequest, /) -> HttpResponse:
        try:
            return await self.inner.send(request)
        except TransportError as error:
            raise ConnectError("never sent, for sure") from error


class CallsEverythingAmbiguous(Wrapper):
    async def send(self, request: HttpRequest, /) -> HttpResponse:
        try:
            return await self.inner.send(request)
        except TransportError as error:
            raise TransportError("who knows", delivery=Delivery.MAYBE_PROCESSED, phase=Phase.READ_HEAD) from error


class LeavesGeneratorsOpen(Wrapper):
    kept: list[object]

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        if isinstance(request.body, Body):
            self.kept = [request.body.chunks()]
            await anext(self.kept[0])  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
        return await self.inner.send(request)


class NeverCloses(Wrapper):
    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize(
    ("adapter", "name"),
    [
        (SendsTwice, "lost before an answer"),
        (CallsEverythingUnsent, "lost before an answer"),
        (CallsEverythingUnsent, "silence before an answer"),
        (CallsEverythingAmbiguous, "refused connection"),
        (CallsEverythingAmbiguous, "untrusted certificate"),
        (LeavesGeneratorsOpen, "streamed body with length"),
        (NeverCloses, "used after closing"),
    ],
)
async def test_faults_of_an_adapter(adapter: type[Wrapper], name: str) -> None:
    """An adapter that says or does something else than it should is found out."""
    made: list[Wrapper] = []

    def create(settings: TransportSettings) -> Wrapper:
        made.append(adapter(settings))
        return made[-1]

    try:
        with pytest.raises(ConformanceError):
            await check_transport(create, [BY_NAME[name]])
    finally:
        for wrapper in made:
            await wrapper.inner.aclose()


async def test_names() -> None:
    """Every check has a name of its own and says what it claims."""
    assert len(BY_NAME) == len(CHECKS)
    assert all(check.claim.endswith(".") for check in CHECKS)
