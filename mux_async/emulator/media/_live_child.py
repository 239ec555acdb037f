"""The worker process of a live stream: it reads FLV from standard input, writes fragmented MP4 to a file, and reports each segment.

FFmpeg copies H.264 and AAC as they are, so that a stream costs little. A segment ends at the first key frame after `Cutting.shortest`, or
without one after `Cutting.longest`, because a viewer must not wait for an encoder whose key frames are rare. Lines of JSON on standard
output: ``opened`` (what the file holds) once, then a ``segment`` (offset, size, seconds) each, or a ``problem``.
"""

# PyAV leaves the parameter of Packet open in its own signatures.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final

import av
import av.logging
from av.audio import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video import VideoStream

from mux_async.emulator.media._child import bind
from mux_async.emulator.media._inspection import main_streams
from mux_async.emulator.media._packaging import codec_names
from mux_async.emulator.media._transcoding import Copy, readable

_PROBE: Final = {"analyzeduration": "500000", "fpsprobesize": "0"}
"""FFmpeg waits for half a second of media at most until it says what a stream holds."""
_MOST_EARLY = 500
"""Packets of audio that are kept until the first key frame."""


class FragmentWriter:
    """A file that FFmpeg writes to; it finds the fragments in what is written, and passes each to *on_fragment* when it is on the disk.

    *on_fragment* gets the offset and the size in bytes, and the seconds; the first call is for the initialization section, of 0 seconds.
    """

    def __init__(self, path: Path, on_fragment: Callable[[int, int, float], None]) -> None:
        self._file = path.open("wb")
        self._on_fragment = on_fragment
        self._buffer = bytearray()
        self._begin = self._at = 0
        self._seconds = 0.0

    def write(self, data: bytes) -> int:
        """Write, and report the boxes that are complete."""
        self._buffer += data
        while (box := self._box()) is not None:
            self._file.write(box)
            self._take(bytes(box[4:8]), box)
        return len(data)

    def _box(self) -> bytearray | None:
        if len(self._buffer) < 8:
            return None
        size = int.from_bytes(self._buffer[:4], "big")
        if size < 8 or len(self._buffer) < size:
            return None
        box = self._buffer[:size]
        del self._buffer[:size]
        return box

    def _take(self, kind: bytes, box: bytearray) -> None:
        self._at += len(box)
        if kind == b"sidx":  # one for each track; the first is that of the video, if there is one
            self._seconds = self._seconds or _duration(box)
        elif kind in {b"moov", b"mdat"}:
            self._report()

    def _report(self) -> None:
        self._file.flush()
        self._on_fragment(self._begin, self._at - self._begin, self._seconds)
        self._begin, self._seconds = self._at, 0.0

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _duration(box: bytearray) -> float:
    """Return the seconds of the fragment that a segment index describes (ISO/IEC 14496-12, section 8.16.3)."""
    version, timescale = box[8], struct.unpack_from(">I", box, 16)[0]
    at = 20 + (16 if version else 8) + 4  # after both times, and two counts of 16 bits
    ticks: int = struct.unpack_from(">I", box, at + 4)[0]
    return float(ticks / timescale)


def open_flv(source_file: IO[bytes]) -> InputContainer:
    """Open a stream of FLV. Waits until it is known what it holds."""
    source = av.open(source_file, "r", format="flv", options=_PROBE, metadata_errors="replace")
    assert isinstance(source, InputContainer)  # noqa: S101 - opened to read
    return source


def record(source_file: IO[bytes], path: Path, cutting: dict[str, float], report: Callable[[dict[str, Any]], None]) -> None:
    """Copy a stream until it ends, and *report* what a line of standard output says."""
    try:
        source = open_flv(source_file)
    except (FFmpegError, ValueError) as error:
        report({"problem": f"the stream could not be read: {error}"})
        return
    with source:
        video, audio = main_streams(source)
        if cutting["audio_only"]:
            video = None
        streams = [stream for stream in (video, audio) if stream is not None]
        if not streams:
            missing = "audio, and the live stream takes nothing else" if cutting["audio_only"] else "video and no audio"
            report({"problem": f"the stream has no {missing}"})
            return
        described = _described(video, audio)

        def on_fragment(offset: int, size: int, seconds: float) -> None:
            report({"segment": [offset, size, round(seconds, 6)]} if offset else {"opened": {**described, "head": size}})

        writer = FragmentWriter(path, on_fragment)
        options = {
            "movflags": "frag_keyframe+frag_discont+delay_moov+dash+default_base_moof+skip_trailer",
            "frag_duration": str(round(cutting["longest"] * 1e6)),
            "min_frag_duration": str(round(cutting["shortest"] * 1e6)),
            "max_interleave_delta": "1000000",
            "avoid_negative_ts": "disabled",  # as in `mux_async.emulator.media._packaging`
        }
        try:
            with av.open(writer, "w", format="mp4", options=options) as output:
                packets = begun(readable(source, streams), video)
                first = next(packets, None)
                if first is None:
                    return
                # Times go on where the part before ended: not all players reset their clock at a discontinuity.
                begin = float((first.pts or 0) * first.time_base) - cutting["start"]
                copies = {stream.index: Copy(output, stream, begin) for stream in streams}
                for packet in chain([first], packets):
                    for copied in copies[packet.stream.index].take(packet):
                        output.mux(copied)
        finally:
            writer.close()


def begun(packets: Iterator[Packet[Any]], video: VideoStream | None) -> Iterator[Packet[Any]]:
    """Yield packets from the first key frame on; audio that came before it follows it."""
    early: list[Packet[Any]] = []
    has_begun = video is None
    for packet in packets:
        if packet.pts is None or packet.dts is None:
            continue
        if has_begun:
            yield packet
        elif packet.stream is video or packet.stream.type == "video":
            if packet.is_keyframe:
                has_begun = True
                yield packet
                yield from early
        elif len(early) < _MOST_EARLY:
            early.append(packet)


def _described(video: VideoStream | None, audio: AudioStream | None) -> dict[str, Any]:
    """Return what a media file (`MediaFile`) and its description (`MediaInfo`) need to say."""
    described: dict[str, Any] = {"codecs": codec_names(video, audio), "channels": 0, "sample_rate": 0}
    if video is not None:
        rate = video.average_rate or video.guessed_rate
        described["width"], described["height"] = video.codec_context.width, video.codec_context.height
        described["frame_rate"], described["pixels"] = round(float(rate or 30), 3), video.codec_context.pix_fmt or ""
    if audio is not None:
        described["channels"], described["sample_rate"] = audio.codec_context.channels, audio.codec_context.sample_rate
    return described


def print_line(line: dict[str, Any]) -> None:
    """Write a line of JSON, at once."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    bind(int(sys.argv[1]), niceness=0)  # an encoder does not wait
    av.logging.set_level(None)  # see `mux_async.emulator.media._child`
    record(
        os.fdopen(sys.stdin.fileno(), "rb", buffering=0, closefd=False), Path(sys.argv[2]), json.loads(sys.argv[3]), print_line
    )
