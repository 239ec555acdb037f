"""Which events a watch reports, for any order of webhooks and polls: properties over generated histories of a stream."""

from __future__ import annotations

import datetime as dt
from typing import Literal

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mux_async.live import LiveEvent
from mux_async.live._events import ACTIVE, CONNECTED, DISCONNECTED, IDLE, RECORDING
from mux_async.live._stream_tracker import POLL_LAG, REMEMBERED, StreamTracker, StreamTrackers
from mux_async.models import Asset, LiveStream
from tests._examples import examples

BEGAN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def at(seconds: float) -> dt.datetime:
    return BEGAN + dt.timedelta(seconds=seconds)


def stream(
    status: str = "idle", active: str | None = None, recent: tuple[str, ...] = (), number: int = 0, stream_id: str = "s"
) -> LiveStream:
    return LiveStream.from_wire(
        {
            "id": stream_id,
            "created_at": str(1_700_000_000 + number),
            "latency_mode": "low",
            "max_continuous_duration": 60,
            "status": status,
            "stream_key": "k",
            **({"active_asset_id": active} if active else {}),
            "recent_asset_ids": list(recent),
        }
    )


def said(kind: str, seconds: float, asset_id: str | None = None, shown: LiveStream | None = None) -> LiveEvent:
    return LiveEvent(
        type=kind, live_stream_id="s", asset_id=asset_id, created_at=at(seconds), live_stream=shown or stream(active=asset_id)
    )


@attrs.frozen
class Step:
    """After some seconds, something happens; when its webhook arrives."""

    act: Literal["connect", "drop", "end", "look"]
    after: float
    late: float | None
    """Seconds until its webhook arrives; ``None``: never."""


steps = st.lists(
    st.builds(
        Step,
        act=st.sampled_from(["connect", "drop", "end", "look"]),
        after=st.sampled_from([0.5, 1.0, 5.0, 20.0]),
        late=st.sampled_from([None, 0.0, 0.0, 0.3, 4.0, 30.0]),
    ),
    max_size=25,
)


@attrs.define
class Life:
    """A stream in Mux, and the events that were reported."""

    told: list[LiveEvent] = attrs.field(factory=list[LiveEvent])
    tracker: StreamTracker = attrs.field(factory=lambda: StreamTracker.since(stream()))
    now: float = 0.0
    active: str | None = None
    status: str = "idle"
    past: tuple[str, ...] = ()
    is_connected: bool = False
    post: list[tuple[float, LiveEvent]] = attrs.field(factory=list[tuple[float, LiveEvent]])
    connections: dict[str, int] = attrs.field(factory=dict[str, int])

    @property
    def shown(self) -> LiveStream:
        return stream(self.status, self.active, self.past)

    def happen(self, kind: str, asset_id: str | None, late: float | None) -> None:
        if late is not None:
            self.post.append((self.now + late, said(kind, self.now, asset_id, self.shown)))

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        arrived = sorted((entry for entry in self.post if entry[0] <= self.now), key=lambda entry: entry[0])
        self.post = [entry for entry in self.post if entry[0] > self.now]
        for when, event in arrived:
            self.told += self.tracker.webhook(event, when)

    def look(self) -> None:
        self.told += self.tracker.polled(self.shown, self.now, at(self.now))

    def run(self, step: Step) -> None:
        self.pass_time(step.after)
        if step.act == "look":
            self.look()
        elif step.act == "connect" and not self.is_connected:
            self.is_connected = True
            if self.active is None:
                self.active = f"a{len(self.connections)}"
            self.connections[self.active] = self.connections.get(self.active, 0) + 1
            self.happen(CONNECTED, self.active, step.late)
            self.now += 0.1
            self.happen(RECORDING, self.active, step.late)
            self.now += 0.1
            if self.status != "active":
                self.status = "active"
                self.happen(ACTIVE, self.active, step.late)
        elif step.act == "drop" and self.is_connected:
            self.is_connected = False
            self.happen(DISCONNECTED, self.active, step.late)
        elif step.act == "end" and self.active is not None and not self.is_connected:
            ended, self.active, self.status = self.active, None, "idle"
            self.past = (*self.past, ended)
            self.happen(IDLE, ended, step.late)


