"""Events are materialized lazily, and behave as if they were not."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any, cast

import attrs
import orjson
import pytest

from mux_async._models.model import is_materialized
from mux_async.models.webhooks import WebhookAsset
from mux_async.webhooks import Event, WebhookEvent, parse_event
from mux_async.webhooks.events import AssetEvent, parse_event_text
from tests.webhooks.samples import envelope


@pytest.fixture
def event() -> AssetEvent:
    made = parse_event(envelope())
    assert isinstance(made, AssetEvent)
    return made


def parse_written(raw: dict[str, object]) -> WebhookEvent:
    return parse_event_text(orjson.dumps(raw))


@pytest.mark.parametrize("parse", [parse_event, parse_written])
def test_nothing_is_read_before(parse: Callable[[dict[str, object]], WebhookEvent]) -> None:
    """Reading ``id`` and ``type`` materializes nothing; the first other attribute materializes the event, and then its data."""
    event = parse(envelope())

    assert (event.id[:4], event.type) == ("4813", "video.asset.ready")
    assert not is_materialized(event)
    assert event.environment.id == "dvlv0o"
    assert is_materialized(event)
    data = cast("Any", event).data
    assert isinstance(data, WebhookAsset)
    assert not is_materialized(data)
    assert (data.status, data.id) == ("ready", "asset-1")
    assert is_materialized(data)


def test_text() -> None:
    """An event parsed from text equals the one parsed from the decoded body, also with nested data and unknown types."""
    job = {"id": "j1", "status": "completed", "created_at": 5}
    kind = "robots.job.summarize.completed"
    for raw in (
        envelope(),
        envelope(new={"x": None}),
        envelope(id=7, type=None),
        envelope(type="video.someday", data=[1]),
        envelope(type=kind, data=job),
        envelope(type=kind, data={kind: job}),
        envelope(data=None),
        envelope(data="text"),
        {},
    ):
        event = parse_event_text(b" " + orjson.dumps(raw) + b"\n")

        assert event == parse_event(raw)
        assert event.to_wire() == raw


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b'{"data":{"a":"\xff"}}', b' {"data":{"a":"\xff"}}', b'{"data":[1,]}']
)
def test_not_the_text_of_an_event(body: bytes) -> None:
    """A body that is not a JSON object throughout is refused when it is parsed, not when its data is read."""
    with pytest.raises(ValueError, match="JSON"):
        parse_event_text(body)


@pytest.mark.parametrize("is_read", [False, True])
def test_behaves_as_any_model(event: AssetEvent, is_read: bool) -> None:
    """Comparing, copying, pickling, evolving, serializing and repr give the same, materialized or not."""
    if is_read:
        assert event.data is not None
    other = parse_event(envelope())
    assert other.data is not None

    assert event == other
    assert copy.copy(event) == other
    assert pickle.loads(pickle.dumps(event)) == other
    assert attrs.evolve(event, id="2").to_wire() == {**envelope(), "id": "2"}
    assert event.with_extra(new=1).to_wire() == {**envelope(), "new": 1}
    assert repr(event) == repr(other)
    assert event.to_wire() == envelope()


def test_extra_first() -> None:
    """Fields that this version does not know can be read first."""
    assert parse_event(envelope(new=1)).extra == {"new": 1}


def test_frozen(event: AssetEvent) -> None:
    """An event is frozen, before and after it was materialized."""
    for _ in range(2):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            event.id = "2"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        assert event.data is not None


def test_unknown_attribute(event: Event) -> None:
    """An attribute that no event has is an `AttributeError`."""
    with pytest.raises(AttributeError, match="'AssetEvent' object has no attribute 'nonsense'"):
        event.nonsense  # type: ignore[attr-defined]  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    assert not hasattr(event, "__len__")


def test_constructed() -> None:
    """An event can be constructed, as in users' tests."""
    data = parse_event(envelope())
    made = AssetEvent(
        id="1",
        type="video.asset.ready",
        created_at=data.created_at,
        object=data.object,
        environment=data.environment,
        attempts=[],
        data=WebhookAsset.from_wire({"id": "a"}),
    )

    assert made.data.id == "a"
    assert made.request_id is None
