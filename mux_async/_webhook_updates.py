"""Read the state of assets from webhook events, for tasks that wait for those assets. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from multidict import CIMultiDict, CIMultiDictProxy

from mux_async._asset_poller import AssetRef, Update
from mux_async._models.model import Model
from mux_async.errors import NotFoundError, UploadError

if TYPE_CHECKING:
    from mux_async.webhooks._event import Event

_WITH_WHOLE_ASSET: Final = frozenset(
    {
        "video.asset.created",
        "video.asset.errored",
        "video.asset.live_stream_completed",
        "video.asset.ready",
        "video.asset.updated",
    }
)
"""Events that contain the whole asset. Events about parts of an asset may contain less of it."""


def webhook_updates(event: Event) -> list[tuple[AssetRef, Update]]:
    """Return the updates in *event*; empty if it cannot end a wait.

    The asset in the event has the same fields as the API's asset; only its times have another format (facts/BEHAVIOUR.md, section 1.5).
    """
    kind: object = getattr(event, "type", None)
    if not isinstance(kind, str) or not (
        kind.startswith("video.upload.") or kind in _WITH_WHOLE_ASSET or kind == "video.asset.deleted"
    ):
        return []
    data: object = getattr(event, "data", None)  # after the type: this decodes the event
    if not isinstance(data, Model):
        return []
    wire = data.to_wire()
    if kind.startswith("video.upload."):
        return _from_upload(kind.rpartition(".")[2], wire)
    return _from_asset(kind, wire)


def _from_asset(kind: str, wire: dict[str, object]) -> list[tuple[AssetRef, Update]]:
    from mux_async.models import Asset

    asset_id, upload_id = wire.get("id"), wire.get("upload_id")
    refs: list[AssetRef] = []
    if isinstance(asset_id, str):
        refs.append(AssetRef("asset", asset_id))
    if isinstance(upload_id, str):
        refs.append(AssetRef("upload", upload_id))
    update: Update = Asset.from_wire(wire)
    if kind == "video.asset.deleted":
        update = NotFoundError(
            f"asset {asset_id!r} was deleted, according to a webhook",
            status=404,
            type=None,
            messages=(),
            request_id=None,
            headers=CIMultiDictProxy(CIMultiDict()),
            body=None,
            retry_after=None,
        )
    return [(ref, update) for ref in refs]


def _from_upload(state: str, wire: dict[str, object]) -> list[tuple[AssetRef, Update]]:
    upload_id = wire.get("id")
    if not isinstance(upload_id, str):
        return []
    ref = AssetRef("upload", upload_id)
    if state == "asset_created":
        return [(ref, None)]  # this event does not contain the asset; video.asset.created follows with it
    if state not in {"cancelled", "errored"}:
        return []
    error = cast("dict[str, object]", wire.get("error")) if isinstance(wire.get("error"), dict) else {}
    reason = error.get("message") or "no reason given"
    message = f"upload {upload_id!r} is {state} and will not become a playable asset ({reason}); start a new upload"
    return [(ref, UploadError(message, upload_id=upload_id, sent=0, resumable=False))]
