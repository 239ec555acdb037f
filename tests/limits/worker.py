"""One of several processes that share an account: says ``ready``, waits for a line, then creates assets as fast as it may.

Run as ``python -m tests.limits.worker`` with one argument, a JSON object: ``origin``, ``url`` (of the shared limits), ``rate``,
``burst`` and ``seconds``.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import anyio

from mux_async import LimitSettings, Mux
from mux_async.limits import BucketSettings, LimitEvent, RequestDelayed

TASKS = 8
"""More than the processes can be served at once: the limits are what holds them up."""


async def main(origin: str, url: str, rate: float, burst: int, seconds: float) -> None:
    limits = LimitSettings(post=BucketSettings(rate, burst), url=url)
    async with Mux(token_id="test-token", token_secret="test-secret", base_url=origin, limits=limits) as mux:
        print("ready", flush=True)
        sys.stdin.readline()  # nothing else runs yet, so the loop may stand still

        def notify(event: LimitEvent) -> None:
            if not isinstance(event, RequestDelayed):
                print(event, file=sys.stderr, flush=True)

        async def create() -> None:
            while True:
                await mux.request("POST", "/video/v1/assets", body={"inputs": [{"url": "https://example.com/film.mp4"}]})

        with mux.limits.listen(notify), anyio.move_on_after(seconds):
            async with anyio.create_task_group() as tasks:
                for _ in range(TASKS):
                    tasks.start_soon(create)


if __name__ == "__main__":
    arguments: dict[str, Any] = json.loads(sys.argv[1])
    anyio.run(lambda: main(**arguments))
