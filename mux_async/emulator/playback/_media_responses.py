"""What the stream and image hosts answer when there is a film: playlists of it, stretches of it, and what a studio makes of it.

One file holds it all, so that a segment is a stretch of that file. What still has to be made is answered later (`Response.pending`).
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
from mux_async.emulator.media._backend import Film, Order, Studio, StudioError
from mux_async.emulator.playback._request import PlaybackRequest
from mux_async.emulator.resources._usage import note_delivery

log = logging.getLogger(__name__)

_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_PART = re.compile(r"(?P<rung>\d{1,4})(-(?P<number>\d{1,6})\.m4s|\.mp4)")


def variant(film: Film) -> str:
    """Describe a film as ``EXT-X-STREAM-INF`` does (RFC 8216, section 4.3.4.2)."""
    size = f",RESOLUTION={film.width}x{film.height},FRAME-RATE={film.frame_rate:.3f}" if film.short_side else ""
    return f'BANDWIDTH={film.peak_bandwidth},AVERAGE-BANDWIDTH={film.bandwidth}{size},CODECS="{film.codecs}"'


def segment_lines(film: Film, start: float, end: float, suffix: str) -> list[str]:
    """Write a media playlist of the whole segments between two times, in seconds.

    Returns:
        Its lines, from the first to the end mark.
    """
    rung, begins = film.short_side, [0.0, *accumulate(segment.duration for segment in film.segments)]
    chosen = [
        number
        for number, segment in enumerate(film.segments)
        if begins[number] < end and begins[number] + segment.duration > start
    ] or [len(film.segments) - 1]
    longest = max(round(film.segments[number].duration) for number in chosen)
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{max(1, longest)}", "#EXT-X-MEDIA-SEQUENCE:0"]
    lines += ["#EXT-X-PLAYLIST-TYPE:VOD", "#EXT-X-INDEPENDENT-SEGMENTS", f'#EXT-X-MAP:URI="{rung}.mp4{suffix}"']
    for number in chosen:
        lines += [f"#EXTINF:{film.segments[number].duration:.6f},", f"{rung}-{number}.m4s{suffix}"]
    return [*lines, "#EXT-X-ENDLIST"]


def part(play: PlaybackRequest, film: Film, name: str) -> Response:
    """Answer a segment (``720-0.m4s``), or the head that they all need (``720.mp4``).

    Raises:
        ApiError: 404, there is no such segment.
    """
    match = _PART.fullmatch(name)
    if match is None or int(match["rung"]) != film.short_side:
        raise not_found()
    kind = "video/mp4" if film.short_side else "audio/mp4"
    if match["number"] is None:
        return stretch(play.request, film.path, 0, film.head, kind)
    if int(match["number"]) >= len(film.segments):
        raise not_found()
    segment = film.segments[int(match["number"])]
    if play.request.method == "GET":
        note_delivery(play.world, play.environment, play.asset, segment.duration, film.short_side)
    return stretch(play.request, film.path, segment.offset, segment.size, kind)


def made(play: PlaybackRequest, order: Order, kind: str, otherwise: Callable[[], bytes]) -> Response | None:
    """Answer with something made of the film; ``None`` when there is no film.

    Args:
        play: Of what.
        order: What to make.
        kind: Its media type.
        otherwise: Gives a body when it could not be made.
    """
    studio = play.world.settings.media
    if studio is None or play.film is None:
        return None
    return made_of(play.request, studio, play.asset.id, order, kind, otherwise)


def made_of(
    request: Request, studio: Studio, asset_id: str, order: Order, kind: str, otherwise: Callable[[], bytes]
) -> Response:
    """Answer as `made` does, for a film that is there."""
    future = studio.make(asset_id, order)
    finish = partial(_finished, request, kind, otherwise)
    return finish(future) if future.done() else Response(200, {"Content-Type": kind}, pending=(future, finish))


def _finished(request: Request, kind: str, otherwise: Callable[[], bytes], future: Future[Path]) -> Response:
    try:
        path = future.result()
        return stretch(request, path, 0, path.stat().st_size, kind)
    except (OSError, StudioError) as error:
        log.warning("%s is answered with a stand-in: %s", request.raw_path, error)
        return text(200, otherwise(), kind)


def stretch(request: Request, path: Path, offset: int, size: int, kind: str) -> Response:
    """Answer with a stretch of a file, or with the range of it that was asked for (RFC 9110, section 14; one range, in bytes).

    Raises:
        ApiError: 416, there is nothing in that range.
    """
    headers = {"Content-Type": kind, "Accept-Ranges": "bytes"}
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    given = ("", "") if match is None else match.groups()
    if given == ("", "") or (all(given) and int(given[1]) < int(given[0])):  # what makes no sense is to be ignored
        return Response(200, headers, file=FileSlice(path, offset, size))
    if given[0]:
        first, last = int(given[0]), min(int(given[1] or size), size - 1)
    else:
        first, last = max(0, size - int(given[1])), size - 1
    if first > last:
        raise ApiError(416, "invalid_parameters", f"The file has {size} bytes")
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Response(206, headers, file=FileSlice(path, offset + first, last - first + 1))
