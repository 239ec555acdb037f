"""Small real media files, made on the spot with the ffmpeg that the package imageio-ffmpeg carries."""

from __future__ import annotations

import importlib
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from mux_async.emulator import InputProblem, MediaInfo, MediaSource, synthetic_probe
from mux_async.errors import ConfigurationError, MissingExtraError


@attrs.frozen
class Recipe:
    """How to make one file. Its suffix chooses the container."""

    name: str
    duration: float
    """Seconds."""
    width: int = 0
    """Pixels; 0 for no picture."""
    height: int = 0
    rate: int = 25
    """Frames per second."""
    tone: int = 0
    """Frequency of the sound in hertz; 0 for none."""
    options: tuple[str, ...] = ()
    """Further arguments for ffmpeg: codecs, bit rates."""


_QUICK = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")

DEMO: Final[Sequence[Recipe]] = (
    Recipe("test-card.mp4", 6.0, 1280, 720, 25, 440, (*_QUICK, "-c:a", "aac")),
    Recipe("portrait.mov", 3.0, 360, 640, 30, 880, (*_QUICK, "-c:a", "aac")),
    Recipe(
        "web.webm", 2.0, 480, 270, 24, 330, ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus")
    ),
    Recipe("mezzanine.avi", 4.0, 1920, 1080, 25, 0, ("-c:v", "mjpeg", "-q:v", "3")),
    Recipe("talk.mp3", 20.0, tone=220, options=("-c:a", "libmp3lame", "-b:a", "128k")),
    Recipe("loop.mkv", 1.5, 160, 120, 10, 0, _QUICK),
)
"""What ``mux-async demo`` ingests: different lengths, sizes, shapes, codecs and containers."""


def ffmpeg() -> str:
    """Return the path of an ffmpeg. Raises `ConfigurationError` if imageio-ffmpeg is missing, or has none for this machine."""
    try:
        library: Any = importlib.import_module("imageio_ffmpeg")  # it has no types
    except ImportError:
        raise MissingExtraError("making media files", "imageio-ffmpeg", "demo") from None
    try:
        return str(library.get_ffmpeg_exe())
    except RuntimeError as error:
        raise ConfigurationError(
            f"imageio-ffmpeg has no ffmpeg for this machine ({error}); set IMAGEIO_FFMPEG_EXE to one"
        ) from error


def make_media(recipe: Recipe, folder: Path) -> Path:
    """Make a file in *folder*, which must exist, and return its path. Blocks. Raises `ConfigurationError` if ffmpeg fails."""
    path = folder / recipe.name
    command = [ffmpeg(), "-hide_banner", "-loglevel", "error", "-nostdin", "-y"]
    length = f"duration={recipe.duration:g}"
    if recipe.width:
        command += ["-f", "lavfi", "-i", f"testsrc2=size={recipe.width}x{recipe.height}:rate={recipe.rate}:{length}"]
    if recipe.tone:
        command += ["-f", "lavfi", "-i", f"sine=frequency={recipe.tone}:{length}"]
    command += [*recipe.options, str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)  # noqa: S603 - our own arguments
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise ConfigurationError(f"ffmpeg could not make {recipe.name!r}: {last or f'exit code {done.returncode}'}")
    return path


_DURATION = re.compile(r"Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_VIDEO = re.compile(r"Stream #.*?: Video: .*? (\d{2,5})x(\d{2,5})\b(?:.*?([\d.]+) fps)?")
_AUDIO = re.compile(r"Stream #.*?: Audio: .*?, \d+ Hz, (mono|stereo)?")


def probe_media(source: MediaSource) -> MediaInfo | InputProblem:
    """Look at an uploaded file with ffmpeg: a probe for an emulator that stores its uploads (`mux_async.emulator.Probe`)."""
    if source.path is None:
        return synthetic_probe(source)
    command = [ffmpeg(), "-hide_banner", "-nostdin", "-i", str(source.path)]
    said = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace", timeout=60).stderr  # noqa: S603
    duration = _DURATION.search(said)
    if duration is None:
        return InputProblem("invalid_input", "The file is not a media file that ffmpeg knows")
    hours, minutes, seconds = duration.groups()
    video, audio = _VIDEO.search(said), _AUDIO.search(said)
    return MediaInfo(
        duration=int(hours) * 3600 + int(minutes) * 60 + float(seconds),
        width=int(video[1]) if video else 0,
        height=int(video[2]) if video else 0,
        frame_rate=float(video[3] or -1) if video else -1.0,
        channels=0 if audio is None else 1 if audio[1] == "mono" else 2,
    )
