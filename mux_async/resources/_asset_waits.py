"""The waiting methods of ``mux.video.assets``: `AssetWaits`, a base class of the generated resource, and its requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from mux_async._resource import Caller, Resource
from mux_async._types import UNSET, Unset
from mux_async.errors import UploadError, quote_sentence

if TYPE_CHECKING:
    from mux_async._asset_poller import AssetPoller, AssetSource, Goal
    from mux_async._pagination import Page
    from mux_async.models import Asset


class _Assets(Protocol):
    """The methods of the generated class that polls use."""

    def retrieve(self, asset_id: str, /) -> Awaitable[Asset]: ...
    def list(
        self, *, limit: int | Unset = ..., cursor: str | Unset = ..., upload_id: str | Unset = ...
    ) -> Awaitable[Page[Asset, Any]]: ...


class _ApiSource:
    """Implements `AssetSource` with the API."""

    __slots__ = ("assets", "caller")

    def __init__(self, assets: _Assets, caller: Caller) -> None:
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
            message = upload.error.message if upload.error is not None and upload.error.message else "no reason given"
            reason = quote_sentence(message)
            raise UploadError(
                f"upload {upload_id!r} is {upload.status} and will not become an asset ({reason}); start a new upload",
                upload_id=upload_id,
                sent=0,
                resumable=False,
            )
        return await self.retrieve(upload.asset_id) if upload.asset_id else None

    async def page(self, cursor: str | None) -> tuple[Sequence[Asset], str | None]:
        from mux_async._asset_poller import PAGE_LIMIT

        page = await self.assets.list(limit=PAGE_LIMIT, cursor=UNSET if cursor is None else cursor)
        return page.data, page.next_cursor or None


class AssetWaits(Resource):
    """The waiting methods of ``mux.video.assets``."""

    async def wait_until_ready(self, asset_id: str, *, timeout: float | None = None) -> Asset:
        """Wait until an asset can be played.

        Any number of tasks may wait. Together they cost one list request per hundred assets and poll (1 s apart at first, up to 10 s while
        nothing changes); a single task costs one GET per poll. A webhook that is passed to `Mux.webhook_received` ends the wait without a
        request. Requests are limited and retried like all others; `Mux.with_options` with ``priority="batch"`` leaves the burst to other
        calls. The client's deadline applies to single calls and not to the wait: use *timeout*. Cancelling leaves nothing behind.

        Args:
            asset_id: The asset.
            timeout: Maximum seconds to wait; ``None`` for no limit.

        Raises:
            AssetErroredError: Mux could not process the asset's input.
            NotFoundError: The asset does not exist, or was deleted during the wait.
            DeadlineExceededError: *timeout* expired; Mux continues to process the asset.
        """
        from mux_async._asset_poller import AssetRef

        return await self._poller.wait(self._source, AssetRef("asset", asset_id), "ready", timeout)

    async def wait_for_upload(self, upload_id: str, *, until: Goal = "ready", timeout: float | None = None) -> Asset:
        """Wait for the asset that Mux creates from a direct upload after its last byte.

        Shares its requests with `wait_until_ready`.

        Args:
            upload_id: The upload.
            until: ``ready`` for a playable asset, ``created`` for an asset in any state (``preparing`` or ``errored`` too).
            timeout: Maximum seconds to wait; ``None`` for no limit.

        Raises:
            UploadError: The upload was cancelled, timed out or failed, so that it will not become an asset.
            AssetErroredError: Mux could not process the uploaded bytes (with ``until="ready"``).
            NotFoundError: The upload does not exist.
            DeadlineExceededError: *timeout* expired.
        """
        from mux_async._asset_poller import AssetRef

        return await self._poller.wait(self._source, AssetRef("upload", upload_id), until, timeout)

    @property
    def _poller(self) -> AssetPoller:
        return poller_of(self._caller)

    @property
    def _source(self) -> AssetSource:
        caller = self._caller.for_long_work
        return _ApiSource(cast("_Assets", type(self)(caller)), caller)  # `self` is always the generated subclass


def _make_poller(_: Caller) -> AssetPoller:
    from mux_async._asset_poller import AssetPoller

    return AssetPoller()


_MAKE_POLLER: Callable[[Caller], AssetPoller] = _make_poller


def poller_of(caller: Caller) -> AssetPoller:
    """Return the poller of a client in the running event loop."""
    return caller.local(_MAKE_POLLER)
