"""List what is in an account, on trio: the httpx transport runs there, and everything else is the same.

python examples/trio_overview.py
"""

from __future__ import annotations

import trio

from mux_async import Mux


async def main() -> None:
    async with Mux(transport="httpx") as mux, trio.open_nursery() as nursery:
        nursery.start_soon(assets, mux)
        nursery.start_soon(live_streams, mux)


async def assets(mux: Mux) -> None:
    async for asset in mux.video.assets.list(limit=100):
        print(f"asset {asset.id} {asset.status} {asset.duration or '-'} s")


async def live_streams(mux: Mux) -> None:
    async for stream in mux.video.live_streams.list():
        print(f"live stream {stream.id} {stream.status}")


if __name__ == "__main__":
    trio.run(main)
