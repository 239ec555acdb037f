"""The steps of an item: create, send, wait. The journal gets the intent before each step and the outcome after it.

The intent is on disk before the request is sent; the outcome is written soon after. If an outcome is lost, the next run finds it
(`_reconcile` for creates, the upload itself for bytes).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol, cast

import anyio
import anyio.to_thread
import attrs

from mux_async._idempotency.key import RecordedKey
from mux_async._types import UNSET, Unset
from mux_async.errors import AssetErroredError, InvalidRequestError, MuxError, NotFoundError, UploadError
from mux_async.ingest._events import IngestEvent, ItemMoved, ItemProgress
from mux_async.ingest._failures import Fault, fault_of
from mux_async.ingest._items import Item, fingerprint
from mux_async.ingest._journal_store import Change
from mux_async.ingest._reconcile import ServerClock
from mux_async.ingest.machine import (
    AssetCreated,
    BecameReady,
    Began,
    BytesMoved,
    BytesSent,
    Died,
    ItemError,
    ItemEvent,
    ItemState,
    NothingCreated,
    SessionLost,
    SourceChanged,
    Stage,
    UploadCreated,
    advance,
)
from mux_async.uploads import UploadGoneError, UploadProgress, Uploads, UploadState

if TYPE_CHECKING:
    from mux_async._client import Mux
    from mux_async.models import Asset, Upload
    from mux_async.params import AssetOptionsParam, InputSettingsParam

logger = logging.getLogger(__name__)

_POLICIES = frozenset({"advanced_playback_policies", "playback_policies", "playback_policy"})
"""Settings of an item that set its policies."""


@attrs.frozen
class IngestOptions:
    """Options of a run that apply to all its items; see `Ingest`."""

    policies: Sequence[str]
    test: bool
    upload_timeout: int | Unset
    wait_timeout: float | None
    chunk_size: int


@attrs.define(eq=False)
class ActiveItem:
    """An item that a worker has."""

    item: Item
    state: ItemState
    started: float
    is_changed: bool = False
    """Whether the file has changed since its upload was created."""
    upload: Upload | None = None
    """Has the URL, which is a secret and not part of the state."""
    asset: Asset | None = None
    """The ready asset."""
    outages: int = 0
    """Failures in a row whose outcome is known."""


@attrs.frozen
class StepFailure:
    """A failed attempt of a step."""

    error: MuxError
    fault: Fault


def dead_state(state: ItemState, error: Exception) -> ItemState:
    """Return the state of an item that died of *error*."""
    if isinstance(error, AssetErroredError):
        state = attrs.evolve(state, asset_id=error.asset_id)
    return advance(state, Died(ItemError(type(error).__name__, str(error))))


class StateWriter(Protocol):
    """Stores the states of items."""

    async def commit(self, change: Change) -> None:
        """Store a state; return when it is on disk."""
        ...

    def enqueue(self, change: Change) -> None:
        """Store a state soon."""
        ...


@attrs.define(eq=False)
class Steps:
    """Performs the steps of items, for one run."""

    _client: Mux
    _uploads: Uploads
    _writer: StateWriter
    _clock: ServerClock
    _options: IngestOptions
    _emit: Callable[[IngestEvent], object]
    """Called with every event."""

    async def begin(self, active: ActiveItem, event: Began) -> None:
        """Write the intent of a step; returns when it is on disk."""
        await self._writer.commit(self._advance(active, event))

    def record(self, active: ActiveItem, event: ItemEvent) -> None:
        """Record an outcome. The final state of an item is not written here but with its result."""
        change = self._advance(active, event)
        if not active.state.stage.is_final:
            self._writer.enqueue(change)

    def _advance(self, active: ActiveItem, event: ItemEvent) -> Change:
        is_new = active.state.stage is Stage.PLANNED
        active.state = advance(active.state, event)
        self._emit(ItemMoved(active.item, active.state))
        return Change(active.state, fingerprint(active.item) if is_new else None)

    async def attempt(
        self, active: ActiveItem, work: Callable[[ActiveItem], Awaitable[object]], *, is_create: bool = False
    ) -> StepFailure | None:
        """Perform one of the steps below once. Returns how it failed. What an error says about a create is recorded."""
        try:
            await work(active)
        except MuxError as error:
            fault = fault_of(error, is_create=is_create)
            if is_create and fault is not Fault.UNKNOWN:
                self.record(active, NothingCreated())
            active.outages += fault is not Fault.UNKNOWN
            return StepFailure(error, fault)
        return None

    async def intend(self, active: ActiveItem) -> None:
        """Write the intent of a create, with its time by the server's clock. Raises if the file has changed since the item was made."""
        if active.item.path is not None:
            await anyio.to_thread.run_sync(_check_unchanged, active.item)
        await self.begin(active, Began(self._clock.now()))

    async def create(self, active: ActiveItem) -> None:
        """Create the upload, or the asset of a URL, with the item's key. Its intent is written."""
        item, options, video = active.item, self._options, self._client.video
        settings = item.create_body()
        if not _POLICIES & settings.keys():
            settings["playback_policies"] = options.policies
        elif "playback_policy" in settings:  # the older name, accepted in manifests
            settings.setdefault("playback_policies", settings.pop("playback_policy"))
        if item.url is not None:
            test = {"test": True} if options.test else {}
            inputs = cast("list[InputSettingsParam]", settings.pop("inputs"))
            asset = await video.assets.create(inputs=inputs, extra_body=settings | test, once=RecordedKey(item.key))
            self.record(active, AssetCreated(asset.id))
            return
        upload = await video.uploads.create(
            new_asset_settings=cast("AssetOptionsParam", settings),
            timeout=options.upload_timeout,
            test=True if options.test else UNSET,
            once=RecordedKey(item.key),
        )
        active.upload = upload
        self.record(active, UploadCreated(upload.id))

    async def send(self, active: ActiveItem) -> None:
        """Send the bytes that the upload does not hold yet; it may be from an earlier run."""
        item, state = active.item, active.state
        if active.upload is None and not await self._reopen_upload(active):
            return
        assert active.upload is not None  # noqa: S101 - set by `create` or `_reopen_upload`
        source = item.path or item.address
        assert source is not None  # noqa: S101 - Mux fetches items that have neither
        if item.path is not None:
            await anyio.to_thread.run_sync(_check_unchanged, item)
        before = state.upload
        if before is None and item.size is not None:
            is_new = state.stage is Stage.CREATED  # then no byte was sent
            size, chunk_size = item.size, self._options.chunk_size
            before = UploadState(size, chunk_size=chunk_size) if is_new else UploadState.unknown(size, chunk_size)
        await self.begin(active, Began())

        def on_progress(progress: UploadProgress) -> None:
            new, old = progress.state, active.state.upload
            if new is not None and (old is None or new.offset != old.offset):
                self.record(active, BytesMoved(new))
            self._emit(ItemProgress(item, progress.sent, item.size or progress.size or 0))

        try:
            await self._uploads.deliver(active.upload, source, state=before, on_progress=on_progress)
        except UploadGoneError:
            logger.info("the upload of %r is gone; creating a new one", item.source, extra={"mux_item": item.key})
            active.upload = None
            self.record(active, SessionLost())
        except UploadError as error:
            active.upload = None
            if error.resumable:
                raise
            # It may be complete or over. If it still waits, its bytes no longer exist.
            if await self._reopen_upload(active):
                await self._discard_upload(active)
                raise
        else:
            self.record(active, BytesSent())

    async def _reopen_upload(self, active: ActiveItem) -> bool:
        """Retrieve an upload that was created earlier. Returns ``False``, and updates the state, if it does not wait for this file."""
        state = active.state
        upload_id = state.upload_id or ""
        try:
            upload = await self._client.video.uploads.retrieve(upload_id)
        except NotFoundError:
            upload = None
        if upload is not None and upload.status == "waiting":
            if not active.is_changed:
                active.upload = upload
                return True
            text, extra = "%r has changed since its upload was created; creating a new one", {"mux_item": active.item.key}
            logger.info(text, active.item.source, extra=extra)
            await self._discard_upload(active)
            return False
        self.record(active, Began())
        if upload is not None and (upload.status == "asset_created" or upload.asset_id):
            self.record(active, BytesSent())
        else:
            self.record(active, SessionLost())
        return False

    async def _discard_upload(self, active: ActiveItem) -> None:
        """Cancel an upload whose file has changed, so that it can never become a second asset."""
        await self._client.video.uploads.cancel(active.state.upload_id or "")
        active.upload = None
        active.is_changed = False
        self.record(active, SourceChanged())

    async def wait(self, active: ActiveItem) -> None:
        """Wait for the asset to be ready."""
        self.record(active, Began())
        assets, state = self._client.video.assets, active.state
        if state.asset_id is not None:
            active.asset = await assets.wait_until_ready(state.asset_id, timeout=self._options.wait_timeout)
        else:
            active.asset = await assets.wait_for_upload(state.upload_id or "", timeout=self._options.wait_timeout)
        self.record(active, BecameReady(active.asset.id))


def _check_unchanged(item: Item) -> None:
    """Raise if the file has changed since the item was made, so that nothing is created for it."""
    assert item.path is not None  # noqa: S101 - only files are checked
    try:
        found = os.stat(item.path)  # noqa: PTH116 - in a worker thread, and pathlib adds nothing
    except OSError as error:
        raise InvalidRequestError(f"{item.source!r} can no longer be read ({error.strerror})") from error
    if (found.st_size, found.st_mtime_ns) != (item.size, item.modified_ns):
        raise UploadError(
            f"{item.source!r} was changed after the run began; ingest it again when it is complete",
            upload_id=None,
            sent=0,
            resumable=False,
        )
