"""The playlist and the segments of what encoders pushed: while they push, at the end of the live stream, and of the recording later.

A live playlist only grows (RFC 8216, section 6.2.1): segments are numbered through all parts, a part begins with a discontinuity and an
initialization section of its own, and the target duration is that of the latency mode.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

from mux_async.emulator.http._messages import Response, not_found, text
from mux_async.emulator.media._backend import LivePart, Segment
from mux_async.emulator.playback._media_responses import file_response
from mux_async.emulator.playback._params import PlaybackRequest, is_on, window
from mux_async.emulator.resources._usage import record_delivery
from mux_async.emulator.state._serialization import iso

_NAME = re.compile(r"(?P<rung>\d{1,4})(\.m3u8|\.mp4|-part(?P<part>\d{1,6})\.mp4|-(?P<number>\d{1,6})\.m4s)")
_LONGEST_GAP = 1.0
"""Seconds by which a gap can make a segment longer than the latency mode has it."""


@attrs.frozen
class _Listed:
    """A segment with its number, the number of its part, and the seconds at which it begins, in the recording and in the part."""

    number: int
    part: int
    begin: float
    offset: float
    segment: Segment


def _listed(parts: tuple[LivePart, ...]) -> Iterator[_Listed]:
    number, begin = 0, 0.0
    for index, part in enumerate(parts):
        offset = 0.0
        for segment in part.media_file.segments:
            yield _Listed(number, index, begin, offset, segment)
            number, begin, offset = number + 1, begin + segment.duration, offset + segment.duration


def pushed_rendition(playback: PlaybackRequest, name: str, suffix: str) -> Response:
    """Respond with the playlist (``720.m3u8``), an initialization section or a segment. Raises `ApiError` (404): there is no such file."""
    parts = playback.live_parts
    rung = parts[0].media_file.short_side
    match = _NAME.fullmatch(name)
    if match is None or int(match["rung"]) != rung:
        raise not_found()
    if name.endswith(".m3u8"):
        return text(200, "\n".join(_lines(playback, rung, suffix)) + "\n", "application/vnd.apple.mpegurl")
    kind = "video/mp4" if rung else "audio/mp4"
    if match["number"] is None:
        number = int(match["part"] or 0)
        if number >= len(parts):
            raise not_found()
        return file_response(playback.request, parts[number].media_file.path, 0, parts[number].media_file.head, kind)
    found = next((listed for listed in _listed(parts) if listed.number == int(match["number"])), None)
    if found is None:
        raise not_found()
    if playback.request.method == "GET":
        record_delivery(playback.state, playback.environment, playback.asset, found.segment.duration, rung)
    return file_response(playback.request, parts[found.part].media_file.path, found.segment.offset, found.segment.size, kind)


def _lines(playback: PlaybackRequest, rung: int, suffix: str) -> list[str]:
    parts = playback.live_parts
    start, end = window(playback.params, playback.media.duration, parts[0].began_at)
    listed = list(_listed(parts))
    chosen = [one for one in listed if one.begin < end and one.begin + one.segment.duration > start] or listed[-1:]
    is_dated = not is_on(playback.params, "exclude_pdt")
    # A fixed recording has the playlist type VOD; that of the live stream does not change at the end.
    is_fixed = not playback.asset.is_live and playback.playback_id in playback.asset.playback_ids
    longest = max((round(one.segment.duration) for one in chosen), default=1)
    target = max(1, longest) if is_fixed else round(parts[0].longest_segment + _LONGEST_GAP)
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{target}", "#EXT-X-MEDIA-SEQUENCE:0"]
    lines.append(f"#EXT-X-PLAYLIST-TYPE:{'VOD' if is_fixed else 'EVENT'}")
    part = None
    for one in chosen:
        if one.part != part:
            head = f"{rung}.mp4" if not one.part else f"{rung}-part{one.part}.mp4"
            lines += [] if part is None else ["#EXT-X-DISCONTINUITY"]
            lines.append(f'#EXT-X-MAP:URI="{head}{suffix}"')
            if is_dated:
                lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{iso(parts[one.part].began_at + one.offset)}")
            part = one.part
        lines += [f"#EXTINF:{one.segment.duration:.6f},", f"{rung}-{one.number}.m4s{suffix}"]
    return lines if playback.asset.is_live else [*lines, "#EXT-X-ENDLIST"]
