"""One item of an ingest, from a name on a list to a ready asset: which step is next, and what follows from how it went.

Pure, so that a run can be stopped anywhere and taken up by another process: every state is a value that survives storing. Each step that
changes something at Mux has a state *before* (``creating``, ``sending``) and one *after* (``created``, ``sent``). Whoever finds a
state *before* knows that the step may or may not have happened::

    planned -> creating -> created -> sending -> sent -> waiting -> done      a file
    planned -> creating -> created -----------------> waiting -> done         a URL, which Mux fetches itself

From anywhere an item can go to ``dead``; and back to ``planned`` when its upload URL expired before the last byte, or its file is another
one than the upload was begun with. A dead item can be retried: it goes on where it died, unless what it had made is of no use.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, TypeAlias, cast

import attrs

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
"""Uploads that are created for one file at most."""


_FRUITLESS: Final = frozenset({"AssetErroredError", "BadRequestError", "NotFoundError", "UploadError", "UploadGoneError"})
"""Errors of a wait that say that there will be no asset. All others say only that it was not seen."""


class Stage(enum.StrEnum):
    """Where an item is."""

    PLANNED = "planned"
    CREATING = "creating"
    """The create may be on its way: whether there is an upload or an asset is not known."""
    CREATED = "created"
    SENDING = "sending"
    SENT = "sent"
    WAITING = "waiting"
    DONE = "done"
    DEAD = "dead"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen."""
        return self in {Stage.DONE, Stage.DEAD}


@attrs.frozen
class ItemError:
    """Why an item is dead.

    Attributes:
        type: Name of the error's class.
        message: Its sentence.
    """

    type: str
    message: str


@attrs.frozen
class ItemState:
    """All that must survive of an item.

    Attributes:
        key: Of the item; stable from run to run.
        stage: Where it is.
        is_fetched: Whether Mux fetches the bytes itself, from a URL.
        uploads: Uploads created so far.
        upload_id: The upload that takes the bytes; ``None`` for URLs and before it is created.
        asset_id: The asset, once known.
        upload: How far the bytes are; ``None`` before the first answer.
        error: Why it is dead.
        died_in: The stage it died in.
        intended_at: When the create was begun, by the server's clock: seconds since 1970; ``None`` before.
        former: Assets of this item that came to nothing, and are not to be taken for the one it will have.
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
        """Return JSON members; those that are ``None`` are left out."""
        members: dict[str, object] = {
            "key": self.key,
            "stage": str(self.stage),
            "is_fetched": self.is_fetched,
            "uploads": self.uploads,
            "upload_id": self.upload_id,
            "asset_id": self.asset_id,
            "upload": self.upload.to_dict() if self.upload is not None else None,
            "error": attrs.asdict(self.error) if self.error is not None else None,
            "died_in": str(self.died_in) if self.died_in is not None else None,
            "intended_at": self.intended_at,
            "former": list(self.former) or None,
        }
        return {name: value for name, value in members.items() if value is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> ItemState:
        """Return what `to_dict` was called on.

        Raises:
            ValueError: It is not what `to_dict` writes.
        """
        try:
            upload, error, died_in = data.get("upload"), data.get("error"), data.get("died_in")
            return cls(
                key=cast("str", data["key"]),
                stage=Stage(cast("str", data["stage"])),
                is_fetched=bool(data["is_fetched"]),
                uploads=cast("int", data["uploads"]),
                upload_id=cast("str | None", data.get("upload_id")),
                asset_id=cast("str | None", data.get("asset_id")),
                upload=UploadState.from_dict(cast("Mapping[str, object]", upload)) if upload is not None else None,
                error=ItemError(**cast("Mapping[str, str]", error)) if error is not None else None,
                died_in=Stage(cast("str", died_in)) if died_in is not None else None,
                intended_at=cast("float | None", data.get("intended_at")),
                former=tuple(cast("list[str]", data.get("former", []))),
            )
        except (KeyError, TypeError) as problem:
            raise ValueError(f"a stored item is not as it was written: {problem}") from problem


# What to do


@attrs.frozen
class Create:
    """Create the upload, or the asset of a URL."""


@attrs.frozen
class Send:
    """Send the bytes that the server does not hold to *upload_id*."""

    upload_id: str


@attrs.frozen
class WaitReady:
    """Wait for the asset *asset_id*, or where that is not known, for that of *upload_id*."""

    asset_id: str | None
    upload_id: str | None


@attrs.frozen
class Reconcile:
    """Find out whether a create of an earlier process happened, before anything is created again."""


Step: TypeAlias = Create | Send | WaitReady | Reconcile


# What happened


@attrs.frozen
class Began:
    """The step is about to be done.

    Attributes:
        at: Seconds since 1970 by the server's clock; needed of creates, which are looked for by their age.
    """

    at: float | None = None


@attrs.frozen
class UploadCreated:
    """There is an upload for the bytes."""

    upload_id: str


@attrs.frozen
class AssetCreated:
    """There is an asset, which Mux fetches."""

    asset_id: str


@attrs.frozen
class BytesMoved:
    """The server holds more than before."""

    upload: UploadState


@attrs.frozen
class BytesSent:
    """The server has every byte."""


@attrs.frozen
class SessionLost:
    """The upload is no more, and never became an asset."""


@attrs.frozen
class NothingCreated:
    """The create of an earlier process did not happen."""


@attrs.frozen
class SourceChanged:
    """The file is another one than the upload was begun with, and the upload was cancelled."""


@attrs.frozen
class Retried:
    """A retry was requested of a dead item to be tried again."""


@attrs.frozen
class BecameReady:
    """The asset can be played."""

    asset_id: str


@attrs.frozen
class Died:
    """It cannot go on."""

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


def next_step(state: ItemState) -> Step | None:
    """Return what to do with an item that nobody is working on; ``None`` when it is finished."""
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
        ValueError: That cannot happen to an item in this state.
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
    """Return where a dead item is taken up again.

    One that died while its create was on the way is looked for first. One whose asset came to nothing begins anew; one that was merely
    not waited for long enough is waited for again.
    """
    revived = attrs.evolve(state, stage=state.died_in or Stage.PLANNED, error=None, died_in=None, uploads=0)
    if revived.stage is Stage.WAITING and state.error is not None and state.error.type in _FRUITLESS:
        former = (*state.former, state.asset_id) if state.asset_id is not None else state.former
        return ItemState(state.key, is_fetched=state.is_fetched, former=former)
    return revived
