"""Upload a file, show how it goes, and print where it can be watched.

python examples/upload_with_progress.py film.mp4
"""

from __future__ import annotations

import asyncio
import sys

from mux_async import Mux, MuxError
from mux_async.uploads import UploadProgress


def show(progress: UploadProgress) -> None:
    """Write one line over the last one."""
    share = progress.sent / progress.size if progress.size else 0.0
    print(f"\r{share:6.1%}", end="", flush=True)


async def main(path: str) -> int:
    async with Mux(deadline=300.0) as mux:
        try:
            asset = await mux.uploads.send(path, playback_policies=["public"], on_progress=show)
        except MuxError as error:
            print(f"\n{error}", file=sys.stderr)
            return 1
        print(f"\n{asset.id}: {asset.duration} s, {asset.aspect_ratio}")
        for playback_id in asset.playback_ids or []:
            print(f"{mux.base_url}/{playback_id.id}.m3u8")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
