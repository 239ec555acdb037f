"""``/data/v1/dimensions`` and the deprecated ``/data/v1/filters``: the dimensions of views, and the values that occur."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import partial

from mux_async.emulator.data._dimensions import ADVANCED, BASIC, DIMENSIONS, TRACES, elements_of, value_of
from mux_async.emulator.data._groups import ordered
from mux_async.emulator.data._requests import ORDERS, DataRequest, Operation, envelope
from mux_async.emulator.http._messages import Response


def _list(request: DataRequest) -> Response:
    return envelope({"basic": list(BASIC), "advanced": list(ADVANCED)}, request.timeframe())


def _values(name: str, request: DataRequest) -> Response:
    """Answer for the dimension that the path names by *name*. The deprecated operation takes no filters by metric."""
    read = value_of(request.path_choice(name, DIMENSIONS, "dimension"))
    timeframe = request.timeframe()
    views = request.views(timeframe, request.query.tests(metrics=name == "DIMENSION_ID"))
    rows = _rows(map(read, views), "views", descending=True)
    return envelope(request.query.page(rows), timeframe, len(rows))


def _elements(request: DataRequest) -> Response:
    read = elements_of(request.path_choice("DIMENSION_ID", TRACES, "trace dimension"))
    query, timeframe = request.query, request.timeframe()
    order = query.choice("order_by", ORDERS, "views")
    descending = query.descending("asc" if order in ("value", "field") else "desc")
    views = request.views(timeframe, query.tests())
    rows = _rows((element for view in views for element in sorted(set(read(view)))), order, descending=descending)
    return envelope(query.page(rows), timeframe, len(rows))


def _rows(values: Iterable[str | None], order: str, *, descending: bool) -> list[dict[str, object]]:
    """Count values. Elements have no metric, so that the order by impact is that by number of views."""
    counted = Counter(values).items()
    by_value = order in ("value", "field")
    found = ordered(counted, lambda row: row[0] if by_value else row[1], descending=descending, value=lambda row: row[0])
    return [{"value": value, "total_count": count} for value, count in found]


OPERATIONS: tuple[Operation, ...] = (
    ("GET", "/data/v1/dimensions", _list),
    ("GET", "/data/v1/dimensions/{DIMENSION_ID}", partial(_values, "DIMENSION_ID")),
    ("GET", "/data/v1/dimensions/{DIMENSION_ID}/elements", _elements),
    ("GET", "/data/v1/filters", _list),
    ("GET", "/data/v1/filters/{FILTER_ID}", partial(_values, "FILTER_ID")),
)
