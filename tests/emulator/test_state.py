"""The parts of the state that need no emulator: upload sessions, and mappings that record which of their keys are used."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mux_async.emulator.state._tracking import ModifiedRecords, TrackedDict
from mux_async.emulator.state._upload_sessions import GRANULE, SessionError, UploadSession
from tests._examples import examples

_SOURCE = Random(2).randbytes(6 * GRANULE)

_sizes = st.one_of(st.integers(1, 6 * GRANULE), st.integers(0, 6).map(lambda count: max(1, count * GRANULE)))
_steps = st.lists(
    st.tuples(
        st.sampled_from(["chunk", "chunk", "rest", "cut", "odd", "again", "gap", "query"]),
        st.integers(1, 6),
        st.integers(0, 3 * GRANULE),
        st.integers(500, 70_000),  # smaller pieces only take longer
    ),
    max_size=12,
)


def _feed(session: UploadSession, data: bytes, first: int, total: int, piece: int, *, cut_at: int | None = None) -> bool:
    writer = session.begin(f"bytes {first}-{first + len(data) - 1}/{total}", len(data))
    body = data if cut_at is None else data[:cut_at]
    for start in range(0, len(body), piece):
        writer.feed(body[start : start + piece])
    if cut_at is not None and cut_at < len(data):
        writer.cut()
        return session.is_complete
    return writer.finish()


@settings(max_examples=examples(150), deadline=None)
@given(total=_sizes, steps=_steps)
def test_any_way(total: int, steps: list[tuple[str, int, int, int]]) -> None:
    """Chunks, odd chunks, broken connections, repeats, gaps and queries in any order: what is stored is always the file's
    beginning, a multiple of 256 KiB until the end, never shrinks, and the end has the file's checksum."""
    data = _SOURCE[:total]
    session = UploadSession()
    for kind, count, number, piece in steps:
        if session.size == total:
            break
        before = session.size
        chunk = data[before : before + count * GRANULE]
        if kind == "chunk":
            _feed(session, chunk, before, total, piece)
        elif kind == "odd":
            _feed(session, data[before : before + max(1, number)], before, total, piece)
        elif kind == "rest":
            _feed(session, data[before:], before, total, piece)
        elif kind == "cut":
            _feed(session, chunk, before, total, piece, cut_at=min(number, len(chunk) - 1))
        elif kind == "again":
            start = max(0, before - number)
            _feed(session, data[start : before + len(chunk)], start, total, piece)
        elif kind == "query":
            session.begin(f"bytes */{total}", 0).finish()
        elif before + count < total:
            with pytest.raises(SessionError) as caught:
                _feed(session, data[before + count :], before + count, total, piece)
            assert caught.value.status == 503
        assert session.size >= before
        assert session.size in {total, session.size // GRANULE * GRANULE}
        assert session.crc == crc32(data[: session.size])
        assert session.is_complete == (session.size == total)

    if not session.is_complete:
        assert _feed(session, data[session.size :], session.size, total, 50_000)
    assert (session.size, session.crc) == (total, crc32(data))
    assert session.head == data[: len(session.head)]


@pytest.mark.parametrize("stored", [1, 2])
@pytest.mark.parametrize("total", [1, 10, GRANULE - 1])
def test_a_total_smaller_than_what_is_stored(stored: int, total: int) -> None:
    """A query, a chunk or a whole file that gives a total below what is stored is refused, and nothing changes."""
    data = _SOURCE[: stored * GRANULE]
    session = UploadSession()
    session.begin(f"bytes 0-{len(data) - 1}/*", len(data)).feed(data)
    session.settle(is_last=False)
    before = session.dump()
    for content_range, length in [(f"bytes */{total}", 0), (f"bytes 0-{total - 1}/{total}", total), (None, total)]:
        with pytest.raises(SessionError, match=f"declared with {total} bytes, and {len(data)} are stored") as caught:
            session.begin(content_range, length)
        assert caught.value.status == 400
        assert session.dump() == before

    session.begin(f"bytes */{len(data) + 1}", 0).finish()
    assert (session.total, session.size) == (len(data) + 1, len(data))


def test_tracked() -> None:
    """A tracked mapping behaves as a dict, and records every key that is read or written, by any method."""
    modified = ModifiedRecords()

    def keys_of(handler: Callable[[TrackedDict[int]], object]) -> set[str]:
        modified.keys.clear()
        tracked = TrackedDict({"a": 1, "b": 2, "c": 3}, modified, 7)
        handler(tracked)
        return set(modified.keys.get(7, {}))

    assert keys_of(lambda it: it["a"]) == {"a"}
    assert keys_of(lambda it: it.get("b")) == {"b"}
    assert keys_of(lambda it: it.get_untracked("b")) == set()
    assert keys_of(lambda it: ("a" in it, list(it), len(it))) == set()
    assert keys_of(lambda it: it.pop("c")) == {"c"}
    assert keys_of(lambda it: it.popitem()) == {"c"}
    assert keys_of(lambda it: it.setdefault("d", 4)) == {"d"}
    assert keys_of(lambda it: it.update({"a": 5}, e=6)) == {"a", "e"}
    assert keys_of(lambda it: it.clear()) == {"a", "b", "c"}
    assert keys_of(lambda it: next(iter(it.values()))) == {"a"}
    assert keys_of(lambda it: next(reversed(it.items()))) == {"c"}
    assert keys_of(lambda it: list(it.values())) == {"a", "b", "c"}
    assert keys_of(lambda it: it.__delitem__("a")) == {"a"}
    tracked = TrackedDict({"a": 1, "b": 2}, modified, 7)
    assert (list(tracked.items()), len(tracked.values())) == ([("a", 1), ("b", 2)], 2)
