from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux_async.emulator.state._ids import IdGenerator, encode, is_well_formed


@given(st.sampled_from([24, 32, 40]).flatmap(lambda size: st.binary(min_size=size, max_size=size)))
def test_encoded_bytes(raw: bytes) -> None:
    """Every id that can be given out is well-formed, alphanumeric, and uses 0 only as an escape."""
    written = encode(raw)

    assert is_well_formed(written)
    assert re.fullmatch(r"(?:[1-9A-Za-z]|0[012])+", written)


@given(st.binary(max_size=48).filter(lambda raw: len(raw) not in {24, 32, 40}))
def test_other_sizes(raw: bytes) -> None:
    """What stands for any other number of bytes is malformed."""
    assert not is_well_formed(encode(raw))


@pytest.mark.parametrize("id", ["", "somefakeid", "a-b", "a/b", "0", "a" * 33, "é" * 32, "A" * 42 + "B", "0" * 43])
def test_malformed(id: str) -> None:
    """Ids that Mux cannot have given out are told apart from unknown ones."""
    assert not is_well_formed(id)


def test_seed() -> None:
    """The same seed gives the same ids, another one gives others, and kinds do not disturb each other."""
    first, second, other = IdGenerator(7), IdGenerator(7), IdGenerator(8)
    second.id("track")

    assert first.id("asset") == second.id("asset")
    assert first.id("asset") != first.id("asset")
    assert IdGenerator(7).id("asset") != other.id("asset")


def test_request_id() -> None:
    """A request id is 20 url-safe characters."""
    assert re.fullmatch(r"[A-Za-z0-9_-]{20}", IdGenerator(1).request_id())
