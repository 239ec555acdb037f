"""Generated media that players can play: fragmented MP4 of a small moving picture and silence, for any period of time.

Nothing is encoded here. The frames come from ``generated.json``, which ``python -m tools.generated_media`` wrote; a segment puts as many of
them behind each other as it is long, and says when they are shown. So the same period always gives the same bytes, at no cost, and
without FFmpeg. Every segment begins with the first frame, which is a key frame; the boxes are those of ISO 14496-12, section 8.8.
"""

from __future__ import annotations

import json
from base64 import b64decode
from functools import cache
from math import ceil
from pathlib import Path
from struct import pack

import attrs

FRAME = 0.032
"""Seconds of each frame, of the picture and of the sound. With both equal, a segment of whole frames is as long as a playlist says."""
SAMPLE_RATE, SAMPLES = 32_000, 1024
"""Of the sound: samples per second, and in each frame."""
LOOP = 157
"""Frames, after which the picture begins anew: five seconds."""
_TICKS = 512
"""Units of the track's time that a picture is shown."""
_KEY, _OTHER = 0x02000000, 0x01010000
"""Flags of a sample: it depends on no other, or it does."""


@attrs.frozen
class _Frames:
    heads: dict[str, bytes]
    pictures: tuple[bytes, ...]
    silence: bytes


@cache
def _frames() -> _Frames:
    stored = json.loads(Path(__file__).with_name("generated.json").read_bytes())
    heads = {kinds: b64decode(head) for kinds, head in stored["heads"].items()}
    return _Frames(heads, tuple(map(b64decode, stored["frames"])), b64decode(stored["silence"]))


def _kinds(*, video: bool, audio: bool) -> str:
    return "video+audio" if video and audio else "video" if video else "audio"


def codecs(*, video: bool, audio: bool) -> str:
    """Return the codecs as playlists name them (RFC 6381)."""
    head = head_of(video=video, audio=audio)
    profile = head[(at := head.index(b"avcC") + 5) : at + 3].hex() if video else ""
    return ",".join([*([f"avc1.{profile}"] if video else []), *(["mp4a.40.2"] if audio or not video else [])])


def head_of(*, video: bool, audio: bool) -> bytes:
    """Return the initialization section, which all segments need."""
    return _frames().heads[_kinds(video=video, audio=audio)]


def segment(number: int, start: float, end: float, *, video: bool, audio: bool) -> bytes:
    """Return the segment of this number, with the frames that are shown from *start* until before *end*, in seconds, at least one."""
    first = ceil(round(start / FRAME, 6))
    count = max(1, ceil(round(end / FRAME, 6)) - first)
    tracks: list[_Track] = []
    if video:
        pictures = tuple(_frames().pictures[index % LOOP] for index in range(count))
        tracks.append(_Track(1, first * _TICKS, _TICKS, pictures, _OTHER))
    if audio or not video:
        tracks.append(_Track(len(tracks) + 1, first * SAMPLES, SAMPLES, (_frames().silence,) * count, _KEY))
    # The first pass gives the size of the header, which the offsets count from.
    size = len(_header(number, tracks, 0))
    return _header(number, tracks, size) + _box(b"mdat", *(sample for track in tracks for sample in track.samples))


@attrs.frozen
class _Track:
    """The samples of one track in a segment. *flags* are those of all samples but the first, which is a key frame."""

    id: int
    begins: int
    ticks: int
    samples: tuple[bytes, ...]
    flags: int


def _box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return pack(">I4s", 8 + len(body), name) + body


def _header(number: int, tracks: list[_Track], size: int) -> bytes:
    offset, parts = size + 8, list[bytes]()
    for track in tracks:
        header = _box(b"tfhd", pack(">IIII", 0x020028, track.id, track.ticks, track.flags))  # default-base-is-moof
        time = _box(b"tfdt", pack(">IQ", 0x01000000, track.begins))
        sizes = pack(f">{len(track.samples)}I", *map(len, track.samples))
        run = _box(b"trun", pack(">IIII", 0x000205, len(track.samples), offset, _KEY), sizes)
        parts.append(_box(b"traf", header, time, run))
        offset += sum(map(len, track.samples))
    return _box(b"moof", _box(b"mfhd", pack(">II", 0, number + 1)), *parts)
