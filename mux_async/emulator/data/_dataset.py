"""The views of an environment: those that were watched, and those generated hour by hour on first use and then cached.

An hour has the views that end in it, because the API selects views by their end (facts/BEHAVIOUR.md, section 10). Views depend on the
seed, the environment, the hour and the videos, and not on the time of the request, so that a view does not change while the clock moves
on; views that have not ended yet are hidden. Only the last `RETENTION` seconds have views.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from random import Random

import attrs

from mux_async.emulator.data._library import CATALOGUE, Library
from mux_async.emulator.data._view_generator import MAX_SPAN, Outage, make_view, make_viewer
from mux_async.emulator.data._views import Video, View, Viewer
from mux_async.emulator.data._vocabulary import CDNS

RETENTION = 7 * 86_400
"""Seconds back from now that have views."""
VIEWS_PER_HOUR = 30
"""On average; about 5,000 in a week."""
_VIEWERS = 600
_HOUR = 3600 * 1000
_DAY = 24
_BY_HOUR = (6, 4, 3, 2, 2, 3, 5, 7, 9, 9, 9, 10, 12, 12, 11, 11, 12, 14, 17, 20, 22, 20, 15, 10)
"""How busy the hours of a day are, relative to each other."""


@attrs.frozen
class _ViewerSlot:
    """A view before its video is chosen."""

    seed: int
    end: int
    viewer: Viewer


@attrs.define(eq=False)
class _Hour:
    slots: tuple[_ViewerSlot, ...]
    ends: tuple[int, ...]
    outages: tuple[Outage, ...]
    library: Library | None = None
    views: tuple[View, ...] = ()
    by_id: dict[str, View] = attrs.field(factory=dict[str, View])

    def fill(self, library: Library) -> None:
        """Generate the views of the videos."""
        self.library = library
        self.views = tuple(
            make_view(slot.seed, slot.end, slot.viewer, library.choose(slot.seed), self.outages) for slot in self.slots
        )
        self.by_id = {view.id: view for view in self.views}


def _end(view: View) -> int:
    return view.view_end


def _merged(generated: list[View], watched: list[View]) -> list[View]:
    """Return all views, oldest end first."""
    return sorted(generated + watched, key=_end) if watched else generated


class Dataset:
    """Views of one environment.

    Args:
        seed: Makes all generated views; any text.
        is_generated: Whether there are generated views.
    """

    def __init__(self, seed: str, *, is_generated: bool = True) -> None:
        self._seed = seed
        self._is_generated = is_generated
        self._watched: Sequence[View] = ()
        self._open: Sequence[View] = ()
        self._library = Library()
        self._hours: dict[int, _Hour] = {}
        self._now = 0

    def update(self, library: Library, now: float, watched: Sequence[View] = (), going: Sequence[View] = ()) -> None:
        """Set the videos, the time (epoch seconds), and the views that were watched and are *going* on, before anything else is called."""
        self._watched, self._open = sorted(watched, key=_end), going
        if library != self._library:
            self._library = library
        self._now = int(now * 1000)
        oldest = self._oldest // _HOUR
        for hour in [hour for hour in self._hours if hour < oldest]:
            del self._hours[hour]

    @property
    def now(self) -> int:
        """Epoch milliseconds."""
        return self._now

    @property
    def videos(self) -> tuple[Video, ...]:
        """The videos that views may be of."""
        generated = (*self._library.own, *CATALOGUE) if self._is_generated else ()
        return (*generated, *(view.video for view in self._watched))

    @property
    def _oldest(self) -> int:
        return self._now - RETENTION * 1000

    def ended(self, start: int, end: int) -> list[View]:
        """Return the views that ended between *start* and *end* (epoch milliseconds, the latter excluded), oldest first."""
        start, end = max(start, self._oldest), min(end, self._now + 1)
        watched = [view for view in self._watched if start <= view.view_end < end]
        return _merged(self._between(start, end), watched)

    def under_way(self, start: int, end: int) -> list[View]:
        """Return the views in progress at any time from *start* to *end* (both included), by their ends, even if they have not ended."""
        start, end = max(start, self._oldest), min(end, self._now)
        watched = [view for view in (*self._watched, *self._open) if view.view_end >= start]
        return [view for view in _merged(self._between(start, end + MAX_SPAN), watched) if view.view_start <= end]

    def find(self, id: str) -> View | None:
        """Return the view of this id, if it has ended; ``None`` if there is no such view."""
        watched = next((view for view in self._watched if view.id == id and view.view_end >= self._oldest), None)
        if watched is not None or not self._is_generated:
            return watched
        for number in range(self._now // _HOUR, self._oldest // _HOUR - 1, -1):
            view = self._hour(number).by_id.get(id)
            if view is not None:
                return view if self._oldest <= view.view_end <= self._now else None
        return None

    def _between(self, start: int, end: int) -> list[View]:
        found: list[View] = []
        if end <= start or not self._is_generated:
            return found
        for number in range(start // _HOUR, (end - 1) // _HOUR + 1):
            hour = self._hour(number)
            if start <= number * _HOUR and (number + 1) * _HOUR <= end:
                found += hour.views
            else:
                found += hour.views[bisect_left(hour.ends, start) : bisect_left(hour.ends, end)]
        return found

    def _hour(self, number: int) -> _Hour:
        hour = self._hours.get(number)
        if hour is None:
            slots = self._viewer_slots(number)
            hour = self._hours[number] = _Hour(slots, tuple(slot.end for slot in slots), self._outages(number))
        if hour.library is not self._library:
            hour.fill(self._library)
        return hour

    def _viewer_slots(self, number: int) -> tuple[_ViewerSlot, ...]:
        random = Random(f"{self._seed}/hour/{number}")  # noqa: S311 - generated data, not secrets
        busy = _BY_HOUR[number % _DAY] * _DAY / sum(_BY_HOUR)
        count = round(VIEWS_PER_HOUR * busy * random.uniform(0.85, 1.15))
        ends = sorted(random.sample(range(number * _HOUR, (number + 1) * _HOUR), count))
        return tuple(_ViewerSlot(random.getrandbits(64), end, self._viewer(random)) for end in ends)

    def _viewer(self, random: Random) -> Viewer:
        return make_viewer(f"{self._seed}/viewer/{int(_VIEWERS * random.random() ** 1.5)}")  # some come often

    def _outages(self, number: int) -> tuple[Outage, ...]:
        """Once a day, for two or three hours, one CDN fails; that is what incidents are about."""
        day = number // _DAY
        random = Random(f"{self._seed}/trouble/{day}")  # noqa: S311 - generated data, not secrets
        cdn = random.choice([name for name, _ in CDNS if name is not None])
        first = day * _DAY + random.randrange(12, 21)
        return (Outage(cdn, first * _HOUR, (first + random.choice((2, 3))) * _HOUR),)
