"""`python -m codegen refresh`: of a description in a vendor's style, all seeded differences are found, and nothing else."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from random import Random
from typing import Any

import pytest

import codegen.__main__ as generator
from codegen import FACTS, Json
from codegen.refresh import Findings, check, compare
from tests.codegen import vendor
from tests.codegen.vendor import PROSE, Seed, Style

STYLES = [
    Style(),
    Style("3.0.3"),
    Style("3.1.1", inline=0.0, split=0.0, names=lambda name: name),
    Style("3.0.0", inline=0.4, split=0.4, names=lambda name: name.lower()),
]


@pytest.fixture(scope="module")
def stated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the facts in which nothing is inferred."""
    return vendor.stated_facts(tmp_path_factory.mktemp("stated"))


@pytest.fixture
def facts(stated: Path, tmp_path: Path) -> Path:
    """A copy of them, to be changed."""
    return Path(shutil.copytree(stated, tmp_path / "facts"))


def found(description: Json, folder: Path) -> list[Seed]:
    return [difference.key for difference in compare(check(description, "it"), folder).sorted()]


def style_name(style: Style) -> str:
    return f"{style.version}-{style.inline}"


@pytest.mark.parametrize("style", STYLES[-2:], ids=style_name)
def test_nothing(stated: Path, style: Style) -> None:
    """A description that says what the facts say differs in nothing, whatever its names, order, prose and version."""
    assert found(vendor.write(vendor.document(stated), 1, style), stated) == []


