"""The stream and image hosts: playlists, segments and thumbnails.

Without a media backend nothing is encoded: playlists describe the asset, segments hold a small picture and silence
(`mux_async.emulator.media._generated`), and thumbnails are plain. With a backend they show the media file
(`mux_async.emulator.playback._media_responses`). Statuses follow facts/BEHAVIOUR.md, section 9.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from urllib.parse import urlencode

import attrs

from mux_async.emulator.http._messages import ApiError, Request, Response, failed, invalid, json_response, not_found, text
from mux_async.emulator.media._generated import codecs, head_of
from mux_async.emulator.media._generated import segment as generated_segment
from mux_async.emulator.media._probe import MediaInfo, live_media
from mux_async.emulator.playback._files import animated, captions, download, master, storyboard
from mux_async.emulator.playback._media_responses import generated, segment_lines, segment_response, stream_attributes
from mux_async.emulator.playback._params import (
    Params,
    PlaybackRequest,
    default_language,
    from_claims,
    is_on,
    pick_rungs,
    thumbnail,
    window,
)
from mux_async.emulator.playback._placeholder_images import TYPES, picture
from mux_async.emulator.playback._pushed import pushed_rendition
from mux_async.emulator.playback._segments import SEGMENT_SECONDS, ListedSegment, cut, cut_recordings
from mux_async.emulator.playback._tokens import check_token, is_page_token
from mux_async.emulator.resources._playback_restrictions import check_restriction
from mux_async.emulator.resources._usage import record_delivery
from mux_async.emulator.state._ids import is_well_formed
from mux_async.emulator.state._media_orders import live_parts
from mux_async.emulator.state._serialization import iso, recorded_seconds, recording_length
from mux_async.emulator.state._state import Asset, Environment, LiveStream, PlaybackId, State

_RUNGS = (270, 360, 480, 720, 1080, 1440, 2160)
_THUMBNAILS = frozenset({"jpeg", "jpg", "png", "webp"})
_FOLLOWED = ("asset_start_time", "asset_end_time", "program_start_time", "program_end_time", "exclude_pdt")
_SHORTEST = 0.1
"""Seconds of a live stream that has just begun."""
_PLAYLIST = "application/vnd.apple.mpegurl"
_RENDITION = re.compile(r"(?P<rung>\d{1,4})(?P<kind>\.m3u8|\.mp4|-(?P<number>\d{1,6})\.m4s)")
_METADATA: list[dict[str, list[str]]] = [{"metadata": []}]
"""What mux-player asks for beside an MP4 file (facts/NEWER.md). It reads keys and values; which ones Mux sends is not known."""


def playback(request: Request, state: State) -> Response:
    """Respond to a request to the stream or image host. Raises `ApiError` (400, 403, 404 or 412)."""
    if request.method not in {"GET", "HEAD"}:
        raise not_found()
    match request.segments:
        case (name,) if name.endswith(".m3u8"):
            return _multivariant(_open(request, state, name.removesuffix(".m3u8"), "v"))
        case (asset_id, "master.mp4"):
            return master(request, state, asset_id)
        case (id, "metadata.json"):
            _open(request, state, id, "v")
            return json_response(200, _METADATA)
        case (id, "rendition", name):
            return _rendition(_open(request, state, id, "v", may_have_ended=True), name)
        case (id, "text", name):
            return captions(_open(request, state, id, "v"), name)
        case (id, name) if name.endswith((".mp4", ".m4a")):
            return download(_open(request, state, id, "v"), name)
        case (id, name) if name.partition(".")[0] in _IMAGES:
            kind, _, extension = name.partition(".")
            audience, answer = _IMAGES[kind]
            return answer(_open(request, state, id, audience), extension)
        case _:
            raise not_found()


def _open(request: Request, state: State, id: str, audience: str, *, may_have_ended: bool = False) -> PlaybackRequest:
    """Check a request. If *may_have_ended*, a live stream that is idle has its last recording, so that players see its end."""
    if not is_well_formed(id):
        raise invalid("Failed to parse ID")
    found = state.find_playback(id)
    if found is None:
        raise not_found()
    environment, owner = found
    holder = (environment.assets if owner.type == "asset" else environment.live_streams)[owner.id]
    playback_id = next(entry for entry in holder.playback_ids if entry.id == id)
    params = _parameters(request, state, environment, playback_id, audience)
    if isinstance(holder, Asset):
        if holder.media is None:
            raise failed("Asset is not ready")
        return _of(PlaybackRequest(request, params, state, environment, playback_id, holder, holder.media))
    recording, media = _recording(environment, holder, may_have_ended=may_have_ended)
    return _of(PlaybackRequest(request, params, state, environment, playback_id, recording, media))


def _recording(environment: Environment, stream: LiveStream, *, may_have_ended: bool) -> tuple[Asset, MediaInfo]:
    """Return the asset that records a live stream, and its media, which can be played before the asset is ready."""
    if stream.status == "active":
        asset = environment.assets.get(stream.ingest.asset_id or "")
        if asset is not None:
            return asset, asset.media or live_media(0.0, audio_only=bool(stream.members.get("audio_only")))
    elif may_have_ended and stream.recent_asset_ids:
        asset = environment.assets.get(stream.recent_asset_ids[-1])
        if asset is not None and asset.media is not None and not asset.is_live:
            return asset, asset.media
    raise failed("The live stream is not active")


def _of(playback: PlaybackRequest) -> PlaybackRequest:
    parts = live_parts(playback.state, playback.asset.id)
    if parts:
        length = sum(part.media_file.duration for part in parts)
        media = attrs.evolve(playback.asset.pushed or playback.media, duration=length)
        return attrs.evolve(playback, media=media, media_file=parts[0].media_file, live_parts=parts)
    if not playback.asset.is_live:
        backend = playback.state.settings.media
        return playback if backend is None else attrs.evolve(playback, media_file=backend.media_file(playback.asset.id))
    length = max(playback.media.duration, recorded_seconds(playback.asset, playback.state), _SHORTEST)
    return attrs.evolve(playback, media=attrs.evolve(playback.media, duration=length))


def _parameters(request: Request, state: State, environment: Environment, playback_id: PlaybackId, audience: str) -> Params:
    token = request.query.get("token")
    if is_page_token(token, state, playback_id.id):
        return request.query
    if playback_id.policy != "public":
        claims = check_token(token, environment, playback_id.id, audience, state.now)
        if "playback_restriction_id" in claims:
            check_restriction(request, environment, claims["playback_restriction_id"])
        return from_claims(claims)
    if token is not None:
        raise ApiError(403, "forbidden", "The playback id is public and takes no token")
    return request.query


def _suffix(playback: PlaybackRequest, **more: str) -> str:
    """Return the query for the URIs of a playlist: the token, or the parameters that the next playlist needs."""
    token = playback.request.query.get("token")
    kept = {name: playback.params[name] for name in _FOLLOWED if name in playback.params} if token is None else {"token": token}
    query = urlencode({**kept, **more})
    return f"?{query}" if query else ""


def _rungs(playback: PlaybackRequest) -> list[int]:
    """The heights of an asset's renditions, by the smaller side; 0 stands for audio only."""
    if playback.media_file is not None:
        return [playback.media_file.short_side]
    stored = playback.asset.stored_height_of(playback.media)
    if not stored:
        return [0]
    return [rung for rung in _RUNGS if rung < stored] + [stored]


