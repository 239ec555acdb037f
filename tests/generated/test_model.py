"""What a model remembers: absent, null, unknown, and how a time was written."""

from __future__ import annotations

import asyncio
import copy
import pickle
from datetime import UTC, date, datetime, timedelta, timezone
from enum import Enum
from typing import Any, cast

import attrs
import pytest

from mux_async import UNSET, LimitSettings, Mux, Secret
from mux_async.errors import InvalidRequestError
from mux_async.models import (
    Annotation,
    Asset,
    AssetMetadata,
    AssetOptions,
    CreateDirectiveRequest,
    Directive,
    InputSettings,
    LiveStream,
    SigningKey,
    SummarizeJob,
    Track,
    TrackResourceDeclaration,
    Upload,
    UsageExport,
    VideoView,
)
from mux_async.testing import FakeTransport, respond

ASSET: dict[str, Any] = {
    "id": "a1",
    "created_at": "1592366925",
    "encoding_tier": "smart",
    "master_access": "none",
    "max_resolution_tier": "1080p",
    "progress": {"state": "completed", "progress": 100},
    "status": "ready",
    "tracks": [{"id": "t1", "type": "video", "max_width": 1920}],
    "meta": {"title": "Film"},
}


def test_absent_and_null() -> None:
    """An optional field reads None whether it was absent or null, and goes back as what it was."""
    absent, null = AssetMetadata.from_wire({"creator_id": "c"}), AssetMetadata.from_wire({"creator_id": "c", "title": None})

    assert absent.title is None
    assert null.title is None
    assert absent.to_wire() == {"creator_id": "c"}
    assert null.to_wire() == {"creator_id": "c", "title": None}
    assert absent != null


def test_constructed() -> None:
    """A field that is not passed is left out; one passed as None is sent as null; UNSET is the same as not passing it."""
    assert AssetMetadata(creator_id="c").to_wire() == {"creator_id": "c"}
    assert AssetMetadata(creator_id="c", title=None).to_wire() == {"creator_id": "c", "title": None}
    assert AssetMetadata(creator_id="c", title=cast("Any", UNSET)).to_wire() == {"creator_id": "c"}
    assert AssetMetadata(creator_id="c", title=None) == AssetMetadata.from_wire({"creator_id": "c", "title": None})


def test_evolve() -> None:
    """attrs.evolve keeps absent fields absent and null ones null, and sends a field that was set to None as null."""
    absent = AssetMetadata(creator_id="c")
    titled = attrs.evolve(absent, title="Film")

    assert attrs.evolve(absent, creator_id="d").to_wire() == {"creator_id": "d"}
    assert titled.to_wire() == {"creator_id": "c", "title": "Film"}
    assert attrs.evolve(titled, title=None).to_wire() == {"creator_id": "c", "title": None}
    assert attrs.evolve(attrs.evolve(titled, title=None), creator_id="e").to_wire() == {"creator_id": "e", "title": None}
    assert attrs.evolve(attrs.evolve(titled, title=None), title="Again").to_wire() == {"creator_id": "c", "title": "Again"}


def test_evolve_keeps_what_is_unknown() -> None:
    """A model that was read and changed still has its unknown fields."""
    read = Asset.from_wire({**ASSET, "hologram": {"depth": 3}})

    changed = attrs.evolve(read, passthrough="p")

    assert changed.to_wire() == {**ASSET, "hologram": {"depth": 3}, "passthrough": "p"}


def test_extra() -> None:
    """Unknown fields can be read, passed, changed, and not written to."""
    read = AssetMetadata.from_wire({"title": "t", "mood": "blue"})

    assert dict(read.extra) == {"mood": "blue"}
    assert AssetMetadata(title="t", extra={"mood": "blue"}) == read
    assert read.with_extra(mood="red").to_wire() == {"title": "t", "mood": "red"}
    assert AssetMetadata.from_wire({"title": None, "x": 1}).with_extra().to_wire() == {"title": None}
    with pytest.raises(TypeError):
        cast("Any", read.extra)["mood"] = "red"


def test_required_but_missing() -> None:
    """A required field that an answer lacks reads None, and stays missing."""
    asset: Any = Asset.from_wire({"id": "a1", "status": None})

    assert asset.created_at is None
    assert asset.to_wire() == {"id": "a1", "status": None}
    assert attrs.evolve(asset, passthrough="p").to_wire() == {"id": "a1", "status": None, "passthrough": "p"}


def test_required_and_nullable() -> None:
    """A field that is always there and may be null needs no note: None is null."""
    view = VideoView.from_wire({"id": "v", "country_code": None})

    assert view.country_code is None
    assert view.to_wire() == {"id": "v", "country_code": None}


@pytest.mark.parametrize(
    "odd",
    [
        {"tracks": {"not": "a list"}},
        {"tracks": ["t1", {"id": "t2"}, None]},
        {"meta": "text"},
        {"meta": ["x"]},
        {"progress": None},
        {"created_at": "yesterday"},
        {"created_at": True},
        {"created_at": 1e300},
        {"created_at": ["1592366925"]},
        {"duration": "12.5"},
        {"status": 7},
        {"id": {"nested": "id"}},
    ],
)
def test_unexpected_types(odd: dict[str, object]) -> None:
    """A value of an unexpected type is kept as it is: one bad field never loses the response."""
    raw = {**ASSET, **odd}

    asset = Asset.from_wire(raw)

    assert asset.to_wire() == raw
    assert asset.encoding_tier == "smart"


