"""A process that creates assets by their keys, for `test_once_processes`: repeats until each succeeds, and prints their ids as JSON.

Arguments: base URL, URL of the shared limits, seed, number of keys.
"""

from __future__ import annotations

import json
import sys
from random import Random

import anyio

from mux_async import LimitSettings, Mux, MuxError, Secret
from mux_async._idempotency import guard, search
from mux_async._idempotency.keys import _registry

# Shorter than in production, where a dead process holds a key up for 15 s, and what it may have made is waited for for 10 s.
setattr(search, "SETTLE", 1.5)  # noqa: B010 - a constant, to type checkers
for module in (guard, _registry):
    setattr(module, "LEASE", 1.5)  # noqa: B010


async def main(base_url: str, store: str, seed: int, number: int) -> None:
    random = Random(seed)
    found: dict[str, str] = {}
    limits = LimitSettings(enabled=False, url=Secret(store))
    async with Mux(token_id="id", token_secret="secret", base_url=base_url, limits=limits, max_attempts=1) as mux:

        async def persist(key: str) -> None:
            while True:
                try:
                    asset = await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}], once=key)
                except MuxError:
                    await anyio.sleep(random.uniform(0, 0.2))
                else:
                    found[key] = asset.id
                    return

        async with anyio.create_task_group() as tasks:
            for index in random.sample(range(number), number):
                tasks.start_soon(persist, f"key-{index}")
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
