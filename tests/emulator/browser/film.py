"""A small real film: a test pattern and a tone, as H.264 and AAC in an MP4."""

# PyAV's packets and options are not typed to the end.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import io
import math
from array import array
from fractions import Fraction
from functools import cache

from tests.emulator.official import missing

WIDTH, HEIGHT, RATE = 320, 180, 25
_SOUND_RATE, _SAMPLES = 48_000, 1024


@cache
def film(seconds: int = 4, *, padding: int = 0) -> bytes:
    """Make the file.

    Args:
        seconds: Its length.
        padding: Bytes that are added as a box that players skip (ISO 14496-12, section 8.1.2), for an upload of several pieces.
    """
    try:
        import av
    except ImportError:
        missing("the library that reads media is not installed: pip install av")
    made = io.BytesIO()
    with av.open(made, "w", format="mp4") as container:
        pictures = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "g": str(RATE)})
        pictures.width, pictures.height, pictures.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = container.add_stream("aac", rate=_SOUND_RATE, layout="mono")
        for number in range(seconds * RATE):
            picture = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
            for index, plane in enumerate(picture.planes):
                plane.update(bytes([(number * 3 + index * 60) % 256]) * plane.buffer_size)
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            container.mux(pictures.encode(picture))
        container.mux(pictures.encode(None))
        for begin in range(0, seconds * _SOUND_RATE, _SAMPLES):
            frame = av.AudioFrame("fltp", "mono", _SAMPLES)
            tone = (0.1 * math.sin(math.tau * 440 * (begin + offset) / _SOUND_RATE) for offset in range(_SAMPLES))
            frame.planes[0].update(array("f", tone).tobytes())
            frame.sample_rate, frame.pts, frame.time_base = _SOUND_RATE, begin, Fraction(1, _SOUND_RATE)
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return made.getvalue() + ((padding + 8).to_bytes(4, "big") + b"free" + bytes(padding) if padding else b"")
