"""Models in the hands of other libraries: as answers of web frameworks, and in what attrs, cattrs, pydantic, msgspec and typing do."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
import threading
import typing
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any

import attrs
import cattrs
import msgspec
import orjson
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

import mux_async
import mux_async.models
import mux_async.webhooks.events
from mux_async import Model, RawResponse
from mux_async.emulator import example_event
from mux_async.errors import Attempt
from mux_async.models import Asset, AssetMetadata, LiveStream, PlaybackId
from mux_async.webhooks import Event, UnknownEvent, parse_event
from tests.generated import spec
from tests.webhooks.samples import envelope

RAW: dict[str, Any] = {
    "id": "a",
    "status": "ready",
    "created_at": "1767225600",
    "duration": 5,
    "passthrough": None,
    "meta": {"title": "t", "mood": "blue"},
    "playback_ids": [{"id": "p", "policy": "public"}],
    "tomorrow": {"deep": [1.5]},
}


def classes() -> list[type[Model]]:
    """Every class of the API and every event."""
    named = [getattr(mux_async.models, name) for name in mux_async.models.__all__]
    events = [getattr(mux_async.webhooks.events, name) for name in mux_async.webhooks.events.__all__]
    found = {
        kind
        for kind in (*named, *events, UnknownEvent)
        if kind is not Event and isinstance(kind, type) and issubclass(kind, Model)
    }
    return sorted(found, key=lambda kind: (kind.__module__, kind.__name__))


def asset(**changes: Any) -> Asset:
    """One that is not read yet."""
    return Asset.from_json(orjson.dumps({**RAW, **changes}))


def test_json() -> None:
    """`to_json` is text that `from_json` reads, `to_dict` and ``dict`` the object as it came; json and orjson take them as defaults."""
    assert asset().to_dict() == asset().to_wire() == dict(asset()) == RAW
    assert json.loads(asset().to_json()) == RAW
    assert Asset.from_json(asset().to_json()) == asset()
    assert json.loads(json.dumps({"a": [asset()]}, default=Asset.to_dict)) == {"a": [RAW]}
    assert next(iter(asset())) == ("id", "a")


def sample(cls: type[Model]) -> dict[str, Any]:
    """Return an object of the API that fits a class."""
    if issubclass(cls, Event):
        kinds = typing.get_args(typing.get_type_hints(cls).get("type"))
        return example_event(kinds[0], datetime.now(UTC)) if kinds else envelope()
    if cls.__name__ not in spec.schemas():
        return {}
    found: dict[str, Any] = spec.make({"$ref": f"{spec.REF}{cls.__name__}"}, Random(cls.__name__), is_answer=False)
    return found


@pytest.mark.parametrize("cls", classes(), ids=lambda cls: cls.__name__)
def test_every_class(cls: type[Model]) -> None:
    """Names in annotations are found, for typing, attrs and stock cattrs, and no class shows what it keeps for itself."""
    hints = typing.get_type_hints(cls)
    names = [field.name for field in attrs.fields(cls)]
    assert set(names) <= hints.keys()
    assert not any(name.startswith("_") for name in names)

    attrs.resolve_types(cls)
    assert not any(isinstance(field.type, str) for field in attrs.fields(cls))

    made = cls.from_wire({**sample(cls), "tomorrow": 1})
    shown = cattrs.unstructure(made)
    assert shown.keys() == set(names)
    assert attrs.asdict(made).keys() == set(names)
    assert shown["extra"] == {"tomorrow": 1}
    json.dumps(attrs.asdict(made), default=str)
    assert isinstance(hash(made), int)


def test_hints_are_found_first() -> None:
    """In a fresh process too, whichever module is imported first, and without importing any model before they are asked for."""
    code = """
