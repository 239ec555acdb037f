"""The steps of an item, done: created, sent, waited for. Every one is announced to the journal before it, and told to it after.

What is announced is on disk before the request leaves; what is told follows soon, and a step that was done and not told is found out
about by whoever takes the item up (`_reconcile` for creates, the upload itself for bytes).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import anyio
import anyio.to_thread
import attrs

from mux_async._idempotency.key import RecordedKey
from mux_async._types import UNSET, Unset
from mux_async.errors import InvalidRequestError, NotFoundError, UploadError
from mux_async.ingest._events import IngestEvent, ItemMoved, ItemProgress
from mux_async.ingest._item_queue import fingerprint
from mux_async.ingest._items import Item
from mux_async.ingest._journal_writer import JournalWriter
from mux_async.ingest._reconcile import ServerClock
from mux_async.ingest._store import Change
from mux_async.ingest.machine import (
    AssetCreated,
    BecameReady,
    Began,
    BytesMoved,
    BytesSent,
    ItemEvent,
    ItemState,
    SessionLost,
    SourceChanged,
    Stage,
    UploadCreated,
    WaitReady,
    advance,
)
from mux_async.uploads import UploadGoneError, UploadProgress, Uploads, UploadState

if TYPE_CHECKING:
    from mux_async._client import Mux
    from mux_async.models import Asset, Upload
    from mux_async.params import AssetOptionsParam, InputSettingsParam

logger = logging.getLogger(__name__)

_POLICIES = frozenset({"advanced_playback_policies", "playback_policies", "playback_policy"})
"""Names that an item's own settings can give its policies by."""


@attrs.frozen
class IngestOptions:
    """What all items of a run are made with; see `Ingest`."""

    policies: Sequence[str]
    test: bool
    upload_timeout: int | Unset
    wait_timeout: float | None
    chunk_size: int


@attrs.define(eq=False)
class ActiveItem:
    """An item while it is worked on."""

    item: Item
    state: ItemState
    started: float
    is_changed: bool = False
    """Whether its file is another one than its upload was created for."""
    upload: Upload | None = None
    """Holds the URL, which is a secret and not part of the state."""
    outages: int = 0
    """Failures in a row that say nothing about the item."""


class Steps:
    """Does them, for one run.

    Args:
        client: Whose account it is for.
        uploads: Send the bytes.
        writer: The journal.
        clock: The server's.
        options: Of all items.
        tell: Told of what happens.
    """

    def __init__(
        self,
        client: Mux,
        uploads: Uploads,
        writer: JournalWriter,
        clock: ServerClock,
        options: IngestOptions,
        tell: Callable[[IngestEvent], object],
    ) -> None:
        self._client = client
        self._uploads = uploads
        self._writer = writer
        self._clock = clock
        self._options = options
        self._emit = tell

    async def begin(self, active: ActiveItem, event: Began) -> None:
        """Announce a step; returns when that is on disk."""
        await self._writer.commit(self._advance(active, event))

    def record(self, active: ActiveItem, event: ItemEvent) -> None:
        """Tell what happened. What ends an item is written with what became of it, and not from here."""
        change = self._advance(active, event)
        if not active.state.stage.is_final:
            self._writer.enqueue(change)

    def _advance(self, active: ActiveItem, event: ItemEvent) -> Change:
        is_new = active.state.stage is Stage.PLANNED
        active.state = advance(active.state, event)
        self._emit(ItemMoved(active.item, active.state))
        return Change(active.state, fingerprint(active.item) if is_new else None)

    async def create(self, active: ActiveItem) -> None:
        """Create the upload, or the asset of a URL, under the item's key."""
        item, options, video = active.item, self._options, self._client.video
        settings = item.create_body()
        if not _POLICIES & settings.keys():
            settings["playback_policies"] = options.policies
        elif "playback_policy" in settings:  # the older name, which lists may have
            settings.setdefault("playback_policies", settings.pop("playback_policy"))
        if item.path is not None:
            await anyio.to_thread.run_sync(_check_unchanged, item)
        await self.begin(active, Began(self._clock.now()))
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
        """Send the bytes that the upload does not hold yet, to an upload of this run or of one before it."""
        item, state = active.item, active.state
        if active.upload is None and not await self._reopen_upload(active):
            return
        assert active.upload is not None  # noqa: S101 - set when it was created, or taken up
        source = item.path or item.address
        assert source is not None  # noqa: S101 - what has neither is fetched by Mux
        if item.path is not None:
            await anyio.to_thread.run_sync(_check_unchanged, item)
        before = state.upload
        if before is None and item.size is not None:
            is_new = state.stage is Stage.CREATED  # then not a byte has left
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
            logger.info("the upload of %r is gone, a new one is made", item.source)
            active.upload = None
            self.record(active, SessionLost())
        except UploadError as error:
            active.upload = None
            if error.resumable:
                raise
            # It may be complete, or have ended meanwhile. One that still waits will never get the bytes it was begun with.
            if await self._reopen_upload(active):
                await self._discard_upload(active)
                raise
        else:
            self.record(active, BytesSent())

    async def _reopen_upload(self, active: ActiveItem) -> bool:
        """Ask after an upload that was created earlier.

        Returns:
            Whether it waits for bytes of the file as it is; if not, the item's state has been brought up to what was found.
        """
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
            logger.info("%r is another file than its upload was begun with, a new one is made", active.item.source)
            await self._discard_upload(active)
            return False
        self.record(active, Began())
        if upload is not None and (upload.status == "asset_created" or upload.asset_id):
            self.record(active, BytesSent())
        else:
            self.record(active, SessionLost())
        return False

    async def _discard_upload(self, active: ActiveItem) -> None:
        """Cancel an upload that waits for bytes which are no more, so that it can never become a second asset."""
        await self._client.video.uploads.cancel(active.state.upload_id or "")
        active.upload = None
        active.is_changed = False
        self.record(active, SourceChanged())

    async def wait(self, active: ActiveItem, step: WaitReady) -> Asset:
        """Wait for the asset to be ready."""
        self.record(active, Began())
        assets = self._client.video.assets
        if step.asset_id is not None:
            asset = await assets.wait_until_ready(step.asset_id, timeout=self._options.wait_timeout)
        else:
            asset = await assets.wait_for_upload(step.upload_id or "", timeout=self._options.wait_timeout)
        self.record(active, BecameReady(asset.id))
        return asset


def _check_unchanged(item: Item) -> None:
    """Raise unless the file is what it was when it was put on the list: nothing is created for another one."""
    assert item.path is not None  # noqa: S101 - only files are checked
    try:
        found = os.stat(item.path)  # noqa: PTH116 - in a worker thread, and pathlib adds nothing
    except OSError as error:
        raise InvalidRequestError(f"{item.source!r} can no longer be read ({error.strerror})") from error
    if (found.st_size, found.st_mtime_ns) != (item.size, item.modified_ns):
        raise UploadError(
            f"{item.source!r} was changed after it was put on the list; ingest it again when it is finished",
            upload_id=None,
            sent=0,
            resumable=False,
        )
