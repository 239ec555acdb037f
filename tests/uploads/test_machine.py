"""The upload machine step by step: what follows from each response, each wait and each stored state."""

from __future__ import annotations

from random import Random
from typing import Any

import attrs
import pytest

from mux_async.uploads.machine import (
    DEFAULT_CHUNK_SIZE,
    GRANULE,
    MAX_CHUNK_SIZE,
    MIN_CHUNK_SIZE,
    ConnectionFailed,
    QueryOffset,
    ResponseReceived,
    SendChunk,
    UploadAction,
    UploadDone,
    UploadEvent,
    UploadFailed,
    UploadMachine,
    UploadState,
    Wait,
    WaitEnded,
)


class HalfRandom(Random):
    """Jitter of one half, always."""

    def random(self) -> float:
        return 0.5


def half(state: UploadState, **options: int) -> UploadMachine:
    return UploadMachine(state, random=HalfRandom(), **options)


def test_delays() -> None:
    """Waits double from half a second to half a minute, less jitter; a shorter ``Retry-After`` has no effect."""
    machine = half(UploadState(100))
    waits: list[float] = []
    for number in range(10):
        machine.receive(
            ConnectionFailed("refused", is_sent=False) if number % 2 else ResponseReceived(503, None, 0.1, retry_after=0.1)
        )
        action = machine.next_action()
        assert isinstance(action, Wait)
        waits.append(action.delay)
        machine.receive(WaitEnded())
        if number % 2 == 0:
            machine.receive(ResponseReceived(308, None, 0.1))  # it asked, because the 503 left a doubt
    machine.receive(ConnectionFailed("refused", is_sent=False))

    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0, 15.0]
    assert machine.next_action() == UploadFailed("refused, 11 times in a row", is_resumable=True)


@pytest.mark.parametrize(("asked", "delay"), [(None, 0.25), (0.1, 0.25), (20.0, 20.0), (120.0, 120.0), (121.0, 120.0)])
@pytest.mark.parametrize("status", [429, 503])
def test_the_time_that_a_server_names(status: int, asked: float | None, delay: float) -> None:
    """``Retry-After`` is honoured up to two minutes, and never shortens the wait."""
    machine = half(UploadState(100))
    machine.receive(ResponseReceived(status, None, 0.1, retry_after=asked))

    assert machine.next_action() == Wait(delay)


def test_progress_begins_the_count_anew() -> None:
    """Every additional byte that the server holds is progress, which resets the count of failures."""
    machine = half(UploadState(4 * GRANULE, chunk_size=GRANULE), max_failures=1)
    for number in range(1, 4):
        machine.receive(ConnectionFailed("reset"))
        machine.receive(WaitEnded())
        machine.receive(ResponseReceived(308, f"bytes=0-{number * GRANULE - 1}", 0.1))
        assert machine.next_action() == SendChunk(number * GRANULE, (number + 1) * GRANULE - 1, 4 * GRANULE)
    assert machine.state.reached == 3 * GRANULE

    machine.receive(ConnectionFailed("reset"))
    machine.receive(WaitEnded())
    machine.receive(ConnectionFailed("reset"))
    assert machine.next_action() == UploadFailed("reset, 2 times in a row", is_resumable=True)


def test_one_byte_is_progress() -> None:
    """A single byte more is progress too."""
    machine = half(UploadState(GRANULE), max_failures=0)
    machine.receive(ResponseReceived(308, "bytes=0-0", 0.1))

    assert machine.next_action() == SendChunk(1, GRANULE - 1, GRANULE)


@pytest.mark.parametrize(
    ("event", "reason", "chunk_size", "is_sure"),
    [
        (ResponseReceived(408, None, 0.1), "the server answered 408", 2, False),
        (ResponseReceived(429, None, 0.1), "the server answered 429", 2, False),
        (ResponseReceived(500, None, 0.1), "the server answered 500", 2, False),
        (ResponseReceived(599, None, 0.1), "the server answered 599", 2, False),
        (ResponseReceived(200, None, 0.1), "the server answered 200 to a chunk that was not the last", 4, False),
        (ResponseReceived(204, None, 0.1), "the server answered 204 to a chunk that was not the last", 4, False),
        (ResponseReceived(308, "bytes=1-2", 0.1), "the server's Range header is invalid", 4, False),
        (ResponseReceived(308, None, 0.1), "the server kept no byte of a chunk", 2, True),
        (ResponseReceived(308, "", 0.1), "the server's Range header is invalid", 4, False),
        (ConnectionFailed("it was reset"), "it was reset", 2, False),
        (ConnectionFailed("it was refused", is_sent=False), "it was refused", 2, True),
    ],
)
def test_a_chunk_that_fails(event: UploadEvent, reason: str, chunk_size: int, is_sure: bool) -> None:
    """A failed chunk is halved if its size may be the cause, and the server is asked if the offset is not known."""
    state = UploadState(8 * GRANULE, chunk_size=4 * GRANULE)
    machine = half(state, max_failures=1)
    machine.receive(event)

    reached = 0 if event == ConnectionFailed("it was refused", is_sent=False) else 4 * GRANULE
    assert machine.next_action() == Wait(0.25)
    assert machine.state == attrs.evolve(state, reached=reached, chunk_size=chunk_size * GRANULE, is_sure=is_sure)
    machine = half(state, max_failures=0)
    machine.receive(event)
    assert machine.next_action() == UploadFailed(f"{reason}, 1 times in a row", is_resumable=True)