def _began_at(playback: PlaybackRequest) -> float | None:
    return next((entry.started_at for entry in playback.asset.recordings), None)


def _multivariant(playback: PlaybackRequest) -> Response:
    window(playback.params, playback.media.duration, _began_at(playback))  # invalid parameters are refused here already
    is_on(playback.params, "exclude_pdt")
    lines = ["#EXTM3U", "#EXT-X-VERSION:5", "#EXT-X-INDEPENDENT-SEGMENTS", "", *_subtitles(playback)]
    group = ',SUBTITLES="sub"' if lines[-1] else ""
    given: set[int] = set()
    for rung in pick_rungs(_rungs(playback), playback.params):
        # A redundant stream is the same rendition at another URL (RFC 8216, section 6.2.4).
        suffix = _suffix(playback, redundant="1") if rung in given else _suffix(playback)
        given.add(rung)
        described = _variant(playback.media, rung) if playback.media_file is None else stream_attributes(playback.media_file)
        lines.append(f"#EXT-X-STREAM-INF:{described}{group}")
        lines.append(f"{playback.playback_id.id}/rendition/{rung}.m3u8{suffix}")
    return text(200, "\n".join(lines) + "\n", _PLAYLIST)


def _variant(media: MediaInfo, rung: int) -> str:
    size = ""
    if rung:
        width, height = media.scaled(rung)
        size = f",RESOLUTION={width}x{height},FRAME-RATE={media.frame_rate:.3f}"
    # Higher than the rate of generated segments, and so low that players on a busy machine do not change renditions for it.
    return f'BANDWIDTH={64_000 + rung * 10}{size},CODECS="{codecs(video=rung > 0, audio=media.channels > 0)}"'


