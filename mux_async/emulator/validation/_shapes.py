"""Shapes: validators of request bodies, composed of small functions, that collect one message for each problem.

A shape is a function of a value and its name. It reports through ``problems`` and never changes the value. Members that a shape
does not name pass: the API grows, and so do its clients.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeAlias, cast

import orjson

from mux_async.emulator.http._messages import invalid
from mux_async.emulator.validation._spec import load

logger = logging.getLogger(__name__)

Shape: TypeAlias = Callable[[object, str, list[str]], None]


def flag() -> Shape:
    """A JSON boolean."""

    def check(value: object, name: str, problems: list[str]) -> None:
        if not isinstance(value, bool):
            problems.append(f"{name} must be a boolean")

    return check


def string(max_length: int | None = None) -> Shape:
    """A JSON string of at most *max_length* code points."""

    def check(value: object, name: str, problems: list[str]) -> None:
        if not isinstance(value, str):
            problems.append(f"{name} must be a string")
        elif max_length is not None and len(value) > max_length:
            problems.append(f"{name} must be at most {max_length} characters long")

    return check


def number(minimum: float | None = None, maximum: float | None = None, *, whole: bool = False) -> Shape:
    """A JSON number between the two, inclusive; *whole* refuses fractions."""

    def check(value: object, name: str, problems: list[str]) -> None:
        kind = "an integer" if whole else "a number"
        allowed = int if whole else int | float
        if isinstance(value, bool) or not isinstance(value, allowed) or not math.isfinite(value):
            problems.append(f"{name} must be {kind}")
        elif minimum is not None and value < minimum:
            problems.append(f"{name} must be at least {minimum}")
        elif maximum is not None and value > maximum:
            problems.append(f"{name} must be at most {maximum}")

    return check


def choice(*values: str) -> Shape:
    """One of *values*."""

    def check(value: object, name: str, problems: list[str]) -> None:
        if value not in values:
            problems.append(f"{name} must be one of {', '.join(values)}")

    return check


def items(shape: Shape, maximum: int | None = None) -> Shape:
    """A JSON array whose elements fit *shape*."""

    def check(value: object, name: str, problems: list[str]) -> None:
        if not isinstance(value, list):
            problems.append(f"{name} must be an array")
            return
        elements = cast("list[object]", value)
        if maximum is not None and len(elements) > maximum:
            problems.append(f"{name} must have at most {maximum} elements")
        for index, element in enumerate(elements):
            shape(element, f"{name}[{index}]", problems)

    return check


def members(required: Sequence[str] = (), /, **shapes: Shape) -> Shape:
    """A JSON object. A null member counts as one that is not there."""

    def check(value: object, name: str, problems: list[str]) -> None:
        if not isinstance(value, dict):
            problems.append(f"{name or 'the body'} must be an object")
            return
        found = cast("dict[str, object]", value)
        prefix = f"{name}." if name else ""
        problems.extend(f"{prefix}{key} is required" for key in required if found.get(key) is None)
        if not found.keys() <= shapes.keys():
            _warn_of_misspelt(found.keys() - shapes.keys(), shapes, prefix)
        for key, shape in shapes.items():
            if found.get(key) is not None:
                shape(found[key], f"{prefix}{key}", problems)

    return check


def _warn_of_misspelt(given: Iterable[str], known: Iterable[str], prefix: str) -> None:
    """Log a warning for unknown members that are close to a known one: Mux ignores them, so a misspelling shows nowhere else."""
    for name in given:
        if name not in load().property_names and (close := _close_to(name, known)):
            logger.warning("%s%s is no member that Mux knows, and was ignored; did you mean %s?", prefix, name[:80], close)


def _close_to(word: str, known: Iterable[str]) -> str | None:
    """Return the name of *known* that is most like *word*, or ``None`` when none is like it."""
    normalized = {each.lower().replace("-", "_"): each for each in known}
    found = get_close_matches(word.lower().replace("-", "_")[:80], normalized, n=1, cutoff=0.65)
    return normalized[found[0]] if found else None


def any_of(first: Shape, *others: Shape) -> Shape:
    """Whatever one of the shapes lets through; when none does, the first one's problems."""

    def check(value: object, name: str, problems: list[str]) -> None:
        report: list[str] | None = None
        for shape in (first, *others):
            found: list[str] = []
            shape(value, name, found)
            if not found:
                return
            report = found if report is None else report
        problems.extend(report or ())

    return check


def read_json(body: bytes) -> dict[str, Any]:
    """Decode a request body; an empty one counts as ``{}`` (facts/BEHAVIOUR.md, section 1.2).

    Raises:
        ApiError: 400, it is no JSON object.
    """
    if not body.strip():
        return {}
    try:
        value: object = orjson.loads(body)
    except ValueError:
        raise invalid("The request body is not valid JSON") from None
    if not isinstance(value, dict):
        raise invalid("The request body must be a JSON object")
    return cast("dict[str, Any]", value)


def validated(body: bytes, shape: Shape) -> dict[str, Any]:
    """Decode a request body and check it; null members are left out of the result, at the top level.

    Raises:
        ApiError: 400, with a sentence for each problem.
    """
    value = read_json(body)
    problems: list[str] = []
    shape(value, "", problems)
    if problems:
        raise invalid(*problems)
    return {key: member for key, member in value.items() if member is not None}


def whole_parameter(query: Mapping[str, str], name: str, default: int, minimum: int = 1) -> int:
    """Read a query parameter that is a whole number.

    Raises:
        ApiError: 400, it is none, or below *minimum*.
    """
    given = query.get(name)
    if given is None or given == "":
        return default
    if not (given.isascii() and given.isdigit()) or len(given) > 15 or int(given) < minimum:
        raise invalid(f"{name} must be an integer of at least {minimum}")
    return int(given)
