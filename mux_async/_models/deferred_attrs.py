"""Classes of which attrs makes the constructor when it is first needed.

attrs compiles a constructor for each class and describes each field by an object: 0.2 to 0.8 ms for a class, and importing the models of an
asset makes 45. A received model needs none of that, because it stores its fields itself. So a class decorated with `deferred_attrs`
gets its slots at once, and the constructor and the descriptions of its fields on first use: a call of the class, `attrs.fields`,
`attrs.evolve`, cattrs, `inspect.signature`. Without it, the first answer takes 5 to 11 % longer and the first webhook event 46 %
(docs/decisions/decoding.md).

Only for subclasses of a class that attrs made frozen, whose other methods are inherited: no ``__attrs_post_init__`` of their own, no
factories, no zero-argument ``super``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import attrs

__all__ = ["deferred_attrs"]


def _importing(read: Callable[..., Any]) -> Callable[..., Any]:
    def read_imported(annotations: Annotations, *args: Any) -> Any:
        annotations._import_names()  # pyright: ignore[reportPrivateUsage] - of this module's own class
        return read(annotations, *args)

    return read_imported


class Annotations(dict[str, str]):
    """Annotations of a generated class, which are text; the names in them are imported when the annotations are first read.

    Apart from that, only type checkers need these names. Code that evaluates annotations (`typing.get_type_hints`, `attrs.resolve_types`,
    cattrs) looks names up in the module of the class after reading the annotations, so that module gets them.
    """

    __slots__ = ("_module",)

    def __init__(self, texts: Mapping[str, str], module: str) -> None:
        super().__init__(texts)
        self._module: str | None = module

    def _import_names(self) -> None:
        if self._module is None:
            return
        models: Any = import_module("mux_async.models")
        namespace, known = vars(sys.modules[self._module]), frozenset(models.__all__)
        for text in super().values():
            for name in re.findall(r"\w+", text):
                if name in known and name not in namespace:
                    namespace[name] = getattr(models, name)
        self._module = None

    def plain(self) -> dict[str, str]:
        """Return a copy that imports nothing."""
        return dict(super().items())

    if not TYPE_CHECKING:
        __iter__, __getitem__, get, keys, items, values = map(
            _importing, (dict.__iter__, dict.__getitem__, dict.get, dict.keys, dict.items, dict.values)
        )


if TYPE_CHECKING:
    # To type checkers these are classes of attrs like any other.
    from attrs import frozen as deferred_attrs
else:

    def deferred_attrs(**options: bool) -> Any:
        """Do what `attrs.frozen` does with the same *options*, on first use."""

        def make(body: type) -> type:
            fields = [name for name, kind in body.__annotations__.items() if not kind.startswith("ClassVar")]
            members = {
                name: value
                for name, value in body.__dict__.items()
                if name not in fields and name not in {"__dict__", "__weakref__"}
            }
            body.__annotations__ = members["__annotations__"] = Annotations(body.__annotations__, body.__module__)
            members |= {"__slots__": tuple(fields), **{name: _Unfinished(body, options) for name in _MADE}}
            return type(body)(body.__name__, body.__bases__, members)

        return make


_MADE = ("__attrs_attrs__", "__init__")


class _Unfinished:
    """Stands in for something that attrs makes on first use."""

    __slots__ = ("_body", "_name", "_options", "_owner")

    def __init__(self, body: type, options: dict[str, bool]) -> None:
        self._body = body
        self._options = options

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner = owner
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        annotations: Any = self._body.__annotations__
        self._body.__annotations__ = annotations.plain()  # attrs needs the text only, without imports
        made: type = cast("Any", attrs.frozen)(**self._options)(self._body)
        made.__annotations__ = self._body.__annotations__ = annotations
        for name in _MADE:
            setattr(self._owner, name, made.__dict__[name])
        return getattr(owner if instance is None else instance, self._name)
