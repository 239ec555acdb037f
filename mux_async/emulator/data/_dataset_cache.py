"""The views of every environment, cached, and the routes of the Data API over them.

Views are generated from the seed, so the cache can be dropped without losing state.
"""

from __future__ import annotations

from collections.abc import Iterable

from mux_async.emulator.data._dataset import Dataset
from mux_async.emulator.data._library import library_of
from mux_async.emulator.data._query import DataHandler, DataRequest, Operation, Parameters
from mux_async.emulator.http._messages import Response
from mux_async.emulator.routing._router import ApiCall, Handler, Route
from mux_async.emulator.state._state import Environment, State


class DatasetCache:
    """Datasets by environment."""

    def __init__(self) -> None:
        self._datasets: dict[str, Dataset] = {}

    def dataset(self, state: State, environment: Environment) -> Dataset:
        """Return the views of an environment as they are now."""
        name = f"{state.settings.seed}/{environment.id}"
        dataset = self._datasets.get(name)
        if dataset is None:
            dataset = self._datasets[name] = Dataset(name)
        dataset.update(library_of(environment), state.now)
        return dataset

    def routes(self, operations: Iterable[Operation]) -> tuple[Route, ...]:
        """Return the operations as routes that take their views from here."""
        return tuple(Route(method, template, self._handler(handler)) for method, template, handler in operations)

    def _handler(self, handler: DataHandler) -> Handler:
        def handle(call: ApiCall) -> Response:
            return handler(DataRequest(call, self.dataset(call.state, call.environment), Parameters(call.request)))

        return handle