@pytest.mark.parametrize(
    ("event", "reason", "chunk_size"),
    [
        (ResponseReceived(408, None, 0.1), "the server answered 408", 2),
        (ResponseReceived(500, None, 0.1), "the server answered 500", 2),
        (ResponseReceived(308, "bytes=what", 0.1), "the server's Range header is invalid", 4),
        (
            ResponseReceived(308, f"bytes=0-{8 * GRANULE - 1}", 0.1),
            "the server holds every byte but does not report the upload as complete",
            4,
        ),
        (ConnectionFailed("it was reset"), "it was reset", 4),
    ],
)
def test_a_query_that_fails(event: UploadEvent, reason: str, chunk_size: int) -> None:
    """A query without a valid response is repeated after a wait, a bounded number of times."""
    machine = half(UploadState.unknown(8 * GRANULE, chunk_size=4 * GRANULE), max_failures=1)
    machine.receive(event)

    assert machine.next_action() == Wait(0.25)
    assert machine.state.chunk_size == chunk_size * GRANULE
    machine.receive(WaitEnded())
    assert machine.next_action() == QueryOffset(8 * GRANULE)
    machine.receive(event)
    assert machine.next_action() == UploadFailed(f"{reason}, 2 times in a row", is_resumable=True)


@pytest.mark.parametrize(
    ("event", "end"),
    [
        (ResponseReceived(200, None, 0.1), UploadDone()),
        (ResponseReceived(201, None, 0.1), UploadDone()),
        (ResponseReceived(202, None, 0.1), UploadDone()),
        (ResponseReceived(204, None, 0.1), UploadDone()),
        (ResponseReceived(203, None, 0.1), UploadFailed("the server refused with 203", is_resumable=False)),
        (ResponseReceived(407, None, 0.1), UploadFailed("the server refused with 407", is_resumable=False)),
        (ResponseReceived(428, None, 0.1), UploadFailed("the server refused with 428", is_resumable=False)),
        *[
            (
                ResponseReceived(status, None, 0.1),
                UploadFailed(f"the upload URL has expired or was used up ({status})", is_resumable=False, is_gone=True),
            )
            for status in (404, 410, 499)
        ],
        (
            ResponseReceived(308, f"bytes=0-{8 * GRANULE}", 0.1),
            UploadFailed(
                f"the server holds {8 * GRANULE + 1} bytes, but only {8 * GRANULE} were sent: something else writes to this upload",
                is_resumable=False,
            ),
        ),
    ],
)
@pytest.mark.parametrize("is_query", [False, True])
def test_ends(event: UploadEvent, end: UploadAction, is_query: bool) -> None:
    """These responses to the last chunk, or to a query, end the upload."""
    size = 8 * GRANULE
    state = UploadState.unknown(size) if is_query else UploadState(size, offset=4 * GRANULE, reached=4 * GRANULE)
    machine = half(state)
    machine.receive(event)

    assert machine.next_action() == end
    if end == UploadDone():
        assert machine.state == attrs.evolve(state, offset=size, reached=size, is_sure=True)


def test_a_whole_file_whose_end_was_never_sent() -> None:
    """A reported success is an error if even one byte was not sent."""
    size = 2 * GRANULE
    machine = half(UploadState(size, reached=size - 1, is_sure=False))
    machine.receive(ResponseReceived(200, None, 0.1))

    assert machine.next_action() == UploadFailed(
        "the server has the whole file, but its end was not sent from here: something else writes to this upload",
        is_resumable=False,
    )


