"""The session path: requests that the fast path does not take go through aiohttp's session.

Three habits of the session are turned off: it sends a request with an idempotent verb again if a kept connection turns out to be closed,
it adds headers of its own (both ``_exchange``), and it decompresses. The exchange and the payload (``_payload``) record how far a request
got; ``_errors`` maps aiohttp's exceptions.
"""

from __future__ import annotations

import aiohttp
from yarl import URL

from mux_async.transport import HttpRequest, HttpResponse, environment_proxy, mark_unsent
from mux_async_aiohttp._connection import CheckedProtocol, UnusableConnectionError
from mux_async_aiohttp._errors import failure
from mux_async_aiohttp._exchange import AUTO_HEADERS, ConnectionLostError, Exchange, check_head, middlewares_of
from mux_async_aiohttp._interception import perform
from mux_async_aiohttp._payload import RequestPayload


class SessionPath:
    """Sends requests through a session, which the transport may have made. *trusts_env*: whether the environment names the proxy."""

    def __init__(self, session: aiohttp.ClientSession, *, is_ours: bool, trusts_env: bool) -> None:
        self._session = session
        self._trusts_env = trusts_env
        self._middlewares = middlewares_of(session, is_ours=is_ours)

    async def send(self, request: HttpRequest, timeout: aiohttp.ClientTimeout) -> HttpResponse:
        """Perform one exchange, up to the head of the answer."""
        while True:
            payload = RequestPayload(request.body, request.timeouts.write) if request.body else None
            result = await self._try(request, payload, timeout)
            if not isinstance(result, UnusableConnectionError):
                return result
            is_taken = payload is not None and payload.is_begun and not isinstance(request.body, bytes)
            if result.is_new or is_taken:
                raise failure(result, request, payload)

    async def _try(
        self, request: HttpRequest, payload: RequestPayload | None, timeout: aiohttp.ClientTimeout
    ) -> HttpResponse | UnusableConnectionError:
        exchange = Exchange(self._session, request)
        try:
            check_head(request)
            response = await perform(
                self._session,
                request.method,
                URL(request.url, encoded=True),
                data=payload,
                headers=exchange.headers,
                skip_auto_headers=AUTO_HEADERS,
                timeout=timeout,
                allow_redirects=False,
                auto_decompress=False,
                raise_for_status=False,
                middlewares=(*self._middlewares, exchange),
                proxy=environment_proxy(request.url) if self._trusts_env else None,
            )
        except ConnectionLostError as lost:
            problem = lost.__cause__
        except Exception as error:  # noqa: BLE001 - aiohttp's, and those of middlewares, trace configs and whatever else was passed
            problem = error
        except BaseException as error:
            if payload is not None:
                await payload.settle()
            if exchange.has_begun is False or (exchange.has_begun and payload is not None and not payload.wrote):
                mark_unsent(error)
            raise
        else:
            if payload is None or payload.wrote or not payload.is_begun:
                return HttpResponse(
                    response.status, response.headers, SessionBody(response, request, payload, exchange.protocol)
                )
            response.close()  # it answers nothing: the body was still waited for
            problem = UnusableConnectionError(is_new=False)
        # Raised out here, so that the original, which may name the URL, is only attached where it is safe to show.
        if payload is not None:
            await payload.settle()
            problem = payload.refusal or problem
        if isinstance(problem, UnusableConnectionError):
            return problem
        raise failure(problem, request, payload, has_begun=exchange.has_begun)


class SessionBody:
    """The body of an answer. An iterator of itself, so that there is no generator to finalise when reading stops early."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        request: HttpRequest,
        payload: RequestPayload | None,
        protocol: CheckedProtocol | None,
    ) -> None:
        self._response = response
        self._protocol = protocol
        self._request = request
        self._payload = payload

    def __aiter__(self) -> SessionBody:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._response.content.readany()
        except Exception as error:  # noqa: BLE001 - as above
            problem = error
        except BaseException:
            self._response.close()
            raise
        else:
            if chunk:
                if self._protocol is not None:
                    self._protocol.give(len(chunk))
                return chunk
            raise StopAsyncIteration
        await self.aclose()
        raise failure(problem, self._request, self._payload, is_answered=True)

    async def aclose(self) -> None:
        # aiohttp keeps the connection when everything was read, and closes it when bytes remain or the request is still being sent.
        if not self._response.closed:
            self._response.release()
        if self._payload is not None:
            await self._payload.settle()
