"""Profiles: several environments in one file, and which of them a command uses."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mux_async.emulator import EmulatorSettings, Token
from tests.cli.commands import Done, Emulate, command, emulate_here, environment, run_here

SECRET = "profile-canary-secret"


@pytest.fixture(scope="module")
def server() -> Iterator[Emulate]:
    tokens = (Token("staging", SECRET, environment="staging"), Token("ci", "other", environment="ci"))
    with emulate_here(EmulatorSettings(limits=None, tokens=tokens)) as running:
        yield running


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "mux-async" / "profiles.toml"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}


def add(env: dict[str, str], name: str, *options: str, answers: str) -> Done:
    return run_here("profiles", "add", name, *options, env=env, stdin=answers.encode())


def whoami(env: dict[str, str], *options: str) -> str:
    done = run_here(*options, "api", "GET", "/system/v1/whoami", env=env)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["data"]["environment_name"])


def test_chosen(server: Emulate, env: dict[str, str], config: Path) -> None:
    """An added profile is chosen by ``--profile`` and by ``MUX_PROFILE``; without them the default profile is used."""
    add(env, "staging", "--base-url", server.origin, answers=f"staging\n{SECRET}\n")
    add(env, "ci", "--base-url", server.origin, answers="ci\nother\n")

    first, second = whoami(env), whoami({**env, "MUX_PROFILE": "ci"})
    assert whoami(env, "--profile", "staging") == first
    assert whoami(env, "--profile", "ci") == second != first
    assert config.stat().st_mode & 0o777 == 0o600


def test_variables(server: Emulate, env: dict[str, str]) -> None:
    """Credentials in variables take precedence over the default profile, and ``--profile`` takes precedence over them."""
    add(env, "staging", "--base-url", server.origin, answers=f"staging\n{SECRET}\n")
    own = {**env, "MUX_TOKEN_ID": "ci", "MUX_TOKEN_SECRET": "other", "MUX_BASE_URL": server.origin}

    assert whoami(own) != whoami(own, "--profile", "staging")


def test_whole(server: Emulate, env: dict[str, str]) -> None:
    """With a profile, no variable is used: a signing key of the variables may belong to another environment."""
    add(env, "staging", "--base-url", server.origin, answers=f"staging\n{SECRET}\n")
    own = {**env, "MUX_SIGNING_KEY": "key", "MUX_PRIVATE_KEY": "not a key"}
    done = run_here("--profile", "staging", "sign", "PLAYBACK", env=own)

    assert done.returncode == 2
    assert "MUX_SIGNING_KEY" in done.stderr


def test_list_and_remove(server: Emulate, env: dict[str, str], config: Path) -> None:
    """The list shows names, tokens and servers and no secret; a removed profile is deleted from the file."""
    add(env, "staging", "--base-url", server.origin, answers=f"staging\n{SECRET}\n")
    listed = run_here("profiles", "list", env={**env, "COLUMNS": "200"}).stdout

    assert "staging (default)" in listed
    assert SECRET not in listed
    assert run_here("profiles", "remove", "staging", env=env).returncode == 0
    assert SECRET not in config.read_text()


def test_secrets_are_not_arguments(env: dict[str, str]) -> None:
    """The secret is asked for without being shown."""
    done = subprocess.run(
        command("profiles", "add", "staging"),
        input=f"staging\n{SECRET}\n",
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
        env=environment(env),
    )

    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604, 0o602])
def test_permissions(env: dict[str, str], config: Path, mode: int) -> None:
    """A file that other users may read or change is refused, and the message has the command that corrects it."""
    add(env, "staging", answers=f"staging\n{SECRET}\n")
    config.chmod(mode)
    done = run_here("--profile", "staging", "limits", env=env)

    assert done.returncode == 2
    assert f"chmod 600 '{config}'" in done.stderr
    assert run_here("limits", env={**env, "MUX_TOKEN_ID": "a", "MUX_TOKEN_SECRET": "b"}).returncode == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[profiles.a]\ntoken_idd = 'x'\n", "token_idd"),
        ("[profiles.a]\ntoken_id = 5\n", "not a text"),
        ("profiles = 5\n", "is a table"),
        ("default = 'b'\n[profiles.a]\n", "default is 'b'"),
        ("token_secret = 'canary'\n", "have a member 'token_secret'"),
        ("[profiles.a]\ntoken_secret = 'canary\n", "not TOML"),
    ],
)
def test_wrong_files(env: dict[str, str], config: Path, text: str, message: str) -> None:
    """An invalid file is refused; the message names the member, and has no values."""
    config.parent.mkdir()
    config.write_text(text)
    config.chmod(0o600)
    done = run_here("--profile", "a", "limits", env=env)

    assert done.returncode == 2
    assert message in done.stderr
    assert "canary" not in done.stderr


def test_unknown(env: dict[str, str]) -> None:
    """An unknown profile is refused, and the message lists the existing ones."""
    add(env, "staging", answers="staging\nx\n")
    done = run_here("--profile", "stagin", "limits", env=env)

    assert done.returncode == 2
    assert "no profile 'stagin'" in done.stderr
    assert "staging" in done.stderr


def test_text_survives(env: dict[str, str], tmp_path: Path) -> None:
    """Quotes, backslashes and line breaks in a value are stored as they were typed."""
    add(env, 'we"ird', "--also", "private_key", answers='id\\x\nse"cret\nfirst\\nsecond\n')
    import tomllib

    found = tomllib.loads((tmp_path / "mux-async" / "profiles.toml").read_text())["profiles"]['we"ird']

    assert found == {"token_id": "id\\x", "token_secret": 'se"cret', "private_key": "first\nsecond"}
