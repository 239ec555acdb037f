"""Plans: which items are ingested, and which problems are reported before anything is sent."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mux_async.errors import MissingExtraError
from mux_async.ingest import Dedup, Item, ItemResult, ItemState, Manifest, PlanError, Stage, make_plan
from mux_async.models import Asset


def write(path: Path, text: str = "film") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def problems(*sources: Path | str, manifest: Path | None = None, dedup: Dedup = "key") -> list[str]:
    with pytest.raises(PlanError) as caught:
        make_plan(sources, manifest=manifest or (), dedup=dedup)
    return [str(each) for each in caught.value.problems]


def test_a_folder(tmp_path: Path) -> None:
    """A folder gives its media files, recursively and in order, without hidden files and other types."""
    for name in ["b.mp4", "a/2.MOV", "a/1.mkv", ".hidden/x.mp4", "a/.y.mp4", "readme.txt"]:
        write(tmp_path / name)
    plan = make_plan([tmp_path])

    assert [item.source for item in plan.items] == [str(tmp_path / name) for name in ["b.mp4", "a/1.mkv", "a/2.MOV"]]
    assert plan.size == 12


def test_one_path(tmp_path: Path) -> None:
    """A single path counts as a list of one, not as one path for each of its letters."""
    film = write(tmp_path / "a.mp4")

    assert make_plan(str(film)).items == make_plan(film).items == make_plan([film]).items


def test_a_pattern(tmp_path: Path) -> None:
    """A pattern takes the place of the known suffixes."""
    write(tmp_path / "a.mp4")
    write(tmp_path / "b.raw")

    assert [item.source for item in make_plan([tmp_path], glob="*.raw").items] == [str(tmp_path / "b.raw")]


def test_settings(tmp_path: Path) -> None:
    """An asset has the title of its file, and the item's key as its external id."""
    item = make_plan([write(tmp_path / "film.xyz")]).items[0]

    assert item.settings == {"meta": {"title": "film.xyz", "external_id": item.key}}
    assert len(item.key) <= 128


def test_keys_are_stable(tmp_path: Path) -> None:
    """A file has the same key in every run, by any path; different content has a different key."""
    film = write(tmp_path / "film.mp4")
    key = make_plan([film]).items[0].key
    (tmp_path / "link").symlink_to(tmp_path)

    assert make_plan([tmp_path / "link" / "film.mp4"]).items[0].key == key
    write(film, "another")
    assert make_plan([film]).items[0].key != key


def test_missing_and_empty(tmp_path: Path) -> None:
    """Missing and empty files, and empty folders, are each reported, with advice."""
    empty = write(tmp_path / "empty.mp4", "")
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    write(tmp_path / "texts" / "a.txt")
    found = problems(tmp_path / "missing.mp4", empty, nothing, tmp_path / "texts")

    assert len(found) == 4
    for sentence, what, advice in zip(
        found,
        ["cannot be read (No such file", "is empty", "the folder", "none of the 1 files"],
        ["check the name", "written to the end", "put media files there", "--glob"],
        strict=True,
    ):
        assert what in sentence
        assert advice in sentence


def test_unreadable(tmp_path: Path) -> None:
    """An unreadable file is reported before anything is sent, for any user; with ``skip`` the good ones are planned."""
    loop = tmp_path / "loop.mp4"
    loop.symlink_to(loop)
    good = write(tmp_path / "good.mp4")

    assert f"{str(loop)!r} cannot be read (Too many levels" in problems(tmp_path)[0]
    plan = make_plan(tmp_path, on_bad_line="skip")
    assert [item.path for item in plan.items] == [good]
    assert "cannot be read" in str(plan.problems[0])


def test_nothing_is_left(tmp_path: Path) -> None:
    """If all sources are bad, skipping them leaves no items, which is an error."""
    with pytest.raises(PlanError, match="is empty"):
        make_plan(write(tmp_path / "a.mp4", ""), on_bad_line="skip")