import sys, typing
from mux_async.webhooks.events import AssetEvent
assert "mux_async.models.system_utilities" not in sys.modules
assert typing.get_type_hints(AssetEvent)["data"].__name__ == "WebhookAsset"
import attrs, inspect
from mux_async.models.system_utilities import Whoami
assert inspect.get_annotations(Whoami, eval_str=True)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_attrs() -> None:
    """``asdict`` gives plain values all the way down, and ``evolve`` what was absent, null and unknown, as it was."""
    shown = attrs.asdict(asset())
    assert shown["playback_ids"] == [{"extra": {}, "id": "p", "policy": "public", "drm_configuration_id": None}]
    assert shown["extra"] == {"tomorrow": {"deep": [1.5]}}
    assert type(shown["extra"]) is dict

    changed = attrs.evolve(asset(), status="errored")
    assert changed.to_wire() == {**RAW, "status": "errored"}
    assert changed != asset()
    assert attrs.evolve(changed, status="ready") == asset()


def test_extra_of_another() -> None:
    """Extra fields taken over to a model of another class bring nothing but themselves."""
    made = AssetMetadata(title="t", extra=asset().extra)

    assert made.to_wire() == {"title": "t", "tomorrow": {"deep": [1.5]}}


CHANGES: list[Callable[[Any], object]] = [
    lambda extra: extra.update(a=1),
    lambda extra: extra.pop("tomorrow"),
    lambda extra: extra.clear(),
    lambda extra: extra.setdefault("a", 1),
    lambda extra: extra.popitem(),
    lambda extra: extra.__ior__({"a": 1}),
    lambda extra: extra.__delitem__("tomorrow"),
    lambda extra: extra.__setitem__("a", 1),
]


@pytest.mark.parametrize("change", CHANGES)
def test_extra_is_frozen(change: Callable[[Any], object]) -> None:
    """Extra fields cannot be changed in place; copies of them can."""
    one = asset()
    with pytest.raises(TypeError, match="with_extra"):
        change(one.extra)

    for twin in (copy.copy(one.extra), copy.deepcopy(one.extra), pickle.loads(pickle.dumps(one.extra)), dict(one.extra)):
        assert type(twin) is dict
        assert twin == one.extra == {"tomorrow": {"deep": [1.5]}}


def test_hash() -> None:
    """Every model has a hash, equal for equal ones, whatever its fields hold."""
    twins = [asset(), asset(), attrs.evolve(asset()), copy.deepcopy(asset()), pickle.loads(pickle.dumps(asset()))]
    assert len({hash(twin) for twin in twins}) == 1
    assert len({*twins, asset(status="errored"), asset(id={"odd": []})}) == 3
    assert hash(Asset.from_wire({"id": [1], "status": {"a": {}}})) == hash(Asset.from_wire({"id": [1], "status": {"a": {}}}))


def test_converter() -> None:
    """`mux_async.converter` reads and writes models inside a program's own classes."""

    @attrs.frozen
    class Film:
        asset: Asset
        streams: list[LiveStream]

    converter = mux_async.converter()
    film = converter.structure({"asset": RAW, "streams": [{"id": "l"}]}, Film)
    assert film.asset == asset()
    assert converter.unstructure(film) == {"asset": RAW, "streams": [{"id": "l"}]}


@attrs.frozen(kw_only=True, eq=False, repr=False)
class OurAsset(Asset):
    """A program's own asset."""

    rating: int = 3
    tags: list[str] = attrs.field(factory=list[str])
    tomorrow: dict[str, Any] | None = None
    wired: str | None = attrs.field(default=None, metadata={"wire": "wired-name"})
    needed: str = attrs.field(default="x", metadata={"wire": "needed"})


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TheirAsset(OurAsset):
    more: int = 7


