"""Faults written as JSON: in a file, or in a control call.

The members are the fields of `Fault`, `WebhookFault` and `WorkFault`, by their names. A file holds all three kinds::

    {
        "requests": [{"method": "POST", "path": "/video/v1/assets", "nth": [2, 3], "status": 503}],
        "webhooks": [{"type": "video\\\\.asset\\\\..*", "chance": 0.1, "lose": true}],
        "work": [{"work": "track", "nth": 1, "message": "No words were found"}],
    }
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import orjson

from mux_async.emulator.faults._faults import Fault, WebhookFault, Work, WorkFault
from mux_async.emulator.validation._spec import JsonSchema
from mux_async.emulator.validation._validation import BOOLEAN, STRING, choice, lenient_validator, members, normalized

F = TypeVar("F", Fault, WebhookFault, WorkFault)


def _fault(required: Sequence[str] = (), /, **properties: JsonSchema) -> JsonSchema:
    return {**members(required, **properties), "additionalProperties": False}


_COUNT: JsonSchema = {"type": "integer", "minimum": 0}
_SECONDS: JsonSchema = {"type": "number", "minimum": 0}
_NTH: JsonSchema = {"type": ["integer", "array"], "minimum": 1, "items": {"type": "integer", "minimum": 1}}
_PATTERN: JsonSchema = {"type": "string", "format": "regex"}
_FAULT = _fault(
    method=STRING,
    path=_PATTERN,
    nth=_NTH,
    status={"type": "integer", "minimum": 100, "maximum": 599},
    body={},
    headers={"type": "object", "additionalProperties": True},
    acts=BOOLEAN,
    delay=_SECONDS,
    cut=choice("refuse", "before", "after"),
    after_bytes=_COUNT,
    truncate=_COUNT,
)
_WEBHOOK_FAULT = _fault(
    type=_PATTERN,
    url=_PATTERN,
    nth=_NTH,
    chance={"type": "number", "minimum": 0, "maximum": 1},
    lose=BOOLEAN,
    copies={"type": "integer", "minimum": 1, "maximum": 100},
    delay=_SECONDS,
    jitter=_SECONDS,
)
_WORK_FAULT = _fault(["work"], work=choice(*get_args(Work)), id=STRING, nth=_NTH, type=STRING, message=STRING)


def read_faults(value: object) -> list[Fault]:
    """Read faults of requests: one object, or a list. Raises `ValueError`: they are invalid; the message names the wrong member."""
    return _read(Fault, _FAULT, value)


def read_webhook_faults(value: object) -> list[WebhookFault]:
    """Read faults of deliveries, likewise."""
    return _read(WebhookFault, _WEBHOOK_FAULT, value)


def read_work_faults(value: object) -> list[WorkFault]:
    """Read faults of Mux's work, likewise."""
    return _read(WorkFault, _WORK_FAULT, value)


def read_faults_file(path: Path) -> tuple[list[Fault], list[WebhookFault], list[WorkFault]]:
    """Read a file of all kinds; the head of this module shows one.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no such file.
    """
    value: object = orjson.loads(path.read_bytes())
    if not isinstance(value, dict):
        raise ValueError("a file of faults holds an object with requests, webhooks and work")  # noqa: TRY004 - wrong content, not a wrong call
    found = cast("dict[str, object]", value)
    unknown = found.keys() - {"requests", "webhooks", "work"}
    if unknown:
        raise ValueError(f"a file of faults has requests, webhooks and work, and no {', '.join(sorted(unknown))}")
    return (
        read_faults(found.get("requests", [])),
        read_webhook_faults(found.get("webhooks", [])),
        read_work_faults(found.get("work", [])),
    )


def _read(kind: type[F], schema: JsonSchema, value: object) -> list[F]:
    given = cast("list[object]", value if isinstance(value, list) else [value])
    entries = [_without_nulls(cast("dict[str, object]", entry)) if isinstance(entry, dict) else entry for entry in given]
    problems = [problem for entry in entries for problem in lenient_validator().problems(entry, schema)]
    if problems:
        raise ValueError("; ".join(problems))
    return [kind(**cast("dict[str, Any]", entry)) for entry in entries]


def _without_nulls(entry: dict[str, object]) -> dict[str, object]:
    """Leave out null members, as in every body, but keep what a response's body holds."""
    return {name: value if name == "body" else normalized(value) for name, value in entry.items() if value is not None}
