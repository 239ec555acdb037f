"""Routes that many collections have alike: list the objects, retrieve one, delete one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mux_async.emulator.http._messages import Response, data, no_content
from mux_async.emulator.routing._router import DEFAULT_LIMIT, MAX_LIMIT, ApiCall, Route
from mux_async.emulator.state._serialization import present
from mux_async.emulator.state._state import Environment, Json

T = TypeVar("T")
Records = Callable[[Environment], dict[str, T]]


def list_route(
    path: str, records: Records[T], show: Callable[[T], Json] = present, *, limit: int = DEFAULT_LIMIT, most: int = MAX_LIMIT
) -> Route:
    """Return the route that lists *records*, newest first."""

    def answer(call: ApiCall) -> Response:
        newest_first = list(reversed(records(call.environment).values()))
        return data([show(record) for record in call.page(newest_first, default=limit, most=most)])

    return Route("GET", path, answer)


def retrieve_route(path: str, id: str, records: Records[T], show: Callable[[T], Json] = present, *missing: str) -> Route:
    """Return the route that retrieves the record that the path names by *id*; *missing* is the message for an unknown one."""

    def answer(call: ApiCall) -> Response:
        return data(show(call.environment.one(records(call.environment), call.params[id], "Failed to parse ID", *missing)))

    return Route("GET", f"{path}/{{{id}}}", answer)


def delete_route(path: str, id: str, records: Records[T], *missing: str) -> Route:
    """Return the route that deletes a record, likewise."""

    def answer(call: ApiCall) -> Response:
        found = records(call.environment)
        call.environment.one(found, call.params[id], "Failed to parse ID", *missing)
        del found[call.params[id]]
        return no_content()

    return Route("DELETE", f"{path}/{{{id}}}", answer)
