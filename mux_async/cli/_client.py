"""The client of commands, and the options that configure it."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from mux_async import Mux
from mux_async._transports import installed_transports
from mux_async.cli._network import current_network

_POLICIES = ("public", "signed", "drm")


def _complete_policy(incomplete: str) -> list[str]:
    return [each for each in _POLICIES if each.startswith(incomplete)]


def _check_policies(given: list[str] | None) -> list[str]:
    """Check the values of an option for policies: typer supports no lists of choices. Up to 0.19 it also takes no ``None`` back."""
    for policy in given or ():
        if policy not in _POLICIES:
            raise typer.BadParameter(f"{policy!r} is not one of {', '.join(_POLICIES)}")
    return given or []


def _complete_transport(incomplete: str) -> list[str]:
    return [each for each in installed_transports() if each.startswith(incomplete)]


server_option, asset_option = (
    partial(typer.Option, rich_help_panel=heading) for heading in ("The server", "How assets are made")
)
BaseUrl = Annotated[
    str | None, server_option(metavar="URL", help="Server to use instead of MUX_BASE_URL; an emulator, for example.")
]
TransportName = Annotated[
    str,
    server_option(
        help="HTTP library: aiohttp, httpx, or the name of an installed transport.", autocompletion=_complete_transport
    ),
]
Policy = Annotated[
    list[str] | None,
    asset_option(
        metavar="POLICY",
        autocompletion=_complete_policy,
        callback=_check_policies,
        help="public, signed or drm; may be repeated; an item may have its own. Default: public.",
    ),
]
Test = Annotated[bool, asset_option("--test", help="Make test assets: free, watermarked, 10 s, deleted after a day.")]


def make_client(base_url: str | None, transport: str) -> Mux:
    """Return a client with the credentials of the environment, and the network options of the command."""
    settings = current_network().settings()
    return Mux(base_url=base_url, transport=transport, transport_settings=settings, user_agent_suffix="cli")
