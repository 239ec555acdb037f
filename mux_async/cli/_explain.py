"""``mux-async explain``: what happened to a call that failed in another process, from its log."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from mux_async._explain import explain as explain_error
from mux_async.cli._output import WRONG, complain, printable


def explain(
    file: Annotated[str, typer.Argument(metavar="[FILE]", help="File with JSON lines; - for standard input.")] = "-",
) -> None:
    """Explain failed calls: where the time went, who is at fault, whether to repeat it, and what to do.

    Reads lines of JSON and explains each that holds an error of this package, wherever in the line: what `error.to_dict()` returned, in a
    line of a log or by itself, and the line that --debug prints. Other lines are skipped.
    """
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8", "replace")
    except OSError as error:
        complain(f"{file!r} cannot be read ({error.strerror})")
        raise typer.Exit(WRONG) from None
    found = [each for line in text.splitlines() for each in errors_in(line)]
    if not found:
        complain("there is no error in it: a line must hold what error.to_dict() returns, as JSON")
        raise typer.Exit(WRONG)
    for number, each in enumerate(found):
        if number:
            typer.echo("-" * 60)
        for line in explain_error(each).splitlines():
            typer.echo(printable(line))


def errors_in(line: str) -> Iterator[Mapping[str, Any]]:
    """Yield the errors in a line of a log: JSON, perhaps with text before it."""
    start = line.find("{")
    if start < 0:
        return
    try:
        value: object = json.loads(line[start:])
    except (ValueError, RecursionError):
        return
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            members = cast("dict[str, Any]", value)
            if isinstance(members.get("type"), str) and isinstance(members.get("attempts"), list) and "message" in members:
                yield members
            else:
                waiting += members.values()
        elif isinstance(value, list):
            waiting += cast("list[object]", value)
