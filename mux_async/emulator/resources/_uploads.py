"""``/video/v1/uploads``: the API side of direct uploads (facts/BEHAVIOUR.md, section 5.1)."""

from __future__ import annotations

from urllib.parse import urlencode

from mux_async.emulator.http._messages import Response, created, data, invalid
from mux_async.emulator.resources._asset_lifecycle import create_asset
from mux_async.emulator.resources._asset_options import check_drm, normalized
from mux_async.emulator.routing._router import ApiCall, Route
from mux_async.emulator.state._serialization import origin_of, upload_json
from mux_async.emulator.state._state import Environment, State, Upload
from mux_async.emulator.state._upload_sessions import UploadSession
from mux_async.emulator.webhooks._events import asset_event, upload_event

UPLOAD_PREFIX = "_upload"
"""First part of the path of upload URLs."""
PURPOSE = "upload url"
"""Of the key that signs upload URLs."""
DEFAULT_TIMEOUT = 3600


def upload_url(state: State, upload: Upload) -> str:
    """The URL the bytes are PUT to: signed, and an open session at once."""
    expires = int(upload.created_at + upload.timeout)
    sign = state.id_generator.signature
    signature, session = sign(PURPOSE, f"{upload.id}.{expires}"), sign(PURPOSE, f"{upload.id}.0")[:40]
    query = urlencode({"Expires": expires, "Signature": signature, "upload_id": session})
    return f"{upload.origin}/{UPLOAD_PREFIX}/{upload.id}?{query}"


def complete(state: State, environment: Environment, upload: Upload) -> None:
    """The last byte is here: the asset exists from now on."""
    asset = create_asset(
        state, environment, upload.options, ingest_type="on_demand_direct_upload", upload=upload, test=upload.test
    )
    upload.status, upload.asset_id = "asset_created", asset.id
    # The upload's event comes first, if only just: facts/BEHAVIOUR.md, section 4.3.
    upload_event(state, environment, "asset_created", upload, "")
    asset_event(state, environment, "created", asset)


def run_upload_step(_: State, environment: Environment, name: str, subject: str) -> None:
    """Run the step ``upload.timed_out``, the only one of uploads."""
    del name
    upload = environment.uploads.get(subject)
    if upload is not None and upload.status == "waiting":
        upload.status = "timed_out"
        upload.session.discard()


def _shown(call: ApiCall, upload: Upload) -> Response:
    return data(upload_json(upload, upload_url(call.state, upload)))


def _upload(call: ApiCall) -> Upload:
    return call.environment.one(call.environment.uploads, call.params["UPLOAD_ID"])


def create(call: ApiCall) -> Response:
    """Answer ``POST /video/v1/uploads``."""
    body = call.json("CreateUploadRequest")
    options = normalized(body.get("new_asset_settings") or {})
    check_drm(call.environment, options.get("advanced_playback_policies", ()))
    inputs = options.get("inputs", ())
    if inputs and "url" in inputs[0]:
        raise invalid("new_asset_settings.inputs[0].url must not be set: the upload is the first input")
    state = call.state
    upload_id, folder = state.id_generator.id("upload"), state.settings.upload_folder
    upload = Upload(
        id=upload_id,
        number=state.next_number(),
        created_at=state.now,
        timeout=body.get("timeout", DEFAULT_TIMEOUT),
        options=options,
        session=UploadSession(None if folder is None else folder / upload_id),
        origin=origin_of(call.request, state),
        cors_origin=body.get("cors_origin"),
        test=body.get("test", False),
    )
    call.environment.uploads[upload_id] = upload
    state.wait(upload.timeout, "upload.timed_out", call.environment, upload_id)
    url = upload_url(state, upload)
    upload_event(state, call.environment, "created", upload, url)
    return created(upload_json(upload, url))


def _list(call: ApiCall) -> Response:
    found = call.page(list(reversed(call.environment.uploads.values())))
    return data([upload_json(upload, upload_url(call.state, upload)) for upload in found])


def _cancel(call: ApiCall) -> Response:
    upload = _upload(call)
    if upload.status != "waiting":
        raise invalid(f"an upload that is {upload.status} cannot be cancelled")
    upload.status = "cancelled"
    upload.session.discard()
    upload_event(call.state, call.environment, "cancelled", upload, "")
    return _shown(call, upload)


ROUTES = (
    Route("POST", "/video/v1/uploads", create),
    Route("GET", "/video/v1/uploads", _list),
    Route("GET", "/video/v1/uploads/{UPLOAD_ID}", lambda call: _shown(call, _upload(call))),
    Route("PUT", "/video/v1/uploads/{UPLOAD_ID}/cancel", _cancel),
)
