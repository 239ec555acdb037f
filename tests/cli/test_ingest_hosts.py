"""``mux-async ingest`` with ``--on``: wrong arguments of each command, and all commands in turn."""

from __future__ import annotations

import csv
import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from mux_async.emulator import Emulator, EmulatorSettings, Fault
from tests._servers import free_port, postgres_server
from tests.cli.commands import CREDENTIALS, command, environment, run_here, serve_here

ADDRESSED: Sequence[Sequence[str]] = (
    ("submit", "https://example.com/a.mp4"),
    ("work",),
    ("status", "--json"),
    ("retry-failed",),
    ("report", "done.csv"),
)


@pytest.mark.parametrize("words", ADDRESSED, ids=lambda words: words[0])
def test_without_a_database(words: Sequence[str], tmp_path: Path) -> None:
    """Without --on, and without its variable, the option is named."""
    done = run_here("ingest", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert "--on" in done.stderr


@pytest.mark.parametrize("words", ADDRESSED, ids=lambda words: words[0])
def test_another_database(words: Sequence[str], tmp_path: Path) -> None:
    """A database that is not PostgreSQL is refused, with what to do on one host; nothing is written."""
    done = run_here("ingest", *words, "--on", "sqlite:///journal.db", cwd=tmp_path)
    assert done.returncode == 2
    assert "postgresql://" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", ADDRESSED, ids=lambda words: words[0])
def test_database_that_is_gone(words: Sequence[str], tmp_path: Path) -> None:
    """A database that nobody serves is an error of one sentence, and an older report is kept."""
    (tmp_path / "done.csv").write_text("older")
    done = run_here("ingest", *words, "--on", f"postgresql://mux@127.0.0.1:{free_port()}/gone", cwd=tmp_path)
    assert done.returncode != 0
    assert "the database cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "done.csv").read_text() == "older"


def test_wrong_key() -> None:
    """A key that is none is refused before the database is asked, and is not shown."""
    variables = {**CREDENTIALS, "MUX_INGEST_KEY": "canary"}
    done = run_here("ingest", "submit", "https://example.com/a.mp4", "--on", "postgresql://127.0.0.1:1/gone", env=variables)
    assert done.returncode != 0
    assert "new-key" in done.stderr
    assert "canary" not in done.stderr


def test_new_key() -> None:
    """``new-key`` prints a key that encrypts, another one each time."""
    keys = {run_here("ingest", "new-key").stdout.strip() for _ in range(2)}
    assert len(keys) == 2
    for key in keys:
        Fernet(key)


@pytest.mark.proof
@pytest.mark.timeout(240)
def test_from_list_to_report(tmp_path: Path) -> None:
    """Submit, work, status, retry and report, with PostgreSQL: what failed is ready in the end."""
    listing = tmp_path / "list.csv"
    listing.write_text("url,key\nhttps://example.com/a.mp4?Signature=canary,a\nhttps://example.com/b.mp4,b\n")
    (tmp_path / "film.mp4").write_bytes(b"film")
    emulator = Emulator(EmulatorSettings(limits=None, time_to_ready=0.0))
    emulator.faults.add(Fault(method="POST", path="/video/v1/assets", status=400, nth=1))
    key = run_here("ingest", "new-key").stdout.strip()
    with postgres_server(tmp_path / "log") as server, serve_here(emulator) as mux:
        variables = {**CREDENTIALS, "MUX_INGEST_DATABASE": server.url, "MUX_INGEST_KEY": key}

        def run(*words: str) -> tuple[int, str, str]:
            done = run_here("ingest", *words, "--on", server.url, env=variables, cwd=tmp_path)
            return done.returncode, done.stdout, done.stderr

        code, _, error = run("submit", "film.mp4")
        assert code != 0
        assert "--shared" in error
        assert run("submit", str(listing))[:2] == (0, "2 items submitted, 0 known before\n")
        assert run("submit", str(listing))[:2] == (0, "0 items submitted, 2 known before\n")
        worker = subprocess.Popen(
            command("ingest", "work", "--on", server.url, "--base-url", mux.origin),
            env=environment({**variables, "MUX_RATE_LIMITS": "off"}),
            stderr=subprocess.PIPE,
            text=True,
        )
        try:

            def wait_for(ready: int, failed: int) -> None:
                give_up = time.monotonic() + 60
                while True:
                    found = json.loads(run("status", "--json")[1])
                    if (found["ready"], found["failed"]) == (ready, failed):
                        return
                    assert time.monotonic() < give_up, found
                    time.sleep(0.2)

            wait_for(1, 1)
            code, _, _ = run("status", "--json")
            assert code == 1
            assert run("retry-failed")[:2] == (0, "1 item to retry\n")
            wait_for(2, 0)
            assert run("status", "--json")[0] == 0
            worker.terminate()
            _, written = worker.communicate(timeout=60)
        finally:
            worker.kill()
            worker.wait()
        assert worker.returncode == 0, written
        assert "MUX_LIMITS_URL is not set" in written
        assert "canary" not in written
        for name in ("done.csv", "done.jsonl"):
            assert run("report", name)[:2] == (0, f"2 items in {name}\n")
        rows = {row["key"]: row for row in csv.DictReader((tmp_path / "done.csv").read_text().splitlines())}
        assert {key: (row["source"], row["status"]) for key, row in rows.items()} == {
            "a": ("https://example.com/a.mp4?...", "ready"),
            "b": ("https://example.com/b.mp4", "ready"),
        }
        assert all(row["asset_id"] and row["playback_ids"] for row in rows.values())
        lines = [json.loads(line) for line in (tmp_path / "done.jsonl").read_text().splitlines()]
        assert {line["key"] for line in lines} == {"a", "b"}
    emulator.close()
