"""Runs an ingest: a few items at a time through their steps, and any number of them waiting.

*concurrency* workers take items from the plan in order. A worker creates and sends; then the item waits for its asset beside it, since
waiting costs nothing (one sweep of the list serves all), and the worker takes the next one. Creates are paced evenly and leave the
account's burst to people: one upload a second is what Mux allows, so small files take a second each, whatever *concurrency* is.

Every change of an item's state goes through `_move`, once before a step and once after it. That is where a journal belongs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio
import anyio.abc
import anyio.to_thread
import attrs

from mux_async._types import UNSET, Unset
from mux_async.errors import (
    AssetErroredError,
    AuthenticationError,
    ClosedError,
    ConfigurationError,
    InvalidRequestError,
    MuxError,
    PermissionDeniedError,
    UploadError,
)
from mux_async.ingest._items import Item
from mux_async.ingest._results import ItemResult, ResultFile
from mux_async.ingest.machine import (
    AssetCreated,
    BecameReady,
    Began,
    BytesMoved,
    BytesSent,
    Create,
    Died,
    Fact,
    ItemError,
    ItemState,
    NothingCreated,
    Reconcile,
    Send,
    SessionLost,
    Stage,
    UploadCreated,
    WaitReady,
    advance,
    next_step,
)
from mux_async.uploads import UploadGoneError, UploadProgress, Uploads

if TYPE_CHECKING:
    from mux_async._client import Mux
    from mux_async.models import Asset, Upload

logger = logging.getLogger(__name__)

DEFAULT_CONCURRENCY: Final = 4
_UPLOAD_FAILURES = 20
"""Failures in a row after which an upload is given up: about four minutes without a network."""
_CREATE_ATTEMPTS = 8

_POLICIES: Final = frozenset({"advanced_playback_policies", "playback_policies", "playback_policy"})
"""Names that an item's own settings can give its policies by."""

_FATAL = (AuthenticationError, ClosedError, ConfigurationError, PermissionDeniedError)
"""What every other item would meet too."""


@attrs.frozen
class ItemMoved:
    """An item is in another state."""

    item: Item
    state: ItemState


@attrs.frozen
class ItemProgress:
    """More of an item's bytes have left."""

    item: Item
    sent: int
    size: int


@attrs.frozen
class ItemFinished:
    """An item is finished, one way or the other, and its line is in the result file."""

    item: Item
    result: ItemResult


IngestEvent: TypeAlias = ItemMoved | ItemProgress | ItemFinished
EventCallback: TypeAlias = Callable[[IngestEvent], object]
"""Told everything that happens; must return at once."""


@attrs.frozen
class IngestSummary:
    """How an ingest ended.

    Attributes:
        ready: Items that became assets.
        failed: Items that did not.
        not_started: Items that were not begun, because the ingest was stopped or could not go on.
        size: Bytes of the files that became assets.
        elapsed: Seconds.
        reason: Why it could not go on; ``None`` when it could.
    """

    ready: int
    failed: int
    not_started: int
    size: int
    elapsed: float
    reason: str | None

    @property
    def is_complete(self) -> bool:
        """Whether every item became an asset."""
        return not self.failed and not self.not_started


@attrs.define(eq=False)
class _Running:
    """An item while it is worked on."""

    item: Item
    state: ItemState
    started: float
    upload: Upload | None = None
    """Holds the URL, which is a secret and not part of the state."""


