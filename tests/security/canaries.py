"""Secrets that are easy to recognise, and everything that can show them: what trackers, terminals and pickles make of an error."""

from __future__ import annotations

import json
import pickle
import traceback
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from types import FrameType, TracebackType
from typing import Any, Final, cast

from rich.traceback import Traceback

CANARIES: Final[Mapping[str, str]] = {
    "token secret": "CANARYtokensecret4711",
    "header": "CANARYheader4711",
    "private key": "CANARYprivatekey4711",
    "webhook secret": "CANARYwebhook4711",
    "stream key": "CANARYstreamkey4711",
    "upload URL": "CANARYupload4711",
    "input URL": "CANARYinput4711",
    "token": "CANARYjwt4711",
    "proxy password": "CANARYproxy4711",
    "database password": "CANARYredis4711",
}
TOKEN_ID: Final = "token-id"
BASIC: Final = b64encode(f"{TOKEN_ID}:{CANARIES['token secret']}".encode()).decode()
"""What the header of HTTP Basic holds, which shows the secret to anybody who decodes it."""
_MARKS: Final = ("CANARY", BASIC, BASIC[-24:-4])
_DEPTH: Final = 7


def leaks(text: str | bytes) -> list[str]:
    """Return what of a secret stands in *text*, with what is around it."""
    shown = text.decode("latin-1") if isinstance(text, bytes) else text
    return [shown[max(0, at - 120) : at + 40] for mark in _MARKS if (at := shown.find(mark)) >= 0]


def leaks_of(error: BaseException) -> list[str]:
    """Return every place where an error tracker, rich, the standard library or a log line would show a secret.

    Frames at the beginning of the traceback that are a test's own are left out: those hold what the test made up.
    """
    error = error.with_traceback(_from_ours(error.__traceback__))
    found = [f"str: {each}" for each in leaks(f"{error}\n{error!r}\n{getattr(error, '__notes__', '')}")]
    standard = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    found += [f"traceback: {each}" for each in leaks(standard)]
    found += [f"rich: {each}" for each in leaks(_rich(error))]
    for frame in _frames(error, set()):
        for name, value in _items(frame.f_locals):
            for path, text in _walk(value, name, _DEPTH, set()):
                found += [f"{frame.f_code.co_qualname}: {path}: {each}" for each in leaks(text)]
    return found


def is_pickled_without(error: BaseException) -> bool:
    """Whether what another process would get of *error* holds no secret."""
    return not leaks(pickle.dumps(error))


def _from_ours(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and not _is_ours(trace.tb_frame):
        trace = trace.tb_next
    return trace


def _is_ours(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__", "").startswith("mux_async") or "mux_async" in frame.f_code.co_filename


def _rich(error: BaseException) -> str:
    """Return what rich would print as locals: not printed, because it colours whole files for that."""
    trace = Traceback.extract(
        type(error), error, error.__traceback__, show_locals=True, locals_max_length=1000, locals_max_string=100_000
    )
    return "\n".join(
        f"{name} = {node}" for stack in trace.stacks for frame in stack.frames for name, node in (frame.locals or {}).items()
    )


def _frames(error: BaseException, seen: set[int]) -> Iterator[FrameType]:
    """Yield our frames of *error* and of all that it came from."""
    if id(error) in seen:
        return
    seen.add(id(error))
    trace = error.__traceback__
    while trace is not None:
        if _is_ours(trace.tb_frame):
            yield trace.tb_frame
        trace = trace.tb_next
    inner: tuple[BaseException, ...] = ()
    if isinstance(error, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", error).exceptions
    for each in (error.__cause__, error.__context__, *inner):
        if each is not None:
            yield from _frames(each, seen)


def _items(mapping: Mapping[Any, Any]) -> list[tuple[str, Any]]:
    return [(str(name), value) for name, value in list(mapping.items())]


def _walk(value: object, path: str, depth: int, seen: set[int]) -> Iterator[tuple[str, str]]:
    """Yield what a serialiser makes of *value*: its repr, then its members, by mapping, sequence, attribute and slot."""
    if id(value) in seen or depth < 0:
        return
    seen.add(id(value))
    yield path, value.decode("latin-1") if isinstance(value, bytes) else repr(value)
    if isinstance(value, str | bytes | int | float | type):
        return
    if isinstance(value, Mapping):
        for name, member in _items(cast("Any", value)):
            yield from _walk(member, f"{path}[{name}]", depth - 1, seen)
        return
    if isinstance(value, list | tuple | set | frozenset):
        for number, member in enumerate(cast("Iterable[object]", value)):
            yield from _walk(member, f"{path}[{number}]", depth - 1, seen)
        return
    if callable(value) and hasattr(value, "__code__"):
        return
    for name, member in _items(getattr(value, "__dict__", {})):
        yield from _walk(member, f"{path}.{name}", depth - 1, seen)
    kind: type = value.__class__
    for cls in kind.__mro__:
        slots: object = vars(cls).get("__slots__", ())
        for slot in [slots] if isinstance(slots, str) else cast("Iterable[str]", slots):
            name = f"_{cls.__name__.lstrip('_')}{slot}" if slot.startswith("__") and not slot.endswith("__") else slot
            member = getattr(value, name, None)
            if member is not None:
                yield from _walk(member, f"{path}.{name}", depth - 1, seen)


def as_json(value: object) -> bytes:
    """Return *value* as a server would send it."""
    return json.dumps(value).encode()
