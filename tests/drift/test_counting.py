"""Each place that this version has no name for is counted exactly once, in whatever order and however often a response is read."""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import attrs
import hypothesis.strategies as st
import orjson
import pytest
from hypothesis import given, settings

import mux_async.models as models
from mux_async import DriftError, Model
from mux_async.drift import Drift, DriftReport, drift
from mux_async.models import Asset, AssetMetadata
from mux_async.testing import check_drift
from mux_async.webhooks import parse_event
from mux_async.webhooks.events import parse_event_text
from tests._examples import examples
from tests.emulator.harness import Json
from tests.generated import spec

Place = tuple[str, str, str]


@attrs.frozen
class Spot:
    """Something in a valid body that can be made unknown."""

    kind: str
    owner: str
    holder: Json
    name: str = ""

    def spoil(self, value: object) -> Place | None:
        """Change the body; return the place that must be counted."""
        if self.kind == "object":
            name = f"new_{len(str(value)) % 3}"
            if name in self.holder:
                return None
            self.holder[name] = value
            return ("unknown_field", self.owner, name)
        if self.kind == "enum":
            self.holder[self.name] = "tomorrow"
            return ("unknown_value", self.owner, self.name)
        if self.kind == "required":
            del self.holder[self.name]
            return ("missing_field", self.owner, self.name)
        self.holder[self.name] = {"not": "text"} if self.kind == "text" else "not a time"
        return ("wrong_type", self.owner, self.name)


def spots(schema: Json, value: Any, tags: frozenset[str] = frozenset()) -> Iterator[Spot]:
    """Yield every spot in a body with every known member. Members *tags* tell classes of objects apart, and are left alone."""
    owner = schema["$ref"].removeprefix(spec.REF) if "$ref" in schema else ""
    schema = spec.resolve(schema)
    if "oneOf" in schema:
        tag = schema["discriminator"]["propertyName"]
        yield from spots({"$ref": schema["discriminator"]["mapping"][value[tag]]}, value, tags | {tag})
    elif "properties" in schema:
        yield Spot("object", owner, value)
        for name, member in schema["properties"].items():
            if name in tags or name not in value:
                continue
            plain = spec.resolve(member)
            if "enum" in plain:
                yield Spot("enum", owner, value, name)
            elif plain.get("x-time") or plain.get("format") in {"date-time", "date"}:
                yield Spot("time", owner, value, name)
            elif plain.get("type") == "string":
                yield Spot("text", owner, value, name)
            if name in schema.get("required", []):
                yield Spot("required", owner, value, name)
            yield from spots(member, value[name])
    elif schema.get("type") == "array":
        for item in value:
            yield from spots(schema["items"], item)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda children: st.lists(children, max_size=2) | st.dictionaries(st.text(max_size=3), children, max_size=2),
    max_leaves=4,
)


def counts(report: DriftReport) -> Counter[Place]:
    return Counter({(place.kind, place.owner, place.name): place.count for place in report.places})


def spoilt(data: st.DataObject, name: str) -> tuple[Json, Counter[Place]]:
    """A body of the schema *name* with some of its spots changed, and the places that must be counted."""
    schema = {"$ref": f"{spec.REF}{name}"}
    body = spec.make(schema, Random(data.draw(st.integers(0, 5))), is_answer=False)
    every = list(spots(schema, body))
    expected: Counter[Place] = Counter()
    touched: set[tuple[int, str]] = set()
    gone: set[int] = set()
    for number in data.draw(st.lists(st.integers(0, len(every) - 1), max_size=6, unique=True)):
        spot = every[number]
        if (id(spot.holder), spot.name) in touched or id(spot.holder) in gone:
            continue
        if spot.kind == "required":  # nothing below it is there any more
            below = spot.holder[spot.name]
            gone |= _ids(below)
            if gone & {holder for holder, _ in touched}:
                continue
        touched.add((id(spot.holder), spot.name))
        if (place := spot.spoil(data.draw(JSON))) is not None:
            expected[place] += 1
    return body, expected


def _ids(value: Any) -> set[int]:
    return {id(value)}.union(*map(_ids, value.values() if spec.is_object(value) else value if spec.is_list(value) else []))


