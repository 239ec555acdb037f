"""``mux-async doctor``: what is installed, what is set, and, with ``--online``, whether it works."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from importlib import import_module
from typing import Annotated, Any, Final

import anyio
import attrs
import typer
from rich.markup import escape
from rich.table import Table

from mux_async import Mux
from mux_async._transports import installed_transports, load_transport
from mux_async._version import __version__
from mux_async.cli._client import BaseUrl, make_client
from mux_async.cli._network import VARIABLES as NETWORK_VARIABLES
from mux_async.cli._output import FAILED, stdout
from mux_async.cli._profiles import VARIABLES, profiles_path
from mux_async.errors import ConfigurationError, MuxError
from mux_async.limits import LimitEvent, StoreLost

_LIBRARIES: Final = ("aiohttp", "anyio", "attrs", "cattrs", "msgspec", "orjson", "uvloop", "trio")
_NOT_SECRET: Final = frozenset({"MUX_BASE_URL", "MUX_PROFILE", "MUX_LOG", "MUX_CA_FILE", "MUX_CA_FOLDER", "MUX_TRUST_ENV"})
"""Variables whose value is shown."""
VARIABLE_NAMES: Final = (
    *VARIABLES.values(),
    *NETWORK_VARIABLES,
    "MUX_CA_FOLDER",
    "MUX_INGEST_DATABASE",
    "MUX_INGEST_KEY",
    "MUX_PROFILE",
    "MUX_LOG",
)
"""Every variable that the SDK or this command reads."""
_LARGEST_SKEW: Final = 60.0
"""Seconds that this machine's clock may be off: webhooks are refused from 300 on, and tokens can be expired when they are made."""
_TIMEOUT: Final = 15.0
"""Seconds that the online checks may take together."""
_EXTRA = re.compile(r"^([A-Za-z0-9._-]+).*\bextra == ['\"]([a-z0-9_-]+)['\"]")


@attrs.frozen
class Check:
    """One line of the result."""

    topic: str
    """``version``, ``extra``, ``transport``, ``variable``, ``settings`` or ``online``."""
    name: str
    value: str
    """Never a secret."""
    note: str = ""
    is_ok: bool = True


