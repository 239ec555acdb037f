"""The RTMP frontend: takes encoders such as OBS and ffmpeg, stores what they push, and sends it on to simulcast targets.

``rtmp://HOST:PORT/app/STREAM_KEY``, as Mux has it. The protocol is in `mux_async.emulator.rtmp`, what happens to the live stream in
`mux_async.emulator.live._pushes`; this module has the sockets and the time limits.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, Literal

from mux_async.emulator._emulator import Emulator
from mux_async.emulator.frontends._live_recorder import LiveRecorder, RecordingError
from mux_async.emulator.frontends._simulcast import Simulcast
from mux_async.emulator.live._encoders import SILENCE
from mux_async.emulator.live._pushes import EncoderPresentError, Push, PushRefusedError
from mux_async.emulator.media import MediaWorker
from mux_async.emulator.rtmp import _flv
from mux_async.emulator.rtmp._chunks import RtmpError
from mux_async.emulator.rtmp._session import APP, Ended, Event, Media, PublishRequested, Session

log = logging.getLogger(__name__)

RTMP_PORT: Final = 5222
"""Mux's own port (facts/BEHAVIOUR.md, section 6.3)."""
MAX_CONNECTIONS: Final = 100
_READ: Final = 16 * 1024
"""Bytes that are processed at once: the other requests wait for no more."""
_TO_PUBLISH: Final = 10.0
"""Seconds within which an encoder must begin to publish."""
_RECHECK: Final = 0.25
"""Seconds after which a connection is closed whose live stream was disabled, completed or deleted."""
_TO_FOLLOW: Final = 3.0
"""Seconds that an encoder waits for another one of the same live stream to be gone."""
_CLOSING: Final = 2.0
"""Seconds that an encoder gets to read the last message."""


@asynccontextmanager
async def serve_rtmp(
    emulator: Emulator,
    host: str = "127.0.0.1",
    port: int = RTMP_PORT,
    *,
    simulcast_anywhere: bool = False,
    report: Callable[[str], None] | None = None,
) -> AsyncGenerator[str, None]:
    """Take encoders over RTMP while the block runs. Serve the same emulator over HTTP, so that its live streams can be played.

    Args:
        emulator: With real media (`EmulatorSettings.media` is a `MediaWorker`).
        host: Address to listen on; there is no TLS, so keep it this machine's own.
        port: 0 picks a free one.
        simulcast_anywhere: Whether simulcast targets may be on other machines. By default, only loopback addresses get the stream.
        report: Takes lines about connections and refusals; they contain no stream key. By default they are logged.

    Yields:
        The address for encoders: ``rtmp://127.0.0.1:5222/app``, to which they add a stream key.

    Raises:
        OSError: The address is taken.
        TypeError: The emulator has no real media.
    """
    emulator.drop_pushes()
    said = report or log.info
    async with encoder_port(emulator, host, port, said, protocol="rtmp", simulcast_anywhere=simulcast_anywhere) as address:
        yield address


@asynccontextmanager
async def encoder_port(
    emulator: Emulator,
    host: str,
    port: int,
    report: Callable[[str], None],
    *,
    protocol: Literal["rtmp", "srt"],
    simulcast_anywhere: bool,
) -> AsyncGenerator[str, None]:
    """Listen for RTMP while the block runs; *protocol* is what encoders use as far as the live stream knows. Yields the address."""
    media = emulator.settings.media
    if not isinstance(media, MediaWorker):
        raise TypeError("encoders need real media: EmulatorSettings(media=MediaWorker()), from mux-async[media]")
    frontend = _RtmpFrontend(emulator, media, report, protocol, simulcast_anywhere=simulcast_anywhere)
    server = await asyncio.start_server(frontend.connected, host, port, limit=_READ)
    try:
        bound = server.sockets[0].getsockname()[1]
        shown = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
        yield f"rtmp://{f'[{shown}]' if ':' in shown else shown}:{bound}/{APP}"
    finally:
        server.close()
        await frontend.close()


