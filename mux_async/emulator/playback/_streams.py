"""What the stream and image hosts answer: playlists that a player can follow, and small pictures.

Without a studio nothing is encoded: playlists describe the asset, segments hold MPEG-TS null packets, and thumbnails are plain. With
one there is a film to show (`mux_async.emulator.playback._media_responses`). Statuses follow facts/BEHAVIOUR.md, section 9.1.
"""

from __future__ import annotations

import re
from functools import partial
from math import ceil
from urllib.parse import urlencode

import attrs

from mux_async.emulator.http._messages import ApiError, Request, Response, not_found, text
from mux_async.emulator.media._backend import Still
from mux_async.emulator.media._probe import MediaInfo
from mux_async.emulator.playback._files import answer_for, master
from mux_async.emulator.playback._media_responses import made, part, segment_lines, variant
from mux_async.emulator.playback._page_tokens import is_page_token
from mux_async.emulator.playback._params import Params, default_language, from_claims, is_on, pick_rungs, thumbnail, window
from mux_async.emulator.playback._placeholder_images import TYPES, picture
from mux_async.emulator.playback._request import PlaybackRequest
from mux_async.emulator.playback._tokens import check_token
from mux_async.emulator.resources._asset_lifecycle import stored_height
from mux_async.emulator.resources._playback_restrictions import check_restriction
from mux_async.emulator.resources._usage import note_delivery
from mux_async.emulator.state._ids import is_well_formed
from mux_async.emulator.state._serialization import iso, recorded_seconds
from mux_async.emulator.state._state import Environment, PlaybackId, World

SEGMENT_SECONDS = 5.0
_RUNGS = (270, 360, 480, 720, 1080, 1440, 2160)
_THUMBNAILS = frozenset({"jpeg", "jpg", "png", "webp"})
_FOLLOWED = ("asset_start_time", "asset_end_time", "program_start_time", "program_end_time", "exclude_pdt")
_PLAYLIST = "application/vnd.apple.mpegurl"
_NULL_PACKET = b"\x47\x1f\xff\x10" + b"\xff" * 184
_SEGMENT = re.compile(r"(?P<rung>\d{1,4})-(?P<number>\d{1,6})\.ts")


def play(request: Request, world: World) -> Response:
    """Answer a request to the stream or image host.

    Raises:
        ApiError: 400, 403, 404 or 412, as the hosts do.
    """
    if request.method not in {"GET", "HEAD"}:
        raise not_found()
    segments = request.segments
    if len(segments) == 1 and segments[0].endswith(".m3u8"):
        return _multivariant(_open(request, world, segments[0].removesuffix(".m3u8"), "v"))
    if len(segments) == 2 and segments[1].startswith("thumbnail."):
        return _thumbnail(_open(request, world, segments[0], "t"), segments[1].removeprefix("thumbnail."))
    if len(segments) == 2 and segments[1] == "master.mp4":
        return master(request, world, segments[0])
    if len(segments) == 3 and segments[1] == "rendition":
        return _rendition(_open(request, world, segments[0], "v"), segments[2])
    wanted = answer_for(segments)
    if wanted is None:
        raise not_found()
    audience, name, answer = wanted
    return answer(_open(request, world, segments[0], audience), name)


def _open(request: Request, world: World, id: str, audience: str) -> PlaybackRequest:
    if not is_well_formed(id):
        raise ApiError(400, "invalid_parameters", "Failed to parse ID")
    found = world.find_playback(id)
    if found is None:
        raise not_found()
    environment, owner = found
    if owner.type == "live_stream":
        stream = environment.live_streams[owner.id]
        playback_id = _entry(stream.playback_ids, id)
        params = _parameters(request, world, environment, playback_id, audience)
        recorded = environment.assets.get(stream.ingest.asset_id or "")
        if stream.status != "active" or recorded is None or recorded.media is None:
            raise ApiError(412, "failed_request", "The live stream is not active")
        return _of(PlaybackRequest(request, params, world, environment, playback_id, recorded, recorded.media))
    asset = environment.assets[owner.id]
    playback_id = _entry(asset.playback_ids, id)
    params = _parameters(request, world, environment, playback_id, audience)
    if asset.media is None:
        raise ApiError(412, "failed_request", "Asset is not ready")
    return _of(PlaybackRequest(request, params, world, environment, playback_id, asset, asset.media))


def _of(play: PlaybackRequest) -> PlaybackRequest:
    if not play.asset.is_live:
        studio = play.world.settings.media
        return play if studio is None else attrs.evolve(play, film=studio.film(play.asset.id))
    length = max(play.media.duration, recorded_seconds(play.asset, play.world))
    return attrs.evolve(play, media=attrs.evolve(play.media, duration=length))


def _entry(entries: list[PlaybackId], id: str) -> PlaybackId:
    return next(entry for entry in entries if entry.id == id)


def _parameters(request: Request, world: World, environment: Environment, playback_id: PlaybackId, audience: str) -> Params:
    token = request.query.get("token")
    if is_page_token(token, world, playback_id.id):
        return request.query
    if playback_id.policy != "public":
        claims = check_token(token, environment, playback_id.id, audience, world.now)
        if "playback_restriction_id" in claims:
            check_restriction(request, environment, claims["playback_restriction_id"])
        return from_claims(claims)
    if token is not None:
        raise ApiError(403, "forbidden", "The playback id is public and takes no token")
    return request.query


def _suffix(play: PlaybackRequest, **more: str) -> str:
    """What a playlist's URIs carry on: the token, or the parameters that the next playlist needs itself."""
    token = play.request.query.get("token")
    kept = {name: play.params[name] for name in _FOLLOWED if name in play.params} if token is None else {"token": token}
    query = urlencode({**kept, **more})
    return f"?{query}" if query else ""


