"""The router: it finds the handler for a method and a path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar
from urllib.parse import parse_qsl

import attrs

from mux_async.emulator.http._messages import Request, Response, failed, invalid, not_found
from mux_async.emulator.state._ids import is_well_formed
from mux_async.emulator.state._state import Asset, Environment, Json, LiveStream, State
from mux_async.emulator.validation._spec import load
from mux_async.emulator.validation._validation import Schema, lenient_validator, validated, whole_parameter


class _HasId(Protocol):
    @property
    def id(self) -> str | None: ...


T = TypeVar("T")
P = TypeVar("P", bound=_HasId)
DEFAULT_LIMIT = 25
MAX_LIMIT = 100


@attrs.frozen
class ApiCall:
    """One API request for a handler: the request, its path parameters, the state and the caller's environment."""

    request: Request
    body: bytes
    params: Mapping[str, str]
    state: State
    environment: Environment

    @property
    def asset(self) -> Asset:
        """The asset that the path names."""
        return self.environment.asset(self.params["ASSET_ID"])

    @property
    def ready_asset(self) -> Asset:
        """The same; one that is not ready is an `ApiError` (412)."""
        if self.asset.status != "ready":
            raise failed("Asset is not ready")
        return self.asset

    @property
    def live_stream(self) -> LiveStream:
        """The live stream that the path names."""
        return self.environment.live_stream(self.params["LIVE_STREAM_ID"])

    def part(self, parts: Iterable[P], name: str) -> P:
        """Return the part of an object whose id is the path's parameter *name*. Raises `ApiError` (400 or 404)."""
        wanted = self.params[name]
        if not is_well_formed(wanted):
            raise invalid("Failed to parse ID")
        found = take(parts, lambda part: part.id == wanted)
        if found is None:
            raise not_found()
        return found

    def json(self, schema: Schema) -> Json:
        """Decode and check the body. Raises `ApiError` (400)."""
        return validated(self.body, schema)

    def page(self, items: Sequence[T], *, default: int = DEFAULT_LIMIT, most: int = MAX_LIMIT) -> list[T]:
        """Return the requested page of *items*; it is empty past the end. Raises `ApiError` (400)."""
        number = whole_parameter(self.request.query, "page", 1)
        limit = self.limit(default, most)
        return list(items[(number - 1) * limit : number * limit])

    def limit(self, default: int = DEFAULT_LIMIT, most: int = MAX_LIMIT) -> int:
        """Items per page; more than the maximum counts as the maximum (facts/BEHAVIOUR.md, section 12, question 10)."""
        return min(most, whole_parameter(self.request.query, "limit", default))


Handler: TypeAlias = Callable[[ApiCall], Response]


@attrs.frozen
class Route:
    """An operation that the emulator serves: verb, path with ``{NAME}`` for parameters, and handler."""

    method: str
    template: str
    handler: Handler

    @property
    def parts(self) -> tuple[str, ...]:
        """The path's parts."""
        return tuple(self.template.strip("/").split("/"))


def checked(route: Route) -> Route:
    """Return a route that validates the query against the API description before it answers.

    Values that Mux clamps or ignores (a page size above the maximum, an empty value) pass; handlers check the rest.
    """

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


class Router:
    """Finds routes. Literal parts win over parameters because the more literal route is tried first."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes: dict[tuple[str, int], list[tuple[tuple[str, ...], Route]]] = {}
        for route in routes:
            parts = route.parts
            self._routes.setdefault((route.method, len(parts)), []).append((parts, route))
        for group in self._routes.values():
            group.sort(key=lambda entry: sum(part.startswith("{") for part in entry[0]))

    @property
    def routes(self) -> tuple[Route, ...]:
        """All routes, in no particular order."""
        return tuple(route for group in self._routes.values() for _, route in group)

    def find(self, method: str, segments: Sequence[str]) -> tuple[Handler, dict[str, str]] | None:
        """Return the handler and the path's parameters; ``None`` if no route matches."""
        for parts, route in self._routes.get((method, len(segments)), ()):
            params: dict[str, str] = {}
            for part, segment in zip(parts, segments, strict=True):
                if part[0] == "{" and segment:
                    params[part[1:-1]] = segment
                elif part != segment:
                    break
            else:
                return route.handler, params
        return None


def take(found: Iterable[T], matches: Callable[[T], bool]) -> T | None:
    """Return the first that matches."""
    return next((element for element in found if matches(element)), None)


def check_choice(value: Any, allowed: Sequence[str], name: str) -> None:
    """Refuse a query parameter that is not one of *allowed*. Raises `ApiError` (400)."""
    if value is not None and value not in allowed:
        raise invalid(f"{name} must be one of {', '.join(allowed)}")