def test_nested() -> None:
    """Objects and lists of them are read as their classes, and open enums keep what they hold."""
    asset = Asset.from_wire({**ASSET, "status": "reticulating"})

    assert asset.status == "reticulating"
    assert asset.meta == AssetMetadata(title="Film")
    assert asset.tracks is not None
    assert isinstance(asset.tracks[0], Track)
    assert asset.tracks[0].max_width == 1920


def test_unions() -> None:
    """The discriminator picks the class, at any depth; an unknown one leaves a mapping."""
    resources: list[dict[str, object]] = [
        {
            "type": "video.asset.track",
            "reference_id": "r1",
            "source": {"via": "mux_api", "action": "generate_subtitles", "params": {"track_id": "t"}},
        },
        {"type": "video.asset.hologram", "reference_id": "r2"},
    ]

    directive = Directive.from_wire({"id": "d", "resources": resources})

    assert directive.resources is not None
    first, second = directive.resources
    assert isinstance(first, TrackResourceDeclaration)
    assert type(first.source).__name__ == "SourceMuxApiGenerateSubtitles"
    assert second == resources[1]
    assert directive.to_wire() == {"id": "d", "resources": resources}
    assert CreateDirectiveRequest.from_wire({"resources": resources}).to_wire() == {"resources": resources}