@pytest.mark.parametrize("cls", [OurAsset, TheirAsset])
def test_subclass(cls: type[OurAsset]) -> None:
    """New fields of a subclass have what was received, else their default; what was received is given back."""

    def from_text(raw: dict[str, Any]) -> OurAsset:
        return cls.from_json(orjson.dumps(raw))

    for read in (cls.from_wire, from_text):
        made = read({**RAW, "wired-name": "w"})
        assert (made.rating, made.tags, made.tomorrow, made.wired, made.needed) == (3, [], RAW["tomorrow"], "w", "x")
        assert (made.id, made.status) == ("a", "ready")
        assert made.to_wire() == {**RAW, "wired-name": "w"}
        assert read(RAW).tags is not made.tags
        assert read({**RAW, "rating": 5}).rating == 5
        assert attrs.evolve(made, rating=4).to_wire() == {**RAW, "wired-name": "w", "rating": 4}
        assert pickle.loads(pickle.dumps(made)) == made
        assert repr(made).startswith(f"{cls.__name__}(")
    assert cls.from_wire({"id": "a"}) == cls.from_wire({"id": "a"})
    if cls is TheirAsset:
        assert TheirAsset.from_wire({}).more == 7


def test_subclass_without_fields() -> None:
    """A subclass that adds methods reads as its parent."""

    class Named(Asset):
        def name(self) -> str:
            return f"film {self.id}"

    assert Named.from_wire(RAW).name() == "film a"
    assert Named.from_json(orjson.dumps(RAW)).to_wire() == RAW


def test_raw_response() -> None:
    """A raw response can be pickled and copied, headers and all."""
    attempt = Attempt(1, 0.0, 0.1, 200, "r", None)
    headers = CIMultiDict[str]([("X-Request-Id", "r"), ("Set-Cookie", "a"), ("Set-Cookie", "b")])
    raw = RawResponse(asset(), 200, CIMultiDictProxy(headers), "r", (attempt,), b"{}")
    for twin in (pickle.loads(pickle.dumps(raw)), copy.copy(raw), copy.deepcopy(raw)):
        assert twin.value == raw.value
        assert twin.headers == raw.headers
        assert twin.headers["x-request-id"] == "r"
        assert twin.headers.getall("set-cookie") == ["a", "b"]
        assert (twin.status, twin.request_id, twin.attempts, twin.content, twin.is_reconciled) == (
            200,
            "r",
            (attempt,),
            b"{}",
            False,
        )


NATIVE: dict[str, Callable[[Any], Any]] = {
    "msgspec JSON": lambda value: json.loads(msgspec.json.encode(value)),
    "msgspec MessagePack": lambda value: msgspec.msgpack.decode(msgspec.msgpack.encode(value)),
    "msgspec builtins": msgspec.to_builtins,
    "orjson": lambda value: json.loads(orjson.dumps(value)),
}


@pytest.mark.parametrize("read_before", [False, True])
@pytest.mark.parametrize("how", NATIVE)
def test_native_writers(how: str, read_before: bool) -> None:
    """Libraries that write attributes by themselves write all of them, also of a model that was not decoded yet, and of those in it."""
    one = asset()
    if read_before:
        repr(one)
    written = NATIVE[how]({"answer": [one]})["answer"][0]

    assert (written["id"], written["status"], written["meta"]["title"]) == ("a", "ready", "t")
    assert written["playback_ids"] == [{"id": "p", "policy": "public", "drm_configuration_id": None}]
    assert str(written["created_at"]).startswith("2026-01-01")
    assert written.keys() == {field.name for field in attrs.fields(Asset)} - {"extra"}


def test_native_writers_and_subclasses() -> None:
    """The same for a program's subclass, and for events."""
    assert json.loads(msgspec.json.encode(OurAsset.from_wire(RAW)))["rating"] == 3
    event = parse_event(envelope())
    assert json.loads(msgspec.json.encode(event))["data"]["status"] == "ready"


def test_is_no_dataclass() -> None:
    """Nothing that asks a class takes a model for a dataclass."""
    import dataclasses

    assert not dataclasses.is_dataclass(Asset)
    assert not dataclasses.is_dataclass(asset())
    with pytest.raises(TypeError):
        dataclasses.fields(typing.cast("Any", Asset))


