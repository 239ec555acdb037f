"""The generator: what is stored is what it writes, and input that does not fit together is refused."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import codegen.__main__ as generator
from codegen import _events, _facts, _models, _output, _overlays, _resources
from codegen._api import Object
from codegen._facts import GeneratorError
from codegen._python import HEADER
from tests.cli.commands import ROOT, run_here
from tests.drift.test_patch import save, tomorrow


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return generator.generate(generator.load_api())


@pytest.fixture
def overlays(tmp_path: Path) -> Path:
    """A copy of the overlays, to be spoilt."""
    return Path(shutil.copytree(_overlays.OVERLAYS, tmp_path / "overlays"))


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    """A copy of the facts, to be spoilt."""
    return Path(shutil.copytree(_facts.FACTS, tmp_path / "facts"))


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text("utf-8") + "\n" + text, "utf-8")


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def test_check(files: dict[str, str]) -> None:
    """The stored files are the generated ones, to the byte."""
    drift = _output.compare(files)

    assert not drift, drift.summary()


def test_every_operation_is_described() -> None:
    """No operation is without a summary in our own words."""
    api = generator.load_api()

    assert [method.id for method in api.methods if "summary" not in api.words.operations.get(method.id, {})] == []


def test_deterministic() -> None:
    """The same input gives the same text, whatever was asked first."""

    def once() -> dict[str, str]:
        api = generator.load_api()
        return {**_models.write(api), **_resources.write(api), **_events.write(api)}

    assert once() == once()


def test_order_of_overlays_does_not_matter(overlays: Path) -> None:
    """Descriptions may be split over files in any way."""
    before = generator.load_api()
    for path in (overlays / "descriptions").glob("*.toml"):
        path.rename(path.with_name(f"{'z' if path.name < 'm' else 'a'}-{path.name}"))

    after = generator.load_api(overlays=overlays)

    assert _resources.write(after) == _resources.write(before)
    assert _models.write(after) == _models.write(before)


def test_drift(files: dict[str, str], tmp_path: Path) -> None:
    """Changed, missing and stale files are found and named; files that are not generated are left alone; writing mends it."""
    _output.store(files, tmp_path)
    changed, missing, *_rest = sorted(path for path in files if path.endswith(".py"))
    replace(tmp_path / changed, "import", "IMPORT")
    (tmp_path / missing).unlink()
    folder = tmp_path / "mux_async" / "models"
    (folder / "old.py").write_text(HEADER + "\nclass Old: ...\n", "utf-8")
    (folder / "mine.py").write_text("class Mine: ...\n", "utf-8")

    drift = _output.compare(files, tmp_path)

    assert drift.missing == (missing,)
    assert drift.stale == ("mux_async/models/old.py",)
    assert list(drift.changed) == [changed]
    for said in (f"missing: {missing}", "stale: mux_async/models/old.py", f"differs: {changed}", "IMPORT"):
        assert said in drift.summary()
    _output.store(files, tmp_path)
    assert not _output.compare(files, tmp_path)
    assert not (folder / "old.py").exists()
    assert (folder / "mine.py").exists()


def test_long_drift_is_cut(files: dict[str, str], tmp_path: Path) -> None:
    """The summary of a large difference fits a screen, and says how much is left out."""
    _output.store(files, tmp_path)
    path = "mux_async/models/video_assets.py"
    (tmp_path / path).write_text("\n".join(files[path].upper().splitlines()), "utf-8")

    summary = _output.compare(files, tmp_path).summary()

    assert len(summary.splitlines()) < 20
    assert "more lines" in summary


def test_command(
    files: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The command says what it did: 0 when all is well, 1 with the drift, 2 when the input is broken."""

    def generate(_api: object) -> dict[str, str]:
        return files

    monkeypatch.setattr(generator, "generate", generate)
    assert generator.main(["--check"]) == 0
    assert "as generated" in capsys.readouterr().out

    original = _output.compare

    def compare(files: dict[str, str]) -> _output.Drift:
        return original(files, tmp_path)

    monkeypatch.setattr(_output, "compare", compare)
    assert generator.main(["--check"]) == 1
    said = capsys.readouterr()
    assert "missing: mux_async/models/video_assets.py" in said.out
    assert "python -m codegen" in said.err

    def broken(**_options: object) -> None:
        raise GeneratorError("the facts are upside down")

    monkeypatch.setattr(generator, "load_api", broken)
    assert generator.main([]) == 2
    assert "upside down" in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` says what is written, and out of what."""
    with pytest.raises(SystemExit) as left:
        generator.main(["--help"])

    assert left.value.code == 0
    assert "--check" in capsys.readouterr().out


def spoil_fact(folder: Path) -> None:
    replace(folder / "mux-api.json", "AssetResponse", "AssetReponse")


def lose_fact(folder: Path) -> None:
    (folder / "signed-urls.json").unlink()


def slip_in_fact(folder: Path) -> None:
    (folder / "more.json").write_text("{}")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(spoil_fact, "mux-api.json is not the file"), (lose_fact, "signed-urls.json"), (slip_in_fact, "more.json")],
)
def test_pinned_facts(facts: Path, spoil: Callable[[Path], None], message: str) -> None:
    """A file that is not the one whose hash was noted is refused, and so are a lost and an unlisted one."""
    spoil(facts)

    with pytest.raises(GeneratorError, match=message):
        _facts.load(facts)


def test_origin_of_facts() -> None:
    """Every input says where it comes from."""
    listed = tomllib.loads((_facts.FACTS / "ORIGIN.toml").read_text("utf-8"))["files"]

    layers = {"mux-api.json", "webhook-events.json", "robots-v1.json", "robots-v1-events.json"}
    assert {name for name, entry in listed.items() if "layer" in entry} == layers
    assert set(listed) - layers == {"signed-urls.json", "BEHAVIOUR.md", "README.md", "NEWER.md", "GAPS.md"}
    assert all(entry["origin"].strip() for entry in listed.values())


CORRECTION = '[[correction]]\nat = "{at}"\n{change}\nreason = "r"\nsource = "s"\n'


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "corrections.toml",
            CORRECTION.format(at="/components/schemas/Nothing/type", change='set = "x"'),
            "there is no 'Nothing'",
        ),
        (
            "corrections.toml",
            CORRECTION.format(at="/components/schemas/Asset/type", change='set = "object"'),
            "changes nothing",
        ),
        ("corrections.toml", CORRECTION.format(at="/components/schemas/Asset/type", change='add = "x"'), "there already"),
        ("corrections.toml", CORRECTION.format(at="/components/schemas/Asset/required", change='drop = "x"'), "not there"),
        ("corrections.toml", CORRECTION.format(at="/components/schemas/Asset", change=""), "none of add, set, drop"),
        ("corrections.toml", '[[correction]]\nat = "/openapi"\nset = "4"\n', "needs a reason and a source"),
        ("types.toml", '"Asset.no_such_field",', "matches no field"),
        ("types.toml", 'AssetStatus = "mux_async.playback._urls:PlaybackUrls"', "names no object: AssetStatus"),
        ("operations.toml", '[replay."video.assets.explode"]\nclass = "never"\n', "explode"),
        ("operations.toml", '[shorthand."video.assets.update"]\nnothing = "url"\n', "has no body member nothing"),
        ("operations.toml", '[omit."video.assets.list"]\nmembers = []\n', "video.assets.list"),
        ("descriptions/video.toml", '[operations."video.assets.explode"]\nsummary = "x"\n', "explode"),
        ("descriptions/events.toml", "[broken", "events.toml"),
        ("descriptions/zzz.toml", '[schemas]\nNothing = "x"\n', "Nothing"),
        ("descriptions/zzz.toml", '[fields]\n"Asset.nothing" = "x"\n', "Asset.nothing"),
        ("descriptions/zzz.toml", '[names]\nnothing_is_called_so = "x"\n', "nothing_is_called_so"),
        ("descriptions/zzz.toml", '[events]\n"video.asset.gone" = "x"\n', "video.asset.gone"),
        ("descriptions/zzz.toml", '[schemas]\nAsset = "again"\n', "describes again: Asset"),
        ("descriptions/zzz.toml", '[wrods]\nx = "y"\n', "no section"),
    ],
)
def test_overlays_have_effect(overlays: Path, file: str, text: str, message: str) -> None:
    """An overlay that matches nothing, or would change nothing, is an error that names it."""
    path = overlays / file
    if file == "types.toml":
        anchor = '"*.stream_key",' if text.endswith(",") else "[mixins]"
        replace(path, anchor, f"{anchor}\n  {text}")
    elif path.exists():
        append(path, text)
    else:
        path.write_text(text, "utf-8")

    with pytest.raises(GeneratorError, match=message):
        generator.load_api(overlays=overlays)


def test_deprecations_need_a_reason(overlays: Path) -> None:
    """A deprecated operation without a word on what to use instead stops the generator."""
    replace(overlays / "operations.toml", '"data.filters" =', '"data.nothing" =')

    with pytest.raises(GeneratorError, match=r"data\.filters\.list is deprecated"):
        generator.load_api(overlays=overlays)


def test_corrections_take_effect() -> None:
    """What the overlays correct is in the code: optional cors_origin, the newer Robots fields, the named union."""
    api = generator.load_api()
    models = _models.write(api)

    (create,) = [method for method in api.methods if method.id == "video.uploads.create"]
    assert [p.is_required for p in create.parameters if p.name == "cors_origin"] == [False]
    assert (
        "replace_existing_tracks: ReplaceExistingTracks | None" in models["mux_async/models/robots_v0_jobs_translate_audio.py"]
    )
    assert "replaced_tracks: list[ReplacedTrack] | None" in models["mux_async/models/robots_v0_jobs_translate_captions.py"]
    assert "resources: list[ResourceDeclaration] | None" in models["mux_async/models/robots_v0_directives.py"]


def test_no_file_says_where_it_was_made(files: dict[str, str]) -> None:
    """Generated code names no path of this machine."""
    here = str(Path(__file__).parent.parent.parent)

    assert [path for path, text in files.items() if here in text] == []


def test_confidence_is_said(files: dict[str, str]) -> None:
    """What is inferred says so where it is looked up: operations, classes, typed dicts, fields and arguments."""
    assert "        Inferred: " in files["mux_async/resources/robots_jobs_edit_captions.py"]
    assert "        Inferred: " not in files["mux_async/resources/robots_jobs_moderate.py"]
    moderate = files["mux_async/models/robots_jobs_moderate.py"]
    assert '"""Score for sexual content, from 0 to 1. Inferred' in moderate
    assert '"""Whether any of the highest scores is above its threshold."""' in moderate
    api = generator.load_api()
    for schema in api.schemas.values():
        for field in schema.fields if isinstance(schema, Object) else ():
            if field.confidence:
                text = " ".join(files[f"mux_async/models/{schema.module}.py"].partition(f"class {schema.name}(")[2].split())
                said = text.partition(f" {field.name}: ")[2].partition('"""')[2].partition('"""')[0]
                assert "Inferred" in said or "Not documented" in said, f"{schema.name}.{field.name}"


def test_nothing_inferred_is_required() -> None:
    """No call needs an argument or a member that is only inferred; no answer of the newer version needs any field but its data."""
    api = generator.load_api()
    sent = api.request_schemas()

    required = [f"{m.id}({p.name})" for m in api.methods for p in m.parameters if p.is_required and p.confidence]
    for schema in api.schemas.values():
        if isinstance(schema, Object) and schema.name in sent:
            required += [f"{schema.name}.{field.name}" for field in schema.fields if field.is_required and field.confidence]
        elif isinstance(schema, Object) and schema.name.startswith("RobotsV1"):
            required += [f"{schema.name}.{f.name}" for f in schema.fields if f.is_required and f.name != "data"]
    assert required == []


def test_no_milliseconds() -> None:
    """No name of v0 that counts milliseconds is carried into v1."""
    api = generator.load_api()
    names = [f"{s.name}.{f.wire}" for s in api.schemas.values() if isinstance(s, Object) for f in s.fields]

    assert [name for name in names if name.startswith("RobotsV1") and name.endswith("_ms")] == []
    assert [name for name in names if name.endswith("_ms")]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"from_group": "robots.jobs"', '"from_group": "robots.works"', "no GET /robots/v0/jobs in the group robots.works"),
        ('"x-v0-regroup"', '"x-regroup"', "two operations are called robots.jobs.list"),
        ('"RobotsV1Workflow": {', '"AssetStatus": {', "that two layers of the facts have: AssetStatus"),
        ('"/robots/v1/jobs/moderate": {', '"/robots/v0/jobs/moderate": {', "that two layers of the facts have: post"),
    ],
)
def test_layers_fit(facts: Path, old: str, new: str, message: str) -> None:
    """A layer that has what an older one has, or regroups what is not there, is refused."""
    replace(facts / "robots-v1.json", old, new)
    digest = hashlib.sha256((facts / "robots-v1.json").read_bytes()).hexdigest()
    listed = tomllib.loads((facts / "ORIGIN.toml").read_text("utf-8"))["files"]
    replace(facts / "ORIGIN.toml", listed["robots-v1.json"]["sha256"], digest)

    with pytest.raises(GeneratorError, match=message):
        _facts.load(facts)


READ_WITHOUT_DRIFT = """
import sys
from pathlib import Path
from mux_async.drift import drift
from mux_async.models import Asset
from mux_async.webhooks.events import EVENTS, parse_event_text

asset = Asset.from_json(Path(sys.argv[1]).read_bytes())
asset.to_wire()
event = parse_event_text(Path(sys.argv[2]).read_bytes())
assert not drift.report(), str(drift.report())
print(asset.loudness.peaks[0].level, asset.trimmed_at.year, asset.labels, asset.bitrate, type(event).__name__)
"""


@pytest.mark.proof
def test_patch_of_drift(tmp_path: Path, overlays: Path) -> None:
    """The patch of ``mux-async drift``, appended to the corrections: the regenerated package reads the same bytes without drift, by
    attributes."""
    done = run_here("drift", str(save(tmp_path)), "--patch", str(tmp_path / "patch.toml"))
    assert done.returncode == 0
    append(overlays / "corrections.toml", (tmp_path / "patch.toml").read_text("utf-8"))

    files = generator.generate(generator.load_api(overlays=overlays))
    shutil.copytree(ROOT / "mux_async", tmp_path / "mux_async", ignore=shutil.ignore_patterns("__pycache__", "emulator", "cli"))
    for name, text in files.items():
        if "/emulator/" not in name:
            (tmp_path / name).write_text(text, "utf-8")
    asset, event = tomorrow()
    (tmp_path / "asset.json").write_bytes(asset)
    (tmp_path / "event.json").write_bytes(event)
    read = subprocess.run(
        [sys.executable, "-c", READ_WITHOUT_DRIFT, "asset.json", "event.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert read.stdout == "0.5 2026 ['a'] 5.5 AssetEvent\n", read.stderr


def test_extend_is_checked() -> None:
    """A correction that extends a list must point at one that has none of its elements."""
    document: _facts.Json = {"a": {"enum": ["x"]}}
    words = {"reason": "r", "source": "s"}
    _overlays.correct(document, [{"at": "/a/enum", "extend": ["y", "z"], **words}])
    assert document == {"a": {"enum": ["x", "y", "z"]}}
    for at in ("/a/enum", "/a/none"):
        with pytest.raises(GeneratorError, match="extends no list"):
            _overlays.correct(document, [{"at": at, "extend": ["y"], **words}])