def test_named_twice(tmp_path: Path) -> None:
    """A file that is named twice, in any way, becomes one asset; with different settings it is a problem."""
    film = write(tmp_path / "a" / "film.mp4")
    plan = make_plan([tmp_path / "a", film, tmp_path / "a" / ".." / "a" / "film.mp4"])
    lines = write(tmp_path / "l.jsonl", '{"path": "a/film.mp4"}\n{"path": "a/film.mp4", "test": true}')

    assert len(plan.items) == 1
    assert len(plan.duplicates) == 2
    assert "there twice, with different settings" in problems(manifest=lines)[0]


def test_two_assets_of_one_file(tmp_path: Path) -> None:
    """One file with two keys would cost two POSTs: the second line is a problem, unless duplicates are wanted."""
    write(tmp_path / "film.mp4")
    lines = write(tmp_path / "l.jsonl", '{"path": "film.mp4", "key": "a"}\n{"path": "film.mp4", "key": "b", "test": true}')

    assert "two assets and two POSTs" in problems(manifest=lines)[0]
    assert [item.key for item in make_plan(manifest=lines, dedup="none").items] == ["a", "b"]


def test_no_dedup(tmp_path: Path) -> None:
    """Without dedup, each mention of a file makes an asset, with a key that is the same in every run."""
    film = write(tmp_path / "film.mp4")
    first, second, third = make_plan([film, film, film], dedup="none").items

    assert [second.key, third.key] == [f"{first.key}-2", f"{first.key}-3"]
    assert second.settings["meta"] == {"title": "film.mp4", "external_id": second.key}
    assert make_plan([film, film, film], dedup="none").items == (first, second, third)


def test_by_content(tmp_path: Path) -> None:
    """Equal files become one asset, and keep their key if they are moved."""
    one = write(tmp_path / "one.mp4", "the same")
    write(tmp_path / "two.mp4", "the same")
    write(tmp_path / "three.mp4", "another")
    plan = make_plan(tmp_path, dedup="content")
    before = make_plan(one, dedup="content").items[0].key
    one.rename(tmp_path / "moved.mp4")

    assert [item.source for item in plan.items] == [str(one), str(tmp_path / "three.mp4")]
    assert plan.duplicates == (str(tmp_path / "two.mp4"),)
    assert make_plan(tmp_path / "moved.mp4", dedup="content").items[0].key == before


def test_globs(tmp_path: Path) -> None:
    """Patterns match files, at any depth with ``**``; a pattern without a match is a problem."""
    for name in ["a/1.mov", "a/b/2.mov", "a/b/3.mp4"]:
        write(tmp_path / name)

    assert [item.source for item in make_plan(f"{tmp_path}/**/*.mov").items] == [
        str(tmp_path / "a/1.mov"),
        str(tmp_path / "a/b/2.mov"),
    ]
    assert "no file matches" in problems(f"{tmp_path}/*.mkv")[0]
    (tmp_path / "[x].mp4").write_text("a name that looks like a pattern")
    assert len(make_plan(tmp_path / "[x].mp4").items) == 1


def test_urls() -> None:
    """URLs are sources like files, and clips of other assets too."""
    url, clip = make_plan(["https://example.com/a.mp4?sig=canary", "mux://assets/abc"]).items

    assert url.create_body()["inputs"] == [{"url": "https://example.com/a.mp4?sig=canary"}]
    assert clip.create_body()["inputs"] == [{"url": "mux://assets/abc"}]
    assert "canary" not in repr(url)


def test_signed_urls() -> None:
    """A URL with a new signature is the same item; another parameter makes another one."""
    url = "https://b.s3.amazonaws.com/a.mp4?v=1&X-Amz-Signature={0}&X-Amz-Expires={0}&Key-Pair-Id={0}&sig={0}"
    first, second, other = (
        make_plan(each).items[0].key for each in (url.format(1), url.format(2), url.format(1).replace("v=1", "v=2"))
    )

    assert first == second != other
    assert make_plan("https://e.com/a").items[0].key == make_plan("https://e.com/a?Signature=1&Expires=2").items[0].key


