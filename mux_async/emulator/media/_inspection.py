"""Inspects media files without trusting them.

FFmpeg can read playlists and scripts that name other files or URLs, and accepts a text file as video. An untrusted file must do neither, so
only container formats are accepted, and FFmpeg may open nothing but the file itself.
"""

# PyAV leaves the parameter of Packet open in its own signatures.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import attrs
import av
from av.audio import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video import VideoStream
from av.video.frame import VideoFrame

FORMATS = (
    "3gp,aac,ac3,aiff,amr,asf,avi,caf,dv,eac3,flac,flv,h264,hevc,ivf,m4v,matroska,webm,mj2,mov,mp3,mp4,mpeg,mpegts,mxf,nut,ogg,"
    "rm,wav,w64,wv"
)
"""Demuxers, by FFmpeg's names."""
STANDARD_VIDEO = frozenset({"h264", "hevc"})
STANDARD_PIXELS = frozenset({"yuv420p", "yuvj420p"})
MOST_PIXELS = 2048
"""Of a side, of standard input; this and the next four are those of facts/BEHAVIOUR.md, section 4.2."""
LONGEST_GOP = 20.0
MOST_BITS = 16_000_000
SLOWEST, FASTEST = 5.0, 120.0
LONGEST = 12 * 3600.0
"""Seconds that Mux takes."""


class NotMediaError(Exception):
    """A file that is no video and no audio. The message is for the asset."""


NOT_MEDIA = "The input is not a video or audio file"


@attrs.frozen
class VideoInfo:
    """The video of a file, as it is shown: upright, with square pixels.

    *turn* is the degrees counterclockwise that stored frames are turned by, *pixel_aspect* the width of a stored pixel by its height.
    *longest_gop* is the longest time between key frames in seconds, *most_bits* the highest bits per second of such a time, and
    *begins_whole* says whether the first picture is a key frame.
    """

    codec: str
    width: int
    height: int
    frame_rate: Fraction | None
    turn: int
    pixel_aspect: Fraction
    pixels: str
    longest_gop: float
    most_bits: float
    begins_whole: bool


@attrs.frozen
class AudioInfo:
    """The audio of a file."""

    codec: str
    channels: int
    sample_rate: int


@attrs.frozen
class Inspection:
    """A file that was read through: *begin* is the time of its first frame by its own clock; both are in seconds."""

    format: str
    begin: float
    duration: float
    picture: VideoInfo | None
    sound: AudioInfo | None

    def describe(self) -> dict[str, Any]:
        """Return what `mux_async.emulator.MediaInfo` is made of."""
        picture, sound = self.picture, self.sound
        found: dict[str, Any] = {"container": self.format, "non_standard": self.non_standard_reasons()}
        found |= {"duration": round(self.duration, 6), "width": 0, "height": 0, "frame_rate": -1.0, "channels": 0}
        if picture is not None:
            found |= {"width": picture.width, "height": picture.height, "video_codec": picture.codec}
            if picture.frame_rate is not None:
                found["frame_rate"] = round(float(picture.frame_rate), 3)
        if sound is not None:
            found |= {"channels": sound.channels, "audio_codec": sound.codec, "sample_rate": sound.sample_rate}
        return found

    def non_standard_reasons(self) -> dict[str, str]:
        """Return why Mux would call it non-standard (facts/BEHAVIOUR.md, section 4.2); edit lists do not count."""
        found: dict[str, str] = {}
        if self.picture is not None:
            picture, rate = self.picture, self.picture.frame_rate
            if picture.codec not in STANDARD_VIDEO:
                found["video_codec"] = picture.codec
            if rate is None or not SLOWEST <= rate <= FASTEST:
                found["video_frame_rate"] = "-1.00" if rate is None else f"{float(rate):.2f}"
            if max(picture.width, picture.height) > MOST_PIXELS:
                found["video_resolution"] = f"{picture.width}x{picture.height}"
            if picture.longest_gop > LONGEST_GOP:
                found["video_gop_size"] = "high"
            if picture.most_bits > MOST_BITS:
                found["video_bitrate"] = "high"
            if picture.pixel_aspect != 1:
                found["pixel_aspect_ratio"] = f"{picture.pixel_aspect.numerator}:{picture.pixel_aspect.denominator}"
            if picture.pixels not in STANDARD_PIXELS:
                found["unsupported_pixel_format"] = picture.pixels
        if self.sound is not None and self.sound.codec != "aac":
            found["audio_codec"] = self.sound.codec
        return found


