"""Dictionaries that track which of their records were read or written.

A record that was read may have been modified, so the state file compares it with what is stored; the others it skips. Handlers need no call
to mark a record as modified.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Generic, TypeVar

import attrs

V = TypeVar("V")
_MIXIN: Any = MutableMapping


@attrs.define(eq=False)
class ModifiedRecords:
    """Records that may have been modified since the last comparison: by dictionary, then by key. Nothing is tracked while ``is_paused``."""

    keys: dict[int, dict[str, None]] = attrs.field(factory=dict[int, dict[str, None]])
    is_paused: bool = False

    def note(self, mapping: int, key: str) -> None:
        """Track a key of the dictionary with this number."""
        if not self.is_paused:
            self.keys.setdefault(mapping, {})[key] = None


class _TrackedView(Generic[V]):
    """Values or items, tracked one by one as they are iterated: reading the first does not track the last."""

    def __init__(self, tracked: TrackedDict[Any], *, pairs: bool) -> None:
        self._tracked = tracked
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._tracked)

    def __iter__(self) -> Iterator[V]:
        return self._each(iter(self._tracked))

    def __reversed__(self) -> Iterator[V]:
        return self._each(reversed(self._tracked))

    def _each(self, keys: Iterator[str]) -> Iterator[Any]:
        for key in keys:
            value = self._tracked[key]
            yield (key, value) if self._pairs else value


class TrackedDict(dict[str, V]):
    """A dictionary that tracks in *modified*, under *number*, the keys that are read or written."""

    def __init__(self, content: Mapping[str, V], modified: ModifiedRecords, number: int) -> None:
        super().__init__(content)
        self._modified = modified
        self._number = number

    def __getitem__(self, key: str) -> V:
        self._modified.note(self._number, key)
        return super().__getitem__(key)

    def get_untracked(self, key: str) -> V | None:
        """Return a value without tracking it; ``None`` if the key is missing."""
        return super().get(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._modified.note(self._number, key)
        return super().get(key, default)

    def __setitem__(self, key: str, value: V) -> None:
        self._modified.note(self._number, key)
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self._modified.note(self._number, key)
        super().__delitem__(key)

    def popitem(self) -> tuple[str, V]:
        key, value = super().popitem()
        self._modified.note(self._number, key)
        return key, value

    # Mixin methods, which call those above.
    pop = _MIXIN.pop
    setdefault = _MIXIN.setdefault
    update = _MIXIN.update

    def clear(self) -> None:
        for key in self:
            self._modified.note(self._number, key)
        super().clear()

    def values(self) -> Any:
        return _TrackedView[V](self, pairs=False)

    def items(self) -> Any:
        return _TrackedView[tuple[str, V]](self, pairs=True)


def untracked_items(records: dict[str, V]) -> Iterable[tuple[str, V]]:
    """Return keys and values of a dictionary without tracking them, to read only."""
    return dict[str, V].items(records)