class _RtmpFrontend:
    def __init__(
        self,
        emulator: Emulator,
        media: MediaWorker,
        report: Callable[[str], None],
        protocol: Literal["rtmp", "srt"],
        *,
        simulcast_anywhere: bool,
    ) -> None:
        self._emulator, self._media, self._report = emulator, media, report
        self._protocol: Literal["rtmp", "srt"] = protocol
        self._simulcast_anywhere = simulcast_anywhere
        self._tasks: set[asyncio.Task[None]] = set()

    def connected(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve a connection in a task."""
        if len(self._tasks) >= MAX_CONNECTIONS:
            self._report(f"an encoder was refused: there are {MAX_CONNECTIONS} connections")
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End all connections, and wait until what was pushed is stored."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        connection = _Connection(self._emulator, self._media, self._report, reader, writer)
        connection.protocol, connection.simulcast_anywhere = self._protocol, self._simulcast_anywhere
        try:
            await connection.run()
        except Exception:
            log.exception("a connection of an encoder failed")
        finally:
            await connection.close()


class _Connection:
    """One connection of an encoder."""

    protocol: Literal["rtmp", "srt"] = "rtmp"
    simulcast_anywhere = False

    def __init__(
        self,
        emulator: Emulator,
        media: MediaWorker,
        report: Callable[[str], None],
        reader: StreamReader,
        writer: StreamWriter,
    ) -> None:
        self._emulator, self._media, self._report = emulator, media, report
        self._reader, self._writer = reader, writer
        self._session = Session()
        self._push: Push | None = None
        self._recorder: LiveRecorder | None = None
        self._simulcast: Simulcast | None = None
        self._loop = asyncio.get_running_loop()
        self._last_media = self._next_check = self._loop.time()

    def _say(self, text: str) -> None:
        name = "an encoder" if self._push is None else f"the encoder of live stream {self._push.stream_id}"
        self._report(f"{self.protocol} {name} {text}")

    async def run(self) -> None:
        """Read until the encoder, or the live stream, ends."""
        try:
            await self._read()
        except RtmpError as error:
            self._say(f"was refused: {error}")
        except RecordingError as error:
            self._say(f"was disconnected: {error}")
        except ConnectionError:
            log.debug("an encoder broke its connection")
        with suppress(ConnectionError, TimeoutError):
            self._writer.write(self._session.data_to_send())
            await asyncio.wait_for(self._writer.drain(), _CLOSING)

    async def _read(self) -> None:
        began = self._loop.time()
        reading: asyncio.Task[bytes] | None = None
        try:
            while True:
                reading = reading or asyncio.create_task(self._reader.read(_READ))
                await asyncio.wait({reading}, timeout=_RECHECK)
                if self._is_over(began):
                    return
                if not reading.done():
                    continue
                data, reading = reading.result(), None
                if not data:
                    return
                for event in self._session.receive(data):
                    if not await self._handle(event):
                        return
                if out := self._session.data_to_send():
                    self._writer.write(out)
                    await asyncio.wait_for(self._writer.drain(), _TO_PUBLISH)
        except TimeoutError:
            self._say("does not read what it is sent")
        finally:
            if reading is not None:
                reading.cancel()
                with suppress(asyncio.CancelledError, ConnectionError):
                    await reading

    def _is_over(self, began: float) -> bool:
        """Whether the connection has to end, although the encoder goes on."""
        now = self._loop.time()
        if now < self._next_check:
            return False
        self._next_check = now + _RECHECK
        if self._push is None:
            if now - began > _TO_PUBLISH:
                self._say(f"was refused: it did not publish within {_TO_PUBLISH:g} s")
                return True
            return False
        if not self._push.is_open:
            self._session.finish("The live stream takes no more media")
            self._say("was disconnected: its live stream was disabled, completed or deleted, or its time is over")
            return True
        if now - self._last_media > SILENCE / self._emulator.settings.time_scale:
            self._say(f"was disconnected: it sent nothing for {SILENCE:g} s")
            self._push.end()
            return True
        return False

    async def _handle(self, event: Event) -> bool:
        """Return whether the connection goes on."""
        if isinstance(event, PublishRequested):
            return await self._publish(event.stream_key)
        if isinstance(event, Ended) or self._recorder is None:
            return False
        return await self._take(event, self._recorder)

    async def _connect(self, stream_key: str) -> Push:
        """Connect to the live stream. If an encoder comes back at once, its first connection may still be storing the last segment."""
        patience = self._loop.time() + _TO_FOLLOW
        while True:
            try:
                return self._emulator.push(stream_key, self.protocol)
            except EncoderPresentError:
                if self._loop.time() > patience:
                    raise
            await asyncio.sleep(_RECHECK)

    async def _publish(self, stream_key: str) -> bool:
        try:
            self._push = await self._connect(stream_key)
        except PushRefusedError as error:
            self._say(f"was refused: {error}")
            self._session.refuse(str(error))
            return False
        self._session.accept()
        self._last_media = self._loop.time()
        self._recorder = LiveRecorder(self._push, self._media, self._report)
        self._simulcast = Simulcast(self._push, self._report, anywhere=self.simulcast_anywhere)
        self._say("connected")
        return True

    async def _take(self, media: Media, recorder: LiveRecorder) -> bool:
        codec = None if media.kind == _flv.SCRIPT else _flv.unsupported_codec(media.kind, media.body)
        if codec is not None:
            self._say(f"was disconnected: it sends {codec}; only H.264 and AAC are taken (-c:v libx264 -c:a aac)")
            self._session.finish(f"{codec} is not supported")
            return False
        self._last_media = self._loop.time()
        if self._simulcast is not None:
            self._simulcast.take(media)
        await recorder.take(media)
        return True

    async def close(self) -> None:
        """Store the last segment, then let the live stream know."""
        self._writer.close()
        try:
            if self._recorder is not None:
                await self._recorder.close()
        finally:
            if self._push is not None and self._push.is_open:
                self._push.drop()
                self._say("disconnected")
            if self._simulcast is not None:
                await self._simulcast.close()
