"""The first field that is read of a large object is decoded alone; every result is as if all fields had been read at once."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks._answers import ASSET, TITLES
from mux_async._models.json_reader import check_utf8
from mux_async._models.model import forget_decoders, is_materialized, json_of, table_of
from mux_async.models import Asset, PlaybackId

UNUSUAL: dict[str, dict[str, Any]] = {
    "as described": {},
    "texts that are not ASCII": {"passthrough": TITLES[4], "meta": {"title": TITLES[2]}},
    "an unknown field": {"hologram": {"depth": 3}},
    "an unknown value": {"status": "dreaming", "resolution_tier": "4320p"},
    "nulls": {"passthrough": None, "duration": None, "tracks": None, "status": None},
    "other types": {"status": 7, "duration": "long", "test": "yes", "id": ["x"]},
}


@pytest.fixture(autouse=True)
def fresh_decoders() -> None:
    forget_decoders()


def text_of(raw: dict[str, Any]) -> bytes:
    return orjson.dumps(raw)


@pytest.mark.parametrize("name", sorted(table_of(Asset).fields))
@pytest.mark.parametrize("change", UNUSUAL.values(), ids=UNUSUAL)
def test_a_field_read_alone_is_the_field_read_with_all_others(name: str, change: dict[str, Any]) -> None:
    """Whatever the other fields hold, also when they are absent."""
    for raw in ({**ASSET, **change}, {**change, "id": "a1"}):
        whole, alone = Asset.from_wire(raw), Asset.from_json(text_of(raw))
        assert getattr(alone, name) == getattr(whole, name)
        assert alone == whole
        assert alone.to_wire() == whole.to_wire() == raw


USES: dict[str, Callable[[Asset], Asset]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda asset: pickle.loads(pickle.dumps(asset)),
    "to_wire": lambda asset: Asset.from_wire(asset.to_wire()),
    "to_json": lambda asset: Asset.from_json(asset.to_json()),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_what_is_made_of_an_object_after_one_field_is_equal_to_it(use: Callable[[Asset], Asset]) -> None:
    raw = {**ASSET, **UNUSUAL["an unknown field"], **UNUSUAL["nulls"]}
    asset = Asset.from_json(text_of(raw))
    assert asset.id == raw["id"]
    assert use(asset).to_wire() == raw
    assert asset.extra == {"hologram": {"depth": 3}}
    assert repr(asset) == repr(Asset.from_wire(raw))
    assert hash(asset) == hash(Asset.from_wire(raw))


def test_one_field_leaves_the_others_unread_and_the_next_reads_them_all() -> None:
    asset = Asset.from_json(text_of(ASSET))
    assert asset.status == "ready"
    assert asset.status == "ready"
    assert not is_materialized(asset)
    assert json_of(asset) == text_of(ASSET)
    assert asset.duration == ASSET["duration"]
    assert is_materialized(asset)
    assert asset.status == "ready"


@pytest.mark.parametrize("name", ["created_at", "tracks", "meta"])
def test_values_that_are_converted_are_read_with_the_others(name: str) -> None:
    """Times and nested objects, which have one place where they are made."""
    asset = Asset.from_json(text_of(ASSET))
    assert getattr(asset, name) is getattr(asset, name)
    assert is_materialized(asset)


def test_an_attribute_that_does_not_exist_is_an_error_and_harms_nothing() -> None:
    asset = Asset.from_json(text_of(ASSET))
    with pytest.raises(AttributeError, match="hologram"):
        _ = asset.hologram  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    assert asset.to_wire() == ASSET


def test_a_small_object_is_read_as_a_whole() -> None:
    """There is little to save."""
    playback_id = PlaybackId.from_json(b'{"id":"p1","policy":"public"}')
    assert playback_id.id == "p1"
    assert is_materialized(playback_id)


def test_a_program_that_reads_two_fields_of_each_object_stops_paying_for_the_first() -> None:
    """After a number of objects both are read at once; a program that reads one field again is noticed later."""
    text = text_of(ASSET)

    def reads(*names: str) -> bool:
        """Read fields of a new object, and return whether the first one was read alone."""
        asset = Asset.from_json(text)
        values = [getattr(asset, names[0])]
        was_alone = not is_materialized(asset)
        values += [getattr(asset, name) for name in names[1:]]
        assert values == [ASSET[name] for name in names]
        return was_alone

    assert reads("id", "status")
    for _ in range(100):
        reads("id", "status")
    assert not reads("id", "status")
    assert not any(reads("id") for _ in range(100))
    for _ in range(2000):
        reads("id")
    assert all(reads("id") for _ in range(100))


@given(st.binary(max_size=40), st.integers(0, 5), st.text(max_size=3))
def test_utf8_is_checked_as_python_checks_it(tail: bytes, shift: int, text: str) -> None:
    """Pieces end in the middle of characters: a long text of wide ones before what is drawn, at each offset."""
    content = b"x" * shift + ("🎿é日" * 2500).encode() + text.encode() + tail

    def fails(check: Callable[[bytes], object]) -> bool:
        try:
            check(content)
        except UnicodeDecodeError:
            return True
        return False

    assert fails(check_utf8) == fails(bytes.decode)


@pytest.mark.parametrize("cut", range(1, 4))
@pytest.mark.parametrize("size", [8, 16 * 1024, 16 * 1024 + 1, 32 * 1024 + 2, 50_000])
def test_a_character_cut_off_at_the_end_is_refused(cut: int, size: int) -> None:
    content = b"x" * size + "🎿".encode()
    check_utf8(content)
    with pytest.raises(UnicodeDecodeError):
        check_utf8(content[:-cut])
