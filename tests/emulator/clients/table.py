"""Writes the table of clients in docs/emulator.md, by running each of them against the emulator.

``python -m tests.emulator.clients.table`` runs all; with names, only those, and keeps the other rows. It takes some minutes, and needs
what the tests need: Node.js and npm, Chromium, PostgreSQL, ffmpeg. It exits with 1 if a client fails, and says so in the table.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Final

import attrs

from tests.emulator.clients.drivers import CLIENTS, Client
from tests.emulator.official import ROOT

PAGE: Final = ROOT / "docs" / "emulator.md"
BEGIN, END = "<!-- clients: written by python -m tests.emulator.clients.table -->", "<!-- end of clients -->"
_HEAD: Final = ("| Client | Version | Flows | Result | Date |", "| --- | --- | --- | --- | --- |")
LIMIT: Final = 900.0
"""Seconds that the tests of one client may take."""


@attrs.frozen
class Row:
    """A row of the table."""

    client: str
    version: str
    flows: str
    result: str
    date: str

    def __str__(self) -> str:
        return f"| {self.client} | {self.version} | {self.flows} | {self.result} | {self.date} |"


def label(client: Client) -> str:
    """Return how the table names a client."""
    return f"`{client.name}` ({client.registry})"


def passes(client: Client) -> str:
    """Return the result of a client whose flows work."""
    return f"passes; {client.remark}" if client.remark else "passes"


def rows() -> list[Row]:
    """Read the table."""
    text = PAGE.read_text()
    table = text[text.index(BEGIN) + len(BEGIN) : text.index(END)].split("\n")
    found = [re.split(r" \| ", line.strip("| ")) for line in table if line.startswith("| `")]
    return [Row(*cells) for cells in found]


def run(client: Client) -> Row:
    """Run the tests of a client."""
    flows = [] if client.run is None else [f"tests/emulator/clients/test_clients.py::test_flows[{client.name}]"]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "", *flows, *client.suites]
    environment = {**os.environ, "CI": "true"}  # what is absent is a failure here
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode:
        print(done.stdout)
    result = passes(client) if done.returncode == 0 else "fails"
    return Row(label(client), client.version, client.flows, result, datetime.now(UTC).date().isoformat())


def main(names: Collection[str] = ()) -> int:
    """Run the clients of these *names*, or all, and write the table."""
    kept = {row.client: row for row in rows()}
    made: list[Row] = []
    for client in CLIENTS:
        old = kept.get(label(client))
        made.append(run(client) if old is None or not names or client.name in names else old)
        print(made[-1], flush=True)
    text = PAGE.read_text()
    table = "\n".join([BEGIN, "", *_HEAD, *map(str, made), "", END])
    PAGE.write_text(text[: text.index(BEGIN)] + table + text[text.index(END) + len(END) :])
    return int(any(row.result == "fails" for row in made))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
