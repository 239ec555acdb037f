"""How an asset looks in a notebook: a thumbnail, a link to a player, and its state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Protocol

from mux_async.errors import InvalidRequestError
from mux_async.playback._url_builder import build_url, player_url


class ShownId(Protocol):
    """The fields of a playback id that a notebook shows."""

    @property
    def id(self) -> str:
        """The id."""
        ...

    @property
    def policy(self) -> str | None:
        """Who may play it."""
        ...


class Shown(Protocol):
    """The fields of an asset that a notebook shows."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def status(self) -> str:
        """Its state."""
        ...

    @property
    def duration(self) -> float | None:
        """Seconds."""
        ...

    @property
    def playback_ids(self) -> Sequence[ShownId] | None:
        """The ids it plays by."""
        ...


def asset_html(asset: Shown) -> str:
    """Return what Jupyter shows. The thumbnail and the player are Mux's, and only of public playback ids: others need a token."""
    return f"<div>{''.join(_preview(asset))}<p><code>{escape(asset.id)}</code> {escape(', '.join(_facts(asset)))}</p></div>"


def _facts(asset: Shown) -> Iterator[str]:
    yield str(asset.status)
    if asset.duration is not None:
        yield f"{asset.duration} s"
    for playback_id in asset.playback_ids or ():
        yield f"{playback_id.policy} playback id {playback_id.id}"


def _preview(asset: Shown) -> Iterator[str]:
    for playback_id in asset.playback_ids or ():
        if playback_id.policy == "public" and asset.status == "ready":
            try:
                player = player_url(playback_id.id)
                image = build_url(playback_id.id, "public", "image", "/thumbnail.jpg", "thumbnail", {"width": 320})
            except InvalidRequestError:  # an id that does not belong in a URL
                continue
            yield f'<a href="{escape(player)}"><img src="{escape(image)}" width="320" alt="thumbnail"></a>'
            return
