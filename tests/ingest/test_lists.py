"""Lists as spreadsheets, shells and programs write them: each row becomes an item, or a problem with its line."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mux_async.ingest import Item, Manifest, PlanError, Problem, make_plan
from tests._examples import examples


def problems(source: Any = (), *, manifest: Any = ()) -> list[str]:
    with pytest.raises(PlanError) as caught:
        make_plan(source, manifest=manifest)
    return [str(each) for each in caught.value.problems]


def urls(data: bytes | str, form: Any = "csv") -> list[str]:
    """Return the URLs of a list without mistakes."""
    listed = Manifest.from_bytes(data.encode() if isinstance(data, str) else data, form)
    return [item.url.reveal() for item in make_plan(manifest=listed).items if item.url is not None]


def title(item: Item) -> object:
    meta = item.settings["meta"]
    assert isinstance(meta, dict)
    return meta["title"]  # pyright: ignore[reportUnknownVariableType]


@attrs.frozen
class Dialect:
    """How a table is written."""

    separator: str
    ending: str
    encoding: str
    quoting: int
    header: str
    padding: str
    empty_columns: int
    has_sep_line: bool
    blank_rows: int


dialects = st.builds(
    Dialect,
    separator=st.sampled_from([",", ";", "\t", "|"]),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    header=st.sampled_from(["lower", "upper", "title", " padded "]),
    padding=st.sampled_from(["", " ", "  ", "\u00a0"]),
    empty_columns=st.integers(0, 3),
    has_sep_line=st.booleans(),
    blank_rows=st.integers(0, 2),
)
titles = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=12)
rows = st.lists(
    st.tuples(
        st.sampled_from(
            ["https://e.com/{}.mp4", "HTTPS://E.com/{}.mp4", "https://e.com/{} 1.mp4", "nonsense{}", "ftp://e.com/{}"]
        ),
        titles,
        st.sampled_from(["", "yes", "perhaps"]),
    ),
    min_size=1,
    max_size=6,
)


def written(how: Dialect, entries: list[tuple[str, str, str]]) -> tuple[bytes, int]:
    """Return a table, and the number of the line of its first entry."""
    text = io.StringIO()
    first = 2
    if how.has_sep_line:
        text.write(f"sep={how.separator}{how.ending}")
        first += 1
    writer = csv.writer(text, delimiter=how.separator, lineterminator=how.ending, quoting=how.quoting)  # type: ignore[arg-type]
    names = {"upper": ["URL", "TITLE", "TEST"], "title": ["Url", "Title", "Test"], " padded ": [" url ", " title", "test "]}
    empty = [""] * how.empty_columns
    writer.writerow([*names.get(how.header, ["url", "title", "test"]), *empty])
    for place, name, test in entries:
        writer.writerow([f"{how.padding}{place}{how.padding}", name, test, *empty])
    for _ in range(how.blank_rows):
        writer.writerow(["", "", "", *empty])
    return text.getvalue().encode(how.encoding), first


@given(dialects, rows)
@settings(max_examples=examples(250), deadline=None)
def test_any_table(how: Dialect, entries: list[tuple[str, str, str]]) -> None:
    """In a table of any format, each row becomes its item or a problem with its line, and no row hides another."""
    entries = [(place.format(number), name, test) for number, (place, name, test) in enumerate(entries)]
    data, first = written(how, entries)
    found = list(Manifest.from_bytes(data, "csv", name="l.csv").items())

    items = {item.url.reveal(): item for item in found if isinstance(item, Item) and item.url is not None}
    lines = {problem.line for problem in found if isinstance(problem, Problem)}
    for number, (place, name, test) in enumerate(entries):
        if place.lower().startswith("https://") and test != "perhaps":
            item = items.pop(place.replace("HTTPS://E", "https://e").replace(" ", "%20"))
            assert not name.strip() or title(item) == name
            assert first + number not in lines
        else:
            assert first + number in lines
    assert not items


@given(
    st.lists(st.sampled_from(["https://e.com/{}.mp4", " https://e.com/{}.mp4 ", '"https://e.com/{}.mp4"', "no{}"]), min_size=1),
    st.sampled_from(["\n", "\r\n", "\r", "\0"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
@settings(max_examples=examples(100), deadline=None)
def test_any_lines(entries: list[str], ending: str, encoding: str) -> None:
    """Lists of lines are read with any line ending, surrounding blanks and quotes, in any encoding with a byte order mark."""
    text = "".join(f"{each.format(number)}{ending}" for number, each in enumerate(entries))
    found = list(Manifest.from_bytes(text.encode(encoding), "lines").items())

    assert len(found) == len(entries)
    for number, (entry, each) in enumerate(zip(entries, found, strict=True)):
        if "no" in entry:
            assert isinstance(each, Problem)
            assert each.line == number + 1
        else:
            assert isinstance(each, Item)
            assert each.url is not None
            assert each.url.reveal() == f"https://e.com/{number}.mp4"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("url\n https://e.com/a \n", ["https://e.com/a"]),
        ("URL;Title\nHTTPS://E.COM/A;x\n", ["https://e.com/A"]),
        ("url\ttitle\nhttps://e.com/my film.mp4\tx\n", ["https://e.com/my%20film.mp4"]),
        ("sep=;\nurl;title\nhttps://e.com/a;x\n", ["https://e.com/a"]),
        ("url,title,,\nhttps://e.com/a,x,,\n,,,\n", ["https://e.com/a"]),
        ("\ufeffurl\r\nhttps://e.com/a\r\n", ["https://e.com/a"]),
        ("title;url\nx;https://e.com/a?b=1,2\n", ["https://e.com/a?b=1,2"]),
        ("Creator ID,url\nx,https://e.com/a\n", ["https://e.com/a"]),
    ],
)
def test_cells(text: str, expected: list[str]) -> None:
    """Unambiguous variations are accepted."""
    assert urls(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("url,title\nhttps://e.com/a b c://d,x\n", ["line 2: 'https://e.com/a b' is followed by other text"]),
        ("url,,title\nhttps://e.com/a,oops,x\n", ["line 2: column 2 has no name in the header but contains 'oops'"]),
        ("url\nhttps://e.com/a,b\n", ["line 2: it has more columns than the header"]),
        (
            "url,test,priority\nhttps://e.com/a,perhaps,soon\nno,,\n",
            ["line 2, column 'test'", "line 2, column 'priority'", "line 3: 'no' is not a URL"],
        ),
        (
            'url,title\nhttps://e.com/a,"x\nhttps://e.com/b,"y" z\nno,\n',
            ["line 2: it cannot be read", "line 3", "line 4: 'no'"],
        ),
    ],
)
def test_wrong_cells(text: str, expected: list[str]) -> None:
    """Ambiguous text is reported with its line and column, and hides nothing else."""
    found = problems(manifest=Manifest(text, "csv", "l.csv"))

    assert len(found) == len(expected), found
    assert all(wanted in sentence for wanted, sentence in zip(expected, found, strict=True)), found


def test_an_open_quote_hides_nothing() -> None:
    """A quote that is never closed loses its own row but none after it."""
    text = 'url,title\nhttps://e.com/a,"x\n' + "".join(f"https://e.com/{number},t\n" for number in range(5))
    plan = make_plan(manifest=Manifest(text, "csv", "l.csv"), on_bad_line="skip")

    assert len(plan.items) == 5
    assert [each.line for each in plan.problems] == [2]


def test_json_files(tmp_path: Path) -> None:
    """A ``.json`` file is an array of objects or of paths, or has an object per line; every element has its line number."""
    listed = tmp_path / "l.json"
    listed.write_text('[\n  {"URL": " https://e.com/a ", "Title": "A"},\n  "https://e.com/b",\n\n  {"uri": "x"}, 5\n]\n')
    found = list(Manifest.read(listed).items())

    assert [each.source for each in found if isinstance(each, Item)] == ["https://e.com/a", "https://e.com/b"]
    assert [each.line for each in found if isinstance(each, Problem)] == [5, 5, 5]
    listed.write_text('{"url": "https://e.com/a"}\n{"url": "https://e.com/b"}\n')
    assert len(make_plan(listed).items) == 2
    listed.write_text('[{"url": "https://e.com/a"},\n {"url": ]')
    assert "line 2: it is not JSON from character 10" in problems(listed)[0]


@pytest.mark.parametrize("name", ["l.txt", "l.TSV", "l.json", "l.ndjson", "l.lst"])
def test_lists_are_not_films(tmp_path: Path, name: str) -> None:
    """A list is read as one wherever it is named, and never uploaded."""
    texts = {
        "l.TSV": "url\ttitle\nhttps://e.com/a\tx\n",
        "l.json": '["https://e.com/a"]',
        "l.ndjson": '{"url": "https://e.com/a"}',
    }
    listed = tmp_path / name
    listed.write_text(texts.get(name, "https://e.com/a\n"))
    (tmp_path / "outer.csv").write_text(f"path\n{name}\n")

    assert [item.source for item in make_plan(listed).items] == ["https://e.com/a"]
    assert [item.source for item in make_plan(f"{tmp_path}/{name[:2]}*").items] == ["https://e.com/a"]
    assert "it is a manifest" in problems(tmp_path / "outer.csv")[0]
    assert "it is a manifest" in problems(f"https://e.com/{name}?x=1")[0]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("l.xlsx", "save it as CSV"),
        ("l.ODS", "save it as CSV"),
        ("l.srt", "'tracks'"),
        ("l.zip", "unpack it"),
        ("l.html", "not a video"),
    ],
)
def test_no_films(tmp_path: Path, name: str, advice: str) -> None:
    """Spreadsheets, subtitles, archives and documents are refused with advice."""
    (tmp_path / name).write_bytes(b"PK\x03\x04")

    assert advice in problems(tmp_path / name)[0]


def packets(size: int, first: int = 0) -> bytes:
    return b"\0" * first + (b"\x47" + b"\0" * (size - 1)) * 4


def test_typescript(tmp_path: Path) -> None:
    """``.ts`` files in folders are ingested if they are MPEG, with any packet size; source code is skipped, and refused by name."""
    for name, data in {
        "a.ts": packets(188),
        "b.ts": packets(192, 4),
        "c.mts": packets(204),
        "G.ts": b"GET" + b" " * 2000,
        "code.ts": b"export const a = 1;\n" * 40,
        "d.mts": b"import x from 'y';\n",
    }.items():
        (tmp_path / name).write_bytes(data)

    assert [Path(item.source).name for item in make_plan(tmp_path).items] == ["a.ts", "b.ts", "c.mts"]
    assert "is not an MPEG transport stream" in problems(tmp_path / "code.ts")[0]


@given(st.binary(max_size=1200), st.sampled_from([188, 192, 204]))
@settings(max_examples=examples(100), deadline=None)
def test_transport_streams(junk: bytes, size: int) -> None:
    """Packets are found after any prefix shorter than one packet."""
    with tempfile.TemporaryDirectory() as folder:
        stream, other = Path(folder, "stream.ts"), Path(folder, "other.ts")
        stream.write_bytes(junk[: size - 1] + packets(size) * 3)
        other.write_bytes(junk.replace(b"\x47", b"g") or b"g")

        assert [item.path for item in make_plan(folder).items] == [stream]


# --- who is who ---

SCHEMES = {
    "azure": "sv=2022&se={0}&sr=b&sp=r&sig={0}",
    "azure delegation": "sv=2022&st={0}&se={0}&skoid=o&sktid=t&skt={0}&ske={0}&sks=b&skv=2022&sr=b&sp=r&sig={0}",
    "cloudfront": "Expires={0}&Signature={0}&Key-Pair-Id=K",
    "cloudfront policy": "Policy={0}&Signature={0}&Key-Pair-Id=K",
    "s3 v2": "AWSAccessKeyId=A&Expires={0}&Signature={0}",
    "s3 v4": "X-Amz-Algorithm=A&X-Amz-Credential=C&X-Amz-Date={0}&X-Amz-Expires=9&X-Amz-SignedHeaders=host&X-Amz-Signature={0}",
    "gcs v2": "GoogleAccessId=g&Expires={0}&Signature={0}",
    "gcs v4": "X-Goog-Algorithm=A&X-Goog-Credential=C&X-Goog-Date={0}&X-Goog-Expires=9&X-Goog-SignedHeaders=host&X-Goog-Signature={0}",
    "alibaba v1": "OSSAccessKeyId=o&Expires={0}&Signature={0}&security-token={0}",
    "alibaba v4": "x-oss-signature-version=OSS4-HMAC-SHA256&x-oss-credential=c&x-oss-date={0}&x-oss-expires=9&x-oss-signature={0}",
    "alibaba cdn": "auth_key={0}-0-0-abc",
    "tencent cos": "q-sign-algorithm=sha1&q-ak=a&q-sign-time={0}&q-key-time={0}&q-header-list=host&q-url-param-list=&q-signature={0}",
    "tencent vod": "t={0}&us=x{0}&sign={0}",
    "bunny": "token={0}&expires={0}&token_path=%2F",
    "akamai": "hdnts=exp={0}~acl=/*~hmac={0}",
    "akamai older": "__token__=exp={0}~hmac={0}",
    "b2": "Authorization=3_{0}",
    "google cdn": "Expires={0}&KeyName=k&Signature={0}",
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_signed_urls(scheme: str) -> None:
    """A URL with a new signature is the same item; another parameter makes another one."""
    first, second, other = (
        f"https://e.com/play.mp4?v={film}&{SCHEMES[scheme].format(mark)}&w=1" for film, mark in ((1, 111), (1, 222), (2, 111))
    )
    plan = make_plan([first, second, other])

    assert len(plan.items) == 2
    assert len(plan.duplicates) == 1
    assert make_plan(first).items[0].key == make_plan("https://e.com/play.mp4?v=1&w=1").items[0].key


@pytest.mark.parametrize(
    "name",
    ["se", "sp", "st", "sv", "sr", "expires", "Policy", "token", "sign", "t", "us", "x-oss-process", "expire", "keyname"],
)
def test_short_names(name: str) -> None:
    """A parameter that is only part of a signature together with others is part of the item's name without them."""
    assert len(make_plan([f"https://e.com/play.mp4?{name}={number}" for number in (1, 2)]).items) == 2


def test_one_list_for_all(tmp_path: Path) -> None:
    """A path with surrounding blanks is found, whether they are part of its name or not."""
    for name in ("a.mp4", " b .mp4 "):
        (tmp_path / name).write_bytes(name.encode())
    listed = Manifest(json.dumps({"path": "  a.mp4 "}) + "\n" + json.dumps({"path": " b .mp4 "}), "jsonl", folder=tmp_path)

    assert [item.path for item in make_plan(manifest=listed).items] == [tmp_path / "a.mp4", tmp_path / " b .mp4 "]
