"""Faults written as JSON: in a file, or in a control call.

The members are the fields of `Fault`, `WebhookFault` and `WorkFault`, by their names. A file holds all three kinds::

    {
        "requests": [{"method": "POST", "path": "/video/v1/assets", "nth": [2, 3], "status": 503}],
        "webhooks": [{"type": "video\\\\.asset\\\\..*", "chance": 0.1, "lose": true}],
        "work": [{"work": "track", "nth": 1, "message": "No words were found"}],
    }
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import attrs
import orjson

from mux_async.emulator.faults._request_faults import Fault
from mux_async.emulator.faults._webhook_faults import WebhookFault
from mux_async.emulator.faults._work_faults import Work, WorkFault
from mux_async.emulator.validation._shapes import Shape, any_of, choice, flag, items, members, number, string

F = TypeVar("F", Fault, WebhookFault, WorkFault)


def _anything(value: object, name: str, problems: list[str]) -> None:
    del value, name, problems


_nth = any_of(number(1, whole=True), items(number(1, whole=True)))
_FAULT: dict[str, Shape] = {
    "method": string(),
    "path": string(),
    "nth": _nth,
    "status": number(100, 599, whole=True),
    "body": _anything,
    "headers": members(),
    "acts": flag(),
    "delay": number(0),
    "cut": choice("refuse", "before", "after"),
    "after_bytes": number(0, whole=True),
    "truncate": number(0, whole=True),
}
_WEBHOOK_FAULT: dict[str, Shape] = {
    "type": string(),
    "url": string(),
    "nth": _nth,
    "chance": number(0, 1),
    "lose": flag(),
    "copies": number(1, 100, whole=True),
    "delay": number(0),
    "jitter": number(0),
}
_WORK_FAULT: dict[str, Shape] = {
    "work": choice(*get_args(Work)),
    "id": string(),
    "nth": _nth,
    "type": string(),
    "message": string(),
}
_PATTERNS = ("path", "type", "url")


def read_faults(value: object) -> list[Fault]:
    """Read faults of requests: one object, or a list.

    Raises:
        ValueError: They are none; the message says which member is wrong.
    """
    return _read(Fault, _FAULT, value)


def read_webhook_faults(value: object) -> list[WebhookFault]:
    """Read faults of deliveries, likewise."""
    return _read(WebhookFault, _WEBHOOK_FAULT, value)


def read_work_faults(value: object) -> list[WorkFault]:
    """Read faults of what Mux works on, likewise."""
    return _read(WorkFault, _WORK_FAULT, value, required=["work"])


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


def _read(kind: type[F], shapes: dict[str, Shape], value: object, required: Sequence[str] = ()) -> list[F]:
    entries = cast("Sequence[object]", value) if isinstance(value, list) else [value]
    problems: list[str] = []
    for entry in entries:
        members(required, **shapes)(entry, "", problems)
        if isinstance(entry, dict):
            given = cast("dict[str, Any]", entry)
            problems += [f"{key} is no member of a fault" for key in given if key not in shapes]
            problems += [f"{key} must be a regular expression" for key in _PATTERNS if not _compiles(given.get(key))]
    if problems:
        raise ValueError("; ".join(problems))
    known = {field.name for field in attrs.fields(kind)}
    return [
        # As in every body, null stands for what is not there.
        kind(**{key: member for key, member in cast("dict[str, Any]", entry).items() if key in known and member is not None})
        for entry in entries
    ]


def _compiles(pattern: object) -> bool:
    try:
        re.compile(pattern if isinstance(pattern, str) else "")
    except re.error:
        return False
    return True
