"""Profiles: the credentials of several environments in one file, of which a command uses one.

The file is TOML in the user's configuration folder::

    default = "development"

    [profiles.development]
    token_id = "..."
    token_secret = "..."
    base_url = "http://127.0.0.1:8787"

A profile is whole: the variables that it can set are taken from it alone, so that one environment's token never goes out with another's
signing key. It counts as variables do: an option such as ``--base-url`` comes before it.

The file holds secrets, so it is refused when anybody else could read or change it.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Final, cast

import typer

from mux_async.errors import ConfigurationError

VARIABLES: Final[Mapping[str, str]] = {
    "token_id": "MUX_TOKEN_ID",
    "token_secret": "MUX_TOKEN_SECRET",
    "authorization_token": "MUX_AUTHORIZATION_TOKEN",
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


class Profiles:
    """The profiles of the file.

    Attributes:
        default: Name of the one to use where nothing else is said; ``None`` for no such profile.
        members: Of each profile, by its name.
    """

    def __init__(self, default: str | None, members: Mapping[str, Mapping[str, str]]) -> None:
        self.default = default
        self.members = members

    def choose(self, name: str) -> Mapping[str, str]:
        """Return the variables that the profile *name* sets.

        Raises:
            ConfigurationError: There is no such profile.
        """
        if name not in self.members:
            known = ", ".join(sorted(self.members)) or "none"
            raise ConfigurationError(f"there is no profile {name!r} in {str(profiles_path())!r}; there are: {known}")
        return {VARIABLES[member]: value for member, value in self.members[name].items()}


def load_profiles(path: Path | None = None) -> Profiles:
    """Read the file; no profiles when there is none.

    Raises:
        ConfigurationError: It cannot be read, is readable or writable by others, or is not of its form. Values are not repeated.
    """
    path = profiles_path() if path is None else path
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
        return  # access lists say who may read it, and the folder of the user's settings is the user's own
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


def apply_profile(name: str | None, environ: MutableMapping[str, str]) -> str | None:
    """Put a profile's values in the place of the variables that they stand for.

    Args:
        name: As asked for; ``None`` takes the default of the file, but only where *environ* holds no credentials.
        environ: Of the process.

    Returns:
        The name of the profile in use; ``None`` when it is the environment's own variables.

    Raises:
        ConfigurationError: See `load_profiles` and `Profiles.choose`.
    """
    if name is None and any(environ.get(each) for each in _CREDENTIALS):
        return None
    profiles = load_profiles()
    name = name if name is not None else profiles.default
    if name is None:
        return None
    chosen = profiles.choose(name)
    for variable in VARIABLES.values():
        environ.pop(variable, None)
    environ.update(chosen)
    return name


def save_profiles(profiles: Profiles) -> Path:
    """Write the file anew, readable by its owner alone, and return where it is.

    Raises:
        ConfigurationError: It cannot be written.
    """
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


_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _quoted(text: str) -> str:
    """Write *text* as a basic string of TOML."""
    return '"' + "".join(_ESCAPES.get(each) or (each if each.isprintable() else f"\\U{ord(each):08x}") for each in text) + '"'
