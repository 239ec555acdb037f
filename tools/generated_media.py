"""Writes the picture and the silence that the emulator's generated segments are made of (`mux_async.emulator.media._generated`).

Run by hand (``python -m tools.generated_media``) when the picture is to be another: the encoder's version changes the bytes, so that no
test makes them again.
"""

# PyAV's packets and options are not typed to the end.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import io
import json
from base64 import b64encode
from fractions import Fraction
from pathlib import Path

import av

from mux_async.emulator.media import _generated

WIDTH, HEIGHT = 640, 360
_RATE = Fraction(_generated.SAMPLE_RATE, _generated.SAMPLES)
BAR = 64
"""Pixels: the width of the bars behind, and of the square that moves."""
_X264 = {
    "preset": "veryslow",
    "tune": "zerolatency",
    "crf": "30",
    "x264-params": "keyint=infinite:scenecut=0:bframes=0:threads=1",
}


def _film(kinds: tuple[str, ...], options: dict[str, str], frames: int) -> bytes:
    """Encode the picture, the silence or both, as MP4."""
    made = io.BytesIO()
    with av.open(made, "w", format="mp4", options=options) as container:
        video = container.add_stream("libx264", rate=_RATE, options=_X264) if "video" in kinds else None
        audio = container.add_stream("aac", rate=_generated.SAMPLE_RATE, layout="stereo") if "audio" in kinds else None
        if video is not None:
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(frames):
            if video is not None:
                picture = _picture(number / frames)
                picture.pts, picture.time_base = number, 1 / _RATE
                container.mux(video.encode(picture))
            if audio is not None:
                container.mux(audio.encode(_silence(number)))
        for stream in (video, audio):
            if stream is not None:
                container.mux(stream.encode(None))
    return made.getvalue()


def _picture(position: float) -> av.VideoFrame:
    """Grey bars, and a light square that crosses them once."""
    picture = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
    picture.planes[1].update(bytes([128]) * picture.planes[1].buffer_size)
    picture.planes[2].update(bytes([128]) * picture.planes[2].buffer_size)
    left, top = round(position * (WIDTH - BAR)), (HEIGHT - BAR) // 2
    bars = bytearray(40 + 12 * (x // BAR) for x in range(WIDTH)).ljust(picture.planes[0].line_size, b"\0")
    with_square = bars[:left] + b"\xeb" * BAR + bars[left + BAR :]
    picture.planes[0].update(b"".join(bytes(with_square if top <= y < top + BAR else bars) for y in range(HEIGHT)))
    return picture


def _silence(number: int) -> av.AudioFrame:
    silence = av.AudioFrame("fltp", "stereo", _generated.SAMPLES)
    for plane in silence.planes:
        plane.update(bytes(plane.buffer_size))
    silence.sample_rate, silence.time_base = _generated.SAMPLE_RATE, Fraction(1, _generated.SAMPLE_RATE)
    silence.pts = number * _generated.SAMPLES
    return silence


def _samples(film: bytes, kind: str) -> list[bytes]:
    with av.open(io.BytesIO(film), "r") as container:
        return [bytes(packet) for packet in container.demux(**{kind: 0}) if packet.size]


def main() -> None:
    """Write the file."""
    frames = _generated.LOOP
    both = _film(("video", "audio"), {}, frames)
    fragmented = {"movflags": "empty_moov+default_base_moof"}
    heads = {kinds: _film(kinds, fragmented, 1) for kinds in (("video", "audio"), ("video",), ("audio",))}
    encoded = {
        "heads": {"+".join(kinds): b64encode(film[: film.index(b"moof") - 4]).decode() for kinds, film in heads.items()},
        "frames": [b64encode(sample).decode() for sample in _samples(both, "video")],
        "silence": b64encode(_samples(both, "audio")[3]).decode(),
    }
    assert len(encoded["frames"]) == frames
    Path(_generated.__file__).with_name("generated.json").write_text(json.dumps(encoded, indent=0) + "\n")


if __name__ == "__main__":
    main()
