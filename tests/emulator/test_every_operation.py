"""Every operation that Mux describes, exercised: what is answered is what is described, with memory and without.

schemathesis makes up the requests; jsonschema (draft 2020-12, as OpenAPI 3.1 asks for) judges the answers of whole life cycles.
"""

from __future__ import annotations

import pytest

from mux_async.emulator import EmulatorSettings
from tests.emulator import tour
from tests.emulator.described import Check, described, drive
from tests.emulator.harness import Account
from tests.emulator.judging import Judged
from tests.generated import spec

EVERY = sorted(operation.id for operation in spec.operations())
MEDIA = sorted(operation.id for operation in spec.operations() if operation.raw["x-host"] != "https://api.mux.com")
"""Answers of the stream and image hosts: described as nothing but bytes, and never as an error."""

EXAMPLES = 3
"""Requests per operation and way; more were tried once, and found the same."""


def conformance(operation_id: str) -> list[Check]:
    if operation_id in MEDIA:
        return ["not_a_server_error"]
    return ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]


def test_every_operation_is_driven() -> None:
    """The tool sees all 179 operations, and no other."""
    assert sorted(described()) == EVERY
    assert len(EVERY) == 179


@pytest.mark.parametrize("operation_id", EVERY)
def test_stub_accepts(operation_id: str) -> None:
    """Without memory, every request that fits the description, for any id, gets the described answer."""
    answers: list[None] = []
    account = Account(EmulatorSettings(limits=None, stub=True))
    drive(
        account,
        operation_id,
        fitting=True,
        checks=[*conformance(operation_id), "positive_data_acceptance"],
        examples=EXAMPLES,
        each=lambda: answers.append(None),
    )

    assert answers
    assert {arrival.status for arrival in account.emulator.arrivals} <= {200, 201, 202, 204}


REJECTABLE = [operation_id for operation_id in EVERY if operation_id != "video.playback.static_rendition"]
"""All but the one whose list of file names is known to be too short (facts/README.md, Oddities)."""


@pytest.mark.parametrize("operation_id", REJECTABLE)
def test_stub_refuses(operation_id: str) -> None:
    """Without memory, a request that does not fit the description is refused with the described error."""
    account = Account(EmulatorSettings(limits=None, stub=True))
    drive(
        account,
        operation_id,
        fitting=False,
        checks=[*conformance(operation_id), "negative_data_rejection"],
        examples=EXAMPLES,
    )


@pytest.mark.parametrize("operation_id", EVERY)
def test_stateful_answers(operation_id: str) -> None:
    """With memory, made-up requests, mostly about things that do not exist, get an answer that is described, and never a failure."""
    drive(
        Account(EmulatorSettings(limits=None)),
        operation_id,
        fitting=True,
        checks=conformance(operation_id),
        examples=EXAMPLES,
    )


def test_tour() -> None:
    """With memory, every operation succeeds on things that are there, and each answer, and each event, is as described."""
    guest = Judged(EmulatorSettings(limits=None))
    tour.everything(guest)

    assert sorted(set(EVERY) - guest.answered) == []
    assert len(guest.events) > 50
