"""What a request's body probably says by mistake: misspelt members and values, deprecated ones, one thing where a list belongs.

Mux ignores a member that it does not know, and answers a wrong value with 400, which costs a request. So the body is compared with the
class of the request before it is sent. What is close to something known is a warning, because it may also be something that Mux has added
since; what is close to nothing passes. One object or text where a list belongs is put into a list. Text, a number or a list where only an
object can be is refused.
"""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, NewType, Union, cast, get_args, get_origin, get_type_hints

import attrs

from mux_async._models.model import Model, table_of
from mux_async.errors import DeprecatedArgumentWarning, InvalidRequestError, MisspeltArgumentWarning

_CLOSE: Final = 0.65
"""How alike two words must be for one to be taken for the other, as `difflib` counts: ``uri`` and ``url`` are (0.67)."""

Warn = Callable[[str, type[Warning]], None]


@attrs.frozen
class _Member:
    """What a member of a body may hold."""

    is_list: bool = False
    values: frozenset[object] = frozenset()
    """The values that are known; empty when it holds anything."""
    classes: tuple[type[Model], ...] = ()
    is_object: bool = False
    """Whether it, or each of the list, is an object and nothing else."""
    deprecated: str | None = None

    @property
    def is_plain(self) -> bool:
        return not (self.is_list or self.values or self.classes or self.deprecated)


@attrs.define(eq=False)
class _Body:
    """What is known of the members of an object.

    Nearly every request is right, so that is found out first (`is_right`), with as little work as can be; what is wrong is looked for
    when something is.
    """

    names: frozenset[str]
    looked_at: Mapping[str, _Member]
    """Members that there is something to say about."""
    deprecated: frozenset[str]
    rules: dict[str, Callable[[Any], bool]] = attrs.field(factory=dict[str, Callable[[Any], bool]])
    """By name, whether the value of a member is one that needs no word."""

    def is_right(self, members: dict[str, object]) -> bool:
        """Whether there is nothing to say about an object."""
        if not (members.keys() <= self.names and self.deprecated.isdisjoint(members)):
            return False
        rules = self.rules
        for name in members:
            if name in rules:
                value = members[name]
                if value is not None and not rules[name](value):
                    return False
        return True


def _rule(member: _Member) -> Callable[[Any], bool]:
    """Return whether a value that is not null is as it should be."""
    values, bodies = member.values, [_body(cls) for cls in member.classes]

    def is_object_right(value: Any) -> bool:
        return value.__class__ is dict and bodies[0].is_right(value)

    def are_objects_right(value: Any) -> bool:
        if value.__class__ is not list:
            return False
        for each in value:  # noqa: SIM110 - a generator takes longer, and every request with objects comes here
            if each.__class__ is not dict or not bodies[0].is_right(each):
                return False
        return True

    def are_values_known(value: Any) -> bool:
        try:
            return value.__class__ is list and values.issuperset(value)
        except TypeError:  # one cannot be hashed
            return False

    def is_value_known(value: Any) -> bool:
        return value.__class__ is str and value in values

    if len(bodies) == 1:
        return are_objects_right if member.is_list else is_object_right
    if bodies:
        return lambda _value: False  # which class is meant takes a closer look
    if values:
        return are_values_known if member.is_list else is_value_known
    return lambda value: value.__class__ is list


def check_body(members: dict[str, object], path: str, where: str) -> None:
    """Warn about what is probably a mistake, and put into lists what belongs into one.

    Args:
        members: The body as it will be encoded; changed in place.
        path: Of the class of the request, ``module:Class`` below `mux_async.models`.
        where: What to call the request in a warning.

    Raises:
        InvalidRequestError: A member that can only be an object is none.
    """
    body = _requests.get(path)
    if body is None:
        from mux_async._models.response_decoder import model_at

        body = _requests[path] = _body(model_at(path))
    if not body.is_right(members):
        _check(members, body, "", lambda text, kind: warn(f"{where}: {text}", kind))


_requests: dict[str, _Body] = {}


def warn(text: str, kind: type[Warning]) -> None:
    """Warn at the line of the program that made the call, so that filters see it as the program's."""
    frame: types.FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage] - as `warnings` itself does
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "mux_async":
        frame = frame.f_back
    if frame is None:
        warnings.warn(text, kind, stacklevel=2)
        return
    names = frame.f_globals
    warnings.warn_explicit(
        text, kind, frame.f_code.co_filename, frame.f_lineno, names.get("__name__"), names.setdefault("__warningregistry__", {})
    )


