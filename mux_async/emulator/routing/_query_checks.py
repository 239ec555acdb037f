"""Validation of query strings against the API description: a 400 names the parameter that has a wrong type or an unknown value.

Values that Mux clamps or ignores (a page size above the maximum, an empty value) pass; handlers check the rest.
"""

from __future__ import annotations

from urllib.parse import parse_qsl

import attrs

from mux_async.emulator.http._messages import Response, invalid
from mux_async.emulator.routing._router import ApiCall, Route
from mux_async.emulator.validation._spec import load
from mux_async.emulator.validation._validation import lenient_validator


def checked(route: Route) -> Route:
    """Return a route that checks the query before it answers. The description is read when there is a query to check."""

    def answer(call: ApiCall) -> Response:
        query = call.request.target.partition("?")[2]
        operation = load().operation(route.method, route.template) if query else None
        if operation is not None:
            pairs = parse_qsl(query, keep_blank_values=True)
            problems = lenient_validator().query_problems(operation, pairs)
            if problems:
                raise invalid(*problems)
        return route.handler(call)

    return attrs.evolve(route, handler=answer)
