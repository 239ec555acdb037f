"""Profiles: the credentials of several environments in one file, and ``mux-async profiles``, which lists, adds and removes them.

The file is TOML in the user's configuration folder::

    default = "development"

    [profiles.development]
    token_id = "..."
    token_secret = "..."
    base_url = "http://127.0.0.1:8787"

A profile replaces all variables that a profile can set, also those that it does not have, so that a token of one environment is never
used with the signing key of another. Options such as ``--base-url`` override it.

The file contains secrets, so it is refused if other users could read or change it.
"""

from __future__ import annotations

import json
import os
import stat
import tomllib
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Annotated, Final, cast

import attrs
import typer
from rich.markup import escape
from rich.table import Table

from mux_async._config import check_base_url
from mux_async.cli._examples import make_group
from mux_async.cli._output import stdout
from mux_async.errors import ConfigurationError

VARIABLES: Final[Mapping[str, str]] = {
    "token_id": "MUX_TOKEN_ID",
    "token_secret": "MUX_TOKEN_SECRET",
    "authorization_token": "MUX_AUTHORIZATION_TOKEN",
    "low_priority_token_id": "MUX_LOW_PRIORITY_TOKEN_ID",
    "low_priority_token_secret": "MUX_LOW_PRIORITY_TOKEN_SECRET",
    "base_url": "MUX_BASE_URL",
    "signing_key": "MUX_SIGNING_KEY",
    "private_key": "MUX_PRIVATE_KEY",
    "webhook_secret": "MUX_WEBHOOK_SECRET",
    "limits_url": "MUX_LIMITS_URL",
}
"""Members of a profile, and the variables that they stand for."""
_CREDENTIALS: Final = ("MUX_TOKEN_ID", "MUX_TOKEN_SECRET", "MUX_AUTHORIZATION_TOKEN")


def profiles_path() -> Path:
    """Return where the file is, whether or not it exists."""
    return Path(typer.get_app_dir("mux-async", roaming=False), "profiles.toml")


@attrs.frozen
class Profiles:
    """The content of the file: the name of the default profile, and the members of each profile by its name."""

    default: str | None
    members: Mapping[str, Mapping[str, str]]

    def choose(self, name: str) -> Mapping[str, str]:
        """Return the variables that the profile *name* sets. Raises `ConfigurationError` if there is no such profile."""
        if name not in self.members:
            known = ", ".join(sorted(self.members)) or "none"
            raise ConfigurationError(f"there is no profile {name!r} in {str(profiles_path())!r}; there are: {known}")
        return {VARIABLES[member]: value for member, value in self.members[name].items()}


def load_profiles() -> Profiles:
    """Read the file; no profiles if there is none. Raises `ConfigurationError` for a file that is invalid or not private."""
    path = profiles_path()
    try:
        with path.open("rb") as file:
            _check_permissions(path, os.fstat(file.fileno()))
            content = file.read()
    except FileNotFoundError:
        return Profiles(None, {})
    except OSError as error:
        raise ConfigurationError(f"the profiles in {str(path)!r} cannot be read: {error.strerror}") from error
    try:
        found = tomllib.loads(content.decode())
    except ValueError as error:
        place = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "it is not UTF-8"
        raise ConfigurationError(f"the profiles in {str(path)!r} are not TOML: {place}") from None
    return _checked(path, found)


def _check_permissions(path: Path, found: os.stat_result) -> None:
    if os.name != "posix":
        return  # elsewhere the folder of the user's settings has an access list
    if found.st_uid not in {os.geteuid(), 0}:
        raise ConfigurationError(f"the profiles in {str(path)!r} belong to another user; they hold secrets, so own the file")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigurationError(
            f"the profiles in {str(path)!r} hold secrets, and others may read or change the file: chmod 600 {str(path)!r}"
        )


