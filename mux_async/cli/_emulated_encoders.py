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

    def serve(self, emulator: Emulator, host: str, line: Callable[[str], None] | None) -> AbstractAsyncContextManager[str]:
        """Take encoders, and give *line* a line for each connection and each refusal."""
        from mux_async.emulator.server import serve_rtmp

        def report(text: str) -> None:
            if line is not None:
                line(f"{time.strftime('%H:%M:%S')} {text}")

        return serve_rtmp(emulator, host, self.port, simulcast_anywhere=self.simulcast_anywhere, report=report)


def wanted_encoders(port: int | None, *, anywhere: bool, without_media: str | None) -> Encoders | None:
    """Return the settings of the options; ``None`` if no encoders are to be taken. *without_media* says why there are no real media."""
    if port is None:
        if anywhere:
            raise typer.BadParameter("--simulcast-anywhere sends on what encoders push, and --rtmp, which takes it, is missing")
        return None
    if without_media is not None:
        raise typer.BadParameter(f"--rtmp needs real media, to play what encoders push: {without_media}")
    return Encoders(port, anywhere)
