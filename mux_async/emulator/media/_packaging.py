"""Converts inputs to media files: one fragmented MP4 of H.264 and AAC, in segments that begin with key frames. Makes downloads of them.

Streams that are H.264 or AAC are copied if the result plays everywhere; all others are encoded, for speed rather than quality. FFmpeg's HLS
muxer does the segmenting, and its playlist has the segment boundaries.
"""

# PyAV leaves the parameter of Packet open in its own signatures.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio import AudioStream
from av.container import InputContainer, OutputContainer
from av.video import VideoStream

from mux_async.emulator.media._filter_graphs import TURNS
from mux_async.emulator.media._inspection import NOT_MEDIA, Inspection, NotMediaError, VideoInfo, main_streams, opened, read
from mux_async.emulator.media._transcoding import AudioEncoder, Copy, TimeRange, Track, VideoEncoder, transcode

SEGMENT_SECONDS = 4
TALLEST_ENCODED = 720
"""Pixels of the smaller side of what is encoded: more would take too long."""
FASTEST_ENCODED = 60
"""Frames per second, likewise."""
LONGEST_COPIED_GOP = 10.0
"""Seconds. With longer ones segments would be too long to start or seek in."""
COPIED_FROM = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})
"""Containers that hold H.264 and AAC as MP4 does."""
MEDIA, DESCRIPTION, _PLAYLIST = "index.m4s", "film.json", "index.m3u8"
_SEGMENT = re.compile(r"#EXTINF:(?P<duration>[\d.]+),\s+#EXT-X-BYTERANGE:(?P<size>\d+)@(?P<offset>\d+)")
_HEAD = re.compile(r'#EXT-X-MAP:URI="[^"]*",BYTERANGE="(?P<size>\d+)@0"')
_CUTTING = {
    "hls_time": str(SEGMENT_SECONDS),
    "hls_segment_type": "fmp4",
    "hls_flags": "single_file",
    "hls_playlist_type": "vod",
    # A media file begins at 0, or players wait for a first frame that is missing. Frames that are decoded before they are shown begin
    # earlier, which an edit list describes; by default, FFmpeg would move everything to a later time instead.
    "avoid_negative_ts": "disabled",
}
_MARK = ("drawbox", "x=iw/20:y=ih/20:w=iw/4:h=ih/10:color=white@0.6:t=fill")


def package(path: str, folder: str, start: float, end: float | None, tallest: int, *, is_test: bool) -> dict[str, Any]:
    """Convert an input, between two times in seconds, to a media file and its description, in an empty folder.

    Args:
        path: Of the input.
        folder: Where the files go.
        start: Seconds to leave out at the beginning.
        end: Seconds after which the rest is left out; ``None`` keeps it.
        tallest: Most pixels of the smaller side.
        is_test: Whether a corner of the picture is covered.

    Returns:
        The members of `mux_async.emulator.MediaInfo`.
    """
    reading = read(path)
    end = reading.duration if end is None else min(end, reading.duration)
    is_whole = start <= 0.0 and end >= reading.duration
    cut = TimeRange(reading.begin + start, reading.begin + end)
    playlist = Path(folder) / _PLAYLIST
    with opened(path) as source, av.open(str(playlist), "w", format="hls", options=_CUTTING) as media_file:
        tracks = _tracks(source, media_file, reading, cut, tallest, is_whole=is_whole, is_test=is_test)
        if not transcode(source, media_file, tracks, cut, seek=start > 0):
            raise NotMediaError(NOT_MEDIA)
    described = _described(playlist, None if reading.picture is None else reading.picture.frame_rate)
    (Path(folder) / DESCRIPTION).write_text(json.dumps(described))
    return {**reading.describe(), "duration": round(end - start, 6)}


def _tracks(
    source: InputContainer,
    media_file: OutputContainer,
    reading: Inspection,
    cut: TimeRange,
    tallest: int,
    *,
    is_whole: bool,
    is_test: bool,
) -> list[Track]:
    video, audio = main_streams(source)
    tracks: list[Track] = []
    may_copy = is_whole and reading.format in COPIED_FROM
    if video is not None and reading.picture is not None:
        if may_copy and not is_test and _plays_everywhere(reading.picture, tallest):
            tracks.append(Copy(media_file, video, cut.start))
        else:
            tracks.append(_encoded(media_file, video, reading.picture, cut, min(tallest, TALLEST_ENCODED), is_test=is_test))
    if audio is not None and reading.sound is not None:
        if may_copy and reading.sound.codec == "aac" and reading.sound.channels <= 2:
            tracks.append(Copy(media_file, audio, cut.start))
        else:
            tracks.append(AudioEncoder(media_file, audio, cut))
    return tracks


