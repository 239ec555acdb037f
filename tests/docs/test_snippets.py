"""Every snippet of README and docs, run: against the emulator, over a real socket."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import attrs
import pytest

from mux_async import BucketSettings, LimitSettings, Mux
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport
from mux_async.emulator.server import serve
from mux_async.ingest import Ingest, Journal, make_plan, write_report
from tests.emulator import official

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?:<!-- runs: (?P<name>[\w-]+) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)```", re.DOTALL)
FREE = LimitSettings(enabled=False)


@attrs.frozen
class Snippet:
    """A fenced block."""

    page: str
    name: str | None
    language: str
    code: str


def snippets() -> list[Snippet]:
    return [
        Snippet(page.name, match["name"], match["language"], match["code"])
        for page in PAGES
        for match in BLOCK.finditer(page.read_text())
    ]


def snippet(name: str) -> str:
    (found,) = [one for one in snippets() if one.name == name]
    return found.code


def define(name: str) -> dict[str, Any]:
    """Run a snippet that defines things, as a module of its own, and return what it defined."""
    names: dict[str, Any] = {"__name__": f"snippet_{name}"}
    exec(compile(snippet(name), f"<{name}>", "exec"), names)
    return names


async def run(command: list[str], origin: str, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "MUX_BASE_URL": origin, "MUX_TOKEN_ID": "test-token", "MUX_TOKEN_SECRET": "test-secret"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    with anyio.fail_after(50):
        return await anyio.run_process(command, env=environment, cwd=cwd, check=False)


def emulator() -> Emulator:
    return Emulator(EmulatorSettings(time_to_ready=0.2))


Driver = Callable[[Path, pytest.MonkeyPatch], Awaitable[None]]


async def drive_program(_: Path, __: pytest.MonkeyPatch) -> None:
    async with serve(emulator()) as origin:
        done = await run([sys.executable, "-c", snippet("program")], origin)

    assert done.returncode == 0, done.stderr.decode()
    assert re.fullmatch(r"https://stream\.mux\.com/\w+\.m3u8\n", done.stdout.decode())


async def drive_ingest(folder: Path, _: pytest.MonkeyPatch) -> None:
    films = folder / "films"
    films.mkdir()
    for number in range(2):
        (films / f"film-{number}.mp4").write_bytes(os.urandom(1000 + number))
    (line,) = snippet("ingest").splitlines()
    async with serve(emulator()) as origin:
        done = await run(shlex.split(line.removeprefix("$ ")), origin, cwd=folder)

    assert done.returncode == 0, done.stderr.decode()
    results = [json.loads(line) for line in (folder / "films.jsonl").read_text().splitlines()]
    assert sorted(Path(result["source"]).name for result in results) == ["film-0.mp4", "film-1.mp4"]
    assert [result["status"] for result in results] == ["ready", "ready"]


def make_films(folder: Path) -> None:
    films = folder / "films"
    films.mkdir()
    for number in range(3):
        (films / f"film-{number}.mp4").write_bytes(os.urandom(1999 + number))


async def follow(name: str, folder: Path, origin: str) -> tuple[int, str]:
    """Run the command of a block, and return its exit code and all that it printed, in the terminal's order."""
    command, *_ = snippet(name).splitlines()
    done = await run(shlex.split(command.removeprefix("$ ")), origin, cwd=folder)
    return done.returncode, (done.stdout + done.stderr).decode()


def printed(name: str) -> str:
    return snippet(name).partition("\n")[2]


async def drive_ingest_dry_run(folder: Path, _: pytest.MonkeyPatch) -> None:
    make_films(folder)

    assert await follow("ingest-dry-run", folder, "http://127.0.0.1:1") == (0, printed("ingest-dry-run"))


async def drive_ingest_folder(folder: Path, _: pytest.MonkeyPatch) -> None:
    make_films(folder)
    async with serve(emulator()) as origin:
        code, said = await follow("ingest-folder", folder, origin)

    assert code == 0, said
    assert len((folder / "films.csv").read_text().splitlines()) == 4


async def ingest_at_once(folder: Path) -> None:
    """Do what ``ingest-folder`` shows, without its waits: what comes after it needs the journal and the report."""
    make_films(folder)
    mux = Mux(token_id="test-token", token_secret="test-secret", transport=EmulatorTransport(emulator()), limits=FREE)
    with contextlib.chdir(folder), Journal.open("films.mux-journal") as journal:
        await Ingest(mux, make_plan("films").items, journal=journal).run()
        write_report("films.csv", journal.entries(), base_url="http://127.0.0.1:8787")
    await mux.aclose()


async def drive_ingest_status(folder: Path, _: pytest.MonkeyPatch) -> None:
    await ingest_at_once(folder)

    assert (await follow("ingest-status", folder, "http://127.0.0.1:1")) == (0, printed("ingest-status"))


