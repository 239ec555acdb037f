"""The versions of the clients from npm that the emulator is tested with, in one place.

Those of PyPI are pinned in ``constraints.txt``. Debian's are those of the distribution. The table of docs/emulator.md has them all.
"""

from __future__ import annotations

from typing import Final

NPM: Final = {
    "@mux/ai": "0.9.0",
    "@mux/cli-linux-x64": "2.1.0",
    "@mux/mcp": "12.8.0",
    "@mux/mux-node": "15.3.0",
    "@mux/mux-player": "3.14.0",
    "@mux/mux-uploader": "1.5.0",
    "@mux/mux-video": "0.31.5",
    "@mux/sync-engine": "0.0.5",
    "@mux/upchunk": "3.5.0",
    "hls.js": "1.7.4",
    "next-video": "2.8.1",
}
OVERRIDES: Final = {"jq-web": "0.6.2"}
"""Dependencies of dependencies: `@mux/mcp` takes this one from an address outside the registry."""