def test_all_bytes_but_no_success() -> None:
    """A server that holds every byte and responds 308 is asked again: only a success completes the upload."""
    machine = half(UploadState(GRANULE))
    machine.receive(ResponseReceived(308, f"bytes=0-{GRANULE - 1}", 0.1))
    assert machine.next_action() == Wait(0.25)
    assert (machine.state.offset, machine.state.is_sure) == (GRANULE, False)

    machine.receive(WaitEnded())
    assert machine.next_action() == QueryOffset(GRANULE)
    machine.receive(ResponseReceived(200, None, 0.1))
    assert machine.next_action() == UploadDone()


def test_a_query_without_news_is_not_a_failure() -> None:
    """A query that finds no new bytes is not counted as a failure: the failure before it is."""
    machine = half(UploadState(4 * GRANULE, chunk_size=4 * GRANULE), max_failures=1)
    machine.receive(ConnectionFailed("reset"))
    machine.receive(WaitEnded())
    machine.receive(ResponseReceived(308, None, 0.1))

    assert machine.next_action() == SendChunk(0, 2 * GRANULE - 1, 4 * GRANULE)


def test_losses_are_counted() -> None:
    """Lost bytes are sent again, at most *max_failures* times, independent of progress in between."""
    size = 8 * GRANULE
    machine = half(UploadState(size, chunk_size=GRANULE), max_failures=2)
    for _ in range(2):
        machine.receive(ResponseReceived(308, f"bytes=0-{GRANULE - 1}", 8.0))
        machine.receive(ResponseReceived(308, None, 8.0))
        assert machine.next_action() == SendChunk(0, GRANULE - 1, size)
    machine.receive(ResponseReceived(308, f"bytes=0-{GRANULE - 1}", 8.0))
    machine.receive(ResponseReceived(308, None, 8.0))

    assert machine.next_action() == UploadFailed("the server keeps losing bytes it had confirmed", is_resumable=True)


def test_white_space_around_a_range() -> None:
    """White space around the value of ``Range`` is ignored; any other text is invalid."""
    for value, offset in [(" bytes=0-99 ", 100), ("bytes=0-99", 100), ("bytes=0-99\nx", 0), ("xbytes=0-99", 0)]:
        machine = half(UploadState(200))
        machine.receive(ResponseReceived(308, value, 0.1))
        assert machine.state.offset == offset


@pytest.mark.parametrize(
    ("chunk_size", "elapsed", "expected"),
    [
        (4, 8.0, 4),
        (4, 4.0, 8),
        (4, 0.0, 8),
        (4, 0.5, 8),
        (4, 6.0, 5),
        (4, 12.0, 2),
        (4, 16.0, 2),
        (4, 99.0, 2),
        (1, 99.0, 1),
        (5, 99.0, 2),
        (256, 0.0, 256),
        (200, 0.0, 256),
    ],
)
def test_the_next_chunk(chunk_size: int, elapsed: float, expected: int) -> None:
    """The next chunk would take eight seconds; it has whole granules and at most doubles or halves, within bounds."""
    machine = half(UploadState(1000 * GRANULE, chunk_size=chunk_size * GRANULE))
    machine.receive(ResponseReceived(308, f"bytes=0-{chunk_size * GRANULE - 1}", elapsed))

    assert machine.state.chunk_size == expected * GRANULE
    assert type(machine.state.chunk_size) is int  # not a float


def test_a_chunk_that_was_cut_short() -> None:
    """A limited chunk that took eight seconds does reduce the chunk size."""
    machine = half(UploadState(1000 * GRANULE, chunk_size=8 * GRANULE), max_chunk_size=2 * GRANULE)
    machine.receive(ResponseReceived(308, f"bytes=0-{2 * GRANULE - 1}", 8.0))

    assert machine.state.chunk_size == 2 * GRANULE


@pytest.mark.parametrize(("before", "after"), [(7, 3), (3, 1), (1, 1)])
def test_a_halved_chunk_is_whole_granules(before: int, after: int) -> None:
    """Half a chunk is rounded down to granules, at least one."""
    machine = half(UploadState(100 * GRANULE, chunk_size=before * GRANULE))
    machine.receive(ConnectionFailed("reset"))

    assert machine.state.chunk_size == after * GRANULE
    assert type(machine.state.chunk_size) is int


