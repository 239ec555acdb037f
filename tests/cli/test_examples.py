"""Examples in ``--help``: every command has some, and they hold against its options."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest
import typer
from typer.core import TyperCommand, TyperGroup

from mux_async.cli._app import make_app
from mux_async.cli._examples import EXAMPLES
from tests.cli.commands import run_here

PROGRAM = typer.main.get_command(make_app())


def commands(found: object, path: str = "") -> Iterator[str]:
    assert isinstance(found, TyperGroup | TyperCommand)
    yield path
    if isinstance(found, TyperGroup):
        for name, each in found.commands.items():
            yield from commands(each, f"{path} {name}".strip())


NAMES = sorted(commands(PROGRAM))


@pytest.mark.parametrize("name", NAMES)
def test_shown(name: str) -> None:
    """The help of every command ends with its examples."""
    shown = run_here(*name.split(), "--help", env={"COLUMNS": "200"}).stdout
    _, found, examples = shown.partition("Examples")

    assert found
    for example in EXAMPLES[name]:
        assert f"$ {example}" in examples


@pytest.mark.parametrize("example", [each for examples in EXAMPLES.values() for each in examples])
def test_options(example: str) -> None:
    """Each example names a command that there is, and options that it takes."""
    words = shlex.split(next(part for part in example.split("| ") if part.startswith("mux-async")))[1:]
    words = words[: words.index("|")] if "|" in words else words
    found: object = PROGRAM
    context = None
    while isinstance(found, TyperGroup):
        parser = found.make_parser(found.context_class(found, parent=context))
        parser.allow_interspersed_args = False
        _, words, _ = parser.parse_args(words)
        context = found.context_class(found, parent=context)
        name, *words = words
        found = found.get_command(context, name)
    assert isinstance(found, TyperCommand), example
    found.make_parser(found.context_class(found, parent=context)).parse_args(words)
