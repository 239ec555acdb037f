"""Stores what an encoder pushes: FLV goes to a worker process, which writes segments and reports them.

A part of a recording is one run of that process. A new part begins when the settings of a decoder change, or the clock of the encoder
jumps. The pipe to the process limits what waits in memory: if it is full, nothing is read from the encoder.
"""

from __future__ import annotations

import asyncio
import json
import logging
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from mux_async.emulator.live._pushes import Push
from mux_async.emulator.media import MediaWorker
from mux_async.emulator.media._live_recordings import LONGEST_GAP, media_of
from mux_async.emulator.media._probe import MediaInfo
from mux_async.emulator.rtmp import _flv
from mux_async.emulator.rtmp._session import Media

log = logging.getLogger(__name__)
_LAST_SEGMENT: Final = 10.0
"""Seconds that a process gets to write its last segment."""
_PLAYABLE_PIXELS: Final = frozenset({"yuv420p", "yuvj420p"})
"""Formats of pictures that browsers play."""


class RecordingError(Exception):
    """What is pushed cannot be stored."""


class LiveRecorder:
    """Stores the media of one connection. Call `close` at its end.

    Args:
        push: The connection; it hears of the first frame and of each segment.
        media: Where the recording is kept.
        report: Takes a line for whoever runs the emulator.
    """

    def __init__(self, push: Push, media: MediaWorker, report: Callable[[str], None]) -> None:
        self._push, self._media, self._report = push, media, report
        self._mode, self._is_audio_only = push.latency_mode, push.is_audio_only
        self._headers: dict[int, Media] = {}
        self._last: int | None = None
        self._base = 0
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._info: MediaInfo | None = None

    async def take(self, media: Media) -> None:
        """Store a message. Waits while the process is behind."""
        if media.kind == _flv.SCRIPT or _flv.is_codec_header(media.kind, media.body):
            before, self._headers[media.kind] = self._headers.get(media.kind), media
            if before is not None and before.body != media.body and media.kind != _flv.SCRIPT:
                await self._end_part()
            if self._process is not None:
                await self._write(media)
            return
        if self._last is not None and not -LONGEST_GAP * 1000 < media.timestamp - self._last < LONGEST_GAP * 1000:
            await self._end_part()
        self._last = media.timestamp
        self._push.record()
        if self._process is None:
            await self._begin_part()
        await self._write(media)

    async def _begin_part(self) -> None:
        asset_id = self._push.asset_id
        if asset_id is None:  # the recording was completed; the encoder may go on for a while
            return
        path, start = self._media.live.begin_part(asset_id)
        command = self._media.live_command(path, start, self._mode, audio_only=self._is_audio_only)
        self._process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
        self._reading = asyncio.create_task(self._read(self._process, asset_id, path, self._push.now))
        await self._write_bytes(_flv.HEADER)
        # FLV has 32 bits for times: they begin near 0, and those that are a little earlier than the first one are not negative.
        self._base = (self._last or 0) - round(LONGEST_GAP * 1000)
        for kind in (_flv.SCRIPT, _flv.VIDEO, _flv.AUDIO):
            if kind in self._headers:
                await self._write(Media(kind, self._last or 0, self._headers[kind].body))

    async def _write(self, media: Media) -> None:
        await self._write_bytes(_flv.tag(media.kind, media.timestamp - self._base, media.body))

    async def _write_bytes(self, data: bytes) -> None:
        if self._process is not None and self._process.stdin is not None:
            try:
                self._process.stdin.write(data)
                await self._process.stdin.drain()
            except ConnectionError as error:
                raise RecordingError("the process that stores it ended") from error

    async def _read(self, process: Process, asset_id: str, path: Path, began_at: float) -> None:
        """Read the lines of a process to its end."""
        assert process.stdout is not None  # noqa: S101 - asked for
        async for line in process.stdout:
            line_members: dict[str, Any] = json.loads(line)
            if "opened" in line_members:
                self._open(asset_id, path, began_at, line_members["opened"])
            elif "segment" in line_members and self._info is not None:
                offset, size, seconds = line_members["segment"]
                if self._media.live.add_segment(asset_id, offset, size, seconds):
                    self._push.store(seconds, self._info)
            elif "problem" in line_members:
                self._report(f"live stream {self._push.stream_id}: {line_members['problem']}")
        await process.wait()

    def _open(self, asset_id: str, path: Path, began_at: float, opened: dict[str, Any]) -> None:
        self._info = media_of(opened)
        self._media.live.add_part(asset_id, path, began_at, self._mode, opened)
        if opened.get("pixels", "yuv420p") not in _PLAYABLE_PIXELS:
            self._report(
                f"live stream {self._push.stream_id}: browsers do not play pictures of the format {opened['pixels']};"
                " let the encoder send yuv420p (-pix_fmt yuv420p)"
            )

    async def _end_part(self) -> None:
        """Let the process write the last segment, and end it."""
        process, self._process = self._process, None
        reading, self._reading = self._reading, None
        if process is None or reading is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(asyncio.shield(reading), _LAST_SEGMENT)
        except TimeoutError:
            log.warning("the last segment of live stream %s was not written in time", self._push.stream_id)
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
            await process.wait()

    async def close(self) -> None:
        """Store the last segment, and end the process."""
        await self._end_part()
