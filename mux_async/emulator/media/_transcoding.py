"""Copies streams from one file to another, or decodes, filters and encodes them.

Times are shifted so that the first frame of the input, or of the clip, is at 0.
"""

# PyAV leaves the parameter of Packet open in its own signatures.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, Protocol

import attrs
import av
from av.audio import AudioStream
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video import VideoStream
from av.video.frame import PictureType, VideoFrame

from mux_async.emulator.media._filter_graphs import Chain, Filters

_TICKS = Fraction(1, 90_000)
_LATE = 1.0
"""Seconds of packets beyond the end of a cut that are still read: packets are in the order of decoding."""
_RATES = frozenset({22_050, 24_000, 32_000, 44_100, 48_000})
"""Samples per second that AAC is left at; others become 48,000."""


@attrs.frozen
class TimeRange:
    """Which stretch of a file to keep: from *start* to *end*, in seconds by the file's own time."""

    start: float
    end: float


class Track(Protocol):
    """A stream that is copied or encoded."""

    @property
    def source(self) -> VideoStream | AudioStream:
        """The stream of the input."""
        ...

    def take(self, packet: Packet[Any], /) -> Iterator[Packet[Any]]:
        """Yield the packets of the output for a packet of the source."""
        ...

    def finish(self) -> Iterator[Packet[Any]]:
        """Yield the remaining packets."""
        ...


def transcode(source: InputContainer, output: OutputContainer, tracks: Sequence[Track], cut: TimeRange, *, seek: bool) -> int:
    """Send all packets of *cut* through their tracks, and return how many were written. *seek* leaves out what comes long before it."""
    by_index = {track.source.index: track for track in tracks}
    if seek:
        source.seek(int(cut.start * av.time_base), backward=True)
    written, open_streams = 0, set(by_index)
    for packet in readable(source, [track.source for track in tracks]):
        index = packet.stream.index
        if packet.dts is not None and float(packet.dts * packet.time_base) > cut.end + _LATE:
            open_streams.discard(index)
            if not open_streams:
                break
        else:
            for made in by_index[index].take(packet):
                output.mux(made)
                written += 1
    for track in tracks:
        for made in track.finish():
            output.mux(made)
            written += 1
    return written


def readable(source: InputContainer, streams: Sequence[VideoStream | AudioStream]) -> Iterator[Packet[Any]]:
    """Yield the packets of a file, as far as it can be read."""
    packets = source.demux(list(streams))
    while True:
        try:
            yield next(packets)
        except (FFmpegError, StopIteration):  # earlier packets of a damaged file count
            return


def decoded(packet: Packet[Any]) -> list[Any]:
    """Return the frames of a packet; none of a damaged one."""
    try:
        return list(packet.decode())
    except FFmpegError:
        return []


def rest(stream: VideoStream | AudioStream) -> list[Any]:
    """Return the frames that a decoder still holds, as it does when a file is not read to its end."""
    try:
        return list(stream.codec_context.decode(None))
    except FFmpegError:
        return []


