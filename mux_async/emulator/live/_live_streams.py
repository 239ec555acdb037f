"""``/video/v1/live-streams`` (facts/BEHAVIOUR.md, section 6). Encoders are in `mux_async.emulator.live._encoders`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mux_async.emulator.http._messages import Response, created, data, invalid, no_content
from mux_async.emulator.live import _encoders
from mux_async.emulator.resources._asset_lifecycle import add_playback_id, remove_playback_ids
from mux_async.emulator.resources._asset_options import check_drm, check_policy, check_resolutions, check_url, normalized
from mux_async.emulator.routing._router import ApiCall, Handler, Route, check_choice
from mux_async.emulator.state._serialization import live_stream_json, present
from mux_async.emulator.state._state import Environment, Json, LiveStream, SimulcastTarget, State
from mux_async.emulator.webhooks._events import live_event, target_event

_ECHOED = (
    "audio_only",
    "latency_mode",
    "low_latency",
    "max_continuous_duration",
    "meta",
    "passthrough",
    "reconnect_slate_url",
    "reconnect_window",
    "reduced_latency",
    "test",
    "use_slate_for_standard_latency",
)
_SIMULCAST_ID_SIZE = 40


def _latency_mode(body: Json) -> str:
    if "latency_mode" in body:
        mode: str = body["latency_mode"]
        return mode
    return "low" if body.get("low_latency") else "reduced" if body.get("reduced_latency") else "standard"


def _create(call: ApiCall) -> Response:
    body = call.json("CreateLiveStreamRequest")
    _check_urls(body)
    policies = normalized({key: body[key] for key in ("playback_policies", "playback_policy") if key in body})
    members = {key: body[key] for key in _ECHOED if key in body}
    members["latency_mode"] = _latency_mode(body)
    members.setdefault("max_continuous_duration", 43_200)
    if members["latency_mode"] == "standard":
        members.setdefault("reconnect_window", 60)
    stream = LiveStream(
        *call.state.identity("live stream"),
        stream_key=call.state.id_generator.uuid("stream key"),
        srt_passphrase=call.state.id_generator.opaque("passphrase", 32),
        options=normalized(body.get("new_asset_settings") or {}),
        members=members,
    )
    for entry in body.get("advanced_playback_policies", ()):
        check_policy(entry)
    check_drm(call.environment, body.get("advanced_playback_policies", ()))
    check_drm(call.environment, stream.options.get("advanced_playback_policies", ()))
    _set_embedded_subtitles(stream, body)
    _set_generated_subtitles(stream, body)
    for policy in policies.get("playback_policies", ()):
        add_playback_id(call.state, call.environment, stream, {"policy": policy})
    for entry in body.get("advanced_playback_policies", ()):
        add_playback_id(call.state, call.environment, stream, entry)
    for entry in body.get("simulcast_targets", ()):
        _add_simulcast_target(call, stream, entry)
    call.environment.live_streams[stream.id] = stream
    live_event(call.state, call.environment, "created", stream)
    for target in stream.simulcast_targets:
        target_event(call.state, call.environment, "created", stream, target)
    return created(live_stream_json(stream))


def _list(call: ApiCall) -> Response:
    status, key = call.request.query.get("status"), call.request.query.get("stream_key")
    check_choice(status, ("active", "idle", "disabled"), "status")
    found = [
        stream
        for stream in reversed(call.environment.live_streams.values())
        if status in {None, stream.status} and key in {None, stream.stream_key}
    ]
    return data([live_stream_json(stream) for stream in call.page(found)])


def _update(call: ApiCall) -> Response:
    stream = call.live_stream
    body = call.json("UpdateLiveStreamRequest")
    _check_urls(body)
    if body.get("latency_mode", stream.members["latency_mode"]) != stream.members["latency_mode"] and stream.status == "active":
        raise invalid("latency_mode cannot be changed while the live stream is active")
    for key in _ECHOED:
        if key in body:
            stream.members[key] = body[key]
    for key in ("passthrough", "reconnect_slate_url"):
        if stream.members.get(key) == "":  # how a client clears them
            del stream.members[key]
    if "new_asset_settings" in body:
        stream.options = normalized({**stream.options, **body["new_asset_settings"]})
    return _updated(call, stream)


def _updated(call: ApiCall, stream: LiveStream) -> Response:
    live_event(call.state, call.environment, "updated", stream)
    return data(live_stream_json(stream))


def _delete(call: ApiCall) -> Response:
    stream = call.live_stream
    _encoders.end(call.state, call.environment, stream)
    remove_playback_ids(call.environment, stream)
    del call.environment.live_streams[stream.id]
    live_event(call.state, call.environment, "deleted", stream)
    return no_content()


def _encoder_action(act: Callable[[State, Environment, LiveStream], None]) -> Handler:
    def answer(call: ApiCall) -> Response:
        act(call.state, call.environment, call.live_stream)
        return data({})

    return answer


def _reset_stream_key(call: ApiCall) -> Response:
    stream = call.live_stream
    stream.stream_key = call.state.id_generator.uuid("stream key")
    _updated(call, stream)
    return created(live_stream_json(stream))


def _set_subtitles(stream: LiveStream, name: str, entries: Iterable[Json], **defaults: str) -> None:
    """Replace the settings of captions. A name that is not given is that of the language."""
    languages = [(entry.get("language_code", "en"), entry) for entry in entries]
    settings = [{**defaults, "name": language, **entry, "language_code": language} for language, entry in languages]
    if settings:
        stream.members[name] = settings
    else:
        stream.members.pop(name, None)


def _set_embedded_subtitles(stream: LiveStream, body: Json) -> None:
    _set_subtitles(stream, "embedded_subtitles", body.get("embedded_subtitles", ()), language_channel="cc1")


def _set_generated_subtitles(stream: LiveStream, body: Json) -> None:
    _set_subtitles(stream, "generated_subtitles", body.get("generated_subtitles", ()))


def _update_embedded_subtitles(call: ApiCall) -> Response:
    stream = call.live_stream
    _set_embedded_subtitles(stream, call.json("UpdateLiveStreamEmbeddedSubtitlesRequest"))
    return _updated(call, stream)


def _update_generated_subtitles(call: ApiCall) -> Response:
    stream = call.live_stream
    _set_generated_subtitles(stream, call.json("UpdateLiveStreamGeneratedSubtitlesRequest"))
    return _updated(call, stream)


def _update_static_renditions(call: ApiCall) -> Response:
    stream = call.live_stream
    entries = call.json("UpdateLiveStreamNewAssetSettingsStaticRenditionsRequest")["static_renditions"]
    check_resolutions([entry["resolution"] for entry in entries])
    stream.options["static_renditions"] = entries
    return _updated(call, stream)


def _delete_static_renditions(call: ApiCall) -> Response:
    stream = call.live_stream
    stream.options.pop("static_renditions", None)
    _updated(call, stream)
    return no_content()


def _check_urls(body: Json) -> None:
    """Refuse URLs that cannot be ones; an empty slate is how a client removes it. Raises `ApiError` (400)."""
    if slate := body.get("reconnect_slate_url"):
        check_url(slate, "reconnect_slate_url", "https://example.com/slate.png")
    for target in body.get("simulcast_targets", ()):
        check_url(target["url"], example="rtmp://live.example.com/app")


def _add_simulcast_target(call: ApiCall, stream: LiveStream, entry: Json) -> SimulcastTarget:
    target = SimulcastTarget(
        id=call.state.id_generator.id("simulcast target", _SIMULCAST_ID_SIZE),
        url=entry["url"],
        stream_key=entry.get("stream_key"),
        passthrough=entry.get("passthrough"),
    )
    stream.simulcast_targets.append(target)
    return target


def _idle_stream(call: ApiCall) -> LiveStream:
    stream = call.live_stream
    if stream.ingest.connected or stream.status == "active":
        raise invalid("simulcast targets can only be changed while the live stream is idle")
    return stream


def _create_simulcast_target(call: ApiCall) -> Response:
    stream = _idle_stream(call)
    entry = call.json("CreateSimulcastTargetRequest")
    _check_urls({"simulcast_targets": [entry]})
    target = _add_simulcast_target(call, stream, entry)
    target_event(call.state, call.environment, "created", stream, target)
    return created(present(target))


def _delete_simulcast_target(call: ApiCall) -> Response:
    stream = _idle_stream(call)
    target = call.part(stream.simulcast_targets, "SIMULCAST_TARGET_ID")
    stream.simulcast_targets.remove(target)
    target_event(call.state, call.environment, "deleted", stream, target)
    return no_content()


_ONE = "/video/v1/live-streams/{LIVE_STREAM_ID}"
_TARGET = f"{_ONE}/simulcast-targets/{{SIMULCAST_TARGET_ID}}"
ROUTES = (
    Route("POST", "/video/v1/live-streams", _create),
    Route("GET", "/video/v1/live-streams", _list),
    Route("GET", _ONE, lambda call: data(live_stream_json(call.live_stream))),
    Route("PATCH", _ONE, _update),
    Route("DELETE", _ONE, _delete),
    Route("PUT", f"{_ONE}/complete", _encoder_action(_encoders.complete)),
    Route("PUT", f"{_ONE}/enable", _encoder_action(_encoders.enable)),
    Route("PUT", f"{_ONE}/disable", _encoder_action(_encoders.disable)),
    Route("POST", f"{_ONE}/reset-stream-key", _reset_stream_key),
    Route("PUT", f"{_ONE}/embedded-subtitles", _update_embedded_subtitles),
    Route("PUT", f"{_ONE}/generated-subtitles", _update_generated_subtitles),
    Route("PUT", f"{_ONE}/new-asset-settings/static-renditions", _update_static_renditions),
    Route("DELETE", f"{_ONE}/new-asset-settings/static-renditions", _delete_static_renditions),
    Route("POST", f"{_ONE}/simulcast-targets", _create_simulcast_target),
    Route("GET", _TARGET, lambda call: data(present(call.part(call.live_stream.simulcast_targets, "SIMULCAST_TARGET_ID")))),
    Route("DELETE", _TARGET, _delete_simulcast_target),
)
