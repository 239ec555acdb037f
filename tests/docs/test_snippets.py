"""Every snippet of README and docs, run: against the emulator, over a real socket."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import logging
import os
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from shutil import which
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs
import orjson
import pytest
import trustme
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mux_async import BadRequestError, BucketSettings, LimitSettings, Mux
from mux_async._client import listeners_of
from mux_async.drift import drift
from mux_async.emulator import (
    Emulator,
    EmulatorSettings,
    EmulatorTransport,
    WebhookRequest,
    WebhookSettings,
    WorkFault,
    carrying,
    example_event,
)
from mux_async.emulator.server import serve
from mux_async.errors import ConnectError
from mux_async.ingest import Ingest, Journal, make_plan, write_report
from mux_async.live import LiveEvent
from mux_async.models import Asset
from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.testing.loopback import Reply, always, listen, talk
from mux_async.transport import HttpResponse
from mux_async.webhooks import WebhookEvent, WebhookRouter, parse_event, sign
from mux_async.webhooks.events import LiveStreamEvent
from tests.docs.guides import GUIDES
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


async def with_assets(origin: str, count: int) -> list[str]:
    async with Mux(token_id="test-token", token_secret="test-secret", base_url=origin, limits=FREE) as mux:
        return [
            (await mux.video.assets.create(inputs=[{"url": f"https://example.com/{each}.mp4"}])).id for each in range(count)
        ]


async def bulk_change(folder: Path, name: str, *, file: str, text: str) -> list[Asset]:
    """Run the command of *name* on the list *file* for two assets; return the assets afterwards."""
    instant = Emulator(EmulatorSettings(instant=True, time_to_ready=0.0))
    async with serve(instant) as origin:
        one, two = await with_assets(origin, 2)
        (folder / file).write_text(text.replace("ASSET_1", one).replace("ASSET_2", two))
        code, said = await follow(name, folder, origin)
        assert code == 0, said
        async with Mux(token_id="test-token", token_secret="test-secret", base_url=origin, limits=FREE) as mux:
            return (await mux.video.assets.list()).data


async def drive_bulk_table(folder: Path, _: pytest.MonkeyPatch) -> None:
    assets = await bulk_change(folder, "bulk-run", file="titles.csv", text=snippet("bulk-table"))

    assert {(asset.meta.title, asset.passthrough) for asset in assets if asset.meta} == {
        ("The first film", "film-1"),
        ("The second film", "film-2"),
    }
    assert await follow("bulk-status", folder, "http://127.0.0.1:1") == (0, printed("bulk-status"))


drive_bulk_run = drive_bulk_status = drive_bulk_table  # one flow, whose table, run and status the page shows


async def drive_bulk_dry_run(folder: Path, _: pytest.MonkeyPatch) -> None:
    assets = await bulk_change(folder, "bulk-dry-run", file="titles.csv", text=snippet("bulk-table"))

    assert all(asset.passthrough is None for asset in assets)


async def drive_bulk_set(folder: Path, _: pytest.MonkeyPatch) -> None:
    assets = await bulk_change(folder, "bulk-set", file="ids.txt", text="ASSET_1\nASSET_2\n")

    assert all(asset.static_renditions and asset.static_renditions.files for asset in assets)


async def drive_bulk_delete(folder: Path, _: pytest.MonkeyPatch) -> None:
    assert await bulk_change(folder, "bulk-delete", file="old.txt", text="ASSET_1\nASSET_2\n") == []


async def drive_bulk_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names = define("bulk-python")
    transport = EmulatorTransport(Emulator(EmulatorSettings(instant=True, time_to_ready=0.0)))
    async with Mux(token_id="test-token", token_secret="test-secret", transport=transport, limits=FREE) as mux:
        ids = [(await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}])).id for _ in range(2)]
        await names["publish"](mux, ids)
        assert [asset.passthrough async for asset in mux.video.assets.list()] == ["published"] * 2
        await names["clean_up"](mux, ids)
        assert (await mux.video.assets.list()).data == []


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


async def drive_uploads_fastapi(folder: Path, _: pytest.MonkeyPatch) -> None:
    from fastapi import UploadFile

    film = folder / "film.mp4"
    film.write_bytes(os.urandom(3000))
    async with Mux(
        token_id="test-token", token_secret="test-secret", transport=EmulatorTransport(emulator()), limits=FREE
    ) as mux:
        with film.open("rb") as file:
            asset_id = await define("uploads-fastapi")["publish"](mux, UploadFile(file))
        asset = await mux.video.assets.retrieve(asset_id)

    assert asset.status == "ready"


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


def signing_key(patch: pytest.MonkeyPatch) -> str:
    """Put a key into the environment; return its id."""
    from tests.signing import keys

    patch.setenv("MUX_SIGNING_KEY", keys.KEY_ID)
    patch.setenv("MUX_PRIVATE_KEY", keys.as_mux_shows_it())
    return keys.KEY_ID


async def drive_signing(_: Path, patch: pytest.MonkeyPatch) -> None:
    from mux_async.signing import verify

    signing_key(patch)
    names = define("signing")
    public = names["signer"].public_keys

    assert list(names["page"]("id")) == ["playback-token", "thumbnail-token", "storyboard-token"]
    assert verify(names["poster"]("id"), public, audience="t").claims["width"] == 640
    assert [verify(token, public, audience="t").subject for token in await names["gallery"](["a", "b"])] == ["a", "b"]


async def drive_verifying(_: Path, patch: pytest.MonkeyPatch) -> None:
    from mux_async.signing import Signer

    key_id = signing_key(patch)
    signer, opens = Signer.from_environment(), define("verifying")["check"]

    assert opens(signer, signer.sign("id"), "id") == f"signed with {key_id}"
    assert opens(signer, signer.sign("other"), "id") == "subject"


async def drive_sign_command(_: Path, patch: pytest.MonkeyPatch) -> None:
    signing_key(patch)
    (line,) = snippet("sign-command").splitlines()
    done = await run(shlex.split(line.removeprefix("$ ")), "http://127.0.0.1:8787")

    assert re.fullmatch(
        rb"http://127.0.0.1:8787/DS00Spx1CV902MCtPj5WknGlR102V5HFkDe/thumbnail.jpg\?token=[\w.-]+\n", done.stdout
    )


async def drive_playback(_: Path, __: pytest.MonkeyPatch) -> None:
    from mux_async.signing import Signer

    async with (
        serve(emulator()) as origin,
        Mux(token_id="test-token", token_secret="test-secret", base_url=origin, limits=FREE) as mux,
    ):
        key = await mux.system.signing_keys.create()
        asset = await mux.video.assets.create(inputs=["https://example.com/film.mp4"], playback_policies=["public", "signed"])
        public, signed = await define("playback")["urls"](mux, Signer(key.id, key.private_key), asset.id)

    assert re.fullmatch(rf"{origin}/\w+\.m3u8\?max_resolution=1080p", public)
    assert re.fullmatch(rf"{origin}/\w+\.m3u8\?token=[\w.-]+", signed)


async def drive_ingest_addresses(_: Path, __: pytest.MonkeyPatch) -> None:
    async with (
        serve(emulator()) as origin,
        Mux(token_id="test-token", token_secret="test-secret", base_url=origin, limits=FREE) as mux,
    ):
        server, key = await define("ingest-addresses")["settings_of_the_encoder"](mux)

    assert server == "rtmps://eu-west.live.mux.com:443/app"
    assert len(key) == 36


async def drive_accounts(_: Path, __: pytest.MonkeyPatch) -> None:
    names = define("accounts")

    assert names["ingest"].limits.settings is names["website"].limits.settings


async def drive_tokens(_: Path, __: pytest.MonkeyPatch) -> None:
    names = define("tokens")

    assert names["mux"].limits.low_priority.snapshot() == names["batch"].snapshot()


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

    assert [re.sub(r':\d+(?=$|")', ":8787", line) for line in text.decode().splitlines()] == printed


async def drive_emulator_stream(_: Path, __: pytest.MonkeyPatch) -> None:
    if which("curl") is None:
        official.missing("curl is not installed: apt-get install curl")
    command, *printed = snippet("emulator-stream").splitlines()
    async with serve(Emulator(EmulatorSettings(limits=None))) as origin:
        arguments = shlex.split(command.removeprefix("$ ").replace("http://127.0.0.1:8787", origin))
        process = await anyio.open_process([*arguments, "--silent", "--noproxy", "*"])
        try:
            text = b""
            assert process.stdout is not None
            with anyio.fail_after(30):
                while not text.endswith(b"\n\n"):
                    text += await process.stdout.receive()
        finally:
            process.terminate()
            await process.aclose()

    event, data = text.decode().splitlines()[:2]
    shown = json.loads(printed[1].removeprefix("data: "))["environment"]
    assert event == printed[0]
    assert json.loads(data.removeprefix("data: "))["environment"].keys() == shown.keys()


async def drive_emulator_tls(folder: Path, _: pytest.MonkeyPatch) -> None:
    command, *printed = snippet("emulator-tls").splitlines()
    arguments = [*shlex.split(command.removeprefix("$ mux-async ")), "--port", "0", "--tls-port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "MUX_CA_FOLDER": str(folder / "ca")}
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
    shown = re.escape("\n".join(printed)).replace(re.escape("/home/me/.config/mux-async/ca"), re.escape(str(folder / "ca")))
    pattern = (
        re.sub(r"8787|8443", r"\\d+", shown).replace(re.escape("2027-12-01"), r"[\d-]+").replace(re.escape("..."), r"[^\n]+")
    )

    assert re.fullmatch(pattern, text.decode().strip())


async def drive_emulator_tls_python(folder: Path, _: pytest.MonkeyPatch) -> None:
    with anyio.fail_after(20):
        assert await define("emulator-tls-python")["list_assets"](folder / "ca") == 0


async def drive_emulator_pytest(folder: Path, _: pytest.MonkeyPatch) -> None:
    (folder / "test_it.py").write_text(snippet("emulator-pytest"))
    plugins = ["no:cacheprovider", "no:faker", "no:schemathesis", "mux_async.testing.plugin"]  # two are slow to import
    command = [sys.executable, "-m", "pytest", "-q", *(f"-p{plugin}" for plugin in plugins)]
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


def signed_event(kind: str, secret: str, **more: object) -> tuple[bytes, dict[str, str]]:
    """Return a delivery of a made-up event: its body and its headers."""
    body = orjson.dumps({**example_event(kind, datetime.now(UTC), data={"id": "asset-1"}), **more})
    return body, {"Mux-Signature": sign(body, secret)}


async def drive_webhooks_app(folder: Path, patch: pytest.MonkeyPatch) -> None:
    from fastapi.testclient import TestClient

    patch.setenv("MUX_WEBHOOK_SECRET", "secret")
    patch.chdir(folder)
    names = define("webhooks-app")
    body, headers = signed_event("video.asset.ready", "secret")

    def browse() -> list[int]:
        with TestClient(names["app"]) as browser:
            posted = [browser.post("/webhooks/mux", content=body, headers=each) for each in (headers, headers, {})]
        return [answer.status_code for answer in posted]

    assert await anyio.to_thread.run_sync(browse) == [200, 200, 400]
    assert names["published"] == ["asset-1"]
    await names["hooks"].aclose()


async def drive_webhooks_latest(_: Path, __: pytest.MonkeyPatch) -> None:
    names = define("webhooks-latest")
    for kind, at in (("video.live_stream.idle", "2026-01-01T00:00:02Z"), ("video.live_stream.active", "2026-01-01T00:00:01Z")):
        answer = await names["hooks"].receive(*signed_event(kind, "the endpoint's secret", created_at=at, id=kind))
        assert answer.status == 200

    assert list(names["states"].values()) == ["idle"]


async def drive_webhooks_attach(_: Path, __: pytest.MonkeyPatch) -> None:
    hooks = WebhookRouter("secret")

    async def carry(request: WebhookRequest) -> int:
        return (await hooks.receive(request.body, request.headers)).status

    emulated = Emulator(
        EmulatorSettings(time_to_ready=0.05, limits=None, webhooks=(WebhookSettings("https://x.example/", "secret"),))
    )
    mux = Mux(token_id="test-token", token_secret="test-secret", transport=EmulatorTransport(emulated), limits=FREE)
    with anyio.fail_after(20):
        async with carrying(emulated, carry), mux:
            assert await define("webhooks-attach")["ready_at_once"](mux, hooks, "https://example.com/film.mp4") == "ready"
    emulated.close()


async def drive_waiting_jobs(_: Path, __: pytest.MonkeyPatch) -> None:
    emulated = Emulator(EmulatorSettings(instant=True, limits=None, accept_robots_terms=True))
    async with Mux(
        token_id="test-token", token_secret="test-secret", transport=EmulatorTransport(emulated), limits=FREE
    ) as mux:
        assets = [await mux.video.assets.create(inputs=[{"url": "https://example.com/film.mp4"}]) for _ in range(3)]
        found = await define("waiting-jobs")["titles"](mux, [asset.id for asset in assets])

    assert set(found) == {asset.id for asset in assets}
    assert not any(title.startswith("failed") for title in found.values())


async def drive_waiting_track(_: Path, __: pytest.MonkeyPatch) -> None:
    emulated = Emulator(EmulatorSettings(instant=True, limits=None))
    async with Mux(
        token_id="test-token", token_secret="test-secret", transport=EmulatorTransport(emulated), limits=FREE
    ) as mux:
        first, second = [await mux.video.assets.create(inputs=[{"url": "https://example.com/film.mp4"}]) for _ in range(2)]
        captions = define("waiting-track")["captions"]
        assert await captions(mux, first.id, "https://example.com/en.vtt") == "ready"
        emulated.work_faults.add(WorkFault("track"))
        assert (await captions(mux, second.id, "https://example.com/en.vtt")).startswith("unusable")


async def drive_webhooks_stream(_: Path, __: pytest.MonkeyPatch) -> None:
    emulator = Emulator(EmulatorSettings(limits=None, time_to_ready=0.2))
    async with Mux(token_id="test-token", token_secret="test-secret", transport=EmulatorTransport(emulator)) as mux:
        found = list[str]()

        async def listen() -> None:
            found.append(await define("webhooks-stream")["first_ready"](mux))

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listen)
                await anyio.wait_all_tasks_blocked()
                await mux.video.assets.create(inputs=[{"url": "https://example.com/film.mp4"}])
    assert found == [emulator.events[-1].object_id]


async def drive_webhooks_unwrap(_: Path, __: pytest.MonkeyPatch) -> None:
    kind_of = define("webhooks-unwrap")["kind_of"]

    assert kind_of(*signed_event("video.asset.errored", "secret"), "secret").startswith("asset-1 failed: ")
    assert kind_of(*signed_event("video.asset.ready", "secret"), "secret") == "video.asset.ready"
    assert kind_of(*signed_event("video.asset.ready", "other"), "secret") == "refused (mismatch)"


async def drive_webhooks_lambda(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = define("webhooks-lambda")["handler"]
    body, headers = signed_event("video.asset.ready", "secret")
    monkeypatch.setenv("MUX_WEBHOOK_SECRET", "secret")

    assert handler({"headers": headers, "body": body.decode(), "isBase64Encoded": False}, None) == {"statusCode": 200}


@contextlib.asynccontextmanager
async def told_account() -> AsyncGenerator[tuple[Emulator, Mux, WebhookRouter]]:
    """A hurried account in this process, whose webhooks reach the client."""
    hooks = WebhookRouter("secret")
    hook = WebhookSettings("https://x.example/", "secret")
    emulated = Emulator(EmulatorSettings(time_scale=200.0, limits=None, webhooks=(hook,)))

    async def carry(request: WebhookRequest) -> int:
        return (await hooks.receive(request.body, request.headers)).status

    mux = Mux(
        token_id="test-token", token_secret="test-secret", transport=EmulatorTransport(emulated), limits=FREE, account="live"
    )
    async with carrying(emulated, carry), mux:
        hooks.attach(mux)
        yield emulated, mux, hooks
    emulated.close()


async def go_on_air(emulated: Emulator, stream_id: str) -> None:
    emulated.live.connect(stream_id)
    await anyio.sleep(0.1)
    emulated.live.disconnect(stream_id)


async def drive_live_watch(_: Path, __: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with anyio.fail_after(30):
        async with told_account() as (emulated, mux, hooks), anyio.create_task_group() as tasks:

            @hooks.on("video.live_stream.created")
            async def begin(event: LiveStreamEvent) -> None:
                tasks.start_soon(go_on_air, emulated, event.data.id)

            said = await define("live-watch")["broadcast"](mux, "Town hall")

    assert said[:3] == ["send to rtmps://global-live.mux.com:443/app", "on air", "over"]
    assert re.fullmatch(r"recorded: \d+ s", said[3])


async def drive_live_months(_: Path, __: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    with anyio.fail_after(30):
        async with told_account() as (emulated, mux, _hooks), anyio.create_task_group() as tasks:

            async def handle(event: LiveEvent) -> None:
                seen.append(event.type)
                if event.type == "video.live_stream.idle":
                    tasks.cancel_scope.cancel()

            tasks.start_soon(define("live-months")["follow"], mux, handle)
            await anyio.lowlevel.checkpoint()
            await go_on_air(emulated, (await mux.video.live_streams.create()).id)

    assert "video.live_stream.active" in seen


async def drive_live_spaces(_: Path, __: pytest.MonkeyPatch) -> None:
    from mux_async.signing import Signer, verify

    names, log = define("live-spaces"), list[str]()
    with anyio.fail_after(30), warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        async with told_account() as (_emulated, mux, hooks):
            names["listen"](hooks, log)
            started = anyio.Event()

            @hooks.on("video.space.broadcast.active")
            async def note(_: WebhookEvent) -> None:
                started.set()

            key = await mux.system.signing_keys.create()
            signer = Signer(key.id, key.private_key)
            space_id, token = await names["open_room"](mux, signer)
            await started.wait()

    assert verify(token, signer.public_keys, audience="rt", subject=space_id).claims["role"] == "publisher"
    assert {line.split()[0] for line in log} >= {"video.space.created", "video.space.broadcast.created"}


async def run_all(name: str, origin: str) -> list[subprocess.CompletedProcess[bytes]]:
    return [await run(shlex.split(line.removeprefix("$ ")), origin) for line in snippet(name).splitlines()]


async def drive_command_line_api(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    async with serve(emulator()) as origin:
        made, listed, lines, views = await run_all("command-line-api", origin)

    assert [each.returncode for each in (made, listed, lines, views)] == [0, 0, 0, 0], views.stderr.decode()
    asset_id = json.loads(made.stdout)["data"]["id"]
    assert [each["id"] for each in json.loads(listed.stdout)["data"]] == [asset_id]
    assert [json.loads(line)["id"] for line in lines.stdout.splitlines()] == [asset_id]
    assert len(json.loads(views.stdout)["data"]) == 5


async def drive_command_line_doctor(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    async with serve(emulator()) as origin:
        (done,) = await run_all("command-line-doctor", origin)

    assert done.returncode == 0, done.stdout.decode()
    assert b"whoami" in done.stdout


async def drive_webhooks_test(_: Path, __: pytest.MonkeyPatch) -> None:
    await define("webhooks-test")["test_my_handler"]()


async def drive_listen(_: Path, __: pytest.MonkeyPatch) -> None:
    named = define("listen")
    slow = LimitSettings(other=BucketSettings(rate=0.7, burst=1))
    printed = io.StringIO()
    settings: dict[str, Any] = {"base_url": "https://mux.test", "token_id": "test-token", "token_secret": "test-secret"}
    async with Mux(transport=EmulatorTransport(emulator()), limits=slow, account="listen", **settings) as mux:
        with contextlib.redirect_stdout(printed):
            await named["main"](mux)
            await named["main"](mux)
            with mux.listen(named["slow"]), contextlib.suppress(BadRequestError):
                await mux.video.assets.retrieve("unknown")

    lines = printed.getvalue().splitlines()
    assert lines[0].startswith("video.assets.list waited 1.4 s for the rate limit of other")
    assert lines[-1] == "video.assets.retrieve failed: BadRequestError after 1 attempts"


async def drive_explain(_: Path, __: pytest.MonkeyPatch) -> None:
    now = [100.0]
    answers: list[HttpResponse | BaseException] = [
        ConnectError("connection refused"),
        ConnectError("connection refused"),
        respond(500, json={}, headers={"X-Request-Id": "r1"}),
    ]
    settings: dict[str, Any] = {"base_url": "https://mux.test", "token_id": "i", "token_secret": "s", "limits": FREE}
    printed = io.StringIO()
    async with Mux(transport=FakeTransport(lambda _: answers.pop(0)), clock=lambda: now[0], **settings) as mux:
        with contextlib.redirect_stdout(printed):
            await define("explain")["main"](mux)

    # The page has the same lines, with other times.
    times = re.compile(r"\d+\.\d{3} s|\d+%|\(first byte .*?\)")
    shown = [re.sub(times, "", line).split() for line in printed.getvalue().splitlines()]
    page = [re.sub(times, "", line).split() for line in snippet("explain-output").splitlines()]
    missing = [line for line in shown if line not in page and line[:2] != ["in", "all"]]
    assert not missing


drive_explain_output = drive_explain


async def drive_structlog(_: Path, __: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("mux_async")
    level, handlers = logger.level, [*logger.handlers]
    printed = io.StringIO()
    answers = [respond(503, json={}, headers={"X-Request-Id": "r1"}), respond(json={"data": []})]
    try:
        with contextlib.redirect_stderr(printed):
            define("structlog")["set_up_logging"]()
            async with Mux(
                transport=FakeTransport(lambda _: answers.pop(0)), token_id="id", token_secret="secret", limits=FREE
            ) as mux:
                await mux.video.assets.list()
    finally:
        logger.setLevel(level)
        logger.handlers[:] = handlers

    (line,) = map(json.loads, printed.getvalue().splitlines())
    assert (line["mux_operation"], line["mux_attempt"], line["mux_request_id"]) == ("video.assets.list", 1, "r1")
    assert line["level"] == "info"


async def drive_otel_all(_: Path, __: pytest.MonkeyPatch) -> None:
    instrumentor = define("otel-all")["MuxInstrumentor"]()
    try:
        mux = Mux(transport=FakeTransport(lambda _: respond(json={})), token_id="id", token_secret="secret", account="otel-all")
        assert listeners_of(mux) is not None
    finally:
        instrumentor.uninstrument()


async def drive_otel_one(_: Path, __: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    tracing = SdkTracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(exporter))
    answer = FakeTransport(lambda _: respond(json={"data": []}))
    async with Mux(transport=answer, token_id="id", token_secret="secret", account="otel-one") as mux:
        await define("otel-one")["main"](mux, tracing, SdkMeterProvider())
    assert [span.name for span in exporter.get_finished_spans()] == ["GET /video/v1/assets", "video.assets.list"]


async def drive_hooks(_: Path, __: pytest.MonkeyPatch) -> None:
    sent = list[SentRequest]()

    def answer(request: SentRequest) -> HttpResponse:
        sent.append(request)
        return respond(json={"data": []})

    printed = io.StringIO()
    async with Mux(transport=FakeTransport(answer), token_id="id", token_secret="secret", limits=FREE) as mux:
        with contextlib.redirect_stdout(printed):
            await define("hooks")["main"](mux)

    assert re.fullmatch(r"\d+-1", sent[0].headers["X-Correlation-Id"])
    assert re.fullmatch(r"GET /video/v1/assets 200 0\.\d{3} s\n", printed.getvalue())


async def drive_proxy(folder: Path, patch: pytest.MonkeyPatch) -> None:
    authorities = folder / "authorities.pem"
    trustme.CA().cert_pem.write_to_path(str(authorities))
    for name, value in {"TOKEN_ID": "i", "TOKEN_SECRET": "s", "BASE_URL": "http://nowhere.localhost"}.items():
        patch.setenv(f"MUX_{name}", value)
    async with listen(talk(always(Reply(body=b'{"data": {"id": "by-proxy"}}')))) as proxy:
        async with define("proxy")["behind_a_proxy"](proxy.origin, str(authorities)) as mux:
            assert (await mux.video.assets.retrieve("a")).id == "by-proxy"

        assert proxy.requests[0].target == "http://nowhere.localhost/video/v1/assets/a"


async def drive_drift(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.chdir(folder)
    body = b'{"data":[{"id":"a","status":"ready","new":1}],"next_cursor":null}'
    transport = FakeTransport(lambda request: respond(body=body, headers={"Content-Type": "application/json"}))
    drift.clear()
    async with Mux(token_id="id", token_secret="secret", transport=transport, limits=FREE) as mux:
        await define("drift")["main"](mux)
    (line,) = snippet("drift-command").splitlines()
    done = await run(shlex.split(line.removeprefix("$ ")), "http://127.0.0.1:9", cwd=folder)
    drift.clear()

    assert b"unknown field: Asset.new, seen 1 times, sent integer" in done.stdout, done.stderr
    assert 'at = "/components/schemas/Asset/properties/new"' in (folder / "drift.toml").read_text()


drive_drift_command = drive_drift


async def drive_strict(_: Path, __: pytest.MonkeyPatch) -> None:
    names = define("strict")
    await names["test_against_staging"]()
    names["received"](parse_event(example_event("video.asset.ready", datetime.now(UTC))))


async def drive_health_fastapi(_: Path, __: pytest.MonkeyPatch) -> None:
    from fastapi.testclient import TestClient

    emulated = emulator()
    for secret, status in (("test-secret", 200), ("wrong", 503)):
        mux = Mux(token_id="test-token", token_secret=secret, transport=EmulatorTransport(emulated), limits=FREE)
        with TestClient(define("health-fastapi")["make_app"](mux, WebhookRouter("hush"))) as browser:
            answer = browser.get("/ready")
        assert (answer.status_code, answer.json()["ok"]) == (status, status == 200)


async def drive_health_aiohttp(_: Path, __: pytest.MonkeyPatch) -> None:
    from aiohttp import test_utils

    mux = Mux(token_id="test-token", token_secret="test-secret", transport=EmulatorTransport(emulator()), limits=FREE)
    async with mux, test_utils.TestClient(test_utils.TestServer(define("health-aiohttp")["make_app"](mux))) as client:
        answer = await client.get("/ready")
        assert (answer.status, (await answer.json())["ok"]) == (200, True)


async def drive_recorder(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.chdir(folder)
    async with serve(emulator()) as origin:
        for name, value in {"BASE_URL": origin, "TOKEN_ID": "test-token", "TOKEN_SECRET": "test-secret"}.items():
            patch.setenv(f"MUX_{name}", value)
        names = define("recorder")
        async with names["mux"] as mux:
            await mux.video.assets.list()
        names["on_demand"]()
    (line,) = snippet("replay").splitlines()
    done = await run(shlex.split(line.removeprefix("$ ")), "https://api.mux.com", cwd=folder)

    assert done.stdout == b"1 call sent, 0 differences\n", done.stderr


drive_replay = drive_recorder


DRIVERS: dict[str, Driver] = {
    name.removeprefix("drive_").replace("_", "-"): value
    for name, value in list(globals().items())
    if name.startswith("drive_") and inspect.iscoroutinefunction(value)
}


def test_every_snippet_runs() -> None:
    """Every Python snippet, and every ingest but those on PostgreSQL (tests/ingest/hosts), is marked to run; every mark has its driver."""
    here = [one for one in snippets() if one.page not in GUIDES]  # test_guides.py runs the others
    for one in here:
        if one.language == "python" or ("mux-async ingest" in one.code and "postgresql://" not in one.code):
            assert one.name, f"{one.page}: a snippet without <!-- runs: name -->:\n{one.code}"
    assert {one.name for one in here if one.name} == set(DRIVERS)


# Several snippets may be parts of one flow, which is then run once.
FLOWS = {driver: " ".join(name for name in sorted(DRIVERS) if DRIVERS[name] is driver) for driver in DRIVERS.values()}


@pytest.mark.parametrize("driver", FLOWS, ids=FLOWS.get)
@pytest.mark.asyncio
async def test_snippet(driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the page shows does what the page says."""
    await driver(tmp_path, monkeypatch)