class Copy:
    """Copies packets; only their times change. Packets whose times do not grow are left out, because FFmpeg would write no others then."""

    def __init__(self, output: OutputContainer, source: VideoStream | AudioStream, begin: float) -> None:
        self.source = source
        self._stream = output.add_stream_from_template(source)
        self._begin = begin
        self._last: int | None = None

    def take(self, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        if packet.dts is None or packet.pts is None or packet.pts < packet.dts or packet.is_corrupt:
            return
        if self._last is not None and packet.dts <= self._last:
            return
        self._last = packet.dts
        shift = round(self._begin / packet.time_base)
        packet.dts, packet.pts = packet.dts - shift, packet.pts - shift
        if packet.pts >= 0 or self.source.type == "video":  # audio before 0 is not played, and would shift everything
            packet.stream = self._stream
            yield packet

    def finish(self) -> Iterator[Packet[Any]]:
        yield from ()


class VideoEncoder:
    """H.264, encoded fast. The last of *filters* fixes the size; *gop* is the time between key frames in seconds."""

    def __init__(
        self,
        output: OutputContainer,
        source: VideoStream,
        cut: TimeRange,
        filters: Filters,
        size: tuple[int, int],
        rate: Fraction,
        gop: float,
    ) -> None:
        self.source = source
        source.thread_type = "AUTO"
        self._cut = cut
        self._chain = Chain([*filters, ("scale", f"{size[0]}:{size[1]}"), ("setsar", "1"), ("format", "yuv420p")])
        options = {"preset": "superfast", "crf": "24", "sc_threshold": "0", "bf": "0", "profile": "high"}
        self._stream = output.add_stream("libx264", rate=rate, options=options)
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = _TICKS
        self._stream.codec_context.gop_size = max(1, round(gop * rate))
        self._last = -1

    def take(self, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        yield from self._change(decoded(packet))

    def _change(self, frames: Sequence[VideoFrame]) -> Iterator[Packet[Any]]:
        for frame in frames:
            if frame.pts is not None and self._cut.start - 0.001 <= frame.time < self._cut.end:
                for ready in self._chain.push(frame):
                    yield from self._encode(ready)

    def _encode(self, frame: VideoFrame) -> Iterator[Packet[Any]]:
        if frame.pts is None:
            return
        pts = max(0, round((frame.time - self._cut.start) / _TICKS))
        if pts > self._last:  # times that do not grow are those of a damaged file
            self._last = frame.pts = pts
            frame.time_base, frame.pict_type = _TICKS, PictureType.NONE
            yield from self._stream.encode(frame)

    def finish(self) -> Iterator[Packet[Any]]:
        yield from self._change(rest(self.source))
        for ready in self._chain.finish():
            yield from self._encode(ready)
        if self._last >= 0:
            yield from self._stream.encode(None)


class AudioEncoder:
    """AAC, in mono or stereo."""

    def __init__(self, output: OutputContainer, source: AudioStream, cut: TimeRange) -> None:
        self.source = source
        self._cut = cut
        given = source.codec_context
        rate = given.sample_rate if given.sample_rate in _RATES else 48_000
        layout = "mono" if given.channels == 1 else "stereo"
        self._stream = output.add_stream("aac", rate=rate, layout=layout)
        self._stream.bit_rate = 128_000
        self._resampler = AudioResampler(self._stream.format, layout, rate, self._stream.codec_context.frame_size or 1024)
        self._offset: int | None = None
        self._count = 0

    def take(self, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        yield from self._change(decoded(packet))

    def _change(self, frames: Sequence[AudioFrame]) -> Iterator[Packet[Any]]:
        for frame in frames:
            if frame.time is not None and self._cut.start - 0.001 <= frame.time < self._cut.end:
                if self._offset is None:
                    self._offset = max(0, round((frame.time - self._cut.start) * self._stream.rate))
                frame.pts = None  # counted below: samples follow each other without gaps
                yield from self._encode(self._resampler.resample(frame))

    def _encode(self, frames: Sequence[AudioFrame]) -> Iterator[Packet[Any]]:
        for frame in frames:
            frame.pts = (self._offset or 0) + self._count
            frame.time_base = Fraction(1, self._stream.rate)
            self._count += frame.samples
            yield from self._heard(self._stream.encode(frame))

    @staticmethod
    def _heard(packets: Sequence[Packet[Any]]) -> Iterator[Packet[Any]]:
        """Leave out packets before 0, which hold the encoder's delay."""
        return (packet for packet in packets if packet.pts is not None and packet.pts >= 0)

    def finish(self) -> Iterator[Packet[Any]]:
        yield from self._change(rest(self.source))
        if self._offset is not None:
            yield from self._encode(self._resampler.resample(None))
            yield from self._heard(self._stream.encode(None))
