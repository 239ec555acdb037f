"""Problems of sources and manifests, reported before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from mux_async.errors import InvalidRequestError


@attrs.frozen
class Problem:
    """One problem and how to fix it. As text: ``films.csv, line 3, column 'title': ...``.

    Attributes:
        message: What is wrong.
        manifest: Name of the manifest; ``None`` for a source.
        line: Of the manifest, from 1; the last line of an entry that has several.
        column: Column of a CSV manifest, or member of a JSON object; ``None`` for the whole line.
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
    """The sources or manifests of an ingest have problems. Nothing was sent.

    Attributes:
        problems: All problems, in the order of the sources.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems: tuple[Problem, ...] = tuple(problems)