@pytest.mark.parametrize(
    ("asked", "event"),
    [
        ("SendChunk", WaitEnded()),
        ("QueryOffset", WaitEnded()),
        ("Wait", ResponseReceived(200, None, 0.1)),
        ("Wait", ConnectionFailed("reset")),
    ],
)
def test_what_does_not_answer(asked: str, event: UploadEvent) -> None:
    """An event that is not a result of the action is a programming error and changes nothing."""
    machine = half(UploadState.unknown(100) if asked == "QueryOffset" else UploadState(100))
    if asked == "Wait":
        machine.receive(ConnectionFailed("reset"))
    before = machine.next_action(), machine.state
    with pytest.raises(RuntimeError, match=f"^{type(event).__name__} is not a result of {asked}$"):
        machine.receive(event)

    assert (machine.next_action(), machine.state) == before


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"size": 0}, "size is 0; an upload has at least 1 byte"),
        ({"size": 5, "offset": -1}, "offset -1 and reached 0 do not lie in order within 5"),
        ({"size": 5, "offset": 2, "reached": 1}, "offset 2 and reached 1 do not lie in order within 5"),
        ({"size": 5, "reached": 6}, "offset 0 and reached 6 do not lie in order within 5"),
        ({"size": 5, "chunk_size": GRANULE + 1}, "chunk_size is 262145; it must be a multiple of 262144, at most 67108864"),
        ({"size": 5, "chunk_size": 0}, "chunk_size is 0; it must be a multiple of 262144, at most 67108864"),
        (
            {"size": 5, "chunk_size": MAX_CHUNK_SIZE + GRANULE},
            "chunk_size is 67371008; it must be a multiple of 262144, at most 67108864",
        ),
        ({"size": 5, "crc": -1}, "crc is -1; it must be a number of 32 bits"),
        ({"size": 5, "crc": 1 << 32}, "crc is 4294967296; it must be a number of 32 bits"),
    ],
)
def test_states_that_cannot_be(members: dict[str, Any], said: str) -> None:
    """A state out of range is refused; the message has the member, its value and its range."""
    with pytest.raises(ValueError, match=f"^{said}$"):
        UploadState(**members)


def test_the_outermost_states() -> None:
    """The limits of the ranges are accepted."""
    for chunk_size in (MIN_CHUNK_SIZE, MAX_CHUNK_SIZE):
        for crc in (0, (1 << 32) - 1):
            assert UploadState(1, offset=1, reached=1, chunk_size=chunk_size, crc=crc).offset == 1


def test_what_is_stored() -> None:
    """A restored state asks the server first, and assumes that any byte may have been sent."""
    bare = UploadState(10, offset=3, reached=7, chunk_size=2 * GRANULE)
    full = attrs.evolve(bare, crc=5, version="v")

    assert bare.to_dict() == {"size": 10, "offset": 3, "chunk_size": 2 * GRANULE}
    assert full.to_dict() == {"size": 10, "offset": 3, "chunk_size": 2 * GRANULE, "crc": 5, "version": "v"}
    for state in (bare, full):
        assert UploadState.from_dict(state.to_dict()) == attrs.evolve(state, reached=10, is_sure=False)
    assert UploadState.unknown(10, 2 * GRANULE) == UploadState(10, reached=10, chunk_size=2 * GRANULE, is_sure=False)
    assert UploadState.unknown(10) == UploadState(10, reached=10, chunk_size=DEFAULT_CHUNK_SIZE, is_sure=False)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("size", None, "Expected `int`, got `null`"),
        ("offset", True, "Expected `int`, got `bool`"),
        ("chunk_size", 5.5, "Expected `int`, got `float`"),
        ("crc", "5", r"Expected `int \| null`, got `str`"),
        ("crc", True, r"Expected `int \| null`, got `bool`"),
        ("version", 5, r"Expected `str \| null`, got `int`"),
    ],
)
def test_stored_members_of_another_type(name: str, value: object, said: str) -> None:
    """A stored member of another type is refused, and the message names it."""
    with pytest.raises(ValueError, match=rf"^a stored upload is invalid: {said} - at `\$.{name}`$"):
        UploadState.from_dict({"size": 10, "offset": 0, "chunk_size": GRANULE, name: value})


def test_content_ranges() -> None:
    """Header values are those of facts/BEHAVIOUR.md, section 5.2."""
    assert (SendChunk(1, 5, 10).content_range, SendChunk(1, 5, 10).length) == ("bytes 1-5/10", 5)
    assert QueryOffset(10).content_range == "bytes */10"


def test_the_bound_may_change() -> None:
    """The largest chunk is as it was set last, and the whole of `MAX_CHUNK_SIZE` where it was not."""
    machine = half(UploadState(1000 * GRANULE, chunk_size=MAX_CHUNK_SIZE))
    assert machine.next_action() == SendChunk(0, MAX_CHUNK_SIZE - 1, 1000 * GRANULE)
    machine.max_chunk_size = GRANULE

    assert machine.next_action() == SendChunk(0, GRANULE - 1, 1000 * GRANULE)
