"""What a model does on first use: it decodes its text, and its class gets a constructor. The results are as if both were there before."""

from __future__ import annotations

import copy
import inspect
import itertools
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, ClassVar, cast

import attrs
import orjson
import pytest

from mux_async._models import model
from mux_async._models.deferred_attrs import deferred_attrs
from mux_async._models.fields import NUMBER, FieldTable, optional
from mux_async._models.json_reader import load_object
from mux_async._models.model import ABSENT, Model, forget_decoders, json_of, materialize
from mux_async.models import Asset, AssetMetadata, Track

RAW: dict[str, Any] = {
    "id": "a1",
    "created_at": "1592366925",
    "encoding_tier": "smart",
    "master_access": "none",
    "max_resolution_tier": "1080p",
    "progress": {"state": "completed", "progress": 100},
    "status": "ready",
    "passthrough": None,
    "hologram": {"depth": 3},
    "meta": {"title": "Film"},
    "tracks": [{"id": "t1", "type": "video", "max_width": 1920}, {"id": "t2", "type": "audio"}],
}


FROM: list[Callable[[dict[str, Any]], Asset]] = [
    Asset.from_wire,
    lambda raw: Asset.from_json(orjson.dumps(raw)),
]
sources = itertools.cycle(FROM)


@pytest.fixture(autouse=True, params=FROM, ids=["decoded", "text"])
def _source(request: pytest.FixtureRequest) -> None:
    global sources
    sources = itertools.cycle([request.param])


def received(**changes: object) -> Asset:
    return next(sources)(copy.deepcopy({**RAW, **changes}))


def decoded(**changes: object) -> Asset:
    asset = received(**changes)
    assert asset.id == RAW["id"]
    assert asset.tracks is not None
    assert [track.id for track in asset.tracks] == ["t1", "t2"]
    return asset


USES: list[Callable[[Asset], object]] = [
    lambda asset: asset,
    repr,
    lambda asset: hash((asset.tracks or [])[0]),
    lambda asset: {name: value for name, value in attrs.asdict(asset, recurse=False).items() if name != "_kept"},
    lambda asset: asset.to_wire(),
    lambda asset: asset.extra,
    lambda asset: asset.with_extra(new=1),
    lambda asset: attrs.evolve(asset, status="errored"),
    copy.copy,
    copy.deepcopy,
    lambda asset: pickle.loads(pickle.dumps(asset)),
    lambda asset: asset.meta,
    type,
]


@pytest.mark.parametrize("use", USES)
def test_first_use(use: Callable[[Asset], object]) -> None:
    """Whatever is done with a model first, the result is that of a model that was decoded before."""
    assert use(received()) == use(decoded())


def test_both_ways_of_comparing() -> None:
    """An unread model equals an unread one and a read one, and differs where the JSON does, be it in a null."""
    assert received() == received()
    assert received() == decoded()
    assert decoded() == received()
    assert received() != received(status="errored")
    assert received() != received(video_quality=None)
    assert received() != object()


def test_one_object_at_a_time() -> None:
    """Reading an asset does not decode its tracks, and reading one track does not decode the next."""
    raw = copy.deepcopy(RAW)
    asset = Asset.from_wire(raw)
    assert asset.status == "ready"
    raw["tracks"][1]["type"] = "text"  # not allowed; it shows when decoding happens
    assert asset.tracks is not None
    assert asset.tracks[0].type == "video"
    assert asset.tracks[1].type == "text"


@pytest.mark.parametrize("make", [received, decoded])
def test_frozen(make: Callable[[], Asset]) -> None:
    """A received model cannot be changed, neither before nor after it was read."""
    asset = make()
    for _ in range(2):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            asset.status = "errored"  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            del asset.status  # pyright: ignore[reportAttributeAccessIssue]
        assert asset.status == "ready"


@pytest.mark.parametrize("make", [received, decoded])
def test_misspelt(make: Callable[[], Asset]) -> None:
    """A field that does not exist is an `AttributeError` that names it."""
    with pytest.raises(AttributeError, match="'Asset' object has no attribute 'statsu'"):
        make().statsu  # type: ignore[attr-defined] # noqa: B018 # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def test_a_required_field_is_missing() -> None:
    """A model that lacks a required field is decoded all the same, on first use."""
    track = Track.from_wire({"type": "video", "odd": 1})
    assert track.type == "video"
    assert track.to_wire() == {"type": "video", "odd": 1}
    metadata = AssetMetadata.from_wire({})
    assert metadata.to_wire() == {}


