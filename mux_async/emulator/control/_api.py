"""The control API below ``/_emulator``: calls that Mux does not have, without tokens and rate limits.

The table in ``docs/emulator.md`` lists them.

Shots manifests, usage exports and files made by Robots are downloaded from here too, by URLs from API responses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import attrs
import orjson

from mux_async import __version__
from mux_async.emulator._settings import RobotsPlan
from mux_async.emulator.control import _handles
from mux_async.emulator.faults._faults import Faults, WebhookFaults, WorkFaults
from mux_async.emulator.faults._faults_file import read_faults, read_webhook_faults, read_work_faults
from mux_async.emulator.http._messages import Request, Response, invalid, json_response, no_content, not_found
from mux_async.emulator.live import _encoders, _spaces
from mux_async.emulator.resources import _shots, _uploads, _usage
from mux_async.emulator.robots import _effects
from mux_async.emulator.routing._exchange import Arrival
from mux_async.emulator.routing._router import ApiCall
from mux_async.emulator.state._records import Delivery
from mux_async.emulator.state._state import Environment, Json, LiveStream, State
from mux_async.emulator.validation._validation import BOOLEAN, STRING, choice, members, validated
from mux_async.emulator.webhooks._events import asset_warning

CONTROL_PREFIX = "_emulator"
"""First part of the path."""


@attrs.frozen
class ControlCall:
    """One control call, with the parts of the emulator that it may read and change."""

    state: State
    faults: Faults
    arrivals: Iterable[Arrival]
    reset: Callable[[], None]
    request: Request
    body: bytes = b""


Handler: TypeAlias = Callable[[ControlCall], Response | None]
"""Returns the response; ``None`` stands for a 204."""


def is_download(request: Request) -> bool:
    """Whether the request follows a URL from an API response. Mux serves these files from public hosts."""
    return request.method == "GET" and request.segments[1:2] in {("exports",), ("shots",), ("robots",), ("usage-exports",)}


def control(call: ControlCall, body: bytes) -> Response:
    """Respond to a request below ``/_emulator``. Raises `ApiError` (400, 404 or 412)."""
    parts = call.request.segments[1:]
    for (method, template), handler in _HANDLERS.items():
        names = template.split("/")
        fits = len(names) == len(parts) and all(name in {"*", part} for name, part in zip(names, parts, strict=True))
        if fits and method == call.request.method:
            response = handler(attrs.evolve(call, body=body))
            return no_content() if response is None else response
    raise not_found()


def _arrivals(call: ControlCall) -> Response:
    ordered = sorted(call.arrivals, key=lambda arrival: arrival.at)
    return json_response(200, {"arrivals": [attrs.asdict(arrival) for arrival in ordered]})


def _list_uploads(call: ControlCall) -> Response:
    uploads = [
        {
            "id": upload.id,
            "status": upload.status,
            "asset_id": upload.asset_id,
            "size": upload.session.size,
            "crc32": f"{upload.session.crc:08x}",
            "is_complete": upload.session.is_complete,
        }
        for environment in call.state.environments.values()
        for upload in environment.uploads.values()
    ]
    return json_response(200, {"uploads": uploads})


def _open_upload(call: ControlCall) -> Response:
    """Create a direct upload as the API does, but without a token and its rate limit: by default in the first environment, public."""
    schema = members(environment=STRING, title={"type": "string", "maxLength": 512}, policy=choice("public", "signed"))
    given = validated(call.body, schema)
    environment = _handles.environment_named(call.state, given.get("environment"))
    settings: Json = {"playback_policies": [given.get("policy", "public")]}
    if given.get("title"):
        settings["meta"] = {"title": given["title"]}
    body = orjson.dumps({"new_asset_settings": settings})
    return _uploads.create(ApiCall(call.request, body, {}, call.state, environment))


def _events(call: ControlCall) -> Response:
    return json_response(200, {"events": [orjson.loads(event.body) for event in call.state.events]})


def _one_event(call: ControlCall) -> Response:
    found = next((event for event in call.state.events if event.id == call.request.segments[2]), None)
    if found is None:
        raise not_found()
    return json_response(200, orjson.loads(found.body))


def _one_delivery(call: ControlCall) -> Response:
    found = call.state.deliveries.get(call.request.segments[2])
    if found is None:
        raise not_found()
    return json_response(200, _delivery(found))


def _delivery(delivery: Delivery) -> Mapping[str, Any]:
    return {
        "id": delivery.id,
        "event_id": delivery.event.id,
        "type": delivery.event.type,
        "object": {"type": delivery.event.object_type, "id": delivery.event.object_id},
        "environment": delivery.event.environment,
        "event_at": delivery.event.at,
        "webhook_id": delivery.endpoint_id,
        "address": delivery.address,
        "status": delivery.status,
        "next_at": delivery.next_at,
        "attempts": [attrs.asdict(attempt) for attempt in delivery.attempts],
    }


FaultList: TypeAlias = Faults | WebhookFaults | WorkFaults


def _adding(read: Callable[[object], list[Any]], faults: Callable[[ControlCall], FaultList]) -> Handler:
    def handle(call: ControlCall) -> None:
        try:
            given = orjson.loads(call.body)
        except ValueError:
            raise invalid("The request body is not valid JSON") from None
        try:
            faults(call).add(*read(given))
        except ValueError as error:
            raise invalid(str(error)) from error

    return handle


def _clearing(faults: Callable[[ControlCall], FaultList]) -> Handler:
    return lambda call: faults(call).clear()


def _connect(call: ControlCall) -> None:
    given = validated(call.body, members(protocol=choice("rtmp", "srt"), silent=BOOLEAN))
    protocol, silent = given.get("protocol", "rtmp"), given.get("silent", False)
    _encoders.connect(call.state, *_stream(call), protocol=protocol, silent=silent)


def _stream(call: ControlCall) -> tuple[Environment, LiveStream]:
    return _handles.find_stream(call.state, call.request.segments[2])


def _fail_target(call: ControlCall) -> None:
    severity = validated(call.body, members(severity=choice("normal", "fatal"))).get("severity", "normal")
    _encoders.fail_target(call.state, *_stream(call), call.request.segments[4], severity)


def _update_target(call: ControlCall) -> None:
    changes = validated(call.body, members(url=STRING, stream_key=STRING, passthrough=STRING))
    known: dict[str, str] = {name: changes[name] for name in ("url", "stream_key", "passthrough") if name in changes}
    _encoders.update_target(call.state, *_stream(call), call.request.segments[4], known)


def _warn(call: ControlCall) -> None:
    given = validated(call.body, members(type=STRING, message=STRING))
    warning = given.get("type", "custom_slate_unavailable"), given.get("message", "Something is odd")
    asset_warning(call.state, *call.state.find_asset(call.request.segments[2]), *warning)


def _announce_traffic(call: ControlCall) -> None:
    given = validated(call.body, members(threshold={"type": "number", "minimum": 0}, environment=STRING))
    environment = _handles.environment_named(call.state, given.get("environment"))
    _usage.announce_traffic(call.state, environment, given.get("threshold", 0.0))


def _accept_robots_terms(call: ControlCall) -> None:
    _handles.accept_robots_terms(call.state, validated(call.body, members(environment=STRING)).get("environment"))


def _set_robots_plan(call: ControlCall) -> None:
    workflow_names = {"type": "array", "items": choice(*_effects.WORKFLOWS)}
    schema = members(units={"type": "integer", "minimum": 0}, workflows=workflow_names, environment=STRING)
    given = validated(call.body, schema)
    workflows = tuple(given["workflows"]) if "workflows" in given else None
    _handles.set_robots_plan(call.state, given.get("environment"), RobotsPlan(given.get("units"), workflows))


def _participant(change: Callable[[State, str, str], None]) -> Handler:
    def handle(call: ControlCall) -> None:
        body = validated(call.body, members(["participant"], participant=STRING))
        change(call.state, call.request.segments[2], body["participant"])

    return handle


def _manifest(call: ControlCall) -> Response:
    _, asset = call.state.find_asset(call.request.segments[2].removesuffix(".json"))
    return json_response(200, _shots.manifest(asset))


_FAULTS: Mapping[str, tuple[Callable[[object], list[Any]], Callable[[ControlCall], FaultList]]] = {
    "faults": (read_faults, lambda call: call.faults),
    "webhooks/faults": (read_webhook_faults, lambda call: call.state.webhook_faults),
    "work/faults": (read_work_faults, lambda call: call.state.work_faults),
}
_HANDLERS: Mapping[tuple[str, str], Handler] = {
    ("GET", "health"): lambda call: json_response(200, {"status": "ok", "version": __version__, "now": call.state.now}),
    ("GET", "arrivals"): _arrivals,
    ("GET", "uploads"): _list_uploads,
    ("POST", "uploads"): _open_upload,
    ("GET", "events"): _events,
    ("GET", "events/*"): _one_event,
    ("GET", "deliveries/*"): _one_delivery,
    ("GET", "webhooks"): lambda call: json_response(200, {"webhooks": [*map(_delivery, call.state.deliveries.values())]}),
    ("POST", "live-streams/*/connect"): _connect,
    ("POST", "live-streams/*/disconnect"): lambda call: _encoders.disconnect(call.state, *_stream(call)),
    ("POST", "live-streams/*/simulcast-targets/*/fail"): _fail_target,
    ("POST", "live-streams/*/simulcast-targets/*/update"): _update_target,
    ("POST", "assets/*/warning"): _warn,
    ("POST", "delivery/high-traffic"): _announce_traffic,
    ("POST", "robots/terms"): _accept_robots_terms,
    ("POST", "robots/plan"): _set_robots_plan,
    ("POST", "spaces/*/join"): _participant(_spaces.join),
    ("POST", "spaces/*/leave"): _participant(_spaces.leave),
    ("GET", "shots/*"): _manifest,
    ("GET", "robots/*/*"): lambda call: _effects.download(call.state, *call.request.segments[2:4]),
    ("GET", "usage-exports/*/*"): lambda call: _usage.download_export(call.request, call.state),
    ("POST", "reset"): lambda call: call.reset(),
    **{("POST", path): _adding(*of) for path, of in _FAULTS.items()},
    **{("DELETE", path): _clearing(faults) for path, (_, faults) in _FAULTS.items()},
}
