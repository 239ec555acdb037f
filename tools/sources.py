"""The packages of this repository, as their source text has them. Nothing is imported."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
PACKAGES: Final = {
    "mux_async": ROOT / "mux_async",
    "mux_async_aiohttp": ROOT / "transports" / "mux_async_aiohttp",
    "mux_async_httpx": ROOT / "transports" / "mux_async_httpx",
}


@cache
def modules() -> dict[str, Path]:
    """Return the path of every module by its full name; a package's name stands for its ``__init__``."""
    found: dict[str, Path] = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = (package, *path.relative_to(folder).with_suffix("").parts)
            found[".".join(parts).removesuffix(".__init__")] = path
    return found