def _subtitles(playback: PlaybackRequest) -> list[str]:
    tracks = [
        track
        for track in playback.asset.tracks
        if track.type == "text" and track.text_type != "chapters" and track.status == "ready"
    ]
    chosen = default_language(playback.params, (track.language_code or "" for track in tracks))
    return [
        f'#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="sub",NAME="{_quotable(track.name)}",LANGUAGE="{_quotable(track.language_code)}"'
        f",DEFAULT={'YES' if track.language_code == chosen else 'NO'},AUTOSELECT=YES,FORCED=NO"
        f',URI="{playback.playback_id.id}/text/{track.id}.m3u8{_suffix(playback)}"'
        for track in tracks
    ]


def _quotable(value: str | None) -> str:
    """Replace the characters that a quoted string in a playlist cannot hold: there are no escapes."""
    return re.sub(r'["\r\n]', "'", value or "")


def _rendition(playback: PlaybackRequest, name: str) -> Response:
    """Respond with the playlist of a rendition (``720.m3u8``), its initialization section (``720.mp4``) or a segment (``720-0.m4s``)."""
    if playback.live_parts:
        return pushed_rendition(playback, name, _suffix(playback))
    match = _RENDITION.fullmatch(name)
    if match is None or int(match["rung"]) not in _rungs(playback):
        raise not_found()
    rung, kind = int(match["rung"]), f"{'video' if int(match['rung']) else 'audio'}/mp4"
    if match["kind"] == ".m3u8":
        return _media_playlist(playback, rung)
    if playback.media_file is not None:
        return segment_response(playback, playback.media_file, name)
    has_sound = playback.media.channels > 0
    if match["kind"] == ".mp4":
        return text(200, head_of(video=rung > 0, audio=has_sound), kind)
    segment = next((one for one in _listed(playback) if str(one.number) == match["number"]), None)
    if segment is None:
        raise not_found()
    if playback.request.method == "GET":
        record_delivery(playback.state, playback.environment, playback.asset, segment.duration, rung)
    content = generated_segment(segment.number, segment.start, segment.end, video=rung > 0, audio=has_sound)
    return text(200, content, kind)


def _listed(playback: PlaybackRequest) -> list[ListedSegment]:
    """The segments of generated media."""
    recordings = [(entry, recording_length(entry, playback.state)) for entry in playback.asset.recordings]
    return cut_recordings(recordings) if recordings else cut(playback.media.duration)


def _media_playlist(playback: PlaybackRequest, rung: int) -> Response:
    """The playlist of one rendition. It has whole segments, so it can be longer than the requested window (section 9.2)."""
    start, end = window(playback.params, playback.media.duration, _began_at(playback))
    suffix = _suffix(playback)
    if playback.media_file is not None:
        return text(200, "\n".join(segment_lines(playback.media_file, start, end, suffix)) + "\n", _PLAYLIST)
    listed = _listed(playback)
    chosen = [segment for segment in listed if segment.start < end and segment.end > start] or listed[-1:]
    dated = not is_on(playback.params, "exclude_pdt")
    longest = max((recording.longest_segment for recording in playback.asset.recordings), default=SEGMENT_SECONDS)
    # The playlist of a live stream does not change at its end, but for its end.
    is_fixed = not playback.asset.is_live and playback.playback_id in playback.asset.playback_ids
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{round(longest)}", "#EXT-X-MEDIA-SEQUENCE:0"]
    lines.append(f"#EXT-X-PLAYLIST-TYPE:{'VOD' if is_fixed else 'EVENT'}")
    lines += ["#EXT-X-INDEPENDENT-SEGMENTS", f'#EXT-X-MAP:URI="{rung}.mp4{suffix}"']
    for segment in chosen:
        is_continued = segment is not chosen[0]
        if segment.is_first and is_continued:
            lines.append("#EXT-X-DISCONTINUITY")
        if dated and segment.recorded_at is not None and (segment.is_first or not is_continued):
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{iso(segment.recorded_at)}")
        lines += [f"#EXTINF:{segment.duration:.3f},", f"{rung}-{segment.number}.m4s{suffix}"]
    end_mark = [] if playback.asset.is_live else ["#EXT-X-ENDLIST"]
    return text(200, "\n".join([*lines, *end_mark]) + "\n", _PLAYLIST)


def _thumbnail(playback: PlaybackRequest, extension: str) -> Response:
    if not playback.media.has_video:
        raise invalid("The asset has no video")
    if extension not in _THUMBNAILS:
        raise not_found()
    order = thumbnail(playback, extension)
    plain = partial(picture, extension, order.width, order.height)
    return generated(playback, order, TYPES[extension], plain) or text(200, plain(), TYPES[extension])


_IMAGES: Mapping[str, tuple[str, Callable[[PlaybackRequest, str], Response]]] = {
    "thumbnail": ("t", _thumbnail),
    "storyboard": ("s", storyboard),
    "animated": ("g", animated),
}
"""The audience that the token must have, and the function of the extension that responds."""