class Ingest:
    """A bulk ingest. Runs once.

    Args:
        client: Whose account it is for. Its calls are made with priority ``batch``, whatever the client's is.
        items: What to ingest, in order; see `make_plan`.
        concurrency: Items that are being created or sent at the same time.
        playback_policies: Of assets for which the item's own settings name none. An empty list makes assets that cannot be played.
        test: Make test assets: watermarked, cut to 10 s, deleted after a day, free.
        upload_timeout: Seconds for which upload URLs are valid, 60 to 604 800; Mux's default is an hour.
        wait_timeout: Seconds that an asset may take from its last byte to being ready; ``None`` for no limit.
        results: Gets a line for every finished item.
        on_event: Told everything that happens.
    """

    def __init__(
        self,
        client: Mux,
        items: Sequence[Item],
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        playback_policies: str | Sequence[str] = ("public",),
        test: bool = False,
        upload_timeout: int | Unset = UNSET,
        wait_timeout: float | None = None,
        results: ResultFile | None = None,
        on_event: EventCallback | None = None,
    ) -> None:
        if concurrency < 1:
            raise ConfigurationError(f"concurrency is {concurrency}; it must be at least 1")
        self._client = client.with_options(priority="batch", max_attempts=_CREATE_ATTEMPTS)
        self._uploads = Uploads(self._client, max_failures=_UPLOAD_FAILURES)
        self._items = items
        self._concurrency = concurrency
        self._policies = [playback_policies] if isinstance(playback_policies, str) else list(playback_policies)
        self._test = test
        self._upload_timeout = upload_timeout
        self._wait_timeout = wait_timeout
        self._results = results
        self._on_event = on_event
        self._is_stopping = False
        self._reason: str | None = None
        self._taken = 0
        self._ready = 0
        self._failed = 0
        self._size = 0

    def stop(self) -> None:
        """Begin no further item. Those that were begun are finished, then `run` returns."""
        self._is_stopping = True

    async def run(self) -> IngestSummary:
        """Ingest everything. An item that fails is reported and does not keep the others.

        Cancelling leaves finished items in the result file, and unfinished uploads to expire.
        """
        started = anyio.current_time()
        pending = iter(self._items)
        async with anyio.create_task_group() as waits, anyio.create_task_group() as workers:
            for _ in range(min(self._concurrency, len(self._items))):
                workers.start_soon(self._work, pending, waits)
        return IngestSummary(
            ready=self._ready,
            failed=self._failed,
            not_started=len(self._items) - self._taken,
            size=self._size,
            elapsed=anyio.current_time() - started,
            reason=self._reason,
        )

    @asynccontextmanager
    async def events(self) -> AsyncGenerator[AsyncIterator[IngestEvent]]:
        """Run in the background of an ``async with`` block, whose value gives what happens, until all is finished.

        Leaving the block early cancels the ingest. Events that are not read yet are kept in memory.
        """
        send, receive = anyio.create_memory_object_stream[IngestEvent](float("inf"))
        tell = self._on_event

        def on_event(event: IngestEvent) -> None:
            send.send_nowait(event)
            if tell is not None:
                tell(event)

        async def run() -> None:
            with send:
                await self.run()

        self._on_event = on_event
        with receive:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                yield receive
                tasks.cancel_scope.cancel()

    async def _work(self, pending: Iterator[Item], waits: anyio.abc.TaskGroup) -> None:
        while not self._is_stopping and (item := next(pending, None)) is not None:
            self._taken += 1
            running = _Running(item, ItemState(item.key, is_fetched=item.url is not None), anyio.current_time())
            await self._go(running, until_waiting=True)
            if not running.state.stage.is_final:
                waits.start_soon(self._go, running)

    async def _go(self, running: _Running, *, until_waiting: bool = False) -> None:
        """Take an item through its steps: to the end, or to where only waiting is left."""
        asset: Asset | None = None
        while (step := next_step(running.state)) is not None and not (until_waiting and isinstance(step, WaitReady)):
            try:
                match step:
                    case Create():
                        await self._create(running)
                    case Send():
                        await self._send(running)
                    case WaitReady():
                        asset = await self._wait(running, step)
                    case Reconcile():
                        # A run of this form begins at the beginning, so nothing can have been created before it.
                        self._move(running, NothingCreated())
            except MuxError as error:
                self._die(running, error)
        if running.state.stage.is_final:
            self._finish(running, asset)

    async def _create(self, running: _Running) -> None:
        item, video = running.item, self._client.video
        settings = dict(item.settings)
        if not _POLICIES & settings.keys():
            settings["playback_policies"] = self._policies
        if item.path is not None:
            await anyio.to_thread.run_sync(_check_unchanged, item)
        self._move(running, Began())
        if item.url is not None:
            asset = await video.assets.create(
                inputs=[{"url": item.url.reveal()}], extra_body=settings | ({"test": True} if self._test else {})
            )
            self._move(running, AssetCreated(asset.id))
            return
        upload = await video.uploads.create(
            new_asset_settings=settings, timeout=self._upload_timeout, test=True if self._test else UNSET
        )
        running.upload = upload
        self._move(running, UploadCreated(upload.id))

    async def _send(self, running: _Running) -> None:
        item, upload = running.item, running.upload
        assert item.path is not None  # noqa: S101 - items without a path are fetched
        assert upload is not None  # noqa: S101 - set when it was created
        size = item.size or 0

        def on_progress(progress: UploadProgress) -> None:
            state = progress.state
            if state is not None and state != running.state.upload:
                self._move(running, BytesMoved(state))
            self._tell(ItemProgress(item, progress.sent, size))

        self._move(running, Began())
        try:
            await self._uploads.deliver(upload, item.path, on_progress=on_progress)
        except UploadGoneError:
            logger.info("the upload of %r is gone, a new one is made", item.source)
            self._move(running, SessionLost())
        else:
            self._move(running, BytesSent())

    async def _wait(self, running: _Running, step: WaitReady) -> Asset:
        self._move(running, Began())
        assets = self._client.video.assets
        if step.asset_id is not None:
            asset = await assets.wait_until_ready(step.asset_id, timeout=self._wait_timeout)
        else:
            asset = await assets.wait_for_upload(step.upload_id or "", timeout=self._wait_timeout)
        self._move(running, BecameReady(asset.id))
        return asset

    def _move(self, running: _Running, fact: Fact) -> None:
        running.state = advance(running.state, fact)
        self._tell(ItemMoved(running.item, running.state))

    def _die(self, running: _Running, error: MuxError) -> None:
        if isinstance(error, AssetErroredError):
            running.state = attrs.evolve(running.state, asset_id=error.asset_id)
        self._move(running, Died(ItemError(type(error).__name__, str(error))))
        if isinstance(error, _FATAL):
            self._reason = self._reason or str(error)
            self.stop()

    def _finish(self, running: _Running, asset: Asset | None) -> None:
        item, state = running.item, running.state
        seconds = anyio.current_time() - running.started
        result = ItemResult.of(item, state, asset, seconds=seconds, base_url=self._client.base_url)
        if state.stage is Stage.DONE:
            self._ready += 1
            self._size += item.size or 0
        else:
            self._failed += 1
        if self._results is not None:
            self._results.add(result)
        self._tell(ItemFinished(item, result))

    def _tell(self, event: IngestEvent) -> None:
        if self._on_event is not None:
            self._on_event(event)


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
