"""``mux-async upload``: interrupted and resumed, with a bandwidth limit, from standard input, and its state file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import wave
from pathlib import Path
from random import Random

import pytest

from mux_async.emulator import EmulatorSettings
from mux_async.uploads import UploadState
from tests.cli.commands import CREDENTIALS, command, emulate_here, environment, run_here


def noise(path: Path, size: int) -> Path:
    """Write a WAV file of *size* bytes of noise."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes(Random(1).randbytes(size))
    return path


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send")
def test_interrupted_and_resumed(tmp_path: Path) -> None:
    """Ctrl-C keeps the state; the same command with ``--resume`` sends only the rest, and the stored bytes are the file's."""
    film, state, store = noise(tmp_path / "film.wav", 28 << 20), tmp_path / "deep" / "state.json", tmp_path / "store"
    store.mkdir()
    with emulate_here(EmulatorSettings(limits=None, time_to_ready=0.1, store=store)) as emulator:
        line = ["upload", str(film), "--base-url", emulator.origin, "--state", str(state)]
        process = subprocess.Popen(
            command(*line, "--bandwidth", "20M"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(CREDENTIALS),
            stdin=subprocess.DEVNULL,
        )
        give_up = time.monotonic() + 30
        while not (state.exists() and json.loads(state.read_text())["state"]["offset"]):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < give_up
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=20)
        held = json.loads(state.read_text())["state"]["offset"]
        (kept,) = store.iterdir()
        stored = kept.stat().st_size
        resumed = run_here(*line, "--resume")

        assert process.returncode == 130
        assert "--resume continues from there" in complaint
        assert 0 < held <= stored < film.stat().st_size
        assert resumed.returncode == 0, resumed.stderr
        assert "continuing" in resumed.stderr
        assert kept.read_bytes() == film.read_bytes()
        assert list(state.parent.iterdir()) == []
        sent = [each for each in emulator.arrivals() if each["path"].startswith("/_upload/")]
        assert len([each for each in emulator.arrivals() if each["method"] == "POST"]) == 1
        assert len(sent) <= 6


def upload_of_another_server() -> str:
    """Return an upload id that the servers of these tests do not know."""
    with emulate_here(EmulatorSettings(limits=None, seed="another")) as server:
        made = run_here("api", "POST", "/video/v1/uploads", "--base-url", server.origin)
    return str(json.loads(made.stdout)["data"]["id"])


@pytest.mark.skipif(os.name == "nt", reason="pipes differ")
def test_standard_input(tmp_path: Path) -> None:
    """``-`` uploads standard input; ``--resume`` starts a new upload if there is no state, and fails if the upload no longer exists."""
    film = noise(tmp_path / "film.wav", 100_000)
    with emulate_here(EmulatorSettings(limits=None, instant=True)) as emulator:
        with film.open("rb") as piped:
            done = subprocess.run(
                command("upload", "-", "--title", "Piped", "--base-url", emulator.origin),
                stdin=piped,
                capture_output=True,
                text=True,
                timeout=50,
                check=False,
                env=environment(CREDENTIALS),
            )
        (gone := tmp_path / "gone.json").write_text(
            json.dumps({"upload_id": upload_of_another_server(), "state": UploadState(film.stat().st_size).to_dict()})
        )
        over = run_here("upload", str(film), "--resume", "--state", str(gone), "--base-url", emulator.origin)
        begun = run_here(
            "upload", str(film), "--resume", "--base-url", emulator.origin, env={**CREDENTIALS, "HOME": str(tmp_path)}
        )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(emulator.origin)
    assert over.returncode == 1
    assert not gone.exists()
    assert begun.returncode == 0, begun.stderr
    assert "no earlier upload found" in begun.stderr


@pytest.mark.proof
@pytest.mark.skipif(os.name == "nt", reason="pipes differ")
def test_standard_input_that_does_not_block(tmp_path: Path) -> None:
    """A pipe that does not block, as node and some shells leave it, arrives whole although its writer takes breaks."""
    data, store = Random(3).randbytes(150_000), tmp_path / "store"
    store.mkdir()
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    with emulate_here(EmulatorSettings(limits=None, time_to_ready=0.1, store=store)) as emulator:
        process = subprocess.Popen(
            command("upload", "-", "--base-url", emulator.origin),
            stdin=read_end,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(CREDENTIALS),
        )
        os.close(read_end)
        with os.fdopen(write_end, "wb", buffering=0) as pipe:
            for start in range(0, len(data), 50_000):
                time.sleep(0.5)  # it may be shorter than the command takes to start: then nothing is shown, and nothing fails
                pipe.write(data[start : start + 50_000])
        _, complaint = process.communicate(timeout=50)
        (kept,) = store.iterdir()
        arrived = kept.read_bytes()

    assert process.returncode == 0, complaint
    assert arrived == data


@pytest.mark.parametrize("damaged", ["", "[]", '{"upload_id": 5, "state": {}}', '{"upload_id": "u1", "state": {"size": -1}}'])
def test_a_damaged_state_file(tmp_path: Path, damaged: str) -> None:
    """A state file that cannot be read is refused before anything is sent, and the message names the file."""
    film, state = noise(tmp_path / "film.wav", 1000), tmp_path / "state.json"
    state.write_text(damaged)
    done = run_here("upload", str(film), "--resume", "--state", str(state), "--base-url", "http://127.0.0.1:1")

    assert done.returncode == 2
    assert f"delete '{state}' to start a new upload" in " ".join(done.stderr.split())


def test_a_state_file_that_cannot_be_written(tmp_path: Path) -> None:
    """If the progress cannot be stored, the message says what to do."""
    film = noise(tmp_path / "film.wav", 1000)
    (tmp_path / "file").touch()
    with emulate_here(EmulatorSettings(limits=None)) as emulator:
        state = str(tmp_path / "file" / "state.json")
        done = run_here("upload", str(film), "--state", state, "--base-url", emulator.origin)

    assert done.returncode == 2
    assert "name another --state file" in " ".join(done.stderr.split())