TIMES = [
    ("1592366925", datetime(2020, 6, 17, 4, 8, 45, tzinfo=UTC)),
    (1592366925, datetime(2020, 6, 17, 4, 8, 45, tzinfo=UTC)),
    (1592366925.0, datetime(2020, 6, 17, 4, 8, 45, tzinfo=UTC)),
    (1592366925.25, datetime(2020, 6, 17, 4, 8, 45, 250000, tzinfo=UTC)),
    ("1592366925.25", datetime(2020, 6, 17, 4, 8, 45, 250000, tzinfo=UTC)),
    ("01592366925", datetime(2020, 6, 17, 4, 8, 45, tzinfo=UTC)),
    ("-1", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
    (0, datetime(1970, 1, 1, tzinfo=UTC)),
    ("2020-06-17T04:08:45Z", datetime(2020, 6, 17, 4, 8, 45, tzinfo=UTC)),
    ("2020-06-17T04:08:45.000000Z", datetime(2020, 6, 17, 4, 8, 45, tzinfo=UTC)),
    ("2020-06-17T04:08:45.123Z", datetime(2020, 6, 17, 4, 8, 45, 123000, tzinfo=UTC)),
    ("2020-06-17T04:08:45.123456789Z", datetime(2020, 6, 17, 4, 8, 45, 123456, tzinfo=UTC)),
    ("2020-06-17T06:08:45+02:00", datetime(2020, 6, 17, 4, 8, 45, tzinfo=UTC)),
    ("2020-06-17 04:08:45Z", datetime(2020, 6, 17, 4, 8, 45, tzinfo=UTC)),
    ("2020-W25-3T04:08:45Z", datetime(2020, 6, 17, 4, 8, 45, tzinfo=UTC)),
    ("2020-06-17T04:08:45", datetime(2020, 6, 17, 4, 8, 45, tzinfo=UTC)),
    ({"seconds": 1592366925, "nanos": 718234000}, datetime(2020, 6, 17, 4, 8, 45, 718234, tzinfo=UTC)),
    ({"seconds": 1592366925}, datetime(2020, 6, 17, 4, 8, 45, tzinfo=UTC)),
]


@pytest.mark.parametrize(("raw", "moment"), TIMES, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize(
    ("model", "field"),
    [(Asset, "created_at"), (SummarizeJob, "created_at"), (Annotation, "date")],
    ids=["text of seconds", "seconds", "ISO 8601"],
)
def test_times(model: type[Asset | SummarizeJob | Annotation], field: str, raw: object, moment: datetime) -> None:
    """Every field reads every way of writing a moment, and gives back exactly the one that arrived."""
    value = model.from_wire({field: raw})

    read = getattr(value, field)
    assert read == moment
    assert read.tzinfo is UTC
    written = value.to_wire()[field]
    assert written == raw
    assert type(written) is type(raw)


def test_times_written() -> None:
    """A moment that a program sets is written in the way of its field."""
    moment = datetime(2020, 6, 17, 6, 8, 45, 999999, tzinfo=timezone(timedelta(hours=2)))

    assert attrs.evolve(Asset.from_wire(ASSET), created_at=moment).to_wire()["created_at"] == "1592366925"
    assert attrs.evolve(SummarizeJob.from_wire({"created_at": 1.0}), created_at=moment).to_wire()["created_at"] == 1592366925
    assert attrs.evolve(Annotation.from_wire({}), date=moment).to_wire()["date"] == "2020-06-17T04:08:45.999999Z"


@pytest.mark.parametrize("raw", ["2020-06-17", "2020-06-17T23:59:00Z", "1592366925", 1592366925])
def test_days(raw: object) -> None:
    """A day is read as a date, from anything that tells one, and goes back as it came."""
    export = UsageExport.from_wire({"date": raw})

    assert type(export.date) is date
    assert export.date == date(2020, 6, 17)
    assert export.to_wire() == {"date": raw}
    assert attrs.evolve(export, date=date(2021, 1, 2)).to_wire() == {"date": "2021-01-02"}


def test_equality_ignores_how_times_were_written() -> None:
    """Two objects with the same moment are equal, however it travelled."""
    assert SummarizeJob.from_wire({"created_at": 5}) == SummarizeJob.from_wire({"created_at": "5"})


def test_repr() -> None:
    """A repr is short, shows no secret, and names unknown fields without their values."""
    stream = LiveStream.from_wire(
        {"id": "l1", "stream_key": "key-canary", "srt_passphrase": "pass-canary", "status": "idle", "srt_token": "new-canary"}
    )
    others = [
        SigningKey.from_wire({"id": "k", "private_key": "canary"}),
        Upload.from_wire({"id": "u", "url": "https://canary"}),
        AssetOptions(inputs=[InputSettings(url="https://canary")]),
    ]

    assert repr(stream) == "LiveStream(id='l1', status='idle', stream_key='***', srt_passphrase='***', extra=<srt_token>)"
    assert "canary" not in repr(others)
    assert repr(Asset.from_wire({})) == "Asset()"


def test_frozen() -> None:
    """A model cannot be changed, and has no room for anything else."""
    asset: Any = Asset.from_wire(ASSET)

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        asset.status = "errored"
    assert not hasattr(asset, "__dict__")


def test_copies() -> None:
    """Copies and pickles are equal, and still know what was absent."""
    asset = Asset.from_wire({**ASSET, "created_at": 5.0, "passthrough": None, "new": [1]})

    for twin in (copy.copy(asset), copy.deepcopy(asset), pickle.loads(pickle.dumps(asset))):
        assert twin == asset
        assert twin.to_wire() == asset.to_wire()


def test_hash() -> None:
    """Equal values have equal hashes."""
    assert len({AssetMetadata(title="a"), AssetMetadata.from_wire({"title": "a"}), AssetMetadata(title="b")}) == 2


class Colour(Enum):
    RED = "red"


def sent(body: Any) -> object:
    """Return the JSON of a request with *body*; nothing is sent if an error is raised."""
    transport = FakeTransport(lambda _request: respond(json={}))

    async def send() -> None:
        mux = Mux(token_id="id", token_secret="secret", transport=transport, limits=LimitSettings(enabled=False))
        await mux.request("POST", "/x", body=body)

    try:
        asyncio.run(send())
    except InvalidRequestError:
        assert not transport.requests
        raise
    return transport.requests[0].json


def test_arguments() -> None:
    """Arguments of every allowed kind become JSON."""
    moment = datetime(2020, 6, 17, 4, 8, 45, 900000, tzinfo=UTC)

    assert sent(
        {
            "none": None,
            "unset": UNSET,
            "model": AssetMetadata(title=None),
            "mapping": {"inner": UNSET, "left": 1},
            "tuple": (1, 2.5, True),
            "time": moment,
            "day": date(2020, 6, 17),
            "secret": Secret("s3cr3t"),
            "enum": Colour.RED,
            "text": "é→😀",
        }
    ) == {
        "none": None,
        "model": {"title": None},
        "mapping": {"left": 1},
        "tuple": [1, 2.5, True],
        "time": 1592366925,
        "day": "2020-06-17",
        "secret": "s3cr3t",
        "enum": "red",
        "text": "é→😀",
    }


LOOP: list[object] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "where", "what"),
    [
        ({"a": [1, float("nan")]}, "a[1]", "nan"),
        ({"a": float("-inf")}, "a", "inf"),
        ({"a": {1, 2}}, "a", "set"),
        ({"a": b"x"}, "a", "bytes"),
        ({"a": bytearray(b"x")}, "a", "bytes"),
        ({"a": object()}, "a", "object"),
        ({"a": 2**64}, "a", "larger"),
        ({"a": "\ud800"}, "a", "surrogate"),
        ({"a": {1: 2}}, "a", "key 1"),
        ({"a": datetime(2020, 1, 1)}, "a", "time zone"),  # noqa: DTZ001 - what is tested
        (AssetMetadata(title=cast("Any", object())), "whole.title", "object"),
        (AssetOptions(inputs=[InputSettings(start_time=float("inf"))]), "whole.inputs[0].start_time", "inf"),
        ({"a": (part for part in "ab")}, "a", "generator"),
        ({"a": LOOP}, "a", "itself"),
    ],
)
def test_refused(value: object, where: str, what: str) -> None:
    """What JSON cannot hold is refused with the place it stands at."""
    with pytest.raises(InvalidRequestError) as refused:
        sent({"whole": value} if where.startswith("whole") else value)

    assert str(refused.value).startswith(f"{where} ")
    assert what in str(refused.value)
