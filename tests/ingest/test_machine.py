"""The state machine of an item: the whole state after each event, the next step, and what is stored."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux_async.ingest.machine import (
    MAX_UPLOADS,
    AssetCreated,
    BecameReady,
    Began,
    BytesMoved,
    BytesSent,
    Create,
    Died,
    ItemError,
    ItemEvent,
    ItemState,
    NothingCreated,
    Reconcile,
    Retried,
    Send,
    SessionLost,
    SourceChanged,
    Stage,
    Step,
    UploadCreated,
    WaitReady,
    advance,
    next_step,
)
from mux_async.uploads import UploadState

PART = UploadState.unknown(100)
ERROR = ItemError("MuxError", "no")
FILE = ItemState("k", uploads=2, upload_id="u", upload=PART, intended_at=7.0, former=("f",))
"""A file with all members set."""
URL = ItemState("k", is_fetched=True, asset_id="a", intended_at=7.0, former=("f",))

CHANGES: list[tuple[ItemState, Stage, ItemEvent, dict[str, Any]]] = [
    (FILE, Stage.PLANNED, Began(9.0), {"stage": Stage.CREATING, "intended_at": 9.0}),
    (FILE, Stage.PLANNED, Began(), {"stage": Stage.CREATING, "intended_at": None}),
    (FILE, Stage.CREATING, NothingCreated(), {"stage": Stage.PLANNED, "intended_at": None}),
    (FILE, Stage.CREATING, UploadCreated("v"), {"stage": Stage.CREATED, "upload_id": "v", "upload": None, "uploads": 3}),
    (URL, Stage.CREATING, AssetCreated("b"), {"stage": Stage.CREATED, "asset_id": "b"}),
    (FILE, Stage.CREATED, Began(), {"stage": Stage.SENDING}),
    (FILE, Stage.SENDING, Began(), {"stage": Stage.SENDING}),
    (FILE, Stage.SENDING, BytesMoved(UploadState(5)), {"upload": UploadState(5)}),
    (FILE, Stage.SENDING, BytesSent(), {"stage": Stage.SENT}),
    (FILE, Stage.SENDING, SessionLost(), {"stage": Stage.PLANNED, "upload_id": None, "upload": None}),
    (FILE, Stage.CREATED, SourceChanged(), {"stage": Stage.PLANNED, "upload_id": None, "upload": None}),
    (FILE, Stage.SENDING, SourceChanged(), {"stage": Stage.PLANNED, "upload_id": None, "upload": None}),
    (FILE, Stage.SENT, Began(), {"stage": Stage.WAITING}),
    (URL, Stage.CREATED, Began(), {"stage": Stage.WAITING}),
    (URL, Stage.WAITING, Began(), {"stage": Stage.WAITING}),
    (FILE, Stage.WAITING, BecameReady("b"), {"stage": Stage.DONE, "asset_id": "b"}),
    (URL, Stage.WAITING, BecameReady("b"), {"stage": Stage.DONE, "asset_id": "b"}),
    *[
        (FILE, stage, Died(ERROR), {"stage": Stage.DEAD, "error": ERROR, "died_in": stage})
        for stage in Stage
        if not stage.is_final
    ],
]
EVENTS: list[ItemEvent] = [
    Began(),
    UploadCreated("v"),
    AssetCreated("b"),
    BytesMoved(PART),
    BytesSent(),
    SessionLost(),
    SourceChanged(),
    NothingCreated(),
    Retried(),
    BecameReady("b"),
    Died(ERROR),
    Died(ItemError("AssetErroredError", "no")),
]


def test_a_file() -> None:
    """A file is created, sent and waited for, with a state before and after each step."""
    seen = [ItemState("k")]
    events: list[ItemEvent] = [Began(), UploadCreated("u"), Began(), BytesSent(), Began(), BecameReady("a")]
    for event in events:
        seen.append(advance(seen[-1], event))

    assert [each.stage for each in seen] == ["planned", "creating", "created", "sending", "sent", "waiting", "done"]
    assert [next_step(each) for each in seen] == [
        Create(),
        Reconcile(),
        Send("u"),
        Send("u"),
        WaitReady(None, "u"),
        WaitReady(None, "u"),
        None,
    ]


@pytest.mark.parametrize(("state", "stage", "event", "change"), CHANGES)
def test_what_changes(state: ItemState, stage: Stage, event: ItemEvent, change: dict[str, Any]) -> None:
    """An event changes these members of the state and no others."""
    state = attrs.evolve(state, stage=stage)

    assert advance(state, event) == attrs.evolve(state, **change)


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_what_cannot_happen(stage: Stage, event: ItemEvent) -> None:
    """Any other event is refused, for files and for URLs, and the message names both."""
    possible = {(state.is_fetched, at, type(each)) for state, at, each, _ in CHANGES}
    possible |= {(True, at, Died) for at in Stage if not at.is_final}
    possible |= {
        (True, at, kind) for at, kind in [(Stage.PLANNED, Began), (Stage.CREATING, NothingCreated), (Stage.SENT, Began)]
    }
    possible |= {(True, Stage.SENDING, kind) for kind in (BytesMoved, BytesSent, SessionLost)}  # a URL is never sent
    possible |= {(False, Stage.WAITING, Began), (True, Stage.DEAD, Retried), (False, Stage.DEAD, Retried)}
    for state in (FILE, URL):
        if (state.is_fetched, stage, type(event)) in possible:
            continue
        with pytest.raises(ValueError, match=f"^{type(event).__name__} cannot happen to an item that is {stage}$"):
            advance(attrs.evolve(state, stage=stage), event)


@pytest.mark.parametrize(("uploads", "is_dead"), [(MAX_UPLOADS - 1, False), (MAX_UPLOADS, True), (MAX_UPLOADS + 1, True)])
def test_the_last_upload(uploads: int, is_dead: bool) -> None:
    """When the last upload expires, the item is dead; its error has the number of uploads and what to do."""
    state = attrs.evolve(FILE, stage=Stage.SENDING, uploads=uploads)
    after = advance(state, SessionLost())
    message = f"{uploads} upload URLs expired before the last byte was sent; give them more time, or send fewer files at once"

    if is_dead:
        assert after == attrs.evolve(
            state, stage=Stage.DEAD, error=ItemError("UploadGoneError", message), died_in=Stage.SENDING
        )
    else:
        assert after == attrs.evolve(state, stage=Stage.PLANNED, upload_id=None, upload=None)


STEPS: list[tuple[ItemState, Stage, Step | None]] = [
    (FILE, Stage.PLANNED, Create()),
    (FILE, Stage.CREATING, Reconcile()),
    (FILE, Stage.CREATED, Send("u")),
    (FILE, Stage.SENDING, Send("u")),
    (attrs.evolve(FILE, upload_id=None), Stage.SENDING, Send("")),
    (FILE, Stage.SENT, WaitReady(None, "u")),
    (FILE, Stage.WAITING, WaitReady(None, "u")),
    (FILE, Stage.DONE, None),
    (FILE, Stage.DEAD, None),
    (URL, Stage.PLANNED, Create()),
    (URL, Stage.CREATING, Reconcile()),
    (URL, Stage.CREATED, WaitReady("a", None)),
    (URL, Stage.SENDING, WaitReady("a", None)),
    (URL, Stage.WAITING, WaitReady("a", None)),
    (URL, Stage.DONE, None),
    (URL, Stage.DEAD, None),
]


@pytest.mark.parametrize(("state", "stage", "step"), STEPS)
def test_the_next_step(state: ItemState, stage: Stage, step: Step | None) -> None:
    """The next step follows from the stage, and from whether Mux fetches the item."""
    assert next_step(attrs.evolve(state, stage=stage)) == step


@pytest.mark.parametrize("stage", Stage)
def test_retried_where_it_died(stage: Stage) -> None:
    """A retried item continues in the stage in which it died, keeps what was created, and may use all its uploads again."""
    dead = attrs.evolve(FILE, stage=Stage.DEAD, error=ERROR, died_in=stage)

    assert advance(dead, Retried()) == attrs.evolve(FILE, stage=stage, uploads=0)


def test_retried_from_nowhere() -> None:
    """A dead item without `died_in` starts again."""
    assert advance(attrs.evolve(FILE, stage=Stage.DEAD, error=ERROR), Retried()) == attrs.evolve(FILE, uploads=0)


@pytest.mark.parametrize(
    "kind", ["AssetErroredError", "BadRequestError", "NotFoundError", "UploadError", "UploadGoneError", "DeadlineExceededError"]
)
@pytest.mark.parametrize("died_in", [Stage.SENDING, Stage.WAITING])
@pytest.mark.parametrize("state", [FILE, URL, attrs.evolve(FILE, asset_id="a")])
def test_retried_without_an_asset(state: ItemState, died_in: Stage, kind: str) -> None:
    """An item whose asset failed starts again, and remembers all failed assets."""
    dead = attrs.evolve(state, stage=Stage.DEAD, error=ItemError(kind, "no"), died_in=died_in)
    again = advance(dead, Retried())

    if died_in is Stage.WAITING and kind != "DeadlineExceededError":
        former = ("f",) if state.asset_id is None else ("f", "a")
        assert again == ItemState("k", is_fetched=state.is_fetched, former=former)
    else:
        assert again == attrs.evolve(state, stage=died_in, uploads=0)


def test_retried_without_an_error() -> None:
    """A wait that ended without a known error continues."""
    dead = attrs.evolve(FILE, stage=Stage.DEAD, died_in=Stage.WAITING)

    assert advance(dead, Retried()) == attrs.evolve(FILE, stage=Stage.WAITING, uploads=0)


STORED: dict[str, object] = {
    "key": "k",
    "stage": "dead",
    "is_fetched": False,
    "uploads": 2,
    "upload_id": "u",
    "asset_id": "a",
    "upload": {"size": 100, "offset": 0, "chunk_size": PART.chunk_size},
    "error": {"type": "MuxError", "message": "no"},
    "died_in": "sending",
    "intended_at": 7.0,
    "former": ["f", "g"],
}
LEAST: dict[str, object] = {"key": "k", "stage": "planned", "is_fetched": True, "uploads": 0}


def test_what_is_stored() -> None:
    """Every member is stored under its name, without those that are ``None``, and is restored unchanged."""
    full = attrs.evolve(FILE, asset_id="a", stage=Stage.DEAD, error=ERROR, died_in=Stage.SENDING, former=("f", "g"))

    for state, stored in [(full, STORED), (ItemState("k", is_fetched=True), LEAST)]:
        assert state.to_dict() == stored
        assert ItemState.from_dict(stored) == state
        assert type(state.to_dict()["stage"]) is str
    assert type(full.to_dict()["died_in"]) is str
    assert isinstance(ItemState.from_dict(STORED).died_in, Stage)


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"key": ...}, "'key'"),
        ({"stage": ...}, "'stage'"),
        ({"is_fetched": ...}, "'is_fetched'"),
        ({"uploads": ...}, "'uploads'"),
        ({"former": 5}, r"Expected `array`, got `int` - at `\$.former`"),
        ({"stage": "lost"}, r"Invalid enum value 'lost' - at `\$.stage`"),
    ],
)
def test_stored_items_are_checked(members: dict[str, object], problem: str) -> None:
    """A stored item with a missing or invalid member is refused by name."""
    stored = {name: value for name, value in {**STORED, **members}.items() if value is not ...}
    with pytest.raises(ValueError, match=f"{problem}$"):
        ItemState.from_dict(stored)


def test_final_stages() -> None:
    """Items that are done or dead are finished."""
    assert [stage for stage in Stage if stage.is_final] == [Stage.DONE, Stage.DEAD]


@given(is_fetched=st.booleans(), events=st.lists(st.sampled_from(EVENTS), max_size=60))
def test_any_history(is_fetched: bool, events: list[ItemEvent]) -> None:
    """In any sequence, impossible events are refused, only a retry leaves ``dead``, and every state can be stored and restored."""
    state = ItemState("k", is_fetched=is_fetched)
    for event in events:
        try:
            after = advance(state, event)
        except ValueError:
            continue
        assert not state.stage.is_final or (state.stage is Stage.DEAD and isinstance(event, Retried))
        assert after.uploads == state.uploads or state.stage is Stage.CREATING or isinstance(event, Retried)
        assert set(state.former) <= set(after.former)
        assert (after.died_in is not None) == (after.stage is Stage.DEAD)
        state = after

        again = ItemState.from_dict(json.loads(json.dumps(state.to_dict())))
        assert again == state
        assert (next_step(state) is None) == state.stage.is_final
        if state.stage is Stage.DEAD:
            assert state.error is not None
        if state.stage is Stage.DONE:
            assert state.asset_id is not None
