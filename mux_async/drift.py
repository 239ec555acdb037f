"""Drift: what Mux sends that this version has no name for.

Mux adds fields, values of enums, event types and statuses between releases of this package. Nothing of that is an error: unknown fields are
in `Model.extra`, unknown values are text, unknown events are `UnknownEvent`. This module counts them by place, so that an operator sees
what changed and a maintainer gets a patch (``mux-async drift``). docs/drift.md is the guide.

There is one counter per process, `drift`, because models do not know which client received them, and because drift concerns this version of
the package and not an account. Two rules:

1. Only what the decoder refused is examined, so a response without drift costs nothing.
2. No value is kept. A sample says types and names of members; an unknown value of an enum, an event type or the name of a field is shown if
   it is made of plain words, as all of Mux's are, and not if it could be a token.

There is no lock, so places may be recorded in any thread, in a signal handler, and after a fork. Threads without the GIL may lose a count,
and never a place.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast, get_args

import attrs

from mux_async._version import __version__

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Drift", "DriftKind", "DriftPlace", "DriftReport", "drift"]

DriftKind: TypeAlias = Literal[
    "unknown_field", "unknown_value", "unknown_event", "wrong_type", "missing_field", "unexpected_status"
]
"""``missing_field``: a required field is absent, and reads ``None``."""

MAX_PLACES: Final = 1000
MAX_SAMPLES: Final = 8
"""Different samples of a place."""
_ALL_SAMPLED: Final = 64
"""Objects and lists after which only every 64th of a place is sampled, because that takes time in proportion to their size."""

Key: TypeAlias = tuple[str, str, str]

_WORD: Final = r"(?:[a-z]{1,20}|[A-Z][a-z]{1,19}|[A-Z]{1,6}|)\d{0,4}[A-Za-z]{0,2}"
_IS_PLAIN: Final = re.compile(rf"{_WORD}(?:[ ._:/-]{_WORD}){{0,7}}", re.ASCII).fullmatch
"""Words, numbers of up to four digits, and what is between them: ``video_quality``, ``1080p``, ``en-US``, ``video.asset.ready``."""
_LONGEST_PLAIN: Final = 80
_IS_MIXED: Final = re.compile(r"[a-z]{1,20}(?:[A-Z]{1,3}[a-z]{0,20}){0,4}", re.ASCII).fullmatch  # camelCase
_IS_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d:\d\d.{0,16})?", re.ASCII).fullmatch
_HIDDEN: Final = "<not shown>"


def plain_name(text: str) -> str:
    """Return *text* if it is made of plain words; else ``<not shown>``."""
    if 0 < len(text) <= _LONGEST_PLAIN and (_IS_PLAIN(text) or _IS_MIXED(text)):
        return text
    return _HIDDEN


def shape(value: object, depth: int = 4) -> object:
    """Return the types in a JSON value: objects as objects, lists as the different shapes of their first items, scalars as type names."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string (time)" if _IS_TIME(value) else "string"
    if isinstance(value, Mapping):
        members = cast("Mapping[object, object]", value)
        if depth == 0:
            return {"...": "object"} if members else {}
        return {plain_name(str(name)): shape(members[name], depth - 1) for name in list(members)[:32]}
    if isinstance(value, list | tuple):
        items = cast("list[object]", value)
        if depth == 0:
            return ["..."] if items else []
        found: list[object] = []
        for each in items[:16]:
            if (one := shape(each, depth - 1)) not in found:
                found.append(one)
        return found
    return "object"


@attrs.frozen
class DriftPlace:
    """One place where Mux sent what this version has no name for.

    Attributes:
        kind: What is different.
        owner: The model (``Asset``), the operation (``video.assets.create``), or ``webhooks``.
        name: The field in JSON, the status, or the type of the event.
        count: Objects, responses or events that had it: each counts once, however often it is read.
        first_seen: Time of the first, in UTC.
        last_seen: Time of the last, in UTC.
        samples: Different samples, at most eight: what `shape` returns, which has types and no content. Of ``unknown_value``, the values.
        expected: What this version expects, in words; ``None`` if it expects nothing.
    """

    kind: DriftKind
    owner: str
    name: str
    count: int
    first_seen: datetime
    last_seen: datetime
    samples: tuple[object, ...] = ()
    expected: str | None = None

    @property
    def place(self) -> str:
        """Owner and name as one text: ``Asset.new_field``."""
        return (
            f"{self.owner} {self.name}" if self.kind in {"unexpected_status", "unknown_event"} else f"{self.owner}.{self.name}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            **attrs.asdict(self),
            "samples": list(self.samples),
            "first_seen": self.first_seen.isoformat(),
            "last_seen": self.last_seen.isoformat(),
        }

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.samples))
        text = f"{self.kind.replace('_', ' ')}: {self.place}, seen {self.count} times"
        if self.expected is not None:
            text += f", expected {self.expected}"
        return f"{text}, sent {shown}" if shown else text


