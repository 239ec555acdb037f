"""What is ingested, and what is refused before anything is sent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mux_async.errors import InvalidRequestError
from mux_async.ingest import PlanError, ResultFile, make_plan
from mux_async.ingest._items import Item
from mux_async.ingest._results import ItemResult, playback_url


def write(path: Path, text: str = "film") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def problems(*paths: Path, manifest: Path | None = None, glob: str | None = None) -> tuple[str, ...]:
    with pytest.raises(PlanError) as caught:
        make_plan(paths, manifest=manifest, glob=glob)
    return caught.value.problems


def test_a_folder(tmp_path: Path) -> None:
    """A folder gives its media files, to the bottom and in order, without hidden ones and other files."""
    for name in ["b.mp4", "a/2.MOV", "a/1.mkv", ".hidden/x.mp4", "a/.y.mp4", "readme.txt"]:
        write(tmp_path / name)
    plan = make_plan([tmp_path])

    assert [item.source for item in plan.items] == [str(tmp_path / name) for name in ["b.mp4", "a/1.mkv", "a/2.MOV"]]
    assert plan.size == 12


def test_one_path(tmp_path: Path) -> None:
    """A path by itself counts as a list of one, and not as one path for each of its letters."""
    film = write(tmp_path / "a.mp4")

    assert make_plan(str(film)).items == make_plan(film).items == make_plan([film]).items


def test_a_pattern(tmp_path: Path) -> None:
    """A pattern takes the place of the known suffixes."""
    write(tmp_path / "a.mp4")
    write(tmp_path / "b.raw")

    assert [item.source for item in make_plan([tmp_path], glob="*.raw").items] == [str(tmp_path / "b.raw")]


def test_settings(tmp_path: Path) -> None:
    """An asset is titled after its file, and carries the item's key as its external id."""
    item = make_plan([write(tmp_path / "film.xyz")]).items[0]

    assert item.settings == {"meta": {"title": "film.xyz", "external_id": item.key}}
    assert len(item.key) <= 128


def test_keys_are_stable(tmp_path: Path) -> None:
    """The same file has the same key in every run, by whatever path; another content has another."""
    film = write(tmp_path / "film.mp4")
    key = make_plan([film]).items[0].key
    (tmp_path / "link").symlink_to(tmp_path)

    assert make_plan([tmp_path / "link" / "film.mp4"]).items[0].key == key
    write(film, "another")
    assert make_plan([film]).items[0].key != key


def test_missing_and_empty(tmp_path: Path) -> None:
    """Missing and empty files, and folders with nothing in them, are each named, with what to do."""
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


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser can read everything")
def test_unreadable(tmp_path: Path) -> None:
    """A file that may not be read is named before anything is sent."""
    film = write(tmp_path / "film.mp4")
    film.chmod(0)

    assert "Permission denied" in problems(film)[0]


def test_named_twice(tmp_path: Path) -> None:
    """A file that is named twice, in whatever way, would become two assets, and is refused."""
    film = write(tmp_path / "a" / "film.mp4")

    assert "named twice" in problems(film, film)[0]
    assert "named twice" in problems(tmp_path / "a", film)[0]


def test_nothing_named() -> None:
    """Nothing to do is a mistake, not a success."""
    assert "nothing was named" in problems()[0]


def test_plain_manifest(tmp_path: Path) -> None:
    """A plain manifest has a URL or a path a line, with comments and empty lines; paths start from its folder."""
    write(tmp_path / "film.mp4")
    manifest = write(tmp_path / "list.txt", "# films\n\nhttps://example.com/a%20b.mp4?sig=canary\nfilm.mp4\n")
    url, file = make_plan(manifest=manifest).items

    assert url.source == "https://example.com/a%20b.mp4?..."
    assert url.url is not None
    assert url.url.reveal() == "https://example.com/a%20b.mp4?sig=canary"
    assert url.settings["meta"] == {"title": "a b.mp4", "external_id": url.key}
    assert file.path == tmp_path / "film.mp4"
    assert "canary" not in repr(url)


def test_json_manifest(tmp_path: Path) -> None:
    """JSON lines carry a key, passthrough, meta and any other setting of an asset."""
    manifest = write(
        tmp_path / "list.jsonl",
        '{"url": "https://example.com/a.mp4", "key": "k1", "passthrough": "p", "meta": {"title": "A", "creator_id": "c"},'
        ' "settings": {"video_quality": "plus"}}\n\n{"url": "https://example.com/b.mp4", "meta": {"external_id": "e"}}\n',
    )
    first, second = make_plan(manifest=manifest).items

    assert first.key == "k1"
    assert first.settings == {
        "video_quality": "plus",
        "passthrough": "p",
        "meta": {"title": "A", "creator_id": "c", "external_id": "k1"},
    }
    assert second.key == "e"


