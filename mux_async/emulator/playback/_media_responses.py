"""Responses with real media: playlists and segments of a media file, and files that the media backend makes of it.

A segment is a slice of the media file. A file that still has to be made is a pending response (`Response.pending`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from itertools import accumulate
from pathlib import Path

from mux_async.emulator.http._messages import ApiError, FileSlice, Request, Response, not_found, text
from mux_async.emulator.media._backend import MediaBackend, MediaBackendError, MediaFile, Order
from mux_async.emulator.playback._params import PlaybackRequest
from mux_async.emulator.resources._usage import record_delivery

log = logging.getLogger(__name__)

_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_PART = re.compile(r"(?P<rung>\d{1,4})(-(?P<number>\d{1,6})\.m4s|\.mp4)")


def stream_attributes(media_file: MediaFile) -> str:
    """Return the attributes of ``EXT-X-STREAM-INF`` for a media file (RFC 8216, section 4.3.4.2)."""
    size = (
        f",RESOLUTION={media_file.width}x{media_file.height},FRAME-RATE={media_file.frame_rate:.3f}"
        if media_file.short_side
        else ""
    )
    return f'BANDWIDTH={media_file.peak_bandwidth},AVERAGE-BANDWIDTH={media_file.bandwidth}{size},CODECS="{media_file.codecs}"'


def segment_lines(media_file: MediaFile, start: float, end: float, suffix: str) -> list[str]:
    """Return the lines of a media playlist with the whole segments between two times, in seconds."""
    rung, begins = media_file.short_side, [0.0, *accumulate(segment.duration for segment in media_file.segments)]
    chosen = [
        number
        for number, segment in enumerate(media_file.segments)
        if begins[number] < end and begins[number] + segment.duration > start
    ] or [len(media_file.segments) - 1]
    longest = max(round(media_file.segments[number].duration) for number in chosen)
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{max(1, longest)}", "#EXT-X-MEDIA-SEQUENCE:0"]
    lines += ["#EXT-X-PLAYLIST-TYPE:VOD", "#EXT-X-INDEPENDENT-SEGMENTS", f'#EXT-X-MAP:URI="{rung}.mp4{suffix}"']
    for number in chosen:
        lines += [f"#EXTINF:{media_file.segments[number].duration:.6f},", f"{rung}-{number}.m4s{suffix}"]
    return [*lines, "#EXT-X-ENDLIST"]


def segment_response(playback: PlaybackRequest, media_file: MediaFile, name: str) -> Response:
    """Return a segment (``720-0.m4s``), or the initialization section (``720.mp4``). Raises `ApiError` (404): there is no such segment."""
    match = _PART.fullmatch(name)
    if match is None or int(match["rung"]) != media_file.short_side:
        raise not_found()
    kind = "video/mp4" if media_file.short_side else "audio/mp4"
    if match["number"] is None:
        return file_response(playback.request, media_file.path, 0, media_file.head, kind)
    if int(match["number"]) >= len(media_file.segments):
        raise not_found()
    segment = media_file.segments[int(match["number"])]
    if playback.request.method == "GET":
        record_delivery(playback.state, playback.environment, playback.asset, segment.duration, media_file.short_side)
    return file_response(playback.request, media_file.path, segment.offset, segment.size, kind)


def generated(playback: PlaybackRequest, order: Order, kind: str, otherwise: Callable[[], bytes]) -> Response | None:
    """Return a file of this media type made by the backend; ``None`` without a media file. *otherwise* gives the body if that fails."""
    backend = playback.state.settings.media
    if backend is None or playback.media_file is None:
        return None
    return generated_from(playback.request, backend, playback.asset.id, order, kind, otherwise)


def generated_from(
    request: Request, backend: MediaBackend, asset_id: str, order: Order, kind: str, otherwise: Callable[[], bytes]
) -> Response:
    """Do as `generated` does, for an asset that has a media file."""
    future = backend.make(asset_id, order)
    finish = partial(_finished, request, kind, otherwise)
    return finish(future) if future.done() else Response(200, {"Content-Type": kind}, pending=(future, finish))


def _finished(request: Request, kind: str, otherwise: Callable[[], bytes], future: Future[Path]) -> Response:
    try:
        path = future.result()
        return file_response(request, path, 0, path.stat().st_size, kind)
    except (OSError, MediaBackendError) as error:
        log.warning("%s gets a placeholder: %s", request.raw_path, error)
        return text(200, otherwise(), kind)


def file_response(request: Request, path: Path, offset: int, size: int, kind: str) -> Response:
    """Return a slice of a file, or the requested range of it (RFC 9110, section 14; one range, in bytes). An empty range is a 416."""
    headers = {"Content-Type": kind, "Accept-Ranges": "bytes"}
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    given = ("", "") if match is None else match.groups()
    if given == ("", "") or (all(given) and int(given[1]) < int(given[0])):  # an invalid range is ignored
        return Response(200, headers, file=FileSlice(path, offset, size))
    if given[0]:
        first, last = int(given[0]), min(int(given[1] or size), size - 1)
    else:
        first, last = max(0, size - int(given[1])), size - 1
    if first > last:
        raise ApiError(416, "invalid_parameters", f"The file has {size} bytes")
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Response(206, headers, file=FileSlice(path, offset + first, last - first + 1))
