"""The states of an item: what may follow on what, and that every state survives storing."""

from __future__ import annotations

import json

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
    UploadCreated,
    WaitReady,
    advance,
    next_step,
)
from mux_async.uploads import UploadState

FACTS: list[ItemEvent] = [
    Began(),
    UploadCreated("u"),
    AssetCreated("a"),
    BytesMoved(UploadState.unknown(100)),
    BytesSent(),
    SessionLost(),
    SourceChanged(),
    NothingCreated(),
    Retried(),
    BecameReady("a"),
    Died(ItemError("MuxError", "no")),
    Died(ItemError("AssetErroredError", "no")),
]


def follow(state: ItemState, *events: ItemEvent) -> ItemState:
    for event in events:
        state = advance(state, event)
    return state


def test_a_file() -> None:
    """A file is created, sent and waited for, with a state before and after each step."""
    state = ItemState("k")
    seen = [state]
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


def test_a_url() -> None:
    """A URL is created and waited for; nothing is sent."""
    state = follow(ItemState("k", is_fetched=True), Began(), AssetCreated("a"))

    assert next_step(state) == WaitReady("a", None)
    assert follow(state, Began(), BecameReady("a")).stage is Stage.DONE
    with pytest.raises(ValueError, match="BytesSent cannot happen"):
        follow(state, BytesSent())


def test_lost_sessions_are_bounded() -> None:
    """An upload that expired is made anew, but not for ever."""
    state = ItemState("k")
    for number in range(1, MAX_UPLOADS + 1):
        state = follow(state, Began(), UploadCreated(f"u{number}"), Began(), SessionLost())

        assert (state.stage is Stage.DEAD) == (number == MAX_UPLOADS)
    assert state.error is not None


def test_an_unknown_create_is_looked_into() -> None:
    """After a create whose outcome is not known, the next step is to find out, and never to create again."""
    assert next_step(follow(ItemState("k"), Began())) == Reconcile()
    assert follow(ItemState("k"), Began(), NothingCreated()) == ItemState("k")


RETRIED: list[tuple[list[ItemEvent], Stage]] = [
    ([Died(ItemError("InvalidRequestError", "unreadable"))], Stage.PLANNED),
    ([Began(), Died(ItemError("AmbiguousOutcomeError", "unknown"))], Stage.CREATING),
    ([Began(), UploadCreated("u"), Began(), Died(ItemError("UploadError", "network"))], Stage.SENDING),
    (
        [Began(), UploadCreated("u"), Began(), BytesSent(), Began(), Died(ItemError("DeadlineExceededError", "late"))],
        Stage.WAITING,
    ),
    ([Began(), UploadCreated("u"), Began(), BytesSent(), Began(), Died(ItemError("AssetErroredError", "bad"))], Stage.PLANNED),
]


@pytest.mark.parametrize(("events", "stage"), RETRIED)
def test_the_dead_go_on_where_they_died(events: list[ItemEvent], stage: Stage) -> None:
    """A retried item does again what failed and nothing before it; after an asset that errored it begins anew."""
    dead = follow(ItemState("k"), *events)
    again = advance(dead, Retried())

    assert (again.stage, again.error, again.died_in) == (stage, None, None)
    assert stage is not Stage.PLANNED or again.upload_id is None


def test_an_errored_asset_is_remembered() -> None:
    """After a retry, the errored asset is known for what it is, so that it is not taken for the new one."""
    dead = follow(
        ItemState("k", is_fetched=True), Began(), AssetCreated("a"), Began(), Died(ItemError("AssetErroredError", "bad"))
    )

    assert advance(dead, Retried()) == ItemState("k", is_fetched=True, former=("a",))


def test_all_errored_assets_are_remembered() -> None:
    """Each asset of an item that came to nothing stays known, not the last one alone."""
    state = ItemState("k", is_fetched=True)
    for asset_id in ("a", "b", "c"):
        state = follow(state, Began(), AssetCreated(asset_id), Began(), Died(ItemError("AssetErroredError", "bad")), Retried())

    assert state.former == ("a", "b", "c")


def test_a_retry_has_all_uploads_again() -> None:
    """An item that died of upload URLs that expired may use as many again when it is retried."""
    state = ItemState("k")
    for _ in range(MAX_UPLOADS):
        state = follow(state, Began(), UploadCreated("u"), Began(), SessionLost())
    assert (state.stage, state.uploads) == (Stage.DEAD, MAX_UPLOADS)

    state = advance(state, Retried())
    assert (state.stage, state.uploads) == (Stage.SENDING, 0)
    state = advance(state, SessionLost())
    for number in range(1, MAX_UPLOADS):
        state = follow(state, Began(), UploadCreated("u"), Began(), SessionLost())
        assert (state.stage, state.uploads) == (Stage.PLANNED, number)


def test_another_file() -> None:
    """An upload of a file that is no more is given up, and does not count as one that expired."""
    state = follow(ItemState("k"), Began(), UploadCreated("u"), Began(), SourceChanged())

    assert (state.stage, state.upload_id, state.upload) == (Stage.PLANNED, None, None)


@given(is_fetched=st.booleans(), events=st.lists(st.sampled_from(FACTS), max_size=60))
def test_any_history(is_fetched: bool, events: list[ItemEvent]) -> None:
    """Whatever is said to have happened: impossible events are refused, only a retry wakes the dead, and every state survives storing."""
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


@pytest.mark.parametrize("data", [{}, {"key": "k", "stage": "lost", "is_fetched": False, "uploads": 0}])
def test_stored_items_are_checked(data: dict[str, object]) -> None:
    """What was not written by this version is refused rather than guessed at."""
    with pytest.raises(ValueError, match=r"as it was written|lost"):
        ItemState.from_dict(data)
