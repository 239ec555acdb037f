"""The emulator's own corner of its origin, under ``/_emulator``: nothing of Mux's, nothing rate-limited, no token needed.

======  =============================================  =======================================================================
GET     health                                         that it runs, its version and the time
GET     arrivals                                       the log of requests, in order of arrival
GET     uploads                                        what is stored of every upload
GET     events, events/{ID}                            what happened, oldest first, as it would be sent; one of them
GET     webhooks, deliveries/{ID}                      the log of webhook deliveries; one of them
GET     api/{PATH}                                     what a GET of the API answers, without a token or its limits; the page asks
POST    webhooks/faults                                set up faults of deliveries: a `WebhookFault` as JSON, or a list of them
DELETE  webhooks/faults                                forget them
POST    work/faults                                    set up faults of what Mux works on: a `WorkFault` as JSON, or a list of them
DELETE  work/faults                                    forget them
POST    faults                                         set up faults of requests: a `Fault` as JSON, or a list of them
DELETE  faults                                         forget them
POST    live-streams/{ID or STREAM KEY}/connect        let an encoder connect: ``{"protocol": "rtmp", "silent": false}``, all optional
POST    live-streams/{ID or STREAM KEY}/disconnect     let it drop out
POST    live-streams/{..}/simulcast-targets/{ID}/fail  let a target fail: ``{"severity": "normal"}``
POST    live-streams/{..}/simulcast-targets/../update  change one: ``{"url": "...", "stream_key": "..."}`` or ``passthrough``
POST    assets/{ID}/warning                            warn about it: ``{"type": "...", "message": "..."}``, both optional
POST    delivery/high-traffic                          say that much is played: ``{"threshold": 60, "environment": "..."}``, both optional
POST    spaces/{ID}/join, spaces/{ID}/leave            let ``{"participant": "..."}`` in or out
POST    uploads                                        create one without a token: ``{"title": "..."}``, optional; the page does
POST    reset                                          forget everything
======  =============================================  =======================================================================

Shots manifests, usage exports and what Robots offer for a while are downloaded from here too; their URLs come from the API.
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
from mux_async.emulator.state._state import World
from mux_async.emulator.validation._shapes import choice, flag, members, number, string, validated

CONTROL_PREFIX = "_emulator"
"""First part of the path."""


@attrs.frozen
class Desk:
    """One control call, and what it reaches: the account, and what belongs to the run."""

    world: World
    faults: Faults
    arrivals: Iterable[Arrival]
    reset: Callable[[], None]
    request: Request
    body: bytes = b""


Act: TypeAlias = Callable[[Desk], Response]


def is_download(request: Request) -> bool:
    """Whether a URL out of an answer of the API is followed: Mux has those files on hosts that are open to everybody."""
    return request.method == "GET" and request.segments[1:2] in {("shots",), ("robots",), ("usage-exports",)}


def control(desk: Desk, body: bytes) -> Response:
    """Answer a request below ``/_emulator``; the head of this module has the list.

    Raises:
        ApiError: 400, 404 or 412.
    """
    parts = desk.request.segments[1:]
    for (method, template), act in _ACTS.items():
        names = template.split("/")
        fits = len(names) == len(parts) and all(name in {"*", part} for name, part in zip(names, parts, strict=True))
        if fits and method == desk.request.method:
            return act(attrs.evolve(desk, body=body))
    raise not_found()


def _health(desk: Desk) -> Response:
    return json_response(200, {"status": "ok", "version": __version__, "now": desk.world.now})


def _arrivals(desk: Desk) -> Response:
    ordered = sorted(desk.arrivals, key=lambda arrival: arrival.at)
    return json_response(200, {"arrivals": [attrs.asdict(arrival) for arrival in ordered]})


def _uploads(desk: Desk) -> Response:
    uploads = [
        {
            "id": upload.id,
            "status": upload.status,
            "asset_id": upload.asset_id,
            "size": upload.session.size,
            "crc32": f"{upload.session.crc:08x}",
            "is_complete": upload.session.is_complete,
        }
        for environment in desk.world.environments.values()
        for upload in environment.uploads.values()
    ]
    return json_response(200, {"uploads": uploads})


def _open_upload(desk: Desk) -> Response:
    return _page_calls.open_upload(desk.world, desk.request, desk.body)


def _events(desk: Desk) -> Response:
    return json_response(200, {"events": [orjson.loads(event.body) for event in desk.world.events]})


def _one_event(desk: Desk) -> Response:
    found = next((event for event in desk.world.events if event.id == desk.request.segments[2]), None)
    if found is None:
        raise not_found()
    return json_response(200, orjson.loads(found.body))


def _one_delivery(desk: Desk) -> Response:
    found = desk.world.deliveries.get(desk.request.segments[2])
    if found is None:
        raise not_found()
    return json_response(200, _delivery(found))


def _deliveries(desk: Desk) -> Response:
    return json_response(200, {"webhooks": [_delivery(delivery) for delivery in desk.world.deliveries.values()]})


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


def _add_webhook_faults(desk: Desk) -> Response:
    try:
        desk.world.webhook_faults.add(*read_webhook_faults(_json(desk.body)))
    except ValueError as error:
        raise invalid(str(error)) from error
    return no_content()


def _clear_webhook_faults(desk: Desk) -> Response:
    desk.world.webhook_faults.clear()
    return no_content()


def _add_work_faults(desk: Desk) -> Response:
    try:
        desk.world.work_faults.add(*read_work_faults(_json(desk.body)))
    except ValueError as error:
        raise invalid(str(error)) from error
    return no_content()


def _clear_work_faults(desk: Desk) -> Response:
    desk.world.work_faults.clear()
    return no_content()


def _add_faults(desk: Desk) -> Response:
    try:
        desk.faults.add(*read_faults(_json(desk.body)))
    except ValueError as error:
        raise invalid(str(error)) from error
    return no_content()


def _clear_faults(desk: Desk) -> Response:
    desk.faults.clear()
    return no_content()


def _connect(desk: Desk) -> Response:
    given = validated(desk.body, members(protocol=choice("rtmp", "srt"), silent=flag()))
    protocol, silent = given.get("protocol", "rtmp"), given.get("silent", False)
    _handles.connect_encoder(desk.world, desk.request.segments[2], protocol=protocol, silent=silent)
    return no_content()


def _disconnect(desk: Desk) -> Response:
    _handles.disconnect_encoder(desk.world, desk.request.segments[2])
    return no_content()


def _fail_target(desk: Desk) -> Response:
    severity = validated(desk.body, members(severity=choice("normal", "fatal"))).get("severity", "normal")
    _handles.fail_target(desk.world, desk.request.segments[2], desk.request.segments[4], severity)
    return no_content()


def _update_target(desk: Desk) -> Response:
    changes = validated(desk.body, members(url=string(), stream_key=string(), passthrough=string()))
    known: dict[str, str] = {name: changes[name] for name in ("url", "stream_key", "passthrough") if name in changes}
    _handles.update_target(desk.world, desk.request.segments[2], desk.request.segments[4], known)
    return no_content()


def _warn(desk: Desk) -> Response:
    given = validated(desk.body, members(type=string(), message=string()))
    said = given.get("type", "custom_slate_unavailable"), given.get("message", "Something is odd")
    _handles.warn(desk.world, desk.request.segments[2], *said)
    return no_content()


def _announce_traffic(desk: Desk) -> Response:
    given = validated(desk.body, members(threshold=number(0), environment=string()))
    _handles.announce_traffic(desk.world, given.get("environment"), given.get("threshold", 0.0))
    return no_content()


def _accept_robots_terms(desk: Desk) -> Response:
    _handles.accept_robots_terms(desk.world, validated(desk.body, members(environment=string())).get("environment"))
    return no_content()


def _join(desk: Desk) -> Response:
    _spaces.join(
        desk.world,
        desk.request.segments[2],
        validated(desk.body, members(["participant"], participant=string()))["participant"],
    )
    return no_content()


def _leave(desk: Desk) -> Response:
    _spaces.leave(
        desk.world,
        desk.request.segments[2],
        validated(desk.body, members(["participant"], participant=string()))["participant"],
    )
    return no_content()


def _manifest(desk: Desk) -> Response:
    wanted = desk.request.segments[2].removesuffix(".json")
    for environment in desk.world.environments.values():
        if wanted in environment.assets:
            return json_response(200, _shots.manifest(environment.assets[wanted]))
    raise not_found()


def _robot_file(desk: Desk) -> Response:
    return _effects.download(desk.world, desk.request.segments[2], desk.request.segments[3])


def _export(desk: Desk) -> Response:
    return _usage.download_export(desk.request, desk.world)


def _reset(desk: Desk) -> Response:
    desk.reset()
    return no_content()


_ACTS: Mapping[tuple[str, str], Act] = {
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