def test_fastapi() -> None:
    """FastAPI returns models with and without annotation, in lists and in pydantic models, as Mux wrote them, and describes them."""
    from fastapi import FastAPI
    from fastapi.testclient import TestClient
    from pydantic import BaseModel

    class Film(BaseModel):
        title: str
        asset: Asset
        ids: list[PlaybackId] = []

    app = FastAPI()

    async def plain() -> Any:
        return asset()

    async def annotated() -> Any:
        return asset()

    async def listed() -> Any:
        return [asset(), asset()]

    async def inside() -> Any:
        return Film(title="t", asset=asset(), ids=asset().playback_ids or [])

    async def taken(film: Any) -> Any:
        assert isinstance(film.asset, Asset)
        return {"asset": film.asset, "id": film.asset.id}

    taken.__annotations__["film"] = Film
    for path, endpoint, model in (
        ("/plain", plain, None),
        ("/annotated", annotated, Asset),
        ("/listed", listed, list[Asset]),
        ("/inside", inside, Film),
    ):
        app.get(path, response_model=model)(endpoint)
    app.post("/taken")(taken)
    client = TestClient(app)

    assert client.get("/plain").json() == RAW
    assert client.get("/annotated").json() == RAW
    assert client.get("/listed").json() == [RAW, RAW]
    assert client.get("/inside").json() == {"title": "t", "asset": RAW, "ids": RAW["playback_ids"]}
    assert client.post("/taken", json={"title": "t", "asset": RAW}).json()["asset"] == RAW
    assert client.post("/taken", json={"title": "t", "asset": 5}).status_code == 422
    schema = client.get("/openapi.json").json()["components"]["schemas"]["Film"]["properties"]["asset"]
    assert schema["title"] == "Asset"
    assert schema["properties"]["status"] == {"type": "string", "examples": ["preparing", "ready", "errored"]}
    assert "id" in schema["required"]


def test_pydantic() -> None:
    """As a field of pydantic a model is read from itself or its object, and written as the object; a wrong one is named."""
    from pydantic import BaseModel, TypeAdapter, ValidationError

    class Film(BaseModel):
        asset: Asset
        other: Asset | None = None

    one = asset()
    film = Film(asset=one)
    assert film.asset is one
    assert Film.model_validate({"asset": RAW}).asset == one
    assert Film.model_validate_json(json.dumps({"asset": RAW})).asset == one
    assert film.model_dump() == {"asset": RAW, "other": None}
    assert json.loads(film.model_dump_json(exclude_none=True)) == {"asset": RAW}
    assert film.model_copy(deep=True) == film
    with pytest.raises(ValidationError, match="Input should be a Asset or its JSON object"):
        Film.model_validate({"asset": "text"})
    assert json.loads(TypeAdapter(list[Asset]).dump_json([one])) == [RAW]
    assert json.loads(TypeAdapter(Any).dump_json({"a": one}))["a"] == RAW


@pytest.mark.parametrize("cls", classes(), ids=lambda cls: cls.__name__)
def test_schemas(cls: type[Model]) -> None:
    """Every class has a JSON schema, in both directions, that names its members."""
    from pydantic import TypeAdapter

    for mode in typing.get_args(typing.Literal["validation", "serialization"]):
        schema = TypeAdapter(cls).json_schema(mode=mode)
        assert schema["type"] == "object"
        assert len(schema["properties"]) == len(attrs.fields(cls)) - 1


def test_schema_fits() -> None:
    """What a model writes fits its schema."""
    import jsonschema
    from pydantic import TypeAdapter

    for cls in (Asset, LiveStream):
        jsonschema.validate(sample(cls), TypeAdapter(cls).json_schema())


def test_litestar() -> None:
    """Litestar returns models, alone and in its own classes."""
    from litestar import Litestar, get
    from litestar.testing import TestClient

    class Film(msgspec.Struct):
        asset: Any

    async def plain() -> Any:
        return asset()

    async def inside() -> Any:
        return Film(asset())

    plain.__annotations__["return"] = Asset
    inside.__annotations__["return"] = Film
    with TestClient(Litestar([get("/plain")(plain), get("/inside")(inside)], openapi_config=None)) as client:
        for written in (client.get("/plain").json(), client.get("/inside").json()["asset"]):
            assert (written["id"], written["status"], written["playback_ids"][0]["id"]) == ("a", "ready", "p")


