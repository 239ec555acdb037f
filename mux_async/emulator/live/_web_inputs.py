"""``/video/v1/web-inputs``: a web page that is recorded and sent to a live stream (legacy).

Launching takes a while. Then the page streams as an encoder does, until it is shut down or its timeout ends.
"""

from __future__ import annotations

from typing import Any

from mux_async.emulator.http._messages import Response, created, data, invalid, no_content
from mux_async.emulator.live import _encoders
from mux_async.emulator.resources._asset_options import check_url
from mux_async.emulator.resources._collections import list_route, retrieve_route
from mux_async.emulator.routing._router import ApiCall, Route
from mux_async.emulator.state._records import WebInput
from mux_async.emulator.state._serialization import present
from mux_async.emulator.state._state import Environment, State

_PATH, _ID = "/video/v1/web-inputs", "WEB_INPUT_ID"
LAUNCH = 5.0
"""Seconds from launching to streaming."""
DEFAULT_TIMEOUT = 3600


def _web_input(call: ApiCall) -> WebInput:
    return call.environment.one(call.environment.web_inputs, call.params[_ID])


def _create(call: ApiCall) -> Response:
    body = call.json("CreateWebInputRequest")
    for name in ("url", "live_stream_id"):
        if not body.get(name):
            raise invalid(f"{name} is required")
    check_url(body["url"])
    call.environment.live_stream(body["live_stream_id"])
    state = call.state
    members: Any = {key: body[key] for key in ("auto_launch", "passthrough", "resolution", "timeout") if key in body}
    web_input = WebInput(*state.identity("web input"), body["url"], body["live_stream_id"], **members)
    call.environment.web_inputs[web_input.id] = web_input
    if web_input.auto_launch:
        _launch(state, call.environment, web_input)
    return created(present(web_input))


def _launch(state: State, environment: Environment, web_input: WebInput) -> None:
    web_input.session += 1
    web_input.status = "launching"
    state.work(LAUNCH, "web_input.launched", environment, f"{web_input.id}/{web_input.session}")
    timeout = float(DEFAULT_TIMEOUT if web_input.timeout is None else web_input.timeout)
    state.wait(timeout, "web_input.timed_out", environment, f"{web_input.id}/{web_input.session}")


def _shut_down(state: State, environment: Environment, web_input: WebInput) -> None:
    was_streaming = web_input.status == "streaming"
    web_input.session += 1
    web_input.status = "idle"
    stream = environment.live_streams.get(web_input.live_stream_id)
    if was_streaming and stream is not None and stream.ingest.connected:
        _encoders.disconnect(state, environment, stream)


def run_web_input_step(state: State, environment: Environment, name: str, subject: str) -> None:
    """Run a step that was planned for a launch. It has no effect if that was shut down."""
    web_input_id, _, session = subject.partition("/")
    web_input = environment.web_inputs.get(web_input_id)
    if web_input is None or str(web_input.session) != session:
        return
    if name == "web_input.timed_out":
        _shut_down(state, environment, web_input)
        return
    stream = environment.live_streams.get(web_input.live_stream_id)
    if stream is None or stream.status == "disabled" or stream.ingest.connected:
        web_input.status = "idle"  # no live stream takes the page
        return
    web_input.status = "streaming"
    _encoders.connect(state, environment, stream)


def _delete(call: ApiCall) -> Response:
    web_input = _web_input(call)
    if web_input.status != "idle":
        raise invalid("a web input has to be shut down before it is deleted")
    del call.environment.web_inputs[web_input.id]
    return no_content()


def _start(call: ApiCall) -> Response:
    web_input = _web_input(call)
    if web_input.status != "idle":
        raise invalid(f"a web input that is {web_input.status} cannot be launched")
    _launch(call.state, call.environment, web_input)
    return data({})


def _reload(call: ApiCall) -> Response:
    if _web_input(call).status != "streaming":
        raise invalid("only a web input that is streaming can be reloaded")
    return data({})


def _shutdown(call: ApiCall) -> Response:
    _shut_down(call.state, call.environment, _web_input(call))
    return data({})


def _update_url(call: ApiCall) -> Response:
    web_input = _web_input(call)
    url = call.json("UpdateWebInputUrlRequest").get("url")
    if not url:
        raise invalid("url is required")
    check_url(url)
    if web_input.status != "idle":
        raise invalid("the url can only be changed while the web input is idle")
    web_input.url = url
    return data(present(web_input))


def _web_inputs(environment: Environment) -> dict[str, WebInput]:
    return environment.web_inputs


_ONE = f"{_PATH}/{{{_ID}}}"
ROUTES = (
    Route("POST", _PATH, _create),
    list_route(_PATH, _web_inputs),
    retrieve_route(_PATH, _ID, _web_inputs),
    Route("DELETE", _ONE, _delete),
    Route("PUT", f"{_ONE}/launch", _start),
    Route("PUT", f"{_ONE}/reload", _reload),
    Route("PUT", f"{_ONE}/shutdown", _shutdown),
    Route("PUT", f"{_ONE}/url", _update_url),
)
