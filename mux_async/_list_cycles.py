"""Detects a list that does not end: a cursor comes back, or a page repeats the one before.

Memory is bounded however long the list is: a list of a hundred million assets has a million cursors.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final, final

from mux_async._models.json_reader import loads
from mux_async._models.model import Model, json_of

_REMEMBERED: Final = 4096
"""Cursors whose hashes are kept: half a megabyte. `CursorsSeen._mark` detects one that comes back later than that."""


@final
class CursorsSeen:
    """The cursors of one list, in the order in which they came.

    A cursor that comes back within the last `_REMEMBERED` is detected at once. For longer cycles one cursor is marked, and replaced when
    the number of cursors has doubled (Brent's cycle detection): that ends a cycle before its third round.
    """

    __slots__ = ("_count", "_mark", "_mark_until", "_order", "_recent")

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._order: deque[int] = deque()
        self._count = 0
        self._mark: str | None = None
        self._mark_until = _REMEMBERED

    def has(self, cursor: str) -> bool:
        """Record *cursor*, and return whether it came before."""
        number = hash(cursor)
        if number in self._recent or cursor == self._mark:
            return True
        self._recent.add(number)
        self._order.append(number)
        if len(self._order) > _REMEMBERED:
            self._recent.discard(self._order.popleft())
        self._count += 1
        if self._count == self._mark_until:
            self._mark = cursor
            self._mark_until *= 2
        return False


def remember(items: Sequence[object]) -> list[object]:
    """Return what `is_repeated` compares the next page with: the JSON of each item, not decoded."""
    return [_json_of(item) for item in items]


def is_repeated(items: Sequence[Any], former: Sequence[object]) -> bool:
    """Return whether there are items, and all of them were on the page before."""
    # The first item is mostly enough: it differs if the list went on.
    return bool(items) and bool(former) and all(_is_among(_json_of(item), former) for item in items)


def _json_of(item: object) -> object:
    return json_of(item) if isinstance(item, Model) else item


def _is_among(item: object, former: Sequence[object]) -> bool:
    if item in former:
        return True
    # The same object may be bytes on one page and decoded on the other, if the decoder found an unknown field in it.
    if isinstance(item, bytes):
        others = [each for each in former if not isinstance(each, bytes)]
        return bool(others) and loads(item) in others
    return any(isinstance(each, bytes) and loads(each) == item for each in former)
