"""Five frameworks, one suite: each with its real application, fed through ASGI or, for aiohttp, over a socket.

The endpoint gets raw bytes, refuses what is too large before reading it, lets no forgery through, and answers what the router says.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeAlias

import anyio
import anyio.lowlevel
import attrs
import pytest

from mux_async.webhooks import WebhookEvent, WebhookRouter
from mux_async.webhooks.events import AssetEvent
from tests.webhooks.samples import NOW, SECRET, body_of, headers_of

pytestmark = [pytest.mark.anyio, pytest.mark.runtimes("asyncio")]

PATH = "/webhooks/mux"
BOUND = 20_000
CHUNK = 8_000


@attrs.define
class Got:
    """A response, and how many bytes of the body were read."""

    status: int
    text: str
    read: int


class Post(Protocol):
    """Sends a request to the endpoint, and disconnects when *hang_up* is set."""

    def __call__(
        self, chunks: Sequence[bytes], headers: dict[str, str], method: str = "POST", hang_up: anyio.Event | None = None, /
    ) -> Awaitable[Got]: ...


Serve: TypeAlias = Callable[..., AbstractAsyncContextManager[Post]]
"""Takes the router and whether a middleware of the framework reads the body before it."""


def asgi(app: Any) -> Post:
    """Return what POSTs to an ASGI application, chunk by chunk as they are asked for."""

    async def post(
        chunks: Sequence[bytes], headers: dict[str, str], method: str = "POST", hang_up: anyio.Event | None = None
    ) -> Got:
        waiting, got = list(chunks), Got(0, "", 0)
        is_answered = anyio.Event()

        async def receive() -> dict[str, Any]:
            if not waiting:
                await (is_answered if hang_up is None else hang_up).wait()
                return {"type": "http.disconnect"}
            chunk = waiting.pop(0)
            got.read += len(chunk)
            return {"type": "http.request", "body": chunk, "more_body": bool(waiting)}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                got.status = message["status"]
            else:
                got.text += message.get("body", b"").decode()
                if not message.get("more_body"):
                    is_answered.set()

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 40_000),
            "server": ("example.com", 443),
            "extensions": {},
            "state": {},
        }
        with anyio.fail_after(20):
            await app(scope, receive, send)
        return got

    return post


@asynccontextmanager
async def starlette(hooks: WebhookRouter, reads_before: bool = False) -> AsyncGenerator[Post]:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.routing import Route

    from mux_async.webhooks.starlette import endpoint

    async def read_body(request: Any, call_next: Any) -> Any:
        assert await request.body()
        return await call_next(request)

    middleware = [Middleware(BaseHTTPMiddleware, dispatch=read_body)] if reads_before else []
    yield asgi(Starlette(routes=[Route(PATH, endpoint(hooks), methods=["POST"])], middleware=middleware))


@asynccontextmanager
async def fastapi(hooks: WebhookRouter, reads_before: bool = False) -> AsyncGenerator[Post]:
    from fastapi import Depends, FastAPI
    from starlette.requests import Request

    from mux_async.webhooks.starlette import endpoint

    async def read_body(request: Request) -> None:
        assert await request.body()

    read_body.__annotations__["request"] = Request  # FastAPI finds no names of this function
    app = FastAPI(dependencies=[Depends(read_body)] if reads_before else [])
    app.post(PATH, response_model=None)(endpoint(hooks))
    yield asgi(app)


@asynccontextmanager
async def litestar(hooks: WebhookRouter, reads_before: bool = False) -> AsyncGenerator[Post]:
    from litestar import Litestar

    from mux_async.webhooks.litestar import endpoint

    async def read_body(request: Any) -> None:
        assert await request.body()

    yield asgi(Litestar([endpoint(hooks, PATH)], before_request=read_body if reads_before else None))


@asynccontextmanager
async def django(hooks: WebhookRouter, reads_before: bool = False) -> AsyncGenerator[Post]:
    from django.conf import settings

    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["*"],
            ROOT_URLCONF="tests.webhooks.test_frameworks",
            SECRET_KEY="tests",
            MIDDLEWARE=["django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware"],
            LOGGING_CONFIG=None,
            DATA_UPLOAD_MAX_MEMORY_SIZE=100,
        )
    import django as package
    from django.core.handlers.asgi import ASGIHandler
    from django.test import override_settings
    from django.urls import path

    from mux_async.webhooks.django import endpoint

    package.setup(set_prefix=False)
    urls = type("Urls", (), {"urlpatterns": [path(PATH[1:], endpoint(hooks))]})
    middleware = [*settings.MIDDLEWARE, *(["tests.webhooks.test_frameworks.read_body_in_django"] if reads_before else [])]
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=middleware, DATA_UPLOAD_MAX_MEMORY_SIZE=5000 if reads_before else 100):
        yield asgi(ASGIHandler())


def read_body_in_django(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A middleware; Django imports it by its name."""

    def middleware(request: Any) -> Any:
        assert request.body
        return get_response(request)

    return middleware


