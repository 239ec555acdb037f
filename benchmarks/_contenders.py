"""Whom a user could pick instead, each doing the same three things in the way its own documentation shows.

A contender is opened inside the process that measures it, and imports its library there. Connections are left as each library sets them
up, except where its default could not serve 100 requests at a time.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from operator import attrgetter
from typing import Any, NamedTuple, cast

AT_ONCE = 100
THREADS = 16
PATH = "/video/v1/assets"
ASCII = "ascii"
"""The live stream whose recordings have texts of ASCII alone."""
CREATE: dict[str, Any] = {"inputs": [{"url": "https://example.com/film.mp4"}], "playback_policies": ["public"]}
# Every read is another, lists too: this client sends identical ones at the same time only once, which is not the question.
_ids = itertools.cycle([f"{n:040}" for n in range(1000)])
_pages = itertools.cycle(range(1, 1001))


class Work(NamedTuple):
    """What is measured. In a contender with threads these are plain functions."""

    get: Callable[[], Any]
    list: Callable[[], Any]
    list_ascii: Callable[[], Any]
    create: Callable[[], Any]


def _work(get: Callable[[str], Any], create: Callable[[], Any]) -> Work:
    """Return the work of a contender that gets paths."""
    return Work(
        lambda: get(f"{PATH}/{next(_ids)}"),
        lambda: get(f"{PATH}?limit=100&page={next(_pages)}"),
        lambda: get(f"{PATH}?limit=100&page={next(_pages)}&live_stream_id={ASCII}"),
        create,
    )


Open = Callable[[str], AbstractAsyncContextManager[Work]]


class Contender(NamedTuple):
    """One row; *open* is given the server's origin.

    *needs* are modules that have to be there, and whose versions are printed. Of one that *has_threads* calls block, so that 100 at a time
    are made by 16 threads instead.
    """

    name: str
    needs: tuple[str, ...]
    open: Open
    has_threads: bool = False
    is_on_uvloop: bool = False

    @property
    def missing(self) -> list[str]:
        """What is not installed."""
        wanted = (*self.needs, "uvloop") if self.is_on_uvloop else self.needs
        return [name for name in wanted if find_spec(name) is None]


@asynccontextmanager
async def _mux_async(origin: str, transport: str = "aiohttp") -> AsyncGenerator[Work]:
    from mux_async import BucketSettings, LimitSettings, Mux

    fast = BucketSettings(rate=1e6, burst=1_000_000)
    limits = LimitSettings(post=fast, other=fast, realtime_data=fast, general_data=fast)
    async with Mux(token_id="id", token_secret="secret", base_url=origin, limits=limits, transport=transport) as mux:
        assets = mux.video.assets

        async def get_page(**filters: Any) -> object:
            return await assets.list(limit=100, page=next(_pages), **filters)

        yield Work(
            lambda: assets.retrieve(next(_ids)),
            get_page,
            lambda: get_page(live_stream_id=ASCII),
            lambda: assets.create(**CREATE),
        )


@asynccontextmanager
async def _mux_async_read(origin: str, names: tuple[str, ...]) -> AsyncGenerator[Work]:
    """Models are parsed on first access, so this reads fields of every asset that is received."""
    read = attrgetter(*names)
    async with _mux_async(origin) as work:

        async def one(call: Callable[[], Any]) -> object:
            asset = await call()
            return asset, read(asset)

        async def every(call: Callable[[], Any]) -> object:
            page = await call()
            return page, [read(asset) for asset in page.data]

        yield Work(lambda: one(work.get), lambda: every(work.list), lambda: every(work.list_ascii), lambda: one(work.create))


def _over_aiohttp(loads: Callable[[bytes], object], dumps: Callable[[object], bytes]) -> Open:
    @asynccontextmanager
    async def opened(origin: str) -> AsyncGenerator[Work]:
        import aiohttp

        async with aiohttp.ClientSession(auth=aiohttp.BasicAuth("id", "secret")) as session:

            async def get(url: str) -> object:
                async with session.get(url) as response:
                    return loads(await response.read())

            async def create() -> object:
                headers = {"Content-Type": "application/json"}
                async with session.post(f"{origin}{PATH}", data=dumps(CREATE), headers=headers) as response:
                    return loads(await response.read())

            yield _work(lambda path: get(origin + path), create)

    return opened


def _aiohttp(origin: str) -> AbstractAsyncContextManager[Work]:
    import json

    return _over_aiohttp(lambda body: body, lambda value: json.dumps(value).encode())(origin)


def _aiohttp_orjson(origin: str) -> AbstractAsyncContextManager[Work]:
    import orjson

    return _over_aiohttp(orjson.loads, orjson.dumps)(origin)


@asynccontextmanager
async def _httpx(origin: str) -> AsyncGenerator[Work]:
    httpx = import_module("httpx")

    async with httpx.AsyncClient(base_url=origin, auth=("id", "secret")) as client:

        async def get(url: str) -> object:
            return (await client.get(url)).content

        async def create() -> object:
            return (await client.post(PATH, json=CREATE)).content

        yield _work(get, create)


@asynccontextmanager
async def _mux_python(origin: str) -> AsyncGenerator[Work]:
    mux_python = import_module("mux_python")

    configuration = mux_python.Configuration(host=origin, username="id", password="secret")
    configuration.connection_pool_maxsize = THREADS
    with mux_python.ApiClient(configuration) as client:
        assets = mux_python.AssetsApi(client)

        def create() -> object:
            inputs = [mux_python.InputSettings(**one) for one in CREATE["inputs"]]
            policies = CREATE["playback_policies"]
            return assets.create_asset(mux_python.CreateAssetRequest(inputs=inputs, playback_policies=policies))

        yield Work(
            lambda: assets.get_asset(next(_ids)),
            lambda: assets.list_assets(limit=100, page=next(_pages)),
            lambda: assets.list_assets(limit=100, page=next(_pages), live_stream_id=ASCII),
            create,
        )


def _stainless_over(http_client: str) -> Open:
    """The engine that Stainless generates into its Python clients, in the client that most people have of it."""

    @asynccontextmanager
    async def opened(origin: str) -> AsyncGenerator[Work]:
        openai = import_module("openai")

        from benchmarks._pydantic import models

        asset, page = models(openai.BaseModel)
        transport = getattr(openai, http_client)()
        async with openai.AsyncOpenAI(api_key="secret", base_url=origin, http_client=transport) as client:

            def get_page(**filters: str) -> Any:
                params = {"limit": 100, "page": next(_pages), **filters}
                return client.get(PATH, cast_to=page, options={"params": params})

            yield Work(
                lambda: client.get(f"{PATH}/{next(_ids)}", cast_to=asset),
                get_page,
                lambda: get_page(live_stream_id=ASCII),
                lambda: client.post(PATH, body=CREATE, cast_to=asset),
            )

    return opened


@asynccontextmanager
async def _githubkit(origin: str) -> AsyncGenerator[Work]:
    pydantic, githubkit = import_module("pydantic"), import_module("githubkit")

    from benchmarks._pydantic import models

    asset, page = models(pydantic.BaseModel)
    async with githubkit.GitHub("secret", base_url=origin, http_cache=False) as github:

        async def call(*arguments: Any, **options: Any) -> object:
            return (await github.arequest(*arguments, **options)).parsed_data

        yield Work(
            lambda: call("GET", f"{PATH}/{next(_ids)}", response_model=asset),
            lambda: call("GET", PATH, params={"limit": 100, "page": next(_pages)}, response_model=page),
            lambda: call(
                "GET", PATH, params={"limit": 100, "page": next(_pages), "live_stream_id": ASCII}, response_model=page
            ),
            lambda: call("POST", PATH, json=CREATE, response_model=asset),
        )


class _Wire(asyncio.Protocol):
    """No HTTP library at all: bytes out, and bytes in until there are as many as the head says."""

    transport: asyncio.Transport
    answered: asyncio.Future[bytes]

    def __init__(self) -> None:
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, _, body = self.received.partition(b"\r\n\r\n")
        if len(body) == int(head.partition(b"Content-Length: ")[2].partition(b"\r")[0]):
            self.received = b""
            self.answered.set_result(body)


@asynccontextmanager
async def _bare(origin: str) -> AsyncGenerator[Work]:
    import json

    loop = asyncio.get_running_loop()
    host, _, port = origin.rpartition("/")[2].partition(":")
    idle: list[_Wire] = []
    every: list[_Wire] = []
    head = f" HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Basic aWQ6c2VjcmV0\r\nAccept: application/json\r\n"

    async def call(line: str, body: bytes = b"") -> bytes:
        if not idle:
            every.append((await loop.create_connection(_Wire, host, int(port)))[1])
            idle.append(every[-1])
        wire = idle.pop()
        wire.answered = loop.create_future()
        more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        wire.transport.write(f"{line}{head}{more}\r\n".encode() + body)
        answer = await wire.answered
        idle.append(wire)
        return answer

    yield _work(lambda path: call(f"GET {path}"), lambda: call(f"POST {PATH}", json.dumps(CREATE).encode()))
    for wire in every:
        wire.transport.close()


REFERENCE = "aiohttp, bytes only"
NODE = "@mux/mux-node"

CONTENDERS = (
    Contender(REFERENCE, ("aiohttp",), _aiohttp),
    Contender("aiohttp + orjson", ("aiohttp", "orjson"), _aiohttp_orjson),
    Contender("mux_async", ("mux_async", "aiohttp", "orjson"), _mux_async),
    Contender("mux_async, one field read", ("mux_async", "aiohttp", "orjson"), partial(_mux_async_read, names=("id",))),
    # The second field that a program reads parses all fields of the object.
    Contender("mux_async, fields read", ("mux_async", "aiohttp", "orjson"), partial(_mux_async_read, names=("id", "status"))),
    Contender("mux_async, uvloop", ("mux_async", "aiohttp", "orjson"), _mux_async, is_on_uvloop=True),
    Contender("aiohttp, bytes only, uvloop", ("aiohttp",), _aiohttp, is_on_uvloop=True),
    Contender("mux_async over httpx", ("mux_async", "httpx2"), partial(_mux_async, transport="httpx")),
    Contender("httpx, bytes only", ("httpx",), _httpx),
    Contender("mux-python", ("mux_python",), _mux_python, has_threads=True),
    Contender("Stainless-style over httpx", ("openai",), _stainless_over("DefaultAsyncHttpxClient")),
    Contender("Stainless-style over aiohttp", ("openai", "httpx_aiohttp"), _stainless_over("DefaultAioHttpClient")),
    Contender("githubkit", ("githubkit",), _githubkit),
    Contender("bare asyncio protocol", (), _bare),
)
