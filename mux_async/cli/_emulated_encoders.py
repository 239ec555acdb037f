"""The options of ``mux-async emulate`` about encoders, and the server that they start."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, TypeAlias

import attrs
import typer

from mux_async.emulator import Emulator

RtmpOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65535,
        metavar="[PORT]",
        help="Take encoders such as ffmpeg and OBS at rtmp://HOST:PORT/app/STREAM_KEY; 5222 without a number, 0 picks a free port. Needs"
        " mux-async[media].",
    ),
]
SrtOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65535,
        metavar="[PORT]",
        help="Take an encoder at srt://HOST:PORT too, with the passphrase of its live stream; 6001 without a number, 0 picks a free port."
        " Needs --rtmp, and an ffmpeg that speaks SRT.",
    ),
]
SrtStreamOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="LIVE_STREAM_ID",
        help="The live stream that --srt takes an encoder for; by default, the one that was created last.",
    ),
]
AnywhereOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--simulcast-anywhere",
        help="Send what encoders push to simulcast targets on other machines too; by default to those of this machine only.",
    ),
]


@attrs.frozen
class Encoders:
    """Where encoders are taken, and whether simulcast targets may be on other machines."""

    port: int
    simulcast_anywhere: bool
    srt_port: int | None = None
    srt_stream: str | None = None

    def serve(self, emulator: Emulator, host: str, line: Callable[[str], None] | None) -> AbstractAsyncContextManager[str]:
        """Take encoders, and give *line* a line for each connection and each refusal."""
        from mux_async.emulator.server import serve_rtmp

        report = _reporter(line)
        return serve_rtmp(emulator, host, self.port, simulcast_anywhere=self.simulcast_anywhere, report=report)

    def serve_srt(
        self, emulator: Emulator, host: str, port: int, line: Callable[[str], None] | None
    ) -> AbstractAsyncContextManager[str]:
        """Take an encoder over SRT."""
        from mux_async.emulator.server import serve_srt

        anywhere, report = self.simulcast_anywhere, _reporter(line)
        return serve_srt(emulator, host, port, live_stream_id=self.srt_stream, simulcast_anywhere=anywhere, report=report)


def _reporter(line: Callable[[str], None] | None) -> Callable[[str], None]:
    def report(text: str) -> None:
        if line is not None:
            line(f"{time.strftime('%H:%M:%S')} {text}")

    return report


def wanted_encoders(
    port: int | None, *, anywhere: bool, srt: int | None, srt_stream: str | None, without_media: str | None
) -> Encoders | None:
    """Return the settings of the options; ``None`` if no encoders are to be taken. *without_media* says why there are no real media."""
    if srt is None and srt_stream is not None:
        raise typer.BadParameter("--srt-stream says which live stream --srt takes an encoder for, and --srt is missing")
    if port is None:
        if srt is not None:
            raise typer.BadParameter("--srt passes on to --rtmp, which is missing")
        if anywhere:
            raise typer.BadParameter("--simulcast-anywhere sends on what encoders push, and --rtmp, which takes it, is missing")
        return None
    if without_media is not None:
        raise typer.BadParameter(f"--rtmp needs real media, to play what encoders push: {without_media}")
    if srt is not None:
        from mux_async.emulator.server import SrtUnavailableError, ffmpeg_with_srt

        try:
            ffmpeg_with_srt()
        except SrtUnavailableError as error:
            raise typer.BadParameter(f"--srt: {error}") from error
    return Encoders(port, anywhere, srt, srt_stream)
