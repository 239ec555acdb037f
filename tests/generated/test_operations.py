"""Every operation of the facts, through the real method of a real client: what it sends, and what it gives back."""

from __future__ import annotations

import base64
import inspect
import typing
import warnings
from collections.abc import Iterable
from contextlib import nullcontext
from datetime import UTC, datetime
from operator import attrgetter
from random import Random
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import uuid4

import attrs
import pytest

from codegen import Json
from mux_async import LimitSettings, Model, Mux, RawResponse, models, params
from mux_async.models import AssetMetadata, InputSettings
from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.transport import HttpResponse
from tests.generated import spec
from tests.generated.spec import Operation

OMITTED = {"video.web_inputs.create": {"id", "created_at", "status"}}
"""Body members that are sent as extra_body only; codegen/overlays/operations.toml says why."""


each_operation = pytest.mark.parametrize("operation", spec.operations(), ids=lambda operation: operation.id)


def test_count() -> None:
    """The facts hold 218 operations, and each has a method of its own name."""
    mux = client(FakeTransport())

    methods = [attrgetter(operation.id)(mux) for operation in spec.operations()]

    assert len({operation.id for operation in spec.operations()}) == 218
    assert sum(callable(method) for method in methods) == 218


@pytest.mark.anyio
@pytest.mark.runtimes("asyncio")  # what is sent depends on the arguments alone
@each_operation
@pytest.mark.filterwarnings("ignore::mux_async.errors.DeprecatedArgumentWarning")  # every member is passed
async def test_round_trip(operation: Operation) -> None:
    """A call sends the method, path, query and body of the facts to the right host with the right credentials, and what comes back is
    typed, with unknown fields and values too."""
    random = Random(operation.id)
    path, keywords = arguments(operation, random)
    status, kind, schema = operation.answer
    answer = spec.make(schema, random) if kind == "application/json" else None
    transport = FakeTransport(lambda _request: respond_with(status, kind, answer))
    async with client(transport) as mux:
        with warned(operation):
            value = await call(mux, operation, path, keywords)

    assert transport.unfinished == 0
    (request,) = transport.requests
    check_request(request, operation, path, keywords)
    check_value(value, operation, answer)


@pytest.mark.anyio
@pytest.mark.runtimes("asyncio")  # what is sent depends on the arguments alone
@each_operation
@pytest.mark.filterwarnings("ignore::mux_async.errors.DeprecatedArgumentWarning")  # every member is passed
async def test_raw(operation: Operation) -> None:
    """With `with_raw_response` the same value comes in the answer it arrived in."""
    random = Random(operation.id)
    path, keywords = arguments(operation, random)
    status, kind, schema = operation.answer
    answer = spec.make(schema, random) if kind == "application/json" else None
    transport = FakeTransport(lambda _request: respond_with(status, kind, answer))
    async with client(transport) as mux:
        with warned(operation):
            group, _, name = operation.id.rpartition(".")
            raw: RawResponse[Any] = await getattr(attrgetter(group)(mux).with_raw_response, name)(*path, **keywords)

    assert (raw.status, raw.request_id, len(raw.attempts)) == (status, "r1", 1)
    check_value(raw.value, operation, answer)


REPLAY = {"GET": "safe", "PUT": "idempotent", "PATCH": "idempotent", "DELETE": "idempotent", "POST": "never"}


def bucket_of(operation: Operation) -> str:
    if operation.path.startswith("/data/v1"):
        is_realtime = operation.path.startswith(("/data/v1/monitoring", "/data/v1/realtime"))
        return "realtime-data" if is_realtime else "general-data"
    return "post" if operation.verb == "POST" else "other"


@each_operation
def test_data(operation: Operation) -> None:
    """Bucket, replay class, pagination, host and deprecation of the constants are those of the facts."""
    group, _, name = operation.id.rpartition(".")
    module = __import__(f"mux_async.resources.{group.replace('.', '_')}", fromlist=["_"])
    constant = getattr(module, name.upper())

    assert (constant.id, constant.method, constant.path) == (operation.id, operation.verb, operation.path)
    assert constant.host.value == operation.raw["x-host"]
    assert constant.pagination.value == operation.raw["x-pagination"]["style"]
    if operation.raw["x-rate-limit-bucket"] == "none":
        assert constant.bucket is None
    else:
        assert constant.bucket == bucket_of(operation)
    exceptions = {
        "video.uploads.create": "harmless",
        "video.live_streams.complete": "never",
        "video.web_inputs.launch": "never",
        "video.web_inputs.reload": "never",
    }
    assert constant.replay == exceptions.get(operation.id, REPLAY[operation.verb])
    assert bool(constant.deprecated) == bool(operation.raw.get("deprecated") or operation.raw.get("x-legacy"))


