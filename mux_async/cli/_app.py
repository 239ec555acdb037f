"""The commands put together, and the one place where errors become sentences."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mux_async._version import __version__
from mux_async.cli._output import STOPPED, explain
from mux_async.errors import MuxError


class _Commands(TyperGroup):
    """Prints what the SDK raises as one sentence; with ``--debug`` it comes out with its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (MuxError, KeyboardInterrupt, BaseExceptionGroup) as error:
            if ctx.params.get("debug"):
                raise
            code = explain(error)
            if code is None:
                raise
            raise typer.Exit(code) from None


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"mux-async {__version__}")
        raise typer.Exit


def _common(
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Log every attempt, and show errors with their traceback.")] = False,
) -> None:
    """Work with Mux from the command line: ingest files, try things on an emulator.

    Credentials come from MUX_TOKEN_ID and MUX_TOKEN_SECRET, the server from MUX_BASE_URL (Mux itself when not set).
    """
    if debug:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(relativeCreated)8d %(name)s: %(message)s")
        logging.getLogger("mux_async").setLevel(logging.DEBUG)


def _paragraphs(command: Callable[..., None]) -> str:
    """Return a command's docstring with its lines joined: a terminal breaks them where it ends, and not where the source did."""
    return "\n\n".join(" ".join(each.split()) for each in inspect.cleandoc(command.__doc__ or "").split("\n\n"))


def make_app() -> typer.Typer:
    """Return the whole command line."""
    from mux_async.cli._demo import demo
    from mux_async.cli._doctor import doctor
    from mux_async.cli._ingest import ingest, ingest_status
    from mux_async.cli._limits import limits
    from mux_async.cli._sign import sign
    from mux_async.cli._upload import upload
    from mux_async.cli._webhooks import make_webhooks_app
    from mux_async.cli.emulate import emulate

    app = typer.Typer(
        name="mux-async", cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich"
    )
    app.callback()(_common)
    for command in (demo, ingest, ingest_status, upload, emulate, sign, limits, doctor):
        app.command(help=_paragraphs(command))(command)
    app.add_typer(make_webhooks_app())
    return app


def run(arguments: Sequence[str]) -> None:
    """Run the command line and exit with its code."""
    try:
        make_app()(args=list(arguments), prog_name="mux-async")
    except KeyboardInterrupt:
        sys.exit(STOPPED)
