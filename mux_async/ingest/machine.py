"""The state machine of one item of an ingest: the next step, and the state after each event. No I/O.

States can be stored, so that another process can continue a run that was stopped at any point. Each step that changes something at Mux has
a state *before* (``creating``, ``sending``) and one *after* (``created``, ``sent``). A state *before* means that the step may or may not
have happened::

    planned -> creating -> created -> sending -> sent -> waiting -> done      a file
    planned -> creating -> created -----------------> waiting -> done         a URL, which Mux fetches itself

Every state but ``done`` can become ``dead``. An item returns to ``planned`` if its upload URL expired before the last byte, or its file has
changed since the upload was created. A retried item continues in the state in which it died, unless its asset failed.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, TypeAlias, cast

import attrs
import msgspec

from mux_async.uploads import UploadState

__all__ = [
    "MAX_UPLOADS",
    "AssetCreated",
    "BecameReady",
    "Began",
    "BytesMoved",
    "BytesSent",
    "Create",
    "Died",
    "ItemError",
    "ItemEvent",
    "ItemState",
    "NothingCreated",
    "Reconcile",
    "Retried",
    "Send",
    "SessionLost",
    "SourceChanged",
    "Stage",
    "Step",
    "UploadCreated",
    "WaitReady",
    "advance",
    "next_step",
]

MAX_UPLOADS: Final = 3
"""Uploads that may be created for one file."""

_NO_ASSET_ERRORS: Final = frozenset({"AssetErroredError", "BadRequestError", "NotFoundError", "UploadError", "UploadGoneError"})
"""Errors of a wait after which there will be no ready asset. After any other error the asset may still become ready."""


class Stage(enum.StrEnum):
    """The stage of an item. The values are stored in journals."""

    PLANNED = "planned"
    CREATING = "creating"
    """The create may have been sent: whether there is an upload or an asset is not known."""
    CREATED = "created"
    SENDING = "sending"
    SENT = "sent"
    WAITING = "waiting"
    DONE = "done"
    DEAD = "dead"

    @property
    def is_final(self) -> bool:
        """Whether the item is finished."""
        return self in {Stage.DONE, Stage.DEAD}


@attrs.frozen
class ItemError:
    """Why an item is dead.

    Attributes:
        type: Name of the error's class.
        message: Its message.
    """

    type: str
    message: str


@attrs.frozen
class ItemState:
    """The stored state of an item.

    Attributes:
        key: Of the item; the same in every run.
        stage: The current stage.
        is_fetched: Whether Mux fetches the bytes itself, from a URL.
        uploads: Uploads created so far.
        upload_id: The upload that takes the bytes; ``None`` for URLs and before it is created.
        asset_id: The asset, once known.
        upload: Progress of the upload; ``None`` before the first response.
        error: Why it is dead.
        died_in: The stage in which it died.
        intended_at: When the create was sent, by the server's clock: seconds since 1970; ``None`` before.
        former: Failed assets of earlier tries, which must not be taken for the new one.
    """

    key: str
    stage: Stage = Stage.PLANNED
    is_fetched: bool = False
    uploads: int = 0
    upload_id: str | None = None
    asset_id: str | None = None
    upload: UploadState | None = None
    error: ItemError | None = None
    died_in: Stage | None = None
    intended_at: float | None = None
    former: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Return JSON members, without those that are ``None`` or empty."""
        upload = self.upload.to_dict() if self.upload is not None else None
        members: dict[str, object] = {**msgspec.to_builtins(self), "upload": upload, "former": list(self.former) or None}
        return {name: value for name, value in members.items() if value is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> ItemState:
        """Return the state from the result of `to_dict`.

        Raises:
            ValueError: A member is missing or invalid.
        """
        if missing := {"key", "stage", "is_fetched", "uploads"} - data.keys():
            raise ValueError(f"a stored item is invalid: it has no {min(missing)!r}")
        upload = data.get("upload")
        try:
            state = msgspec.convert({**data, "upload": None}, cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"a stored item is invalid: {error}") from error
        return state if upload is None else attrs.evolve(state, upload=UploadState.from_dict(cast("dict[str, object]", upload)))


# Steps


@attrs.frozen
class Create:
    """Create the upload, or the asset of a URL."""


@attrs.frozen
class Send:
    """Send the bytes that the server does not hold yet to *upload_id*."""

    upload_id: str


@attrs.frozen
class WaitReady:
    """Wait for the asset *asset_id*; if that is not known, for the asset of *upload_id*."""

    asset_id: str | None
    upload_id: str | None


@attrs.frozen
class Reconcile:
    """Look up whether a create with an unknown outcome happened, before anything is created again."""


Step: TypeAlias = Create | Send | WaitReady | Reconcile
"""What to do next for an item."""


# Events


@attrs.frozen
class Began:
    """The step is about to begin.

    Attributes:
        at: Seconds since 1970 by the server's clock; needed for creates, which are looked up by their time.
    """

    at: float | None = None


@attrs.frozen
class UploadCreated:
    """The upload was created."""

    upload_id: str


@attrs.frozen
class AssetCreated:
    """The asset of a URL was created."""

    asset_id: str


@attrs.frozen
class BytesMoved:
    """The server confirmed more bytes."""

    upload: UploadState


@attrs.frozen
class BytesSent:
    """The server has every byte."""


@attrs.frozen
class SessionLost:
    """The upload is gone and did not become an asset."""


@attrs.frozen
class NothingCreated:
    """The create did not happen."""


@attrs.frozen
class SourceChanged:
    """The file has changed since its upload was created, and the upload was cancelled."""


@attrs.frozen
class Retried:
    """A retry of a dead item was requested."""


@attrs.frozen
class BecameReady:
    """The asset is ready."""

    asset_id: str


@attrs.frozen
class Died:
    """The item failed."""

    error: ItemError


ItemEvent: TypeAlias = (
    Began
    | UploadCreated
    | AssetCreated
    | BytesMoved
    | BytesSent
    | SessionLost
    | SourceChanged
    | NothingCreated
    | BecameReady
    | Died
    | Retried
)
"""Any event that changes the state of an item."""


def next_step(state: ItemState) -> Step | None:
    """Return the next step of an item; ``None`` if it is finished."""
    match state.stage:
        case Stage.PLANNED:
            return Create()
        case Stage.CREATING:
            return Reconcile()
        case Stage.CREATED | Stage.SENDING if not state.is_fetched:
            return Send(state.upload_id or "")
        case Stage.CREATED | Stage.SENDING | Stage.SENT | Stage.WAITING:
            return WaitReady(state.asset_id, state.upload_id)
        case Stage.DONE | Stage.DEAD:
            return None


def advance(state: ItemState, event: ItemEvent) -> ItemState:
    """Return the state after *event*.

    Raises:
        ValueError: The event cannot happen in this state.
    """
    match state.stage, event:
        case Stage.DEAD, Retried():
            return _retried(state)
        case ((Stage.DONE | Stage.DEAD), _):
            pass
        case _, Died(error):
            return attrs.evolve(state, stage=Stage.DEAD, error=error, died_in=state.stage)
        case Stage.PLANNED, Began(at):
            return attrs.evolve(state, stage=Stage.CREATING, intended_at=at)
        case Stage.CREATING, NothingCreated():
            return attrs.evolve(state, stage=Stage.PLANNED, intended_at=None)
        case Stage.CREATING, UploadCreated(upload_id) if not state.is_fetched:
            return attrs.evolve(state, stage=Stage.CREATED, upload_id=upload_id, upload=None, uploads=state.uploads + 1)
        case Stage.CREATING, AssetCreated(asset_id) if state.is_fetched:
            return attrs.evolve(state, stage=Stage.CREATED, asset_id=asset_id)
        case ((Stage.CREATED | Stage.SENDING), Began()) if not state.is_fetched:
            return attrs.evolve(state, stage=Stage.SENDING)
        case ((Stage.CREATED | Stage.SENT | Stage.WAITING), Began()):
            return attrs.evolve(state, stage=Stage.WAITING)
        case Stage.SENDING, BytesMoved(upload):
            return attrs.evolve(state, upload=upload)
        case Stage.SENDING, BytesSent():
            return attrs.evolve(state, stage=Stage.SENT)
        case Stage.SENDING, SessionLost():
            if state.uploads < MAX_UPLOADS:
                return attrs.evolve(state, stage=Stage.PLANNED, upload_id=None, upload=None)
            message = f"{state.uploads} upload URLs expired before the last byte was sent; give them more time, or send fewer files at once"
            return attrs.evolve(state, stage=Stage.DEAD, error=ItemError("UploadGoneError", message), died_in=state.stage)
        case ((Stage.CREATED | Stage.SENDING), SourceChanged()) if not state.is_fetched:
            return attrs.evolve(state, stage=Stage.PLANNED, upload_id=None, upload=None)
        case Stage.WAITING, BecameReady(asset_id):
            return attrs.evolve(state, stage=Stage.DONE, asset_id=asset_id)
        case _:
            pass
    raise ValueError(f"{type(event).__name__} cannot happen to an item that is {state.stage}")


def _retried(state: ItemState) -> ItemState:
    """Return the state in which a dead item continues.

    If its create had an unknown outcome, that is looked up first. If its asset failed, the item starts again; if only the wait ended, the
    item waits again.
    """
    revived = attrs.evolve(state, stage=state.died_in or Stage.PLANNED, error=None, died_in=None, uploads=0)
    if revived.stage is Stage.WAITING and state.error is not None and state.error.type in _NO_ASSET_ERRORS:
        former = (*state.former, state.asset_id) if state.asset_id is not None else state.former
        return ItemState(state.key, is_fetched=state.is_fetched, former=former)
    return revived
