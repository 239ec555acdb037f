"""Storyboards, animated images, captions, transcripts and downloads of the image and stream hosts (facts/BEHAVIOUR.md, 9.2 and 9.3).

All have the right format and size. Without a media file they are empty (`mux_async.emulator.playback._media_responses` has the others).
"""

from __future__ import annotations

from functools import partial
from math import ceil
from urllib.parse import quote

from mux_async.emulator.http._messages import Request, Response, invalid, json_response, not_found, text
from mux_async.emulator.media._backend import Animation, Storyboard
from mux_async.emulator.playback._media_responses import generated, generated_from
from mux_async.emulator.playback._params import PlaybackRequest, fitted, seconds
from mux_async.emulator.playback._placeholder_images import TYPES, picture
from mux_async.emulator.resources._usage import record_delivery
from mux_async.emulator.state._media_orders import download_order, master_order
from mux_async.emulator.state._serialization import asset_json, origin_of
from mux_async.emulator.state._state import State, Track
from mux_async.emulator.validation._validation import whole_parameter

TILE_WIDTH = 256
MAX_TILE_HEIGHT = 800
"""Pixels. Twenty rows then fit into a WebP image, whose sides have at most 16,383."""
SHORT = 15 * 60.0
"""Seconds below which a storyboard has 50 tiles; 100 from there on."""
_COLUMNS = 5
_MAX_ANIMATED_SIDE = 640
_ANIMATED = frozenset({"gif", "webp"})
_STORYBOARD_IMAGES = frozenset({"jpg", "png", "webp"})

EMPTY_MP4 = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom\x00\x00\x00\x08mdat"
"""A file of the right type with no media in it."""


def _video(playback: PlaybackRequest) -> None:
    if not playback.media.has_video:
        raise invalid("The asset has no video")


def _tile_height(playback: PlaybackRequest) -> int:
    return min(max(2, round(TILE_WIDTH * playback.media.height / playback.media.width)), MAX_TILE_HEIGHT)


