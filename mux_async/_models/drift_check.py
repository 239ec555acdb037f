"""Finds drift in models: fields without a name here, unknown values, values of another type, required fields that are absent.

`materialize` calls `notice` for an object that its decoder refused, or that has something unusual, and for no other. So drift is noticed
when the object is first read, once. What `Model.from_wire` is given is not counted: it may have been stored years ago.

Items of lists that are not objects (``list[str]``) are not examined, because the decoder does not do so either.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast

import attrs
import msgspec

from mux_async._models.fields import Converted, Field, FieldTable, Nested, NestedList
from mux_async._types import UNSET
from mux_async.drift import DriftKind, drift, plain_name, sample_of
from mux_async.errors import DriftError

if TYPE_CHECKING:
    from mux_async._models.struct_decoder import StructDecoder

Examine: TypeAlias = Callable[[object], "tuple[FieldTable, Mapping[str, object], Mapping[str, object]] | None"]
"""Returns the table, unknown fields and overrides of a model, which it materializes; ``None`` for anything else. It is
`mux_async._models.model.examine`, which is passed because that module needs this one."""


class Variants(Protocol):
    """`mux_async._models.variants.Variants`, as far as it is needed here."""

    module: str


_MOST_PLACES: Final = 20
"""Places in the text of an error."""


@attrs.frozen
class Finding:
    """One difference, in one object."""

    kind: DriftKind
    owner: str
    name: str
    value: object = None
    expected: str | None = None

    def record(self) -> None:
        """Count it."""
        drift.record(self.kind, self.owner, self.name, self.value, expected=self.expected)

    def __str__(self) -> str:
        text = f"{self.kind.replace('_', ' ')} {self.owner}.{plain_name(self.name)}"
        if (sample := sample_of(self.kind, self.value)) is not None:
            text += f" ({sample})"
        return f"{text}, expected {self.expected}" if self.expected else text


def notice(examine: Examine, model: object, decoder: StructDecoder, times: Iterable[str], *, is_refused: bool) -> None:
    """Count the drift in a model that was just materialized.

    Args:
        examine: See `Examine`.
        model: Its slots are final.
        decoder: What it was decoded with.
        times: Names of fields of times that were received in another form, if at all.
        is_refused: Whether the decoder refused the text. Then nested objects were decoded with it, and are examined now too.
    """
    if is_refused:
        count_all(examine, model)
        return
    for found in own_findings(examine, model, [*decoder.suspects, *times], texts=decoder.texts):
        found.record()
    for name in decoder.untyped_objects:
        for _path, found in all_findings(examine, getattr(model, name), name):
            found.record()


def count_all(examine: Examine, value: object) -> None:
    """Count all drift in a model, or in a list of them, and in the objects below."""
    for _path, found in all_findings(examine, value, ""):
        found.record()


def all_findings(examine: Examine, value: object, path: str) -> Iterator[tuple[str, Finding]]:
    """Yield every difference in a value and below it, with its path. Reads all of it."""
    if isinstance(value, list | tuple):
        for number, item in enumerate(cast("Iterable[object]", value)):
            yield from all_findings(examine, item, f"{path}[{number}]")
    elif (examined := examine(value)) is not None:
        for found in own_findings(examine, value):
            yield path, found
        for name in examined[0].fields:
            yield from all_findings(examine, getattr(value, name), f"{path}.{name}")


def own_findings(
    examine: Examine, model: object, names: Iterable[str] | None = None, *, texts: frozenset[str] = frozenset()
) -> Iterator[Finding]:
    """Yield the differences in the fields of one object: in all of them, or only in unknown ones and *names*.

    Objects in the fields *texts* were found in text by the decoder, so they are objects, and are counted when they are read.
    """
    examined = examine(model)
    if examined is None:
        return
    (table, extra, overrides), owner = examined, owner_of(type(model))
    for wire, value in extra.items():
        yield Finding("unknown_field", owner, wire, value)
    for name in table.fields if names is None else dict.fromkeys(names):
        field = table.fields[name]
        value = getattr(model, name)
        if value is None:
            if overrides.get(name) is UNSET and not field.is_optional:
                yield Finding("missing_field", owner, field.wire, expected=_expected(field))
            elif not field.is_optional and not _takes_null(field):
                yield Finding("wrong_type", owner, field.wire, None, _expected(field))
        elif (kind := field.kind).__class__ is tuple:
            if value not in kind:
                what: DriftKind = "unknown_value" if isinstance(value, str) else "wrong_type"
                yield Finding(what, owner, field.wire, value, _expected(field))
        elif name in texts:
            continue
        elif isinstance(kind, NestedList) and isinstance(value, list):
            for item in cast("list[object]", value):
                if examine(item) is None:
                    yield _no_model(owner, field, item)
        elif isinstance(kind, Nested | NestedList):
            if examine(value) is None:
                yield _no_model(owner, field, value)
        elif isinstance(kind, Converted):
            if not isinstance(value, date):
                yield Finding("wrong_type", owner, field.wire, value, _expected(field))
        elif kind is msgspec.Raw:
            if examine(value) is None:
                yield Finding("wrong_type", owner, field.wire, value, "an object")
        elif not _fits(field, value):
            yield Finding("wrong_type", owner, field.wire, value, _expected(field))


def owner_of(cls: type) -> str:
    """Return the name of the generated class that *cls* is, or extends."""
    return next(base.__name__ for base in cls.__mro__ if base.__module__.partition(".")[0] == "mux_async")


def note_variant(variants: Variants, field: str, tag: object) -> None:
    """Count an object of none of the known classes."""
    _unknown_variant(variants, field, tag).record()


def _no_model(owner: str, field: Field, value: object) -> Finding:
    model: Any = field.kind.model
    if isinstance(model, type) or not isinstance(value, Mapping):
        return Finding("wrong_type", owner, field.wire, value, _expected(field))
    unknown: tuple[Variants, str, object] = model.unknown_tag(value)
    return _unknown_variant(*unknown)


def _unknown_variant(variants: Variants, field: str, tag: object) -> Finding:
    return Finding("unknown_value", _union_of(variants), field, tag, "the name of a known class of objects")


def _union_of(variants: Variants) -> str:
    """Return the name of the union: ``Source`` for the constant ``SOURCE_VARIANTS`` of its module."""
    names = vars(sys.modules[variants.module])
    constant = next((name for name, value in names.items() if value is variants), "")
    plain = constant.removesuffix("_VARIANTS").replace("_", "").lower()
    return next((name for name in names if name.lower() == plain), "union")


def _takes_null(field: Field) -> bool:
    return field.is_nullable or (not isinstance(field.kind, Nested | NestedList | Converted | tuple) and _fits(field, None))


def _fits(field: Field, value: object) -> bool:
    try:
        msgspec.convert(value, field.decoded)
    except msgspec.ValidationError:
        return False
    return True


def _expected(field: Field) -> str:
    kind: Any = field.kind
    if kind.__class__ is tuple:
        return f"one of {len(kind)} values"
    if isinstance(kind, Nested):
        return "an object"
    if isinstance(kind, NestedList):
        return "a list of objects"
    if isinstance(kind, Converted):
        return "a time"
    return f"{getattr(kind, '__name__', kind)}".replace("NoneType", "None")


def check(examine: Examine, value: object, what: str = "the value") -> None:
    """Raise for drift anywhere in a model, in an event, or in a list of them. Reads all of it.

    Raises:
        DriftError: Something in it has no name in this version; the message lists every place.
    """
    raise_for([f"{found}{f' at {path}' if path else ''}" for path, found in all_findings(examine, value, "")], what)


def raise_for(places: list[str], what: str, cause: BaseException | None = None) -> None:
    """Raise if there are any *places*."""
    if not places:
        return
    shown = "; ".join(places[:_MOST_PLACES])
    if len(places) > _MOST_PLACES:
        shown += f"; and {len(places) - _MOST_PLACES} more"
    text = f"{what} has what mux_async has no name for: {shown}; a newer version may know it, and strict=False takes it"
    raise DriftError(text, places=places) from cause