def _check(members: dict[str, object], known: _Body, prefix: str, report: Warn) -> None:
    if not members.keys() <= known.names:
        for name in members.keys() - known.names:
            if close := close_to(name, known.names):
                report(f"{prefix}{name} is no member that is known here; did you mean {close!r}?", MisspeltArgumentWarning)
    for name in members.keys() & known.looked_at.keys():
        member, value = known.looked_at[name], members[name]
        if value is None:
            continue
        if member.deprecated:
            about = member.deprecated.removeprefix("Deprecated, ")
            report(f"{prefix}{name} is deprecated: {about[0].lower()}{about[1:]}", DeprecatedArgumentWarning)
        if member.is_list:
            if not isinstance(value, list):
                value = members[name] = [value]
            for index, item in enumerate(cast("list[object]", value)):
                _check_value(item, member, f"{prefix}{name}[{index}]", report)
        else:
            _check_value(value, member, f"{prefix}{name}", report)


def _check_value(value: object, member: _Member, where: str, report: Warn) -> None:
    if isinstance(value, dict):
        for cls in _candidates(cast("dict[str, object]", value), member.classes):
            _check(cast("dict[str, object]", value), _body(cls), f"{where}.", report)
    elif member.is_object and value is not None:
        known = ", ".join(sorted({name for cls in member.classes for name in _body(cls).names}))
        raise InvalidRequestError(f"{where} is {_kind(value)}, where an object belongs; its members are {known}")
    elif member.values and isinstance(value, str) and value not in member.values and (close := close_to(value, member.values)):
        report(
            f"{where} is {value!r:.60}, which is no value that is known here; did you mean {close!r}?", MisspeltArgumentWarning
        )


def _kind(value: object) -> str:
    return "text" if isinstance(value, str) else "a list" if isinstance(value, list) else f"of type {type(value).__name__}"


def _candidates(value: dict[str, object], classes: tuple[type[Model], ...]) -> tuple[type[Model], ...]:
    """Of several classes, the one whose members fit best; of those that fit as well, the one that knows most of the values."""
    if len(classes) < 2:
        return classes
    return (max(classes, key=lambda cls: (len(value.keys() & _body(cls).names), _known_values(value, _body(cls)))),)


def _known_values(value: dict[str, object], body: _Body) -> int:
    looked_at = body.looked_at
    return sum(isinstance(each, str) and name in looked_at and each in looked_at[name].values for name, each in value.items())


def close_to(word: str, known: Iterable[object]) -> str | None:
    """Return the text of *known* that *word* is close to; ``None`` when it is close to nothing."""
    from difflib import get_close_matches

    folded = {each.lower().replace("-", "_"): each for each in known if isinstance(each, str)}
    found = get_close_matches(word.lower().replace("-", "_")[:80], folded, n=1, cutoff=_CLOSE)
    return folded[found[0]] if found else None


_bodies: dict[type[Model], _Body] = {}


def _body(cls: type[Model]) -> _Body:
    found = _bodies.get(cls)
    if found is None:
        hints = get_type_hints(cls)
        attributes: Any = attrs.fields_dict(cast("Any", cls))
        members: dict[str, _Member] = {}
        for name, field in table_of(cls).fields.items():
            members[field.wire] = attrs.evolve(_member(hints[name]), deprecated=attributes[name].metadata.get("deprecated"))
        looked_at = {name: member for name, member in members.items() if not member.is_plain}
        found = _Body(frozenset(members), looked_at, frozenset(name for name, member in members.items() if member.deprecated))
        _bodies[cls] = found  # before its members, which may hold objects like it
        found.rules.update((name, _rule(member)) for name, member in looked_at.items())
    return found


def _member(kind: Any) -> _Member:
    if isinstance(kind, NewType):
        return _Member()
    if isinstance(kind, type) and issubclass(kind, Model):
        return _Member(classes=(kind,), is_object=True)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return _Member(values=frozenset(arguments))
    if origin is list:
        return attrs.evolve(_member(arguments[0]), is_list=True)
    if origin in {Union, types.UnionType}:
        parts = [_member(each) for each in arguments if each is not types.NoneType]
        return _Member(
            is_list=any(part.is_list for part in parts),
            values=frozenset(value for part in parts for value in part.values),
            classes=tuple(cls for part in parts for cls in part.classes),
            is_object=all(part.is_object for part in parts),
        )
    return _Member()
