"""How generated code makes models out of JSON objects.

Written for speed, because it runs for every object of every answer: `Model`'s constructor has to find out what a user meant, this only has
to note what arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, final

from mux_async._model import NOTHING, Kept, Model, get_kept, set_kept, shape_of, slot
from mux_async._types import UNSET

if TYPE_CHECKING:
    from mux_async._times import Notes

M = TypeVar("M", bound=Model)

_new = object.__new__
_drafts: dict[type[Model], type[Model]] = {}


def draft(cls: type[Model]) -> Any:
    """Return an empty model of class *cls* whose fields can still be set. For generated code, which hands it to `finish`.

    Setting the attributes of a frozen class goes through Python for each; this is a subclass that is not frozen, of the same layout, so
    that its attributes are stored by the interpreter alone and the object can become a *cls* in the end. It takes a fifth of the time of
    the constructor (docs/decisions/decoding.md).
    """
    return _new(_drafts.get(cls) or _draft_class(cls))


def _draft_class(cls: type[Model]) -> type[Model]:
    # Both of the methods: with one of them, CPython would still call Python for every attribute.
    members = {"__slots__": (), "__setattr__": object.__setattr__, "__delattr__": object.__delattr__, "kept": slot}
    made = _drafts[cls] = type(cls.__name__, (cls,), {"__module__": cls.__module__, **members})
    return made


def finish(it: Any, cls: type[M], data: Mapping[str, object], notes: Notes | None = None) -> M:
    """Make a draft what it is to be. For generated code.

    Args:
        it: With every field set.
        cls: Its class.
        data: The JSON object that it was read from.
        notes: What readers of times left.
    """
    knows = _knowing.get(cls) or _learn(cls)
    it.kept = _keep(cls, data, notes or {}) if notes or None in data.values() or not knows(data) else NOTHING
    it.__class__ = cls
    made: M = it
    return made


_knowing: dict[type[Model], Callable[[Mapping[str, object]], bool]] = {}
"""Whether all members of an object are fields of the class."""


def _learn(cls: type[Model]) -> Callable[[Mapping[str, object]], bool]:
    knows = _knowing[cls] = frozenset(shape_of(cls).wire.values()).issuperset
    return knows


def incomplete(cls: type[M], data: Mapping[str, object]) -> M:
    """Read an object that lacks a required field: it reads None, and is noted as missing. For generated code."""
    shape = shape_of(cls)
    required = {shape.wire[name]: name for name in shape.required}
    made = cls.from_wire({**dict.fromkeys(required), **data})
    missing = {name: UNSET for wire, name in required.items() if wire not in data}
    kept = get_kept(made)
    set_kept(made, Kept(kept.extra, {**kept.notes, **missing}))
    return made


def _keep(cls: type[Model], data: Mapping[str, object], notes: Notes) -> Kept:
    shape = shape_of(cls)
    extra: dict[str, object] = {}
    if not _knowing[cls](data):
        known = set(shape.wire.values())
        extra = {name: value for name, value in data.items() if name not in known}
    for name in shape.optional:
        if data.get(shape.wire[name], UNSET) is None:
            notes[name] = None
    return Kept(MappingProxyType(extra), notes) if extra or notes else NOTHING


@final
class Variants:
    """Which class an object is read as, by the value of one of its fields. For generated code.

    Args:
        field: Wire name of the field that tells.
        readers: Its known values. An object with any other is kept as it is.
    """

    __slots__ = ("_field", "_readers")

    def __init__(self, field: str, readers: Mapping[str, Callable[[Any], object]]) -> None:
        self._field = field
        self._readers = readers

    def __call__(self, raw: Any) -> Any:
        if raw.__class__ is not dict:
            return raw
        tag = raw.get(self._field)
        reader = self._readers.get(tag) if tag.__class__ is str else None
        return reader(raw) if reader is not None else raw