@asynccontextmanager
async def quart(hooks: WebhookRouter, reads_before: bool = False) -> AsyncGenerator[Post]:
    from quart import Quart, request

    from mux_async.webhooks.quart import endpoint

    app = Quart("app")

    async def read_body() -> None:
        assert await request.get_data()

    if reads_before:
        app.before_request(read_body)
    app.add_url_rule(PATH, view_func=endpoint(hooks), methods=["POST"])
    yield asgi(app)


@asynccontextmanager
async def aiohttp(hooks: WebhookRouter, reads_before: bool = False) -> AsyncGenerator[Post]:
    from aiohttp import ClientSession, ClientTimeout, web
    from aiohttp.test_utils import TestServer

    from mux_async.webhooks.aiohttp_web import endpoint

    @web.middleware
    async def read_body(request: web.Request, handler: Any) -> web.StreamResponse:
        assert await request.read()
        answer: web.StreamResponse = await handler(request)
        return answer

    app = web.Application(middlewares=[read_body] if reads_before else [])
    app.router.add_post(PATH, endpoint(hooks))
    async with TestServer(app) as server, ClientSession(timeout=ClientTimeout(total=20)) as session:

        async def post(
            chunks: Sequence[bytes], headers: dict[str, str], method: str = "POST", hang_up: anyio.Event | None = None
        ) -> Got:
            read = 0

            async def stream() -> AsyncIterator[bytes]:
                nonlocal read
                for chunk in chunks:
                    read += len(chunk)
                    yield chunk

            got = Got(0, "", 0)

            async def send() -> None:
                data = stream() if method == "POST" else None
                async with session.request(method, server.make_url(PATH), data=data, headers=headers) as response:
                    got.status, got.text, got.read = response.status, await response.text(), read
                tasks.cancel_scope.cancel()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send)
                if hang_up is not None:
                    await hang_up.wait()
                    tasks.cancel_scope.cancel()
            return got

        yield post


FRAMEWORKS: dict[str, Serve] = {
    "starlette": starlette,
    "fastapi": fastapi,
    "litestar": litestar,
    "aiohttp": aiohttp,
    "django": django,
    "quart": quart,
}
READS_BEFORE_US = {"django", "quart"}
"""They receive bodies themselves; see the adapters' docstrings. aiohttp's client sends ahead of what is read."""


