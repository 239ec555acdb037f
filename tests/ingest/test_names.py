"""File names are bytes: any that Linux allows are ingested, in folders and lists, and shown as valid text."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mux_async.ingest import Ingest, Journal, Manifest, Plan, PlanError, make_plan, write_report
from mux_async.testing import VirtualTimeLoop
from tests._examples import examples
from tests.ingest.emulation import client_of, emulate, posts

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse names that are no text")

names = (
    st.binary(min_size=1, max_size=40)
    .map(lambda name: name.replace(b"/", b"|").replace(b"\0", b"0"))
    .filter(lambda name: name not in {b".", b".."})
)


def is_text(text: str) -> bool:
    """Return whether *text* can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def folder() -> Generator[bytes]:
    place = tempfile.mkdtemp().encode()
    try:
        yield place
    finally:
        shutil.rmtree(place)


def write(place: bytes, content: bytes = b"film") -> None:
    path = Path(os.fsdecode(place))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def ingest_twice(place: bytes, make: Callable[[], Plan]) -> list[dict[str, object]]:
    """Ingest what *make* plans, twice with one journal, and return the rows of the report."""
    journal = Path(os.fsdecode(place + b"/caf\xe9.journal"))
    report = Path(os.fsdecode(place + b"/caf\xe9.jsonl"))

    async def run() -> list[int]:
        emulator = emulate()
        created: list[int] = []
        for _ in range(2):
            async with client_of(emulator) as mux:
                summary = await Ingest(mux, make().items, journal=journal).run()
                assert summary.is_complete, summary
            created.append(len(posts(emulator)))
        with Journal.open(journal, create=False) as kept:
            write_report(report, kept.entries(), base_url="http://localhost")
        return created

    created = anyio.run(run, backend="asyncio", backend_options={"loop_factory": VirtualTimeLoop})
    rows = [json.loads(line) for line in report.read_bytes().decode().splitlines()]
    assert created == [len(rows), len(rows)]
    return rows


@given(st.lists(names, min_size=1, max_size=4, unique=True), names, st.booleans())
@settings(max_examples=examples(50), deadline=None)
def test_any_name(found: list[bytes], inner: bytes, is_listed: bool) -> None:
    """Files of any name, in folders of any name, become assets once; journal and report hold text of UTF-8.

    They are named by themselves, or by a list whose names end with NUL.
    """
    with folder() as place:
        inside = place + b"/films/" + inner
        for number, name in enumerate(found):
            write(inside + b"/" + name + b".mp4", b"film %d" % number)
        paths = [b"films/" + inner + b"/" + name + b".mp4" for name in found]

        def plan() -> Plan:
            if is_listed:
                listed = Manifest.from_bytes(b"\0".join(paths) + b"\0", "null", folder=Path(os.fsdecode(place)))
                return make_plan(manifest=listed)
            return make_plan([place + b"/" + path for path in paths])

        rows = ingest_twice(place, plan)

        assert len(rows) == len(found)
        assert all(is_text(str(row["source"])) and row["status"] == "ready" for row in rows)


def test_a_folder_of_names_that_are_no_text() -> None:
    """A folder is searched with any names in it: ``caf\\xe9.mp4`` in Latin-1, and a folder like that."""
    with folder() as place:
        for name in (b"caf\xe9.mp4", b"d\xff/x.mp4", b"plain.mp4"):
            write(place + b"/films/" + name, name)
        rows = ingest_twice(place, lambda: make_plan(place + b"/films"))

        shown = sorted(str(row["source"]).removeprefix(os.fsdecode(place)) for row in rows)
        assert shown == ["/films/caf\\xe9.mp4", "/films/d\\xff/x.mp4", "/films/plain.mp4"]


