"""What the generated resource classes are made of. A method names an operation and its arguments; everything else happens below.

A `Resource` knows nothing about HTTP. Its `Caller` is the engine with the options of one client (`mux_async._engine`). A generated method
contains one call of `Resource._call`, `_list` or `_download`, and no decision.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import attrs

from mux_async._arguments import Arguments
from mux_async._options import CallOptions
from mux_async._pagination import Page, Paginator, check_page
from mux_async._response import ByteStream, Download
from mux_async._tracebacks import clear_locals, hides_locals
from mux_async.errors import InvalidRequestError

if TYPE_CHECKING:
    from typing import Self

    from mux_async._engine import Engine
    from mux_async._idempotency.key import IdempotencyKey
    from mux_async._operation import Operation
    from mux_async._options import EffectiveOptions
    from mux_async._response import RawResponse
    from mux_async.transport import Transport

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E")

_NOTHING: Mapping[str, Any] = {}


class Caller:
    """The engine, with the options of one client, which every resource holds. A *raw* one returns a `RawResponse` around each value."""

    __slots__ = ("_is_raw", "engine", "options")

    def __init__(self, engine: Engine, options: EffectiveOptions, *, is_raw: bool = False) -> None:
        self.engine: Engine = engine
        self.options: EffectiveOptions = options
        self._is_raw = is_raw

    @property
    def raw(self) -> Caller:
        """The same, returning `RawResponse`."""
        return Caller(self.engine, self.options, is_raw=True)

    @property
    def for_long_work(self) -> Caller:
        """The same, for work that makes many calls in its own time. See `EffectiveOptions.for_long_work`."""
        return Caller(self.engine, self.options.for_long_work(), is_raw=self._is_raw)

    def call(self, operation: Operation[T], arguments: Arguments) -> Coroutine[Any, Any, T]:
        """Perform a call to its end. Resources hide the locals of what fails below them (`_hides_coroutines`)."""
        if self._is_raw:
            return self._call_raw(operation, arguments)
        options = self.options if arguments.options is None else self.options_of(arguments)
        return self.engine.call(operation, arguments, options)

    async def _call_raw(self, operation: Operation[T], arguments: Arguments) -> T:
        value, answer = await self.engine.call(operation, arguments, self.options_of(arguments), with_answer=True)
        return cast("T", answer.as_raw(value))  # `returns_raw` tells type checkers

    def paginate(self, operation: Operation[Page[T, E]], arguments: Arguments) -> Paginator[T, E]:
        """Return the list. Nothing is sent before it is awaited or iterated."""
        cursor = (arguments.extra_query or {}).get("cursor", arguments.query.get("cursor"))
        return Paginator(partial(self._fetch, operation, arguments), operation.line, cursor)

    @hides_locals
    async def _fetch(self, operation: Operation[Page[T, E]], arguments: Arguments, update: Mapping[str, object]) -> Page[T, E]:
        extra = {**(arguments.extra_query or {}), **update}
        check_page(operation.pagination, extra if "page" in extra else arguments.query)
        return await self.call(operation, attrs.evolve(arguments, extra_query=extra))

    def download(self, operation: Operation[bytes], arguments: Arguments) -> Download:
        """Return the download. Nothing is sent before it is awaited or streamed."""

        def open_stream() -> AbstractAsyncContextManager[ByteStream]:
            return self.engine.stream(operation, arguments, self.options_of(arguments))

        return Download(partial(self._download, operation, arguments), open_stream)

    @hides_locals
    async def _download(self, operation: Operation[bytes], arguments: Arguments) -> bytes:
        return await self.call(operation, arguments)

    def options_of(self, arguments: Arguments) -> EffectiveOptions:
        """Return the options of one call. Refuse ``options`` that are not a `CallOptions`."""
        options = arguments.options
        if options is None:
            return self.options
        if not isinstance(cast("object", options), CallOptions):
            raise InvalidRequestError(f"options is of type {type(options).__name__}; it must be a CallOptions, or None")
        return self.options.merged(options)

    def local(self, make: Callable[[Caller], T]) -> T:
        """Return what *make* made for this client in the running event loop; it is called on first use.

        For state that calls of one client share, such as the poller behind many waits. *make* itself is the key.
        """
        values = self.engine.here().local
        if make not in values:
            values[make] = make(self)
        return cast("T", values[make])

    def transport(self) -> Transport:
        """Return the transport of the running event loop, opened on first use. For hosts other than the API's: no credentials, limits or
        retries are added to what is sent over it."""
        return self.engine.here().transport


class Resource:
    """A group of operations. Cheap to make: it holds its caller and nothing else."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _hides_coroutines(cls)

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    if not TYPE_CHECKING:  # a type checker would believe in every misspelt name

        def __getattr__(self, name: str) -> object:
            from mux_async._names import attribute

            return attribute(self, name)

    def _raw(self) -> Self:
        return type(self)(self._caller.raw)

    def _call(
        self,
        operation: Operation[T],
        *,
        path: Mapping[str, str] = _NOTHING,
        query: Mapping[str, object] = _NOTHING,
        body: Mapping[str, object] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
        extra_body: Mapping[str, object] | None = None,
        once: str | IdempotencyKey | None = None,
        options: CallOptions | None = None,
    ) -> Coroutine[Any, Any, T]:
        return self._caller.call(operation, Arguments(path, query, body, extra_headers, extra_query, extra_body, once, options))

    def _list(
        self,
        operation: Operation[Page[T, E]],
        *,
        path: Mapping[str, str] = _NOTHING,
        query: Mapping[str, object] = _NOTHING,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
        options: CallOptions | None = None,
    ) -> Paginator[T, E]:
        return self._caller.paginate(operation, Arguments(path, query, None, extra_headers, extra_query, options=options))

    def _download(
        self,
        operation: Operation[bytes],
        *,
        path: Mapping[str, str] = _NOTHING,
        query: Mapping[str, object] = _NOTHING,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
        options: CallOptions | None = None,
    ) -> Download:
        return self._caller.download(operation, Arguments(path, query, None, extra_headers, extra_query, options=options))


def _hides_coroutines(cls: type) -> None:
    """Make every coroutine function that *cls* itself defines a boundary: its errors show no locals, nor its arguments.

    As `hides_locals`, written here because a request passes it.
    """
    for name, member in list(vars(cls).items()):
        if inspect.iscoroutinefunction(member):
            setattr(cls, name, _hides_locals(member))


def _hides_locals(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return await method(*args, **kwargs)
        except BaseException as error:
            del args, kwargs
            clear_locals(error)
            raise

    return call


def takes_older_name(name: str, older: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let a method that needs the argument *name* be called with its *older* name alone, which Mux has deprecated."""

    def wrap(method: Callable[P, T]) -> Callable[P, T]:
        method = hides_locals(method)  # what wraps it is no coroutine function, so that the class would leave it out

        @wraps(method)
        def call(*args: P.args, **arguments: P.kwargs) -> T:
            if older in arguments and name not in arguments:
                from mux_async._misspelt import warn
                from mux_async.errors import DeprecatedArgumentWarning

                arguments[name] = arguments.pop(older)
                warn(f"{older}= is deprecated, and its value was taken for {name}=; use that", DeprecatedArgumentWarning)
            return method(*args, **arguments)

        return call

    return wrap


def returns_raw(method: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[RawResponse[T]]]:
    """Say to type checkers that *method*, bound to a raw caller, returns a `RawResponse`. Does nothing at run time."""
    return cast("Callable[P, Awaitable[RawResponse[T]]]", method)
