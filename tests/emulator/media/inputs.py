"""Small real films, encoded by PyAV: a test pattern that changes with every frame, and a tone."""

# PyAV leaves the parameter of Packet open in its own signatures.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.resampler import AudioResampler
from av.container import OutputContainer
from av.filter import Graph
from av.video.frame import PictureType

VIDEO_CODECS = {".mp4": "libx264", ".mov": "libx264", ".webm": "libvpx-vp9", ".mkv": "libx264"}
AUDIO_CODECS = {".mp4": "aac", ".mov": "aac", ".webm": "libopus", ".wav": "pcm_s16le", ".mkv": "aac"}


def make(
    path: Path,
    seconds: float = 3.0,
    *,
    size: tuple[int, int] | None = (320, 180),
    rate: Fraction = Fraction(30),
    sound: bool = True,
    gop: int = 30,
    pixels: str = "yuv420p",
) -> Path:
    """Encode a film. The extension says the container; *size* ``None`` means audio only, *gop* is in frames."""
    options = {"movflags": "faststart"} if path.suffix in {".mp4", ".mov"} else {}
    with av.open(str(path), "w", options=options) as output:
        pictures = None if size is None else _pictures(output, VIDEO_CODECS[path.suffix], size, rate, gop, pixels)
        tone = output.add_stream(AUDIO_CODECS[path.suffix], rate=48_000, layout="stereo") if sound else None
        if pictures is not None and size is not None:
            what = f"size={size[0]}x{size[1]}:rate={rate}:duration={seconds}"
            for frame in _generated("testsrc2", what, ("format", pixels)):
                frame.pict_type = PictureType.NONE  # the source marks every picture as one that needs no other
                output.mux(pictures.encode(frame))
            output.mux(pictures.encode(None))
        if isinstance(tone, av.AudioStream):
            _sound(output, tone, seconds)
    return path


def _pictures(
    output: OutputContainer, codec: str, size: tuple[int, int], rate: Fraction, gop: int, pixels: str
) -> av.VideoStream:
    hurry = {"preset": "veryfast", "sc_threshold": "0"} if codec == "libx264" else {"deadline": "realtime", "cpu-used": "8"}
    stream = output.add_stream(codec, rate=rate, options={"g": str(gop), **hurry})
    assert isinstance(stream, av.VideoStream)
    (stream.width, stream.height), stream.pix_fmt = size, pixels
    return stream


def _sound(output: OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    resampler = AudioResampler(stream.format, "stereo", 48_000, stream.codec_context.frame_size or 1024)
    for frame in _generated("sine", f"frequency=440:sample_rate=48000:duration={seconds}"):
        for ready in resampler.resample(frame):
            output.mux(stream.encode(ready))
    for ready in resampler.resample(None):
        output.mux(stream.encode(ready))
    output.mux(stream.encode(None))


def _generated(name: str, arguments: str, *filters: tuple[str, str]) -> Iterator[Any]:
    graph = Graph()
    sink = graph.add("abuffersink" if name == "sine" else "buffersink")
    graph.link_nodes(graph.add(name, arguments), *(graph.add(*one) for one in filters), sink).configure()
    while True:
        try:
            yield graph.pull()
        except EOFError:
            return


def turned(source: Path, path: Path) -> Path:
    """Copy an MP4 file with a rotation of 90 degrees clockwise in its header (ISO 14496-12, section 8.3.2)."""
    content = bytearray(source.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path