def test_pydantic_stays_out() -> None:
    """Neither models nor what other libraries want of them import these libraries."""
    code = """
import sys
from mux_async.models import Asset
asset = Asset.from_wire({"id": "a"})
asset.to_json(), dict(asset), hash(asset)
new = sys.modules.keys() - BEFORE
assert not {"pydantic", "pydantic_core", "dataclasses", "mux_async._models.interop"} & new, new
"""
    subprocess.run(
        [sys.executable, "-c", f"import sys, attrs, msgspec, orjson\nBEFORE = set(sys.modules)\n{code}"], check=True, timeout=60
    )


LOOKS: list[Callable[[Asset], object]] = [
    lambda one: one.status,
    lambda one: one.to_wire(),
    repr,
    hash,
    lambda one: one == asset(),
    lambda one: pickle.loads(pickle.dumps(one)).to_wire(),
    lambda one: copy.deepcopy(one).to_wire(),
    lambda one: attrs.evolve(one, status="x").to_wire(),
    attrs.asdict,
    lambda one: dict(one.extra),
    lambda one: json.loads(msgspec.json.encode(one)),
    type,
    lambda one: [each.id for each in one.playback_ids or []],
]


@pytest.fixture
def switching() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("switching")
def test_threads() -> None:
    """Threads that use one model at once, each in its own way and all for the first time, get what they would get alone."""
    expected = [look(asset()) for look in LOOKS]
    for turn in range(150):
        one, barrier, got = asset(), threading.Barrier(len(LOOKS)), dict[int, object]()

        def run(number: int, one: Asset = one, barrier: threading.Barrier = barrier, got: dict[int, object] = got) -> None:
            barrier.wait()
            try:
                got[number] = LOOKS[number](one)
            except BaseException as error:  # noqa: BLE001 - reported by the test
                got[number] = error

        threads = [threading.Thread(target=run, args=[number]) for number in range(len(LOOKS))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [got[number] for number in range(len(LOOKS))] == expected, turn
        assert type(one) is Asset


def test_failure_while_reading() -> None:
    """A model whose reading was interrupted still holds its text, and is read the next time."""
    turns = iter([KeyboardInterrupt, None])

    def make_tag() -> str:
        if error := next(turns):
            raise error
        return "t"

    @attrs.frozen(kw_only=True, eq=False, repr=False)
    class Interrupted(Asset):
        tag: str = attrs.field(factory=make_tag)

    one = Interrupted.from_wire(RAW)
    with pytest.raises(KeyboardInterrupt):
        one.to_wire()
    assert one.to_wire() == RAW
    assert one.tag == "t"


def test_defaults_that_depend_on_the_object() -> None:
    """The default of a program's own field may be made from the fields that were received."""

    @attrs.frozen(kw_only=True, eq=False, repr=False)
    class Named(Asset):
        name: str = attrs.field(default=attrs.Factory(lambda asset: f"film {asset.id}", takes_self=True))

    class Plain(Named):
        """Without fields of its own."""

    for cls in (Named, Plain):
        assert cls.from_wire(RAW).name == "film a"
        assert cls.from_json(orjson.dumps({**RAW, "name": "given"})).name == "given"
        assert cls.from_wire(RAW).to_wire() == RAW


def test_subclass_with_a_dictionary() -> None:
    """A subclass whose fields are not in slots reads them as well."""

    @attrs.frozen(kw_only=True, eq=False, repr=False, slots=False)
    class Loose(Asset):
        rating: int = 3

    assert Loose.from_wire({**RAW, "rating": 5}).rating == 5
    assert (Loose.from_wire(RAW).rating, Loose.from_wire(RAW).status) == (3, "ready")