def doctor(
    online: Annotated[
        bool, typer.Option("--online", help="Ask the server who the token is, and check clock and limits store as well.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    base_url: BaseUrl = None,
) -> None:
    """Check what is installed and configured, and with --online whether it works.

    Secrets are checked and not shown. Nothing is sent without --online. Exit code: 0 when all is well, 1 when something is not, 2 when the
    settings make no client.
    """
    checks = [*_versions(), *_extras(), *_transports(), *_variables(), *_settings()]
    problem: ConfigurationError | None = None
    try:
        client = make_client(base_url, "aiohttp")
    except ConfigurationError as error:
        problem = error
        checks.append(Check("settings", "client", "cannot be made", str(error), is_ok=False))
    else:
        checks.append(Check("settings", "server", client.base_url))
        checks += anyio.run(_online, client) if online else ()
    if as_json:
        typer.echo(json.dumps({"is_ok": all(each.is_ok for each in checks), "checks": [attrs.asdict(each) for each in checks]}))
    else:
        stdout().print(_table(checks))
    if problem is not None:
        raise problem
    if not all(each.is_ok for each in checks):
        raise typer.Exit(FAILED)


def _table(checks: list[Check]) -> Table:
    table = Table("", "", "", show_header=False, title="mux-async doctor", title_justify="left")
    topic = ""
    for check in checks:
        if topic not in {"", check.topic}:
            table.add_section()
        topic = check.topic
        value = escape(check.value) if check.is_ok else f"[bold red]{escape(check.value)}[/]"
        name = f"{check.topic} {check.name}" if topic in {"extra", "transport"} else check.name
        table.add_row(escape(name), value, escape(check.note))
    return table


def _versions() -> Iterator[Check]:
    yield Check("version", "mux-async", __version__)
    system = f"{platform.system()} {platform.machine()}, {sys.implementation.name}"
    yield Check("version", "Python", platform.python_version(), system)
    for library in _LIBRARIES:
        version = _version(library)
        yield Check("version", library, version or "-", "" if version else "not installed")


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def _extras() -> Iterator[Check]:
    """Say of each extra which of its libraries are installed."""
    libraries: dict[str, list[str]] = {}
    for requirement in importlib.metadata.requires("mux-async") or ():
        found = _EXTRA.match(requirement)
        if found is not None and not requirement.startswith("mux-async"):
            libraries.setdefault(found[2], []).append(found[1])
    for extra, names in sorted(libraries.items()):
        missing = [name for name in names if _version(name) is None]
        have = ", ".join(f"{name} {_version(name)}" for name in names if name not in missing)
        note = f"pip install 'mux-async[{extra}]' brings {', '.join(missing)}" if missing else have
        yield Check("extra", extra, "no" if missing else "yes", note)


def _transports() -> Iterator[Check]:
    for name in installed_transports():
        try:
            load_transport(name)
            yield Check("transport", name, "yes")
        except ConfigurationError as error:
            yield Check("transport", name, "no", str(error))


def _variables() -> Iterator[Check]:
    for name in VARIABLE_NAMES:
        value = os.environ.get(name)
        is_shown = name in _NOT_SECRET and "@" not in (value or "")  # a URL may hold a password
        shown = "not set" if not value else value if is_shown else "set"
        yield Check("variable", name, shown)


def _settings() -> Iterator[Check]:
    """Check what can be checked here: the profiles, the signing key, and the form of the webhook secret."""
    path = profiles_path()
    yield Check("settings", "profiles", "yes" if path.exists() else "no file", str(path))
    if os.environ.get("MUX_SIGNING_KEY") or os.environ.get("MUX_PRIVATE_KEY"):
        yield _loaded("signing key", "mux_async.signing", lambda signing: signing.Signer.from_environment())
    if os.environ.get("MUX_WEBHOOK_SECRET"):
        yield _loaded("webhook secret", "mux_async.webhooks", lambda webhooks: webhooks.WebhookRouter())


def _loaded(name: str, module: str, load: Callable[[Any], object]) -> Check:
    """Import *module*, which may need an extra, and call *load* with it."""
    try:
        load(import_module(module))
    except (MuxError, ValueError, TypeError) as error:
        return Check("settings", name, "cannot be used", str(error), is_ok=False)
    return Check("settings", name, "has the right form")


async def _online(client: Mux) -> list[Check]:
    """Ask the server, in one request that goes through the limits store."""
    lost: list[StoreLost] = []

    def listen(event: LimitEvent) -> None:
        if isinstance(event, StoreLost):
            lost.append(event)

    short = client.with_options(priority="interactive", deadline=_TIMEOUT, max_attempts=2)
    checks: list[Check] = []
    async with client:
        with client.limits.listen(listen):
            began = time.monotonic()
            try:
                answer = await short.system.utilities.with_raw_response.whoami()
            except MuxError as error:
                checks.append(Check("online", "whoami", "failed", str(error), is_ok=False))
            else:
                who = answer.value
                took = (time.monotonic() - began) * 1000
                place = f"{who.environment_name} of {who.organization_name} ({who.environment_type})"
                checks.append(Check("online", "whoami", place, f"token {who.access_token_name!r}, answered in {took:.0f} ms"))
                checks.append(Check("online", "permissions", ", ".join(who.permissions) or "none"))
                checks.append(_clock(answer.headers))
                if client.limits.low_priority is not None:
                    checks.append(await _low_priority(short, who.environment_id))
        checks.append(_limits_store(lost))
    return checks


async def _low_priority(client: Mux, environment: str | None) -> Check:
    """Check the token of low priority: if it is of another environment, batch calls change other objects."""
    name = "low-priority token"
    try:
        who = await client.with_options(priority="batch").system.utilities.whoami()
    except MuxError as error:
        return Check("online", name, "failed", str(error), is_ok=False)
    if who.environment_id == environment:
        return Check("online", name, "works", f"token {who.access_token_name!r}")
    return Check(
        "online", name, "of another environment", f"it is of {who.environment_name}: batch calls go there", is_ok=False
    )


def _clock(headers: Mapping[str, str]) -> Check:
    try:
        served = parsedate_to_datetime(headers["Date"])
    except (KeyError, ValueError, TypeError):
        return Check("online", "clock", "not known", "the server sends no date")
    skew = time.time() - served.timestamp()
    if abs(skew) <= _LARGEST_SKEW:
        return Check("online", "clock", "right", "within the second" if abs(skew) < 2 else f"off by {skew:+.0f} s")
    note = f"this machine's clock is off by {skew:+.0f} s: webhooks are refused, and tokens expire early or late; set the clock"
    return Check("online", "clock", "wrong", note, is_ok=False)


def _limits_store(lost: list[StoreLost]) -> Check:
    if not os.environ.get("MUX_LIMITS_URL"):
        return Check("online", "limits store", "this process", "MUX_LIMITS_URL shares them between processes")
    if lost:
        return Check("online", "limits store", "unreachable", f"{lost[0].store}: {lost[0].problem}", is_ok=False)
    return Check("online", "limits store", "reachable")
