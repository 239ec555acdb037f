"""Sends what an encoder pushes on to simulcast targets that are RTMP servers, each by a worker process.

A target that fails is tried again while the encoder is connected. A target that does not keep up loses frames and begins again with a key
frame, so that the memory for it is bounded and the recording does not wait.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from mux_async.emulator.http._addresses import is_loopback
from mux_async.emulator.live._pushes import Push
from mux_async.emulator.rtmp import _flv
from mux_async.emulator.rtmp._session import Media

RETRY: Final = 5.0
"""Seconds until a target that failed is tried again."""
MOST_WAITING: Final = 16 * 1024 * 1024
"""Bytes that may wait for a target."""
_MEMORY: Final = 1024**3
_EARLIER: Final = 1000
"""Milliseconds by which a message may be earlier than the first one."""
_FINISHING: Final = 5.0
"""Seconds that a process gets to send the rest."""


class Simulcast:
    """The simulcast targets of a connection. Call `close` at its end."""

    def __init__(self, push: Push, report: Callable[[str], None], *, anywhere: bool) -> None:
        self._targets: list[_Target] = []
        for target_id, url, stream_key in push.simulcast_targets:
            reason = _not_sent(url, anywhere=anywhere)
            if reason is not None:
                report(f"simulcast target {target_id} does not get the stream: {reason}")
                continue
            push.sent_targets.add(target_id)
            address = url if not stream_key else f"{url.rstrip('/')}/{stream_key}"
            self._targets.append(_Target(push, report, target_id, address))

    def take(self, media: Media) -> None:
        """Send a message to all targets. Does not wait."""
        for target in self._targets:
            target.take(media)

    async def close(self) -> None:
        """Send the rest, and disconnect."""
        await asyncio.gather(*(target.close() for target in self._targets))


def _not_sent(url: str, *, anywhere: bool) -> str | None:
    """Return why a target gets nothing; ``None`` if it gets the stream."""
    parts = urlsplit(url)
    if parts.scheme not in {"rtmp", "rtmps"}:
        return f"the emulator sends over rtmp and rtmps, and not over {parts.scheme or 'an address without a scheme'}"
    if not anywhere and not is_loopback(parts.hostname or ""):
        return "it is not on this machine; allow that with --simulcast-anywhere"
    return None


class _Target:
    def __init__(self, push: Push, report: Callable[[str], None], target_id: str, address: str) -> None:
        self._push, self._report, self._id, self._address = push, report, target_id, address
        self._headers: dict[int, Media] = {}
        self._waiting: deque[Media] = deque()
        self._size = 0
        self._ending = asyncio.Event()
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    def take(self, media: Media) -> None:
        if media.kind == _flv.SCRIPT or _flv.is_codec_header(media.kind, media.body):
            self._headers[media.kind] = media
        if self._size > MOST_WAITING:
            self._drop_waiting()
        self._waiting.append(media)
        self._size += len(media.body)
        self._changed.set()

    def _drop_waiting(self) -> None:
        self._waiting.clear()
        self._size = 0

    async def _run(self) -> None:
        while True:
            self._push.set_target(self._id, "starting")
            problem = await self._send()
            if self._has_ended():
                return
            self._push.set_target(self._id, "errored")
            self._report(f"simulcast target {self._id}: {problem}; it is tried again after {RETRY:g} s")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), RETRY)
                return

    def _has_ended(self) -> bool:
        return self._ending.is_set()

    async def _send(self) -> str:
        """Send until the target or the encoder ends, and return why the target did."""
        command = [sys.executable, "-m", "mux_async.emulator.media._relay_child", str(_MEMORY)]
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
        assert process.stdin is not None  # noqa: S101 - asked for
        assert process.stdout is not None  # noqa: S101
        feeding = asyncio.create_task(self._feed(process))
        problem = "the connection ended"
        try:
            async for line in process.stdout:
                members = json.loads(line)
                if "sending" in members:
                    self._push.set_target(self._id, "broadcasting")
                problem = members.get("problem", problem)
            await process.wait()  # a signal to a process that has just ended would take its exit status from asyncio
        finally:
            feeding.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await feeding
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
            await process.wait()
        return problem

    async def _feed(self, process: Process) -> None:
        pipe = process.stdin
        assert pipe is not None  # noqa: S101 - asked for
        first = b"".join(_flv.tag(media.kind, 0, media.body) for media in self._headers.values())
        pipe.write(self._address.encode() + b"\n" + _flv.HEADER + first)
        base: int | None = None
        while True:
            while self._waiting:
                media = self._waiting.popleft()
                self._size -= len(media.body)
                base = media.timestamp - _EARLIER if base is None else base
                pipe.write(_flv.tag(media.kind, media.timestamp - base, media.body))
                await pipe.drain()
            if self._has_ended():
                pipe.close()
                return
            self._changed.clear()
            await self._changed.wait()

    async def close(self) -> None:
        self._ending.set()
        self._changed.set()
        with suppress(TimeoutError):  # then `wait_for` has cancelled it, which ends the process
            await asyncio.wait_for(self._task, _FINISHING)
