"""Classes of which attrs makes the constructor on first use, and which otherwise are as all classes of attrs."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import attrs
import pytest

from mux_async._models.deferred_attrs import deferred_attrs
from mux_async._models.fields import NUMBER, FieldTable, optional
from mux_async._models.model import ABSENT, Model


def is_finished(cls: type) -> bool:
    return isinstance(cls.__dict__["__attrs_attrs__"], tuple)


def make() -> Any:
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


USES: dict[str, Callable[[Any], object]] = {
    "call": lambda cls: cls(id="a"),
    "fields": attrs.fields,
    "signature": inspect.signature,
    "evolve": lambda cls: attrs.evolve(cls.from_wire({}), id="b"),
    "asdict": lambda cls: attrs.asdict(cls.from_wire({}), recurse=False),
    "has": attrs.has,
}


@pytest.mark.parametrize("use", USES)
def test_finished_when_needed(use: str) -> None:
    """Whatever needs what attrs makes finds it, whichever is the first."""
    cls = make()
    assert not is_finished(cls)

    USES[use](cls)

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
    """A class of one's own below such a class has the fields of both."""

    @attrs.frozen(kw_only=True, eq=False, repr=False)
    class More(make()):  # type: ignore[misc]
        colour: str = "red"

    more: Any = More
    assert more(id="a").colour == "red"
    assert [field.name for field in attrs.fields(More)] == ["extra", "id", "size", "colour"]


def test_receiving_finishes_nothing() -> None:
    """To receive assets and to look at them costs no constructor of any class of the API."""
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
