"""The command line: what it refuses, the messages, and whole commands."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from mux_async import LimitSettings, Mux, RetryPolicy, __version__
from mux_async.cli import main
from mux_async.emulator import EmulatorSettings
from mux_async.models import Asset
from tests.cli.commands import CREDENTIALS, Emulate, command, emulate_here, environment, run, run_here

RATE = LimitSettings().post.rate
"""POST requests a second that are let out."""


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulate]:
    with emulate_here(EmulatorSettings(limits=None, instant=True)) as running:
        yield running


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    for number in range(3):
        tone(folder / f"{number}.wav", number)
    return folder


def no_wait(_policy: RetryPolicy, _attempt: int, _jitter: float) -> float:
    return 0.0


def tone(path: Path, number: int = 0) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(bytes([number]) * 800)
    return path


def invoke(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    said = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, said.out, said.err


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MUX_TOKEN_ID", "MUX_TOKEN_SECRET", "MUX_AUTHORIZATION_TOKEN", "MUX_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """``--version`` prints the version."""
    assert invoke(capsys, "--version") == (0, f"mux-async {__version__}\n", "")


def test_start_up() -> None:
    """Starting the command imports no client, no ingest and no emulator: a command imports what it needs."""
    program = "import sys\nfrom mux_async.cli import main\ntry:\n    main(['--version'])\nfinally:\n    print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment())
    packages = {
        "aiohttp",
        "mux_async._client",
        "mux_async.emulator",
        "mux_async.ingest",
        "mux_async.resources",
        "mux_async.uploads",
    }

    assert not packages & set(done.stdout.split())


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """``--help`` names every command."""
    code, out, _ = invoke(capsys, "--help")

    assert code == 0
    for name in ("demo", "ingest", "upload", "emulate", "limits", "doctor"):
        assert name in out


def test_missing_libraries(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without typer and rich, the command names the extra that installs them, and shows no traceback."""

    def nothing(name: str) -> None:
        del name

    monkeypatch.setattr(importlib.util, "find_spec", nothing)
    code, _, err = invoke(capsys, "--version")

    assert code == 2
    assert err == "the mux-async command needs typer and rich: pip install 'mux-async[cli]'\n"


