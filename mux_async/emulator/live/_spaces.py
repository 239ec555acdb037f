"""``/video/v1/spaces`` and their broadcasts: rooms for video calls, which Mux ended in 2023 (legacy).

There are no calls here: control calls or the Python handle let participants join and leave. A broadcast sends the space to a live stream,
as an encoder does. Which changes send ``video.space.updated`` is not documented; here it is adding or deleting a broadcast.
"""

from __future__ import annotations

from typing import Any

from mux_async.emulator.http._messages import Response, created, data, invalid, no_content, not_found
from mux_async.emulator.live import _encoders
from mux_async.emulator.resources._collections import list_route, retrieve_route
from mux_async.emulator.routing._router import ApiCall, Route
from mux_async.emulator.state._records import Broadcast, Json, Space
from mux_async.emulator.state._serialization import present
from mux_async.emulator.state._state import Environment, State
from mux_async.emulator.webhooks._events import emit


def space_json(space: Space) -> Json:
    """A space."""
    broadcasts = [present(broadcast) for broadcast in space.broadcasts]
    return {**present(space), **({"broadcasts": broadcasts} if broadcasts else {})}


def _space_event(state: State, environment: Environment, name: str, space: Space) -> None:
    emit(state, environment, f"video.space.{name}", ("space", space.id), space_json(space))


def _broadcast_event(state: State, environment: Environment, name: str, broadcast: Broadcast) -> None:
    emit(state, environment, f"video.space.broadcast.{name}", ("broadcast", broadcast.id), present(broadcast))


def _find(state: State, space_id: str) -> tuple[Environment, Space]:
    found = state.find(_spaces, space_id)
    if found is None:
        raise not_found()
    return found


def _spaces(environment: Environment) -> dict[str, Space]:
    return environment.spaces


def join(state: State, space_id: str, participant: str) -> None:
    """Let a participant join a space of any environment: `ApiError` 404 without the space, 400 if it has one of that name (section 8.2)."""
    environment, space = _find(state, space_id)
    if participant in space.participants:
        raise invalid(f"the participant {participant} is already in the space")
    space.participants.append(participant)
    if space.status == "idle":
        space.status, space.active_session_id = "active", state.id_generator.id("session")
        _space_event(state, environment, "active", space)


def leave(state: State, space_id: str, participant: str) -> None:
    """Let a participant leave. Raises `ApiError`: 404 without such a space, 400 without such a participant."""
    environment, space = _find(state, space_id)
    if participant not in space.participants:
        raise invalid(f"the participant {participant} is not in the space")
    space.participants.remove(participant)
    if not space.participants:
        _close(state, environment, space)


def _close(state: State, environment: Environment, space: Space) -> None:
    for broadcast in space.broadcasts:
        _stop(state, environment, broadcast)
    if space.status == "active":
        space.status, space.active_session_id = "idle", None
        _space_event(state, environment, "idle", space)


def _stop(state: State, environment: Environment, broadcast: Broadcast) -> None:
    if broadcast.status != "active":
        return
    broadcast.status = "idle"
    stream = environment.live_streams.get(broadcast.live_stream_id)
    if stream is not None and stream.ingest.connected:
        _encoders.disconnect(state, environment, stream)
    _broadcast_event(state, environment, "idle", broadcast)


def _space(call: ApiCall) -> Space:
    return call.environment.one(call.environment.spaces, call.params["SPACE_ID"])


def _new_broadcast(call: ApiCall, entry: Json) -> Broadcast:
    call.environment.live_stream(entry["live_stream_id"])
    members: Any = {key: entry[key] for key in ("layout", "resolution", "background", "passthrough") if key in entry}
    return Broadcast(call.state.id_generator.id("broadcast"), entry["live_stream_id"], **members)


def _create(call: ApiCall) -> Response:
    body = call.json("CreateSpaceRequest")
    state = call.state
    broadcasts = [_new_broadcast(call, entry) for entry in body.get("broadcasts", ())]
    space = Space(
        *state.identity("space"),
        type=body.get("type", "server"),
        passthrough=body.get("passthrough"),
        broadcasts=broadcasts,
    )
    call.environment.spaces[space.id] = space
    _space_event(state, call.environment, "created", space)
    for broadcast in broadcasts:
        _broadcast_event(state, call.environment, "created", broadcast)
    return created(space_json(space))


def _delete(call: ApiCall) -> Response:
    space = _space(call)
    space.participants.clear()
    _close(call.state, call.environment, space)
    del call.environment.spaces[space.id]
    _space_event(call.state, call.environment, "deleted", space)
    return no_content()


def _create_broadcast(call: ApiCall) -> Response:
    space = _space(call)
    broadcast = _new_broadcast(call, call.json("CreateBroadcastRequest"))
    space.broadcasts.append(broadcast)
    _broadcast_event(call.state, call.environment, "created", broadcast)
    _space_event(call.state, call.environment, "updated", space)
    return created(present(broadcast))


def _delete_broadcast(call: ApiCall) -> Response:
    space = _space(call)
    broadcast = call.part(space.broadcasts, "BROADCAST_ID")
    _stop(call.state, call.environment, broadcast)
    space.broadcasts.remove(broadcast)
    _broadcast_event(call.state, call.environment, "deleted", broadcast)
    _space_event(call.state, call.environment, "updated", space)
    return no_content()


def _start_broadcast(call: ApiCall) -> Response:
    broadcast = call.part(_space(call).broadcasts, "BROADCAST_ID")
    if broadcast.status == "active":
        raise invalid("the broadcast is already active")
    stream = call.environment.live_stream(broadcast.live_stream_id)
    _encoders.connect(call.state, call.environment, stream)
    broadcast.status = "active"
    _broadcast_event(call.state, call.environment, "active", broadcast)
    return data({})


def _stop_broadcast(call: ApiCall) -> Response:
    _stop(call.state, call.environment, call.part(_space(call).broadcasts, "BROADCAST_ID"))
    return data({})


_PATH = "/video/v1/spaces"
_ONE = f"{_PATH}/{{SPACE_ID}}"
_BROADCAST = f"{_ONE}/broadcasts/{{BROADCAST_ID}}"
ROUTES = (
    Route("POST", _PATH, _create),
    list_route(_PATH, _spaces, space_json),
    retrieve_route(_PATH, "SPACE_ID", _spaces, space_json),
    Route("DELETE", _ONE, _delete),
    Route("POST", f"{_ONE}/broadcasts", _create_broadcast),
    Route("GET", _BROADCAST, lambda call: data(present(call.part(_space(call).broadcasts, "BROADCAST_ID")))),
    Route("DELETE", _BROADCAST, _delete_broadcast),
    Route("POST", f"{_BROADCAST}/start", _start_broadcast),
    Route("POST", f"{_BROADCAST}/stop", _stop_broadcast),
)
