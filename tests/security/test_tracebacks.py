"""Which frames are cleared, and which are left as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

import pytest

from mux_async._tracebacks import clear_locals, hides_locals


def ours(source: str) -> dict[str, Any]:
    """Return what *source* defines as a module of the package would."""
    names: dict[str, Any] = {"__name__": "mux_async.made_up", "hides_locals": hides_locals}
    exec(source, names)
    return names


def frames(error: BaseException) -> list[FrameType]:
    found, trace = list[FrameType](), error.__traceback__
    while trace is not None:
        found.append(trace.tb_frame)
        trace = trace.tb_next
    return found


FAILS = """
def fails(secret):
    raise ValueError("it fails")
"""


def test_locals_are_gone_and_lines_stay() -> None:
    """A boundary leaves no local of ours, its own arguments included; the lines that the error passed through are still shown."""
    names = ours(FAILS + "@hides_locals\ndef boundary(secret):\n    own = secret\n    fails(own)\n")

    with pytest.raises(ValueError, match="it fails") as caught:
        names["boundary"]("canary")

    _, *inside = frames(caught.value)
    assert [frame.f_code.co_name for frame in inside] == ["call", "boundary", "fails"]
    assert all("canary" not in repr(frame.f_locals) for frame in inside)
    assert [dict(frame.f_locals) for frame in inside[1:]] == [{}, {}]


def test_causes_and_groups() -> None:
    """Causes, contexts and members of groups are cleared as well, however they are nested."""
    names = ours(FAILS)

    def failure() -> Exception:
        try:
            names["fails"]("canary")
        except ValueError as error:
            return error
        raise AssertionError

    inner, outer, context = failure(), failure(), failure()
    inner.__cause__, inner.__context__ = outer, context
    outer.__cause__ = inner  # a circle ends
    clear_locals(ExceptionGroup("several", [inner]))

    for error in (inner, outer, context):
        assert frames(error)[-1].f_locals == {}


def test_frames_that_wait_are_left() -> None:
    """A coroutine that caught an error and waits goes on if the same error is raised elsewhere."""
    names = ours(
        FAILS
        + """
async def keeps(box, gate, secret):
    try:
        fails(secret)
    except ValueError as error:
        box.append(error)
    await gate.wait()
    return secret


@hides_locals
async def told(box):
    raise box[0]
"""
    )
    keeps: Callable[..., Awaitable[str]] = names["keeps"]

    async def main() -> str:
        box, gate = list[BaseException](), asyncio.Event()
        task = asyncio.ensure_future(keeps(box, gate, "kept"))
        await asyncio.sleep(0)
        with pytest.raises(ValueError, match="it fails"):
            await names["told"](box)
        gate.set()
        return await task

    assert asyncio.run(main()) == "kept"


def test_signature_stays() -> None:
    """A boundary looks like what it stands for: a coroutine function is one, and the signature is that of the function."""
    import inspect

    async def function(a: int, *, b: str = "") -> None:
        """Say so."""

    made = hides_locals(function)

    assert inspect.iscoroutinefunction(made)
    assert inspect.signature(made) == inspect.signature(function)
    assert made.__doc__ == "Say so."
