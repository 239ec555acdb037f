"""Every schema and every event of the facts: read, compared with the facts, and written back."""

from __future__ import annotations

import subprocess
import sys
from random import Random
from typing import Any, get_args

import attrs
import hypothesis.strategies as st
import msgspec
import orjson
import pytest
from hypothesis import given, settings

import mux_async.models as models
from mux_async import Model
from mux_async.webhooks import events
from mux_async.webhooks.events import ABOUT, EVENTS, EventType, UnknownEvent, parse_event
from tests._examples import examples
from tests.generated import spec

OBJECTS = sorted(name for name, schema in spec.schemas().items() if "properties" in schema)
ENUMS = sorted(name for name, schema in spec.schemas().items() if "enum" in schema)
UNIONS = sorted(name for name, schema in spec.schemas().items() if "oneOf" in schema)
EVENT_DATA = {event["type"]: {"$ref": event["data_ref"]} for event in spec.document()["x-events"]}


def test_count() -> None:
    """All 549 schemas of the API have a name in `mux_async.models`; so have the 23 of webhooks and the three of the corrections."""
    assert len(spec.schemas()) == 410 + 139 + 23 + 3
    assert set(spec.schemas()) <= set(models.__all__)
    assert all(issubclass(getattr(models, name), Model) for name in OBJECTS)
    assert len(OBJECTS) + len(ENUMS) + len(UNIONS) == len(spec.schemas())


@pytest.mark.parametrize("name", ENUMS)
def test_enums(name: str) -> None:
    """An enum is an open set: its known values, or any text. The values are there for validation too."""
    literal, plain = get_args(getattr(models, name))

    assert plain is str
    assert list(get_args(literal)) == spec.schemas()[name]["enum"]
    constant = [
        key for key in models.__all__ if key.endswith("_VALUES") and key.replace("_", "").lower() == f"{name.lower()}values"
    ]
    assert [list(getattr(models, key)) for key in constant] == [spec.schemas()[name]["enum"]]


@pytest.mark.parametrize("name", OBJECTS)
def test_fields(name: str) -> None:
    """A class has the fields of its schema, required where the facts say so, and its table has the same."""
    spec.check_fields(getattr(models, name), spec.schemas()[name])


def check_round_trip(name: str, seeds: range) -> None:
    model: type[Model] = getattr(models, name)
    for seed in seeds:
        raw = spec.make({"$ref": f"{spec.REF}{name}"}, Random(f"{name} {seed}"))
        for value in (model.from_wire(raw), model.from_json(orjson.dumps(raw))):
            spec.check(value, raw, spec.schemas()[name])
            assert value.to_wire() == raw
            assert value == model.from_wire(raw)
            assert attrs.evolve(value).to_wire() == raw


@pytest.mark.parametrize("name", OBJECTS)
def test_round_trip(name: str) -> None:
    """Whatever fits a schema, with unknown fields and enum values, is read field by field and written back exactly."""
    check_round_trip(name, range(6))


@pytest.mark.proof
def test_round_trips() -> None:
    """The same with more values of each schema."""
    for name in OBJECTS:
        check_round_trip(name, range(6, 50))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("name", ["Asset", "LiveStream", "Directive", "SummarizeJob", "VideoView", "UsageExport", "Annotation"])
@settings(max_examples=examples(60), derandomize=True, deadline=None, database=None)
@given(data=st.data())
def test_anything(name: str, data: st.DataObject) -> None:
    """Known fields may hold anything at all: nothing is raised, and all of it goes back."""
    known = list(spec.schemas()[name]["properties"])
    raw = data.draw(st.dictionaries(st.sampled_from(known) | st.text(max_size=4), JSON, max_size=6))

    model: type[Model] = getattr(models, name)
    for value in (model.from_wire(raw), model.from_json(orjson.dumps(raw))):
        assert value.to_wire() == raw
        assert repr(value).startswith(f"{name}(")
        assert value == model.from_wire(raw)


