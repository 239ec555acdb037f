"""Decoding: JSON text to values, responses to results, and objects to the fields of a model.

Responses, pages, errors, webhooks and `Model.from_json` take the same texts, and none is lost for one bad value. What the API's description
does not say is decoded as a dictionary once, and as fast as everything else after that.
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from typing import Any

import msgspec
import orjson
import pytest

from mux_async import UNSET
from mux_async._models.fields import NUMBER, FieldTable, Nested, NestedList, optional
from mux_async._models.json_reader import DECODE_ERRORS, NotJsonError, loads
from mux_async._models.response_decoder import BodyError, decoder, dumps
from mux_async._models.struct_decoder import StructDecoder, object_text
from mux_async._models.times import SECONDS_TEXT
from mux_async._operation import Bucket, Operation, Replay, Result
from mux_async.errors import InvalidRequestError
from mux_async.models import Asset, AssetMetadata, ListAssetsResponse, Track
from mux_async.webhooks import parse_event
from mux_async.webhooks.events import AssetEvent, parse_event_text

DIGITS = b"9" * 5000
PLAIN = b'{"id":"a","duration":12.5,"meta":{"title":"t"},"tracks":[{"id":"t1"}],"new":[1]}'

ODD: dict[str, bytes] = {
    "byte order mark": b"\xef\xbb\xbf" + PLAIN,
    "UTF-16": PLAIN.decode().encode("utf-16"),
    "UTF-16, little-endian, unmarked": PLAIN.decode().encode("utf-16-le"),
    "UTF-16, big-endian, unmarked": PLAIN.decode().encode("utf-16-be"),
    "UTF-32": PLAIN.decode().encode("utf-32"),
    "space around": b" \r\n\t" + PLAIN + b"\n",
    "half a character": PLAIN.replace(b'"t"', b'"\\ud800"'),
    "half a character, the other half": PLAIN.replace(b'"t"', b'"x\\udfff"'),
    "half a character in a name": PLAIN.replace(b'"new"', b'"\\ud800"'),
    "half a character in UTF-8": PLAIN.replace(b'"t"', b'"\xed\xa0\x80"'),
    "NaN": PLAIN.replace(b"12.5", b"NaN"),
    "NaN inside": PLAIN.replace(b'"t1"', b"NaN"),
    "infinite": PLAIN.replace(b"12.5", b"-Infinity"),
    "more than a float holds": PLAIN.replace(b"12.5", b"1e999"),
    "less than a float holds": PLAIN.replace(b"12.5", b"-1e999"),
    "5,000 digits": PLAIN.replace(b"12.5", DIGITS),
    "5,000 digits below zero": PLAIN.replace(b"12.5", b"-" + DIGITS),
    "5,000 digits and a fraction": PLAIN.replace(b"12.5", DIGITS + b".5"),
    "5,000 digits inside": PLAIN.replace(b'"t1"', DIGITS),
    "5,000 digits for text": PLAIN.replace(b'"a"', DIGITS),
    "5,000 digits for an object": PLAIN.replace(b'{"title":"t"}', DIGITS),
    "5,000 digits in what is new": PLAIN.replace(b"[1]", b'{"deep":[' + DIGITS + b"]}"),
    "30 digits": PLAIN.replace(b"12.5", b"1" + b"0" * 29),
    "30 digits in what is new": PLAIN.replace(b"[1]", b"[1" + b"0" * 29 + b"]"),
    "one name twice": PLAIN.replace(b'"duration"', b'"id":"b","duration":1,"duration"'),
    "one name twice, with a bad value": PLAIN.replace(b'"duration"', b'"duration":NaN,"duration"'),
    "minus zero": PLAIN.replace(b"12.5", b"-0.0"),
}
REFUSED: dict[str, bytes] = {
    "nothing": b"",
    "space": b" \n",
    "not UTF-8": PLAIN.replace(b'"t"', b'"\xff"'),
    "cut": PLAIN[:-1],
    "more": PLAIN + b"x",
    "two": PLAIN + PLAIN,
    "nan": PLAIN.replace(b"12.5", b"nan"),
    "+1": PLAIN.replace(b"12.5", b"+1"),
    "01": PLAIN.replace(b"12.5", b"01"),
    "a comma too many": PLAIN.replace(b"[1]", b"[1,]"),
    "a tab in text": PLAIN.replace(b'"t"', b'"\t"'),
    "single quotes": PLAIN.replace(b'"t"', b"'t'"),
    "too deep": PLAIN.replace(b"[1]", b"[" * 100_000 + b"]" * 100_000),
    "cut UTF-16": PLAIN.decode().encode("utf-16")[:-1],
}


def operation(result: Result, model: str | None = "video_assets:Asset", *, is_list: bool = False) -> Operation[Any]:
    return Operation(
        id="x.y", method="GET", path="/", bucket=Bucket.OTHER, replay=Replay.SAFE, result=result, model=model, is_list=is_list
    )


def around(before: bytes, text: bytes, after: bytes) -> bytes:
    """Put *text*, in whatever encoding it is, into a larger one."""
    encoding: str = json.detect_encoding(text)
    if encoding in {"utf-8", "utf-8-sig"}:
        mark = b"\xef\xbb\xbf" if encoding == "utf-8-sig" else b""
        return mark + before + text.removeprefix(mark) + after
    mark, body = b"", text
    if encoding in {"utf-16", "utf-32"}:
        mark = "".encode(encoding)
        body = text[len(mark) :]
        encoding = f"{encoding}-le"
    return mark + before.decode().encode(encoding) + body + after.decode().encode(encoding)


def from_answer(text: bytes) -> Any:
    return decoder(operation("data"))(around(b'{"data":', text, b"}"))


def from_list(text: bytes) -> Any:
    found: Any = decoder(operation("data", is_list=True))(around(b'{"data":[{"id":"other"},', text, b"]}"))
    assert found[0].id == "other"
    return found[1]


def from_page(text: bytes) -> Any:
    page = decoder(operation("page", "video_assets:ListAssetsResponse"))(
        around(b'{"data":[{"id":"other"},', text, b'],"next_cursor":"c"}')
    )
    assert isinstance(page, ListAssetsResponse)
    assert page.data[0].id == "other"
    assert page.next_cursor == "c"
    return page.data[1]


def from_event(text: bytes) -> Any:
    event = parse_event_text(around(b'{"type":"video.asset.ready","id":"e","data":', text, b"}"))
    assert isinstance(event, AssetEvent)
    assert event.id == "e"
    # The data of an event has a class of its own.
    return Asset.from_wire(event.data.to_wire()) if _is_writable(event.data) else _as_asset(event.data)


def _is_writable(model: Any) -> bool:
    try:
        model.to_wire()
    except ValueError:  # JSON has no such number
        return False
    return True


def _as_asset(data: Any) -> Any:
    class Same:
        extra = data.extra

        def __getattr__(self, name: str) -> Any:
            return getattr(data, name)

    return Same()


READERS: dict[str, Callable[[bytes], Any]] = {
    "from_json": Asset.from_json,
    "answer": from_answer,
    "list": from_list,
    "page": from_page,
    "event": from_event,
}


def facts(asset: Any) -> list[object]:
    """Return the values of an asset in a form that compares equal, NaN too."""
    title = getattr(asset.meta, "title", asset.meta)
    tracks: Any = asset.tracks
    found = [asset.id, asset.duration, title, tracks[0].id, dict(asset.extra)]
    return [repr(value) for value in found]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ODD)
def test_all_read_the_same(name: str, reader: str) -> None:
    """Every reader reads every odd text, to the same values as Python's own JSON parser; all fields can be read and shown."""
    text = ODD[name]
    asset = READERS[reader](text)
    expected: Any = Asset.from_wire(_expected(text))

    assert hasattr(asset, "status")
    assert facts(asset) == facts(expected)
    assert repr(asset)