async def drive_ingest_report(folder: Path, _: pytest.MonkeyPatch) -> None:
    await ingest_at_once(folder)
    done = await run([sys.executable, "-c", snippet("ingest-report")], "http://127.0.0.1:1", cwd=folder)

    assert len(re.findall(r"films/film-\d\.mp4 ready http://\S+\.m3u8\n", done.stdout.decode())) == 3


async def drive_ingest_catalogue(folder: Path, _: pytest.MonkeyPatch) -> None:
    make_films(folder)
    (folder / "catalogue.csv").write_text(snippet("ingest-catalogue"))
    async with serve(emulator()) as origin:
        done = await run(["mux-async", "ingest", "catalogue.csv"], origin, cwd=folder)
        assert done.returncode == 0, done.stderr.decode()
        async with Mux(token_id="test-token", token_secret="test-secret", base_url=origin, limits=FREE) as mux:
            assets = {asset.meta.external_id: asset for asset in (await mux.video.assets.list()).data if asset.meta}

    assert assets.keys() == {"film-0", "film-1", "trailer"}
    assert assets["film-0"].static_renditions is not None
    assert assets["trailer"].meta is not None
    assert assets["trailer"].meta.title == "The trailer, in short"
    assert assets["trailer"].created_at == min(asset.created_at for asset in assets.values())


async def drive_ingest_bad_lines(folder: Path, _: pytest.MonkeyPatch) -> None:
    make_films(folder)
    (folder / "catalogue.csv").write_text("path,video_quality\nfilms/film-0.mp4,plsu\nfilms/film-9.mp4,\n")

    assert await follow("ingest-bad-lines", folder, "http://127.0.0.1:1") == (2, printed("ingest-bad-lines"))


async def drive_ingest_python(folder: Path, _: pytest.MonkeyPatch) -> None:
    make_films(folder)
    async with serve(emulator()) as origin:
        done = await run([sys.executable, "-c", snippet("ingest-python")], origin, cwd=folder)

    lines = done.stdout.decode().splitlines()
    assert lines[-1:] == ["True"], done.stderr.decode()
    assert sorted(lines[:-1]) == [f"films/film-{number}.mp4 ready" for number in range(3)]
    assert len((folder / "films.csv").read_text().splitlines()) == 4


async def drive_web(_: Path, patch: pytest.MonkeyPatch) -> None:
    from fastapi.testclient import TestClient

    async with serve(emulator()) as origin:
        patch.setenv("MUX_BASE_URL", origin)
        patch.setenv("MUX_TOKEN_ID", "test-token")
        patch.setenv("MUX_TOKEN_SECRET", "test-secret")

        def browse() -> None:
            with TestClient(define("web")["app"]) as browser:
                upload = browser.post("/uploads").json()
                assert upload["url"].startswith(origin)
                assert browser.get("/assets/nonsense").status_code == 404
                assert browser.get(f"/assets/{upload['id']}").status_code == 404

        await anyio.to_thread.run_sync(browse)


