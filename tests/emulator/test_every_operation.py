"""Every operation that Mux describes: the responses are as described, with state and without.

schemathesis generates requests; jsonschema (draft 2020-12, as OpenAPI 3.1 asks for) validates the responses of whole life cycles.
"""

from __future__ import annotations

import pytest

from mux_async.emulator import EmulatorSettings
from tests.emulator import tour
from tests.emulator.described import Check, described, drive
from tests.emulator.harness import Account
from tests.emulator.validating import ValidatingAccount
from tests.generated import spec

EVERY = sorted(operation.id for operation in spec.operations())
MEDIA = sorted(operation.id for operation in spec.operations() if operation.raw["x-host"] != "https://api.mux.com")
"""Operations of the stream and image hosts: their responses are described as bytes, and their errors by status alone."""

ANSWERED: list[Check] = ["not_a_server_error", "response_schema_conformance"]
"""With state, some parameters that do not fit are ignored, as Mux does, and not refused."""

EXAMPLES = 3
"""Requests per operation, fitting or not; more were tried once, and found the same."""


def conformance(operation_id: str) -> list[Check]:
    if operation_id in MEDIA:
        return ["not_a_server_error", "status_code_conformance"]
    return ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]


@pytest.mark.proof
def test_every_operation_is_driven() -> None:
    """schemathesis reads all 218 operations, and no other."""
    assert sorted(described()) == EVERY
    assert len(EVERY) == 218


@pytest.fixture(scope="module")
def watched() -> Account:
    """An account for the Data API only, so that its views are generated once."""
    return Account(EmulatorSettings(limits=None))


@pytest.mark.proof
@pytest.mark.parametrize("operation_id", EVERY)
def test_answers(operation_id: str, watched: Account) -> None:
    """A generated request that fits the description gets a described response, and never a failure of the server.

    Without state, every id exists, so it is the success; with state, most ids are unknown, so it is any of the described responses.
    """
    asked: list[None] = []
    stub = Account(EmulatorSettings(limits=None, stub=True))
    account = watched if operation_id.startswith("data.") else Account(EmulatorSettings(limits=None))
    drive(
        {stub: [*conformance(operation_id), "positive_data_acceptance"], account: conformance(operation_id)},
        operation_id,
        fitting=True,
        examples=EXAMPLES,
        each=lambda: asked.append(None),
    )

    assert asked
    assert {arrival.status for arrival in stub.emulator.arrivals} <= {200, 201, 202, 204}


REJECTABLE = [operation_id for operation_id in EVERY if operation_id != "video.playback.static_rendition"]
"""All but one, whose list of file names is known to be too short (facts/README.md, Oddities)."""


@pytest.mark.proof
@pytest.mark.parametrize("operation_id", REJECTABLE)
def test_refusals(operation_id: str, watched: Account) -> None:
    """A request that does not fit the description gets a described response, and never a failure; without state, it is refused."""
    stub = Account(EmulatorSettings(limits=None, stub=True))
    account = watched if operation_id.startswith("data.") else Account(EmulatorSettings(limits=None))
    described_at_all: list[Check] = ["not_a_server_error"] if operation_id in MEDIA else [*ANSWERED]
    drive(
        {stub: [*conformance(operation_id), "negative_data_rejection"], account: described_at_all},
        operation_id,
        fitting=False,
        examples=EXAMPLES,
    )


def test_tour() -> None:
    """With state, every operation succeeds on objects that exist, and each response and each event is as described."""
    account = ValidatingAccount(EmulatorSettings(limits=None, accept_robots_terms=True))
    tour.everything(account)

    assert sorted(set(EVERY) - account.answered) == []
    assert len(account.events) > 50
