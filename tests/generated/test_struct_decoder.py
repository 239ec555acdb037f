"""Decoders: what is unexpected is decoded as a dictionary once, and as fast as everything else after that."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest

from mux_async._models.fields import NUMBER, FieldTable, Nested, NestedList, optional
from mux_async._models.json_reader import DECODE_ERRORS
from mux_async._models.struct_decoder import StructDecoder, object_text
from mux_async._models.times import SECONDS_TEXT
from mux_async._types import UNSET
from mux_async.models import AssetMetadata


def make() -> StructDecoder:
    return StructDecoder(
        FieldTable(
            {
                "id": str,
                "made_at": SECONDS_TEXT,
                "status": optional(("new", "old")),
                "size": optional(NUMBER),
                "inner": optional(Nested(AssetMetadata)),
                "others": optional(NestedList(AssetMetadata)),
                "class_": optional(str),
            },
            {"class_": "class"},
        )
    )


USUAL: dict[str, Any] = {"id": "a", "made_at": "5", "status": "new", "size": 3, "inner": {"name": "x"}, "class": "c"}


def read(decoder: StructDecoder, raw: dict[str, Any]) -> tuple[dict[str, Any], dict[str, object], dict[str, object]]:
    """Decode the text of *raw*: values by field, overrides, and unknown fields. Nested objects are decoded, to be compared."""
    values, overrides, extra = decoder.settle(msgspec.structs.astuple(decoder.decode(orjson.dumps(raw))))
    return dict(zip(decoder.table.fields, map(decoded, values), strict=True)), overrides, extra


def decoded(value: Any) -> Any:
    """Return *value* with the text in it decoded."""
    if isinstance(value, str):
        return value
    return msgspec.json.decode(msgspec.json.encode(value))


def take(decoder: StructDecoder, raw: dict[str, Any]) -> tuple[dict[str, Any], dict[str, object], dict[str, object]]:
    values, overrides, extra = decoder.take(raw)
    return dict(zip(decoder.table.fields, values, strict=True)), overrides, extra


def test_usual() -> None:
    """What the description of the API says is decoded at once: enums are the known strings themselves, and numbers keep their form."""
    values, overrides, extra = read(make(), USUAL)

    assert (values["status"], values["size"], values["class_"], values["others"]) == ("new", 3, "c", None)
    assert values["inner"] == {"name": "x"}
    assert (extra, overrides) == ({}, {})
    assert values["status"] is read(make(), USUAL)[0]["status"]
    assert type(read(make(), {**USUAL, "size": 3.0})[0]["size"]) is float


ODD: list[dict[str, Any]] = [
    {"hologram": {"depth": 3}},
    {"status": "reticulating"},
    {"status": None},
    {"size": None},
    {"size": "large"},
    {"size": True},
    {"inner": None},
    {"inner": "text"},
    {"inner": [{}]},
    {"others": None},
    {"others": [{"name": "y"}, None]},
    {"others": [["z"]]},
    {"others": {}},
    {"id": None},
    {"id": 7},
    {"made_at": None},
    {"made_at": {"seconds": 5}},
    {"class": None, "class_": 1},
]


READ_LATER: list[Any] = ["text", [{}], None, [{"name": "y"}, None], [["z"]]]
"""Values that stand where objects belong: the text of a nested object is checked when the object around it is read."""


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_extended(odd: dict[str, Any]) -> None:
    """A decoder refuses what it does not know. The one that replaces it decodes that, and what is usual, as a dictionary is read."""
    raw = {**USUAL, **odd}
    decoder = make()
    if not odd.keys() & {"inner", "others"} or next(iter(odd.values())) not in READ_LATER:
        with pytest.raises(DECODE_ERRORS):
            decoder.decode(orjson.dumps(raw))

    extended = decoder.extended(raw)

    for one_of in (raw, USUAL, {"id": "a", "made_at": 1}):
        assert read(extended, one_of) == take(decoder, one_of)
    assert extended.extended(raw) is extended
    assert make().extended(USUAL).decode(orjson.dumps(USUAL)).id == "a"


def test_missing() -> None:
    """A required field that is missing reads None, with an override; so it is at once from then on, until it is there again."""
    decoder = make()
    with pytest.raises(DECODE_ERRORS):
        decoder.decode(b'{"id":"a"}')
    extended = decoder.extended({"id": "a"})

    for values, overrides, extra in (take(decoder, {"id": "a"}), read(extended, {"id": "a"}), take(extended, {"id": "a"})):
        assert values["made_at"] is None
        assert overrides == {"made_at": UNSET}
        assert extra == {}
    assert read(extended, USUAL) == read(decoder, USUAL)
    assert extended.extended({"id": "a"}) is extended


def test_rebuilds_end() -> None:
    """An API that never says the same thing twice costs the slow way, and no more: neither memory nor decoders without end."""
    decoders = [make()]
    for number in range(100):
        extended = decoders[-1].extended({**USUAL, f"new_{number}": 1})
        if extended is not decoders[-1]:
            decoders.append(extended)
    many_at_once = make().extended({**USUAL, **{f"new_{number}": 1 for number in range(1000)}})

    assert len(decoders) == 17
    assert sum(read(many_at_once, {**USUAL, f"new_{number}": 1})[2] != {} for number in range(64)) == 64
    with pytest.raises(DECODE_ERRORS):
        read(many_at_once, {**USUAL, "new_999": 1})


@pytest.mark.parametrize("name", ['"', "\\", "\n", "", "x" * 65, "é", "\x00"])
def test_unlikely_names(name: str) -> None:
    """Names that no API would use are read the slow way each time."""
    decoder = make()

    assert decoder.extended({**USUAL, name: 1}) is decoder


@pytest.mark.parametrize(
    "text", [b"", b"null", b"[]", b'"x"', b"{", b"{} x", b'{"a":\xff}', b'{"a":"\xff"}', b'{"a":"\\ud800"}']
)
def test_not_the_text_of_an_object(text: bytes) -> None:
    """Text is held for later only once it is sure that it is a JSON object."""
    with pytest.raises(DECODE_ERRORS):
        object_text(text)


def test_space_around() -> None:
    """Of the text of an object nothing is held that does not belong to it."""
    assert object_text(b' \r\n{"a": [1, 2]}\t') == b'{"a": [1, 2]}'
