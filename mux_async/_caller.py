"""What stands between the resources and the engine: the engine, with the options of one client."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs

from mux_async._options import CallOptions
from mux_async._pagination import Page, Paginator, check_page
from mux_async._response import ByteStream, Download
from mux_async._tracebacks import hides_locals
from mux_async.errors import InvalidRequestError

if TYPE_CHECKING:
    from mux_async._engine import Engine
    from mux_async._operation import Operation
    from mux_async._options import EffectiveOptions
    from mux_async._resource import Arguments, Caller
    from mux_async.transport import Transport

T = TypeVar("T")
E = TypeVar("E")


class EngineCaller:
    """An engine with options: the `Caller` behind resources.

    Args:
        engine: Performs the calls.
        options: For each of them.
        is_raw: Whether calls return a `RawResponse` around the value.
    """

    __slots__ = ("_is_raw", "engine", "options")

    def __init__(self, engine: Engine, options: EffectiveOptions, *, is_raw: bool = False) -> None:
        self.engine = engine
        self.options = options
        self._is_raw = is_raw

    @property
    def raw(self) -> EngineCaller:
        """The same, returning `RawResponse`."""
        return EngineCaller(self.engine, self.options, is_raw=True)

    @property
    def for_long_work(self) -> EngineCaller:
        """The same, for work that makes many calls in its own time. See `EffectiveOptions.for_long_work`."""
        return EngineCaller(self.engine, self.options.for_long_work(), is_raw=self._is_raw)

    def call(self, operation: Operation[T], arguments: Arguments) -> Coroutine[Any, Any, T]:
        """Perform a call to its end. Resources hide the locals of what fails below them (`hides_coroutines`)."""
        if self._is_raw:
            return self._call_raw(operation, arguments)
        return self.engine.call(operation, arguments, self.options_of(arguments))

    async def _call_raw(self, operation: Operation[T], arguments: Arguments) -> T:
        value, answer = await self.engine.call(operation, arguments, self.options_of(arguments), with_answer=True)
        return cast("T", answer.as_raw(value))  # `returns_raw` tells type checkers

    def paginate(self, operation: Operation[Page[T, E]], arguments: Arguments) -> Paginator[T, E]:
        """Return the list, not yet asked for."""
        cursor = (arguments.extra_query or {}).get("cursor", arguments.query.get("cursor"))
        return Paginator(partial(self._fetch, operation, arguments), operation.line, cursor)

    @hides_locals
    async def _fetch(self, operation: Operation[Page[T, E]], arguments: Arguments, update: Mapping[str, object]) -> Page[T, E]:
        extra = {**(arguments.extra_query or {}), **update}
        check_page(operation.pagination, extra if "page" in extra else arguments.query)
        return await self.call(operation, attrs.evolve(arguments, extra_query=extra))

    def download(self, operation: Operation[bytes], arguments: Arguments) -> Download:
        """Return the bytes, not yet asked for."""

        def open_stream() -> AbstractAsyncContextManager[ByteStream]:
            return self.engine.stream(operation, arguments, self.options_of(arguments))

        return Download(partial(self._download, operation, arguments), open_stream)

    @hides_locals
    async def _download(self, operation: Operation[bytes], arguments: Arguments) -> bytes:
        return await self.call(operation, arguments)

    def options_of(self, arguments: Arguments) -> EffectiveOptions:
        """Return the options of one call.

        Raises:
            InvalidRequestError: Its ``options`` is not a `CallOptions`.
        """
        options = arguments.options
        if options is None:
            return self.options
        if not isinstance(cast("object", options), CallOptions):
            raise InvalidRequestError(f"options is of type {type(options).__name__}; it must be a CallOptions, or None")
        return self.options.merged(options)

    def local(self, make: Callable[[Caller], T]) -> T:
        """Return what *make* made for this client in the running event loop."""
        kept = self.engine.here().local
        if make not in kept:
            kept[make] = make(self)
        return cast("T", kept[make])

    def transport(self) -> Transport:
        """Return the transport of the running event loop."""
        return self.engine.here().transport
