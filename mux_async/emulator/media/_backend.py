"""The interface of a media backend: it converts inputs to media files, and makes images and downloads of them.

The emulator decides at once what a request may have; a `MediaBackend` does the work elsewhere. They exchange values and futures, so that
the emulator never waits. `mux_async.emulator.media.MediaWorker` implements the interface; without a backend, media are generated
(`mux_async.emulator.synthetic_probe`).
"""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

import attrs

from mux_async.emulator.media._probe import InputProblem, MediaInfo


class MediaBackendError(Exception):
    """A file could not be made: the backend is closed, ran out of time, or failed."""


@attrs.frozen
class Segment:
    """A segment of a media file: its offset and size in bytes, and its duration in seconds."""

    offset: int
    size: int
    duration: float


@attrs.frozen
class MediaFile:
    """A playable file: fragmented MP4 with H.264 and AAC, or with AAC alone.

    *head* is the size in bytes of the initialization section, which every segment needs; each segment begins with a key frame. *codecs* are
    as playlists name them (RFC 6381): ``avc1.64001f,mp4a.40.2``. Without video, *width*, *height* and *frame_rate* are 0.
    """

    path: Path
    codecs: str
    head: int
    segments: tuple[Segment, ...]
    width: int = 0
    height: int = 0
    frame_rate: float = 0.0

    @property
    def short_side(self) -> int:
        """Pixels of the smaller side, which names the rendition; 0 when there is no video."""
        return min(self.width, self.height)

    @property
    def duration(self) -> float:
        """Seconds."""
        return sum(segment.duration for segment in self.segments)

    @property
    def peak_bandwidth(self) -> int:
        """Bits per second of the largest segment."""
        return max(round(segment.size * 8 / max(segment.duration, 0.001)) for segment in self.segments)

    @property
    def bandwidth(self) -> int:
        """Bits per second on average."""
        return round(sum(segment.size for segment in self.segments) * 8 / max(self.duration, 0.001))


@attrs.frozen
class LivePart:
    """What an encoder pushed in one connection; its media file grows.

    *began_at* is the time of the first frame in epoch seconds. No segment is longer than *longest_segment* (seconds), but for gaps.
    """

    began_at: float
    longest_segment: float
    media_file: MediaFile


@attrs.frozen
class IngestOrder:
    """An input to inspect and to convert: a URL to fetch, an uploaded file, or a clip of the asset *clip_of*.

    What lies before *start* and after *end* (seconds) is cut off. *tallest* is the maximum of pixels of the smaller side. Frames of test
    assets get a watermark.
    """

    asset_id: str
    url: str | None = None
    path: Path | None = None
    clip_of: str | None = None
    start: float = 0.0
    end: float | None = None
    tallest: int = 1080
    is_test: bool = False


@attrs.frozen
class Still:
    """One image of a media file: rotated by *rotate* degrees clockwise, flipped, and fitted to *width* x *height* pixels.

    With ``preserve``, *width* and *height* already have the aspect ratio of the media file.
    """

    extension: str
    time: float
    width: int
    height: int
    fit_mode: str = "preserve"
    rotate: int = 0
    flip_h: bool = False
    flip_v: bool = False


@attrs.frozen
class Storyboard:
    """A storyboard: one image of *width* x *height* pixels for each of *times* (seconds), in rows."""

    extension: str
    times: tuple[float, ...]
    columns: int
    width: int
    height: int


@attrs.frozen
class Animation:
    """An animated image: *duration* seconds from *start*, with *fps* frames per second."""

    extension: str
    start: float
    duration: float
    width: int
    height: int
    fps: int


@attrs.frozen
class Download:
    """A file to download: ``mp4`` with *height* pixels on the smaller side (0 keeps the size), or ``m4a`` with the audio only."""

    extension: str
    height: int = 0


Order: TypeAlias = Still | Storyboard | Animation | Download


class MediaBackend(Protocol):
    """Converts inputs, and makes files of them. No method blocks."""

    @property
    def uploads(self) -> Path:
        """A folder for uploads, if `EmulatorSettings.store` is not set."""
        ...

    def ingest(self, order: IngestOrder, /) -> Future[MediaInfo | InputProblem | None]:
        """Inspect an input and convert it to a media file. Further calls for the same asset return the same future.

        Returns:
            What the input holds, or why it cannot be used. ``None`` if the backend does not take the input and the media are to be
            generated: a clip of an asset that it has no file for, or a URL that it does not fetch.
        """
        ...

    def media_file(self, asset_id: str, /) -> MediaFile | None:
        """Return the media file of an asset, if there is one."""
        ...

    def make(self, asset_id: str, order: Order, /) -> Future[Path]:
        """Make a file of a media file. The same order for the same asset gives the same file.

        Returns:
            Where the file is. Fails with `MediaBackendError` and nothing else.
        """
        ...

    def forget(self, asset_id: str, /) -> None:
        """Delete the files of an asset. Work in progress for it is discarded."""
        ...


@runtime_checkable
class LiveMediaBackend(MediaBackend, Protocol):
    """A media backend that also has what encoders push to live streams."""

    def live_parts(self, asset_id: str, /) -> tuple[LivePart, ...]:
        """Return the parts of a recording that can be played; none of an asset that was not pushed."""
        ...

    def end_live(self, asset_id: str, /) -> None:
        """End a recording: it does not grow any more."""
        ...
