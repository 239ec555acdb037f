"""The way of a request is short enough to be followed."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

import mux_async
from mux_async import Mux

MOST_CALLS = 35
MOST_FILES = 10
PACKAGES = tuple(
    str(folder)
    for folder in (
        Path(mux_async.__file__).parent,
        *(Path(mux_async.__file__).parent.parent / "transports").glob("mux_async_*"),
    )
)
BODY = json.dumps({"data": {"id": "a", "status": "ready"}}).encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


@contextmanager
def counted() -> Generator[list[FrameType]]:
    """Collect the frames of the package that are entered in the block, each once, however often it is resumed."""
    frames: list[FrameType] = []
    seen: set[int] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGES) and id(frame) not in seen:
            seen.add(id(frame))
            frames.append(frame)  # held, so that no other frame gets its id

    sys.setprofile(note)
    try:
        yield frames
    finally:
        sys.setprofile(None)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ANSWER)
    except asyncio.IncompleteReadError:
        writer.close()


@pytest.mark.asyncio
async def test_a_get_that_goes_well() -> None:
    """A GET over the default transport passes at most 35 calls in 10 files of ours."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, Mux(token_id="id", token_secret="secret", base_url=url) as mux:
        await mux.video.assets.retrieve("a")
        with counted() as frames:
            await mux.video.assets.retrieve("a")

    calls = [f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_qualname}" for frame in frames]
    assert calls, "nothing was counted"
    assert len(calls) <= MOST_CALLS, calls
    files = {frame.f_code.co_filename for frame in frames}
    assert len(files) <= MOST_FILES, sorted(files)