def _plays_everywhere(picture: VideoInfo, tallest: int) -> bool:
    return (
        picture.codec == "h264"
        and picture.pixels == "yuv420p"
        and picture.pixel_aspect == 1
        and not picture.turn
        and picture.begins_whole
        and picture.longest_gop <= LONGEST_COPIED_GOP
        and min(picture.width, picture.height) <= tallest
    )


def _encoded(
    media_file: OutputContainer, video: VideoStream, picture: VideoInfo, cut: TimeRange, tallest: int, *, is_test: bool
) -> VideoEncoder:
    rate = picture.frame_rate or Fraction(30)
    filters = [*TURNS[-picture.turn % 360], *([_MARK] if is_test else [])]
    if rate > FASTEST_ENCODED:
        rate = Fraction(FASTEST_ENCODED)
        filters.append(("fps", str(FASTEST_ENCODED)))
    size = scaled(picture.width, picture.height, min(tallest, picture.width, picture.height))
    return VideoEncoder(media_file, video, cut, filters, size, rate, SEGMENT_SECONDS)


def scaled(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Return an even width and height of the same shape, with another smaller side."""
    scale = short_side / min(width, height)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def _described(playlist: Path, rate: Fraction | None) -> dict[str, Any]:
    """Return the members of `mux_async.emulator.media._backend.MediaFile` but for its path."""
    written = playlist.read_text()
    head = _HEAD.search(written)
    segments = [(int(found["offset"]), int(found["size"]), float(found["duration"])) for found in _SEGMENT.finditer(written)]
    if head is None or not segments:
        raise NotMediaError(NOT_MEDIA)
    described: dict[str, Any] = {"head": int(head["size"]), "segments": segments}
    with av.open(str(playlist.with_name(MEDIA))) as media_file:
        video, audio = main_streams(media_file)
        if video is not None:
            described["width"], described["height"] = video.codec_context.width, video.codec_context.height
            described["frame_rate"] = round(min(float(rate or video.average_rate or 30), FASTEST_ENCODED * 2), 3)
        return {**described, "codecs": codec_names(video, audio)}


def codec_names(video: VideoStream | None, audio: AudioStream | None) -> str:
    """Return the codecs as playlists name them (RFC 6381), for H.264 and AAC in MP4."""
    codecs: list[str] = []
    if video is not None:
        codecs.append("avc1." + bytes(video.codec_context.extradata or b"")[1:4].hex())
    if audio is not None:
        config = bytes(audio.codec_context.extradata or b"\x10")  # its first five bits are the object type
        codecs.append(f"mp4a.40.{config[0] >> 3}")
    return ",".join(codecs)


def remake(media_file: str, out: str, order: Mapping[str, Any]) -> None:
    """Make a download, as `mux_async.emulator.media._backend.Download` describes it. Raises `NotMediaError`: it lacks a stream."""
    with av.open(media_file) as source, av.open(out, "w", format="mp4", options={"movflags": "faststart"}) as made:
        video, audio = main_streams(source)
        tracks: list[Track] = []
        if video is not None and order["extension"] != "m4a":
            width, height = video.codec_context.width, video.codec_context.height
            if order["height"] in {0, min(width, height)}:
                tracks.append(Copy(made, video, 0.0))
            else:
                size, rate = scaled(width, height, order["height"]), video.average_rate or Fraction(30)
                tracks.append(VideoEncoder(made, video, TimeRange(0.0, float("inf")), [], size, rate, SEGMENT_SECONDS))
        if audio is not None:
            tracks.append(Copy(made, audio, 0.0))
        if not tracks or not transcode(source, made, tracks, TimeRange(0.0, float("inf")), seek=False):
            raise NotMediaError(NOT_MEDIA)


def join(listing: str, out: str, order: Mapping[str, Any]) -> None:
    """Join files, which are listed for FFmpeg, to one MP4. Video of different settings is encoded; *order* has ``is_uniform``."""
    everything = TimeRange(0.0, float("inf"))
    with (
        av.open(listing, format="concat", options={"safe": "0", "protocol_whitelist": "file"}) as source,
        av.open(out, "w", format="mp4", options={"movflags": "faststart"}) as made,
    ):
        video, audio = main_streams(source)
        tracks: list[Track] = []
        if video is not None and order["is_uniform"]:
            tracks.append(Copy(made, video, 0.0))
        elif video is not None:
            size = scaled(
                video.codec_context.width,
                video.codec_context.height,
                min(video.codec_context.width, video.codec_context.height),
            )
            tracks.append(VideoEncoder(made, video, everything, [], size, video.average_rate or Fraction(30), SEGMENT_SECONDS))
        if audio is not None:
            tracks.append(Copy(made, audio, 0.0))
        if not tracks or not transcode(source, made, tracks, everything, seek=False):
            raise NotMediaError(NOT_MEDIA)
