"""The requests of a poll of live streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mux_async._poller import PAGE_LIMIT
from mux_async._resource import Caller
from mux_async._types import UNSET, Unset

if TYPE_CHECKING:
    from mux_async.models import Asset, LiveStream


class ApiSource:
    """Requests live streams and assets with the options of one client, without its deadline, which applies to the user's calls."""

    def __init__(self, caller: Caller) -> None:
        from mux_async.resources.video_assets import VideoAssets
        from mux_async.resources.video_live_streams import VideoLiveStreams

        self._streams = VideoLiveStreams(caller)
        self._assets = VideoAssets(caller)

    async def stream(self, stream_id: str) -> LiveStream:
        """Return a live stream."""
        return await self._streams.retrieve(stream_id)

    async def streams(self, page: int, status: str | Unset = UNSET) -> list[LiveStream]:
        """Return a page of live streams, newest first."""
        return (await self._streams.list(page=page, limit=PAGE_LIMIT, status=status)).data

    async def asset(self, asset_id: str) -> Asset:
        """Return an asset."""
        return await self._assets.retrieve(asset_id)

    async def newest_assets(self) -> list[Asset]:
        """Return the newest hundred assets."""
        return (await self._assets.list(limit=PAGE_LIMIT)).data