@pytest.mark.parametrize("name", UNIONS)
def test_unions(name: str) -> None:
    """A union reads every variant as its class."""
    schema = spec.schemas()[name]
    (constant,) = [key for key in dir(_module_of(name)) if key.replace("_", "").lower() == f"{name.lower()}variants"]
    read: Any = getattr(_module_of(name), constant)
    for tag, reference in schema["discriminator"]["mapping"].items():
        made = spec.make({"$ref": reference}, Random(tag), is_answer=False)
        raw = {**made, schema["discriminator"]["propertyName"]: tag}

        spec.check(read.one(raw), raw, schema)
        spec.check(read.one(msgspec.Raw(orjson.dumps(raw))), raw, schema)


def _module_of(name: str) -> Any:
    homes: dict[str, str] = vars(models)["_HOMES"]
    return sys.modules.get(homes[name]) or __import__(homes[name], fromlist=["_"])


def envelope(event_type: str, data: object) -> dict[str, object]:
    return {
        "type": event_type,
        "id": "4813455b-8fe8-40cc-9150-9aa5e2de67ca",
        "created_at": "2022-06-27T20:36:38.000000Z",
        "object": {"type": "asset", "id": "a1"},
        "environment": {"name": "Development", "id": "dvlv0o", "region": "mars"},
        "data": data,
        "request_id": None,
        "attempts": [{"id": "x", "webhook_id": 5, "response_headers": {"a": "b"}}],
        "accessor": None,
        "accessor_source": None,
    }


def test_events_count() -> None:
    """206 event types, in the table, in the type, and with a sentence each."""
    assert len(EVENTS) == 126 + 69 + 11
    assert set(EVENTS) == set(get_args(EventType)) == set(ABOUT) == set(EVENT_DATA)
    assert all(text.endswith(".") and not text.startswith("See ") for text in ABOUT.values())


@pytest.mark.parametrize("event_type", sorted(EVENT_DATA))
@pytest.mark.parametrize("is_nested", [False, True], ids=["flat", "nested"])
def test_events(event_type: str, is_nested: bool) -> None:
    """Every event is read with its data typed, whether or not the data lies under the event's name, and goes back as it came."""
    data = spec.make(EVENT_DATA[event_type], Random(event_type))
    raw = envelope(event_type, {event_type: data} if is_nested else data)

    event = parse_event(raw)

    assert type(event) is EVENTS[event_type]  # type: ignore[index]  # text from the facts
    assert event.type == event_type
    assert event.created_at.isoformat() == "2022-06-27T20:36:38+00:00"
    assert event.environment.name == "Development"
    assert event.attempts[0].webhook_id == 5
    spec.check(event.data, data, EVENT_DATA[event_type])
    assert event.to_wire() == raw


def test_event_times() -> None:
    """In events the same object's times are integers; both ways of writing them are read."""
    both = [parse_event(envelope("video.asset.ready", {"id": "a", "created_at": raw})) for raw in (1656362193, "1656362193")]

    for event in both:
        assert isinstance(event, events.AssetEvent)
        assert event.data.created_at.isoformat() == "2022-06-27T20:36:33+00:00"
        assert event.to_wire()["data"] != {}
    assert both[0] == both[1]


@pytest.mark.parametrize("event_type", ["video.asset.teleported", "", None, 5, ["video.asset.ready"]])
def test_unknown_events(event_type: Any) -> None:
    """An event of an unknown type is kept, with its envelope read."""
    raw = envelope(event_type, {"anything": [1]})

    event = parse_event(raw)

    assert isinstance(event, UnknownEvent)
    assert event.type == event_type
    assert event.data == {"anything": [1]}
    assert event.object.id == "a1"
    assert event.to_wire() == raw


@pytest.mark.parametrize("data", [None, "text", [], 7])
def test_odd_event_data(data: object) -> None:
    """A known event whose data is not an object is kept as well."""
    event = parse_event(envelope("video.asset.ready", data))

    assert event.data == data
    assert event.to_wire() == envelope("video.asset.ready", data)


def test_import_cost() -> None:
    """Resources and the index of models can be imported without one model class being made. (Webhooks load theirs.)"""
    program = (
        "import sys, pkgutil, importlib, mux_async.resources, mux_async.models\n"
        "for found in pkgutil.iter_modules(mux_async.resources.__path__):\n"
        "    importlib.import_module(f'mux_async.resources.{found.name}')\n"
        "import mux_async._models.response_decoder\n"
        "print(sorted(name for name in sys.modules if name.startswith('mux_async.models.')), 'cattrs' in sys.modules)\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[] False"
