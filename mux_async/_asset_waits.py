"""Waiting for assets, as ``mux.video.assets`` offers it: the hub of `_waiting`, with the API behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from mux_async._resource import Caller, Resource
from mux_async._types import UNSET
from mux_async.errors import UploadError, quote_sentence

if TYPE_CHECKING:
    from mux_async._waiting import AssetSource, Goal, WaitHub
    from mux_async.models import Asset
    from mux_async.resources.video_assets import VideoAssets


class _ApiSource:
    """The API as the hub wants it."""

    __slots__ = ("assets", "caller")

    def __init__(self, assets: VideoAssets, caller: Caller) -> None:
        self.assets = assets
        self.caller = caller

    async def retrieve(self, asset_id: str) -> Asset:
        return await self.assets.retrieve(asset_id)

    async def of_upload(self, upload_id: str) -> Asset | None:
        from mux_async.resources.video_uploads import VideoUploads

        page = await self.assets.list(upload_id=upload_id, limit=1)
        if page.data:
            return page.data[0]
        upload = await VideoUploads(self.caller).retrieve(upload_id)
        if upload.status in {"errored", "cancelled", "timed_out"}:
            said = upload.error.message if upload.error is not None and upload.error.message else "no reason given"
            reason = quote_sentence(said)
            raise UploadError(
                f"upload {upload_id!r} is {upload.status} and will not become an asset ({reason}); start a new upload",
                upload_id=upload_id,
                sent=0,
                resumable=False,
            )
        return await self.retrieve(upload.asset_id) if upload.asset_id else None

    async def page(self, cursor: str | None) -> tuple[Sequence[Asset], str | None]:
        from mux_async._waiting import PAGE_LIMIT

        page = await self.assets.list(limit=PAGE_LIMIT, cursor=UNSET if cursor is None else cursor)
        return page.data, page.next_cursor or None


def _make_hub(_: Caller) -> WaitHub:
    from mux_async._waiting import WaitHub

    return WaitHub()


class AssetWaits(Resource):
    """Waiting, for the class of ``mux.video.assets``."""

    async def wait_until_ready(self, asset_id: str, *, timeout: float | None = None) -> Asset:
        """Wait until an asset can be played.

        Any number of tasks may wait: together they cost one list request per hundred assets and tick (1 s at first, up to 10 s while
        nothing happens), and a single one costs one GET. A webhook passed to `Mux.webhook_received` ends the wait without any.
        Requests are limited and retried like any other; give `Mux.with_options` ``priority="batch"`` to leave the burst to others. The
        client's deadline is for single calls and does not bound the wait: *timeout* does. Cancelling leaves nothing behind.

        Args:
            asset_id: The asset.
            timeout: Seconds to wait at most; ``None`` for no limit.

        Raises:
            AssetErroredError: Mux could not make the asset of its input.
            NotFoundError: There is no such asset, or it was deleted meanwhile.
            DeadlineExceededError: *timeout* ran out; the asset goes on being made.
        """
        from mux_async._waiting import Subject

        return await self._hub.wait(self._source, Subject("asset", asset_id), "ready", timeout)

    async def wait_for_upload(self, upload_id: str, *, until: Goal = "ready", timeout: float | None = None) -> Asset:
        """Wait for the asset that a direct upload becomes after its last byte.

        Shares its requests with `wait_until_ready`: both are seen on the same list.

        Args:
            upload_id: The upload.
            until: ``ready`` for a playable asset, ``created`` for any (it may still be ``preparing``, or ``errored``).
            timeout: Seconds to wait at most; ``None`` for no limit.

        Raises:
            UploadError: The upload was cancelled, timed out or failed, so that there will be no asset.
            AssetErroredError: Mux could not make an asset of the bytes (with ``until="ready"``).
            NotFoundError: There is no such upload.
            DeadlineExceededError: *timeout* ran out.
        """
        from mux_async._waiting import Subject

        return await self._hub.wait(self._source, Subject("upload", upload_id), until, timeout)

    @property
    def _hub(self) -> WaitHub:
        return hub_of(self._caller)

    @property
    def _source(self) -> AssetSource:
        # This class is a base of the generated one, and only that one is ever made.
        caller = self._caller.for_long_work
        return _ApiSource(cast("VideoAssets", type(self)(caller)), caller)


_MAKE_HUB: Callable[[Caller], WaitHub] = _make_hub


def hub_of(caller: Caller) -> WaitHub:
    """Return the hub of a client in the running event loop."""
    return caller.local(_MAKE_HUB)