class Seeder:
    """Seeds a document made from the facts with differences, and records the expected findings."""

    def __init__(self, folder: Path, seed: int, same: Findings) -> None:
        self.random = Random(seed)
        self.folder = folder
        self.document = vendor.document(folder)
        self.schemas: Json = self.document["components"]["schemas"]
        self.expected: list[Seed] = []
        self._fields = sorted(label for kind, label in same.compared if kind == "field")
        self._enums = sorted(label for kind, label in same.compared if kind == "enum value" and label in self.schemas)
        self._taken: set[str] = set()

    def all(self) -> None:
        """Twenty: each kind new, gone, changed and confirmed (a value cannot change; an operation does so twice)."""
        self._confirmed()
        self._operations()
        self._parameters()
        self._leaves()
        self._enum_values()
        self._events()
        assert len(self.expected) == 20

    def _operation(self, *, verb: str, is_read: bool) -> tuple[str, str, Json]:
        choices = [
            (path, verb, item[verb])
            for path, item in self.document["paths"].items()
            if verb in item and path not in self._taken and item[verb]["x-host"].startswith("https://api")
            if not item[verb].get("x-legacy") and bool(item[verb].get("parameters")) >= is_read
        ]
        path, verb, raw = self.random.choice(choices)
        self._taken.add(path)
        return path, f"{verb.upper()} {path} ({raw['x-group']}.{raw['x-operation']})", raw

    def _operations(self) -> None:
        path, label, _raw = self._operation(verb="delete", is_read=False)
        del self.document["paths"][path]["delete"]
        self.expected.append(("gone", "operation", label))
        path, label, raw = self._operation(verb="post", is_read=False)
        raw["deprecated"] = not raw.get("deprecated", False)
        self.expected.append(("changed", "operation", label))
        _path, label, raw = self._operation(verb="put", is_read=False)
        status = next(status for status in raw["responses"] if status != "default")
        raw["responses"]["299"] = raw["responses"].pop(status)
        self.expected.append(("changed", "operation", label))
        new = copy.deepcopy(self.document["paths"]["/video/v1/assets/{ASSET_ID}"]["get"])
        self.document["paths"][f"/video/v1/assets/{{ASSET_ID}}/seed-{self.random.randrange(99)}"] = {"get": new}
        self.expected.append(("new", "operation", f"GET {list(self.document['paths'])[-1]}".replace("{ASSET_ID}", "{assetId}")))

    def _parameter(self) -> tuple[Json, int, str]:
        _path, _label, raw = self._operation(verb="get", is_read=True)
        queries = [index for index, parameter in enumerate(raw["parameters"]) if parameter["in"] == "query"]
        if not queries:
            return self._parameter()
        index = self.random.choice(queries)
        return raw, index, f"{raw['x-group']}.{raw['x-operation']}({raw['parameters'][index]['name']})"

    def _parameters(self) -> None:
        raw, index, label = self._parameter()
        del raw["parameters"][index]
        self.expected.append(("gone", "parameter", label))
        raw, index, label = self._parameter()
        changed = raw["parameters"][index]
        if self.random.random() < 0.5:
            changed["required"] = not changed["required"]
        else:
            changed["schema"] = {"type": "boolean"}
        self.expected.append(("changed", "parameter", label))
        raw, _index, label = self._parameter()
        raw["parameters"].append({"name": "seeded", "in": "query", "required": False, "schema": {"type": "string"}})
        self.expected.append(("new", "parameter", f"{raw['x-group']}.{raw['x-operation']}(seeded)"))

    def _leaf(self) -> tuple[Json, str, str]:
        while True:
            label = self.random.choice(self._fields)
            owner, _, name = label.rpartition(".")
            schema: Json = self.schemas.get(owner, {})
            member: Json = schema.get("properties", {}).get(name, {})
            is_plain = str(member.get("type")) in {"string", "integer", "number", "boolean"} and "enum" not in member
            if is_plain and owner not in self._taken:
                self._taken.add(owner)
                return schema, name, label

    def _leaves(self) -> None:
        schema, name, label = self._leaf()
        del schema["properties"][name]
        schema["required"] = [each for each in schema.get("required", ()) if each != name]
        self.expected.append(("gone", "field", label))
        schema, name, label = self._leaf()
        member = schema["properties"][name]
        match self.random.randrange(5):
            case 0:
                member["deprecated"] = not member.get("deprecated", False)
            case 1:
                member["type"] = "array"
                member["items"] = {"type": "string"}
            case 2:
                kept = [each for each in schema.get("required", ()) if each != name]
                schema["required"] = kept if name in schema.get("required", ()) else [*kept, name]
            case 3:
                member["type"] = [member["type"], "null"]
            case _:
                member["maximum" if member["type"] in {"integer", "number"} else "maxLength"] = 31337
        self.expected.append(("changed", "field", label))
        schema, _name, label = self._leaf()
        schema["properties"]["seeded"] = {"type": "object", "properties": {"inner": {"type": "string", "description": PROSE}}}
        self.expected.append(("new", "field", f"{label.rpartition('.')[0]}.seeded"))

    def _enum_values(self) -> None:
        gone, new = self.random.sample([name for name in self._enums if len(self.schemas[name]["enum"]) > 2], 2)
        value = self.schemas[gone]["enum"].pop()
        self.expected.append(("gone", "enum value", f"{gone} = {value!r}"))
        self.schemas[new]["enum"].append("seeded")
        self.expected.append(("new", "enum value", f"{new} = 'seeded'"))

    def _events(self) -> None:
        events: list[Json] = self.document["x-events"]
        gone, changed = self.random.sample(range(len(events)), 2)
        while events[gone].get("x-legacy") or events[gone].get("x-confidence"):
            gone = self.random.choice([index for index in range(len(events)) if index != changed])
        while events[changed].get("x-confidence") or changed == gone:
            changed = self.random.randrange(len(events))
        events[changed]["x-data"] = {"type": "array", "items": {"type": "string"}}
        self.expected.append(("changed", "event", events[changed]["type"]))
        self.expected.append(("new", "event", "video.asset.seeded"))
        self.expected.append(("gone", "event", events[gone]["type"]))
        events[gone] = {"type": "video.asset.seeded", "data_ref": "#/components/schemas/WebhookAsset"}

    def _confirmed(self) -> None:
        """Mark one fact of each kind as inferred."""
        robots = json.loads((self.folder / "robots-v1.json").read_text("utf-8"))
        job = robots["components"]["schemas"]["RobotsV1SummarizeJobParameters"]["properties"]["tone"]
        job["x-confidence"] = "inferred"
        self.expected.append(("confirmed", "field", "RobotsV1SummarizeJobParameters.tone"))
        listed = robots["paths"]["/robots/v1/jobs"]["get"]
        listed["parameters"][0]["x-confidence"] = "unknown"
        self.expected.append(("confirmed", "parameter", "robots.jobs.list(page)"))
        cancel = robots["paths"]["/robots/v1/jobs/{JOB_ID}/cancel"]["post"]
        cancel["x-confidence"] = "inferred"
        self._taken |= {"/robots/v1/jobs", "/robots/v1/jobs/{JOB_ID}/cancel", "RobotsV1SummarizeJobParameters"}
        self.expected.append(("confirmed", "operation", "POST /robots/v1/jobs/{JOB_ID}/cancel (robots.jobs.cancel)"))
        vendor.store(self.folder / "robots-v1.json", robots)
        channel = self.schemas["RobotsV1ContextualTextArtifact"]["properties"]["channel"]
        channel["enum"] = channel["x-known-values"]
        self._taken.add("RobotsV1ContextualTextArtifact")
        self.expected.append(("confirmed", "enum value", "RobotsV1ContextualTextArtifact.channel = 'x'"))
        events = json.loads((self.folder / "robots-v1-events.json").read_text("utf-8"))
        event = self.random.choice(events["events"])
        event["x-confidence"] = "inferred"
        self.expected.append(("confirmed", "event", event["type"]))
        vendor.store(self.folder / "robots-v1-events.json", events)