def _expected(text: bytes) -> Any:
    def read_int(digits: str) -> int | float:
        return int(digits) if len(digits) < 4000 else math.copysign(math.inf, -1 if digits.startswith("-") else 1)

    return json.JSONDecoder(parse_int=read_int).decode(text.decode(json.detect_encoding(text), "surrogatepass"))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", REFUSED)
def test_all_refuse_the_same(name: str, reader: str) -> None:
    """Text that is not JSON is refused by every reader, when it arrives, with an error that contains nothing of it."""
    with pytest.raises(ValueError) as caught:
        READERS[reader](REFUSED[name])

    assert isinstance(caught.value, BodyError | NotJsonError) or type(caught.value) is ValueError
    assert "title" not in str(caught.value)
    error: BaseException | None = caught.value
    while error is not None:
        assert not hasattr(error, "doc")
        error = error.__context__


@pytest.mark.parametrize("name", ODD)
def test_read_in_every_way(name: str) -> None:
    """Every model can be compared, pickled and shown; writing it gives the JSON back, or fails with a reason."""
    asset = Asset.from_json(ODD[name])
    again = pickle.loads(pickle.dumps(asset))

    assert facts(again) == facts(asset)
    assert asset != "something else"
    if _is_writable(asset):
        assert facts(Asset.from_wire(asset.to_wire())) == facts(asset)
    else:
        with pytest.raises(ValueError, match=r"JSON|lone surrogate"):
            asset.to_wire()


