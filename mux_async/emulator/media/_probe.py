"""Probes: functions that describe an input, for an emulator without a media backend (`mux_async.emulator.media._backend`).

The default probe recognises audio by the first bytes and derives the rest from the size or the URL: the same input always gives the same
plausible numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit
from zlib import crc32

import attrs


@attrs.frozen
class MediaSource:
    """The input of a probe: a URL, or an uploaded file.

    Attributes:
        url: Of the input; ``None`` for an upload.
        size: Bytes of the upload; ``None`` for a URL.
        head: The first bytes of the upload, at most 16 KiB.
        path: Where the file is kept, if `EmulatorSettings.store` is set.
    """

    url: str | None = None
    size: int | None = None
    head: bytes = b""
    path: Path | None = None


@attrs.frozen
class MediaInfo:
    """What an input holds.

    Attributes:
        duration: Seconds.
        width: Pixels; 0 when there is no video.
        height: Pixels; 0 when there is no video.
        frame_rate: Frames per second; -1 when it is not known.
        channels: Of the audio; 0 when there is none.
        container: As input-info names it.
        non_standard: Why it has to be converted first, by the keys of facts/BEHAVIOUR.md, section 4.2; empty when it has not.
        video_codec: As input-info names it.
        audio_codec: Likewise.
        sample_rate: Of the audio, in Hz.
    """

    duration: float
    width: int = 1920
    height: int = 1080
    frame_rate: float = 30.0
    channels: int = 2
    container: str = "mov,mp4,m4a,3gp,3g2,mj2"
    non_standard: Mapping[str, str] = attrs.field(factory=dict[str, str])
    video_codec: str = "h264"
    audio_codec: str = "aac"
    sample_rate: int = 48_000

    @property
    def has_video(self) -> bool:
        """Whether it has video."""
        return self.width > 0 and self.height > 0

    @property
    def short_side(self) -> int:
        """Pixels of the smaller side, which names resolutions."""
        return min(self.width, self.height)

    def scaled(self, short_side: int) -> tuple[int, int]:
        """Return width and height, both even, for another smaller side."""
        scale = short_side / self.short_side
        return round(self.width * scale / 2) * 2, round(self.height * scale / 2) * 2


@attrs.frozen
class InputProblem:
    """Why an input cannot be used; becomes the asset's ``errors``.

    Attributes:
        type: ``invalid_input`` and ``download_failed`` were seen (facts/BEHAVIOUR.md, section 4.4).
        message: For a person.
    """

    type: str
    message: str


Probe: TypeAlias = Callable[[MediaSource], "MediaInfo | InputProblem"]
"""Describes an input. Called once per asset, when it would become ready."""

_AUDIO_SIGNATURES = (b"ID3", b"fLaC", b"OggS", b"\xff\xfb", b"\xff\xf1")
_AUDIO_SUFFIXES = (".aac", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav")
_NON_STANDARD_SUFFIXES: Mapping[str, Mapping[str, str]] = {
    ".avi": {"video_codec": "mpeg4", "audio_codec": "mp3"},
    ".webm": {"video_codec": "vp9", "audio_codec": "opus"},
    ".wmv": {"video_codec": "wmv3", "audio_codec": "wmav2"},
}
_NOT_MEDIA_SUFFIXES = (".css", ".htm", ".html", ".js", ".json", ".pdf", ".txt", ".xml", ".zip")


def live_media(duration: float, *, audio_only: bool) -> MediaInfo:
    """Return what an encoder is taken to send."""
    if audio_only:
        return MediaInfo(duration, 0, 0, frame_rate=-1.0, container="flv")
    return MediaInfo(duration, container="flv")


def synthetic_probe(source: MediaSource) -> MediaInfo | InputProblem:
    """Generate the description of an input.

    Refused are uploads of no bytes, URLs that are neither http(s) nor ``mux://``, hosts under ``.invalid`` (which never
    resolve, RFC 2606), and paths with a suffix of other files. An input whose file name holds ``silent`` has no audio.
    """
    if source.url is not None:
        return _probe_url(source.url)
    if not source.size:
        return InputProblem("invalid_input", "The uploaded file is empty")
    if _is_audio(source.head):
        return _audio(source.size / 16_000)
    return MediaInfo(duration=_seconds(source.size / 625_000))


def _probe_url(url: str) -> MediaInfo | InputProblem:
    parts = urlsplit(url)
    path = parts.path.lower()
    if parts.scheme not in {"http", "https", "mux"} or not parts.hostname or parts.hostname.endswith(".invalid"):
        return InputProblem("download_failed", "The input URL could not be downloaded")
    if path.endswith(_NOT_MEDIA_SUFFIXES):
        return InputProblem("invalid_input", "The input is not a video or audio file")
    length = 5.0 + crc32(url.encode()) % 20_000 / 100
    if path.endswith(_AUDIO_SUFFIXES):
        return _audio(length)
    standard: Mapping[str, str] = {}
    found = next((reasons for suffix, reasons in _NON_STANDARD_SUFFIXES.items() if path.endswith(suffix)), standard)
    channels = 0 if "silent" in path.rpartition("/")[2] else 2
    return MediaInfo(duration=_seconds(length), non_standard=found, channels=channels)


def _is_audio(head: bytes) -> bool:
    return head.startswith(_AUDIO_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WAVE")


def _audio(duration: float) -> MediaInfo:
    return MediaInfo(duration=_seconds(duration), width=0, height=0, frame_rate=-1.0, container="wav")


def _seconds(duration: float) -> float:
    return round(min(max(duration, 0.1), 12 * 3600.0), 6)
