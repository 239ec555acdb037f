"""What encoders push to live streams, as files: parts, which grow by segments, and a log from which they are read again.

A recording has one part, and one more for each reconnection, because the settings of an encoder and its clock may differ then. A worker
process (`mux_async.emulator.media._live_child`) writes a part; its lines are passed to `LiveRecordings.add`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Final

import attrs

from mux_async.emulator.media._backend import LivePart, MediaFile, Segment
from mux_async.emulator.media._probe import MediaInfo

LOG: Final = "live.jsonl"
LONGEST_SEGMENT: Final[Mapping[str, float]] = {"standard": 4.0, "reduced": 2.0, "low": 1.0}
"""Seconds of a segment by latency mode, when there is no key frame to end it at."""
LONGEST_GAP: Final = 1.0
"""Seconds without media within a part; a longer gap begins a new one."""
_SHORTEST_SEGMENT: Final = 0.5


@attrs.define
class _Recording:
    folder: Path
    parts: list[LivePart]
    has_ended: bool = False
    begun: int = 0
    """Parts that were begun, with or without a segment."""


def worker_command(path: Path, start: float, latency_mode: str, memory: int, *, audio_only: bool) -> list[str]:
    """Return the command of the process that writes a part, whose times begin at *start*. It reads FLV from its standard input."""
    longest = LONGEST_SEGMENT[latency_mode]
    cutting = {"start": start, "shortest": _SHORTEST_SEGMENT, "longest": longest, "audio_only": audio_only}
    return [sys.executable, "-m", "mux_async.emulator.media._live_child", str(memory), str(path), json.dumps(cutting)]


class LiveRecordings:
    """The recordings in a folder of media, by the id of the asset. Methods may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._recordings: dict[str, _Recording] = {}

    def begin_part(self, asset_id: str) -> tuple[Path, float]:
        """Return where the next part of a recording is to be written, and at how many seconds it begins."""
        with self._lock:
            recording = self._find(asset_id)
            if recording is None:
                folder = self._folder / asset_id
                folder.mkdir(exist_ok=True)
                recording = self._recordings[asset_id] = _Recording(folder, [])
            recording.begun += 1
            start = sum(part.media_file.duration for part in recording.parts)
            return recording.folder / f"live-{recording.begun - 1}.mp4", start

    def add_part(self, asset_id: str, path: Path, began_at: float, latency_mode: str, opened: Mapping[str, Any]) -> None:
        """Add a part whose process has ``opened`` it. It can be played when it has a segment."""
        names = ("codecs", "head", "width", "height", "frame_rate")
        described = {name: opened[name] for name in names if name in opened}
        longest = LONGEST_SEGMENT[latency_mode]
        self._apply(asset_id, {"part": path.name, "began_at": began_at, "longest": longest, "described": described})

    def add_segment(self, asset_id: str, offset: int, size: int, seconds: float) -> bool:
        """Add a segment to the last part. Returns whether the recording goes on."""
        return self._apply(asset_id, {"segment": [offset, size, seconds]})

    def _apply(self, asset_id: str, entry: Mapping[str, Any]) -> bool:
        with self._lock:
            recording = self._recordings.get(asset_id)
            if recording is None or recording.has_ended:
                return False
            _apply(recording, entry)
            with (recording.folder / LOG).open("a") as log:
                log.write(json.dumps(entry) + "\n")
            return True

    def end(self, asset_id: str) -> None:
        """End a recording: what arrives later is ignored."""
        with self._lock:
            recording = self._find(asset_id)
            if recording is not None:
                recording.has_ended = True

    def parts(self, asset_id: str) -> tuple[LivePart, ...]:
        """Return the parts of a recording that can be played; none of an asset that was not pushed."""
        with self._lock:
            recording = self._find(asset_id)
            return () if recording is None else tuple(part for part in recording.parts if part.media_file.segments)

    def forget(self, asset_id: str) -> None:
        """Forget a recording. Its files belong to the media backend."""
        with self._lock:
            self._recordings.pop(asset_id, None)

    def _find(self, asset_id: str) -> _Recording | None:
        recording = self._recordings.get(asset_id)
        if recording is None:
            folder = self._folder / asset_id
            try:
                lines = (folder / LOG).read_text().splitlines()
            except FileNotFoundError:
                return None
            recording = _Recording(folder, [])
            for line in lines:
                try:
                    _apply(recording, json.loads(line))
                except ValueError:  # the last line, if the emulator was killed
                    break
            recording.begun = len(list(folder.glob("live-*.mp4")))
            self._recordings[asset_id] = recording
        return recording


def _apply(recording: _Recording, entry: Mapping[str, Any]) -> None:
    if "part" in entry:
        media_file = MediaFile(path=recording.folder / entry["part"], segments=(), **entry["described"])
        recording.parts.append(LivePart(entry["began_at"], entry["longest"], media_file))
    else:
        part = recording.parts[-1]
        segments = (*part.media_file.segments, Segment(*entry["segment"]))
        recording.parts[-1] = attrs.evolve(part, media_file=attrs.evolve(part.media_file, segments=segments))


def media_of(opened: Mapping[str, Any]) -> MediaInfo:
    """Return what a process says that an encoder sends. The duration is that of the recording, and not known here."""
    has_video = "width" in opened
    return MediaInfo(
        0.0,
        opened.get("width", 0),
        opened.get("height", 0),
        frame_rate=opened["frame_rate"] if has_video else -1.0,
        channels=opened["channels"],
        container="flv",
        sample_rate=opened["sample_rate"] or 48_000,
    )
