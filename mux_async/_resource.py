"""What the generated resource classes are made of: they name an operation and its arguments, and hand both on.

A `Resource` knows nothing about HTTP; its `Caller` does (`mux_async._engine`). Generated methods contain one call to `_call`,
`_list` or `_download` and no decision.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast

import attrs

from mux_async._tracebacks import hides_coroutines, hides_locals

if TYPE_CHECKING:
    from typing import Self

    from mux_async._operation import Operation
    from mux_async._options import CallOptions, Once
    from mux_async._pagination import Page, Paginator
    from mux_async._response import Download, RawResponse
    from mux_async.transport import Transport

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E")

_NOTHING: Mapping[str, Any] = {}


# Not frozen, which would make it three times as dear, and each call has one; nobody changes it all the same.
@attrs.define(eq=False, repr=False)
class Arguments:
    """What a user passed to one call, by wire name. ``UNSET`` values are still in it; the wire leaves them out."""

    path: Mapping[str, str] = attrs.field(default=_NOTHING, repr=False)
    query: Mapping[str, object] = attrs.field(default=_NOTHING, repr=False)
    body: Mapping[str, object] | None = attrs.field(default=None, repr=False)
    """JSON members; ``None`` for operations that take no body, so that none is sent."""
    extra_headers: Mapping[str, str] | None = attrs.field(default=None, repr=False)
    extra_query: Mapping[str, object] | None = attrs.field(default=None, repr=False)
    extra_body: Mapping[str, object] | None = attrs.field(default=None, repr=False)
    once: str | Once | None = None
    """The user's key for what is made, to be stamped into the body and looked for when the answer is lost."""
    options: CallOptions | None = None
    """How this one call is made, where that differs from the client's other calls."""


class Caller(Protocol):
    """Who performs calls: a client with its options. The engine is the only implementation, and tests' fakes."""

    @property
    def raw(self) -> Caller:
        """The same caller, whose calls return a `RawResponse` around the value."""
        ...

    @property
    def for_long_work(self) -> Caller:
        """The same caller for work that makes many calls in its own time: without the client's deadline, and with no less than the
        default time limits, attempts and size of answers."""
        ...

    def call(self, operation: Operation[T], arguments: Arguments) -> Coroutine[Any, Any, T]: ...

    def paginate(self, operation: Operation[Page[T, E]], arguments: Arguments) -> Paginator[T, E]: ...

    def download(self, operation: Operation[bytes], arguments: Arguments) -> Download: ...

    def local(self, make: Callable[[Caller], T]) -> T:
        """Return what *make* made for this client in the running event loop; it is called on first use.

        For state that calls of one client share, such as the sweep behind many waits. *make* itself is the key.
        """
        ...

    def transport(self) -> Transport:
        """Return the transport of the running event loop, opened on first use. For hosts other than the API's: no
        credentials, limits or retries are added to what is sent over it."""
        ...


class Resource:
    """A group of operations. Cheap to make: it holds its caller and nothing else."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        hides_coroutines(cls)

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
        once: str | Once | None = None,
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
