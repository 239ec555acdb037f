"""The waiting methods of ``mux.video.assets``: `AssetWaits`, a base class of the generated resource, and its requests."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from mux_async._checks import check_choice
from mux_async._resource import Caller, Resource
from mux_async._types import UNSET, Unset
from mux_async.errors import InvalidRequestError, UploadError, quote_sentence

if TYPE_CHECKING:
    from mux_async._goals import AssetState
    from mux_async._pagination import Page
    from mux_async._poller import Goal, Ref
    from mux_async.models import Asset, AssetMaster, StaticRendition, Track

T = TypeVar("T")


class _Assets(Protocol):
    """The methods of the generated class that polls use."""

    def retrieve(self, asset_id: str, /) -> Awaitable[Asset]: ...
    def list(
        self, *, limit: int | Unset = ..., cursor: str | Unset = ..., upload_id: str | Unset = ...
    ) -> Awaitable[Page[Asset, Any]]: ...


class _AssetSource:
    """The requests of a poll. The list contains the upload id of each asset, so uploads need no requests of their own."""

    __slots__ = ("assets", "caller")

    def __init__(self, assets: _Assets, caller: Caller) -> None:
        self.assets = assets
        self.caller = caller

    async def retrieve(self, ref: Ref) -> Asset | None:
        return await (self.assets.retrieve(ref.id) if ref.by == "id" else self._of_upload(ref.id))

    async def _of_upload(self, upload_id: str) -> Asset | None:
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
        return await self.assets.retrieve(upload.asset_id) if upload.asset_id else None

    async def page(self, place: str | int | None) -> tuple[Iterable[tuple[Ref, object]], str | None]:
        from mux_async._poller import PAGE_LIMIT
        from mux_async._webhook_updates import asset_refs

        page = await self.assets.list(limit=PAGE_LIMIT, cursor=UNSET if place is None else str(place))
        rows = [(ref, asset) for asset in page.data for ref in asset_refs(asset.id, asset.upload_id)]
        return rows, page.next_cursor or None


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
        from mux_async._goals import asset_goal

        return await self._wait(asset_id, asset_goal(f"asset {asset_id!r}", "ready"), timeout)

    async def wait_for_upload(self, upload_id: str, *, until: AssetState = "ready", timeout: float | None = None) -> Asset:
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
        from mux_async._goals import asset_goal

        check_choice("until", until, ("created", "ready"))
        if upload_id == "":  # a list without the filter would have the assets of all uploads
            raise InvalidRequestError("upload_id is empty, and it names what the request is about")
        return await self._wait(upload_id, asset_goal(f"the asset of upload {upload_id!r}", until), timeout, by="upload")

    async def wait_for_track(self, asset_id: str, track_id: str, *, timeout: float | None = None) -> Track:
        """Wait until Mux has made a track of an asset: an added one, or generated subtitles.

        Shares its requests with `wait_until_ready`.

        Args:
            asset_id: The asset.
            track_id: The track.
            timeout: Maximum seconds to wait; ``None`` for no limit.

        Returns:
            The track. Its ``status`` is ``ready``, or ``skipped`` if there was nothing to make it of: Mux skips generated subtitles of an
            asset without sound. That is no failure of the input, so it does not raise.

        Raises:
            TrackErroredError: Mux could not make it. Only webhooks say why.
            AssetErroredError: The asset is errored.
            NotFoundError: There is no such asset or track, or it was deleted during the wait.
            DeadlineExceededError: *timeout* expired.
        """
        from mux_async._goals import track_goal

        return await self._wait(asset_id, track_goal(asset_id, track_id), timeout)

    async def wait_for_static_rendition(
        self, asset_id: str, static_rendition_id: str, *, timeout: float | None = None
    ) -> StaticRendition:
        """Wait until a static rendition of an asset can be downloaded.

        Shares its requests with `wait_until_ready`.

        Args:
            asset_id: The asset.
            static_rendition_id: The rendition.
            timeout: Maximum seconds to wait; ``None`` for no limit.

        Returns:
            The rendition. Its ``status`` is ``ready``, or ``skipped`` if the asset does not have what it would be made of, such as a
            picture that large.

        Raises:
            StaticRenditionErroredError: Mux could not make it. Only webhooks say why.
            AssetErroredError: The asset is errored.
            NotFoundError: There is no such asset or rendition, or it was deleted during the wait.
            DeadlineExceededError: *timeout* expired.
        """
        from mux_async._goals import static_rendition_goal

        return await self._wait(asset_id, static_rendition_goal(asset_id, static_rendition_id), timeout)

    async def wait_for_master(self, asset_id: str, *, timeout: float | None = None) -> AssetMaster:
        """Wait until the master file of an asset can be downloaded, after its ``master_access`` was set to ``temporary``.

        Shares its requests with `wait_until_ready`.

        Args:
            asset_id: The asset.
            timeout: Maximum seconds to wait; ``None`` for no limit.

        Returns:
            The master, with its ``url``.

        Raises:
            MasterErroredError: Mux could not make it, or ``master_access`` is ``none``.
            AssetErroredError: The asset is errored.
            NotFoundError: The asset does not exist, or was deleted during the wait.
            DeadlineExceededError: *timeout* expired.
        """
        from mux_async._goals import master_goal

        return await self._wait(asset_id, master_goal(asset_id), timeout)

    async def _wait(self, id: str, goal: Goal[T], timeout: float | None, by: str = "id") -> T:
        from mux_async._poller import Ref
        from mux_async._webhook_updates import ASSETS
        from mux_async.resources._waits import for_polls, wait

        caller = for_polls(self._caller)
        source = _AssetSource(cast("_Assets", type(self)(caller)), caller)  # `self` is always the generated subclass
        return await wait(self._caller, source, Ref(ASSETS, id, by), goal, timeout)
