"""``mux-async emulate`` with real media, and with generated ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("av", reason="real media need PyAV: pip install 'mux-async[media]'")

from tests.cli.commands import run_here
from tests.emulator.media.serving import MediaClient, decode, playback

ROOT = Path(__file__).parents[3]


@contextmanager
def emulating(*options: str) -> Generator[tuple[MediaClient, str], None, None]:
    """Run the command. Yields a client of it, and what it printed when it started."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "transports")])}
    command = [sys.executable, "-m", "mux_async.cli", "emulate", "--port", "0", "--limits", "off", "--instant", "-q", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            lines: list[str] = []
            while not lines or "rate limits" not in lines[-1]:
                line = process.stdout.readline()
                assert line, lines
                lines.append(line)
            yield MediaClient(lines[0].split()[-1]), "".join(lines)
        finally:
            process.terminate()
            process.communicate(timeout=20)


@pytest.mark.proof
def test_real(tmp_path: Path, inputs: Path) -> None:
    """With PyAV installed, media are real by default, and still play after a restart with the same state file."""
    state = str(tmp_path / "state.db")
    with emulating("--state", state) as (client, printed):
        asset = client.upload(inputs / "film.mp4")
        seen = decode(f"{client.origin}/{playback(asset)}.m3u8")
        refused = client.upload(inputs / "text.mp4")
    with emulating("--state", state) as (client, _):
        again = decode(f"{client.origin}/{playback(asset)}.m3u8")

    assert "  media real\n" in printed
    assert seen == again
    assert (seen.frames[0], refused["status"]) == (90, "errored")


@pytest.mark.proof
def test_off(inputs: Path) -> None:
    """With ``--media off`` media are generated, whatever is uploaded."""
    with emulating("--media", "off") as (client, printed):
        asset = client.upload(inputs / "text.mp4")
        playlist = client.text(f"/{playback(asset)}.m3u8")
        picture = client.get(f"/{playback(asset)}/thumbnail.png?width=20").image()

    assert "  media made up\n" in printed
    assert (asset["status"], playlist.count("#EXT-X-STREAM-INF")) == ("ready", 5)
    assert (picture.width, picture.height) == (20, 11)


@pytest.mark.parametrize("options", [["--media", "on"], ["--fetch", "sometimes"]])
def test_wrong_options(options: list[str]) -> None:
    """A wrong value of these options is an error that lists the values."""
    done = run_here("emulate", *options)

    assert done.returncode == 2
    assert "auto" in done.stderr
