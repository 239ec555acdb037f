"""Requests to the Data API: their parameters (facts/BEHAVIOUR.md, section 3.3), their views, and the envelope of responses.

An invalid parameter is a 400 that names it; a missing one has the default that was recorded or documented.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias, TypeVar, cast
from urllib.parse import parse_qsl

import attrs

from mux_async.emulator.data._dataset import Dataset
from mux_async.emulator.data._dimensions import value_of
from mux_async.emulator.data._filters import Test, compiled, parse_filter, parse_metric_filter, select
from mux_async.emulator.data._library import library_of
from mux_async.emulator.data._metrics import Measurement
from mux_async.emulator.data._views import View
from mux_async.emulator.data._watched_views import WatchedViewCache
from mux_async.emulator.http._messages import Request, Response, invalid, json_response
from mux_async.emulator.routing._router import ApiCall, Handler, Route
from mux_async.emulator.state._state import Environment, State
from mux_async.emulator.validation._validation import whole_parameter

T = TypeVar("T")
MAX_LIMIT = 100
MEASUREMENTS = ("95th", "median", "avg", "count", "sum")
ORDERS = ("negative_impact", "value", "views", "field")
DIRECTIONS = ("asc", "desc")
DAY = 86_400

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": DAY}
_RELATIVE = re.compile(r"(?P<bracket>\[)?(?P<number>\d{1,9}):(?P<unit>second|minute|hour|day)s?(?(bracket)\])", re.ASCII)
"""A span. Mux's AI package writes it in brackets; whether Mux accepts that is not known."""
_EPOCH = re.compile(r"\d{1,11}", re.ASCII)
_LAST_SECOND = 253_402_300_799
"""Of the year 9999, after which a date cannot be written."""


@attrs.frozen
class Timeframe:
    """A period: epoch seconds, the end excluded."""

    start: int
    end: int

    def as_list(self) -> list[int]:
        """As answers carry it."""
        return [self.start, self.end]

    @property
    def milliseconds(self) -> tuple[int, int]:
        """Start and end in epoch milliseconds."""
        return self.start * 1000, self.end * 1000


class Parameters:
    """The query of a request."""

    def __init__(self, request: Request) -> None:
        self._lists: dict[str, list[str]] = {}
        for name, value in parse_qsl(request.target.partition("?")[2], keep_blank_values=True):
            self._lists.setdefault(name, []).append(value)
        self._last: Mapping[str, str] = {name: values[-1] for name, values in self._lists.items()}

    def list_of(self, name: str) -> Sequence[str]:
        """Return all values of a parameter, whether its name carries brackets in the request or not."""
        return [*self._lists.get(f"{name}[]", ()), *self._lists.get(name, ())]

    def text(self, name: str) -> str | None:
        """Return a parameter; ``None`` when it is left out or empty."""
        return self._last.get(name) or None

    def whole(self, name: str, default: int, minimum: int = 1) -> int:
        """Return a whole number. Raises `ApiError` (400)."""
        return whole_parameter(self._last, name, default, minimum)

    def choice(self, name: str, allowed: Sequence[str], default: str) -> str:
        """Return one of *allowed*. Raises `ApiError` (400)."""
        value = self.text(name)
        if value is not None and value not in allowed:
            raise invalid(f"{name} must be one of {', '.join(allowed)}")
        return default if value is None else value

    def measurement(self) -> Measurement | None:
        """Return the measurement that was asked for, or raise as `choice` does."""
        if self.text("measurement") is None:
            return None
        return cast("Measurement", self.choice("measurement", MEASUREMENTS, "avg"))

    def descending(self, default: str) -> bool:
        """Whether the order is descending, or raise as `choice` does."""
        return self.choice("order_direction", DIRECTIONS, default) == "desc"

    def page(self, rows: Sequence[T], *, default: int = 25, maximum: int = MAX_LIMIT) -> list[T]:
        """Return the requested page. More than *maximum* counts as the maximum; past the end a page is empty. Raises `ApiError` (400)."""
        number, limit = self.whole("page", 1), min(maximum, self.whole("limit", default))
        return list(rows[(number - 1) * limit : number * limit])

    def timeframe(self, now: int, default: int = DAY) -> Timeframe:
        """Return the period: two times, a span up to *now* (epoch seconds), or the last *default* seconds. Raises `ApiError` (400)."""
        given = self.list_of("timeframe")
        if not given:
            return Timeframe(now - default, now)
        if len(given) == 1:
            match = _RELATIVE.fullmatch(given[0])
            if match is None:
                raise invalid(f'timeframe[] must be two Unix times or a span such as 7:days, not "{given[0][:80]}"')
            span = int(match["number"]) * _UNITS[match["unit"]]
            if not 0 < span <= now:
                raise invalid("timeframe[] must be a span of at least a second, and not reach back before 1970")
            return Timeframe(now - span, now)
        if len(given) != 2 or not all(_EPOCH.fullmatch(text) for text in given):
            raise invalid("timeframe[] must be two Unix times in whole seconds, or one span such as 7:days")
        start, end = map(int, given)
        if start > end or end > _LAST_SECOND:
            raise invalid("timeframe[] must not end before it starts, nor after the year 9999")
        return Timeframe(start, end)

    def moment(self, name: str, now: int, default: int) -> int:
        """Return a time (epoch seconds) that has come. Raises `ApiError` (400)."""
        given = self.text(name)
        if given is None:
            return default
        if not _EPOCH.fullmatch(given) or int(given) > now:
            raise invalid(f"{name} must be a Unix time in whole seconds, and not in the future")
        return int(given)

    def tests(self, dimensions: Sequence[str] | None = None, *, metrics: bool = True) -> list[Test]:
        """Return the tests that views must pass: ``filters[]``, and ``metric_filters[]`` if *metrics*. Raises `ApiError` (400).

        *dimensions* are those that filters may name; ``None`` stands for all.
        """
        given = self.list_of("filters")
        conditions = [parse_filter(text) if dimensions is None else parse_filter(text, dimensions) for text in given]
        tests = compiled(conditions, value_of)
        if metrics:
            tests += [parse_metric_filter(text) for text in self.list_of("metric_filters")]
        return tests


