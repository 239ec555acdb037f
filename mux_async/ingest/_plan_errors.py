"""What can be wrong with a list of things to ingest, said before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from mux_async.errors import InvalidRequestError


@attrs.frozen
class Problem:
    """One thing that is wrong, and what to mend. As text: ``films.csv, line 3, column 'title': ...``.

    Attributes:
        message: The sentence.
        manifest: Name of the manifest; ``None`` for what was named itself.
        line: Of the manifest, from 1; the last one of an entry that runs over several.
        column: Of a CSV manifest, or the member of a JSON object; ``None`` for the whole line.
    """

    message: str
    manifest: str | None = None
    line: int | None = None
    column: str | None = None

    def __str__(self) -> str:
        where = [
            *([self.manifest] if self.manifest is not None else ()),
            *([f"line {self.line}"] if self.line is not None else ()),
            *([f"column {self.column!r}"] if self.column is not None else ()),
        ]
        return f"{', '.join(where)}: {self.message}" if where else self.message


class PlanError(InvalidRequestError):
    """Something about what was to be ingested is wrong. Nothing was sent.

    Attributes:
        problems: Everything that is wrong, in the order of the sources.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems: tuple[Problem, ...] = tuple(problems)
