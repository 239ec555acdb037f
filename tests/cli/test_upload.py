"""``mux-async upload``: stopped and gone on with, capped, from standard input."""

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
import typer

from mux_async.cli._upload import rate
from mux_async.cli._upload_state import StartedUpload, StateFile, state_path
from mux_async.emulator.state._ids import SIZES, encode
from mux_async.errors import InvalidRequestError
from mux_async.uploads import UploadState
from tests.cli.commands import CREDENTIALS, command, emulate, environment, run


def noise(path: Path, size: int) -> Path:
    """Write a WAV file of *size* bytes of noise."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes(Random(1).randbytes(size))
    return path


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send")
def test_stopped_and_gone_on_with(tmp_path: Path) -> None:
    """Ctrl-C keeps what was sent; the same command with ``--resume`` sends the rest, and the bytes are the file's."""
    film, state, store = noise(tmp_path / "film.wav", 28 << 20), tmp_path / "state.json", tmp_path / "store"
    store.mkdir()
    with emulate("--no-limits", "--time-to-ready", "0.1", "--store", str(store)) as emulator:
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
        resumed = run(*line, "--resume")

        assert process.returncode == 130
        assert "--resume continues from there" in complaint
        assert 0 < held <= stored < film.stat().st_size
        assert resumed.returncode == 0, resumed.stderr
        assert "continuing" in resumed.stderr
        assert kept.read_bytes() == film.read_bytes()
        assert not state.exists()
        sent = [each for each in emulator.arrivals() if each["path"].startswith("/_upload/")]
        assert len([each for each in emulator.arrivals() if each["method"] == "POST"]) == 1
        assert len(sent) <= 6


@pytest.mark.skipif(os.name == "nt", reason="pipes differ")
def test_standard_input(tmp_path: Path) -> None:
    """``-`` uploads what is piped in; ``--resume`` begins anew where there is nothing to go on with, or what there was is gone."""
    film = noise(tmp_path / "film.wav", 100_000)
    with emulate("--no-limits", "--time-to-ready", "0.1") as emulator:
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
            json.dumps({"upload_id": encode(bytes(range(max(SIZES)))), "state": UploadState(film.stat().st_size).to_dict()})
        )
        over = run("upload", str(film), "--resume", "--state", str(gone), "--base-url", emulator.origin)
        begun = run("upload", str(film), "--resume", "--base-url", emulator.origin, env={**CREDENTIALS, "HOME": str(tmp_path)})

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
    with emulate("--no-limits", "--time-to-ready", "0.1", "--store", str(store)) as emulator:
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5M", 5e6),
        ("500k", 5e5),
        ("5MB/s", 5e6),
        ("2MiB", 2 << 20),
        ("20Mbit", 2.5e6),
        ("1.5 G", 1.5e9),
        ("100", 100),
        ("8Kibit/s", 1024),
    ],
)
def test_rates(text: str, expected: float) -> None:
    """A rate is bytes a second unless it says bits; thousands unless it says Ki, Mi or Gi."""
    assert rate(text) == expected


@pytest.mark.parametrize("text", ["", "fast", "-5M", "0", "0M", "5i", "5X", "M"])
def test_rates_that_are_none(text: str) -> None:
    """Anything else is refused with examples."""
    with pytest.raises(typer.BadParameter, match="500k"):
        rate(text)


def test_state_file(tmp_path: Path) -> None:
    """What was noted is read back; what is damaged is refused by a message that names the file; nothing is nothing."""
    file = StateFile(tmp_path / "deep" / "state.json")
    begun = StartedUpload(
        "u1", UploadState.from_dict({"size": 10, "offset": 0, "chunk_size": 262_144, "crc": 0, "version": "1"})
    )

    assert file.load() is None
    file.note(begun)
    assert StateFile(file.path).load() == begun
    for damaged in ("", "[]", '{"upload_id": 5, "state": {}}', '{"upload_id": "u1", "state": {"size": -1}}'):
        file.path.write_text(damaged)
        with pytest.raises(InvalidRequestError, match=r"state\.json"):
            file.load()
    file.forget()
    file.save()
    assert file.load() is None
    assert [each.name for each in file.path.parent.iterdir()] == []


def test_state_file_that_cannot_be_written(tmp_path: Path) -> None:
    """Where the state cannot be kept, the message says so and what to do."""
    (tmp_path / "file").touch()
    with pytest.raises(InvalidRequestError, match="name another --state file"):
        StateFile(tmp_path / "file" / "state.json").note(StartedUpload("u1", UploadState(10)))


def test_places_differ() -> None:
    """The same file for two servers, or two files, are kept apart."""
    places = {
        state_path("a.mp4", "http://a"),
        state_path("a.mp4", "http://b"),
        state_path("b.mp4", "http://a"),
        state_path("s3://a", "x"),
    }

    assert len(places) == 4
    assert state_path("a.mp4", "http://a") == state_path(str(Path("a.mp4").absolute()), "http://a")