@each_operation
def test_docstring(operation: Operation) -> None:
    """Every method says in words what it does, then which request it is."""
    method = attrgetter(operation.id)(client(FakeTransport()))
    text = inspect.getdoc(method) or ""

    assert f"``{operation.verb} " in text
    assert "Unknown outcome: " in text
    first = text.splitlines()[0]
    assert first.endswith(".")
    assert operation.path not in first


def client(transport: FakeTransport) -> Mux:
    return Mux(
        token_id="id",
        token_secret="secret",
        base_url="https://api.mux.com",
        transport=transport,
        account=f"generated-{uuid4()}",
        limits=LimitSettings(enabled=False),
    )


async def call(mux: Mux, operation: Operation, path: list[str], keywords: Json) -> Any:
    return await attrgetter(operation.id)(mux)(*path, **keywords)


def warned(operation: Operation) -> Any:
    is_old = operation.raw.get("deprecated") or operation.raw.get("x-legacy")
    return pytest.warns(DeprecationWarning, match="Mux ") if is_old else nullcontext()


def respond_with(status: int, kind: str | None, answer: Any) -> HttpResponse:
    headers = {"X-Request-Id": "r1"}
    if kind is None:
        return respond(status, headers=headers)
    if kind == "application/json":
        return respond(status, json=answer, headers=headers)
    return respond(status, body="WEBVTT →".encode(), headers={**headers, "Content-Type": kind})


def arguments(operation: Operation, random: Random) -> tuple[list[str], Json]:
    """Make up every argument: path parameters in order, the others by name."""
    by_name = {parameter["name"]: parameter["schema"] for parameter in operation.parameters}
    texts = [str(spec.make(by_name[name], random, is_answer=False)) for name in spec.path_names(operation.path)]
    path = ["".join(letter for letter in text if letter.isalnum() or letter in "-_") or "x" for text in texts]
    keywords: Json = {}
    for parameter in operation.parameters:
        if parameter["in"] == "query":
            made: Any = spec.make(parameter["schema"], random, is_answer=False)
            if parameter["schema"].get("x-time") and random.random() < 0.5:
                made = datetime.fromtimestamp(made, UTC)
            if spec.is_list(made) and random.random() < 0.3:
                made = made[0]
            keywords[parameter["name"].removesuffix("[]")] = made
    for name, member in (operation.body or {}).get("properties", {}).items():
        if name not in OMITTED.get(operation.id, set()):
            keywords[name] = typed(spec.make(member, random, is_answer=False), member, random)
    return path, keywords


def typed(made: Any, schema: Json, random: Random) -> Any:
    """Put a body value in one of the forms that a user may: models or mappings, tuples or lists, moments or seconds."""
    if spec.is_list(made):
        items = [typed(item, schema["items"], random) for item in made]
        return tuple(items) if random.random() < 0.3 else items
    if spec.is_object(made) and "$ref" in schema and random.random() < 0.6:
        import mux_async.models as models

        name = schema["$ref"].removeprefix(spec.REF)
        found: Any = getattr(models, name)
        return found.from_wire(made) if hasattr(found, "from_wire") else made
    if spec.resolve(schema).get("x-time") and random.random() < 0.5:
        seconds: Any = made
        return datetime.fromtimestamp(seconds, UTC)
    return made


def check_request(request: SentRequest, operation: Operation, path: list[str], keywords: Json) -> None:
    expected = operation.path
    for name, value in zip(spec.path_names(operation.path), path, strict=True):
        expected = expected.replace(f"{{{name}}}", value, 1)
    url = urlsplit(request.url)
    assert (request.method, request.path) == (operation.verb, expected)
    assert f"{url.scheme}://{url.netloc}" == operation.raw["x-host"]
    query = [
        (parameter["name"], text)
        for parameter in operation.parameters
        if parameter["in"] == "query"
        for text in query_texts(keywords[parameter["name"].removesuffix("[]")])
    ]
    assert request.query == query
    is_api = operation.raw["x-host"] == "https://api.mux.com"
    token = base64.b64encode(b"id:secret").decode()
    assert request.headers.get("Authorization") == (f"Basic {token}" if is_api else None)
    if operation.body is None:
        assert request.body is None
        assert "Content-Type" not in request.headers
        return
    body = {
        name: plain(keywords[name]) for name in operation.body["properties"] if name not in OMITTED.get(operation.id, set())
    }
    assert request.json == body
    assert request.headers["Content-Type"] == "application/json"


def query_texts(value: Any) -> Iterable[str]:
    for item in value if spec.is_list(value) else [value]:
        if isinstance(item, bool):
            yield str(item).lower()
        else:
            yield str(int(item.timestamp())) if isinstance(item, datetime) else str(item)


def plain(value: Any) -> Any:
    """Undo `typed`."""
    if isinstance(value, tuple) or spec.is_list(value):
        items: list[Any] = [*value]
        return [plain(item) for item in items]
    if isinstance(value, datetime):
        return int(value.timestamp())
    return value.to_wire() if isinstance(value, Model) else value