def test_csv_manifest(tmp_path: Path) -> None:
    """CSV columns are named by the header; empty cells say nothing."""
    manifest = write(
        tmp_path / "list.csv", 'url,title,passthrough\nhttps://example.com/a.mp4,"A, B",\nhttps://example.com/b.mp4,,p\n'
    )
    first, second = make_plan(manifest=manifest).items

    assert first.settings == {"meta": {"title": "A, B", "external_id": first.key}}
    assert second.settings["passthrough"] == "p"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("list.txt", "ftp://example.com/a.mp4", "line 1: 'ftp://example.com/a.mp4' is not a URL that Mux could fetch"),
        ("list.txt", "# none\n", "names nothing"),
        ("list.txt", "missing.mp4", "line 1"),
        ("list.txt", "https://e.com/a\nhttps://e.com/a", "named twice"),
        ("list.jsonl", "{", "line 1: it is not JSON"),
        ("list.jsonl", "[]", "line 1: it is not an object"),
        ("list.jsonl", "{}", "one of 'url' and 'path'"),
        ("list.jsonl", '{"url": "https://e.com/a", "path": "b"}', "one of 'url' and 'path'"),
        ("list.jsonl", '{"uri": "https://e.com/a"}', "'uri' is none of url, path"),
        ("list.jsonl", '{"url": 1}', "strings"),
        ("list.jsonl", '{"url": "https://e.com/a", "key": 1}', "must be a string"),
        ("list.jsonl", '{"url": "https://e.com/a", "meta": {"name": "x"}}', "it takes title"),
        ("list.jsonl", '{"url": "https://e.com/a", "meta": []}', "are objects"),
        ("list.jsonl", '{"url": "https://e.com/a", "settings": {"inputs": []}}', "a place of its own"),
        ("list.jsonl", '{"url": "https://e.com/a", "passthrough": "%s"}' % ("x" * 256), "Mux keeps 255"),
        ("list.jsonl", '{"url": "https://e.com/a", "key": "%s"}' % ("x" * 129), "Mux keeps 128"),
        ("list.jsonl", '{"url": "https://e.com/a", "meta": {"title": "%s"}}' % ("x" * 513), "Mux keeps 512"),
        ("list.csv", "title\nA\n", "neither 'url' nor 'path'"),
        ("list.csv", "url\nhttps://e.com/a,b\n", "more columns"),
        ("list.csv", "url,name\nhttps://e.com/a,b\n", "'name' is none of"),
        ("list.csv", 'url,title\nhttps://e.com/a,"A\nhttps://e.com/b,B\n', "line 2: it cannot be read"),
        ("list.csv", f"url,title\nhttps://e.com/a,{'x' * 200_000}\n", "field larger than"),
        ("list.jsonl", "[" * 100_000, "line 1: it is not JSON"),
        ("list.jsonl", '{"path": "a\\u0000b"}', "cannot be the name of a file"),
    ],
)
def test_wrong_manifests(tmp_path: Path, name: str, text: str, expected: str) -> None:
    """Every wrong line is named with its number and what to mend."""
    assert expected in " / ".join(problems(manifest=write(tmp_path / name, text)))


def test_line_breaks_within(tmp_path: Path) -> None:
    """A line ends at a line feed and nowhere else; a quoted cell may hold one."""
    name = "a\u0085b\u2028c.mp4"
    write(tmp_path / name)
    listed = make_plan(manifest=write(tmp_path / "list.txt", f"{name}\n")).items
    (cell,) = make_plan(manifest=write(tmp_path / "list.csv", 'url,title\nhttps://e.com/a,"two\nlines"\n')).items

    assert [item.source for item in listed] == [str(tmp_path / name)]
    assert cell.settings == {"meta": {"title": "two\nlines", "external_id": cell.key}}


def test_empty_keys(tmp_path: Path) -> None:
    """A key that is given as nothing counts as not given."""
    lines = "".join(f'{{"url": "https://e.com/{name}", "key": "", "meta": {{"external_id": ""}}}}\n' for name in "ab")
    items = make_plan(manifest=write(tmp_path / "l.jsonl", lines)).items

    assert all(item.key.startswith("u-") for item in items)


def test_missing_manifest(tmp_path: Path) -> None:
    """A manifest that is not there, or is no text, is refused."""
    assert "cannot be read" in problems(manifest=tmp_path / "list.txt")[0]
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in problems(manifest=tmp_path / "binary")[0]


def test_same_key_twice(tmp_path: Path) -> None:
    """Two items with one key are refused: a key stands for one asset."""
    manifest = write(tmp_path / "l.jsonl", '{"url": "https://e.com/a", "key": "k"}\n{"url": "https://e.com/b", "key": "k"}')

    assert "same key 'k'" in problems(manifest=manifest)[0]


def result(source: str) -> ItemResult:
    return ItemResult(source, "k", "ready", "a", None, {"p": "public"}, ("https://x",), 1, 1.0, 2.0, None)


def test_result_file(tmp_path: Path) -> None:
    """Results are added to what is there, each on a line of its own, even after a torn one."""
    path = tmp_path / "results.jsonl"
    path.write_text('{"torn": ')
    with ResultFile(path) as results:
        results.add(result("a\udce9.mp4"))
        results.add(result("b"))

    lines = path.read_text().splitlines()
    assert lines[0] == '{"torn": '
    assert len(lines) == 3
    assert '"playback_ids": [{"id": "p", "policy": "public"}]' in lines[1]


def test_result_file_in_no_folder(tmp_path: Path) -> None:
    """A result file that cannot be written is refused at the beginning, not at the end."""
    with pytest.raises(InvalidRequestError, match="cannot be written"):
        ResultFile(tmp_path / "no" / "results.jsonl")


def test_playback_urls() -> None:
    """Streams are at Mux's own host, or at the server that was named."""
    assert playback_url("https://api.mux.com", "p") == "https://stream.mux.com/p.m3u8"
    assert playback_url("http://127.0.0.1:8787", "p") == "http://127.0.0.1:8787/p.m3u8"


def test_items_are_values() -> None:
    """Items compare by value."""
    assert Item("k", "s") == Item("k", "s")