@pytest.fixture(scope="module")
def same(stated: Path) -> Findings:
    """What a comparison that finds nothing has compared."""
    return compare(check(vendor.write(vendor.document(stated), 0, STYLES[2]), "it"), stated)


TWENTIES = [
    pytest.param(seed, style, marks=[] if index == seed else [pytest.mark.proof], id=f"{seed}-{style_name(style)}")
    for seed in range(4)
    for index, style in enumerate(STYLES)
]


@pytest.mark.parametrize(("seed", "style"), TWENTIES)
def test_twenty(facts: Path, same: Findings, seed: int, style: Style) -> None:
    """Twenty differences of every kind are found, and nothing else."""
    seeder = Seeder(facts, seed, same)
    seeder.all()

    assert sorted(found(vendor.write(seeder.document, seed, style), facts)) == sorted(seeder.expected)


def write_and_run(description: Json, facts: Path, file: Path, *options: str) -> int:
    file.write_text(json.dumps(description), "utf-8")
    return generator.main(["refresh", str(file), "--facts", str(facts), *options])


def contents(facts: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in facts.iterdir()}


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.proof)])
def test_write(facts: Path, same: Findings, tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """After writing, only what needs a decision is found; writing again changes nothing; no prose is copied; names stay."""
    seeder = Seeder(facts, seed, same)
    seeder.all()
    description, file = vendor.write(seeder.document, seed, Style()), tmp_path / "api-spec.json"

    assert write_and_run(description, facts, file) == 0
    before = contents(facts)
    assert write_and_run(description, facts, file, "--write") == 0
    first = contents(facts)
    assert write_and_run(description, facts, file, "--write") == 0
    capsys.readouterr()

    assert first != before
    assert contents(facts) == first
    assert not any(PROSE.encode() in text or b"x-vendor-note" in text for text in first.values())
    left = found(description, facts)
    assert [key for key in left if key[:2] != ("changed", "event")] == []
    assert len(left) == 1
    api = generator.load_api(facts=facts)
    assert len(api.methods) == 219
    assert api.method("video.assets.retrieve").model == "Asset"


def test_real_facts_are_confirmed() -> None:
    """Of the facts as they are, a description that has them all confirms what was inferred, and finds nothing else."""
    description = vendor.write(vendor.document(FACTS), 5, Style())

    differences = found(description, FACTS)

    assert {change for change, _kind, _label in differences} == {"confirmed"}
    assert {kind for _change, kind, _label in differences} == {"operation", "parameter", "field", "enum value", "event"}


def test_new_group(facts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An operation that belongs to no known group is not written: a person has to name the group."""
    merged = vendor.document(facts)
    merged["paths"]["/video/v1/holograms"] = {"get": copy.deepcopy(merged["paths"]["/video/v1/assets"]["get"])}
    before = contents(facts)

    status = write_and_run(vendor.write(merged, 1, Style()), facts, tmp_path / "spec.json", "--write")

    assert status == 0
    said = capsys.readouterr().out
    assert "new       operation  GET /video/v1/holograms" in said
    assert "To decide:" in said
    assert "a new group; name it in codegen/overlays/names.toml" in said
    assert contents(facts) == before


def test_partly(facts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A difference in only some of the places that share a schema of ours is reported as such, and not written."""
    merged = vendor.document(facts)
    own = copy.deepcopy(merged["components"]["schemas"]["AssetResponse"])
    own["properties"]["data"] = copy.deepcopy(merged["components"]["schemas"]["Asset"])
    own["properties"]["data"]["properties"]["aura"] = {"type": "string"}
    merged["components"]["schemas"]["Other"] = own
    answer = merged["paths"]["/video/v1/assets/{ASSET_ID}"]["get"]["responses"]["200"]
    answer["content"]["application/json"]["schema"] = {"$ref": "#/components/schemas/Other"}

    write_and_run(vendor.write(merged, 1, Style(inline=0.0)), facts, tmp_path / "spec.json", "--write")

    said = capsys.readouterr().out
    assert "new       field      Asset.aura (in some of the places that share the schema)" in said
    assert "clash: only some of what shares our schema has it" in said


def test_no_events(stated: Path) -> None:
    """A description without events says nothing about them: none counts as gone, and a note says so."""
    description = vendor.write(vendor.document(stated), 1, Style())
    del description["webhooks"]

    findings = compare(check(description, "it"), stated)

    assert findings.sorted() == []
    assert findings.notes == ["no events are described, so none were compared"]


def test_what_is_gone_stays(facts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is gone from the description is marked, is not reported again, and is new when it is back."""
    whole = vendor.document(facts)
    less = copy.deepcopy(whole)
    del less["components"]["schemas"]["Asset"]["properties"]["passthrough"]
    write_and_run(vendor.write(less, 1, Style()), facts, tmp_path / "spec.json", "--write")
    capsys.readouterr()

    assert found(vendor.write(less, 1, Style()), facts) == []
    assert found(vendor.write(whole, 1, Style()), facts) == [("new", "field", "Asset.passthrough")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("openapi: 3.1.0\npaths: {}\n", "YAML has to be converted to JSON first"),
        ("[]", "holds no JSON object"),
        ("{}", "no member openapi"),
        ('{"swagger": "2.0"}', "is Swagger 2.0; only OpenAPI 3.0 and 3.1 are read"),
        ('{"openapi": "4.0.0", "paths": {"/a": {}}}', "is OpenAPI 4.0.0; only 3.0 and 3.1"),
        ('{"openapi": "3.1.0", "paths": {}}', "describes no operations"),
        (
            '{"openapi": "3.1.0", "paths": {"/video/v1/assets": {"get": {"responses": {"200": {"$ref": "#/components/x/y"}}}}}}',
            "leads nowhere",
        ),
        (
            '{"openapi": "3.1.0", "paths": {"/video/v1/assets": {"$ref": "other.json#/a"}}}',
            "leads out of the file",
        ),
        ("[" * 100_000, "nested too deeply"),
        (
            '{"openapi": "3.1.0", "paths": {"/video/v1/assets": {}}, "webhooks": {"video.asset.ready": true}}',
            "the webhook at webhooks/video.asset.ready is malformed",
        ),
        (
            '{"openapi": "3.1.0", "paths": {"/video/v1/assets": {"get": {"parameters": [{"name": 1, "in": "query"}]}}}}',
            "the operation at paths//video/v1/assets/get is malformed: the name of a parameter is 1",
        ),
        (
            '{"openapi": "3.1.0", "servers": "x", "paths": {"/video/v1/assets": {"get": {}}}}',
            "the list at servers is malformed",
        ),
        (
            '{"openapi": "3.1.0", "paths": {"/a": {}}, "components": {"schemas": {"A": {"properties": {"type": {"format": []}}}}}}',
            "the schema at components/schemas/A/properties/type is malformed",
        ),
    ],
)
def test_no_description(tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no description is refused with what it is instead, and status 2."""
    file = tmp_path / "file.json"
    file.write_text(text, "utf-8")

    assert generator.main(["refresh", str(file)]) == 2
    assert message in capsys.readouterr().err


def test_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there is named."""
    assert generator.main(["refresh", str(tmp_path / "nothing.json")]) == 2
    assert "nothing.json cannot be read" in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` has examples, and says where decisions go."""
    with pytest.raises(SystemExit) as left:
        generator.main(["refresh", "--help"])

    said: Any = capsys.readouterr().out
    assert left.value.code == 0
    assert "examples:" in said
    assert "--write" in said
    assert "codegen/overlays/names.toml" in said