def _tiles(playback: PlaybackRequest) -> list[tuple[float, int, int]]:
    """When each tile begins, in seconds, and where it lies on the picture."""
    count = 50 if playback.media.duration < SHORT else 100
    height = _tile_height(playback)
    return [
        (round(playback.media.duration * index / count, 3), index % _COLUMNS * TILE_WIDTH, index // _COLUMNS * height)
        for index in range(count)
    ]


def _picture_url(playback: PlaybackRequest, extension: str = "jpg") -> str:
    token = playback.request.query.get("token")
    suffix = "" if token is None else f"?token={quote(token)}"
    return f"{origin_of(playback.request, playback.state)}/{playback.playback_id.id}/storyboard.{extension}{suffix}"


def storyboard(playback: PlaybackRequest, extension: str) -> Response:
    """Answer ``storyboard.{jpg,png,webp,json,vtt}``: pictures in rows, and where each is. Not for audio or live streams."""
    _video(playback)
    if playback.asset.is_live:
        raise invalid("A live stream has no storyboard")
    tiles, height = _tiles(playback), _tile_height(playback)
    shown = "webp" if playback.params.get("format") == "webp" else "jpg"
    if extension == "json":
        described = {
            "url": _picture_url(playback, shown),
            "tile_width": TILE_WIDTH,
            "tile_height": height,
            "duration": playback.media.duration,
            "tiles": [{"start": start, "x": x, "y": y} for start, x, y in tiles],
        }
        return json_response(200, described)
    if extension == "vtt":
        ends = [start for start, _, _ in tiles[1:]] + [playback.media.duration]
        cues = [
            f"{_stamp(start)} --> {_stamp(end)}\n{_picture_url(playback, shown)}#xywh={x},{y},{TILE_WIDTH},{height}"
            for (start, x, y), end in zip(tiles, ends, strict=True)
        ]
        return text(200, "WEBVTT\n\n" + "\n\n".join(cues) + "\n", "text/vtt")
    if extension in _STORYBOARD_IMAGES:
        plain = partial(picture, extension, _COLUMNS * TILE_WIDTH, len(tiles) // _COLUMNS * height)
        order = Storyboard(extension, tuple(start for start, _, _ in tiles), _COLUMNS, TILE_WIDTH, height)
        return generated(playback, order, TYPES[extension], plain) or text(200, plain(), TYPES[extension])
    raise not_found()


def animated(playback: PlaybackRequest, extension: str) -> Response:
    """Answer ``animated.{gif,webp}``. Raises `ApiError` (400) without video, or for a stretch, size or rate that Mux does not make."""
    if extension not in _ANIMATED:
        raise not_found()
    _video(playback)
    query = playback.params
    start = seconds(query, "start") or 0.0
    end = seconds(query, "end") or start + 5.0
    if not 0.25 <= end - start <= 10.0:
        raise invalid("end must be between 0.25 and 10 seconds after start")
    fps = whole_parameter(query, "fps", 15)
    if fps > 30:
        raise invalid("fps must be at most 30")
    width, height = whole_parameter(query, "width", 0), whole_parameter(query, "height", 0)
    if max(width, height) > _MAX_ANIMATED_SIDE:
        raise invalid(f"width and height must be at most {_MAX_ANIMATED_SIDE}")
    if not (width and height):
        within = width or (0 if height else 320)
        width, height = fitted(within, height, playback.media.width, playback.media.height, _MAX_ANIMATED_SIDE)
    plain = partial(picture, extension, width, height)
    order = Animation(extension, min(start, playback.media.duration), end - start, width, height, fps)
    return generated(playback, order, TYPES[extension], plain) or text(200, plain(), TYPES[extension])


def captions(playback: PlaybackRequest, name: str) -> Response:
    """Answer ``text/{TRACK_ID}.{vtt,txt,m3u8}``: captions, their transcript (of generated tracks only), or their playlist."""
    track_id, _, extension = name.rpartition(".")
    track = next((track for track in playback.asset.tracks if track.id == track_id and track.type == "text"), None)
    if track is None or track.status != "ready":
        raise not_found()
    if extension == "vtt":
        return text(200, f"WEBVTT\n\n{_stamp(0.0)} --> {_stamp(playback.media.duration)}\n{_caption(track)}\n", "text/vtt")
    if extension == "m3u8":
        return text(200, _captions_playlist(playback, track), "application/vnd.apple.mpegurl")
    if extension == "txt" and (track.text_source or "").startswith("generated"):
        return text(200, f"{_caption(track)}\n")
    raise not_found()


def _captions_playlist(playback: PlaybackRequest, track: Track) -> str:
    """A playlist of one segment: caption times count from the start of the video."""
    duration = playback.media.duration
    token = playback.request.query.get("token")
    suffix = "" if token is None else f"?token={quote(token)}"
    head = f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:{ceil(duration)}\n#EXT-X-PLAYLIST-TYPE:VOD\n"
    return f"{head}#EXTINF:{duration:.3f},\n{track.id}.vtt{suffix}\n#EXT-X-ENDLIST\n"


def _caption(track: Track) -> str:
    return f"({track.name or track.language_code}: nothing is said)"


def download(playback: PlaybackRequest, name: str) -> Response:
    """Answer a static rendition by its file name; ``?download=`` makes browsers save it under that name."""
    shown = asset_json(playback.asset, playback.state).get("static_renditions", {})
    found = next((file for file in shown.get("files", ()) if file["name"] == name), None)
    if found is None or found.get("status", shown.get("status", "ready")) != "ready":
        raise not_found()
    if playback.request.method == "GET":
        short_side = min(found.get("width", 0), found.get("height", 0))
        record_delivery(playback.state, playback.environment, playback.asset, playback.media.duration, short_side)
    saved_as = playback.request.query.get("download")
    headers = {} if saved_as is None else {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(saved_as, safe='')}"}
    kind = "audio/mp4" if found["ext"] == "m4a" else "video/mp4"
    answer = generated(playback, download_order(found), kind, lambda: EMPTY_MP4) or text(200, EMPTY_MP4, kind)
    return answer.with_headers(headers)


def master(request: Request, state: State, asset_id: str) -> Response:
    """Return the master, which only an asset with a media file has. Raises `ApiError` (404) otherwise."""
    backend = state.settings.media
    for environment in state.environments.values():
        asset = environment.assets.get(asset_id)
        if asset is None or backend is None or asset.master_access != "temporary" or asset.master_status != "ready":
            continue
        if backend.media_file(asset_id) is not None:
            kind = "video/mp4" if asset.stored_height else "audio/mp4"
            return generated_from(request, backend, asset_id, master_order(asset), kind, lambda: EMPTY_MP4)
    raise not_found()


def _stamp(seconds: float) -> str:
    whole = round(seconds * 1000)
    return f"{whole // 3_600_000:02}:{whole // 60_000 % 60:02}:{whole // 1000 % 60:02}.{whole % 1000:03}"
