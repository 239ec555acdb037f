"""Bodies of answers: both kinds say when they need their connection no longer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import mux_async.transport
from mux_async.transport import HttpRequest, Phase
from mux_async_wreq._errors import FOREIGN, failure

if TYPE_CHECKING:
    import wreq


class ResponseBody:
    """The body of an answer from wreq. An iterator of itself, so that there is no generator to finalise when reading stops early.

    Args:
        stream: wreq's, unread.
        request: What was asked.
        let_go: Called once, when the connection is not needed any more.
    """

    def __init__(self, stream: wreq.Streamer, request: HttpRequest, let_go: Callable[[ResponseBody], None]) -> None:
        self._stream = stream
        self._request = request
        self._let_go = let_go
        self._is_open = True

    def __aiter__(self) -> ResponseBody:
        return self

    async def __anext__(self) -> bytes:
        try:
            while self._is_open:
                piece = await self._stream.__anext__()
                if isinstance(piece, memoryview) and piece:  # else it holds trailers
                    return piece.tobytes()
            raise StopAsyncIteration
        except FOREIGN as error:
            problem = failure(error, self._request, Phase.READ_BODY)
        except BaseException:  # the end, or a cancellation
            self.close()
            raise
        self.close()
        raise problem

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection, which is kept when everything was read and cut when bytes remain. Any number of times."""
        if self._is_open:
            self._is_open = False
            self._stream.__exit__(None, None, None)
            self._let_go(self)


class ForwardedBody:
    """The body of an answer that came by the other transport.

    Args:
        body: Of that transport.
        let_go: Called once, when the connection is not needed any more.
    """

    def __init__(self, body: mux_async.transport.ResponseBody, let_go: Callable[[], None]) -> None:
        self._body = body
        self._chunks = aiter(body)
        self._let_go = let_go
        self._is_open = True

    def __aiter__(self) -> ForwardedBody:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._chunks)
        except BaseException:  # the end, a failure, or a cancellation
            self._leave()
            raise

    async def aclose(self) -> None:
        try:
            await self._body.aclose()
        finally:
            self._leave()

    def _leave(self) -> None:
        if self._is_open:
            self._is_open = False
            self._let_go()
