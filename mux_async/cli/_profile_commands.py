"""``mux-async profiles``: list, add and remove the profiles that ``--profile`` chooses from."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from mux_async._config import check_base_url
from mux_async.cli._examples import examples_of
from mux_async.cli._output import stdout
from mux_async.cli._profiles import VARIABLES, Profiles, load_profiles, profiles_path, save_profiles

_SECRET_MEMBERS = frozenset({"token_secret", "authorization_token", "private_key", "webhook_secret", "limits_url"})


def complete_profile(incomplete: str) -> list[str]:
    """Complete names of profiles; nothing when the file cannot be used."""
    from mux_async.errors import ConfigurationError

    try:
        return sorted(name for name in load_profiles().members if name.startswith(incomplete))
    except ConfigurationError:
        return []


Name = Annotated[str, typer.Argument(metavar="NAME", autocompletion=complete_profile, help="Name of the profile.")]


def make_profiles_app() -> typer.Typer:
    """Return the group of commands."""
    app = typer.Typer(
        name="profiles",
        no_args_is_help=True,
        rich_markup_mode="rich",
        help="Keep the credentials of several environments; --profile NAME or MUX_PROFILE chooses one.",
        epilog=examples_of("profiles"),
    )
    for name, command in (("list", list_profiles), ("add", add), ("remove", remove)):
        app.command(name, epilog=examples_of(f"profiles {name}"))(command)
    return app


def list_profiles() -> None:
    """List the profiles and what each sets. Secrets are not shown."""
    profiles = load_profiles()
    table = Table("profile", "token", "server", "sets", title=f"Profiles in {profiles_path()}", title_justify="left")
    for name, members in profiles.members.items():
        table.add_row(
            escape(name) + (" (default)" if name == profiles.default else ""),
            escape(members.get("token_id", "-")),
            escape(members.get("base_url", "Mux")),
            ", ".join(members),
        )
    stdout().print(table)


def add(
    name: Name,
    base_url: Annotated[
        str | None, typer.Option("--base-url", metavar="URL", help="Its server; Mux itself by default.")
    ] = None,
    default: Annotated[bool, typer.Option("--default", help="Use it where nothing else is said.")] = False,
    more: Annotated[
        list[str] | None,
        typer.Option(
            "--also",
            metavar="MEMBER",
            help="Ask for one more: signing_key, private_key, webhook_secret, limits_url; may be repeated.",
        ),
    ] = None,
) -> None:
    """Add a profile, or replace one. What it holds is asked for; secrets are not shown, nor taken from the command line."""
    wanted = ["token_id", "token_secret", *(more or ())]
    for member in wanted:
        if member not in VARIABLES or member == "base_url":
            raise typer.BadParameter(f"--also {member}: there are signing_key, private_key, webhook_secret, limits_url")
    members = {member: _ask(member) for member in wanted}
    if base_url is not None:
        members["base_url"] = check_base_url(base_url, allow_insecure=False)
    earlier = load_profiles()
    chosen = name if default or not earlier.members else earlier.default
    path = save_profiles(Profiles(chosen, {**earlier.members, name: members}))
    stdout().print(f"profile {name!r} is in {str(path)!r}", markup=False)


def _ask(member: str) -> str:
    value = str(typer.prompt(f"{member} ({VARIABLES[member]})", hide_input=member in _SECRET_MEMBERS)).strip()
    return value.replace("\\n", "\n") if member == "private_key" else value


def remove(name: Name) -> None:
    """Remove a profile from the file."""
    profiles = load_profiles()
    profiles.choose(name)
    left = {each: members for each, members in profiles.members.items() if each != name}
    save_profiles(Profiles(None if profiles.default == name else profiles.default, left))
    stdout().print(f"profile {name!r} is gone", markup=False)