def check_value(value: Any, operation: Operation, answer: Any) -> None:
    _status, kind, schema = operation.answer
    if kind is None:
        assert value is None
    elif kind.startswith("text/") or "mpegurl" in kind:
        assert value == "WEBVTT →"
    elif kind != "application/json":
        assert value == "WEBVTT →".encode()
    elif not schema:
        assert value == answer
    else:
        check_json(value, operation, answer, spec.resolve(schema))


def check_json(value: Any, operation: Operation, answer: Json, envelope: Json) -> None:
    members: Json = envelope["properties"]
    if operation.raw["x-pagination"]["style"] != "none":
        spec.check(value.envelope, answer, envelope)
        assert value.envelope.to_wire() == answer
        assert value.data == value.envelope.data
        assert len(value) == len(answer["data"])
    elif members.keys() != {"data"}:
        spec.check(value, answer, envelope)
        assert value.to_wire() == answer
    elif "additionalProperties" in members["data"]:
        assert value is None
    elif members["data"].get("type") == "array":
        spec.check(value, answer["data"], members["data"])
        assert [item.to_wire() for item in value] == answer["data"]
    else:
        spec.check(value, answer["data"], members["data"])
        assert value.to_wire() == answer["data"]


def test_importing_resources_warns_nobody() -> None:
    """Deprecated operations warn when they are called, not when their module is imported or their group is read."""
    mux = client(FakeTransport())
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        group = mux.video.spaces

        assert group.with_raw_response is group.with_raw_response


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("inputs", "sent"),
    [
        ("https://x/a.mp4", [{"url": "https://x/a.mp4"}]),
        (
            ["https://x/a", {"url": "https://x/b", "type": "text"}],
            [{"url": "https://x/a"}, {"url": "https://x/b", "type": "text"}],
        ),
        ((InputSettings(url="https://x/a.mp4", start_time=None),), [{"url": "https://x/a.mp4", "start_time": None}]),
    ],
    ids=["text", "list", "models"],
)
async def test_url_shorthand(inputs: Any, sent: object) -> None:
    """A URL alone, or among inputs, stands for an input with nothing but that URL."""
    transport = FakeTransport(lambda _request: respond(201, json={"data": {"id": "a1"}}))
    async with client(transport) as mux:
        await mux.video.assets.create(inputs=inputs)

    assert transport.requests[0].json == {"inputs": sent}


@pytest.mark.anyio
async def test_extras() -> None:
    """Headers, query parameters and body members without a name here are sent too, and win over what has one."""
    transport = FakeTransport(lambda _request: respond(201, json={"data": {"id": "a1"}}))
    async with client(transport) as mux:
        await mux.video.uploads.create(
            timeout=60,
            new_asset_settings={"meta": AssetMetadata(title=None)},
            extra_headers={"X-Trace": "t"},
            extra_query={"dry": True},
            extra_body={"timeout": 90, "mood": None},
        )

    (request,) = transport.requests
    assert request.headers["X-Trace"] == "t"
    assert request.query == [("dry", "true")]
    assert request.json == {"timeout": 90, "new_asset_settings": {"meta": {"title": None}}, "mood": None}


@pytest.mark.anyio
async def test_left_out_and_null() -> None:
    """What is not passed is not sent; None is sent as null; nothing at all is an empty object."""
    transport = FakeTransport(lambda _request: respond(201, json={"data": {"id": "l1"}}))
    async with client(transport) as mux:
        await mux.video.live_streams.create()
        await mux.video.live_streams.create(passthrough=cast("Any", None))

    assert [request.json for request in transport.requests] == [{}, {"passthrough": None}]


@pytest.mark.anyio
async def test_stream_of_a_download() -> None:
    """An image can be read piece by piece, without credentials."""
    transport = FakeTransport(lambda _request: respond(200, body=[b"GIF", b"89a"]))
    async with client(transport) as mux, mux.video.playback.animated("p1", "gif", fps=5).stream() as stream:
        pieces = [piece async for piece in stream]

    assert b"".join(pieces) == b"GIF89a"
    assert "Authorization" not in transport.requests[0].headers


def test_groups_are_made_once() -> None:
    """A group is made on first use, and is the same one afterwards."""
    mux = client(FakeTransport())

    assert mux.video.assets is mux.video.assets
    assert mux.robots.jobs.summarize is mux.robots.jobs.summarize
    assert mux.data.engagement.videos is mux.data.engagement.videos


def test_params() -> None:
    """Every typed dict has the members of its class, and its annotations can be evaluated: pydantic and others take it as a type."""
    dicts = {name: kind for name, kind in vars(params).items() if typing.is_typeddict(kind)}
    assert len(dicts) > 50
    for name, kind in dicts.items():
        fields = {field.metadata.get("wire", field.name) for field in attrs.fields(getattr(models, name.removesuffix("Param")))}
        assert typing.get_type_hints(kind).keys() == fields - {"extra"}
