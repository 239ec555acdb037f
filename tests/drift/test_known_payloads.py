"""What Mux is known to send has no drift: every operation, every event, and everything that the emulator sends on a tour of the API."""

from __future__ import annotations

import warnings
from functools import partial
from random import Random
from typing import Any
from uuid import uuid4

import orjson
import pytest

from mux_async import DriftError, LimitSettings, Mux
from mux_async.drift import drift
from mux_async.emulator import EmulatorSettings, Response
from mux_async.testing import FakeTransport, check_drift, respond
from mux_async.transport import HttpResponse
from mux_async.webhooks import UnknownEvent
from mux_async.webhooks.events import parse_event_text
from tests.emulator import tour
from tests.emulator.harness import Account
from tests.emulator.validating import event_facts, operation_id
from tests.generated import spec
from tests.generated.test_operations import arguments, call

KNOWN = {"unknown field AssetShots.asset_id"}
"""Events about shots have the id of their asset (facts/BEHAVIOUR.md, section 7.2), which their schema lacks."""

pytestmark = [pytest.mark.anyio, pytest.mark.runtimes("asyncio")]  # what is decoded depends on the bytes alone


def strict(transport: FakeTransport) -> Mux:
    return Mux(
        token_id="id",
        token_secret="secret",
        base_url="https://api.mux.com",
        account=f"drift-{uuid4()}",
        transport=transport,
        limits=LimitSettings(enabled=False),
        strict=True,
    )


def answer_to(operation: spec.Operation, random: Random, _request: object) -> HttpResponse:
    """A response with every member that the facts know, and no other."""
    status, kind, schema = operation.answer
    if kind != "application/json":
        return respond(status, body=b"WEBVTT", headers={"Content-Type": kind or "text/plain"})
    return respond(status, json=spec.make(schema, random, is_answer=False))


async def test_operations() -> None:
    """A strict client takes a response with every known member from each of the 218 operations, and nothing is counted."""
    operations = spec.operations()
    assert len(operations) == 218
    for operation in operations:
        for seed in range(1):
            random = Random(f"{operation.id} {seed}")
            path, keywords = arguments(operation, random)
            async with strict(FakeTransport(partial(answer_to, operation, random))) as mux:
                with warnings.catch_warnings(action="ignore"):
                    await call(mux, operation, path, keywords)

    assert str(drift.report()) == "Mux sent nothing that this version has no name for."


def event(type: str, data: object) -> bytes:
    return orjson.dumps(
        {
            "type": type,
            "id": "e1",
            "created_at": "2026-12-01T10:00:00.000000Z",
            "object": {"type": "asset", "id": "a1"},
            "environment": {"name": "Production", "id": "env1"},
            "data": data,
            "attempts": [],
            "request_id": None,
            "accessor": None,
            "accessor_source": None,
        }
    )


def test_events() -> None:
    """An event of each of the 206 types, with every known member, has no drift, whether its data is nested under its type or not."""
    assert len(event_facts()) == 206
    for name, reference in event_facts().items():
        data = spec.make({"$ref": reference}, Random(name), is_answer=False)
        for content in (data, {name: data}):
            received = parse_event_text(event(name, content))
            assert not isinstance(received, UnknownEvent)
            check_drift(received)

    assert not drift.report()


class Recording(Account):
    """An account that keeps its responses of success, by operation."""

    def __init__(self, settings: EmulatorSettings) -> None:
        super().__init__(settings)
        self.kept: list[tuple[str, Response]] = []

    def send(self, method: str, target: str, body: object = None, **more: Any) -> Response:
        response = super().send(method, target, body, **more)
        if (found := operation_id(method, target)) is not None and 200 <= response.status < 300:
            self.kept.append((found, response))
        return response


@pytest.mark.proof
async def test_emulator() -> None:
    """A strict client takes every response of the emulator on a tour that calls all operations, and every event: there is drift only in
    objects of which the facts say that their fields are unknown."""
    account = Recording(EmulatorSettings(limits=None, accept_robots_terms=True))
    tour.everything(account)
    operations = {operation.id: operation for operation in spec.operations()}
    assert {name for name, _ in account.kept} == operations.keys()

    unknown = {name for name, schema in spec.schemas().items() if schema.get("additionalProperties") is True}
    """Objects of which the facts say that their fields are not known; the emulator makes some up."""
    found: list[str] = []
    for name, response in account.kept:
        path, keywords = arguments(operations[name], Random(name))

        def answer(_: object, made: Response = response) -> HttpResponse:
            return respond(made.status, body=made.body, headers=dict(made.headers))

        async with strict(FakeTransport(answer)) as mux:
            with warnings.catch_warnings(action="ignore"):
                try:
                    await call(mux, operations[name], path, keywords)
                except DriftError as error:
                    found.extend(error.places)
    for sent in account.emulator.events:
        try:
            check_drift(parse_event_text(sent.body.encode()))
        except DriftError as error:
            found.extend(error.places)

    assert found
    places = {place.partition(" (")[0] for place in found}
    assert {place for place in places if place.partition(".")[0].removeprefix("unknown field ") not in unknown} == KNOWN