@settings(max_examples=examples(200), deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_the_end_is_told_and_nothing_twice(life: list[Step]) -> None:
    """With webhooks that are late, out of order or lost, and polls at any time: each step is reported at most once; after a last poll, the
    last event is the state of the stream; and every broadcast whose start was reported and that is over has its end reported."""
    it = Life()
    for step in life:
        it.run(step)
    it.pass_time(100.0)
    it.pass_time(POLL_LAG)
    it.look()

    pairs = [(event.type, event.asset_id) for event in it.told]
    for kind, asset_id in set(pairs):
        allowed = it.connections.get(asset_id or "", 1) if kind in {CONNECTED, RECORDING, DISCONNECTED} else 1
        assert pairs.count((kind, asset_id)) <= allowed
    states = [event for event in it.told if event.type in {ACTIVE, IDLE}]
    assert it.tracker.is_on == (it.status == "active")
    if states:
        assert (states[-1].type == ACTIVE) == (it.status == "active")
        assert states[-1].asset_id == (it.active or it.past[-1])
    else:
        assert not it.connections
    begun = {asset_id for kind, asset_id in pairs if kind in {CONNECTED, RECORDING, ACTIVE}}
    assert all(((IDLE, asset_id) in pairs) == (asset_id in it.past) for asset_id in begun)


def test_what_was_there_before_is_no_news() -> None:
    """Recordings from before the watch are not reported, neither by a poll nor by a late webhook, however many there are."""
    many = tuple(f"old{number}" for number in range(3 * REMEMBERED))
    tracker = StreamTracker("s")
    assert [event.type for event in tracker.polled(stream(recent=many), 0.0, at(0))] == []
    assert tracker.polled(stream(recent=many), 10.0, at(10)) == []
    assert tracker.webhook(said(IDLE, 11.0, "old5"), 11.0) == []
    assert [event.asset_id for event in tracker.polled(stream(recent=(*many, "new")), 20.0, at(20))] == ["new", "new"]


def test_a_look_that_began_before_the_webhook() -> None:
    """A response that was in flight during the webhook, or lags behind it, changes nothing."""
    tracker = StreamTracker.since(stream())
    assert len(tracker.webhook(said(ACTIVE, 5.0, "a"), 5.0)) == 1
    assert tracker.polled(stream(), 4.9, at(5)) == []
    assert tracker.polled(stream(), 5.0 + POLL_LAG / 2, at(6)) == []
    assert [event.type for event in tracker.polled(stream(recent=("a",)), 5.0 + POLL_LAG, at(7))] == [IDLE]


def test_an_old_answer() -> None:
    """A response with a broadcast whose end was reported is outdated and ignored."""
    tracker = StreamTracker.since(stream("active", "a"))
    assert len(tracker.webhook(said(IDLE, 5.0, "a"), 5.0)) == 1
    assert tracker.polled(stream("active", "a"), 50.0, at(50)) == []


def test_recordings() -> None:
    """A recording's states are reported once, and no earlier one after a later one; it is not complete during its broadcast."""

    def asset(status: str, **more: object) -> Asset:
        return Asset.from_wire({"id": "a", "status": status, "created_at": "1700000000", **more})

    tracker = StreamTracker.since(stream("active", "a"))
    assert tracker.awaited == ["a"]
    assert [event.type for event in tracker.polled_asset(asset("ready"), at(1))] == ["video.asset.ready"]
    assert tracker.awaited == []
    tracker.webhook(said(IDLE, 5.0, "a"), 5.0)
    assert tracker.awaited == ["a"]
    assert tracker.polled_asset(asset("ready", is_live=True), at(6)) == []
    assert [event.type for event in tracker.polled_asset(asset("ready"), at(7))] == ["video.asset.live_stream_completed"]
    assert tracker.webhook(said("video.asset.ready", 8.0, "a"), 8.0) == []
    assert tracker.awaited == []


def test_disabled_and_enabled() -> None:
    """A poll reports both, and the later webhook does not report it again; the next one does."""
    tracker = StreamTracker.since(stream())
    assert [event.type for event in tracker.polled(stream("disabled"), 0.0, at(0))] == ["video.live_stream.disabled"]
    assert tracker.webhook(said("video.live_stream.disabled", 1.0), 1.0) == []
    assert len(tracker.webhook(said("video.live_stream.enabled", 2.0), 2.0)) == 1
    assert len(tracker.webhook(said("video.live_stream.disabled", 3.0), 3.0)) == 1


def test_made_meanwhile() -> None:
    """In a watch of all streams, streams newer than the newest in the first poll are reported as created, with all their events."""
    trackers = StreamTrackers.of(())
    assert trackers.polled(stream(number=5), 0.0, at(0)) == []
    trackers.polled_all(stream(number=5).created_at)
    new = stream(recent=("a",), number=6, stream_id="new")
    assert [event.type.rpartition(".")[2] for event in trackers.polled(new, 1.0, at(1))] == ["created", "connected", "idle"]
    assert trackers.webhook(attrs.evolve(said("video.live_stream.created", 2.0), live_stream_id="new"), 2.0) == []
    old = stream(recent=("b",), number=4, stream_id="old")
    assert trackers.polled(old, 1.0, at(1)) == []
