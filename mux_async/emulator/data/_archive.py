"""The views of every environment of one emulator, and what asks for them.

Views are made from the seed, so this is a cache and not state: nothing is lost when it is thrown away.
"""

from __future__ import annotations

from collections.abc import Iterable

from mux_async.emulator.data._dataset import Dataset
from mux_async.emulator.data._library import library_of
from mux_async.emulator.data._query import Parameters
from mux_async.emulator.data._request import Answerer, Operation, Question
from mux_async.emulator.http._messages import Response
from mux_async.emulator.routing._router import Call, Handler, Route
from mux_async.emulator.state._state import Environment, World


class Archive:
    """Datasets by environment."""

    def __init__(self) -> None:
        self._datasets: dict[str, Dataset] = {}

    def dataset(self, world: World, environment: Environment) -> Dataset:
        """Return the views of an environment as they are now."""
        name = f"{world.settings.seed}/{environment.id}"
        dataset = self._datasets.get(name)
        if dataset is None:
            dataset = self._datasets[name] = Dataset(name)
        dataset.look(library_of(environment), world.now)
        return dataset

    def routes(self, operations: Iterable[Operation]) -> tuple[Route, ...]:
        """Return the operations as routes that look up their views here."""
        return tuple(Route(method, template, self._handler(answerer)) for method, template, answerer in operations)

    def _handler(self, answerer: Answerer) -> Handler:
        def handle(call: Call) -> Response:
            return answerer(Question(call, self.dataset(call.world, call.environment), Parameters(call.request)))

        return handle