async def drive_bot(_: Path, __: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    async def reply(text: str) -> None:
        said.append(text)

    async with (
        serve(emulator()) as origin,
        Mux(token_id="test-token", token_secret="test-secret", base_url=origin, limits=FREE) as mux,
    ):
        on_message = define("bot")["on_message"]
        await on_message(mux, "hello", reply)
        await on_message(mux, "!video https://example.com/film.mp4", reply)

    assert said[0].startswith("working on it: ")
    assert re.fullmatch(r"https://player\.mux\.com/\w+", said[1])


async def drive_accounts(_: Path, __: pytest.MonkeyPatch) -> None:
    names = define("accounts")

    assert names["ingest"].limits.settings is names["website"].limits.settings


async def drive_rates(_: Path, __: pytest.MonkeyPatch) -> None:
    assert define("rates")["mux"].limits.settings.post == BucketSettings(rate=10, burst=20)


async def drive_windows(_: Path, __: pytest.MonkeyPatch) -> None:
    define("windows")
    strict, bursting = BucketSettings.for_window(300, 60.0), BucketSettings.for_window(300, 60.0, burst=30)

    assert 300 * 0.998 < strict.rate * 60.0 < 300
    assert (strict.burst, bursting.burst) == (1, 30)
    assert 270 < bursting.rate * 60.0 < 271


async def drive_classes(_: Path, __: pytest.MonkeyPatch) -> None:
    names = define("classes")
    async with (
        serve(emulator()) as origin,
        Mux(token_id="test-token", token_secret="test-secret", base_url=origin, limits=FREE) as mux,
    ):
        created = await names["handle"](mux, "https://example.com/film.mp4")
        await mux.video.assets.wait_until_ready(created)

        assert await names["clean_up"](mux) == 1


async def drive_plan(_: Path, __: pytest.MonkeyPatch) -> None:
    names = define("plan")
    limits = LimitSettings(post=BucketSettings(rate=20, burst=2))
    async with (
        serve(emulator()) as origin,
        Mux(token_id="test-token", token_secret="test-secret", base_url=origin, limits=limits) as mux,
    ):
        assert await names["plan"](mux, ["https://example.com/film.mp4"] * 3) == pytest.approx(0.1, abs=0.01)


async def drive_transport(_: Path, __: pytest.MonkeyPatch) -> None:
    assert await define("transport")["main"]() == 1


async def drive_fake(_: Path, __: pytest.MonkeyPatch) -> None:
    await define("fake")["test_retrieve"]()


async def drive_emulated(_: Path, __: pytest.MonkeyPatch) -> None:
    await define("emulated")["test_a_film_becomes_ready"]()


async def drive_faults(_: Path, __: pytest.MonkeyPatch) -> None:
    await define("faults")["test_a_lost_answer"]()


async def drive_served(_: Path, __: pytest.MonkeyPatch) -> None:
    await define("served")["test_over_a_socket"]()


async def drive_aioresponses(_: Path, __: pytest.MonkeyPatch) -> None:
    await define("aioresponses")["test_mocked"]()


async def drive_virtual(_: Path, __: pytest.MonkeyPatch) -> None:
    with anyio.fail_after(50):
        done = await anyio.run_process([sys.executable, "-c", snippet("virtual")], check=False)

    assert done.stdout == b"1 h\n", done.stderr.decode()


async def drive_emulator_command(_: Path, __: pytest.MonkeyPatch) -> None:
    command, *printed = snippet("emulator-command").splitlines()
    # The port may be taken here; everything else is as shown.
    arguments = shlex.split(command.removeprefix("$ mux-async ").replace("8787", "0"))
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = await anyio.open_process([sys.executable, "-m", "mux_async.cli", *arguments], env=environment)
    try:
        text = b""
        assert process.stdout is not None
        with anyio.fail_after(30):
            while b"rate limits" not in text or not text.endswith(b"\n"):
                text += await process.stdout.receive()
    finally:
        process.terminate()
        await process.aclose()

    assert [re.sub(r":\d+$", ":8787", line) for line in text.decode().splitlines()] == printed


async def drive_emulator_pytest(folder: Path, _: pytest.MonkeyPatch) -> None:
    (folder / "test_it.py").write_text(snippet("emulator-pytest"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "mux_async.testing.plugin"]
    with anyio.fail_after(50):
        done = await anyio.run_process(command, cwd=folder, check=False)

    assert done.returncode == 0, done.stdout.decode()


async def drive_emulator_live(_: Path, __: pytest.MonkeyPatch) -> None:
    happened = await define("emulator-live")["a_broadcast"]()

    assert happened[:2] == ["video.live_stream.created", "video.live_stream.connected"]
    assert happened[-2:] == ["video.live_stream.disconnected", "video.live_stream.idle"]


async def drive_emulator_webhooks(_: Path, __: pytest.MonkeyPatch) -> None:
    with anyio.fail_after(20):
        assert await define("emulator-webhooks")["listen"]() == "video.asset.ready"


async def drive_emulator_node(_: Path, __: pytest.MonkeyPatch) -> None:
    folder = await anyio.to_thread.run_sync(official.node_modules)
    async with serve(emulator()) as origin:
        given = {"MUX_BASE_URL": origin, "MUX_TOKEN_ID": "test-token", "MUX_TOKEN_SECRET": "test-secret"}
        with anyio.fail_after(50):
            done = await anyio.run_process(
                ["node", "-e", snippet("emulator-node")], cwd=folder, env={**os.environ, **given}, check=False
            )

    assert done.stdout == b"preparing\n", done.stderr.decode()


DRIVERS: dict[str, Driver] = {
    name.removeprefix("drive_").replace("_", "-"): value
    for name, value in list(globals().items())
    if name.startswith("drive_") and inspect.iscoroutinefunction(value)
}


def test_every_snippet_runs() -> None:
    """Every Python snippet, and every command of ours, is marked to run, and every mark has its driver."""
    for one in snippets():
        if one.language == "python" or "mux-async ingest" in one.code:
            assert one.name, f"{one.page}: a snippet without <!-- runs: name -->:\n{one.code}"
    assert {one.name for one in snippets() if one.name} == set(DRIVERS)


@pytest.mark.parametrize("name", sorted(DRIVERS))
@pytest.mark.asyncio
async def test_snippet(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the page shows does what the page says."""
    await DRIVERS[name](tmp_path, monkeypatch)
