"""An item step by step: the whole state after each event, and all that is stored of it."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

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
"""A file of which everything is known."""
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
FACTS: list[ItemEvent] = [
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
]


@pytest.mark.parametrize(("state", "stage", "event", "change"), CHANGES)
def test_what_changes(state: ItemState, stage: Stage, event: ItemEvent, change: dict[str, Any]) -> None:
    """An event changes these members of the state, and leaves the others as they are."""
    state = attrs.evolve(state, stage=stage)

    assert advance(state, event) == attrs.evolve(state, **change)


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("event", FACTS, ids=lambda event: type(event).__name__)
def test_what_cannot_happen(stage: Stage, event: ItemEvent) -> None:
    """Any other event is refused, for files and for URLs, and the message names both."""
    possible = {(state.is_fetched, at, type(each)) for state, at, each, _ in CHANGES}
    possible |= {(True, at, Died) for at in Stage if not at.is_final}
    possible |= {
        (True, at, kind) for at, kind in [(Stage.PLANNED, Began), (Stage.CREATING, NothingCreated), (Stage.SENT, Began)]
    }
    possible |= {(True, Stage.SENDING, kind) for kind in (BytesMoved, BytesSent, SessionLost)}  # no URL comes to be sent
    possible |= {(False, Stage.WAITING, Began), (True, Stage.DEAD, Retried), (False, Stage.DEAD, Retried)}
    for state in (FILE, URL):
        if (state.is_fetched, stage, type(event)) in possible:
            continue
        with pytest.raises(ValueError, match=f"^{type(event).__name__} cannot happen to an item that is {stage}$"):
            advance(attrs.evolve(state, stage=stage), event)


@pytest.mark.parametrize(("uploads", "is_dead"), [(MAX_UPLOADS - 1, False), (MAX_UPLOADS, True), (MAX_UPLOADS + 1, True)])
def test_the_last_upload(uploads: int, is_dead: bool) -> None:
    """The last upload that expires is the end of the item; its error says how many there were and what to do."""
    state = attrs.evolve(FILE, stage=Stage.SENDING, uploads=uploads)
    after = advance(state, SessionLost())
    said = f"{uploads} upload URLs expired before the last byte was sent; give them more time, or send fewer files at once"

    if is_dead:
        assert after == attrs.evolve(state, stage=Stage.DEAD, error=ItemError("UploadGoneError", said), died_in=Stage.SENDING)
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
    """What is done with an item follows from its stage, and from whether Mux fetches it."""
    assert next_step(attrs.evolve(state, stage=stage)) == step


@pytest.mark.parametrize("stage", Stage)
def test_retried_where_it_died(stage: Stage) -> None:
    """A retry goes on in the stage it died in, with all that was made, and all its uploads again."""
    dead = attrs.evolve(FILE, stage=Stage.DEAD, error=ERROR, died_in=stage)

    assert advance(dead, Retried()) == attrs.evolve(FILE, stage=stage, uploads=0)


def test_retried_from_nowhere() -> None:
    """A dead item that does not say where it died begins at the beginning."""
    assert advance(attrs.evolve(FILE, stage=Stage.DEAD, error=ERROR), Retried()) == attrs.evolve(FILE, uploads=0)


@pytest.mark.parametrize(
    "kind", ["AssetErroredError", "BadRequestError", "NotFoundError", "UploadError", "UploadGoneError", "DeadlineExceededError"]
)
@pytest.mark.parametrize("died_in", [Stage.SENDING, Stage.WAITING])
@pytest.mark.parametrize("state", [FILE, URL, attrs.evolve(FILE, asset_id="a")])
def test_retried_without_an_asset(state: ItemState, died_in: Stage, kind: str) -> None:
    """An item whose wait ended in a way that says that there will be no asset begins anew, and knows the assets that came to nothing."""
    dead = attrs.evolve(state, stage=Stage.DEAD, error=ItemError(kind, "no"), died_in=died_in)
    again = advance(dead, Retried())

    if died_in is Stage.WAITING and kind != "DeadlineExceededError":
        former = ("f",) if state.asset_id is None else ("f", "a")
        assert again == ItemState("k", is_fetched=state.is_fetched, former=former)
    else:
        assert again == attrs.evolve(state, stage=died_in, uploads=0)


def test_retried_without_an_error() -> None:
    """A wait that ended without a known error is gone on with."""
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
    """Every member is stored under its name, those that are ``None`` are left out, and what is read back is the same."""
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
        ({"former": 5}, "'int' object is not iterable"),
    ],
)
def test_what_is_not_as_it_was_written(members: dict[str, object], problem: str) -> None:
    """A stored item without a member, or with one of another type, is refused, and the message names it."""
    stored = {name: value for name, value in {**STORED, **members}.items() if value is not ...}
    with pytest.raises(ValueError, match=f"^a stored item is not as it was written: {problem}$"):
        ItemState.from_dict(stored)


def test_final_stages() -> None:
    """Nothing more happens to an item that is done or dead."""
    assert [stage for stage in Stage if stage.is_final] == [Stage.DONE, Stage.DEAD]
