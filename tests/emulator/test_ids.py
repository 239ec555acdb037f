"""Ids in Mux's format: the emulator gives them out, and tells a malformed id (a 400) from an unknown one (a 404)."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests._examples import examples
from tests.emulator.harness import Account, id_bytes, id_of

ACCOUNT = Account()
"""Nothing here writes to it."""


def status(id: str) -> int:
    """GET the asset of this id."""
    return ACCOUNT.send("GET", f"/video/v1/assets/{quote(id, safe='')}").status


@given(st.sampled_from([24, 32, 40]).flatmap(lambda size: st.binary(min_size=size, max_size=size)))
def test_well_formed(raw: bytes) -> None:
    """An id that stands for 24, 32 or 40 bytes is well-formed, whichever bytes they are."""
    assert status(id_of(raw)) == 404


def test_sizes() -> None:
    """An id that stands for another number of bytes is malformed."""
    statuses = {size: status(id_of(bytes(range(size)))) for size in range(1, 65)}

    assert [size for size in statuses if statuses[size] == 404] == [24, 32, 40]
    assert set(statuses.values()) == {400, 404}


@pytest.mark.parametrize("id", ["somefakeid", "a-b", "a/b", "0", "a" * 33, "é" * 32, "A" * 42 + "B", "0" * 43])
def test_malformed(id: str) -> None:
    """An id is malformed if no bytes are written like that."""
    assert status(id) == 400


def test_given_out() -> None:
    """Ids are alphanumeric and stand for 32 random bytes; 0 is only an escape."""
    account = Account()
    ids = [account.create_asset()["id"] for _ in range(examples(200))]

    assert len(set(ids)) == len(ids)
    assert {len(id_bytes(each)) for each in ids} == {32}
    assert all(re.fullmatch(r"(?:[1-9A-Za-z]|0[012])+", each) for each in ids)


def test_seed() -> None:
    """The same seed gives the same ids, another one gives others, and ids of one kind do not change those of another."""
    first, second, other = (Account(seed=seed) for seed in (7, 7, 8))
    second.data("POST", "/video/v1/live-streams", {})
    ids = [first.create_asset()["id"] for _ in range(2)]

    assert second.create_asset()["id"] == ids[0] != ids[1]
    assert other.create_asset()["id"] not in ids


def test_request_id() -> None:
    """A request id is 20 url-safe characters."""
    assert re.fullmatch(r"[A-Za-z0-9_-]{20}", ACCOUNT.send("GET", "/video/v1/assets").headers["X-Request-Id"])
