"""Views grouped by the value of a dimension, the metric of each group, and the impact of each group on the overall value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import attrs

from mux_async.emulator.data._dimensions import value_of
from mux_async.emulator.data._metrics import METRICS, Measured, Measurement, measure, value_over
from mux_async.emulator.data._views import View

T = TypeVar("T")


@attrs.frozen
class Group:
    """The views with one value of a dimension (``None``: without one), measured.

    *harm* is the distance from the overall value to the bad side, times views.
    """

    value: str | None
    measured: Measured
    harm: float


def grouped(views: Iterable[View], key: Callable[[View], T]) -> dict[T, list[View]]:
    """Put *views* together by *key*, in order of first appearance."""
    groups: dict[T, list[View]] = {}
    for view in views:
        groups.setdefault(key(view), []).append(view)
    return groups


def measured_groups(metric: str, views: Sequence[View], dimension: str, measurement: Measurement | None) -> list[Group]:
    """Measure *metric* for each value of *dimension*; groups in which no view takes part are left out."""
    overall = value_over(metric, views, measurement) or 0.0
    good = METRICS[metric].good
    found: list[Group] = []
    for value, part in grouped(views, value_of(dimension)).items():
        measured = measure(metric, part, measurement)
        if measured.value is not None:
            found.append(Group(value, measured, good * (overall - measured.value) * measured.views))
    return found


def text_order(value: str | None) -> tuple[bool, str]:
    """Sort key for values of a dimension: what has none comes last."""
    return value is None, value or ""


def ordered(rows: Iterable[T], key: Callable[[T], object], *, descending: bool, value: Callable[[T], str | None]) -> list[T]:
    """Sort rows by *key*; equal ones by their *value*, ascending in either direction, so that pages never overlap."""
    by_value = sorted(rows, key=lambda row: text_order(value(row)))
    return sorted(by_value, key=lambda row: _sort_key(key(row)), reverse=descending)


def _sort_key(value: object) -> tuple[bool, float, str]:
    """Sort key for numbers, or for texts of which ``None`` is the last."""
    return (False, value, "") if isinstance(value, int | float) else (value is None, 0.0, str(value))