def _checked(path: Path, found: Mapping[str, object]) -> Profiles:
    where = f"the profiles in {str(path)!r}"
    unknown = sorted(found.keys() - {"default", "profiles"})
    if unknown:
        raise ConfigurationError(f"{where} have a member {unknown[0]!r}; there are default and [profiles.NAME]")
    default, tables = found.get("default"), found.get("profiles", {})
    if not isinstance(tables, dict):
        raise ConfigurationError(f"{where}: a profile is a table [profiles.NAME]")
    members: dict[str, dict[str, str]] = {}
    for name, table in cast("dict[str, object]", tables).items():
        if not isinstance(table, dict):
            raise ConfigurationError(f"{where}: profile {name!r} is not a table [profiles.{name}]")
        members[name] = {}
        for member, value in cast("dict[str, object]", table).items():
            if member not in VARIABLES:
                raise ConfigurationError(f"{where}: profile {name!r} has a member {member!r}; there are {', '.join(VARIABLES)}")
            if not isinstance(value, str):
                raise ConfigurationError(f"{where}: {member} of profile {name!r} is not a text in quotes")
            members[name][member] = value
    if default is not None and (not isinstance(default, str) or default not in members):
        raise ConfigurationError(f"{where}: default is {default!r}, and there is no profile of that name")
    return Profiles(default, members)


def apply_profile(name: str | None, environ: MutableMapping[str, str]) -> None:
    """Set the variables of a profile in *environ*; without a name those of the default profile, unless it has credentials already."""
    if name is None and any(environ.get(each) for each in _CREDENTIALS):
        return
    profiles = load_profiles()
    if (name := name if name is not None else profiles.default) is not None:
        chosen = profiles.choose(name)
        for variable in VARIABLES.values():
            environ.pop(variable, None)
        environ.update(chosen)


def save_profiles(profiles: Profiles) -> Path:
    """Replace the file, readable only by its owner, and return its path. Raises `ConfigurationError` if it cannot be written."""
    path = profiles_path()
    lines = [] if profiles.default is None else [f"default = {_quoted(profiles.default)}", ""]
    for name, members in profiles.members.items():
        lines += [f"[profiles.{_quoted(name)}]", *(f"{member} = {_quoted(value)}" for member, value in members.items()), ""]
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write("\n".join(lines))
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigurationError(f"the profiles cannot be written to {str(path)!r}: {error.strerror}") from error
    return path


def _quoted(text: str) -> str:
    """Return *text* as a basic string of TOML, which has the escapes of JSON but does not allow DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


_SECRET_MEMBERS = frozenset(
    {"token_secret", "authorization_token", "low_priority_token_secret", "private_key", "webhook_secret", "limits_url"}
)
_MORE = "low_priority_token_id, low_priority_token_secret, signing_key, private_key, webhook_secret, limits_url"


def complete_profile(incomplete: str) -> list[str]:
    """Complete names of profiles; nothing when the file cannot be used."""
    try:
        return sorted(name for name in load_profiles().members if name.startswith(incomplete))
    except ConfigurationError:
        return []


Name = Annotated[str, typer.Argument(metavar="NAME", autocompletion=complete_profile, help="Name of the profile.")]


def make_profiles_app() -> typer.Typer:
    """Return the group of commands."""
    explained = "Keep the credentials of several environments; --profile NAME or MUX_PROFILE chooses one."
    return make_group("profiles", explained, {"list": list_profiles, "add": add, "remove": remove})


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
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="Its server; Mux itself by default.")] = None,
    default: Annotated[bool, typer.Option("--default", help="Make it the default profile.")] = False,
    more: Annotated[
        list[str] | None, typer.Option("--also", metavar="MEMBER", help=f"Ask for one more: {_MORE}; may be repeated.")
    ] = None,
) -> None:
    """Add a profile, or replace one. Asks for its values; secrets are not shown, and not taken from the command line."""
    wanted = ["token_id", "token_secret", *(more or ())]
    for member in wanted:
        if member not in VARIABLES or member == "base_url":
            raise typer.BadParameter(f"--also {member}: there are {_MORE}")
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
    stdout().print(f"profile {name!r} was removed", markup=False)