@attrs.frozen
class DataRequest:
    """One request to the Data API, with the views of the caller's environment and the parsed parameters."""

    call: ApiCall
    dataset: Dataset
    query: Parameters

    @property
    def now(self) -> int:
        """Epoch seconds."""
        return self.dataset.now // 1000

    def timeframe(self) -> Timeframe:
        """The requested timeframe, by default the last 24 hours. Raises `ApiError` (400)."""
        return self.query.timeframe(self.now)

    def bounds(self, timeframe: Timeframe) -> tuple[int, int]:
        """Return start and end in epoch milliseconds. A period that ends now has what has ended so far in the current second."""
        start, end = timeframe.milliseconds
        return start, self.dataset.now + 1 if timeframe.end == self.now else end

    def views(self, timeframe: Timeframe, tests: Sequence[Test]) -> list[View]:
        """Return the views that ended in the period and pass the tests, oldest first."""
        return select(self.dataset.ended(*self.bounds(timeframe)), tests)

    def path_choice(self, name: str, allowed: Sequence[str], what: str) -> str:
        """Return a parameter of the path that must be one of *allowed*; *what* describes it in the message. Raises `ApiError` (400)."""
        value = self.call.params[name]
        if value not in allowed:
            raise invalid(f'{name}: "{value[:80]}" is not a {what}')
        return value


DataHandler: TypeAlias = Callable[[DataRequest], Response]
Operation: TypeAlias = tuple[str, str, DataHandler]
"""Verb, path and handler."""


def envelope(data: object, timeframe: Timeframe, total: int | None = None, **more: object) -> Response:
    """Wrap a response (facts/BEHAVIOUR.md, section 3.2); *total* is the number of rows of all pages, or null."""
    return json_response(200, {"data": data, "total_row_count": total, "timeframe": timeframe.as_list(), **more})


class DatasetCache:
    """Datasets by environment. Views are generated from the seed, so the cache can be dropped without losing state."""

    def __init__(self) -> None:
        self._datasets: dict[str, Dataset] = {}
        self._watched = WatchedViewCache()

    def dataset(self, state: State, environment: Environment) -> Dataset:
        """Return the views of an environment as they are now."""
        name = f"{state.settings.seed}/{environment.id}"
        dataset = self._datasets.get(name)
        if dataset is None:
            dataset = self._datasets[name] = Dataset(name, is_generated=state.settings.data != "watched")
        ended, going = ([], []) if state.settings.data == "generated" else self._watched.views(environment)
        dataset.update(library_of(environment), state.now, ended, going)
        return dataset

    def routes(self, operations: Iterable[Operation]) -> tuple[Route, ...]:
        """Return the operations as routes that take their views from here."""
        return tuple(Route(method, template, self._handler(handler)) for method, template, handler in operations)

    def _handler(self, handler: DataHandler) -> Handler:
        def handle(call: ApiCall) -> Response:
            return handler(DataRequest(call, self.dataset(call.state, call.environment), Parameters(call.request)))

        return handle
