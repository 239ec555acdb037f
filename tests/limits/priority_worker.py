"""A process whose people and whose batch use two access tokens: says ``ready``, waits for a line, then creates until the batch is done.

Run as ``python -m tests.limits.priority_worker`` with one argument, a JSON object: ``origin``, ``url`` (of the shared limits; empty for
none), ``rate``, ``burst`` and ``batch``, a number of assets. People create uploads, so that a server can tell them from the batch.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import anyio

from mux_async import AccessToken, LimitSettings, Mux
from mux_async.limits import BucketSettings

PEOPLE = 8
"""More than can be served at once."""


async def main(origin: str, url: str, rate: float, burst: int, batch: int) -> None:
    limits = LimitSettings(post=BucketSettings(rate, burst), url=url or None)
    low = AccessToken("night", "test-secret")
    async with Mux(token_id="test-token", token_secret="test-secret", low_priority=low, base_url=origin, limits=limits) as mux:
        print("ready", flush=True)
        sys.stdin.readline()  # nothing else runs yet, so the loop may stand still
        slow = mux.with_options(priority="batch")

        async def create_uploads() -> None:
            while True:
                await mux.request("POST", "/video/v1/uploads", body={})

        async def create_asset() -> None:
            await slow.request("POST", "/video/v1/assets", body={"inputs": [{"url": "https://example.com/film.mp4"}]})

        async with anyio.create_task_group() as people:
            for _ in range(PEOPLE):
                people.start_soon(create_uploads)
            async with anyio.create_task_group() as tasks:
                for _ in range(batch):
                    tasks.start_soon(create_asset)
            people.cancel_scope.cancel()


if __name__ == "__main__":
    arguments: dict[str, Any] = json.loads(sys.argv[1])
    anyio.run(lambda: main(**arguments))
