"""Reads pairs of options, and standard input, which may be closed, a terminal, or a pipe in non-blocking mode."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import BinaryIO, TextIO, cast

import typer

from mux_async.errors import InvalidRequestError
from mux_async.uploads._file_objects import READ_SIZE, FileObject


def read_pairs(option: str, given: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the pairs ``NAME=VALUE`` that were given with *option*. Raises `typer.BadParameter`."""
    for each in given:
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"{option} takes NAME=VALUE, and {each!r} is not of that form")
        yield name, value


def standard_input() -> BinaryIO:
    """Return standard input as a file of bytes. Raises `InvalidRequestError`: it is closed."""
    stream = cast("TextIO | None", sys.stdin)
    if stream is None:
        raise InvalidRequestError("standard input is closed: pipe something into this command, or name a file")
    return stream.buffer


def read_standard_input() -> bytes:
    """Read standard input to its end. Blocks. Raises `InvalidRequestError`: it is closed, or cannot be read."""
    stream = standard_input()
    file = FileObject(stream, stream.read)
    pieces: list[bytes] = []
    try:
        while piece := file.read(READ_SIZE):
            pieces.append(piece)
    except (OSError, ValueError) as error:
        raise InvalidRequestError(f"standard input cannot be read ({error})") from error
    return b"".join(pieces)
