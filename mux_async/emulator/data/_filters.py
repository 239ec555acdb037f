"""``filters[]`` and ``metric_filters[]``: which views a request selects (facts/BEHAVIOUR.md, section 3.3).

Conditions on one dimension are alternatives, different dimensions must all match, and exclusions always apply. ``__empty__`` stands for
views without a value; a view passes either a filter or its negation.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, cast

import attrs

from mux_async.emulator.data._dimensions import DIMENSIONS, TRACES, elements_of
from mux_async.emulator.data._metrics import METRICS, reader
from mux_async.emulator.data._views import View
from mux_async.emulator.http._messages import invalid

T = TypeVar("T")
EMPTY = "__empty__"
Test: TypeAlias = Callable[[View], bool]

_FILTER = re.compile(r"(?P<sign>[!+ -]?)(?P<dimension>\w+):(?P<value>.+)", re.DOTALL)
_METRIC_FILTER = re.compile(r"(?P<metric>\w+)(?P<relation>>=|<=|!=|==|=|>|<)(?P<value>.+)")
_RELATIONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}


@attrs.frozen
class Condition:
    """One filter. Its *sign* is ``""`` to keep, ``!`` to drop, ``+`` to want an element of a trace, ``-`` to forbid it."""

    dimension: str
    sign: str
    value: str

    @property
    def is_exclusion(self) -> bool:
        """Whether it drops what matches."""
        return self.sign in ("!", "-")


def parse_filter(
    text: str, dimensions: Sequence[str] = DIMENSIONS, name: str = "filters[]", *, traces: bool = True
) -> Condition:
    """Read a filter; *dimensions* are those that may be named. Raises `ApiError` (400)."""
    match = _FILTER.fullmatch(text)
    if match is None:
        raise invalid(f'{name} must look like dimension:value or !dimension:value, not "{text[:80]}"')
    dimension, value = match["dimension"], match["value"]
    sign = "+" if match["sign"] == " " else match["sign"]  # a plus that was not percent-encoded is read as a space
    if dimension not in dimensions:
        raise invalid(f'{name}: "{dimension}" is not a dimension that can be used here')
    if sign in ("+", "-") and (dimension not in TRACES or not traces):
        raise invalid(f'{name}: + and - are for trace dimensions, and "{dimension}" is none here')
    if dimension in TRACES and sign in ("", "!") and value != EMPTY:
        # A trace is compared as a whole; one element may be written without brackets.
        inner = value[1:-1] if value.startswith("[") and value.endswith("]") else value
        value = f"[{','.join(part.strip() for part in inner.split(','))}]"
    return Condition(dimension, sign, value)


def parse_metric_filter(text: str) -> Test:
    """Read a filter by a metric; views without a value never match. Raises `ApiError` (400)."""
    match = _METRIC_FILTER.fullmatch(text)
    if match is None:
        raise invalid(f'metric_filters[] must look like metric>=number, not "{text[:80]}"')
    metric = match["metric"]
    if metric not in METRICS:
        raise invalid(f'metric_filters[]: "{metric}" is not a metric')
    if not METRICS[metric].filterable:
        raise invalid(f'metric_filters[]: "{metric}" cannot be filtered by')
    limit = _number(match["value"])
    read, relation = reader(metric), _RELATIONS[match["relation"]]

    def test(view: View) -> bool:
        value = read(view)
        return value is not None and relation(value, limit)

    return test


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise invalid(f'metric_filters[]: "{text[:80]}" is not a number')
    return value


def select(views: Iterable[T], tests: Sequence[Callable[[T], bool]]) -> list[T]:
    """Return the views that pass every test."""
    for test in tests:
        views = filter(test, views)
    return list(views)


def compiled(
    conditions: Iterable[Condition], reader_of: Callable[[str], Callable[[T], str | None]]
) -> list[Callable[[T], bool]]:
    """Turn conditions into tests that must all pass; *reader_of* returns what reads a dimension."""
    groups: dict[tuple[str, bool], list[Condition]] = {}
    for condition in conditions:
        groups.setdefault((condition.dimension, condition.is_exclusion), []).append(condition)
    return [
        _test(dimension, reader_of(dimension), found, is_exclusion=is_exclusion)
        for (dimension, is_exclusion), found in groups.items()
    ]


def _test(
    dimension: str, read: Callable[[T], str | None], conditions: Sequence[Condition], *, is_exclusion: bool
) -> Callable[[T], bool]:
    values = {None if condition.value == EMPTY else condition.value for condition in conditions if condition.sign in ("", "!")}
    elements = {condition.value for condition in conditions if condition.sign in ("+", "-")}
    if not elements:
        return lambda view: (read(view) in values) is not is_exclusion
    trace = cast("Callable[[Any], tuple[str, ...]]", elements_of(dimension))
    return lambda view: (read(view) in values or not elements.isdisjoint(trace(view))) is not is_exclusion
