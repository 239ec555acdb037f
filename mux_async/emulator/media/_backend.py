"""Real media, as the account sees them: films that somebody else makes, and orders for what is made of them.

The account decides who may have what and says so at once; a `Studio` does the work elsewhere and takes its time. Between the two are
values and futures, so that nothing here waits. `mux_async.emulator.media.MediaWorker` is the studio there is; without one, media are
made up (`mux_async.emulator.synthetic_probe`).
"""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Protocol, TypeAlias

import attrs

from mux_async.emulator.media._probe import InputProblem, MediaInfo


class StudioError(Exception):
    """Something could not be made: the studio is closed, ran out of time, or broke over it."""


@attrs.frozen
class Segment:
    """A stretch of a film: where it lies in the file, in bytes, and how long it plays, in seconds."""

    offset: int
    size: int
    duration: float


@attrs.frozen
class Film:
    """Media that were made playable: one fragmented MP4 file of H.264 and AAC, or of AAC alone.

    Attributes:
        path: Of the file. It holds a head that every segment needs, and the segments.
        codecs: As a playlist names them (RFC 6381): ``avc1.64001f,mp4a.40.2``.
        head: Bytes before the first segment.
        segments: In order, each beginning with a picture that needs no other.
        width: Pixels; 0 when there is no video.
        height: Pixels; 0 when there is no video.
        frame_rate: Frames per second; 0.0 when there is no video.
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
    def peak_bandwidth(self) -> int:
        """Bits per second of the hungriest segment."""
        return max(round(segment.size * 8 / max(segment.duration, 0.001)) for segment in self.segments)

    @property
    def bandwidth(self) -> int:
        """Bits per second, all in all."""
        duration = sum(segment.duration for segment in self.segments)
        return round(sum(segment.size for segment in self.segments) * 8 / max(duration, 0.001))


@attrs.frozen
class IngestOrder:
    """An input to examine and to make playable.

    Attributes:
        asset_id: Names the film.
        url: To fetch it from; ``None`` when it lies in *path*, or comes from *clip_of*.
        path: Of a file that was uploaded.
        clip_of: Id of the asset that a part is taken of.
        start: Seconds to leave out at the beginning.
        end: Seconds after which the rest is left out; ``None`` keeps all.
        tallest: Pixels of the smaller side that the film may have.
        is_test: Whether pictures are marked as a test's.
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
    """One picture of a film: turned by *rotate* degrees clockwise, flipped, and made to fit *width* x *height* pixels.

    ``preserve`` leaves nothing to fit: whoever orders it asks for a size of the film's own shape.
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
    """Pictures in rows: one of each of *times*, in seconds, every one *width* x *height* pixels."""

    extension: str
    times: tuple[float, ...]
    columns: int
    width: int
    height: int


@attrs.frozen
class Animation:
    """A moving picture: *duration* seconds from *start*, *fps* pictures per second."""

    extension: str
    start: float
    duration: float
    width: int
    height: int
    fps: int


@attrs.frozen
class Download:
    """A file to play or edit elsewhere: ``mp4`` of *height* pixels on the smaller side (0 keeps the film's), or ``m4a`` of the sound."""

    extension: str
    height: int = 0


Order: TypeAlias = Still | Storyboard | Animation | Download


class Studio(Protocol):
    """Makes films and what is made of them, without ever holding up who asks."""

    @property
    def uploads(self) -> Path:
        """A folder for uploads, when `EmulatorSettings.store` names none."""
        ...

    def ingest(self, order: IngestOrder, /) -> Future[MediaInfo | InputProblem | None]:
        """Examine an input and make a film of it. Asked again for the same asset, the answer is the same future.

        Returns:
            What the medium is, or why it cannot be used. ``None`` when this is not for the studio, and is to be made up: a clip of a
            film that it never made, or a URL that it does not fetch.
        """
        ...

    def film(self, asset_id: str, /) -> Film | None:
        """Return the film of an asset; ``None`` when there is none."""
        ...

    def make(self, asset_id: str, order: Order, /) -> Future[Path]:
        """Make a file of a film. The same order of the same film gives the same file.

        Returns:
            Where the file is. Fails with `StudioError` and nothing else.
        """
        ...

    def forget(self, asset_id: str, /) -> None:
        """Throw away what belongs to an asset. What is being made of it comes to nothing."""
        ...
