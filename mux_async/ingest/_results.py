"""What became of each item: a value, and a file with one line of JSON for each.

A line is written with one call to the operating system when its item is finished, to a file opened for appending: however a run ends,
the lines that are there are whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import attrs

from mux_async._operation import Host
from mux_async.errors import InvalidRequestError
from mux_async.ingest._items import Item
from mux_async.ingest.machine import ItemError, ItemState, Stage

if TYPE_CHECKING:
    from typing import Self

    from mux_async.models import Asset


@attrs.frozen
class ItemResult:
    """What became of one item.

    Attributes:
        source: The path, or the URL without its query.
        key: Of the item; the asset's ``meta.external_id``.
        status: ``ready``, or ``failed``.
        asset_id: The asset; also of a failed item, when it got that far.
        upload_id: The upload; ``None`` for URLs.
        playback_ids: Policy by playback id.
        playback_urls: Of the public playback ids; the others need a signed token.
        bytes: Size of the file; ``None`` for URLs.
        seconds: From the create call to the ready asset, or to the failure.
        duration: Seconds of media; ``None`` when failed.
        error: Why it failed.
    """

    source: str
    key: str
    status: Literal["ready", "failed"]
    asset_id: str | None
    upload_id: str | None
    playback_ids: Mapping[str, str]
    playback_urls: tuple[str, ...]
    bytes: int | None
    seconds: float
    duration: float | None
    error: ItemError | None

    @classmethod
    def of(cls, item: Item, state: ItemState, asset: Asset | None, *, seconds: float, base_url: str) -> ItemResult:
        """Sum up a finished item."""
        playback_ids = (asset.playback_ids or []) if asset is not None else []
        return cls(
            source=item.source,
            key=item.key,
            status="ready" if state.stage is Stage.DONE else "failed",
            asset_id=state.asset_id,
            upload_id=state.upload_id,
            playback_ids={each.id: each.policy for each in playback_ids},
            playback_urls=tuple(playback_url(base_url, each.id) for each in playback_ids if each.policy == "public"),
            bytes=item.size,
            seconds=round(seconds, 3),
            duration=asset.duration if asset is not None else None,
            error=state.error,
        )

    def to_dict(self) -> dict[str, object]:
        """Return JSON members."""
        members: dict[str, object] = attrs.asdict(self)
        members["playback_ids"] = dict(self.playback_ids)
        return members


def playback_url(base_url: str, playback_id: str) -> str:
    """Return the address of the stream: at Mux, or at *base_url* when that is a server of one's own."""
    origin = Host.STREAM.value if base_url == Host.API.value else base_url
    return f"{origin}/{playback_id}.m3u8"


_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
"""Windows would write other line breaks than JSON lines have, but for the last."""


class ResultFile:
    """The result file, open for adding lines.

    Args:
        path: Created if need be; what is in it stays.

    Raises:
        InvalidRequestError: It cannot be written to.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self._descriptor = os.open(self.path, _FLAGS, 0o644)
        except OSError as error:
            raise InvalidRequestError(
                f"the result file {str(path)!r} cannot be written ({error.strerror}): name another one, in a folder that exists"
            ) from error
        self._end_last_line()

    def _end_last_line(self) -> None:
        """Put a line break after a line that another program, or a full disk, left unfinished."""
        size = os.fstat(self._descriptor).st_size
        if size:
            os.lseek(self._descriptor, size - 1, os.SEEK_SET)
            if os.read(self._descriptor, 1) != b"\n":
                os.write(self._descriptor, b"\n")

    def add(self, result: ItemResult) -> None:
        """Write one line."""
        line = json.dumps(result.to_dict()).encode() + b"\n"
        while line:
            line = line[os.write(self._descriptor, line) :]

    def close(self) -> None:
        """Close the file. Any number of times."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()
