"""``/video/v1/web-inputs``: a web page, filmed and sent to a live stream (legacy).

Launching takes some work, then the page streams as an encoder would, until it is shut down or its timeout is over.
"""

from __future__ import annotations

from typing import Any

from mux_async.emulator.http._messages import Response, created, data, invalid, no_content
from mux_async.emulator.live import _encoders
from mux_async.emulator.routing._router import Call, Route
from mux_async.emulator.state._records import Json, WebInput
from mux_async.emulator.state._serialization import epoch, without_none
from mux_async.emulator.state._state import Environment, World
from mux_async.emulator.validation._described import described

LAUNCH = 5.0
"""Seconds from launching to streaming."""
DEFAULT_TIMEOUT = 3600


def _shown(web_input: WebInput) -> Json:
    return without_none(
        {
            "id": web_input.id,
            "created_at": epoch(web_input.created_at),
            "url": web_input.url,
            "live_stream_id": web_input.live_stream_id,
            "status": web_input.status,
            "auto_launch": web_input.auto_launch,
            "passthrough": web_input.passthrough,
            "resolution": web_input.resolution,
            "timeout": web_input.timeout,
        }
    )


def _web_input(call: Call) -> WebInput:
    return call.environment.one(call.environment.web_inputs, call.params["WEB_INPUT_ID"])


def _create(call: Call) -> Response:
    body = call.json(described("CreateWebInputRequest"))
    for name in ("url", "live_stream_id"):
        if not body.get(name):
            raise invalid(f"{name} is required")
    call.environment.live_stream(body["live_stream_id"])
    world = call.world
    members: Any = {key: body[key] for key in ("auto_launch", "passthrough", "resolution", "timeout") if key in body}
    web_input = WebInput(
        world.mint.id("web input"), world.next_number(), world.now, body["url"], body["live_stream_id"], **members
    )
    call.environment.web_inputs[web_input.id] = web_input
    if web_input.auto_launch:
        _launch(world, call.environment, web_input)
    return created(_shown(web_input))


def _launch(world: World, environment: Environment, web_input: WebInput) -> None:
    web_input.session += 1
    web_input.status = "launching"
    world.work(LAUNCH, "web_input.launched", environment, f"{web_input.id}/{web_input.session}")
    timeout = float(DEFAULT_TIMEOUT if web_input.timeout is None else web_input.timeout)
    world.wait(timeout, "web_input.timed_out", environment, f"{web_input.id}/{web_input.session}")


def _shut_down(world: World, environment: Environment, web_input: WebInput) -> None:
    was_streaming = web_input.status == "streaming"
    web_input.session += 1
    web_input.status = "idle"
    stream = environment.live_streams.get(web_input.live_stream_id)
    if was_streaming and stream is not None and stream.ingest.connected:
        _encoders.disconnect(world, environment, stream)


def run_web_input_step(world: World, environment: Environment, name: str, subject: str) -> None:
    """Do what was planned for a launch; nothing, when it was shut down meanwhile."""
    web_input_id, _, session = subject.partition("/")
    web_input = environment.web_inputs.get(web_input_id)
    if web_input is None or str(web_input.session) != session:
        return
    if name == "web_input.timed_out":
        _shut_down(world, environment, web_input)
        return
    stream = environment.live_streams.get(web_input.live_stream_id)
    if stream is None or stream.status == "disabled" or stream.ingest.connected:
        web_input.status = "idle"  # there is nowhere to send the page to
        return
    web_input.status = "streaming"
    _encoders.connect(world, environment, stream)


def _list(call: Call) -> Response:
    return data([_shown(web_input) for web_input in call.page(list(reversed(call.environment.web_inputs.values())))])


def _retrieve(call: Call) -> Response:
    return data(_shown(_web_input(call)))


def _delete(call: Call) -> Response:
    web_input = _web_input(call)
    if web_input.status != "idle":
        raise invalid("a web input has to be shut down before it is deleted")
    del call.environment.web_inputs[web_input.id]
    return no_content()


def _start(call: Call) -> Response:
    web_input = _web_input(call)
    if web_input.status != "idle":
        raise invalid(f"a web input that is {web_input.status} cannot be launched")
    _launch(call.world, call.environment, web_input)
    return data({})


def _reload(call: Call) -> Response:
    if _web_input(call).status != "streaming":
        raise invalid("only a web input that is streaming can be reloaded")
    return data({})


def _shutdown(call: Call) -> Response:
    _shut_down(call.world, call.environment, _web_input(call))
    return data({})


def _update_url(call: Call) -> Response:
    web_input = _web_input(call)
    url = call.json(described("UpdateWebInputUrlRequest")).get("url")
    if not url:
        raise invalid("url is required")
    if web_input.status != "idle":
        raise invalid("the url can only be changed while the web input is idle")
    web_input.url = url
    return data(_shown(web_input))


_ONE = "/video/v1/web-inputs/{WEB_INPUT_ID}"
ROUTES = (
    Route("POST", "/video/v1/web-inputs", _create),
    Route("GET", "/video/v1/web-inputs", _list),
    Route("GET", _ONE, _retrieve),
    Route("DELETE", _ONE, _delete),
    Route("PUT", f"{_ONE}/launch", _start),
    Route("PUT", f"{_ONE}/reload", _reload),
    Route("PUT", f"{_ONE}/shutdown", _shutdown),
    Route("PUT", f"{_ONE}/url", _update_url),
)
