"""``mux-async doctor``: everything installed and set, and with ``--online`` whether it works."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mux_async.emulator import DEFAULT_TOKEN, EmulatorSettings, Token
from tests.cli.commands import CREDENTIALS, ROOT, Emulate, emulate_here, run_here


@pytest.fixture(scope="module")
def server() -> Iterator[Emulate]:
    others = (Token("night", "test-secret", priority="low"), Token("staging", "test-secret", "staging", priority="low"))
    with emulate_here(EmulatorSettings(tokens=(DEFAULT_TOKEN, *others), limits=None)) as running:
        yield running


def doctor(*options: str, env: dict[str, str]) -> tuple[int, dict[str, dict[str, Any]]]:
    done = run_here("doctor", "--json", *options, env=env)
    found = json.loads(done.stdout)
    return done.returncode, {f"{each['topic']} {each['name']}": each for each in found["checks"]}


def test_every_extra(tmp_path: Path) -> None:
    """Every extra of the distribution is shown."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    _, checks = doctor(env={**CREDENTIALS, "XDG_CONFIG_HOME": str(tmp_path)})

    assert {f"extra {name}" for name in extras} <= checks.keys()


def test_every_variable(tmp_path: Path) -> None:
    """Every variable that the sources read is shown, without the values of secrets."""
    sources = [path.read_text() for folder in ("mux_async", "transports") for path in (ROOT / folder).rglob("*.py")]
    names = {name for text in sources for name in re.findall(r"\"(MUX_[A-Z_]+)\"", text)}
    canary = {name: f"canary-{name}" for name in names if "URL" not in name and name not in {"MUX_PROFILE", "MUX_TRUST_ENV"}}
    done = run_here("doctor", "--json", env={**canary, "XDG_CONFIG_HOME": str(tmp_path)})
    shown = {each["name"] for each in json.loads(done.stdout)["checks"] if each["topic"] == "variable"}

    assert names - {"MUX_API_VARIANTS"} <= shown
    assert not re.search(r"canary-MUX_(TOKEN|AUTH|LOW|PRIVATE|SIGNING|WEBHOOK)", done.stdout + done.stderr)


def test_the_table_of_variables(tmp_path: Path) -> None:
    """README has one table of variables, and it names those that are shown here, each once."""
    section = (ROOT / "README.md").read_text().partition("## Environment variables\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = [name for cell in cells for name in re.findall("`([A-Z_]+)`", cell)]
    _, checks = doctor(env={**CREDENTIALS, "XDG_CONFIG_HOME": str(tmp_path)})

    assert sorted(named) == sorted(each["name"] for each in checks.values() if each["topic"] == "variable")


def test_online(server: Emulate, tmp_path: Path) -> None:
    """Online, the token, the clock and the store of the limits are checked."""
    env = {**CREDENTIALS, "MUX_BASE_URL": server.origin, "XDG_CONFIG_HOME": str(tmp_path)}
    code, checks = doctor("--online", env={**env, "MUX_LIMITS_URL": f"sqlite:///{tmp_path}/limits.db"})

    assert code == 0
    assert "answered in" in checks["online whoami"]["note"]
    assert checks["online clock"]["value"] == "right"
    assert checks["online limits store"]["value"] == "reachable"
    assert "online low-priority token" not in checks


def test_online_with_two_tokens(server: Emulate, tmp_path: Path) -> None:
    """Online, the token of low priority is tried too."""
    low = {"MUX_LOW_PRIORITY_TOKEN_ID": "night", "MUX_LOW_PRIORITY_TOKEN_SECRET": "test-secret"}
    code, checks = doctor(
        "--online", env={**CREDENTIALS, **low, "MUX_BASE_URL": server.origin, "XDG_CONFIG_HOME": str(tmp_path)}
    )

    assert (code, checks["online low-priority token"]["value"]) == (0, "works")


def test_nothing_is_sent(server: Emulate, tmp_path: Path) -> None:
    """Without ``--online`` nothing is sent."""
    before = len(server.arrivals())
    code, _ = doctor(env={**CREDENTIALS, "MUX_BASE_URL": server.origin, "XDG_CONFIG_HOME": str(tmp_path)})

    assert code == 0
    assert len(server.arrivals()) == before


@pytest.mark.parametrize(
    ("settings", "check"),
    [
        ({"MUX_TOKEN_SECRET": "wrong"}, "online whoami"),
        ({"MUX_LIMITS_URL": "redis://127.0.0.1:9/0"}, "online limits store"),
        ({"MUX_WEBHOOK_SECRET": "-----BEGIN canary"}, "settings webhook secret"),
        ({"MUX_SIGNING_KEY": "id", "MUX_PRIVATE_KEY": "canary"}, "settings signing key"),
        (
            {"MUX_LOW_PRIORITY_TOKEN_ID": "night", "MUX_LOW_PRIORITY_TOKEN_SECRET": "canary"},
            "online low-priority token",
        ),
        (
            {"MUX_LOW_PRIORITY_TOKEN_ID": "staging", "MUX_LOW_PRIORITY_TOKEN_SECRET": "test-secret"},
            "online low-priority token",
        ),
    ],
)
def test_problems(server: Emulate, tmp_path: Path, settings: dict[str, str], check: str) -> None:
    """A problem is named, without the secret, and the exit code is 1."""
    env = {**CREDENTIALS, "MUX_BASE_URL": server.origin, "XDG_CONFIG_HOME": str(tmp_path)}
    code, checks = doctor("--online", env={**env, **settings})

    assert code == 1
    assert checks[check]["is_ok"] is False
    assert "canary" not in json.dumps(checks)


def test_no_credentials(tmp_path: Path) -> None:
    """Without credentials the other checks are shown, and the exit code is 2."""
    code, checks = doctor(env={"XDG_CONFIG_HOME": str(tmp_path)})

    assert code == 2
    assert "MUX_TOKEN_ID" in checks["settings client"]["note"]
    assert "version aiohttp" in checks
