"""``mux-async doctor``: what is installed and set up, for whoever wonders why something does not work."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys

from rich.markup import escape
from rich.table import Table

from mux_async._transports import installed_transports, load_transport
from mux_async._version import __version__
from mux_async.cli._client import BaseUrl, make_client
from mux_async.cli._output import stdout
from mux_async.errors import ConfigurationError

_LIBRARIES = (
    "aiohttp",
    "anyio",
    "attrs",
    "cattrs",
    "orjson",
    "httpx2",
    "httpx",
    "trio",
    "uvloop",
    "typer",
    "rich",
    "imageio-ffmpeg",
)
_SECRETS = ("MUX_TOKEN_ID", "MUX_TOKEN_SECRET", "MUX_AUTHORIZATION_TOKEN")


def doctor(base_url: BaseUrl = None) -> None:
    """Check what is installed and configured. Credentials are looked for and not shown; nothing is sent."""
    table = Table("", "", "", show_header=False, title="mux-async doctor", title_justify="left")
    table.add_row("mux-async", __version__, "")
    table.add_row("Python", platform.python_version(), f"{platform.system()} {platform.machine()}, {sys.implementation.name}")
    for library in _LIBRARIES:
        try:
            table.add_row(library, importlib.metadata.version(library), "")
        except importlib.metadata.PackageNotFoundError:
            table.add_row(library, "-", "not installed")
    for name in installed_transports():
        table.add_row(f"transport {name}", *map(escape, _transport(name)))  # extras are written in what rich takes for markup
    table.add_row("event loop", "asyncio", "this command's; a program's own may be uvloop or trio")
    for name in _SECRETS:
        table.add_row(name, "set" if os.environ.get(name) else "not set", "")
    problem: ConfigurationError | None = None
    try:
        table.add_row("server", escape(make_client(base_url, "aiohttp").base_url), "")
    except ConfigurationError as error:
        problem = error
    stdout().print(table)
    if problem is not None:
        raise problem


def _transport(name: str) -> tuple[str, str]:
    try:
        load_transport(name)
    except ConfigurationError as error:
        return "no", str(error)
    return "yes", ""
