"""Mappings that note which of their records somebody has laid hands on.

A record that was looked at may have been changed, so it is compared with what is stored of it; the others need not be. That costs
nothing to whoever writes a handler: there is no call to forget.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

import attrs

V = TypeVar("V")


@attrs.define(eq=False)
class Touched:
    """The records that were touched since the last time: by mapping, then by key. ``is_paused`` while only reading goes on."""

    keys: dict[int, dict[str, None]] = attrs.field(factory=dict[int, dict[str, None]])
    is_paused: bool = False

    def note(self, mapping: int, key: str) -> None:
        """Note a key of the mapping with this number."""
        if not self.is_paused:
            self.keys.setdefault(mapping, {})[key] = None


class _Seen(Generic[V]):
    """Values or items, touched one by one as they are handed out: looking at the first does not touch the last."""

    def __init__(self, tracked: Tracked[Any], *, pairs: bool) -> None:
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


class Tracked(dict[str, V]):
    """A mapping that notes in *touched* what is read or written, under *number*."""

    def __init__(self, content: Mapping[str, V], touched: Touched, number: int) -> None:
        super().__init__(content)
        self._touched = touched
        self._number = number

    def __getitem__(self, key: str) -> V:
        self._touched.note(self._number, key)
        return super().__getitem__(key)

    def untouched(self, key: str) -> V | None:
        """Return a value without noting it; ``None`` when it is not there."""
        return super().get(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._touched.note(self._number, key)
        return super().get(key, default)

    def __setitem__(self, key: str, value: V) -> None:
        self._touched.note(self._number, key)
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self._touched.note(self._number, key)
        super().__delitem__(key)

    def pop(self, key: str, *default: Any) -> Any:
        self._touched.note(self._number, key)
        return super().pop(key, *default)

    def popitem(self) -> tuple[str, V]:
        key, value = super().popitem()
        self._touched.note(self._number, key)
        return key, value

    def setdefault(self, key: str, default: Any = None) -> Any:
        self._touched.note(self._number, key)
        return super().setdefault(key, default)

    def update(self, *others: Any, **more: V) -> None:
        for key, value in dict(*others, **more).items():
            self[key] = value

    def clear(self) -> None:
        for key in self:
            self._touched.note(self._number, key)
        super().clear()

    def values(self) -> Any:
        return _Seen[V](self, pairs=False)

    def items(self) -> Any:
        return _Seen[tuple[str, V]](self, pairs=True)