def test_halves_of_characters() -> None:
    """A half of a character in a JSON list is written out in keys and settings; in a path it is a byte of the name."""
    with folder() as place:
        write(place + b"/caf\xe9.mp4")
        line = json.dumps({"path": "caf\udce9.mp4", "key": "k\ud83d", "title": "t\ud83d", "passthrough": "\udcff"})
        listed = Manifest(line, "jsonl", folder=Path(os.fsdecode(place)))
        (row,) = ingest_twice(place, lambda: make_plan(manifest=listed))
        (item,) = make_plan(manifest=listed).items

        assert row["key"] == "k\\ud83d"
        assert item.settings == {
            "passthrough": "\\xff",
            "meta": {"title": "t\\ud83d", "external_id": "k\\ud83d"},
        }
    for line in ('{"path": "\\ud83d.mp4"}', '{"url": "https://e.com/\\ud83d"}', '{"url": "https://e.com/a", "\\ud83d": 1}'):
        with pytest.raises(PlanError, match=r"l\.jsonl, line 1") as caught:
            make_plan(manifest=Manifest(line, "jsonl", "l.jsonl"))
        assert is_text(str(caught.value))


def test_bytes_of_another_encoding(tmp_path: Path) -> None:
    """A path in a list is taken byte by byte, or from the code page of Windows, where there is such a file; other text is refused."""
    write(os.fsencode(tmp_path) + b"/caf\xe9.mp4", b"one")
    write(os.fsencode(tmp_path) + "naïve.mp4".encode(), b"two")
    write(os.fsencode(tmp_path / "naïve.mp4"), b"two")
    listed = Manifest.from_bytes(b"path\ncaf\xe9.mp4\nna\xefve.mp4\n", "csv", folder=tmp_path)
    paths = [item.path for item in make_plan(manifest=listed).items]

    assert paths == [tmp_path / "caf\udce9.mp4", tmp_path / "naïve.mp4"]
    with pytest.raises(PlanError, match=r"l\.csv, line 2, column 'title': it holds bytes that are not UTF-8.*--encoding"):
        make_plan(manifest=Manifest.from_bytes(b"url,title\nhttps://e.com/a,caf\xe9\n", "csv", name="l.csv"))
    named = Manifest.from_bytes(b"url,title\nhttps://e.com/a,caf\xe9\n", "csv", encoding="latin-1")
    (item,) = make_plan(manifest=named).items
    assert item.settings["meta"] == {"title": "café", "external_id": item.key}


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=20) | names.map(os.fsdecode))
def test_settings_are_text(text: str) -> None:
    """A setting of a list is sent as valid text, and valid text is unchanged."""
    row = json.dumps({"url": "https://example.com/a.mp4", "passthrough": text})
    (item,) = make_plan(manifest=Manifest(row, "jsonl")).items
    sent = str(item.settings["passthrough"])

    assert is_text(sent)
    assert not is_text(text) or sent == text


# --- links ---


def test_links_beside_their_target(tmp_path: Path) -> None:
    """A file and links to it are one item, by the name that comes first; a broken link is reported."""
    (tmp_path / "b.mp4").write_bytes(b"film")
    (tmp_path / "a.mp4").symlink_to("b.mp4")
    (tmp_path / "c.mp4").symlink_to(tmp_path / "a.mp4")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    plan = make_plan(tmp_path)

    assert [item.source for item in plan.items] == [str(tmp_path / "a.mp4")]
    assert plan.duplicates == (str(tmp_path / "b.mp4"), str(tmp_path / "c.mp4"))

    (tmp_path / "d.mp4").symlink_to("nowhere")
    with pytest.raises(PlanError, match=r"d\.mp4' cannot be read"):
        make_plan(tmp_path)


def test_links_with_other_settings(tmp_path: Path) -> None:
    """If the settings of a file and a link to it differ, both are reported, with their lines and the differences."""
    (tmp_path / "film.mp4").write_bytes(b"film")
    (tmp_path / "link.mp4").symlink_to("film.mp4")
    text = '{"path": "film.mp4", "title": "One"}\n\n{"path": "link.mp4", "title": "Two", "test": true}\n'
    with pytest.raises(PlanError) as caught:
        make_plan(manifest=Manifest(text, "jsonl", "l.jsonl", tmp_path))
    (problem,) = caught.value.problems

    assert (problem.manifest, problem.line) == ("l.jsonl", 3)
    assert f"{str(tmp_path / 'link.mp4')!r} is there twice, with different settings (test, title)" in problem.message
    assert f"{str(tmp_path / 'film.mp4')!r} of l.jsonl, line 1" in problem.message