@pytest.mark.parametrize(
    "name", ["Asset", "LiveStream", "Directive", "SummarizeJob", "VideoView", "ListAssetsResponse", "Incident"]
)
@settings(max_examples=examples(100), derandomize=True, deadline=None, database=None)
@given(data=st.data())
def test_once(name: str, data: st.DataObject) -> None:
    """Unknown fields and values, missing fields and wrong types are counted once for each object that has them: not again when it is
    read, copied, compared or pickled later, and nothing else is counted. Strict checks find the same places."""
    body, expected = spoilt(data, name)
    text = orjson.dumps(body)
    model: type[Model] = getattr(models, name)
    drift.clear()

    value = model.from_json(text)
    assert not drift.report()  # nothing was read
    assert value.to_wire() == body
    assert counts(drift.report()) == expected

    assert value.to_wire() == copy.deepcopy(value).to_wire() == pickle.loads(pickle.dumps(value)).to_wire()
    assert model.from_wire(body).to_wire() == body  # what a program stored is not what Mux sends
    assert attrs.evolve(value) == value
    assert counts(drift.report()) == expected

    again = model.from_json(text)
    if expected:
        with pytest.raises(DriftError) as caught:
            check_drift(again)
        assert len(caught.value.places) == expected.total()
    else:
        check_drift(again)
    assert counts(drift.report()) == expected + expected


def event(type: object, data: object) -> Json:
    return {
        "type": type,
        "id": "e1",
        "created_at": "2026-12-01T10:00:00.000000Z",
        "object": {"type": "asset", "id": "a1"},
        "environment": {"name": "Production", "id": "env1"},
        "attempts": [],
        "data": data,
    }


@settings(max_examples=examples(100), derandomize=True, deadline=None, database=None)
@given(data=st.data(), is_nested=st.booleans(), is_noted=st.booleans())
def test_events(data: st.DataObject, is_nested: bool, is_noted: bool) -> None:
    """The same in the data of webhook events and in their envelopes."""
    body, expected = spoilt(data, "WebhookAsset")
    raw = event("video.asset.ready", {"video.asset.ready": body} if is_nested else body)
    if is_noted:
        raw["note"] = 1
        expected["unknown_field", "WebhookAssetEvent", "note"] += 1
    drift.clear()

    received = parse_event_text(orjson.dumps(raw))
    assert not drift.report()
    assert received.data.to_wire() == body
    received.to_wire()

    found = counts(drift.report())
    assert {(kind, owner.replace("WebhookAssetEvent", "AssetEvent"), name): n for (kind, owner, name), n in found.items()} == {
        (kind, owner.replace("WebhookAssetEvent", "AssetEvent"), name): n for (kind, owner, name), n in expected.items()
    }


def test_unknown_event() -> None:
    """An event of an unknown type is counted when it arrives, with the types in its data; known ones are not."""
    for _ in range(2):
        parse_event_text(orjson.dumps(event("video.asset.thumbnails.ready", {"id": "a1", "count": 3})))
    parse_event(event("video.asset.ready", {"id": "a1"}))
    parse_event_text(orjson.dumps(event(7, None)))

    known, odd = drift.report().of_kind("unknown_event")
    assert (odd.name, known.name) == ("video.asset.thumbnails.ready", "<not shown>")
    assert (odd.count, odd.samples) == (2, ({"id": "string", "count": "integer"},))


def test_unknown_class_of_objects() -> None:
    """An object of none of the known classes is counted by its union and tag, and the value of the tag is shown."""
    body = spec.make({"$ref": f"{spec.REF}Directive"}, Random(1), is_answer=False)
    body["workflows"][0]["workflow"] = "find-birds"
    for _ in range(2):
        models.Directive.from_json(orjson.dumps(body)).to_wire()

    (place,) = drift.report().places
    assert (place.kind, place.place, place.count) == ("unknown_value", "WorkflowBinding.workflow", 2)
    assert place.samples == ("find-birds",)


@pytest.mark.parametrize("odd", [b"NaN", b'"\\ud800"'])
def test_odd_text(odd: bytes) -> None:
    """Text that is no valid JSON, and is read all the same, is examined too, without counting its oddity."""
    body = orjson.dumps(spec.make({"$ref": f"{spec.REF}Asset"}, Random(1), is_answer=False))
    value = Asset.from_json(body.replace(b"}", b',"new":' + odd + b"}", 1))
    assert "new" in value.progress.extra

    (place,) = drift.report().places
    assert (place.kind, place.name, place.count) == ("unknown_field", "new", 1)