@contextmanager
def opened(path: str) -> Generator[InputContainer, None, None]:
    """Open an untrusted file. Raises `NotMediaError`: it is in none of `FORMATS`."""
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        container = av.open(path, options=options, metadata_errors="replace")
    except (FFmpegError, ValueError) as error:
        if isinstance(error, MemoryError):
            raise
        raise NotMediaError(NOT_MEDIA) from error
    with container:
        yield container


def main_streams(container: InputContainer) -> tuple[VideoStream | None, AudioStream | None]:
    """Return the first video that is no cover picture, and the first audio."""
    videos = (stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic)
    return next(videos, None), next(iter(container.streams.audio), None)


def read(path: str) -> Inspection:
    """Read a file through, and decode its first frames. Raises `NotMediaError`: it has no media, or more than Mux takes."""
    with opened(path) as container:
        video, audio = main_streams(container)
        first = None if video is None else _first_frame(container, video)
        if audio is not None and min(audio.codec_context.sample_rate, audio.codec_context.channels) <= 0:
            audio = None
        if first is None and audio is None:
            raise NotMediaError(NOT_MEDIA)
        format_name = container.format.name
    with opened(path) as container:
        video, other = main_streams(container)
        video, audio = None if first is None else video, None if audio is None else other
        # Frames before 0 are there for decoders to start with.
        survey = _PacketStats(max(0.0, (container.start_time or 0) / av.time_base))
        for packet in _packets(container, video, audio):
            survey.add(packet)
    if survey.duration <= 0.0:
        raise NotMediaError(NOT_MEDIA)
    if survey.duration > LONGEST:
        raise NotMediaError("The input is longer than 12 hours")
    picture = None if video is None or first is None else _picture(video, first, survey)
    sound = (
        None
        if audio is None
        else AudioInfo(audio.codec_context.name, audio.codec_context.channels, audio.codec_context.sample_rate)
    )
    return Inspection(format_name, survey.begin, survey.duration, picture, sound)


def _first_frame(container: InputContainer, video: VideoStream) -> VideoFrame | None:
    try:
        return next(container.decode(video), None)
    except FFmpegError:
        return None


def _packets(container: InputContainer, *streams: VideoStream | AudioStream | None) -> Iterator[Packet[Any]]:
    try:
        yield from container.demux([stream for stream in streams if stream is not None])
    except FFmpegError:  # the file is damaged from here on; earlier packets count
        return


class _PacketStats:
    """Statistics of packets, which need no decoding."""

    def __init__(self, begin: float) -> None:
        self.begin = begin
        self._last = begin
        self._gop_began: float | None = None
        self._gop_bytes = 0
        self._video_end = 0.0
        self.begins_whole = False
        self.longest_gop = 0.0
        self.most_bits = 0.0

    def add(self, packet: Packet[Any]) -> None:
        base = packet.time_base
        time = packet.pts if packet.pts is not None else packet.dts
        if time is None or not packet.size or packet.is_corrupt:
            return
        begin, end = float(time * base), float((time + (packet.duration or 0)) * base)
        self._last = max(self._last, end)
        if packet.stream.type == "video":
            if self._gop_began is None:
                self._gop_began, self.begins_whole = begin, packet.is_keyframe
            elif packet.is_keyframe:
                self._end_gop(begin)
            self._gop_bytes += packet.size
            self._video_end = max(self._video_end, end)

    def _end_gop(self, now: float) -> None:
        length = now - (self._gop_began or 0.0)
        if length > 0:
            self.longest_gop = max(self.longest_gop, length)
            self.most_bits = max(self.most_bits, self._gop_bytes * 8 / max(length, 1.0))
        self._gop_began, self._gop_bytes = now, 0

    def finish(self) -> None:
        """Count the last stretch too."""
        if self._gop_began is not None:
            self._end_gop(self._video_end)

    @property
    def duration(self) -> float:
        return self._last - self.begin


def _picture(video: VideoStream, first: VideoFrame, survey: _PacketStats) -> VideoInfo:
    survey.finish()
    aspect = video.sample_aspect_ratio or Fraction(1)
    turn = round(first.rotation / 90) * 90 % 360
    width, height = max(1, round(first.width * aspect)), first.height
    if turn in {90, 270}:
        width, height = height, width
    return VideoInfo(
        codec=video.codec_context.name,
        width=width,
        height=height,
        frame_rate=video.average_rate or video.guessed_rate,
        turn=turn,
        pixel_aspect=aspect,
        pixels=first.format.name,
        longest_gop=survey.longest_gop,
        most_bits=survey.most_bits,
        begins_whole=survey.begins_whole,
    )
