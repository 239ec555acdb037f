"""The upload machine against a model of the server, with every valid and some invalid responses."""

from __future__ import annotations

from random import Random
from typing import Literal

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from tests._examples import examples

SOURCE = Random(7).randbytes(3 * 1024 * 1024 + 17)

Fault = Literal[
    "none", "refused", "cut", "lost answer", "unavailable", "half", "amnesia", "gone", "forbidden", "nonsense", "lie", "ahead"
]
HONEST: list[Fault] = ["none", "refused", "cut", "lost answer", "unavailable", "half"]
ANY: list[Fault] = [*HONEST, "amnesia", "gone", "forbidden", "nonsense", "lie", "ahead"]


@attrs.define
class ModelServer:
    """A resumable session: what it holds is a prefix of what was sent."""

    size: int
    held: bytearray = attrs.field(factory=bytearray)
    is_complete: bool = False
    requests: int = 0
    received: int = 0
    """Bytes that were sent, those it had already included."""

    def answer(self, action: SendChunk | QueryOffset, data: bytes, fault: Fault, share: float) -> UploadEvent:
        self.requests += 1
        self.received += len(data)
        match fault:
            case "refused":
                return ConnectionFailed("refused", is_sent=False)
            case "gone":
                return ResponseReceived(404, None, 0.1)
            case "forbidden":
                return ResponseReceived(403, None, 0.1)
            case "unavailable":
                return ResponseReceived(503, None, 0.1)
            case "nonsense":
                return ResponseReceived(308, "bytes=what", 0.1)
            case "lie":
                return ResponseReceived(200, None, 0.1)
            case "ahead":
                return ResponseReceived(308, f"bytes=0-{self.size - 1}", 0.1)
            case "amnesia":
                if not self.is_complete:
                    del self.held[int(len(self.held) * share) // GRANULE * GRANULE :]
                return self._state()
            case "cut" | "half":
                kept = int(len(data) * share) // GRANULE * GRANULE
                self._store(action, data[:kept])
                return ConnectionFailed("reset") if fault == "cut" else self._state()
            case "lost answer":
                self._store(action, data)
                return ConnectionFailed("timed out")
            case "none":
                self._store(action, data)
                return self._state()

    def _store(self, action: SendChunk | QueryOffset, data: bytes) -> None:
        if isinstance(action, SendChunk) and not self.is_complete:
            assert action.first <= len(self.held), "a gap"
            self.held += data[len(self.held) - action.first :]
            self.is_complete = len(self.held) == self.size

    def _state(self) -> ResponseReceived:
        if self.is_complete:
            return ResponseReceived(200, None, 0.1)
        return ResponseReceived(308, f"bytes=0-{len(self.held) - 1}" if self.held else None, 0.1)


def drive(
    machine: UploadMachine, server: ModelServer, faults: list[tuple[Fault, float]], *, actions: int = 2000
) -> UploadDone | UploadFailed:
    """Run *machine* against *server*, one fault per request, then none; return how it ended."""
    script = iter(faults)
    for _ in range(actions):
        action: UploadAction = machine.next_action()
        match action:
            case UploadDone() | UploadFailed():
                return action
            case Wait(delay):
                assert delay >= 0
                machine.receive(WaitEnded())
            case SendChunk() | QueryOffset():
                data = SOURCE[action.first : action.last + 1] if isinstance(action, SendChunk) else b""
                if isinstance(action, SendChunk):
                    assert action.last + 1 == action.size or action.length % GRANULE == 0
                machine.receive(server.answer(action, data, *next(script, ("none", 0.0))))
    raise AssertionError("the upload does not end")


def scripts(faults: list[Fault]) -> st.SearchStrategy[list[tuple[Fault, float]]]:
    return st.lists(st.tuples(st.sampled_from(faults), st.floats(0, 1, exclude_max=True)), max_size=30)


sizes = st.one_of(st.integers(1, len(SOURCE)), st.sampled_from([1, GRANULE - 1, GRANULE, GRANULE + 1, 4 * GRANULE]))


@given(size=sizes, script=scripts(HONEST))
@settings(max_examples=examples(150), deadline=None)
def test_honest_server(size: int, script: list[tuple[Fault, float]]) -> None:
    """With a correct server and any network, every byte arrives in its place, or the error can be resumed."""
    server = ModelServer(size)
    machine = UploadMachine(UploadState(size, chunk_size=2 * GRANULE), random=Random(1))
    end = drive(machine, server, script)

    if isinstance(end, UploadDone):
        assert server.is_complete
        assert bytes(server.held) == SOURCE[:size]
    else:
        assert end.is_resumable
        assert machine.state.offset <= len(server.held)  # what the error says is held, is held


@given(size=sizes, script=scripts(ANY))
@settings(max_examples=examples(300), deadline=None)
def test_any_server(size: int, script: list[tuple[Fault, float]]) -> None:
    """A server that loses bytes, refuses or sends wrong responses never causes a wrong success or an endless loop.

    Only a wrong success for the last chunk cannot be detected.
    """
    server = ModelServer(size)
    machine = UploadMachine(UploadState(size, chunk_size=2 * GRANULE), random=Random(1))
    end = drive(machine, server, script)

    if isinstance(end, UploadDone) and not server.is_complete:
        assert any(fault == "lie" for fault, _ in script)
        assert machine.state.reached == size


@given(size=sizes, first=scripts(HONEST), second=scripts(HONEST), stop=st.integers(0, 30))
@settings(max_examples=examples(100), deadline=None)
def test_resume_elsewhere(size: int, first: list[tuple[Fault, float]], second: list[tuple[Fault, float]], stop: int) -> None:
    """Another process resumes a killed run from its stored state, even if that is old."""
    server = ModelServer(size)
    machine = UploadMachine(UploadState(size, chunk_size=GRANULE), random=Random(1))
    stored = machine.state.to_dict()
    try:
        drive(machine, server, first, actions=stop)
    except AssertionError:
        if stop % 2:
            stored = machine.state.to_dict()
    end = drive(UploadMachine(UploadState.from_dict(stored), random=Random(2)), server, second)

    assert isinstance(end, UploadFailed) or bytes(server.held) == SOURCE[:size]
    assert isinstance(end, UploadDone) or end.is_resumable


@given(size=sizes, stop=st.integers(0, 20), share=st.floats(0, 1), is_stale=st.booleans(), chunks=st.integers(1, 8))
@settings(max_examples=examples(200), deadline=None)
def test_a_clean_resume_repeats_one_chunk_at_most(size: int, stop: int, share: float, is_stale: bool, chunks: int) -> None:
    """A killed and resumed run sends the file and at most one chunk again.

    The server kept any part of that chunk; the state was stored right before it or earlier.
    """
    server = ModelServer(size)
    machine = UploadMachine(UploadState(size, chunk_size=chunks * GRANULE), random=Random(1))
    stored = machine.state.to_dict()
    for _ in range(stop):
        action = machine.next_action()
        if not isinstance(action, SendChunk):
            break
        if not is_stale:
            stored = machine.state.to_dict()
        machine.receive(server.answer(action, SOURCE[action.first : action.last + 1], "none", 0.0))
    last = machine.next_action()
    on_its_way = last.length if isinstance(last, SendChunk) else 0
    if isinstance(last, SendChunk):
        server.answer(last, SOURCE[last.first : last.last + 1], "cut", share)
    held, before = len(server.held), server.received

    end = drive(UploadMachine(UploadState.from_dict(stored), random=Random(2)), server, [])
    assert end == UploadDone()
    assert bytes(server.held) == SOURCE[:size]
    assert server.received - before == size - held
    assert server.received <= size + on_its_way


def test_lost_final_answer() -> None:
    """If the response to the last chunk is lost, the server is asked, and nothing is sent twice."""
    server = ModelServer(1000)
    end = drive(UploadMachine(UploadState(1000), random=Random(1)), server, [("lost answer", 0.0)])

    assert end == UploadDone()
    assert server.requests == 2


def test_gives_up() -> None:
    """Persistent failures end the upload after a bounded number of waits; it can be resumed."""
    server = ModelServer(100)
    machine = UploadMachine(UploadState(100), random=Random(1), max_failures=3)
    end = drive(machine, server, [("unavailable", 0.0)] * 50)

    assert isinstance(end, UploadFailed)
    assert end.is_resumable
    assert server.requests == 4


def test_a_server_that_keeps_losing() -> None:
    """A server that keeps losing confirmed bytes ends the upload."""
    server = ModelServer(8 * GRANULE)
    machine = UploadMachine(UploadState(8 * GRANULE), random=Random(1), max_failures=3, max_chunk_size=4 * GRANULE)
    end = drive(machine, server, [("none", 0.0), ("amnesia", 0.0)] * 500)

    assert isinstance(end, UploadFailed)
    assert "losing bytes" in end.reason
    assert end.is_resumable


@pytest.mark.parametrize(("elapsed", "granules"), [(0.01, 32), (0.0, 32), (100.0, 2)])
def test_chunks_cut_short(elapsed: float, granules: int) -> None:
    """A chunk that the client limited does not reduce the chunk size, unless it was slow itself."""
    size = 64 * GRANULE
    machine = UploadMachine(UploadState(size, chunk_size=32 * GRANULE), random=Random(1), max_chunk_size=4 * GRANULE)
    chunk = machine.next_action()
    assert isinstance(chunk, SendChunk)
    assert chunk.length == 4 * GRANULE
    machine.receive(ResponseReceived(308, f"bytes=0-{4 * GRANULE - 1}", elapsed))

    assert machine.state.chunk_size == granules * GRANULE


def test_chunks_grow_and_shrink() -> None:
    """The chunk size adapts to eight seconds, by at most a factor of two at a time, within bounds."""
    size = 100 * MAX_CHUNK_SIZE
    machine = UploadMachine(UploadState(size), random=Random(1))

    def send(elapsed: float) -> int:
        action = machine.next_action()
        assert isinstance(action, SendChunk)
        machine.receive(ResponseReceived(308, f"bytes=0-{action.last}", elapsed))
        return action.length

    grown = [send(0.5) for _ in range(6)]
    steady = [send(8.0) for _ in range(2)]
    trimmed = [send(12.0), send(8.0)]
    shrunk = [send(31.0) for _ in range(11)]

    assert steady == [MAX_CHUNK_SIZE] * 2
    assert trimmed == [MAX_CHUNK_SIZE, MAX_CHUNK_SIZE * 2 // 3 // GRANULE * GRANULE]
    assert grown == [DEFAULT_CHUNK_SIZE, 2 * DEFAULT_CHUNK_SIZE, 4 * DEFAULT_CHUNK_SIZE, *[MAX_CHUNK_SIZE] * 3]
    assert shrunk[-3:] == [MIN_CHUNK_SIZE] * 3
