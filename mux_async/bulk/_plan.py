"""Plans a bulk change: every row becomes a call, or a problem. Nothing is sent."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast

import attrs

from mux_async._idempotency.search import set_key
from mux_async._operation import Replay
from mux_async._wire import build_request
from mux_async.bulk._operations import Method, is_destructive
from mux_async.bulk._rows import RowError
from mux_async.errors import ConfigurationError, InvalidRequestError

if TYPE_CHECKING:
    from typing import Any

    from mux_async._arguments import Arguments
    from mux_async._config import Config
    from mux_async._operation import Operation
    from mux_async.transport import Timeouts

_MOST_SHOWN: Final = 20
_SAMPLE_KEY: Final = "bulk-0123456789abcdef-100000000"
"""As long as the longest key that a run sets."""


@attrs.frozen
class RowProblem:
    """A row that cannot be sent.

    Attributes:
        row: Its line in the list, or its number among the given rows; from 1.
        message: What is wrong, and how to mend it.
    """

    row: int
    message: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.message}"


class BulkPlanError(InvalidRequestError):
    """Rows of a bulk change have problems. Nothing was sent.

    Attributes:
        problems: All of them.
    """

    def __init__(self, problems: Sequence[RowProblem]) -> None:
        more = f"; and {len(problems) - _MOST_SHOWN} more rows" if len(problems) > _MOST_SHOWN else ""
        super().__init__("; ".join(map(str, problems[:_MOST_SHOWN])) + more)
        self.problems: tuple[RowProblem, ...] = tuple(problems)


@attrs.frozen(eq=False)
class PlannedCall:
    """One call of a bulk change.

    Attributes:
        row: Its line in the list, or its number among the given rows; from 1.
        key: Identifies it in the journal: a hash of the request, and the number of the rows before it that make the same request.
        label: The arguments in the path, for display: ``asset_id=abc``. Without those, the number of the row.
    """

    row: int
    key: str
    label: str
    arguments: Arguments = attrs.field(repr=False)
    takes_key: bool = False
    """Whether a run can set an idempotency key of its own."""
    values: Mapping[str, object] = attrs.field(factory=dict[str, object], repr=False)
    """Of the row, with those of all rows: what *arguments* were made from."""


@attrs.frozen(eq=False)
class BulkPlan:
    """What a bulk change would do.

    Attributes:
        operation: Id of the operation.
        line: Its HTTP method and path.
        calls: One for each row, in the order of the rows.
        problems: Rows that are left out.
        warnings: What the rows probably say by mistake, each text once.
        is_destructive: Whether the operation destroys something for good, so that `confirmation` is needed.
        on_unknown: What a run does with a row if it is not known whether its request was performed.
    """

    operation: str
    line: str
    calls: tuple[PlannedCall, ...] = attrs.field(repr=False)
    problems: tuple[RowProblem, ...] = attrs.field(repr=False)
    warnings: tuple[str, ...]
    is_destructive: bool
    on_unknown: str
    api: Operation[Any] = attrs.field(repr=False)
    """The operation itself."""

    @property
    def confirmation(self) -> str | None:
        """The text that permits a destructive run: the operation and the number of rows. ``None`` if none is needed."""
        return f"{self.operation} {len(self.calls)}" if self.is_destructive else None

    def check_confirmation(self, text: str | None) -> None:
        """Check that *text* permits the run.

        Raises:
            ConfigurationError: The operation destroys something, and *text* is not `confirmation`.
        """
        if self.is_destructive and text != self.confirmation:
            raise ConfigurationError(
                f"{self.operation} cannot be undone: nothing was sent. Look at the plan, then confirm={self.confirmation!r}"
            )

    def __str__(self) -> str:
        lines = [
            f"{self.operation} ({self.line}) for {len(self.calls)} {'row' if len(self.calls) == 1 else 'rows'}",
            *(f"  {call.label}" for call in self.calls[:3]),
            *(["  ..."] if len(self.calls) > 3 else []),
            f"if the outcome of a request is unknown: {self.on_unknown}",
            *(f"warning: {each}" for each in self.warnings),
            *(f"left out: {each}" for each in self.problems[:_MOST_SHOWN]),
        ]
        if len(self.problems) > _MOST_SHOWN:
            lines.append(f"left out: {len(self.problems) - _MOST_SHOWN} more rows")
        if self.is_destructive:
            lines.append("this cannot be undone")
        return "\n".join(lines)


def make_bulk_plan(
    method: Method,
    rows: Iterable[tuple[int, str | Mapping[str, object] | RowError]],
    common: Mapping[str, object],
    config: Config,
    timeouts: Timeouts,
) -> BulkPlan:
    """Plan a call for each row.

    Args:
        method: Of the operation.
        rows: With their numbers. A text is the value of the only required argument.
        common: Values of all rows; those of a row win.
        config: Of the client: requests are built as it would build them, which checks every value.
        timeouts: Of its requests.
    """
    operation = method.operation
    calls: list[PlannedCall] = []
    problems: list[RowProblem] = []
    seen: Counter[str] = Counter()
    found_warnings: dict[str, None] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number, row in rows:
            try:
                values = {**common, **_values(method, row, common)}
                arguments = method.record(values)[1]
                request = build_request(operation, arguments, config, timeouts)
                takes_key = _takes_key(operation, arguments)
            except (InvalidRequestError, RowError) as error:
                problems.append(RowProblem(number, str(error)))
                continue
            finally:
                for warning in caught:
                    found_warnings.setdefault(str(warning.message))
                caught.clear()
            content = f"{request.method} {request.url.removeprefix(config.base_url)}\n".encode() + (
                cast("bytes", request.body) or b""
            )
            digest = hashlib.blake2b(content, digest_size=16).hexdigest()
            seen[digest] += 1
            label = " ".join(f"{name.lower()}={value}" for name, value in arguments.path.items()) or f"row {number}"
            calls.append(PlannedCall(number, f"{digest}-{seen[digest]}", label, arguments, takes_key, values))
    if doubled := _doubled(operation, calls):
        found_warnings.setdefault(doubled)
    if not calls and not problems:
        found_warnings.setdefault("the list has no rows; the first line of a table is its header")
    return BulkPlan(
        operation=operation.id,
        line=operation.line,
        calls=tuple(calls),
        problems=tuple(problems),
        warnings=tuple(found_warnings),
        is_destructive=is_destructive(operation),
        on_unknown=_on_unknown(operation, calls),
        api=operation,
    )


def numbered(
    rows: Iterable[str | Mapping[str, object]],
) -> Iterator[tuple[int, str | Mapping[str, object] | RowError]]:
    """Number rows that a program gives, from 1; what is not a row is an error in its place."""
    for number, row in enumerate(rows, 1):
        if isinstance(cast("object", row), str | Mapping):
            yield number, row
        else:
            yield (
                number,
                RowError(f"it is of type {type(row).__name__}; it must be a mapping of argument names to values, or a text"),
            )


def _values(method: Method, row: str | Mapping[str, object] | RowError, common: Mapping[str, object]) -> Mapping[str, object]:
    if isinstance(row, RowError):
        raise row
    if isinstance(row, Mapping):
        return row
    missing = [name for name in method.required if name not in common]
    if len(missing) != 1:
        needs = f"needs {', '.join(missing)}" if missing else "needs no argument from it"
        raise RowError(f"it is a text, and {method.operation.id} {needs}: use a table or JSON lines, which name their values")
    return {missing[0]: row}


def _doubled(operation: Operation[Any], calls: Sequence[PlannedCall]) -> str | None:
    """Return a warning if rows change the same object: they are sent at the same time, so that any of them may be the last."""
    if operation.method not in {"PUT", "PATCH", "DELETE"}:
        return None
    label, count = next(iter(Counter(call.label for call in calls).most_common(1)), ("", 0))
    return f"{count} rows are of {label}, and are performed in any order" if count > 1 else None


def _takes_key(operation: Operation[Any], arguments: Arguments) -> bool:
    if operation.once is None or operation.replay is not Replay.NEVER or arguments.once is not None:
        return False
    try:
        set_key(operation, attrs.evolve(arguments, once=_SAMPLE_KEY))
    except InvalidRequestError:  # the row uses the field itself
        return False
    return True


def _on_unknown(operation: Operation[Any], calls: Sequence[PlannedCall]) -> str:
    if operation.replay is not Replay.NEVER:
        return "it is sent again; twice has the same effect as once"
    with_key = sum(call.takes_key or call.arguments.once is not None for call in calls)
    if operation.once is None or not with_key:
        return "the row is reported as unknown, and not sent again"
    finds = f"what it made is searched for by a key in {operation.once.field}, and it is sent again if nothing is found"
    if with_key == len(calls):
        return finds
    return f"{finds}; {len(calls) - with_key} rows set that field themselves and are reported as unknown"