@pytest.fixture(params=FRAMEWORKS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@attrs.define
class App:
    """An application in its framework."""

    hooks: WebhookRouter
    post: Post
    ids: list[str] = attrs.field(factory=list[str])
    failing: int = 0
    gate: anyio.Event | None = None
    begun: anyio.Event = attrs.field(factory=anyio.Event)

    async def deliver(
        self,
        body: bytes,
        headers: dict[str, str] | None = None,
        size: int = CHUNK,
        method: str = "POST",
        hang_up: anyio.Event | None = None,
    ) -> Got:
        parts = [body[start : start + size] for start in range(0, len(body), size)] or [b""]
        return await self.post(parts, headers_of(body) if headers is None else headers, method, hang_up)


@pytest.fixture
async def app(name: str) -> AsyncGenerator[App]:
    hooks = WebhookRouter(SECRET, clock=lambda: NOW, max_body=BOUND)
    async with FRAMEWORKS[name](hooks) as post:
        made = App(hooks, post)

        @hooks.on("video.asset.*")
        async def handler(event: WebhookEvent) -> None:
            made.ids.append(event.id)
            made.begun.set()
            if made.gate is not None:
                await made.gate.wait()
            if made.failing:
                made.failing -= 1
                raise RuntimeError("it fails")

        yield made


async def test_delivery(app: App) -> None:
    """A delivery is handled and answered 200, whole or in pieces; a repeated one is answered 200 and not handled again."""
    body = body_of()
    got = [await app.deliver(body), await app.deliver(body, size=100), await app.deliver(body_of(event_id="2"), size=1)]

    assert [(each.status, each.text) for each in got] == [(200, "handled"), (200, "handled before"), (200, "handled")]
    assert app.ids == ["4813455b-8fe8-40cc-9150-9aa5e2de67ca", "2"]


async def test_read_before(name: str) -> None:
    """If a middleware or dependency read the body before, the endpoint still gets it, whether it came whole or in pieces."""
    hooks = WebhookRouter(SECRET, clock=lambda: NOW, max_body=BOUND)
    async with FRAMEWORKS[name](hooks, reads_before=True) as post:
        app = App(hooks, post)
        got = [await app.deliver(body_of(event_id=str(size)), size=size) for size in (1, 100, CHUNK)]
        forged = await app.deliver(body_of(), headers_of(b"other"))
        large = await app.deliver(large_body := b"x" * (BOUND + 1), headers_of(large_body)) if name == "aiohttp" else None

    assert [each.status for each in got] == [200, 200, 200]
    assert forged.status == 400
    assert large is None or large.status == 413


@pytest.mark.parametrize(
    "body",
    [
        b'{ "type":"video.asset.ready" ,\n"id" : "spaced", "data":{"a":1.0, "b":"\\u00e9\\/"}}\r\n',
        '{"type":"video.asset.ready","id":"text","data":{"meta":{"title":"\u00e9t\u00e9 \U0001f3ac"}}}'.encode(),
        b'{"id":"first","id":"twice","type":"video.asset.ready"}',
    ],
    ids=["spaced", "text", "twice"],
)
async def test_raw_body(app: App, body: bytes) -> None:
    """The received bytes are verified, not what a parser would make of them, with any ``Content-Type`` and without one."""
    headers = headers_of(body)
    headers.pop("content-type")
    kinds = [{"Content-Type": kind} for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded")]
    got = [await app.deliver(body, {**headers, **kind}) for kind in [*kinds, {}]]

    assert [each.status for each in got] == [200] * 4
    assert [each.text for each in got] == ["handled"] + ["handled before"] * 3


async def test_forgeries(app: App) -> None:
    """A missing, wrong or old signature is a 400 and reaches no handler."""
    body = body_of()
    right = headers_of(body)
    cases = [{}, headers_of(body, "other"), headers_of(body, at=NOW - 1000), headers_of(b"{}"), {"Mux-Signature": "nonsense"}]
    got = [await app.deliver(body, case) for case in cases]

    assert [each.status for each in got] == [400] * len(cases)
    assert (await app.deliver(b"", right)).status == 400
    assert (await app.deliver(body + b" ", right)).status == 400
    assert app.ids == []


async def test_failing_handler(app: App) -> None:
    """A handler's failure is a 500 without its message, so that Mux delivers again; the next delivery is handled."""
    app.failing = 1
    body = body_of()
    got = [await app.deliver(body), await app.deliver(body)]

    assert [(each.status, each.text) for each in got] == [(500, "a handler failed"), (200, "handled")]
    assert len(app.ids) == 2


@pytest.mark.parametrize("declared", [True, False])
async def test_too_large(app: App, name: str, declared: bool) -> None:
    """A body above the limit is a 413; it is not read to its end, and not at all if its Content-Length is above the limit."""
    body = b"x" * 50 * BOUND
    headers = {**headers_of(body), **({"Content-Length": str(len(body))} if declared else {})}
    got = await app.deliver(body, headers)

    assert got.status == 413
    if name not in READS_BEFORE_US and name != "aiohttp":
        assert got.read == (0 if declared else 3 * CHUNK)
    assert app.ids == []


async def test_up_to_the_bound(app: App) -> None:
    """A body of exactly the limit is accepted, although it is larger than a form may be by the framework's default."""
    body = body_of(extra="")
    body = body_of(extra="x" * (BOUND - len(body)))
    assert len(body) == BOUND

    assert (await app.deliver(body)).status == 200


async def test_many_at_once(app: App) -> None:
    """Fifty concurrent deliveries of one event run its handler once; the others get a 200 or a 409."""
    body = body_of()
    statuses: list[int] = []

    async def one() -> None:
        statuses.append((await app.deliver(body)).status)

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(one)

    assert set(statuses) <= {200, 409}
    assert len(app.ids) == 1


async def test_typed(app: App) -> None:
    """The event is typed, in every framework."""
    seen: list[str] = []

    @app.hooks.on("video.asset.ready")
    async def note(event: AssetEvent) -> None:
        seen.append(event.data.status)

    await app.deliver(body_of())

    assert seen == ["ready"]


async def test_hanging_up(app: App) -> None:
    """If Mux disconnects while the handler runs, the event was handled to the end, or is free for the next delivery."""
    app.gate, hang_up, body = anyio.Event(), anyio.Event(), body_of()

    async def first() -> None:
        await app.deliver(body, hang_up=hang_up)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await app.begun.wait()
        hang_up.set()
        for _ in range(50):
            await anyio.lowlevel.checkpoint()  # for frameworks that cancel the handler now
        app.gate.set()
    status = 409
    with anyio.fail_after(20):
        while status == 409:  # the others' handler may need a moment for its end
            status = (await app.deliver(body)).status

    assert status == 200
    assert len(app.ids) in {1, 2}


async def test_method(app: App) -> None:
    """Only POST reaches the router."""
    assert (await app.deliver(b"", method="GET")).status == 405
