"""What a webhook says about assets that somebody may wait for. Pure: a function of the event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from multidict import CIMultiDict, CIMultiDictProxy

from mux_async._models.model import Model
from mux_async._waiting import News, Subject
from mux_async.errors import NotFoundError, UploadError

if TYPE_CHECKING:
    from mux_async.webhooks._event import Event

_SHOWN_BY: Final = frozenset(
    {
        "video.asset.created",
        "video.asset.errored",
        "video.asset.live_stream_completed",
        "video.asset.ready",
        "video.asset.updated",
    }
)
"""Events that carry the asset as it is. Those about its parts may carry less of it."""


def news_of(event: Event) -> list[tuple[Subject, News]]:
    """Return what *event* says; empty for events that end nobody's wait.

    The asset is the one in the event, read as the API's: the same fields, with times that are written differently
    (facts/BEHAVIOUR.md, section 1.5).
    """
    kind: object = getattr(event, "type", None)
    if not isinstance(kind, str) or not (
        kind.startswith("video.upload.") or kind in _SHOWN_BY or kind == "video.asset.deleted"
    ):
        return []
    data: object = getattr(event, "data", None)  # an event reads itself only when it is asked for that
    if not isinstance(data, Model):
        return []
    wire = data.to_wire()
    if kind.startswith("video.upload."):
        return _of_upload(kind.rpartition(".")[2], wire)
    return _of_asset(kind, wire)


def _of_asset(kind: str, wire: dict[str, object]) -> list[tuple[Subject, News]]:
    from mux_async.models import Asset

    asset_id, upload_id = wire.get("id"), wire.get("upload_id")
    subjects: list[Subject] = []
    if isinstance(asset_id, str):
        subjects.append(Subject("asset", asset_id))
    if isinstance(upload_id, str):
        subjects.append(Subject("upload", upload_id))
    said: News = Asset.from_wire(wire)
    if kind == "video.asset.deleted":
        said = NotFoundError(
            f"asset {asset_id!r} was deleted, as a webhook says",
            status=404,
            type=None,
            messages=(),
            request_id=None,
            headers=CIMultiDictProxy(CIMultiDict()),
            body=None,
            retry_after=None,
        )
    return [(subject, said) for subject in subjects]


def _of_upload(what: str, wire: dict[str, object]) -> list[tuple[Subject, News]]:
    upload_id = wire.get("id")
    if not isinstance(upload_id, str):
        return []
    subject = Subject("upload", upload_id)
    match what:
        case "asset_created":
            return [(subject, None)]  # the asset itself is in no event yet; video.asset.created is about to bring it
        case "cancelled" | "errored":
            error = cast("dict[str, object]", wire.get("error")) if isinstance(wire.get("error"), dict) else {}
            reason = error.get("message") or "no reason given"
            return [
                (
                    subject,
                    UploadError(
                        f"upload {upload_id!r} is {what} and will not become a playable asset ({reason}); start a new upload",
                        upload_id=upload_id,
                        sent=0,
                        resumable=False,
                    ),
                )
            ]
        case _:
            return []