def test_text_is_read_as_bytes_are() -> None:
    """`from_json` of text reads what it reads of bytes, half characters and a byte order mark too."""
    for name, text in ODD.items():
        if json.detect_encoding(text) != "utf-8":
            continue
        assert facts(Asset.from_json(text.decode("utf-8", "surrogatepass"))) == facts(Asset.from_json(text)), name
    assert Asset.from_json("\ufeff" + PLAIN.decode()).id == "a"


def test_events_of_bad_heads() -> None:
    """An event whose own members are odd is an event: its type is read in the same way."""
    for text in (b'{"id":%b,"type":1e999}' % DIGITS, b'{"id":"\\ud800","type":NaN}', b"\xef\xbb\xbf{}"):
        event = parse_event_text(text)
        assert repr(event)
        assert repr(event.id) == repr(parse_event(_expected(text)).id)


def test_open_values() -> None:
    """Decoding without a model takes the same: `mux.request`, and the bodies of errors."""
    for text in ODD.values():
        assert repr(loads(text)) == repr(_expected(text))
    for text in REFUSED.values():
        with pytest.raises(NotJsonError, match=r"^not JSON"):
            loads(text)


WRONG: dict[str, tuple[bytes, str]] = {
    "absent": (b"{}", "nothing"),
    "null": (b'{"data":null}', "null"),
    "text": (b'{"data":"x"}', "a string"),
    "a number": (b'{"data":7}', "a number"),
    "a boolean": (b'{"data":true}', "a boolean"),
    "a list of numbers": (b'{"data":[1]}', "a list|a number"),
    "a list with null": (b'{"data":[{"id":"a"},null]}', "a list|null"),
    "a list of lists": (b'{"data":[[{"id":"a"}]]}', "a list"),
    "not a number": (b'{"data":NaN}', "a number"),
    "half a character": (b'{"data":"\\ud800"}', "a string"),
}
FOR_OBJECTS = {**WRONG, "a list": (b'{"data":[{"id":"a"}]}', "a list"), "an empty list": (b'{"data":[]}', "a list")}
FOR_LISTS = {**WRONG, "an object": (b'{"data":{"id":"a"}}', "an object"), "an empty object": (b'{"data":{}}', "an object")}


@pytest.mark.parametrize("more", [b"", b',"new":{"a":1},"next_cursor":null'])
@pytest.mark.parametrize("name", FOR_OBJECTS)
@pytest.mark.parametrize("result", ["data", "envelope"])
def test_no_object(result: Result, name: str, more: bytes) -> None:
    """Where an object belongs under ``data``, everything else is refused with its type, each time."""
    text, what = FOR_OBJECTS[name]
    model = "video_assets:Asset" if result == "data" else "data_incidents:IncidentResponse"
    for _ in range(3):
        with pytest.raises(BodyError, match=f"^({what}) as its data, where an object belongs$"):
            decoder(operation(result, model))(text[:-1] + (more if text != b"{}" else more[1:]) + b"}")


@pytest.mark.parametrize("more", [b"", b',"new":{"a":1},"next_cursor":null'])
@pytest.mark.parametrize("name", FOR_LISTS)
@pytest.mark.parametrize("result", ["data", "page", "envelope"])
def test_no_list(result: Result, name: str, more: bytes) -> None:
    """Where a list of objects belongs under ``data``, everything else is refused, a single object too, each time."""
    text, what = FOR_LISTS[name]
    model = {
        "data": "video_assets:Asset",
        "page": "video_assets:ListAssetsResponse",
        "envelope": "data_errors:ListErrorsResponse",
    }
    read = decoder(operation(result, model[result], is_list=result == "data"))
    for _ in range(3):
        with pytest.raises(BodyError, match=f"^({what}) (as|among) its data, where (a list belongs|objects belong)$"):
            read(text[:-1] + (more if text != b"{}" else more[1:]) + b"}")


