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
from mux_async.emulator.control import _handles, _page_calls
from mux_async.emulator.faults._faults_file import read_faults, read_webhook_faults, read_work_faults
from mux_async.emulator.faults._request_faults import Faults
from mux_async.emulator.http._messages import Request, Response, invalid, json_response, no_content, not_found
from mux_async.emulator.live import _spaces
from mux_async.emulator.resources import _shots, _usage
from mux_async.emulator.robots import _effects
from mux_async.emulator.routing._exchange import Arrival
from mux_async.emulator.state._records import Delivery
from mux_async.emulator.state._state import State
from mux_async.emulator.validation._validation import BOOLEAN, STRING, choice, members, validated

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


Handler: TypeAlias = Callable[[ControlCall], Response]


def is_download(request: Request) -> bool:
    """Whether the request follows a URL from an API response. Mux serves these files from public hosts."""
    return request.method == "GET" and request.segments[1:2] in {("shots",), ("robots",), ("usage-exports",)}


def control(call: ControlCall, body: bytes) -> Response:
    """Respond to a request below ``/_emulator``.

    Raises:
        ApiError: 400, 404 or 412.
    """
    parts = call.request.segments[1:]
    for (method, template), handler in _HANDLERS.items():
        names = template.split("/")
        fits = len(names) == len(parts) and all(name in {"*", part} for name, part in zip(names, parts, strict=True))
        if fits and method == call.request.method:
            return handler(attrs.evolve(call, body=body))
    raise not_found()


def _health(call: ControlCall) -> Response:
    return json_response(200, {"status": "ok", "version": __version__, "now": call.state.now})


def _arrivals(call: ControlCall) -> Response:
    ordered = sorted(call.arrivals, key=lambda arrival: arrival.at)
    return json_response(200, {"arrivals": [attrs.asdict(arrival) for arrival in ordered]})


def _uploads(call: ControlCall) -> Response:
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
    return _page_calls.open_upload(call.state, call.request, call.body)


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


def _deliveries(call: ControlCall) -> Response:
    return json_response(200, {"webhooks": [_delivery(delivery) for delivery in call.state.deliveries.values()]})


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


def _json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except ValueError:
        raise invalid("The request body is not valid JSON") from None


def _add_webhook_faults(call: ControlCall) -> Response:
    try:
        call.state.webhook_faults.add(*read_webhook_faults(_json(call.body)))
    except ValueError as error:
        raise invalid(str(error)) from error
    return no_content()


def _clear_webhook_faults(call: ControlCall) -> Response:
    call.state.webhook_faults.clear()
    return no_content()


def _add_work_faults(call: ControlCall) -> Response:
    try:
        call.state.work_faults.add(*read_work_faults(_json(call.body)))
    except ValueError as error:
        raise invalid(str(error)) from error
    return no_content()


def _clear_work_faults(call: ControlCall) -> Response:
    call.state.work_faults.clear()
    return no_content()


def _add_faults(call: ControlCall) -> Response:
    try:
        call.faults.add(*read_faults(_json(call.body)))
    except ValueError as error:
        raise invalid(str(error)) from error
    return no_content()


def _clear_faults(call: ControlCall) -> Response:
    call.faults.clear()
    return no_content()


def _connect(call: ControlCall) -> Response:
    given = validated(call.body, members(protocol=choice("rtmp", "srt"), silent=BOOLEAN))
    protocol, silent = given.get("protocol", "rtmp"), given.get("silent", False)
    _handles.connect_encoder(call.state, call.request.segments[2], protocol=protocol, silent=silent)
    return no_content()


def _disconnect(call: ControlCall) -> Response:
    _handles.disconnect_encoder(call.state, call.request.segments[2])
    return no_content()


def _fail_target(call: ControlCall) -> Response:
    severity = validated(call.body, members(severity=choice("normal", "fatal"))).get("severity", "normal")
    _handles.fail_target(call.state, call.request.segments[2], call.request.segments[4], severity)
    return no_content()


def _update_target(call: ControlCall) -> Response:
    changes = validated(call.body, members(url=STRING, stream_key=STRING, passthrough=STRING))
    known: dict[str, str] = {name: changes[name] for name in ("url", "stream_key", "passthrough") if name in changes}
    _handles.update_target(call.state, call.request.segments[2], call.request.segments[4], known)
    return no_content()


def _warn(call: ControlCall) -> Response:
    given = validated(call.body, members(type=STRING, message=STRING))
    said = given.get("type", "custom_slate_unavailable"), given.get("message", "Something is odd")
    _handles.warn(call.state, call.request.segments[2], *said)
    return no_content()


def _announce_traffic(call: ControlCall) -> Response:
    given = validated(call.body, members(threshold={"type": "number", "minimum": 0}, environment=STRING))
    _handles.announce_traffic(call.state, given.get("environment"), given.get("threshold", 0.0))
    return no_content()


def _accept_robots_terms(call: ControlCall) -> Response:
    _handles.accept_robots_terms(call.state, validated(call.body, members(environment=STRING)).get("environment"))
    return no_content()


def _join(call: ControlCall) -> Response:
    _spaces.join(
        call.state,
        call.request.segments[2],
        validated(call.body, members(["participant"], participant=STRING))["participant"],
    )
    return no_content()


def _leave(call: ControlCall) -> Response:
    _spaces.leave(
        call.state,
        call.request.segments[2],
        validated(call.body, members(["participant"], participant=STRING))["participant"],
    )
    return no_content()


def _manifest(call: ControlCall) -> Response:
    wanted = call.request.segments[2].removesuffix(".json")
    for environment in call.state.environments.values():
        if wanted in environment.assets:
            return json_response(200, _shots.manifest(environment.assets[wanted]))
    raise not_found()


def _robot_file(call: ControlCall) -> Response:
    return _effects.download(call.state, call.request.segments[2], call.request.segments[3])


def _export(call: ControlCall) -> Response:
    return _usage.download_export(call.request, call.state)


def _reset(call: ControlCall) -> Response:
    call.reset()
    return no_content()


_HANDLERS: Mapping[tuple[str, str], Handler] = {
    ("GET", "health"): _health,
    ("GET", "arrivals"): _arrivals,
    ("GET", "uploads"): _uploads,
    ("POST", "uploads"): _open_upload,
    ("GET", "events"): _events,
    ("GET", "events/*"): _one_event,
    ("GET", "deliveries/*"): _one_delivery,
    ("GET", "webhooks"): _deliveries,
    ("POST", "webhooks/faults"): _add_webhook_faults,
    ("DELETE", "webhooks/faults"): _clear_webhook_faults,
    ("POST", "work/faults"): _add_work_faults,
    ("DELETE", "work/faults"): _clear_work_faults,
    ("POST", "faults"): _add_faults,
    ("DELETE", "faults"): _clear_faults,
    ("POST", "live-streams/*/connect"): _connect,
    ("POST", "live-streams/*/disconnect"): _disconnect,
    ("POST", "live-streams/*/simulcast-targets/*/fail"): _fail_target,
    ("POST", "live-streams/*/simulcast-targets/*/update"): _update_target,
    ("POST", "assets/*/warning"): _warn,
    ("POST", "delivery/high-traffic"): _announce_traffic,
    ("POST", "robots/terms"): _accept_robots_terms,
    ("POST", "spaces/*/join"): _join,
    ("POST", "spaces/*/leave"): _leave,
    ("GET", "shots/*"): _manifest,
    ("GET", "robots/*/*"): _robot_file,
    ("GET", "usage-exports/*/*"): _export,
    ("POST", "reset"): _reset,
}