def _rungs(play: PlaybackRequest) -> list[int]:
    """The sizes an asset comes in, by the smaller side; 0 stands for sound alone."""
    if play.film is not None:
        return [play.film.short_side]
    stored = stored_height(play.asset)
    if not stored:
        return [0]
    return [rung for rung in _RUNGS if rung < stored] + [stored]


def _began_at(play: PlaybackRequest) -> float | None:
    return next((entry.started_at for entry in play.asset.recordings), None)


def _multivariant(play: PlaybackRequest) -> Response:
    window(play.params, play.media.duration, _began_at(play))  # refused here, and not first in every playlist below
    is_on(play.params, "exclude_pdt")
    lines = ["#EXTM3U", "#EXT-X-VERSION:5", "#EXT-X-INDEPENDENT-SEGMENTS", "", *_subtitles(play)]
    group = ',SUBTITLES="sub"' if lines[-1] else ""
    given: set[int] = set()
    for rung in pick_rungs(_rungs(play), play.params):
        # A redundant stream is the same from another place (RFC 8216, section 6.2.4); here it is the same place by another name.
        suffix = _suffix(play, redundant="1") if rung in given else _suffix(play)
        given.add(rung)
        described = _variant(play.media, rung) if play.film is None else variant(play.film)
        lines.append(f"#EXT-X-STREAM-INF:{described}{group}")
        lines.append(f"{play.playback_id.id}/rendition/{rung}.m3u8{suffix}")
    return text(200, "\n".join(lines) + "\n", _PLAYLIST)


def _variant(media: MediaInfo, rung: int) -> str:
    sound = ["mp4a.40.2"] if media.channels else []
    size = ""
    if rung:
        width, height = media.scaled(rung)
        size = f",RESOLUTION={width}x{height},FRAME-RATE={media.frame_rate:.3f}"
    codecs = ",".join(["avc1.640028", *sound] if rung else sound)
    return f'BANDWIDTH={128_000 + rung * 4_000}{size},CODECS="{codecs}"'


def _subtitles(play: PlaybackRequest) -> list[str]:
    tracks = [
        track
        for track in play.asset.tracks
        if track.type == "text" and track.text_type != "chapters" and track.status == "ready"
    ]
    chosen = default_language(play.params, (track.language_code or "" for track in tracks))
    return [
        f'#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="sub",NAME="{_quotable(track.name)}",LANGUAGE="{_quotable(track.language_code)}"'
        f",DEFAULT={'YES' if track.language_code == chosen else 'NO'},AUTOSELECT=YES,FORCED=NO"
        f',URI="{play.playback_id.id}/text/{track.id}.m3u8{_suffix(play)}"'
        for track in tracks
    ]


def _quotable(value: str | None) -> str:
    """What may stand between quotes in a playlist: it has no escapes."""
    return re.sub(r'["\r\n]', "'", value or "")


def _rendition(play: PlaybackRequest, name: str) -> Response:
    duration = play.media.duration
    count = max(1, -(-int(duration * 1000) // int(SEGMENT_SECONDS * 1000)))
    if play.film is not None and not name.endswith(".m3u8"):
        return part(play, play.film, name)
    if name in {f"{rung}.m3u8" for rung in _rungs(play)}:
        return _segments(play, name.removesuffix(".m3u8"), count)
    match = _SEGMENT.fullmatch(name)
    if match is None or int(match["rung"]) not in _rungs(play) or int(match["number"]) >= count:
        raise not_found()
    if play.request.method == "GET":
        length = min(SEGMENT_SECONDS, duration - int(match["number"]) * SEGMENT_SECONDS)
        note_delivery(play.world, play.environment, play.asset, length, int(match["rung"]))
    return text(200, _NULL_PACKET * 7, "video/mp2t")


def _segments(play: PlaybackRequest, rung: str, count: int) -> Response:
    """The playlist of one size: whole segments, so that a stretch can be longer than was asked for (section 9.2)."""
    duration, began_at = play.media.duration, _began_at(play)
    start, end = window(play.params, duration, began_at)
    if play.film is not None:
        return text(200, "\n".join(segment_lines(play.film, start, end, _suffix(play))) + "\n", _PLAYLIST)
    first, last = min(int(start / SEGMENT_SECONDS), count - 1), min(ceil(end / SEGMENT_SECONDS), count)
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{int(SEGMENT_SECONDS)}"]
    lines.append(f"#EXT-X-PLAYLIST-TYPE:{'EVENT' if play.asset.is_live else 'VOD'}")
    if began_at is not None and not is_on(play.params, "exclude_pdt"):
        lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{iso(began_at + first * SEGMENT_SECONDS)}")
    for number in range(first, max(last, first + 1)):
        length = min(SEGMENT_SECONDS, duration - number * SEGMENT_SECONDS)
        lines += [f"#EXTINF:{max(length, 0.001):.3f},", f"{rung}-{number}.ts{_suffix(play)}"]
    end_mark = [] if play.asset.is_live else ["#EXT-X-ENDLIST"]
    return text(200, "\n".join([*lines, *end_mark]) + "\n", _PLAYLIST)


def _thumbnail(play: PlaybackRequest, extension: str) -> Response:
    if not play.media.has_video:
        raise ApiError(400, "invalid_parameters", "The asset has no video")
    if extension not in _THUMBNAILS:
        raise not_found()
    wanted = thumbnail(play.params, play.media, is_live=play.asset.is_live)
    plain = partial(picture, extension, wanted.width, wanted.height)
    time = next((time for time in (wanted.time, play.asset.thumbnail_time) if time is not None), play.media.duration / 2)
    order = Still(extension, time, *attrs.astuple(wanted)[1:])
    return made(play, order, TYPES[extension], plain) or text(200, plain(), TYPES[extension])
