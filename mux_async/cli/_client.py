"""The client behind every command, and the options that choose it."""

from __future__ import annotations

from typing import Annotated

import typer

from mux_async import Mux
from mux_async._transports import installed_transports
from mux_async.cli._network import current_network

_POLICIES = ("public", "signed", "drm")


def _complete_policy(incomplete: str) -> list[str]:
    return [each for each in _POLICIES if each.startswith(incomplete)]


def _check_policies(given: list[str] | None) -> list[str] | None:
    """Check the values of an option for policies: typer supports no lists of choices."""
    for policy in given or ():
        if policy not in _POLICIES:
            raise typer.BadParameter(f"{policy!r} is none of {', '.join(_POLICIES)}")
    return given


def _complete_transport(incomplete: str) -> list[str]:
    return [each for each in installed_transports() if each.startswith(incomplete)]


BaseUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL", rich_help_panel="The server", help="Server to use instead of MUX_BASE_URL; an emulator, for example."
    ),
]
TransportName = Annotated[
    str,
    typer.Option(
        help="HTTP library: aiohttp, httpx, or the name of an installed transport.",
        autocompletion=_complete_transport,
        rich_help_panel="The server",
    ),
]
Policy = Annotated[
    list[str] | None,
    typer.Option(
        metavar="POLICY",
        autocompletion=_complete_policy,
        callback=_check_policies,
        help="public, signed or drm; may be repeated; an item may have its own. Default: public.",
        rich_help_panel="How assets are made",
    ),
]
Test = Annotated[
    bool,
    typer.Option(
        "--test", help="Make test assets: free, watermarked, 10 s, deleted after a day.", rich_help_panel="How assets are made"
    ),
]


def make_client(base_url: str | None, transport: str) -> Mux:
    """Return a client with the credentials of the environment, and the network options of the command."""
    settings = current_network().settings()
    return Mux(base_url=base_url, transport=transport, transport_settings=settings, user_agent_suffix="cli")
