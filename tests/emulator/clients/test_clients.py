"""Clients that the emulator was not built for, unchanged, over real sockets; and the table of them in docs/emulator.md."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from tests.emulator.clients.drivers import CLIENTS, Client
from tests.emulator.clients.table import label, passes, rows
from tests.emulator.official import ROOT


@pytest.mark.proof
@pytest.mark.timeout(420)  # the first one installs all
@pytest.mark.parametrize("client", [client for client in CLIENTS if client.run is not None], ids=lambda client: client.name)
def test_flows(client: Client, tmp_path: Path) -> None:
    """The flows that matter for a client work as with Mux."""
    assert client.run is not None
    client.run(tmp_path)


def test_table() -> None:
    """The table of clients has each one that is tested, with its pinned version and flows; it was made by running them, and all passed."""
    found = {row.client: row for row in rows()}

    assert list(found) == [label(client) for client in CLIENTS]
    for client in CLIENTS:
        row = found[label(client)]
        assert (row.flows, row.result) == (client.flows, passes(client))
        assert client.registry == "Debian" or row.version == client.version
        assert date(2026, 12, 1) <= date.fromisoformat(row.date)
        assert all((ROOT / suite).is_file() for suite in client.suites)
