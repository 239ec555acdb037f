"""Receives, shows, records and forwards deliveries, and signs and sends events, for ``mux-async webhooks``.

A module of its own because importing the event types takes longer than importing all commands.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO, Final, cast

import anyio
import attrs
import orjson
import typer

from mux_async.cli._interrupts import open_interrupts
from mux_async.cli._output import FAILED, complain, printable
from mux_async.webhooks import EventFormatError, WebhookError, WebhookEvent, parse_event, sign
from mux_async.webhooks._signature import MAX_BODY, SECRET_VARIABLE, Verifier
from mux_async.webhooks._unwrap import verify_and_parse

if TYPE_CHECKING:
    from aiohttp import ClientSession, web

_TIMEOUT: Final = 30.0
"""Seconds to wait for a response: more than Mux waits, for receivers that are being debugged."""


@attrs.define(eq=False)
class Listener:
    """Receives deliveries."""

    checked_by: Verifier | None
    """``None`` shows deliveries unverified."""
    forward: str | None
    """URL to send them on to."""
    record: BinaryIO | None
    """File to append their events to."""
    as_json: bool
    """Whether whole events are printed."""
    count: int
    """Deliveries until the end; 0 or less for no end."""
    session: ClientSession | None = None
    enough: anyio.Event = attrs.field(factory=anyio.Event)

    async def take(self, request: web.Request) -> web.Response:
        """Answer a delivery."""
        from aiohttp import web

        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            complain(f"a delivery was refused: it has more than {MAX_BODY} bytes")
            return web.Response(status=413)
        try:
            event = self._open(body, list(request.headers.items()))
        except WebhookError as error:
            complain(f"a delivery was refused: {error}")
            return web.Response(status=400, text="refused")
        status = 200 if self.forward is None else await self._forward(self.forward, body, request)
        self._show(event, body, status)
        if self.count == 1:
            self.enough.set()
        self.count -= 1
        return web.Response(status=status)

    def _open(self, body: bytes, headers: list[tuple[str, str]]) -> WebhookEvent:
        if self.checked_by is not None:
            return verify_and_parse(self.checked_by, body, headers, datetime.now(UTC).timestamp())
        try:
            found = cast("object", orjson.loads(body))
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise EventFormatError("the body is not a JSON object")
        return parse_event(cast("dict[str, object]", found))

    async def _forward(self, url: str, body: bytes, request: web.Request) -> int:
        kept = {
            name: request.headers[name] for name in ("Content-Type", "Mux-Signature", "User-Agent") if name in request.headers
        }
        assert self.session is not None  # noqa: S101 - opened before anything is listened to
        return await post(self.session, url, body, kept) or 502

    def _show(self, event: WebhookEvent, body: bytes, status: int) -> None:
        line = orjson.dumps(orjson.loads(body)) if b"\n" in body or b"\r" in body else body
        if self.record is not None:
            self.record.write(line + b"\n")
            self.record.flush()
        if self.as_json:
            typer.echo(line)
            return
        about = f" {event.object.type} {event.object.id}" if hasattr(event.object, "id") else ""
        answer = "" if self.forward is None else f" -> {status}"
        typer.echo(printable(f"{datetime.now():%H:%M:%S} {event.type}{about} (event {event.id}){answer}"))  # noqa: DTZ005 - for people here


async def serve_listener(listener: Listener, host: str, port: int) -> None:
    """Listen until interrupted, or until there were enough deliveries."""
    from aiohttp import web

    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_post("/{path:.*}", listener.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    with open_interrupts() as signals:
        async with open_session() as listener.session:
            await runner.setup()
            try:
                await web.TCPSite(runner, host, port).start()
                bound = runner.addresses[0][1]
                how = "are verified" if listener.checked_by else f"are NOT verified: no --secret, no {SECRET_VARIABLE}"
                typer.echo(f"webhooks to http://{f'[{host}]' if ':' in host else host}:{bound}/ (signatures {how})")
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(until, signals, listener.enough)
                    await listener.enough.wait()
                    tasks.cancel_scope.cancel()
            except OSError as error:
                complain(f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port")
                raise typer.Exit(FAILED) from error
            finally:
                await runner.cleanup()


async def until(signals: AsyncIterator[object], enough: anyio.Event) -> None:
    """Set *enough* at the first signal."""
    async for _ in signals:
        enough.set()
        return


async def send_all(bodies: Sequence[bytes], url: str, secret: str) -> int:
    """Send events one after the other, each signed when it is sent; return how many were not answered 2xx."""
    failed = 0
    async with open_session() as session:
        for body in bodies:
            headers = {"Content-Type": "application/json", "User-Agent": "Mux", "Mux-Signature": sign(body, secret)}
            status = await post(session, url, body, headers)
            event = parse_event(cast("dict[str, object]", orjson.loads(body)))
            typer.echo(printable(f"{event.type} (event {event.id}) -> {status or 'no answer'}"))
            failed += status is None or not 200 <= status < 300
    return failed


def open_session() -> ClientSession:
    """Return a session that goes straight to its addresses and keeps no cookies."""
    from aiohttp import ClientSession, ClientTimeout, DummyCookieJar

    return ClientSession(cookie_jar=DummyCookieJar(), trust_env=False, timeout=ClientTimeout(total=_TIMEOUT))


async def post(session: ClientSession, url: str, body: bytes, headers: dict[str, str]) -> int | None:
    """Send a delivery and return the status of the response; ``None``, and an error message, if there is none."""
    from aiohttp import ClientError

    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            return response.status
    except (ClientError, OSError, TimeoutError) as error:
        complain(f"{url} does not answer: {str(error) or type(error).__name__}")
        return None
