"""Bytes and values: orjson, the decoders of operations, and the converter that is offered to programs."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import attrs
import pytest

from mux_async import converter
from mux_async._models.json_reader import loads
from mux_async._models.response_decoder import BodyError, decoder, dumps
from mux_async._operation import Bucket, Operation, Replay, Result
from mux_async.errors import InvalidRequestError
from mux_async.models import Asset, AssetStatus, ListAssetsResponse, Track


def operation(result: Result, model: str | None, *, is_list: bool = False) -> Operation[Any]:
    return Operation(
        id="x.y", method="GET", path="/", bucket=Bucket.OTHER, replay=Replay.SAFE, result=result, model=model, is_list=is_list
    )


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


READERS: list[tuple[Result, str, bool]] = [
    ("data", "video_assets:Asset", False),
    ("data", "video_assets:Asset", True),
    ("page", "video_assets:ListAssetsResponse", False),
]


@pytest.mark.parametrize(("result", "model", "is_list"), READERS)
@pytest.mark.parametrize("body", [b"null", b"[]", b'"text"', b"7", b" [{}]"])
def test_not_an_object(result: Result, model: str, is_list: bool, body: bytes) -> None:
    """An answer that is JSON and no object is refused with what it is."""
    with pytest.raises(BodyError, match=r"^JSON of type \w+ where an object belongs$"):
        decoder(operation(result, model, is_list=is_list))(body)


@pytest.mark.parametrize(("result", "model", "is_list"), READERS)
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
    """What is no JSON anywhere in it is refused when it arrives, not when somebody looks; and nothing of it is in the error."""
    with pytest.raises(BodyError, match=f"^a body of {len(body)} bytes that is not JSON$") as refused:
        decoder(operation(result, model, is_list=is_list))(body)

    assert refused.value.__cause__ is None


def test_decoder_is_made_once() -> None:
    """Two operations that read the same model share the code that does."""
    assert decoder(operation("data", "video_assets:Asset")) is decoder(operation("data", "video_assets:Asset"))


@attrs.frozen
class Job:
    """What a program of one's own may hold."""

    asset: Asset
    others: list[Asset]
    status: AssetStatus
    tracks: dict[str, Track] | None
    started: datetime
    day: date


def test_converter() -> None:
    """A cattrs converter reads and writes models inside a program's own types, unknown fields included."""
    raw = {
        "asset": {"id": "a1", "created_at": "5", "new": 1},
        "others": [{"id": "a2", "meta": {"title": None}}],
        "status": "someday",
        "tracks": {"en": {"id": "t1"}},
        "started": "2020-06-17T04:08:45Z",
        "day": "2020-06-17",
    }

    job = converter().structure(raw, Job)

    assert job.asset == Asset.from_wire({"id": "a1", "created_at": "5", "new": 1})
    assert job.status == "someday"
    assert job.started == datetime(2020, 6, 17, 4, 8, 45, tzinfo=UTC)
    assert converter().unstructure(job) == raw
    assert converter().structure([{"id": "a1"}], list[Asset])[0].id == "a1"
    assert converter().structure(1592366925, datetime) == job.started
    assert converter().structure(job.asset, Asset) is job.asset
    with pytest.raises(ValueError, match="is not a time"):
        converter().structure("soon", datetime)
    assert converter() is converter()
