"""The command line: all commands, and how errors are printed."""

from __future__ import annotations

import inspect
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from mux_async._version import __version__
from mux_async.cli._examples import examples_of
from mux_async.cli._network import CommonCaFile, CommonProxy, CommonTrustEnv, Network, set_network, with_network
from mux_async.cli._output import STOPPED, explain
from mux_async.cli._profiles import VARIABLES, apply_profile, complete_profile, make_profiles_app
from mux_async.errors import MuxError


class _Commands(TyperGroup):
    """Prints errors of the SDK as one sentence; with ``--debug`` with their traceback."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _LazyCommands()

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - of typer
        return list(self.commands)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        # `ingest submit --on URL` is `ingest-submit`. Without --on, `submit` is a file or a folder to ingest, if there is one.
        if len(args) > 1 and args[0] == "ingest" and args[1] in _ON_MANY_HOSTS and _is_command(args):
            args = [f"ingest-{args[1]}{'-on' if args[1] == 'status' else ''}", *args[2:]]
        elif args and args[0] == "emulate":
            args = [*_with_ports(args)]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (MuxError, KeyboardInterrupt, BaseExceptionGroup) as error:
            if ctx.params.get("debug"):
                if isinstance(error, MuxError):  # for `mux-async explain`
                    typer.echo(json.dumps(error.to_dict()), err=True)
                raise
            if (code := explain(error)) is None:
                raise
            raise typer.Exit(code) from None


_ON_MANY_HOSTS = frozenset({"new-key", "report", "retry-failed", "status", "submit", "work"})


def _is_command(args: Sequence[str]) -> bool:
    if args[1] == "new-key" or "MUX_INGEST_DATABASE" in os.environ or not os.path.exists(args[1]):  # noqa: PTH110 - imports less
        return True
    return any(each in {"--on", "--help"} or each.startswith("--on=") for each in args)


_PORTS: Final = {"--rtmp": "5222", "--srt": "6001"}
"""Options of `emulate` whose port can be left out, which typer does not have. The ports are those of Mux."""


def _with_ports(args: Sequence[str]) -> Iterator[str]:
    for number, each in enumerate(args):
        has_value = number + 1 < len(args) and not args[number + 1].startswith("-")
        yield f"{each}={_PORTS[each]}" if each in _PORTS and not has_value else each


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"mux-async {__version__}")
        raise typer.Exit


def _use_profile(ctx: typer.Context, name: str | None) -> None:
    """Set the variables of the profile in the environment while the command runs."""
    if ctx.resilient_parsing or ctx.invoked_subcommand in _WITHOUT_PROFILE:
        return
    before = dict(os.environ)
    apply_profile(name, os.environ)

    @ctx.call_on_close
    def restore() -> None:
        for variable in VARIABLES.values():
            os.environ.pop(variable, None)
            if variable in before:
                os.environ[variable] = before[variable]


_WITHOUT_PROFILE = frozenset(
    {
        "bulk-status",
        "demo",
        "emulate",
        "emulate-ca",
        "explain",
        "ingest-new-key",
        "ingest-report",
        "ingest-retry-failed",
        "ingest-status",
        "ingest-status-on",
        "ingest-submit",
        "profiles",
        "replay",
    }
)
"""Commands that use no credentials: a profile that cannot be read must not stop them."""


def _common(
    ctx: typer.Context,
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Log every attempt, and show errors with their traceback.")] = False,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            envvar="MUX_PROFILE",
            metavar="NAME",
            autocompletion=complete_profile,
            help="Use the credentials of this profile; see `mux-async profiles`.",
        ),
    ] = None,
    proxy: CommonProxy = None,
    ca_file: CommonCaFile = None,
    trust_env: CommonTrustEnv = False,
) -> None:
    """Work with Mux from the command line: ingest files, try things on an emulator.

    Credentials come from --profile, else from MUX_TOKEN_ID and MUX_TOKEN_SECRET, else from the default profile.

    The server is that of MUX_BASE_URL; Mux itself when not set.
    """
    _use_profile(ctx, profile)
    set_network(Network(proxy, ca_file, trust_env))
    if debug:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(relativeCreated)8d %(name)s: %(message)s")
        logging.getLogger("mux_async").setLevel(logging.DEBUG)


def _paragraphs(command: Callable[..., None]) -> str:
    """Return a command's docstring with the lines of each paragraph joined, since a terminal has another width."""
    return "\n\n".join(" ".join(each.split()) for each in inspect.cleandoc(command.__doc__ or "").split("\n\n"))


_MODULES: Final = {
    "demo": "_demo",
    "ingest": "_ingest",
    "ingest-status": "_ingest",
    "ingest-submit": "_ingest_hosts",
    "ingest-work": "_ingest_hosts",
    "ingest-status-on": "_ingest_hosts",
    "ingest-retry-failed": "_ingest_hosts",
    "ingest-report": "_ingest_hosts",
    "ingest-new-key": "_ingest_hosts",
    "bulk": "_bulk",
    "bulk-status": "_bulk",
    "upload": "_upload",
    "emulate": "emulate",
    "sign": "_sign",
    "api": "_api",
    "limits": "_limits",
    "doctor": "_doctor",
    "drift": "_drift",
    "replay": "_replay",
    "explain": "_explain",
}
"""The module of each command. It has a function of the same name."""
_SENDING: Final = frozenset({"ingest", "ingest-work", "bulk", "upload", "api", "limits", "doctor", "drift"})
"""Commands that take options of the network."""


def _load_command(name: str) -> Any:
    """Import a command. What it needs is the largest part of its start: together they take three times as long."""
    if name == "profiles":
        return typer.main.get_group(make_profiles_app())
    if name == "webhooks":
        from mux_async.cli._webhooks import make_webhooks_app

        return typer.main.get_group(make_webhooks_app())
    if name == "emulate-ca":
        from mux_async.cli._emulated_tls import make_emulate_ca_app

        return typer.main.get_group(make_emulate_ca_app())
    function: Callable[..., None] = getattr(import_module(f"mux_async.cli.{_MODULES[name]}"), name.replace("-", "_"))
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    made = with_network(function) if name in _SENDING else function
    hidden = name == "ingest-status-on"  # `ingest status --on`; the name without the suffix is taken by journals
    app.command(name, help=_paragraphs(function), epilog=examples_of(name), hidden=hidden)(made)
    return typer.main.get_command(app)


class _LazyCommands(MutableMapping[str, Any]):
    """All commands by name, imported on use."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = dict.fromkeys([*_MODULES, "emulate-ca", "profiles", "webhooks"])

    def __getitem__(self, name: str) -> Any:
        if self._loaded[name] is None:
            self._loaded[name] = _load_command(name)
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded)

    def __len__(self) -> int:
        return len(self._loaded)


def make_app() -> typer.Typer:
    """Return the whole command line."""
    app = typer.Typer(
        name="mux-async", cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich"
    )
    app.callback(epilog=examples_of(""))(_common)
    return app


def run(arguments: Sequence[str]) -> None:
    """Run the command line and exit with its code."""
    try:
        make_app()(args=list(arguments), prog_name="mux-async")
    except KeyboardInterrupt:
        sys.exit(STOPPED)