def test_odd_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected field is decoded as a dictionary the first time only; expected objects never are."""
    decoded: list[bytes] = []

    def counted(text: bytes) -> dict[str, object]:
        decoded.append(text)
        return load_object(text)

    monkeypatch.setattr(model, "load_object", counted)

    def read(**changes: object) -> Asset:
        asset = Asset.from_json(orjson.dumps({**RAW, **changes}))
        materialize(asset)
        return asset

    forget_decoders()
    for odd in ({"news": [1]}, {"status": "reticulating"}, {"video_quality": None}, {"duration": "long"}):
        changed = {**RAW, **odd}
        assert [read(**odd).to_wire() for _ in range(3)] == [changed] * 3
        assert read().to_wire() == RAW
    assert len(decoded) == 4  # one for each; the first has the unknown field and the null of RAW in it too


def test_threads() -> None:
    """Threads that use one model first at the same time all see all of it, and it is frozen afterwards."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(200):
            asset = received()
            barrier = threading.Barrier(4)
            problems: list[object] = []

            def look(asset: Asset = asset, barrier: threading.Barrier = barrier, problems: list[object] = problems) -> None:
                barrier.wait()
                try:
                    if (asset.status, asset.extra, asset.to_wire()) != ("ready", {"hologram": {"depth": 3}}, RAW):
                        problems.append(asset)
                except BaseException as error:  # noqa: BLE001 - reported by the test
                    problems.append(error)

            threads = [threading.Thread(target=look) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert not problems
            assert type(asset) is Asset
            assert asset == decoded()
    finally:
        sys.setswitchinterval(interval)


def test_no_hold_on_the_whole() -> None:
    """An object of a list that is kept does not keep the text of the list."""
    asset = Asset.from_json(orjson.dumps({**RAW, "tracks": [{"id": "x" * 1000}, {}]}))

    assert [len(cast("bytes", json_of(track))) for track in asset.tracks or ()] == [1009, 2]


# Constructors, which attrs makes on first use


def is_finished(cls: type) -> bool:
    return isinstance(cls.__dict__["__attrs_attrs__"], tuple)


def make_class() -> Any:
    @deferred_attrs(kw_only=True, eq=False, repr=False)
    class Thing(Model):
        """A thing."""

        kinds: ClassVar[int] = 3
        id: str
        size: int | None = attrs.field(default=ABSENT, metadata={"note": "bytes"})

        @classmethod
        def _field_table(cls) -> FieldTable:
            return FieldTable({"id": str, "size": optional(NUMBER)}, renamed={"size": "Size"})

        def double(self) -> int:
            return 2 * (self.size or 0)

    return Thing


NEEDS: dict[str, Callable[[Any], object]] = {
    "call": lambda cls: cls(id="a"),
    "fields": attrs.fields,
    "signature": inspect.signature,
    "evolve": lambda cls: attrs.evolve(cls.from_wire({}), id="b"),
    "asdict": lambda cls: attrs.asdict(cls.from_wire({}), recurse=False),
    "has": attrs.has,
}


@pytest.mark.parametrize("use", NEEDS)
def test_finished_when_needed(use: str) -> None:
    """Every use that needs what attrs generates finds it, whichever use is the first."""
    cls = make_class()
    assert not is_finished(cls)

    NEEDS[use](cls)

    assert is_finished(cls)
    assert [field.name for field in attrs.fields(cls)] == ["extra", "id", "size"]
    assert attrs.fields(cls).size.metadata == {"note": "bytes"}
    assert str(inspect.signature(cls)).startswith("(*, extra: ")
    thing = cls(id="a", size=2)
    assert (thing.id, thing.double(), cls.kinds) == ("a", 4, 3)
    assert attrs.evolve(thing, size=3).double() == 6
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        thing.size = 4
    assert not hasattr(thing, "__dict__")
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        cls(id="a", nonsense=1)
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'id'"):
        cls()


def test_subclass() -> None:
    """A subclass of such a class has the fields of both."""

    @attrs.frozen(kw_only=True, eq=False, repr=False)
    class More(make_class()):  # type: ignore[misc]
        colour: str = "red"

    more: Any = More
    assert more(id="a").colour == "red"
    assert [field.name for field in attrs.fields(More)] == ["extra", "id", "size", "colour"]


def test_receiving_finishes_nothing() -> None:
    """Receiving and reading assets makes no constructor of any class of the API."""
    program = """
from mux_async.models import Asset, PlaybackId, Track
asset = Asset.from_json('{"id":"a","created_at":"1","progress":{"progress":1,"state":"completed"},"status":"ready","new":1,'
                        '"encoding_tier":"smart","master_access":"none","max_resolution_tier":"1080p","tracks":[{"type":"audio"}]}')
assert asset.tracks[0].type == "audio"
assert asset.extra == {"new": 1}
finished = [cls.__name__ for cls in (Asset, PlaybackId, Track) if isinstance(cls.__dict__["__attrs_attrs__"], tuple)]
assert not finished, finished
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=50)