def test_one_field_alone() -> None:
    """An unknown value in the only field that a program reads is counted in every object, and not in the first one only."""
    body: Json = spec.make({"$ref": f"{spec.REF}Asset"}, Random(1), is_answer=False)
    text = orjson.dumps({**body, "status": "paused"})
    for _ in range(3):
        assert Asset.from_json(text).status == "paused"

    (place,) = drift.report().places
    assert (place.place, place.count) == ("Asset.status", 3)


def test_samples_hold_no_content() -> None:
    """A sample has types and names of members. Values, and names that could be tokens, are not in it."""
    secret = "Zk3jVx9QpL0wTn7RbYcE2sUa"
    body = {"a": secret, "when": "2026-12-01T10:00:00Z", "deep": [{secret: [secret, 1, 2.5, None, True]}]}
    AssetMetadata.from_json(orjson.dumps({"new": body, secret: secret, "title": 5})).to_wire()

    report = drift.report()
    assert secret not in str(report) + str(report.to_dict()) + repr(report)
    (new,) = [place for place in report.places if place.name == "new"]
    assert new.samples == (
        {"a": "string", "when": "string (time)", "deep": [{"<not shown>": ["string", "integer", "number", "null", "boolean"]}]},
    )


PLAIN = ("capped-1080p", "Audio only", "en-US", "video_quality", "startTime", "4k", "video.asset.ready")
SECRETIVE = (
    "Zk3jVx9QpL0wTn7RbYcE2sUa",
    "a" * 41,
    "sk_live_51H8xZ2eK",
    "https://e.com/?token=x",
    "CANARYtoken4711",
    "x@y.example",
    "",
)


@pytest.mark.parametrize(("value", "is_shown"), [*((each, True) for each in PLAIN), *((each, False) for each in SECRETIVE)])
def test_values_are_shown_if_plain(value: str, is_shown: bool) -> None:
    """An unknown value of an enum is shown if it is made of plain words, as values of enums are, and not if it could be a token."""
    counted = Drift()
    counted.record("unknown_value", "Asset", "status", value)

    assert counted.report().places[0].samples == ((value if is_shown else "<not shown>"),)


def test_bounds() -> None:
    """A thousand places and eight samples of each are kept; the rest is counted."""
    counted = Drift(clock=iter(range(10**6)).__next__)
    for number in range(1200):
        counted.record("unknown_field", "Asset", "new", {f"member_{number}": 1})
        counted.record("unknown_field", f"Model{number}", "new", 1)

    report = counted.report()
    assert (len(report), report.dropped) == (1000, 201)
    (busy,) = [place for place in report.places if place.owner == "Asset"]
    assert (busy.count, len(busy.samples)) == (1200, 8)
    assert busy.first_seen < busy.last_seen


def test_reports_are_saved_and_merged() -> None:
    """A report is written as JSON and read again, and those of several processes make one."""
    first, second = Drift(clock=lambda: 1000.0), Drift(clock=lambda: 2000.0)
    first.record("unknown_value", "Asset", "status", "paused", expected="one of 3 values")
    second.record("unknown_value", "Asset", "status", "frozen")
    second.record("unexpected_status", "video.assets.list", "418")

    saved = [DriftReport.from_dict(orjson.loads(orjson.dumps(each.report().to_dict()))) for each in (first, second)]
    assert saved == [first.report(), second.report()]
    merged = saved[0].merged(saved[1])

    odd, both = merged.places
    assert (odd.place, both.place) == ("video.assets.list 418", "Asset.status")
    assert (both.count, both.samples, both.expected) == (2, ("paused", "frozen"), "one of 3 values")
    assert both.last_seen.timestamp() - both.first_seen.timestamp() == 1000.0
    assert "Asset.status" in str(merged)


@pytest.mark.parametrize(
    "data", [{}, {"places": 3}, {"version": "1", "places": [{"kind": "x"}]}, {"places": [7], "version": "1"}]
)
def test_not_a_report(data: Json) -> None:
    """What is not a saved report is refused with a sentence."""
    with pytest.raises(ValueError, match="not a report of drift"):
        DriftReport.from_dict(data)
