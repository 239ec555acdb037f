"""The parser of server-sent events reads what the HTML standard describes, however the bytes are cut, within its bounds."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mux_async.webhooks._event_stream import EventStreamParser, StreamMessage
from tests._examples import examples

LIMIT = 200


def parsed(parser: EventStreamParser, *chunks: bytes) -> list[tuple[bytes, bytes]]:
    return [(message.type, message.data) for chunk in chunks for message in parser.feed(chunk)]


def parse(*chunks: bytes) -> list[tuple[bytes, bytes]]:
    return parsed(EventStreamParser(LIMIT), *chunks)


def by_the_standard(stream: bytes) -> tuple[list[tuple[str, str]], str, int | None]:
    """Messages, last event id and retry, by the standard's own steps on the whole text."""
    text = stream.decode(errors="surrogateescape").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    messages = list[tuple[str, str]]()
    kind = data = last = id_buffer = ""
    retry: int | None = None
    for line in text.split("\n")[:-1]:
        if not line:
            last = id_buffer
            if data:
                messages.append((kind or "message", data.removesuffix("\n")))
            kind = data = ""
            continue
        if line.startswith(":"):
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            kind = value
        elif name == "data":
            data += value + "\n"
        elif name == "id" and "\0" not in value:
            id_buffer = value
        elif name == "retry" and value.isascii() and value.isdigit():
            retry = int(value)
    return messages, last, retry


_values = st.sampled_from(["", " ", "x", "  two", "1500", "a:b", "ä", "\u2028", "\x0b", "\0", "connected"])
_lines = st.one_of(
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["data", "event", "id", "retry", "Data", ""]),
        st.sampled_from([":", ": ", ""]),
        _values,
    ),
    st.just(""),
    st.sampled_from([": comment", "\ufeffdata: x"]),
).map(str.encode)
_streams = st.lists(st.tuples(_lines, st.sampled_from([b"\n", b"\r", b"\r\n"])), max_size=20).map(
    lambda lines: b"".join(line + end for line, end in lines)
)


@settings(max_examples=examples(500), deadline=None)
@given(bom=st.booleans(), stream=_streams, tail=_lines, cuts=st.lists(st.integers(0, 400), max_size=20))
@example(bom=False, stream=b"data: x\r\n\r\n", tail=b"", cuts=[8, 10])
@example(bom=True, stream=b"data: x\n\n", tail=b"data: never ended", cuts=[1, 2])
def test_any_stream_cut_anywhere(bom: bool, stream: bytes, tail: bytes, cuts: list[int]) -> None:
    """Messages, the last id and the retry time are those of the standard, for lines of all kinds, cut into pieces at any place."""
    whole = (b"\xef\xbb\xbf" if bom else b"") + stream + tail
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    parser = EventStreamParser(10_000)

    found = parsed(parser, *(whole[start:end] for start, end in pairwise(places)))

    messages, last, retry = by_the_standard(whole)
    assert found == [(kind.encode(), data.encode()) for kind, data in messages]
    assert parser.last_event_id == last
    assert parser.retry == (None if retry is None else retry / 1000)


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=20))
def test_any_bytes(chunks: list[bytes]) -> None:
    """Bytes that are no stream are read without an error, and no message is larger than the limit."""
    parser = EventStreamParser(40)
    assert all(len(data) <= 40 for _, data in parsed(parser, *chunks))


def test_a_message_that_is_not_ended() -> None:
    """A message without a blank line after it is not one, and its id does not count."""
    parser = EventStreamParser(LIMIT)
    assert parsed(parser, b"id: 1\ndata: x\n\nid: 2\ndata: y\n") == [(b"message", b"x")]
    assert parser.last_event_id == "1"


@pytest.mark.parametrize(
    "too_large",
    [
        b"data: " + b"x" * LIMIT,
        b"data: " + b"x" * 10 * LIMIT,
        b"\n".join([b"data: " + b"x" * 99] * 3),
        b":" * 2 * LIMIT + b"\ndata: x",
    ],
    ids=["data", "a long line", "many lines", "a comment"],
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_message_that_is_too_large(too_large: bytes, size: int) -> None:
    """It is skipped and counted, and the next one is read."""
    parser = EventStreamParser(LIMIT)
    stream = too_large + b"\n\ndata: next\n\n"

    found = parsed(parser, *(stream[start : start + size] for start in range(0, len(stream), size)))

    assert found == [(b"message", b"next")]
    assert parser.skipped == 1


@pytest.mark.parametrize("piece", [b"x" * 4096, b"data: x\n" * 512, b"id: 1\n" * 200, b"retry: " + b"9" * 4000 + b"\n", b":\r"])
def test_a_stream_without_an_end_takes_no_memory(piece: bytes) -> None:
    """Pieces that never end a message leave less in the parser than the largest message may have, and a little."""
    parser = EventStreamParser(8_192)
    tracemalloc.start()
    try:
        for _ in range(20):
            assert parsed(parser, piece) == []
        held, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 100_000


def test_values() -> None:
    """A message is a plain value."""
    assert next(EventStreamParser(LIMIT).feed(b"event: a\ndata\ndata: b\n\n")) == StreamMessage(b"a", b"\nb")
    assert parse(b"data\n\n", b"\n\n", b"event: only\n\n") == [(b"message", b"")]
