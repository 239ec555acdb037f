"""Images of a media file: thumbnails, storyboards and animated images (facts/BEHAVIOUR.md, section 9.3)."""

# PyAV leaves the parameter of Packet open in its own signatures.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.codec import CodecContext
from av.container import InputContainer
from av.filter import Graph
from av.video import VideoStream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from mux_async.emulator.media._filter_graphs import TURNS, Chain, pulled
from mux_async.emulator.media._transcoding import decoded, readable

_CODECS = {"jpg": ("mjpeg", "yuvj420p"), "jpeg": ("mjpeg", "yuvj420p"), "png": ("png", "rgb24"), "webp": ("libwebp", "yuv420p")}
"""Encoders and their formats, by extension."""
_CLOSE = 12.0
"""Seconds between pictures below which it is quicker to decode everything in between than to seek."""


def frames(container: InputContainer, video: VideoStream, begin: float) -> Iterator[VideoFrame]:
    """Yield frames from the last whole picture before *begin* (seconds)."""
    if begin > 0:
        container.seek(int(begin * av.time_base), backward=True)
    for packet in readable(container, [video]):
        for frame in decoded(packet):
            if frame.pts is not None:
                yield frame


def pictures_at(container: InputContainer, video: VideoStream, times: Sequence[float]) -> Iterator[VideoFrame]:
    """Yield the frame that is shown at each of *times*, which grow; beyond the end, the last one. Raises `LookupError` without frames."""
    video.thread_type = "AUTO"
    shown: VideoFrame | None = None
    upcoming = frames(container, video, times[0])
    ahead = next(upcoming, None)
    for time in times:
        if ahead is not None and time - ahead.time > _CLOSE:
            upcoming = frames(container, video, time)
            shown, ahead = None, next(upcoming, ahead)
        while ahead is not None and (shown is None or ahead.time <= time + 0.001):
            shown, ahead = ahead, next(upcoming, None)
        if shown is None:
            raise LookupError("the media file has no video frames")
        yield shown


def _through(chain: Chain, frame: VideoFrame) -> VideoFrame:
    made = [*chain.push(frame), *chain.finish()]
    return made[-1]


def _write(frame: VideoFrame, extension: str, out: str) -> None:
    name, pixels = _CODECS[extension]
    encoder = CodecContext.create(name, "w")
    assert isinstance(encoder, VideoCodecContext)  # noqa: S101 - `_CODECS` are such
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, pixels
    encoder.time_base = Fraction(1, 25)
    frame = frame.reformat(format=pixels)
    frame.pts, frame.time_base = 0, encoder.time_base
    Path(out).write_bytes(b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)]))


def still(media_file: str, out: str, order: Mapping[str, Any]) -> None:
    """Make an image, as `mux_async.emulator.media._backend.Still` describes it."""
    filters = [*TURNS[order["rotate"]]]
    filters += [(name, "") for name, wanted in (("hflip", order["flip_h"]), ("vflip", order["flip_v"])) if wanted]
    box = f"{order['width']}:{order['height']}"
    match order["fit_mode"]:
        case "crop" | "smartcrop":
            filters += [("scale", f"{box}:force_original_aspect_ratio=increase"), ("crop", box)]
        case "pad":
            filters += [("scale", f"{box}:force_original_aspect_ratio=decrease"), ("pad", f"{box}:(ow-iw)/2:(oh-ih)/2")]
        case _:
            filters.append(("scale", box))
    # Full colour in between: half-resolution colour could not be cropped or padded to odd sizes.
    chain = Chain([("format", "rgb24"), *filters])
    with av.open(media_file) as container:
        frame = next(pictures_at(container, container.streams.video[0], [order["time"]]))
        _write(_through(chain, frame), order["extension"], out)


def storyboard(media_file: str, out: str, order: Mapping[str, Any]) -> None:
    """Make a storyboard, as `mux_async.emulator.media._backend.Storyboard` describes it."""
    times, columns = order["times"], order["columns"]
    small = Chain([("scale", f"{order['width']}:{order['height']}"), ("format", "rgb24")])
    rows = Chain([("tile", f"{columns}x{-(-len(times) // columns)}")])
    with av.open(media_file) as container:
        made: list[VideoFrame] = []
        for number, frame in enumerate(pictures_at(container, container.streams.video[0], times)):
            tile = _through(small, frame)
            tile.pts, tile.time_base = number, Fraction(1)
            made += rows.push(tile)
        made += rows.finish()
        _write(made[0], order["extension"], out)


def animation(media_file: str, out: str, order: Mapping[str, Any]) -> None:
    """Make an animated image, as `mux_async.emulator.media._backend.Animation` describes it."""
    fps, end = order["fps"], order["start"] + order["duration"]
    with av.open(media_file) as container:
        video = container.streams.video[0]
        times = [order["start"] + number / fps for number in range(max(1, round(order["duration"] * fps)))]
        last = float((video.duration or 0) * (video.time_base or 1)) or end
        shown = pictures_at(container, video, [time for time in times if time < last] or times[:1])
        size = Chain([("scale", f"{order['width']}:{order['height']}"), ("format", "rgb24")])
        frames_made = (_through(size, frame) for frame in shown)
        is_gif = order["extension"] == "gif"
        with av.open(out, "w", format=order["extension"], options={"loop": "0"}) as made:
            stream = made.add_stream("gif" if is_gif else "libwebp_anim", rate=fps)
            stream.width, stream.height = order["width"], order["height"]
            stream.pix_fmt = "pal8" if is_gif else "yuv420p"
            for number, frame in enumerate(_few_colours(list(frames_made)) if is_gif else frames_made):
                ready = frame if is_gif else frame.reformat(format="yuv420p")
                ready.pts, ready.time_base = number, Fraction(1, fps)
                made.mux(stream.encode(ready))
            made.mux(stream.encode(None))


def _few_colours(given: list[VideoFrame]) -> Iterator[VideoFrame]:
    """Yield frames of 256 colours that suit all of them."""
    graph = Graph()
    first = given[0]
    source = graph.add_buffer(width=first.width, height=first.height, format=first.format, time_base=Fraction(1))
    both, choose = graph.add("split", ""), graph.add("palettegen", "")
    # Ordered dithering takes half the time of the default, and the files are half as large.
    use, sink = graph.add("paletteuse", "dither=bayer:bayer_scale=4:diff_mode=rectangle"), graph.add("buffersink")
    source.link_to(both)
    both.link_to(choose, 0, 0)
    both.link_to(use, 1, 0)
    choose.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    for number, frame in enumerate(given):
        frame.pts, frame.time_base = number, Fraction(1)
        graph.vpush(frame)
    graph.vpush(None)
    yield from pulled(graph)
