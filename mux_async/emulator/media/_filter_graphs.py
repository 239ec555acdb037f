"""FFmpeg filter graphs, written as text and fed one frame after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from av.filter import Graph
from av.video.frame import VideoFrame

TURNS = {0: (), 90: (("transpose", "clock"),), 180: (("hflip", ""), ("vflip", "")), 270: (("transpose", "cclock"),)}
"""Filters that turn pictures clockwise, by degrees."""

Filters = Sequence[tuple[str, str]]
"""Names and arguments, in order."""


class Chain:
    """Filters in a row. When frames change their size or format, the chain begins anew."""

    def __init__(self, filters: Filters) -> None:
        self._filters = filters
        self._graph: Graph | None = None
        self._kind: object = None

    def push(self, frame: VideoFrame) -> Iterator[VideoFrame]:
        """Feed a frame, and yield those that are ready."""
        kind = (frame.width, frame.height, frame.format.name)
        if self._graph is None or kind != self._kind:
            yield from self.finish()
            self._graph, self._kind = self._build(frame), kind
        self._graph.vpush(frame)
        yield from pulled(self._graph)

    def finish(self) -> Iterator[VideoFrame]:
        """Yield the remaining frames."""
        graph, self._graph = self._graph, None
        if graph is not None:
            graph.vpush(None)
            yield from pulled(graph)

    def _build(self, frame: VideoFrame) -> Graph:
        graph = Graph()
        source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
        nodes = [source, *(graph.add(name, arguments) for name, arguments in self._filters), graph.add("buffersink")]
        graph.link_nodes(*nodes).configure()
        return graph


def pulled(graph: Graph) -> Iterator[VideoFrame]:
    """Yield the frames that a graph has ready."""
    with suppress(BlockingIOError, EOFError):  # PyAV's errors are subclasses of these
        while True:
            yield graph.vpull()