@attrs.frozen
class DriftReport:
    """What was counted so far. False if nothing was.

    Attributes:
        places: Sorted by kind, owner and name.
        version: Of this package.
        dropped: How often something was seen at a place that is not in the report, because there are a thousand others.
    """

    places: tuple[DriftPlace, ...] = ()
    version: str = __version__
    dropped: int = 0

    def __bool__(self) -> bool:
        return bool(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def of_kind(self, kind: DriftKind) -> tuple[DriftPlace, ...]:
        """Return the places of one kind."""
        return tuple(place for place in self.places if place.kind == kind)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold; `from_dict` reads it."""
        return {"version": self.version, "dropped": self.dropped, "places": [place.to_dict() for place in self.places]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read a saved report.

        Raises:
            ValueError: *data* is not a report.
        """
        try:
            places = [_place_of(each) for each in data["places"]]
            return cls(_sorted(places), str(data["version"]), int(data.get("dropped", 0)))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            problem = f"{type(error).__name__} {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"this is not a report of drift, as DriftReport.to_dict writes it ({problem:.80})")

    def merged(self, *others: DriftReport) -> DriftReport:
        """Return one report of this and *others*, as of several processes."""
        found: dict[Key, DriftPlace] = {}
        for place in (place for report in (self, *others) for place in report.places):
            key = (place.kind, place.owner, place.name)
            if (before := found.get(key)) is None:
                found[key] = place
                continue
            samples = [*before.samples, *(sample for sample in place.samples if sample not in before.samples)]
            found[key] = attrs.evolve(
                before,
                count=before.count + place.count,
                first_seen=min(before.first_seen, place.first_seen),
                last_seen=max(before.last_seen, place.last_seen),
                samples=tuple(samples[:MAX_SAMPLES]),
            )
        return DriftReport(_sorted(found.values()), self.version, sum(report.dropped for report in (self, *others)))

    def __str__(self) -> str:
        if not self.places:
            return "Mux sent nothing that this version has no name for."
        lines = [f"Mux sent at {len(self.places)} places what mux_async {self.version} has no name for:"]
        lines += [f"- {place}" for place in self.places]
        if self.dropped:
            lines.append(f"- and {self.dropped} times at places that are not listed")
        return "\n".join(lines)


def _place_of(data: Mapping[str, Any]) -> DriftPlace:
    if data["kind"] not in get_args(DriftKind):
        raise ValueError(f"kind {data['kind']!r:.40}")
    return DriftPlace(
        kind=data["kind"],
        owner=str(data["owner"]),
        name=str(data["name"]),
        count=int(data["count"]),
        first_seen=datetime.fromisoformat(data["first_seen"]),
        last_seen=datetime.fromisoformat(data["last_seen"]),
        samples=tuple(data.get("samples", ())),
        expected=data.get("expected"),
    )


def _sorted(places: Iterable[DriftPlace]) -> tuple[DriftPlace, ...]:
    return tuple(sorted(places, key=lambda place: (place.kind, place.owner, place.name)))


class _Counter:
    """One place, as it is counted."""

    __slots__ = ("count", "expected", "first", "last", "samples")

    def __init__(self, now: float, expected: str | None) -> None:
        self.count = 0
        self.first = now
        self.last = now
        self.expected = expected
        self.samples: list[object] = []

    def snapshot(self, key: Key) -> DriftPlace:
        kind, owner, name = key
        return DriftPlace(
            kind=cast("DriftKind", kind),
            owner=owner,
            name=name,
            count=self.count,
            first_seen=datetime.fromtimestamp(self.first, UTC),
            last_seen=datetime.fromtimestamp(self.last, UTC),
            samples=tuple(self.samples),
            expected=self.expected,
        )


class Drift:
    """Counts places, a thousand at most, and forgets none of them.

    Args:
        clock: Returns Unix seconds; for tests.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._places: dict[Key, _Counter] = {}
        self._dropped = 0

    def report(self) -> DriftReport:
        """Return what was counted so far."""
        return DriftReport(_sorted(each.snapshot(key) for key, each in list(self._places.items())), dropped=self._dropped)

    def clear(self) -> None:
        """Start to count anew."""
        self._places.clear()
        self._dropped = 0

    def record(self, kind: DriftKind, owner: str, name: str, value: object = None, *, expected: str | None = None) -> None:
        """Count a place. *value* is what was received; only its shape is kept."""
        key = (kind, owner, plain_name(name))
        now = self._clock()
        place = self._places.get(key)
        if place is None:
            if len(self._places) >= MAX_PLACES:
                self._dropped += 1
                return
            place = self._places.setdefault(key, _Counter(now, expected))
        place.count += 1
        place.last = now
        if len(place.samples) < MAX_SAMPLES and (
            place.count <= _ALL_SAMPLED or place.count % _ALL_SAMPLED == 0 or not isinstance(value, dict | list)
        ):
            sample = sample_of(kind, value)
            if sample is not None and sample not in place.samples:
                place.samples.append(sample)

    def __repr__(self) -> str:
        return f"<Drift of {len(self._places)} places>"


def sample_of(kind: DriftKind, value: object) -> object:
    """Return what is kept of a value: its shape; an unknown value of an enum itself, if it is made of plain words."""
    if kind in {"missing_field", "unexpected_status"}:
        return None
    return plain_name(value) if kind == "unknown_value" and isinstance(value, str) else shape(value)


drift: Final = Drift()
"""The counter of this process; `Mux.drift` is the same. A child of a fork starts with the counts of its parent."""