def test_missing_ffmpeg(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without imageio-ffmpeg, the demo names the extra that installs it."""

    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # importing it fails
    code, out, err = invoke(capsys, "demo")

    assert (code, out) == (2, "")
    assert "pip install 'mux-async[demo]'" in err


def test_missing_credentials(capsys: pytest.CaptureFixture[str], films: Path) -> None:
    """Without credentials nothing is sent, and the message says how to set them."""
    code, out, err = invoke(capsys, "ingest", str(films))

    assert (code, out) == (2, "")
    assert err.startswith("error: no token_id (MUX_TOKEN_ID)")
    assert "Traceback" not in err


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ingest"], "nothing was named"),
        (["ingest", "missing.mp4"], "cannot be read"),
        (["ingest", "--manifest", "missing.txt"], "cannot be read"),
        (["ingest", "empty"], "is empty"),
        (["ingest", "film.wav", "--transport", "aiohtp"], "did you mean 'aiohttp'?"),
        (["ingest", "film.wav", "--base-url", "http://example.com"], "in the clear"),
        (["ingest", "film.wav", "--policy", "secret"], "not one of public"),
        (["ingest", "film.wav", "--concurrency", "0"], "--concurrency"),
        (["ingest", "film.wav", "--report", "no/where.jsonl"], "cannot be written"),
        (["ingest", "film.wav", "--report", "report.txt"], ".csv or a .jsonl"),
        (["ingest", "film.wav", "--dedup", "name"], "--dedup"),
        (["upload", "missing.mp4"], "cannot be read"),
        (["upload", "empty.mp4"], "is empty"),
        (["limits", "--base-url", "here"], "https://host"),
    ],
)
def test_wrong_input(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    """Wrong arguments are refused with exit code 2 and a message, before anything is sent."""
    monkeypatch.chdir(tmp_path)
    tone(tmp_path / "film.wav")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.mp4").touch()
    code, out, err = invoke(capsys, *arguments)

    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert "Traceback" not in err


@pytest.mark.usefixtures("credentials")
def test_doctor_shows_no_secret(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor says which secrets are set without showing them, and finds both transports."""
    monkeypatch.setenv("MUX_TOKEN_SECRET", "canary-5d1")
    code, out, err = invoke(capsys, "doctor")

    assert code == 0
    assert "transport aiohttp" in out
    assert "transport httpx" in out
    assert "canary" not in out + err


@pytest.mark.usefixtures("credentials")
def test_doctor_names_the_extra(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing library is named with its extra, and an address in brackets is shown whole: neither is taken for markup."""
    real = importlib.util.find_spec

    def find_spec(name: str) -> object:
        return None if name.startswith("httpx") else real(name)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    code, out, _ = invoke(capsys, "doctor", "--base-url", "https://[fe80::1]")

    assert code == 0
    assert "mux-async[httpx]" in out
    assert "https://[fe80::1]" in out
    assert "https://[fe80::1]" in invoke(capsys, "limits", "--base-url", "https://[fe80::1]")[1]


def test_doctor_without_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    """Without credentials the doctor shows the rest and fails."""
    code, out, err = invoke(capsys, "doctor")

    assert code == 2
    assert "Python" in out
    assert "MUX_TOKEN_ID" in err


@pytest.mark.usefixtures("credentials")
def test_limits(capsys: pytest.CaptureFixture[str]) -> None:
    """The four buckets are shown with their rates."""
    code, out, _ = invoke(capsys, "limits")

    assert code == 0
    for name in ("post", "other", "realtime-data", "general-data"):
        assert name in out


@pytest.mark.usefixtures("credentials")
def test_forecast(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The creates of a day are forecast by priority, as a table and as JSON."""
    monkeypatch.setenv("MUX_TOKEN_ID", "forecast")  # an account that no other test in this process has given other limits
    code, out, _ = invoke(capsys, "limits", "--post", "86400")
    assert code == 0
    assert "86,400 post" in out
    assert "24 h" in out

    code, out, _ = invoke(capsys, "limits", "--post", "86400", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["forecast_seconds"]["batch"] == pytest.approx(86399 / RATE)
    assert told["buckets"]["post"]["rate"] == pytest.approx(RATE)


@pytest.mark.usefixtures("credentials")
def test_limits_of_two_tokens(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a token of low priority its buckets are shown too."""
    monkeypatch.setenv("MUX_LOW_PRIORITY_TOKEN_ID", "night")
    monkeypatch.setenv("MUX_LOW_PRIORITY_TOKEN_SECRET", "canary-5d2")

    assert "token of low priority" in invoke(capsys, "limits")[1]
    told = json.loads(invoke(capsys, "limits", "--json")[1])
    assert told["low_priority_buckets"].keys() == told["buckets"].keys()


def test_no_server(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the server cannot be reached, the command fails with a message and without a traceback."""
    monkeypatch.setattr(RetryPolicy, "backoff", no_wait)
    done = run_here("upload", str(films / "0.wav"), "--base-url", "http://127.0.0.1:1", cwd=tmp_path)

    assert done.returncode == 1
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_debug(films: Path, tmp_path: Path) -> None:
    """``--debug`` shows the traceback, and still no secret."""
    env = {"MUX_TOKEN_ID": "test-token", "MUX_TOKEN_SECRET": "canary-secret"}
    done = run("--debug", "upload", str(films / "0.wav"), "--base-url", "http://127.0.0.1:1", env=env, cwd=tmp_path)

    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "canary" not in done.stderr


def test_upload(emulator: Emulate, films: Path, tmp_path: Path) -> None:
    """``upload`` prints the playback URL."""
    done = run_here("upload", str(films / "1.wav"), "--title", "A tone", "--base-url", emulator.origin, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(emulator.origin)


@pytest.mark.skipif(os.name == "nt", reason="names of files are text there")
def test_upload_of_an_odd_name(emulator: Emulate, tmp_path: Path) -> None:
    """A file can be uploaded if its name is not valid text."""
    film = tone(tmp_path / os.fsdecode(b"film-\xff.wav"))
    done = run_here("upload", str(film), "--base-url", emulator.origin, cwd=tmp_path)

    assert done.returncode == 0, done.stderr


def test_options_of_uploads(films: Path, tmp_path: Path) -> None:
    """``ingest`` and ``upload`` use the policies, the test flag and the timeout of the command line."""
    options = ["--policy", "signed", "--test", "--timeout", "1"]
    with emulate_here(EmulatorSettings(limits=None, time_to_ready=500.0)) as emulator:
        ingested = run_here("ingest", str(films / "0.wav"), *options, "--base-url", emulator.origin, cwd=tmp_path)
        uploaded = run_here("upload", str(films / "1.wav"), *options, "--base-url", emulator.origin, cwd=tmp_path)

        async def look() -> list[Asset]:
            async with Mux(token_id="test-token", token_secret="test-secret", base_url=emulator.origin) as mux:
                return (await mux.video.assets.list()).data

        made = anyio.run(look)

    assert (ingested.returncode, uploaded.returncode) == (1, 1)
    assert "within 1 s" in ingested.stdout
    assert "within 1 s" in uploaded.stderr
    assert [[each.policy for each in asset.playback_ids or ()] for asset in made] == [["signed"], ["signed"]]
    assert all(asset.test for asset in made)


@pytest.mark.proof
@pytest.mark.timeout(120)
def test_demo(tmp_path: Path) -> None:
    """The demo makes real files, ingests all of them, shows their URLs, and gets no 429."""
    done = run_here("demo", env={}, cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 of 6 files ready" in done.stdout
    assert "0 answers of 429" in done.stdout
    assert done.stdout.count(".m3u8") == 6
    for name in ("test-card.mp4", "portrait.mov", "web.webm", "mezzanine.avi", "talk.mp3", "loop.mkv"):
        assert f"{name}: ready after" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.proof
@pytest.mark.timeout(120)
def test_demo_is_kept(tmp_path: Path) -> None:
    """With ``--keep`` the demo runs until it is interrupted; on a narrow terminal its URLs are whole, and every one plays."""
    process = subprocess.Popen(
        command("demo", "--keep"), stdout=subprocess.PIPE, text=True, env={**environment({}), "COLUMNS": "60"}, cwd=tmp_path
    )
    try:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line.rstrip())
            if line.startswith("running until interrupted"):
                break
        urls = [line.strip() for line in lines if line.endswith(".m3u8")]
        kinds = [decoded(url) for url in urls]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)

    assert process.returncode == 0, lines
    assert sorted(kinds) == ["audio", *["video"] * 5]
    assert any(line.strip().startswith("export MUX_BASE_URL=http://127.0.0.1:") for line in lines)


def decoded(url: str) -> str:
    """Return the kind of the first frame that a player decodes from *url*."""
    av = pytest.importorskip("av")
    with av.open(url, timeout=20) as film:
        stream = (film.streams.video or film.streams.audio)[0]
        next(film.decode(stream))
        return str(stream.type)
