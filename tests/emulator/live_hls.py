"""A checker of live HLS: it polls a media playlist as a player does, and every poll is checked against the one before (RFC 8216).

What it needs is a function that gets a URL, so that it serves streams of any origin, in virtual time and in real time::

    checker = LiveChecker.of_multivariant(get, f"{origin}/{playback_id}.m3u8")
    while not checker.has_ended:
        checker.poll()
        ...  # let time pass
    checker.read_again()

The rules, with the sections of RFC 8216 (or of its successor, rfc8216bis, for low latency):

1. The media sequence never falls; a segment that is listed keeps its number, address, duration, date, discontinuity, initialization section
   and bytes (6.2.1).
2. Segments are added at the end and leave at the beginning only. With ``EVENT``, none leaves. What stays lasts three target durations or
   more (6.2.2).
3. The target duration is constant, and no rounded duration is longer (4.3.3.1).
4. The discontinuity sequence grows by the discontinuities that left (6.2.2).
5. ``EXT-X-ENDLIST`` comes once, at the end; nothing changes afterwards.
6. Dates continue: within a recording each date is the one before it and its duration (4.3.2.6).
7. Low latency (bis 4.4.3.8, 4.4.4.9, 4.4.5.3): parts need ``EXT-X-PART-INF``, are no longer than its target, last together as long as their
   segment and have its bytes; the hold back is three part targets or more; a hint names what comes next.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Self
from urllib.parse import urljoin

import attrs

Get = Callable[[str], bytes]
"""Returns the body of a URL. Raises if the status is not a success."""

_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)')
_ROUNDING = 0.002
"""Seconds by which written durations may differ from their sum."""
_KNOWN = frozenset(
    {
        "EXTM3U",
        "EXT-X-VERSION",
        "EXT-X-TARGETDURATION",
        "EXT-X-MEDIA-SEQUENCE",
        "EXT-X-DISCONTINUITY-SEQUENCE",
        "EXT-X-PLAYLIST-TYPE",
        "EXT-X-INDEPENDENT-SEGMENTS",
        "EXT-X-START",
        "EXT-X-SERVER-CONTROL",
        "EXT-X-PART-INF",
        "EXT-X-MAP",
        "EXT-X-DISCONTINUITY",
        "EXT-X-PROGRAM-DATE-TIME",
        "EXTINF",
        "EXT-X-PART",
        "EXT-X-PRELOAD-HINT",
        "EXT-X-RENDITION-REPORT",
        "EXT-X-ENDLIST",
    }
)
"""Tags that the checker understands; another one is a fault until the checker is taught its rules."""


@attrs.frozen
class Part:
    """A partial segment."""

    uri: str
    duration: float


@attrs.frozen
class Listed:
    """A segment as a playlist lists it. Parts are left out of comparisons, because a playlist lists those of the last segments only."""

    uri: str
    duration: float
    is_discontinuous: bool
    date: datetime | None
    head: str | None
    parts: tuple[Part, ...] = attrs.field(default=(), eq=False)


@attrs.frozen
class MediaPlaylist:
    """A media playlist."""

    target: int
    sequence: int
    discontinuity_sequence: int
    type: str | None
    segments: tuple[Listed, ...]
    next_parts: tuple[Part, ...]
    """Of the segment that is not whole yet."""
    part_target: float | None
    server_control: Mapping[str, str]
    hint: str | None
    is_ended: bool

    @property
    def end(self) -> int:
        """The number of the next segment."""
        return self.sequence + len(self.segments)

    @property
    def duration(self) -> float:
        """Seconds that are listed."""
        return sum(segment.duration for segment in self.segments)


def attributes(text: str) -> dict[str, str]:
    """Parse an attribute list."""
    return {name: value.strip('"') for name, value in _ATTRIBUTE.findall(text)}


def parse(content: str) -> MediaPlaylist:
    """Parse a media playlist strictly."""
    lines = content.splitlines()
    assert lines, "the playlist is empty"
    assert lines[0] == "#EXTM3U", f"the first line is {lines[0]!r}"
    single: dict[str, str] = {}
    segments: list[Listed] = []
    parts: list[Part] = []
    duration: float | None = None
    date, head, hint, is_discontinuous = None, None, None, False
    for line in lines:
        if not line.startswith("#"):
            if not line:
                continue
            assert duration is not None, f"no EXTINF before {line}"
            assert "EXT-X-ENDLIST" not in single, "a segment follows the end"
            segments.append(Listed(line, duration, is_discontinuous, date, head, tuple(parts)))
            duration, date, is_discontinuous, parts = None, None, False, []
            continue
        name, _, value = line[1:].partition(":")
        assert name in _KNOWN or not line.startswith("#EXT"), f"unknown tag: {line}"
        if name == "EXTINF":
            duration = float(value.split(",")[0])
        elif name == "EXT-X-DISCONTINUITY":
            is_discontinuous = True
        elif name == "EXT-X-PROGRAM-DATE-TIME":
            date = datetime.fromisoformat(value)
        elif name == "EXT-X-MAP":
            head = attributes(value)["URI"]
        elif name == "EXT-X-PART":
            found = attributes(value)
            parts.append(Part(found["URI"], float(found["DURATION"])))
        elif name == "EXT-X-PRELOAD-HINT":
            hint = attributes(value)["URI"]
        elif name.startswith("EXT"):
            assert name not in single, f"{name} is there twice"
            single[name] = value
            assert not segments or name in {"EXT-X-ENDLIST", "EXT-X-RENDITION-REPORT"}, f"{name} comes after a segment"
    assert duration is None, "an EXTINF without a segment"
    control = attributes(single.get("EXT-X-SERVER-CONTROL", ""))
    part_target = attributes(single["EXT-X-PART-INF"])["PART-TARGET"] if "EXT-X-PART-INF" in single else None
    return MediaPlaylist(
        target=int(single["EXT-X-TARGETDURATION"]),
        sequence=int(single.get("EXT-X-MEDIA-SEQUENCE", "0")),
        discontinuity_sequence=int(single.get("EXT-X-DISCONTINUITY-SEQUENCE", "0")),
        type=single.get("EXT-X-PLAYLIST-TYPE"),
        segments=tuple(segments),
        next_parts=tuple(parts),
        part_target=None if part_target is None else float(part_target),
        server_control=control,
        hint=hint,
        is_ended="EXT-X-ENDLIST" in single,
    )


def check(playlist: MediaPlaylist) -> None:
    """Check one playlist by itself."""
    assert playlist.segments, "no segment is listed"
    for segment in playlist.segments:
        assert round(segment.duration) <= playlist.target, f"{segment.uri} lasts {segment.duration}, target {playlist.target}"
        assert segment.duration > 0, segment
    uris = [segment.uri for segment in playlist.segments]
    assert len(set(uris)) == len(uris), "a segment is listed twice"
    _check_dates(playlist)
    _check_parts(playlist)


def _check_dates(playlist: MediaPlaylist) -> None:
    expected: float | None = None
    for segment in playlist.segments:
        if segment.is_discontinuous:
            expected = None
        if segment.date is not None:
            dated = segment.date.timestamp()
            assert expected is None or abs(dated - expected) < 0.1, f"{segment.uri} is dated {segment.date}, not {expected}"
            expected = dated
        expected = None if expected is None else expected + segment.duration


def _check_parts(playlist: MediaPlaylist) -> None:
    groups = [(segment.parts, segment) for segment in playlist.segments if segment.parts]
    if playlist.part_target is None:
        assert not groups, "parts without EXT-X-PART-INF"
        assert not playlist.next_parts, "parts without EXT-X-PART-INF"
        assert playlist.hint is None, "a hint without EXT-X-PART-INF"
        assert "PART-HOLD-BACK" not in playlist.server_control, "PART-HOLD-BACK without EXT-X-PART-INF"
        return
    assert float(playlist.server_control["PART-HOLD-BACK"]) >= 3 * playlist.part_target - _ROUNDING
    assert playlist.server_control.get("CAN-BLOCK-RELOAD") == "YES"
    for parts, segment in groups:
        assert abs(sum(part.duration for part in parts) - segment.duration) < _ROUNDING * len(parts), segment
    listed = [*(part for parts, _ in groups for part in parts), *playlist.next_parts]
    assert all(part.duration <= playlist.part_target + _ROUNDING for part in listed), listed
    assert len({part.uri for part in listed}) == len(listed), "a part is listed twice"
    assert (playlist.hint is None) == playlist.is_ended or not playlist.is_ended, "a hint in an ended playlist"
    assert playlist.hint not in {part.uri for part in listed}, "the hint names a part that is there"


def check_step(before: MediaPlaylist, after: MediaPlaylist) -> None:
    """Check what changed from one poll to the next."""
    if before.is_ended:
        assert after == before, "a playlist changed after its end"
        return
    assert after.target == before.target, f"the target duration changed from {before.target} to {after.target}"
    # A recording that is complete is on demand: players take the kind of stream from the type.
    is_complete = (before.type, after.type, after.is_ended) == ("EVENT", "VOD", True)
    assert after.type == before.type or is_complete, f"the type changed from {before.type} to {after.type}"
    assert after.part_target == before.part_target, "the part target changed"
    left = after.sequence - before.sequence
    assert left >= 0, f"the media sequence fell from {before.sequence} to {after.sequence}"
    assert left == 0 or before.type is None, f"segments left a playlist of type {before.type}"
    assert after.end >= before.end, f"segments left at the end: {before.end} to {after.end}"
    assert left <= len(before.segments), "a player would have missed segments"
    kept = before.segments[left:]
    for old, new in zip(kept, after.segments, strict=False):
        # The first segment of a playlist has a date and may have a discontinuity of its own.
        assert attrs.evolve(old, date=new.date) == new, f"a listed segment changed: {old} to {new}"
        assert old.date is None or new.date is None or old.date == new.date, f"the date of {old.uri} changed"
    gone = sum(segment.is_discontinuous for segment in before.segments[:left])
    assert after.discontinuity_sequence == before.discontinuity_sequence + gone, "the discontinuity sequence is wrong"
    if left:
        assert after.duration >= 3 * after.target - 1, f"only {after.duration:g} s are left"
    _check_promises(before, after)


def _check_promises(before: MediaPlaylist, after: MediaPlaylist) -> None:
    """The parts of a segment that is not whole, and the hint, are what comes next."""
    index = before.end - after.sequence
    parts = after.segments[index].parts if index < len(after.segments) else after.next_parts
    if parts:
        assert parts[: len(before.next_parts)] == before.next_parts, "a listed part changed"
        if before.hint is not None and len(parts) > len(before.next_parts):
            assert parts[len(before.next_parts)].uri == before.hint, "the hint named something else"


@attrs.define
class LiveChecker:
    """Polls a media playlist and checks each poll; see the module.

    Attributes:
        address: The URL of the media playlist.
        polls: What was read, in order.
        content: The bytes of every segment, initialization section and part, by URL.
    """

    get: Get
    address: str
    polls: list[MediaPlaylist] = attrs.field(factory=list[MediaPlaylist])
    content: dict[str, bytes] = attrs.field(factory=dict[str, bytes])

    @classmethod
    def of_multivariant(cls, get: Get, address: str, *, number: int = 0) -> Self:
        """Take the rendition of this *number* in a multivariant playlist."""
        lines = get(address).decode().splitlines()
        assert lines[0] == "#EXTM3U"
        uris = [line for line in lines if line and not line.startswith("#")]
        return cls(get, urljoin(address, uris[number]))

    def poll(self) -> MediaPlaylist:
        """Read the playlist and what it lists anew, and check both."""
        playlist = parse(self.get(self.address).decode())
        check(playlist)
        if self.polls:
            check_step(self.polls[-1], playlist)
        self.polls.append(playlist)
        for segment in playlist.segments:
            self._read(segment.uri)
            if segment.head is not None:
                self._read(segment.head)
            if segment.parts:
                together = b"".join(self._read(part.uri) for part in segment.parts)
                assert together == self._read(segment.uri), f"the parts of {segment.uri} are not its bytes"
        for part in playlist.next_parts:
            self._read(part.uri)
        return playlist

    def _read(self, uri: str) -> bytes:
        url = urljoin(self.address, uri)
        if url not in self.content:
            self.content[url] = self.get(url)
            assert self.content[url], f"{uri} is empty"
        return self.content[url]

    @property
    def has_ended(self) -> bool:
        """Whether the last poll had the end."""
        return bool(self.polls) and self.polls[-1].is_ended

    @property
    def duration(self) -> float:
        """Seconds that were listed in all."""
        seen: dict[int, float] = {}
        for poll in self.polls:
            seen.update({poll.sequence + index: segment.duration for index, segment in enumerate(poll.segments)})
        return round(sum(seen.values()), 3)

    @property
    def discontinuities(self) -> int:
        """Discontinuities that were listed in all."""
        seen: set[int] = set()
        for poll in self.polls:
            seen |= {poll.sequence + index for index, segment in enumerate(poll.segments) if segment.is_discontinuous}
        return len(seen)

    def media(self) -> bytes:
        """The first initialization section and all segments, as a file that players can open."""
        last = self.polls[-1]
        head = last.segments[0].head
        order = dict.fromkeys(segment.uri for poll in self.polls for segment in poll.segments)
        return (b"" if head is None else self._read(head)) + b"".join(map(self._read, order))

    def read_again(self) -> None:
        """Get everything that the last playlist lists once more: its bytes are as before."""
        for segment in self.polls[-1].segments:
            for uri in (segment.uri, segment.head):
                if uri is not None:
                    url = urljoin(self.address, uri)
                    assert self.get(url) == self.content[url], f"the bytes of {uri} changed"
