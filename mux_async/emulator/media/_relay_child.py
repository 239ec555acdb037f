"""The worker process of a simulcast target: it reads the address, one line, and then FLV from standard input, and publishes that over RTMP.

One line of JSON on standard output: ``sending`` when the target takes the stream, or a ``problem``, which does not contain the address,
because the address contains a stream key.
"""

# PyAV leaves the parameter of Packet open in its own signatures.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import os
import sys
from typing import IO, Any

import av
import av.logging
from av.error import FFmpegError

from mux_async.emulator.media._child import bind
from mux_async.emulator.media._inspection import main_streams
from mux_async.emulator.media._live_child import begun, open_flv, print_line
from mux_async.emulator.media._transcoding import Copy, readable

_PROTOCOLS = "rtmp,rtmps,tcp,tls"


def relay(source_file: IO[bytes], url: str) -> None:
    """Copy a stream to a target until it ends. Raises `FFmpegError`: the target refused it, or went away."""
    with open_flv(source_file) as source:
        video, audio = main_streams(source)
        streams = [stream for stream in (video, audio) if stream is not None]
        options = {"flvflags": "no_duration_filesize"}
        with av.open(url, "w", format="flv", options=options, container_options={"protocol_whitelist": _PROTOCOLS}) as target:
            copies = {stream.index: Copy(target, stream, 0.0) for stream in streams}
            is_sending = False
            for packet in begun(readable(source, streams), video):
                for copied in copies[packet.stream.index].take(packet):
                    target.mux(copied)
                if not is_sending:
                    is_sending = True
                    print_line({"sending": True})


def _first_line(source_file: IO[bytes]) -> str:
    line = bytearray()
    while (byte := source_file.read(1)) not in {b"\n", b""}:
        line += byte
    return line.decode()


def _why(error: FFmpegError) -> dict[str, Any]:
    return {"problem": error.strerror or type(error).__name__}


if __name__ == "__main__":
    bind(int(sys.argv[1]), niceness=0)  # an encoder does not wait
    av.logging.set_level(None)  # see `mux_async.emulator.media._child`
    standard_input = os.fdopen(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    try:
        relay(standard_input, _first_line(standard_input))
    except FFmpegError as problem:
        print_line(_why(problem))