def test_lists_that_are_right() -> None:
    """An empty list is one, and a list of no objects is right where the API has such."""
    for result in ("data", "page"):
        model = "video_assets:Asset" if result == "data" else "video_assets:ListAssetsResponse"
        decoder(operation(result, model, is_list=result == "data"))(b'{"data":[]}')
    decoder(operation("envelope", "data_metrics:GetMetricTimeseriesDataResponse"))(
        b'{"data":[["2026-01-01",1,2]],"timeframe":[1,2]}'
    )
    with pytest.raises(BodyError, match="a list belongs"):
        decoder(operation("envelope", "data_metrics:GetMetricTimeseriesDataResponse"))(b'{"data":{}}')


# Results of operations


def test_bytes() -> None:
    """JSON goes out without spaces and comes back as it was."""
    assert dumps({"a": [1, None, "é"]}) == '{"a":[1,null,"é"]}'.encode()
    assert loads(b'{"a":[1,null]}') == {"a": [1, None]}
    with pytest.raises(ValueError, match="not JSON"):
        loads(b"{nonsense")


def test_too_deep() -> None:
    """A body that no server would read is refused before it is sent."""
    value: Any = {}
    for _ in range(400):
        value = {"deeper": value}
    with pytest.raises(InvalidRequestError, match="cannot be written as JSON"):
        dumps(value)


def test_decoders() -> None:
    """Each kind of result is read as `Operation.result` says."""
    asset = {"id": "a1"}
    one, several = dumps({"data": asset}), dumps({"data": [asset], "next_cursor": "c"})

    assert decoder(operation("data", "video_assets:Asset"))(one) == Asset.from_wire(asset)
    assert decoder(operation("data", "video_assets:Track", is_list=True))(several) == [Track.from_wire(asset)]
    for result in ("page", "envelope"):
        page = decoder(operation(result, "video_assets:ListAssetsResponse"))(several)
        assert isinstance(page, ListAssetsResponse)
        assert page.data == [Asset.from_wire(asset)]
        assert page.next_cursor == "c"
    assert decoder(operation("none", None))(one) is None
    assert decoder(operation("json", None))(b"[1]") == [1]


RESULTS: list[tuple[Result, str, bool]] = [
    ("data", "video_assets:Asset", False),
    ("data", "video_assets:Asset", True),
    ("page", "video_assets:ListAssetsResponse", False),
]


@pytest.mark.parametrize(("result", "model", "is_list"), RESULTS)
@pytest.mark.parametrize("body", [b"null", b"[]", b'"text"', b"7", b" [{}]"])
def test_not_an_object(result: Result, model: str, is_list: bool, body: bytes) -> None:
    """A response whose JSON is not an object is refused, with its type."""
    with pytest.raises(BodyError, match=r"^JSON of type \w+ where an object belongs$"):
        decoder(operation(result, model, is_list=is_list))(body)


@pytest.mark.parametrize(("result", "model", "is_list"), RESULTS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"data":{"id":"a"}',
        b'{"data":{"id":"a"}} x',
        b'{"data":{"id":"a",}}',
        b'{"data":{"id":"\xff"}}',
        b'{"data":[{"id":"\xff"}]}',
        b'{"data":[{"id":"\\x"}]}',
        b'{"data":{"id":nan}}',
        b'{"data":[{"id":nan}]}',
        b'{"data":{"meta":{"title":tru}}}',
        b'{"data":{"a":[1,]}}',
        b'{"data":"x","next_cursor":}',
    ],
)
def test_not_json(result: Result, model: str, is_list: bool, body: bytes) -> None:
    """Text that is not JSON in any part is refused when it arrives, not when that part is read; nothing of it is in the error."""
    with pytest.raises(BodyError, match=f"^a body of {len(body)} bytes that is not JSON$") as refused:
        decoder(operation(result, model, is_list=is_list))(body)

    assert refused.value.__cause__ is None


def test_decoder_is_made_once() -> None:
    """Two operations that read the same model share the code that does."""
    assert decoder(operation("data", "video_assets:Asset")) is decoder(operation("data", "video_assets:Asset"))


# Fields of a model


def make_decoder() -> StructDecoder:
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


def read_struct(decoder: StructDecoder, raw: dict[str, Any]) -> tuple[dict[str, Any], dict[str, object], dict[str, object]]:
    """Decode the text of *raw*: values by field, overrides, and unknown fields. Nested objects are decoded, to be compared."""
    values, overrides, extra = decoder.settle(msgspec.structs.astuple(decoder.decode(orjson.dumps(raw))))
    return dict(zip(decoder.table.fields, map(plain, values), strict=True)), overrides, extra


