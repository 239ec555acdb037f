"""Servers with limits, and a client that uses its whole rate: shared by the proofs over real sockets and the benchmark at full rate."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio
import attrs

from mux_async import LimitSettings, Mux, Priority
from mux_async.emulator import Emulator, EmulatorSettings, RateRules
from mux_async.emulator.server import serve
from mux_async.limits import Bucket, BucketSettings
from tests._servers import free_port, require, running

NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    log_format arrivals '$msec $status';
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    limit_req_zone $server_name zone=account:64k rate={rate}r/s;
    limit_req_status 429;
    server {{
        listen 127.0.0.1:{port};
        access_log {folder}/arrivals.log arrivals;
        location / {{
            limit_req zone=account{burst};
            proxy_pass http://127.0.0.1:{origin_port};
        }}
    }}
    server {{
        listen 127.0.0.1:{origin_port};
        default_type application/json;
        return 200 '{{"data": {{}}}}';
    }}
}}
"""
"""The answer comes from a second server, because ``return`` in the first would come before the limit is looked at."""


TRIES = 3
"""Runs that a proof in real time may take. A busy machine makes a client use less than it may, so one run that used enough is proof; a
429 is none of the machine's doing, and fails the test in whichever run it comes."""


@attrs.frozen
class Arrived:
    """A request as the server counted it: epoch seconds, and the status it was answered with."""

    at: float
    status: int


@attrs.frozen
class Limited:
    """A server with a limit.

    Attributes:
        origin: Where it is.
        arrivals: Returns what arrived so far, oldest first.
    """

    origin: str
    arrivals: Callable[[], list[Arrived]]


LimitedServer = AbstractAsyncContextManager[Limited]


@asynccontextmanager
async def nginx(folder: Path, rate: int, burst: int) -> AsyncGenerator[Limited]:
    """Run nginx with ``limit_req``: *burst* requests above a steady *rate* a second, so ``burst + 1`` at once; 0 leaves the word out."""
    program, port, log = require("nginx"), free_port(), folder / "arrivals.log"
    config = folder / "nginx.conf"
    more = f" burst={burst} nodelay" if burst else ""
    config.write_text(NGINX.format(folder=folder, port=port, origin_port=free_port(), rate=rate, burst=more))

    def arrivals() -> list[Arrived]:
        lines = (line.split() for line in log.read_text().splitlines())
        return [Arrived(float(at), int(status)) for at, status in lines]

    with running([program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)], port, folder / "output.log"):
        yield Limited(f"http://127.0.0.1:{port}", arrivals)


@asynccontextmanager
async def emulator(rules: RateRules) -> AsyncGenerator[Limited]:
    """Serve the emulator with *rules* on a socket."""
    emulated = Emulator(EmulatorSettings(limits=rules))
    async with serve(emulated) as origin:
        yield Limited(
            origin, lambda: [Arrived(one.at, one.status or 0) for one in emulated.arrivals if one.bucket is Bucket.POST]
        )


@attrs.frozen
class Report:
    """What a server received.

    Attributes:
        passed: Requests that it let through.
        refused: Requests that it answered 429.
        others: Requests that it answered otherwise.
        used: Share of *rate* that was used after the first *burst* requests, which come before the steady state.
    """

    passed: int
    refused: int
    others: int
    used: float


def judge(arrivals: list[Arrived], rate: float, burst: int) -> Report:
    """Compare what arrived at a server with its *rate* and *burst*."""
    steady = [one.at for one in arrivals if one.status < 300][burst:]
    return Report(
        passed=sum(one.status < 300 for one in arrivals),
        refused=sum(one.status == 429 for one in arrivals),
        others=sum(one.status >= 300 and one.status != 429 for one in arrivals),
        used=(len(steady) - 1) / ((steady[-1] - steady[0]) * rate) if len(steady) > 1 else 0.0,
    )


async def saturate(
    origin: str, allowance: BucketSettings, seconds: float, *, priority: Priority = "interactive", workers: int = 20
) -> None:
    """Create assets through a `Mux` as fast as *allowance* lets it, from *workers* tasks, for some *seconds*."""
    limits = LimitSettings(post=allowance)
    account = f"load-{time.monotonic_ns()}"
    async with Mux(
        token_id="test-token",
        token_secret="test-secret",
        base_url=origin,
        account=account,
        limits=limits,
        priority=priority,
    ) as mux:

        async def create() -> None:
            while True:
                await mux.request("POST", "/video/v1/assets", body={"inputs": [{"url": "https://example.com/film.mp4"}]})

        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as tasks:
                for _ in range(workers):
                    tasks.start_soon(create)
