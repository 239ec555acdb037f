"""The official Node client, ``@mux/mux-node``, unchanged: it works with the emulator as with Mux."""

from __future__ import annotations

import json
from collections.abc import Generator
from urllib.request import ProxyHandler, build_opener

import pytest

from tests.emulator import official
from tests.emulator.validating import operation_id
from tests.generated import spec

pytestmark = pytest.mark.proof

PARTS = ("assets", "uploads", "liveStreams", "keys", "around", "webhooks", "data")
ONLY_IN_OLD_CLIENTS = {"data.exports.list", "data.filters.list", "data.filters.list_values"}


@pytest.fixture
def origin() -> Generator[str, None, None]:
    official.node_modules()
    with official.emulate("--no-limits", "--instant") as origin:
        yield origin


def run(origin: str, part: str) -> None:
    done = official.run_node(
        "life.cjs", PART=part, MUX_BASE_URL=origin, MUX_TOKEN_ID="test-token", MUX_TOKEN_SECRET="test-secret"
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stdout + done.stderr


def called(origin: str) -> set[str]:
    """The ids of the operations that were called and succeeded."""
    with build_opener(ProxyHandler({})).open(f"{origin}/_emulator/arrivals", timeout=10) as response:
        arrivals = json.loads(response.read())["arrivals"]
    found = [operation_id(one["method"], one["path"]) for one in arrivals if (one["status"] or 500) < 300]
    return {each for each in found if each is not None}


@pytest.mark.parametrize("part", [part for part in PARTS if part != "data"])
def test_life(origin: str, part: str) -> None:
    """Whole life cycles of objects, with the client's own paging, errors, signer and webhook verification."""
    run(origin, part)


def test_data(origin: str) -> None:
    """Every endpoint of Mux Data that the client has responds, and numbers agree."""
    run(origin, "data")

    wanted = {operation.id for operation in spec.operations() if operation.path.startswith("/data/v1/")}
    assert wanted - called(origin) == ONLY_IN_OLD_CLIENTS
