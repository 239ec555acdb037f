"""Items as values that another host can continue."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mux_async.ingest import Item, ItemOptions, file_item, url_item


def items(folder: Path) -> list[Item]:
    film = folder / "film.mp4"
    film.write_bytes(b"film")
    options = ItemOptions(meta={"title": "A film"}, settings={"playback_policies": ["signed"]}, priority=3)
    return [
        file_item(film),
        file_item(film, by_content=True),
        file_item(film, ItemOptions(key="film-1", passthrough="p")),
        url_item("https://example.com/a.mp4?token=secret", options),
    ]


def test_to_dict(tmp_path: Path) -> None:
    """An item is the same after `to_dict`, JSON and `from_dict`."""
    for item in items(tmp_path):
        assert Item.from_dict(json.loads(json.dumps(item.to_dict()))) == item


@pytest.mark.parametrize("data", [{}, {"key": "a"}, {"key": "a", "source": "b", "colour": "red"}])
def test_invalid_dicts(data: dict[str, object]) -> None:
    """A missing or unknown member is an error."""
    with pytest.raises(ValueError, match="a stored item is invalid"):
        Item.from_dict(data)


def test_portable_keys(tmp_path: Path) -> None:
    """A key that is derived from a path on this host is not portable; a given one, one of the content and that of a URL are."""
    assert [item.is_portable for item in items(tmp_path)] == [False, True, True, True]
