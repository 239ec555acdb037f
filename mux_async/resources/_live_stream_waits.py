"""The waiting methods of ``mux.video.live_streams``: `LiveStreamWaits`, a base class of the generated resource."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mux_async._resource import Resource

if TYPE_CHECKING:
    from mux_async._goals import StreamState
    from mux_async.models import LiveStream


class LiveStreamWaits(Resource):
    """The waiting methods of ``mux.video.live_streams``. ``mux.live.watch`` reports everything that happens to a stream."""

    async def wait_until_active(self, live_stream_id: str, *, timeout: float | None = None) -> LiveStream:
        """Wait until an encoder sends to a live stream, so that it can be watched. Returns at once if one does.

        Tasks that wait for live streams share a list request per poll, of a hundred streams; a single task costs one GET per poll (1 s
        apart at first, up to 10 s while nothing changes). A webhook that is passed to `Mux.webhook_received` causes a poll at once.
        Requests, deadlines and cancellation are as for assets (`wait_until_ready`).

        Args:
            live_stream_id: The live stream.
            timeout: Maximum seconds to wait; ``None`` for no limit.

        Raises:
            LiveStreamDisabledError: The stream is disabled.
            NotFoundError: The stream does not exist, or was deleted during the wait.
            DeadlineExceededError: *timeout* expired.
        """
        return await self._wait(live_stream_id, "active", timeout)

    async def wait_until_idle(self, live_stream_id: str, *, timeout: float | None = None) -> LiveStream:
        """Wait until the broadcast of a live stream is over, or the stream is disabled. Returns at once if there is no broadcast.

        A stream stays ``active`` for its reconnect window after the encoder has disconnected. Shares its requests with
        `wait_until_active`.

        Args:
            live_stream_id: The live stream.
            timeout: Maximum seconds to wait; ``None`` for no limit.

        Raises:
            NotFoundError: The stream does not exist, or was deleted during the wait.
            DeadlineExceededError: *timeout* expired.
        """
        return await self._wait(live_stream_id, "idle", timeout)

    async def _wait(self, stream_id: str, state: StreamState, timeout: float | None) -> LiveStream:
        from mux_async._goals import stream_goal
        from mux_async._poller import Ref
        from mux_async._webhook_updates import LIVE_STREAMS
        from mux_async.resources._waits import PagedSource, for_polls, operation_of, wait

        module = type(self).__module__
        source = PagedSource(
            for_polls(self._caller),
            list_name=LIVE_STREAMS,
            list_operation=operation_of(module, "LIST"),
            retrieve_operation=operation_of(module, "RETRIEVE"),
            id_parameter="LIVE_STREAM_ID",
        )
        return await wait(self._caller, source, Ref(LIVE_STREAMS, stream_id), stream_goal(stream_id, state), timeout)
