"""Manifests: the items of their lines, and the problems of bad lines."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from mux_async.ingest import Item, Manifest, PlanError, Problem, make_plan
from mux_async.models import AssetOptions


def write(path: Path, text: str = "film") -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def problems(manifest: Path | Manifest) -> list[str]:
    with pytest.raises(PlanError) as caught:
        make_plan(manifest=manifest)
    return [str(each) for each in caught.value.problems]


def only(line: dict[str, object]) -> Item:
    """Return the item of one JSON line."""
    (item,) = make_plan(manifest=Manifest(json.dumps(line), "jsonl")).items
    return item


def test_plain_manifest(tmp_path: Path) -> None:
    """A plain manifest has a URL or a path per line, with comments and empty lines; paths are relative to its folder."""
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
        ("list.txt", "ftp://example.com/a.mp4", "line 1: 'ftp://example.com/a.mp4' is not a URL that Mux can fetch"),
        ("list.txt", "# none\n", "is empty: write one URL"),
        ("list.txt", "missing.mp4", "line 1"),
        ("list.jsonl", "{", "line 1: it is not JSON"),
        ("list.jsonl", "[]", "line 1: it is not an object"),
        ("list.jsonl", "{}", "either 'url' or 'path'"),
        ("list.jsonl", '{"url": "https://e.com/a", "path": "b"}', "either 'url' or 'path'"),
        ("list.jsonl", '{"uri": "https://e.com/a"}', "column 'uri': 'uri' is not a column of a manifest: did you mean 'url'?"),
        ("list.jsonl", '{"url": 1}', "column 'url': 1 is not text"),
        ("list.jsonl", '{"url": "https://e.com/a", "key": 1}', "column 'key': 1 is not text"),
        ("list.jsonl", '{"url": "https://e.com/a", "meta": {"name": "x"}}', "allowed are title"),
        ("list.jsonl", '{"url": "https://e.com/a", "meta": []}', "column 'meta': it must be an object"),
        ("list.jsonl", '{"url": "https://e.com/a", "settings": {"input": []}}', "'tracks', which is part of the create"),
        ("list.jsonl", '{"url": "https://e.com/a", "passthrough": "%s"}' % ("x" * 256), "Mux keeps 255"),
        ("list.jsonl", '{"url": "https://e.com/a", "key": "%s"}' % ("x" * 129), "Mux keeps 128"),
        ("list.jsonl", '{"url": "https://e.com/a", "meta": {"title": "%s"}}' % ("x" * 513), "Mux keeps 512"),
        ("list.csv", "title\nA\n", "neither 'url' nor 'path'"),
        ("list.csv", "url\nhttps://e.com/a,b\n", "more columns"),
        ("list.csv", "url,name\nhttps://e.com/a,b\n", "line 1, column 'name': 'name' is not a column of a manifest"),
        ("list.csv", 'url,title\nhttps://e.com/a,"A\nhttps://e.com/b,B\n', "line 2: it cannot be read"),
        ("list.csv", f"url,title\nhttps://e.com/a,{'x' * 200_000}\n", "field larger than"),
        ("list.jsonl", "[" * 100_000, "line 1: it is not JSON"),
        ("list.jsonl", '{"url": "https://e.com/a"\n', "line 1: it is not JSON from character 26 on"),
        ("list.csv", "link;title\nhttps://e.com/a;b\n", "separated by commas, semicolons or tabs"),
        ("list.csv", "url,title,title\nhttps://e.com/a,b,c\n", "line 1, column 'title': it is there twice"),
        ("list.csv", "url,priority\nhttps://e.com/a,soon\n", "line 2, column 'priority': it must be a whole number"),
        ("list.csv", "url,test\nhttps://e.com/a,perhaps\n", "line 2, column 'test': 'perhaps' is neither true nor false"),
        ("list.csv", "url,tracks\nhttps://e.com/a,{\n", "line 2, column 'tracks': '{' is not JSON"),
        (
            "list.csv",
            "url,video_quality\nhttps://e.com/a,plsu\n",
            "line 2, column 'video_quality': 'plsu' is not one of basic, plus, premium; did you mean 'plus'?",
        ),
        ("list.csv", "url,end_time\nmux://assets/a,last\n", "line 2, column 'end_time': 'last' is not a number"),
        ("list.jsonl", '{"url": "https://e.com/a", "priority": 1.5}', "column 'priority': 1.5 is not a whole number"),
        ("list.jsonl", '{"url": "https://e.com/a", "extra": 1}', "column 'extra': it must be an object"),
        ("list.jsonl", '{"url": "https://e.com/a", "settings": {"url": "x"}}', "belongs beside it"),
        ("list.jsonl", '{"path": "a\\u0000b"}', "cannot be the name of a file"),
    ],
)
def test_wrong_manifests(tmp_path: Path, name: str, text: str, expected: str) -> None:
    """Every bad line is reported with its number and advice."""
    assert expected in " / ".join(problems(write(tmp_path / name, text)))


def test_line_breaks_within(tmp_path: Path) -> None:
    """A line ends at a line feed and nowhere else; a quoted cell may hold one."""
    name = "a\u0085b\u2028c.mp4"
    write(tmp_path / name)
    listed = make_plan(manifest=write(tmp_path / "list.txt", f"{name}\n")).items
    (cell,) = make_plan(manifest=write(tmp_path / "list.csv", 'url,title\nhttps://e.com/a,"two\nlines"\n')).items

    assert [item.source for item in listed] == [str(tmp_path / name)]
    assert cell.settings == {"meta": {"title": "two\nlines", "external_id": cell.key}}


def test_empty_keys(tmp_path: Path) -> None:
    """An empty key counts as not given."""
    lines = "".join(f'{{"url": "https://e.com/{name}", "key": "", "meta": {{"external_id": ""}}}}\n' for name in "ab")
    items = make_plan(manifest=write(tmp_path / "l.jsonl", lines)).items

    assert all(item.key.startswith("u-") for item in items)


def test_missing_manifest(tmp_path: Path) -> None:
    """A manifest that is missing, or not text, is refused."""
    assert "cannot be read" in problems(tmp_path / "list.txt")[0]
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in problems(tmp_path / "binary")[0]


def test_columns_are_settings() -> None:
    """Any setting of a create call can be a column: lists with semicolons or as JSON, short forms expanded."""
    text = (
        "url,playback_policies,video_quality,normalize_audio,static_renditions,generated_subtitles,max_resolution_tier,tracks\n"
        "https://e.com/a.mp4,public; signed,plus,yes,highest;audio-only,en,2160p,"
        '"[{""url"": ""https://e.com/a.vtt?sig=canary"", ""type"": ""text"", ""language_code"": ""fr""}]"\n'
    )
    (item,) = make_plan(manifest=Manifest(text, "csv")).items

    assert item.create_body() == {
        "playback_policies": ["public", "signed"],
        "video_quality": "plus",
        "normalize_audio": True,
        "static_renditions": [{"resolution": "highest"}, {"resolution": "audio-only"}],
        "max_resolution_tier": "2160p",
        "inputs": [
            {"url": "https://e.com/a.mp4", "generated_subtitles": [{"language_code": "en"}]},
            {"url": "https://e.com/a.vtt?sig=canary", "type": "text", "language_code": "fr"},
        ],
        "meta": {"title": "a.mp4", "external_id": item.key},
    }
    assert "canary" not in repr(item)


def test_a_file_has_tracks_too(tmp_path: Path) -> None:
    """Tracks of a file go into the settings of its upload, after the main media, which has no URL there."""
    write(tmp_path / "a.mp4")
    track = {"url": "https://e.com/a.vtt", "type": "text", "language_code": "fr"}
    manifest = Manifest(json.dumps({"path": "a.mp4", "tracks": [track]}), "jsonl", folder=tmp_path)
    (item,) = make_plan(manifest=manifest).items

    assert item.create_body()["inputs"] == [{}, track]


def test_unknown_settings() -> None:
    """Settings that this version does not know are sent unchanged if they are under ``extra``."""
    item = only({"url": "https://e.com/a", "extra": {"colour": "best", "video_quality": "ultra"}, "video_quality": "plus"})

    assert (item.settings["colour"], item.settings["video_quality"]) == ("best", "ultra")


def test_clips() -> None:
    """A clip has its times at the first input."""
    item = only({"url": "mux://assets/abc", "start_time": 1, "end_time": 2.5})

    assert item.create_body()["inputs"] == [{"url": "mux://assets/abc", "start_time": 1, "end_time": 2.5}]


def test_every_setting_can_be_a_cell() -> None:
    """Every setting of the API, today's and tomorrow's, is read from a cell and checked by its type without knowing its name."""
    of_inputs = {"generated_subtitles", "start_time", "end_time", "tracks"}
    names = {field.name for field in attrs.fields(AssetOptions)} - {"extra", "meta", "input", "inputs"} | of_inputs
    for name in names:
        wrong: list[str] = []
        for cell in ("true", "1.5", "[]"):
            for found in Manifest(f"url,{name}\nmux://assets/a,{cell}\n", "csv").items():
                if isinstance(found, Problem):
                    assert (found.line, found.column) == (2, name)
                    wrong.append(found.message)
        assert len(wrong) < 3 or all("is not one of" in each for each in wrong), (name, wrong)
    assert {"playback_policies", "video_quality", "static_renditions", "passthrough"} <= names


WRONG: list[tuple[dict[str, object], str, str]] = [
    ({"playback_policies": ["secret"]}, "playback_policies", "playback_policies[0]: 'secret' is not one of public"),
    ({"playback_policies": ["drm"]}, "playback_policies", "needs a DRM configuration"),
    ({"playback_policies": [1]}, "playback_policies", "1 is not text"),
    ({"playback_policy": "public", "playback_policies": "public"}, "playback_policy", "newer name"),
    ({"advanced_playback_policies": [{"policy": "drm"}]}, "advanced_playback_policies", "drm_configuration_id"),
    ({"advanced_playback_policies": [{}]}, "advanced_playback_policies", "each needs a 'policy'"),
    (
        {"advanced_playback_policies": [{"policy": "drm", "drm_configuration_id": "d"}], "video_quality": "basic"},
        "video_quality",
        "DRM takes 'plus' or 'premium'",
    ),
    ({"static_renditions": "highest", "mp4_support": "standard"}, "mp4_support", "remove this one"),
    ({"static_renditions": ["highest", "720p"]}, "static_renditions", "can only be combined with 'audio-only'"),
    ({"static_renditions": [{"passthrough": "p"}]}, "static_renditions", "it needs 'resolution'"),
    ({"static_renditions": [{"resolution": "720p", "size": 1}]}, "static_renditions", "it has 'size'"),
    ({"tracks": [{"type": "text", "language_code": "en"}]}, "tracks", "tracks[0] needs a 'url'"),
    ({"tracks": [{"type": "text", "url": "https://e.com/a"}]}, "tracks", "needs a 'language_code'"),
    ({"tracks": ["https://e.com/a"]}, "tracks", "is not an object"),
    ({"start_time": 1}, "start_time", "only a clip"),
    ({"start_time": float("nan")}, "start_time", "is not a number of seconds"),
    ({"test": "yes"}, "test", "is neither true nor false"),
    ({"generated_subtitles": "xx"}, "generated_subtitles", "generated_subtitles[0].language_code: 'xx' is not one of en"),
    ({"passthrough": "x" * 256}, "passthrough", "Mux keeps 255"),
    ({"subtitles": "en"}, "subtitles", "write 'tracks', which is part of the create and costs no request of its own"),
    ({"playback_ids": "public"}, "playback_ids", "write 'playback_policies', which is part of the create"),
]


@pytest.mark.parametrize(("given", "column", "expected"), WRONG)
def test_wrong_settings(given: dict[str, object], column: str, expected: str) -> None:
    """Values that Mux would refuse, or that would need a second request, are reported with their column and advice."""
    line = json.dumps({"url": "https://e.com/a", **given})
    with pytest.raises(PlanError) as caught:
        make_plan(manifest=Manifest(line, "jsonl", "list.jsonl"))
    (problem,) = caught.value.problems

    assert (problem.manifest, problem.line, problem.column) == ("list.jsonl", 1, column)
    assert expected in problem.message


def test_short_clips() -> None:
    """A clip shorter than Mux makes is refused."""
    (problem,) = Manifest("url,start_time,end_time\nmux://assets/a,1.0,1.4\n", "csv").items()

    assert isinstance(problem, Problem)
    assert (problem.column, problem.message) == ("end_time", "a clip lasts at least 0.5 s")


def test_the_good_ones_go_on() -> None:
    """With ``skip``, the good lines are planned and each bad one is reported with its line."""
    text = "url,test\nhttps://e.com/a,\nhttps://e.com/b,maybe\nnonsense,\nhttps://e.com/d,no\n"
    plan = make_plan(manifest=Manifest(text, "csv", "l.csv"), on_bad_line="skip")

    assert [item.source for item in plan.items] == ["https://e.com/a", "https://e.com/d"]
    assert [(each.line, each.column) for each in plan.problems] == [(3, "test"), (4, None)]
    assert str(Problem("it is wrong", "l.csv", 3, "test")) == "l.csv, line 3, column 'test': it is wrong"


def test_nothing_folded() -> None:
    """Settings that do not belong to inputs add nothing to them."""
    item = only({"url": "https://e.com/a", "video_quality": "plus", "playback_policies": "signed"})

    assert item.create_body() == {
        "video_quality": "plus",
        "playback_policies": ["signed"],
        "inputs": [{"url": "https://e.com/a"}],
        "meta": {"title": "a", "external_id": item.key},
    }
