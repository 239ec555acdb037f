"""Tracebacks without local variables: what an error shows of the frames it came through.

Error trackers, ``rich`` and ``traceback.TracebackException(capture_locals=True)`` print the locals of every frame of a traceback. Frames of
this package, and of the libraries it hands requests to, hold credentials, signed URLs and keys. Wrapping each of them would cost every
request; clearing frames costs only those that fail. So each public function that is given a secret, or may send one, is a *boundary*: it
clears what the error went through below it, and holds no locals itself by then. Files, lines and messages stay as they are.

Three rules:

1. Frames of the caller are not touched, those of a callback or of a body generator included.
2. Only frames that have ended are cleared. One that waits would be closed by it, up to Python 3.12.
3. Causes, contexts and the members of exception groups are cleared like the error itself.
"""

from __future__ import annotations

import gc
import inspect
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

if TYPE_CHECKING:
    from types import FrameType

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound=type)

_LIBRARIES: Final = sys.stdlib_module_names | {
    "aiohttp", "anyio", "attr", "cryptography", "fsspec", "h11", "httpcore", "httpcore2", "httpx", "httpx2",
    "jwt", "msgspec", "multidict", "orjson", "redis", "trio", "yarl",
}  # fmt: skip
"""Packages, besides our own, that are handed secrets: by a request, a key, a password."""
_GENERATED: Final = "<attrs generated"
"""How the file names of methods begin that attrs writes. Those have no module."""
_MUST_FIND_OUT: Final = sys.version_info < (3, 13)
"""Later releases refuse to clear a frame that waits."""


def clear_locals(error: BaseException) -> None:
    """Clear the local variables of the frames that *error* came through, as far as they are ours or a library's and have ended.

    For adapters to HTTP libraries: call it where ``send`` ends in an error, ``del`` what that frame itself holds of the request, and raise.
    """
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        found = pending.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        entry = found.__traceback__
        while entry is not None:
            if _is_private(entry.tb_frame):
                _clear(entry.tb_frame)
            entry = entry.tb_next
        pending += [found.__cause__, found.__context__]
        if isinstance(found, BaseExceptionGroup):
            pending += cast("BaseExceptionGroup[BaseException]", found).exceptions


def _is_private(frame: FrameType) -> bool:
    if frame.f_code.co_filename.startswith(_GENERATED):
        return True
    package: str = frame.f_globals.get("__name__", "").partition(".")[0]
    return package.startswith("mux_async") or package in _LIBRARIES


def _clear(frame: FrameType) -> None:
    # The garbage collector sees what a frame holds once it has ended: its code is then among it.
    if _MUST_FIND_OUT and all(held is not frame.f_code for held in gc.get_referents(frame)):
        return
    with suppress(RuntimeError):  # it runs, or waits
        frame.clear()


def hides_locals(function: Callable[P, T]) -> Callable[P, T]:
    """Make *function*, which may be asynchronous or yield asynchronously, a boundary: its errors show no locals, nor its arguments."""
    if inspect.isasyncgenfunction(function):
        yielding = cast("Callable[..., AsyncGenerator[Any, None]]", function)

        @wraps(yielding)
        async def generate(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
            items: Any = yielding(*args, **kwargs)
            item: Any = None
            try:
                async with aclosing(items):
                    async for item in items:
                        yield item
            except BaseException as error:
                del args, kwargs, items, item
                clear_locals(error)
                raise

        return cast("Callable[P, T]", generate)

    if inspect.iscoroutinefunction(function):
        awaited = cast("Callable[..., Awaitable[Any]]", function)

        @wraps(awaited)
        async def run(*args: Any, **kwargs: Any) -> Any:
            try:
                return await awaited(*args, **kwargs)
            except BaseException as error:
                del args, kwargs
                clear_locals(error)
                raise

        return cast("Callable[P, T]", run)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            del args, kwargs
            clear_locals(error)
            raise

    return call


def hides_arguments(cls: C) -> C:
    """Make the constructor of *cls* a boundary. For values that are made with secrets."""
    constructor: Any = vars(cls)["__init__"]
    setattr(cls, "__init__", hides_locals(constructor))  # noqa: B010 - type checkers do not let a constructor be replaced
    return cls


def hides_methods(cls: C) -> C:
    """Make the constructor of *cls*, and every public method that it defines, a boundary. For classes that are handed secrets."""
    for name, member in list(vars(cls).items()):
        if name.startswith("_") and name != "__init__":
            continue
        if inspect.isfunction(member):
            setattr(cls, name, hides_locals(member))
        elif isinstance(member, classmethod):
            setattr(cls, name, classmethod(hides_locals(cast("Any", member).__func__)))
    return cls


def single_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error of a task group, without the groups around it: tasks that share a cause fail together."""
    first = group.exceptions[0]
    return single_error(cast("BaseExceptionGroup[BaseException]", first)) if isinstance(first, BaseExceptionGroup) else first
