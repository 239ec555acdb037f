"""Single flight: identical GETs at the same time share one request.

A page that fifty requests of a web server read in the same second costs one grant of the rate limit instead of fifty. Nothing is cached: a
GET that starts after the response is a new request. The rules:

1. There is no extra task. The first caller sends in its own task; the others wait for an event.
2. Each caller keeps its own deadline and can be cancelled. If the first caller is cancelled or out of time, another one sends again.
3. A caller never joins a GET that started before a write of this client ended, so a program reads what it wrote.
4. The bytes of the response are shared, and errors. Each caller decodes for itself, so no list or mapping has two owners.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import attrs

from mux_async.errors import MuxError, copied

if TYPE_CHECKING:
    from mux_async._call import Call
    from mux_async._response import Answer
    from mux_async.transport import HttpRequest


@attrs.define(eq=False, repr=False)
class InFlight:
    """A GET that is under way, and its result: an answer or an error. It has neither if its caller was cancelled or out of time.

    *writes* is the number of writes that had ended when it started; *done* is set at the end, and made by the first caller that joins.
    """

    request: HttpRequest
    call: Call
    writes: int
    answer: Answer | None = None
    error: MuxError | None = None
    done: anyio.Event | None = None

    def is_for(self, request: HttpRequest, call: Call, writes: int) -> bool:
        """Whether *call* may use its answer: the same request, no write in between, and the same attempts and size limit.

        It has the same priority: those of each priority are kept apart, because each may have a token of its own.
        """
        mine, options = self.call.options, call.options
        return (
            self.writes == writes
            and self.request == request
            and mine.max_attempts == options.max_attempts
            and mine.max_response_bytes == options.max_response_bytes
        )

    async def join(self) -> Answer | None:
        """Wait for the end. Raises a copy of the error that the caller that sent got.

        Returns the answer; ``None`` if the caller that sent was cancelled or out of time, so that another one has to send.
        """
        if self.done is None:
            self.done = anyio.Event()
        await self.done.wait()
        if self.error is not None:
            raise copied(self.error) from self.error.__cause__
        return self.answer
