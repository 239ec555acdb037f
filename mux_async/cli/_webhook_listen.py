"""Shows the events of an environment as they happen, and forwards them, for ``mux-async webhooks listen``.

One event after the other is read, forwarded and written, so that a slow receiver or reader slows the stream down and nothing piles up.
Standard output has the events alone; what is said about the connection goes to standard error.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import datetime
from typing import TYPE_CHECKING

import anyio
import attrs
from rich.text import Text

from mux_async import Mux, StreamStatus
from mux_async.cli._interrupts import open_interrupts
from mux_async.cli._output import counted, printable, stderr, stdout, write
from mux_async.cli._webhook_delivery import open_session, post, until
from mux_async.webhooks import WebhookEvent, sign

if TYPE_CHECKING:
    from aiohttp import ClientSession


@attrs.define(eq=False)
class StreamListener:
    """Prints and forwards events.

    Attributes:
        client: Whose environment it is.
        types: Types and patterns of events; empty for all.
        forward_to: URL to send events to; ``None`` for none.
        secret: Signs forwarded events.
        as_json: Whether events are printed as JSON lines.
        count: Events until the end; 0 for no end.
    """

    client: Mux
    types: tuple[str, ...]
    forward_to: str | None
    secret: str = attrs.field(repr=False)
    as_json: bool
    count: int
    received: int = 0
    forwarded: int = 0
    session: ClientSession | None = None

    async def run(self) -> None:
        """Listen until interrupted, or until there were enough events, and say how many there were."""
        ended = anyio.Event()
        try:
            with open_interrupts() as signals:
                async with anyio.create_task_group() as tasks, self.client:
                    tasks.start_soon(until, signals, ended)
                    tasks.start_soon(self._listen, ended)
                    await ended.wait()
                    tasks.cancel_scope.cancel()
        finally:
            said = f"{counted(self.received, 'event')} received"
            if self.forward_to is not None:
                said += f", {self.forwarded} forwarded, {self.received - self.forwarded} not"
            _say(said)

    async def _listen(self, ended: anyio.Event) -> None:
        async with AsyncExitStack() as stack:
            if self.forward_to is not None:
                self.session = await stack.enter_async_context(open_session())
            events = await stack.enter_async_context(self.client.webhook_events(*self.types, on_status=self._report))
            async for event in events:
                self.received += 1
                status = await self._forward(events.body)
                try:
                    await self._show(event, events.body, status)
                except BrokenPipeError:  # its reader has ended, as `head` does
                    break
                if self.received == self.count:
                    break
        ended.set()

    async def _forward(self, body: bytes) -> int | None:
        if self.session is None or self.forward_to is None:
            return None
        headers = {"Content-Type": "application/json", "User-Agent": "Mux", "Mux-Signature": sign(body, self.secret)}
        status = await post(self.session, self.forward_to, body, headers)
        self.forwarded += status is not None and 200 <= status < 300
        return status

    async def _show(self, event: WebhookEvent, body: bytes, status: int | None) -> None:
        if self.as_json:
            await write(body.replace(b"\n", b" ") + b"\n")  # between tokens, where a line break is white space
            return
        about = f"{event.object.type} {event.object.id}" if hasattr(event.object, "id") else ""
        line = Text(printable(f"{datetime.now():%H:%M:%S} "), style="dim")  # noqa: DTZ005 - for people here
        line.append(printable(event.type), style="bold not dim")
        line.append(printable(f" {about} (event {event.id})"))
        if self.forward_to is not None:
            is_taken = status is not None and 200 <= status < 300
            line.append(f" -> {status or 'no answer'}", style="green not dim" if is_taken else "red not dim")
        stdout().print(line)

    def _report(self, status: StreamStatus) -> None:
        if status.is_connected:
            _say(f"connected to {self.client.base_url}; press Ctrl-C to stop")
        else:
            why = status.error or "the server ended the stream"
            _say(f"not connected ({why}); connecting again in {status.retry_in or 0:.1f} s")


def _say(text: str) -> None:
    stderr().print(printable(text), markup=False, style="dim")
