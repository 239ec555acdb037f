"""How generated media are cut into segments, so that a live playlist only grows: what it lists never changes, in each latency mode.

A segment is listed when it is whole. A recording begins with short segments, so that a live stream can be played as soon as it is active,
and after each reconnect. When the recording ends, what is left of it becomes its last segment, if it is long enough for players. Between
two recordings there is a discontinuity; the media time goes on (RFC 8216, sections 4.3.2.3 and 6.2.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from mux_async.emulator.media._generated import FRAME
from mux_async.emulator.state._records import Recording

SEGMENT_SECONDS = 5.0
"""The longest segment of media that were not recorded."""
_SHORT = 1.0
"""Seconds of the segments that a recording begins with."""
SHORTEST_SEGMENT = 0.1
"""Seconds. Players stumble over shorter ones, so that less at the end of a recording is left out."""
_NOTHING = 0.0005
"""Seconds by which sums of times may be off."""


@attrs.frozen
class ListedSegment:
    """A segment: *start* and *duration* are media time in seconds.

    *recorded_at* is its time of day, in epoch seconds, if it was recorded. *is_first* of a recording after the first one stands for a
    discontinuity before it.
    """

    number: int
    start: float
    duration: float
    recorded_at: float | None = None
    is_first: bool = False

    @property
    def end(self) -> float:
        """Media time."""
        return round(self.start + self.duration, 6)


def cut(duration: float) -> list[ListedSegment]:
    """Cut media that were not recorded."""
    whole = [_to_frame(end) for end in _multiples(SEGMENT_SECONDS, duration)]
    if whole and duration - whole[-1] < SHORTEST_SEGMENT:
        del whole[-1]
    return _segments(0, 0.0, [*whole, duration], None)


def cut_recordings(recordings: Iterable[tuple[Recording, float]]) -> list[ListedSegment]:
    """Cut recordings, which are given with their present lengths."""
    found: list[ListedSegment] = []
    begins = 0.0
    for recording, length in recordings:
        ends = _whole_ends(recording, length)
        if recording.duration is not None and (not ends or length - ends[-1] >= SHORTEST_SEGMENT):
            ends.append(_to_frame(length))
        elif not ends and not found:
            ends += _beginning(recording.first_segments)  # the stream is active with them
        found += _segments(len(found), begins, ends, recording.started_at)
        begins = found[-1].end if found else 0.0
    return found


def _whole_ends(recording: Recording, length: float) -> list[float]:
    """When the segments of a recording end that are whole."""
    longest, first = recording.longest_segment, recording.first_segments
    begin = _beginning(first) if length + _NOTHING >= first else []
    ends = [*_multiples(_SHORT, min(length, longest - _SHORT)), *_multiples(longest, length)]
    return [*begin, *(end for end in map(_to_frame, ends) if not begin or end > begin[-1])]


def _beginning(first: float) -> list[float]:
    """Cut the first seconds in three: Chromium's own HLS player refuses a live playlist with fewer segments."""
    return [_to_frame(first * part / 3) for part in (1, 2, 3)]


def _to_frame(seconds: float) -> float:
    """Round down to whole frames, at least one."""
    return round(max(1, int(seconds / FRAME + _NOTHING)) * FRAME, 6)


def _multiples(step: float, most: float) -> list[float]:
    return [step * count for count in range(1, int((most + _NOTHING) // step) + 1)]


def _segments(number: int, begins: float, ends: Sequence[float], recorded_at: float | None) -> list[ListedSegment]:
    """Return the segments of a recording that begins at the media time *begins*; *ends* count from there."""
    found: list[ListedSegment] = []
    start = 0.0
    for end in ends:
        at, duration = None if recorded_at is None else recorded_at + start, round(end - start, 6)
        found.append(ListedSegment(number + len(found), round(begins + start, 6), duration, at, is_first=not found))
        start = end
    return found
