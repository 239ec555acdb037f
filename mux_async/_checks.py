"""Checks of settings that people write: each names the setting, what came, and what it takes.

Settings raise `ConfigurationError` when they are made, whatever is wrong with them: a type, a sign, an infinity. A ``bool`` is not a
number, a number is not text, and nothing is converted or rounded. Values that may be secret are described by their type. Every check takes
the *name* of the setting, its *value*, and what it *takes*, which ends the sentence of the message.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import unwrap
from typing import TYPE_CHECKING, Any, TypeVar, cast

from mux_async._tracebacks import hides_locals
from mux_async._types import Secret
from mux_async.errors import ConfigurationError, UnknownArgumentError

if TYPE_CHECKING:
    from types import CodeType

C = TypeVar("C", bound=type)

_LONGEST_SHOWN = 80


def wrong(name: str, value: object, takes: str) -> ConfigurationError:
    """Return the error that says what *name* is and what it must be."""
    return ConfigurationError(f"{name} is {shown(value)}; {takes}")


def shown(value: object) -> str:
    """Describe a value in a message, in one short line."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the message is about the setting, not about the broken repr of its value
        return f"of type {type(value).__name__}"
    return text if len(text) <= _LONGEST_SHOWN and text.isprintable() else f"of type {type(value).__name__}"


def check_whole(name: str, value: object, least: int, takes: str) -> None:
    """Refuse what is not a whole number from *least* on."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise wrong(name, value, takes)


def check_number(
    name: str,
    value: object,
    takes: str,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
    allow_infinite: bool = False,
) -> None:
    """Refuse what is not a number from *least* to *most*, and larger than *above* and smaller than *below*."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(name, value, takes)
    try:
        number = float(value)
    except OverflowError:  # an int beyond any float
        number = math.nan
    in_range = least <= number <= most and (number > above or above == -math.inf) and (number < below or below == math.inf)
    if not in_range or (math.isinf(number) and not allow_infinite):
        raise wrong(name, value, takes)


def check_seconds(name: str, value: object) -> None:
    """Refuse what is not a finite number of seconds, 0 or more."""
    check_number(name, value, "it must be 0 seconds or more", least=0)


def check_period(name: str, value: object, *, none_means: str | None = None) -> None:
    """Refuse what is not a finite number of seconds above 0, or ``None`` where that means *none_means*."""
    if value is None and none_means is not None:
        return
    check_number(name, value, "it must be above 0 seconds" + (f", or None for {none_means}" if none_means else ""), above=0)


def check_flag(name: str, value: object) -> None:
    """Refuse what is neither ``True`` nor ``False``: 0, ``"no"`` and ``None`` are easily meant otherwise."""
    if not isinstance(value, bool):
        raise wrong(name, value, "it must be True or False")


def check_text(
    name: str, value: object, *, takes: str = "it must be a str", allow_none: bool = False, allow_empty: bool = True
) -> None:
    """Refuse what is not a ``str``, or is empty where that is not allowed."""
    if value is None and allow_none:
        return
    if not isinstance(value, str) or not (value or allow_empty):
        raise wrong(name, value, takes + (", or None" if allow_none else ""))


def check_secret(name: str, value: object, *, allow_none: bool = False) -> None:
    """Refuse what is neither a ``str`` nor a `Secret`. The value is not shown."""
    if value is None and allow_none:
        return
    if not isinstance(value, str | Secret):
        raise ConfigurationError(
            f"{name} is of type {type(value).__name__}; it must be a str or a Secret" + (", or None" if allow_none else "")
        )


def check_path(name: str, value: object) -> None:
    """Refuse what is neither a ``str`` nor a path, or is empty."""
    convert: Callable[[object], object] | None = getattr(type(value), "__fspath__", None)
    text = value if convert is None else convert(value)
    if not isinstance(text, str) or not text:
        raise wrong(name, value, "it must be a path")


def check_instance(name: str, value: object, kind: type, takes: str, *, allow_none: bool = False) -> None:
    """Refuse what is not an instance of *kind*."""
    if not (isinstance(value, kind) or (value is None and allow_none)):
        raise wrong(name, value, takes + (", or None" if allow_none else ""))


def check_secret_instance(name: str, value: object, kind: type, takes: str) -> None:
    """Refuse what is neither an instance of *kind* nor ``None``. The value is not shown."""
    if not (isinstance(value, kind) or value is None):
        raise ConfigurationError(f"{name} is of type {type(value).__name__}; {takes}, or None")


def check_callable(name: str, value: object, takes: str, *, allow_none: bool = False) -> None:
    """Refuse what cannot be called."""
    if not (callable(value) or (value is None and allow_none)):
        raise wrong(name, value, takes + (", or None" if allow_none else ""))


def check_mapping(name: str, value: object, takes: str, *, allow_none: bool = False) -> None:
    """Refuse what is not a mapping with names of type ``str``. Values are not shown: headers and proxies hold secrets."""
    if value is None and allow_none:
        return
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{name} is of type {type(value).__name__}; {takes}" + (", or None" if allow_none else ""))
    for key in cast("Mapping[object, object]", value):
        if not isinstance(key, str):
            raise ConfigurationError(f"{name} holds a name of type {type(key).__name__}; names are of type str")


def explains_arguments(cls: C) -> C:
    """Let the constructor of *cls* say what an argument that it does not have is called here. A class decorator."""
    construct: Any = vars(cls)["__init__"]
    code: CodeType = unwrap(construct).__code__
    known = frozenset(code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount])

    def explained(self: object, *args: object, **given: object) -> None:
        for name in given:
            if name not in known:
                from mux_async._names import about_argument

                raise UnknownArgumentError(about_argument(cls.__name__, name, known))
        construct(self, *args, **given)

    setattr(cls, "__init__", hides_locals(wraps(construct)(explained)))  # noqa: B010 - type checkers do not let one be replaced
    return cls


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse what is not one of a few texts."""
    if not isinstance(value, str) or value not in choices:
        raise wrong(name, value, f"it is one of {', '.join(map(repr, choices))}")
