"""The small values everything else is written in: what was left out, and what must not be shown.

Three states of a field are three different things here: *absent* (``UNSET``, nothing is sent),
*null* (``None``, JSON ``null`` is sent) and *unknown* (a field this version has no name for, kept in ``extra``).
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final, Literal, TypeAlias, final


class _Unset(enum.Enum):
    """The type of ``UNSET``; an enum so that type checkers narrow ``is UNSET``."""

    UNSET = "UNSET"

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = _Unset.UNSET
"""An argument that was not given: nothing is sent for it. ``None`` is different, it sends JSON ``null``."""

Unset: TypeAlias = Literal[_Unset.UNSET]
"""The type of `UNSET`, for signatures: ``title: str | None | Unset = UNSET``."""


@final
class Secret:
    """A string that does not show itself: not in ``repr``, logs, tracebacks or pickles.

    Call `reveal` at the one place where the characters are needed.
    """

    __slots__ = ("_read",)

    def __init__(self, value: str | Secret) -> None:
        # In a closure, and not in a slot: what walks through objects by their attributes finds a function.
        self._read: Callable[[], str] = value._read if isinstance(value, Secret) else lambda: value

    def reveal(self) -> str:
        """Return the characters."""
        return self._read()

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self._read())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._read() == self._read()

    def __hash__(self) -> int:
        return hash(("Secret", self._read()))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _memo: object) -> Secret:
        return self

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a Secret cannot be pickled; pass the text and wrap it on the other side")
