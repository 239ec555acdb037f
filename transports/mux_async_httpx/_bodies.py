"""Bodies on their way through httpx, which leaves generators half read when a request ends early; these see that all are closed."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, cast

import anyio

from mux_async.transport import Body, HttpRequest, Phase
from mux_async_httpx._connection import end_exchange, give
from mux_async_httpx._connection_limit import Slot
from mux_async_httpx._errors import failure

if TYPE_CHECKING:
    import httpx2 as httpx


class RequestStream:
    """A streamed request body. An iterator and no generator, so that nothing is left to finalise when sending stops early."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.error: Exception | None = None
        """What the caller's generator raised, or that it gave another number of bytes than it declares."""
        self.cause: BaseException | None = None
        """Of `error`: httpcore raises that on "from None", which takes it away."""
        self._pieces = body.pieces()

    def __aiter__(self) -> RequestStream:
        return self

    async def __anext__(self) -> bytes:
        try:
            return bytes(await anext(self._pieces))
        except StopAsyncIteration:
            raise
        except Exception as error:
            self.error, self.cause = error, error.__cause__
            raise

    async def close(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._pieces.aclose()


class ResponseBody:
    """The body of an answer."""

    def __init__(self, response: httpx.Response, request: HttpRequest, slot: Slot) -> None:
        self._response = response
        self._slot = slot
        self._stream = cast("httpx.AsyncByteStream", response.stream)
        self._chunks = self._stream.__aiter__()
        self._request = request
        self._is_begun = False

    def __aiter__(self) -> ResponseBody:
        return self

    async def __anext__(self) -> bytes:
        self._is_begun = True
        try:
            while not (chunk := await anext(self._chunks)):
                pass
        except StopAsyncIteration:
            await end_exchange(self._response)
            await self.aclose()
            raise
        except Exception as error:  # noqa: BLE001 - the library's, and that of the network below it
            problem = error
        except BaseException:
            await self.aclose()
            raise
        else:
            give(self._response, len(chunk))
            return chunk
        await self.aclose()
        raise failure(problem, self._request, Phase.READ_BODY)

    async def aclose(self) -> None:
        self._slot.begin_end()
        try:
            with anyio.CancelScope(shield=True), suppress(Exception):
                # httpcore keeps the connection when everything was read, and closes it when bytes remain.
                await self._stream.aclose()
                # It leaves generators half way, each inside the next. Going on ends them all, by an error for the closed connection;
                # left alone they would be finalised later, which trio complains about.
                if self._is_begun:
                    async for _chunk in self._chunks:
                        pass
        finally:
            self._slot.end()
