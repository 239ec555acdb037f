"""No secret of the environment, of an argument or of a list is in the output of a command, in development mode neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.commands import run
from tests.security.canaries import CANARIES, TOKEN_ID, leaks

SIGNED = f"https://example.com/film.mp4?Signature={CANARIES['input URL']}"
ENVIRONMENT = {
    "MUX_TOKEN_ID": TOKEN_ID,
    "MUX_TOKEN_SECRET": CANARIES["token secret"],
    "MUX_SIGNING_KEY": "key",
    "MUX_PRIVATE_KEY": CANARIES["private key"],
    "MUX_WEBHOOK_SECRET": CANARIES["webhook secret"],
    "MUX_LIMITS_URL": f"redis://user:{CANARIES['database password']}@127.0.0.1:9/0",
    "MUX_BASE_URL": "http://127.0.0.1:9",
    "PYTHONDEVMODE": "1",
}
COMMANDS: dict[str, tuple[str, ...]] = {
    "doctor": ("doctor",),
    "doctor, JSON": ("doctor", "--json"),
    "doctor, online": ("doctor", "--online"),
    "api": ("api", "GET", "/video/v1/assets"),
    "ingest, plan": ("ingest", SIGNED, "--dry-run"),
    "ingest, list": ("ingest", "films.txt"),
    "upload": ("upload", f"memory://films/none.mp4?Signature={CANARIES['input URL']}"),
    "sign": ("sign", "playback-id"),
    "webhooks": ("webhooks", "trigger", "video.asset.ready", "--to", "http://127.0.0.1:9"),
    "limits": ("limits",),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_that_fail(name: str, tmp_path: Path) -> None:
    """Whatever fails, with ``--debug`` neither sentence, log nor traceback shows a secret, and no file that is left does."""
    (tmp_path / "films.txt").write_text(f"{SIGNED} and more\nhttp://127.0.0.1/a.mp4?Signature={CANARIES['input URL']}\n")
    before = set(tmp_path.iterdir())

    done = run("--debug", *COMMANDS[name], env=ENVIRONMENT, cwd=tmp_path)

    assert not leaks(done.stdout + done.stderr)
    left = [path for path in tmp_path.iterdir() if path not in before]
    assert [path.name for path in left if leaks(path.name) or leaks(path.read_bytes())] == []