def plain(value: Any) -> Any:
    """Return *value* with the text in it decoded."""
    if isinstance(value, str):
        return value
    return msgspec.json.decode(msgspec.json.encode(value))


def take(decoder: StructDecoder, raw: dict[str, Any]) -> tuple[dict[str, Any], dict[str, object], dict[str, object]]:
    values, overrides, extra = decoder.take(raw)
    return dict(zip(decoder.table.fields, values, strict=True)), overrides, extra


def test_usual() -> None:
    """What the description of the API says is decoded at once: enums are the known strings themselves, and numbers keep their form."""
    values, overrides, extra = read_struct(make_decoder(), USUAL)

    assert (values["status"], values["size"], values["class_"], values["others"]) == ("new", 3, "c", None)
    assert values["inner"] == {"name": "x"}
    assert (extra, overrides) == ({}, {})
    assert values["status"] is read_struct(make_decoder(), USUAL)[0]["status"]
    assert type(read_struct(make_decoder(), {**USUAL, "size": 3.0})[0]["size"]) is float


UNEXPECTED: list[dict[str, Any]] = [
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


@pytest.mark.parametrize("odd", UNEXPECTED, ids=repr)
def test_extended(odd: dict[str, Any]) -> None:
    """A decoder refuses what it does not know. The one that replaces it decodes that, and what is usual, as a dictionary is read."""
    raw = {**USUAL, **odd}
    decoder = make_decoder()
    if not odd.keys() & {"inner", "others"} or next(iter(odd.values())) not in READ_LATER:
        with pytest.raises(DECODE_ERRORS):
            decoder.decode(orjson.dumps(raw))

    extended = decoder.extended(raw)

    for one_of in (raw, USUAL, {"id": "a", "made_at": 1}):
        assert read_struct(extended, one_of) == take(decoder, one_of)
    assert extended.extended(raw) is extended
    assert make_decoder().extended(USUAL).decode(orjson.dumps(USUAL)).id == "a"


def test_missing() -> None:
    """A required field that is missing reads None, with an override; so it is at once from then on, until it is there again."""
    decoder = make_decoder()
    with pytest.raises(DECODE_ERRORS):
        decoder.decode(b'{"id":"a"}')
    extended = decoder.extended({"id": "a"})

    for values, overrides, extra in (
        take(decoder, {"id": "a"}),
        read_struct(extended, {"id": "a"}),
        take(extended, {"id": "a"}),
    ):
        assert values["made_at"] is None
        assert overrides == {"made_at": UNSET}
        assert extra == {}
    assert read_struct(extended, USUAL) == read_struct(decoder, USUAL)
    assert extended.extended({"id": "a"}) is extended


def test_rebuilds_end() -> None:
    """An API with ever new fields is decoded the slow way, with a bounded number of decoders."""
    decoders = [make_decoder()]
    for number in range(100):
        extended = decoders[-1].extended({**USUAL, f"new_{number}": 1})
        if extended is not decoders[-1]:
            decoders.append(extended)
    many_at_once = make_decoder().extended({**USUAL, **{f"new_{number}": 1 for number in range(1000)}})

    assert len(decoders) == 17
    assert sum(read_struct(many_at_once, {**USUAL, f"new_{number}": 1})[2] != {} for number in range(64)) == 64
    with pytest.raises(DECODE_ERRORS):
        read_struct(many_at_once, {**USUAL, "new_999": 1})


@pytest.mark.parametrize("name", ['"', "\\", "\n", "", "x" * 65, "é", "\x00"])
def test_unlikely_names(name: str) -> None:
    """Names that no API would use are read the slow way each time."""
    decoder = make_decoder()

    assert decoder.extended({**USUAL, name: 1}) is decoder


@pytest.mark.parametrize(
    "text", [b"", b"null", b"[]", b'"x"', b"{", b"{} x", b'{"a":\xff}', b'{"a":"\xff"}', b'{"a":"\\ud800"}']
)
def test_not_the_text_of_an_object(text: bytes) -> None:
    """Text is kept for later only if it is a JSON object."""
    with pytest.raises(DECODE_ERRORS):
        object_text(text)


def test_space_around() -> None:
    """The kept text of an object has no space around it."""
    assert object_text(b' \r\n{"a": [1, 2]}\t') == b'{"a": [1, 2]}'
