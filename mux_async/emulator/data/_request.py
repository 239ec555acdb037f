"""One request to the Data API with everything that its response is computed from, and the envelope of responses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs

from mux_async.emulator.data._dataset import Dataset
from mux_async.emulator.data._filters import Test, select
from mux_async.emulator.data._query import Parameters, Timeframe
from mux_async.emulator.data._views import View
from mux_async.emulator.http._messages import Response, invalid, json_response
from mux_async.emulator.routing._router import ApiCall


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

    def views(self, timeframe: Timeframe, tests: Sequence[Test]) -> list[View]:
        """Return the views that ended in the period and pass the tests, oldest first."""
        return select(self.dataset.ended(*timeframe.milliseconds), tests)

    def path_choice(self, name: str, allowed: Sequence[str], what: str) -> str:
        """Return a parameter of the path that must be one of *allowed*; *what* names it for people. Raises `ApiError` (400)."""
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
