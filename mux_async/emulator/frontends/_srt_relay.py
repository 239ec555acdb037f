"""The SRT frontend: ffmpeg listens for an encoder, and passes on what it sends to a port of the RTMP frontend that counts as SRT.

ffmpeg takes one encoder at a time and does not say which stream key it sent, so that it listens for one live stream, with its passphrase.
It ends with its encoder, and is started again.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import subprocess
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from mux_async.emulator._emulator import Emulator
from mux_async.emulator.frontends._rtmp_server import encoder_port
from mux_async.emulator.live._pushes import SrtSettings

log = logging.getLogger(__name__)

SRT_PORT: Final = 6001
"""Mux's own port (facts/BEHAVIOUR.md, section 6.3)."""
_RECHECK: Final = 0.5
"""Seconds after which another live stream, or the end of this one, is noticed."""
_LISTENING: Final = 60
"""Seconds after which ffmpeg ends without an encoder, so that it does not outlive an emulator that was killed."""
_PAUSE: Final = 1.0
"""Seconds until ffmpeg is started again; encoders try to connect for three."""
_ENDING: Final = 3.0
"""Seconds that ffmpeg gets to end."""


class SrtUnavailableError(Exception):
    """There is no ffmpeg that speaks SRT. The message says what is missing."""


def ffmpeg_with_srt() -> str:
    """Return the path of ffmpeg. Raises `SrtUnavailableError`: there is none, or it was built without SRT."""
    path = shutil.which("ffmpeg")
    if path is None:
        raise SrtUnavailableError("SRT is taken by ffmpeg, which is not in PATH; install it (apt-get install ffmpeg)")
    try:
        command = [path, "-hide_banner", "-protocols"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout  # noqa: S603 - of PATH
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SrtUnavailableError(f"SRT is taken by ffmpeg, and {path} does not run: {error}") from error
    if "srt" not in said.partition("Output:")[0].split():
        raise SrtUnavailableError(f"SRT is taken by ffmpeg, and {path} was built without it: 'ffmpeg -protocols' has no srt")
    return path


@asynccontextmanager
async def serve_srt(
    emulator: Emulator,
    host: str = "127.0.0.1",
    port: int = SRT_PORT,
    *,
    live_stream_id: str | None = None,
    simulcast_anywhere: bool = False,
    report: Callable[[str], None] | None = None,
) -> AsyncGenerator[str, None]:
    """Take an encoder over SRT while the block runs, with the ffmpeg in ``PATH``. Use it within `serve_rtmp`.

    Args:
        emulator: With real media, as for `serve_rtmp`.
        host: Address to listen on.
        port: 0 picks a free one.
        live_stream_id: The live stream that the encoder sends to; it may be created later. By default, the one that was created last.
        simulcast_anywhere: As for `serve_rtmp`.
        report: Takes lines about connections and refusals, without stream key and passphrase. By default they are logged.

    Yields:
        The address for encoders: ``srt://127.0.0.1:6001``, to which they add the stream key and the passphrase.

    Raises:
        OSError: The address is taken.
        SrtUnavailableError: There is no ffmpeg that speaks SRT.
        TypeError: The emulator has no real media.
    """
    path = await asyncio.to_thread(ffmpeg_with_srt)
    bound = _free_port(host, port)
    say = report or log.info
    async with encoder_port(emulator, "127.0.0.1", 0, say, protocol="srt", simulcast_anywhere=simulcast_anywhere) as target:
        address = f"srt://{f'[{host}]' if ':' in host else host}:{bound}"
        relay = _Relay(emulator, live_stream_id, say, path, address, target)
        task = asyncio.create_task(relay.run())
        try:
            yield address
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def _free_port(host: str, port: int) -> int:
    """Return the port, or a free one for 0. Raises `OSError`: it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((host, port))
        return int(probe.getsockname()[1])


class _Relay:
    def __init__(
        self,
        emulator: Emulator,
        live_stream_id: str | None,
        report: Callable[[str], None],
        path: str,
        address: str,
        target: str,
    ) -> None:
        self._emulator, self._live_stream_id, self._report = emulator, live_stream_id, report
        self._path, self._address, self._target = path, address, target

    async def run(self) -> None:
        """Listen for one encoder after the other."""
        while True:
            settings = self._emulator.srt_settings(self._live_stream_id)
            try:
                if settings is not None:
                    await self._listen(settings)
            except Exception:
                log.exception("ffmpeg could not listen for encoders")
            await asyncio.sleep(_RECHECK if settings is None else _PAUSE)

    async def _listen(self, settings: SrtSettings) -> None:
        query = f"mode=listener&listen_timeout={_LISTENING * 1_000_000}&passphrase={settings.passphrase}"
        command = [
            *(self._path, "-nostdin", "-v", "error", "-analyzeduration", "1000000", "-f", "mpegts"),
            *("-i", f"{self._address}?{query}", "-map", "0:v:0?", "-map", "0:a:0?", "-c", "copy"),
            *("-f", "flv", "-flvflags", "no_duration_filesize", f"{self._target}/{settings.stream_key}"),
        ]
        process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE)
        reading = asyncio.create_task(self._read(process, settings))
        try:
            while not (await asyncio.wait({reading}, timeout=_RECHECK))[0]:
                # Listen for another live stream, with its passphrase; an encoder that is connected may go on.
                if self._emulator.srt_settings(self._live_stream_id) != settings and not self._is_sending(settings.stream_id):
                    return
        finally:
            await _end(process)
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading

    def _is_sending(self, stream_id: str) -> bool:
        now = self._emulator.srt_settings(stream_id)
        return now is not None and now.has_encoder

    async def _read(self, process: Process, settings: SrtSettings) -> None:
        """Report why encoders are refused, and what ffmpeg complains about."""
        assert process.stderr is not None  # noqa: S101 - asked for
        async for line in process.stderr:
            text = line.decode(errors="replace").strip()
            if "(REJECT)" in text:
                self._report(f"srt an encoder was refused: {text.rpartition(' - ')[2]}")
            elif text and "/SRT:" not in text and self._address not in text:  # at its end, ffmpeg names the address
                for secret in (settings.passphrase, settings.stream_key):
                    text = text.replace(secret, "...")
                self._report(f"srt ffmpeg: {text}")
        await process.wait()  # a signal to a process that has just ended would take its exit status from asyncio


async def _end(process: Process) -> None:
    """End ffmpeg; terminated, it sends the rest."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _ENDING)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
