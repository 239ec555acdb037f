"""The cattrs converter that is offered to programs."""

from __future__ import annotations

from datetime import UTC, date, datetime

import attrs
import pytest

from mux_async import converter
from mux_async.models import Asset, AssetStatus, Track


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
