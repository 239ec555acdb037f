"""Faults written as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest

from mux_async.emulator import Fault, WebhookFault, WorkFault, read_faults_file

REQUEST: dict[str, Any] = {
    "method": "POST",
    "path": "/video/v1/assets",
    "nth": [1, 3],
    "status": 503,
    "body": {"any": "thing"},
    "headers": {"Retry-After": "1"},
    "acts": True,
    "delay": 0.5,
    "cut": "after",
    "after_bytes": 10,
    "truncate": 5,
}
WEBHOOK: dict[str, Any] = {
    "type": "video\\..*",
    "url": "https://.*",
    "nth": 2,
    "chance": 0.5,
    "lose": True,
    "copies": 2,
    "delay": 1,
    "jitter": 0.5,
}
WORK: dict[str, object] = {"work": "track", "id": "abc", "nth": [1, 2], "type": "invalid_input", "message": "on purpose"}


def test_all_members(tmp_path: Path) -> None:
    """Every field of each kind of fault can be written, and is read as it was written; a single fault needs no list."""
    path = tmp_path / "faults.json"
    path.write_bytes(orjson.dumps({"requests": [REQUEST], "webhooks": WEBHOOK, "work": WORK}))
    requests, webhooks, work = read_faults_file(path)

    assert set(REQUEST) == {field.name for field in attrs.fields(Fault)}
    assert set(WEBHOOK) == {field.name for field in attrs.fields(WebhookFault)}
    assert set(WORK) == {field.name for field in attrs.fields(WorkFault)}
    assert [attrs.asdict(fault) for fault in requests] == [REQUEST]
    assert [attrs.asdict(fault) for fault in webhooks] == [WEBHOOK]
    assert [attrs.asdict(fault) for fault in work] == [WORK]


def test_file(tmp_path: Path) -> None:
    """A file holds faults of requests, of webhooks and of work; each kind may be missing."""
    path = tmp_path / "faults.json"
    path.write_bytes(orjson.dumps({"requests": [REQUEST, {"status": 500}], "webhooks": [WEBHOOK], "work": [WORK]}))
    found = read_faults_file(path)
    path.write_text("{}")

    assert [len(kind) for kind in found] == [2, 1, 1]
    assert read_faults_file(path) == ([], [], [])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[]", "requests, webhooks and work"),
        ('{"request": []}', "no request"),
        ('{"requests": [{"statuts": 500}]}', "statuts"),
        ('{"requests": [{"status": 42}]}', "status"),
        ('{"requests": [{"path": "("}]}', "regular expression"),
        ('{"webhooks": [{"chance": 7}]}', "chance"),
        ('{"webhooks": 5}', "object"),
        ('{"work": [{"nth": 1}]}', "work is required"),
        ("{", "unexpected end"),
    ],
)
def test_mistakes(tmp_path: Path, value: str, message: str) -> None:
    """An error names the member that is wrong."""
    path = tmp_path / "faults.json"
    path.write_text(value)

    with pytest.raises(ValueError, match=message):
        read_faults_file(path)