@pytest.fixture
def bucket() -> Iterator[None]:
    """A bucket in memory: what fsspec has for tests."""
    system: Any = importlib.import_module("fsspec").filesystem("memory")  # it has no types
    for name in ("a.mp4", "b/c.mov", "b/notes.txt"):
        system.pipe(f"/films/{name}", name.encode())
    yield
    system.rm("/films", recursive=True)


@pytest.mark.usefixtures("bucket")
def test_addresses() -> None:
    """Files of fsspec can be named, found in folders and by patterns, and keep their key until they are written to."""
    (one,) = make_plan("memory://films/a.mp4").items

    assert (one.address, one.size, one.path, one.url) == ("memory://films/a.mp4", 5, None, None)
    assert one.settings["meta"] == {"title": "a.mp4", "external_id": one.key}
    assert make_plan("memory://films/a.mp4").items == (one,)
    assert [item.address for item in make_plan("memory://films/").items] == ["memory:///films/a.mp4", "memory:///films/b/c.mov"]
    assert [item.address for item in make_plan("memory://films/b/*").items] == [
        "memory:///films/b/c.mov",
        "memory:///films/b/notes.txt",
    ]
    assert [item.size for item in make_plan(manifest=Manifest("memory://films/b/c.mov")).items] == [7]


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("memory://films/none.mp4", "cannot be read"),
        ("memory://films", "is a folder: end it with a slash"),
        ("memory://films/none/", "nothing in 'memory://films/none/'"),
        ("memory://films/*.mkv", "nothing in"),
        ("nonsense://films/a.mp4", "cannot be reached: Protocol not known"),
    ],
)
def test_wrong_addresses(address: str, expected: str) -> None:
    """Unreachable addresses are reported before anything is sent."""
    assert expected in problems(address)[0]


def test_without_fsspec(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without fsspec, the extra that brings it is named."""

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)

    with pytest.raises(MissingExtraError, match=r"reading s3:// files needs fsspec: pip install 'mux-async\[fsspec\]'"):
        make_plan("s3://bucket/film.mp4")


def test_a_manifest_as_a_source(tmp_path: Path) -> None:
    """A CSV or JSON lines file is always a manifest, since Mux cannot process it."""
    source = write(tmp_path / "list.csv", "url\nhttps://e.com/a\n")
    more = write(tmp_path / "more.txt", "https://e.com/b\n")

    assert [item.source for item in make_plan(source, manifest=[more, Manifest("https://e.com/c")]).items] == [
        f"https://e.com/{name}" for name in "abc"
    ]


def test_priority(tmp_path: Path) -> None:
    """Higher priorities go first, and the order is kept among equals."""
    source = write(
        tmp_path / "l.csv",
        "url,priority\nhttps://e.com/a,5\nhttps://e.com/b,\nhttps://e.com/c,9\nhttps://e.com/d,5\nhttps://e.com/e,-1\n",
    )

    assert "".join(item.source[-1] for item in make_plan(source).items) == "cadbe"


def test_nothing_named() -> None:
    """A plan without items is an error."""
    assert "nothing was named" in problems()[0]


def test_same_key_twice(tmp_path: Path) -> None:
    """Two items with one key are refused: a key stands for one asset."""
    manifest = write(tmp_path / "l.jsonl", '{"url": "https://e.com/a", "key": "k"}\n{"url": "https://e.com/b", "key": "k"}')

    assert "same key 'k'" in problems(manifest=manifest)[0]


def test_playback_urls() -> None:
    """Streams are at Mux's host, or at the given server."""
    state = ItemState("k", stage=Stage.DONE, asset_id="a")
    asset = Asset.from_wire({"id": "a", "playback_ids": [{"id": "p", "policy": "public"}]})
    at_mux, elsewhere = (
        ItemResult.of(Item("k", "s"), state, asset, seconds=1.0, base_url=base_url).playback_urls
        for base_url in ("https://api.mux.com", "http://127.0.0.1:8787")
    )

    assert at_mux == ("https://stream.mux.com/p.m3u8",)
    assert elsewhere == ("http://127.0.0.1:8787/p.m3u8",)


def test_items_are_values() -> None:
    """Items compare by value."""
    assert Item("k", "s") == Item("k", "s")
