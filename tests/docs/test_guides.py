"""The snippets of the guides, run from the page: recipes in an environment of their own, programs as a user runs them."""

from __future__ import annotations

import ast
import inspect
import os
import re
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from mux_async import LimitSettings, Mux
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, WebhookSettings
from mux_async.emulator.server import serve
from mux_async.models import Asset
from tests.docs.guides import GUIDES
from tests.docs.test_snippets import define, run, signed_event, snippet, snippets
from tools import client_tables, settings_tables

TREE = Path(__file__).parents[2]

RECIPES = {
    "cookbook-create": 'made.status == "preparing"',
    "cookbook-create-once": "len(await mux.video.assets.list()) == 2",
    "cookbook-title": 'updated.meta.title == "Harbour" and updated.passthrough == "mine"',
    "cookbook-clip": "clip.source_asset_id == asset.id",
    "cookbook-wait": 'made.status == "ready"',
    "cookbook-wait-many": "len(assets) == 1",
    "cookbook-find": "[each.id for each in found] == [asset.id]",
    "cookbook-ids": 'Path("ids.txt").read_text() == asset.id',
    "cookbook-total-duration": "seconds > 0",
    "cookbook-delete": "len(await mux.video.assets.list()) == 0",
    "cookbook-mp4": 'made.status == "ready"',
    "cookbook-master": 'master.url.startswith("http")',
    "cookbook-subtitles": 'track.status == "ready"',
    "cookbook-input-info": '"video" in kinds',
    "cookbook-upload": 'made.status == "ready"',
    "cookbook-upload-bytes": 'made.status == "ready"',
    "cookbook-upload-url": 'upload.url.startswith("http") and upload.status == "waiting"',
    "cookbook-upload-progress": 'shown and shown[-1].endswith("bytes")',
    "cookbook-upload-wait": 'made.status == "ready"',
    "cookbook-upload-cancel": 'cancelled.status == "cancelled"',
    "cookbook-hls": 'urls[0].endswith(".m3u8")',
    "cookbook-thumbnail": 'poster.startswith("https://image.mux.com/") and "width=640" in poster',
    "cookbook-player": 'url.startswith("https://player.mux.com/")',
    "cookbook-make-signed": 'signed.policy == "signed"',
    "cookbook-sign": '"token=" in url',
    "cookbook-unpublish": "not (await mux.video.assets.retrieve(asset.id)).playback_ids",
    "cookbook-which-asset": "found.object.id == asset.id",
    "cookbook-restrict": 'restriction.referrer.allowed_domains == ["example.com"]',
    "cookbook-live": 'stream.status == "idle"',
    "cookbook-live-address": 'addresses.rtmps_url.startswith("rtmps://")',
    "cookbook-live-key": "renewed.stream_key != stream.stream_key",
    "cookbook-simulcast": 'target.status == "idle"',
    "cookbook-live-disable": '(await mux.video.live_streams.retrieve(stream.id)).status == "idle"',
    "cookbook-live-on-air": "on_air == []",
    "cookbook-webhook-endpoint": 'webhook.address.startswith("https://example.com")',
    "cookbook-webhook-verify": 'event.type == "video.asset.ready"',
    "cookbook-webhook-handler": (
        "[(await hooks.receive(body, headers)).status for _ in 'ab'] == [200, 200] and len(published) == 1"
        " and await hooks.aclose() is None"
    ),
    "cookbook-views": "overall.data.total_views > 0",
    "cookbook-views-by-country": "rows.data[0].views >= rows.data[1].views",
    "cookbook-data-errors": "worst.count > 0",
    "cookbook-annotation": 'note.note == "release 7"',
    "cookbook-whoami": 'token.environment_name == "development"',
    "cookbook-deadline": "found.id == asset.id",
    "cookbook-priority": "found.id == asset.id",
    "cookbook-raw": "answer.status == 200 and answer.value.id == asset.id",
    "cookbook-request": 'answer.value["data"][0]["id"] == asset.id',
    "cookbook-many": "len(found) == 100",
    "cookbook-bulk": '(await mux.video.assets.retrieve(asset.id)).passthrough == "published"',
    "cookbook-events": "len(seen) >= 2",
    "cookbook-explain": '"400" in report',
    "cookbook-health": "bool(health)",
    "configuration-client": 'mux.base_url == "http://127.0.0.1:8787" and prompt.base_url == mux.base_url and once.deadline == 10.0',
    "data-breakdown": "abs(share.sum() - 1) < 1e-9 and len(share) > 3",
    "data-heatmap": "len(curve) >= 10 and curve.max() <= 1",
    "data-pandas": "len(frame) == 300 and by_country.iloc[0] == by_country.max()",
    "data-plot": 'len(frame) >= 7 and Path("views.png").stat().st_size > 1000',
    "data-polars": "len(frame) == 300 and by_country.columns == ['country_code', 'watch_time']",
    "errors-catch": '"done" == await rename(mux, asset.id, "x") and (await rename(mux, "nonsense", "x")).startswith("Mux answered 400")',
    "errors-deadline": 'asset.status == "ready"',
    "errors-once": "first.id == second.id and len(await mux.video.assets.list()) == 2",
    "from-node": "asset.id in found",
    "from-raw-request": 'status == (201, "preparing")',
    "models-fastapi": 'await ask(create_app(mux), f"/assets/{asset.id}") == asset.to_wire()',
    "models-json": 'again == asset and renamed.passthrough == "film 2" and row["id"] == asset.id',
    "models-pydantic": "again.asset == asset",
    "models-unknown": 'asset.created_at.year == 2023 and asset.passthrough is None and asset.extra["new_field"] == 5',
    "pagination-all": "len(page) == 2 and len(ready) == 2 and asset.id in ready and newest.id in ready",
    "pagination-resume": "page[0].id != later[0].id == asset.id",
}
"""What holds after each recipe: an expression over its names."""

SLOW = {name for name in RECIPES if name.startswith("data-")} | {
    "cookbook-views",
    "cookbook-views-by-country",
    "cookbook-data-errors",
}
"""The emulator generates a month of views for these."""


async def ask(app: Any, path: str) -> object:
    import httpx

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as browser:
        return (await browser.get(path)).json()


@asynccontextmanager
async def prepared() -> AsyncGenerator[dict[str, Any]]:
    """Give the names that the pages say recipes have."""
    emulated = Emulator(EmulatorSettings(instant=True, time_to_ready=0.0, limits=None))
    free = LimitSettings(enabled=False)
    async with Mux(
        token_id="test-token", token_secret="test-secret", transport=EmulatorTransport(emulated), limits=free
    ) as mux:
        made = await mux.video.assets.create(
            inputs=[{"url": "https://example.com/a.mp4"}], playback_policies=["public"], meta={"title": "Lights"}
        )
        asset: Asset = await mux.video.assets.wait_until_ready(made.id)
        body, headers = signed_event("video.asset.ready", "secret")
        given = {"mux": mux, "asset": asset, "assets": [asset], "body": body, "headers": headers, "published": list[str]()}
        yield {**given, "__name__": "__recipe__", "ask": ask, "Path": Path}
    emulated.close()


async def evaluate(code: str, names: dict[str, Any], *, mode: str = "exec") -> Any:
    """Run *code*, in which ``await`` may stand at the top."""
    value = eval(compile(code, "<recipe>", mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    return await value if inspect.iscoroutine(value) else value


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.proof if name in SLOW else ()) for name in RECIPES])
@pytest.mark.asyncio
async def test_recipe(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe runs, and does what its heading says."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "film.mp4").write_bytes(os.urandom(3000))
    with anyio.fail_after(20):
        async with prepared() as names:
            if name.startswith("pagination-"):  # a list of two
                await names["mux"].video.assets.create(inputs=[{"url": "https://example.com/b.mp4"}])
            await evaluate(snippet(name), names)

            assert await evaluate(RECIPES[name], names, mode="eval")


Program = Callable[[Path, str, pytest.MonkeyPatch], Awaitable[None]]


async def output(name: str, origin: str, folder: Path, *arguments: str) -> str:
    (folder / "program.py").write_text(snippet(name))
    done = await run([sys.executable, "program.py", *arguments], origin, cwd=folder)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


async def run_start_first(folder: Path, origin: str, _: pytest.MonkeyPatch) -> None:
    import aiohttp

    (url,) = (await output("start-first", origin, folder)).split()
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert (await answer.text()).startswith("#EXTM3U")


async def run_start_upload(folder: Path, origin: str, _: pytest.MonkeyPatch) -> None:
    (folder / "film.mp4").write_bytes(os.urandom(3000))

    assert (await output("start-upload", origin, folder, "film.mp4")).startswith("ready ")


async def run_start_shell(folder: Path, origin: str, _: pytest.MonkeyPatch) -> None:
    printed: list[bytes] = []
    for line in snippet("start-shell").splitlines():
        done = await run(["sh", "-c", line.removeprefix("$ ")], origin, cwd=folder)
        assert done.returncode == 0, done.stderr.decode()
        printed.append(done.stdout)
    assert len(printed) == 2
    assert all(b'"status"' in each for each in printed)


async def run_start_clean(folder: Path, origin: str, _: pytest.MonkeyPatch) -> None:
    await output("start-first", origin, folder)

    assert (await output("start-clean", origin, folder)).startswith("delete ")
    assert await output("start-clean", origin, folder) == ""


async def run_from_python_before(folder: Path, origin: str, _: pytest.MonkeyPatch) -> None:
    assert (await output("from-python-before", origin, folder)).split() == ["preparing", "1", "400"]


async def run_from_python_after(folder: Path, origin: str, _: pytest.MonkeyPatch) -> None:
    assert (await output("from-python-after", origin, folder)).split() == ["preparing", "1", "400"]


async def run_from_raw_before(folder: Path, origin: str, _: pytest.MonkeyPatch) -> None:
    assert await output("from-raw-before", origin, folder) == "preparing\n"


async def run_from_raw_after(folder: Path, origin: str, _: pytest.MonkeyPatch) -> None:
    assert await output("from-raw-after", origin, folder) == "preparing\n"


async def run_tutorial_batch(folder: Path, origin: str, _: pytest.MonkeyPatch) -> None:
    (folder / "films.csv").write_text(snippet("tutorial-batch-list"))
    first = await output("tutorial-batch", origin, folder, "films.csv")

    assert sorted(line.split()[:2] for line in first.splitlines()) == [["film-1", "ready"], ["film-2", "ready"]]
    again = await output("tutorial-batch", origin, folder, "films.csv")
    assert sorted(again.splitlines()) == sorted(first.splitlines())  # the same assets


async def run_tutorial_batch_command(folder: Path, origin: str, _: pytest.MonkeyPatch) -> None:
    (folder / "films.csv").write_text(snippet("tutorial-batch-list"))
    done = await run(snippet("tutorial-batch-command").removeprefix("$ ").split(), origin, cwd=folder)

    assert done.returncode == 0, done.stderr.decode()
    assert (folder / "report.csv").read_text().count("ready") == 2


run_tutorial_batch_list = run_tutorial_batch_command  # the list that both take


async def run_tutorial_bot(folder: Path, origin: str, _: pytest.MonkeyPatch) -> None:
    (folder / "program.py").write_text(snippet("tutorial-bot"))
    given = {**os.environ, "MUX_BASE_URL": origin, "MUX_TOKEN_ID": "test-token", "MUX_TOKEN_SECRET": "test-secret"}
    typed = b"hello\n!video https://example.com/film.mp4\n!live\n"
    with anyio.fail_after(50):
        done = await anyio.run_process([sys.executable, str(folder / "program.py")], input=typed, env=given)
    said = done.stdout.decode()

    assert re.search(r"ready: http://\S+\.m3u8", said)
    assert "send to rtmps://" in said


async def run_tutorial_web(folder: Path, _: str, patch: pytest.MonkeyPatch) -> None:
    import httpx
    import uvicorn

    with anyio.fail_after(50):
        film: dict[str, str] = {}
        listener = uvicorn.Config("x", port=0).bind_socket()
        listener.listen()
        hook = WebhookSettings(f"http://127.0.0.1:{listener.getsockname()[1]}/webhooks/mux", "whsec")
        async with serve(Emulator(EmulatorSettings(time_to_ready=0.1, webhooks=(hook,)))) as origin:
            for variable, value in {
                "MUX_BASE_URL": origin, "MUX_TOKEN_ID": "test-token", "MUX_TOKEN_SECRET": "test-secret", "MUX_WEBHOOK_SECRET": "whsec",
            }.items():  # fmt: skip
                patch.setenv(variable, value)
            server = uvicorn.Server(uvicorn.Config(define("tutorial-web")["app"], log_level="warning"))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(server.serve, [listener])
                async with httpx.AsyncClient(base_url=hook.url.removesuffix("/webhooks/mux"), timeout=20) as browser:
                    upload = (await browser.post("/uploads")).json()
                    assert (await browser.get(f"/films/{upload['id']}")).json()["status"] == "waiting"
                    assert (await browser.get("/films/nonsense")).status_code == 404
                    (await browser.put(upload["url"], content=os.urandom(3000))).raise_for_status()
                    while film.get("status") != "ready":
                        await anyio.sleep(0.05)
                        film = (await browser.get(f"/films/{upload['id']}")).json()
                server.should_exit = True
            assert film["playback_id"]


def in_threads(names: dict[str, Any], origin: str) -> set[str]:
    """Call the synchronous client of the page from several threads; return the ids that were made."""
    free = LimitSettings(enabled=False)
    mux = Mux(token_id="test-token", token_secret="test-secret", base_url=origin, limits=free)
    with names["open_sync"](mux) as client:
        made: list[str] = []

        def create(number: int) -> None:
            made.append(client.create_asset("https://example.com/a.mp4", key=f"key-{number % 2}").id)

        threads = [threading.Thread(target=create, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert len(made) == 4
    return set(made)


async def run_sync_portal(_: Path, origin: str, __: pytest.MonkeyPatch) -> None:
    assert len(await anyio.to_thread.run_sync(in_threads, define("sync-portal"), origin)) == 2


def use(origin: str, patch: pytest.MonkeyPatch) -> None:
    for variable, value in {"MUX_BASE_URL": origin, "MUX_TOKEN_ID": "test-token", "MUX_TOKEN_SECRET": "test-secret"}.items():
        patch.setenv(variable, value)


async def run_sync_lambda(_: Path, origin: str, patch: pytest.MonkeyPatch) -> None:
    use(origin, patch)
    handler = define("sync-lambda")["handler"]
    event = {"id": "order-1", "url": "https://example.com/a.mp4"}
    answers = [await anyio.to_thread.run_sync(handler, event, None) for _ in range(2)]  # the second is a warm invocation

    assert answers[0] == answers[1]


async def run_sync_run(folder: Path, origin: str, patch: pytest.MonkeyPatch) -> None:
    use(origin, patch)
    async with Mux() as mux:
        asset = await mux.video.assets.create(inputs=[{"url": "https://example.com/a.mp4"}])

    assert await anyio.to_thread.run_sync(define("sync-run")["asset_status"], asset.id) in {"preparing", "ready"}


PROGRAMS: dict[str, Program] = {
    name.removeprefix("run_").replace("_", "-"): value
    for name, value in list(globals().items())
    if name.startswith("run_") and inspect.iscoroutinefunction(value)
}


@pytest.mark.proof
@pytest.mark.parametrize("program", dict.fromkeys(PROGRAMS.values()), ids=lambda program: program.__name__)
@pytest.mark.asyncio
async def test_program(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of a page does what the page says, against the emulator."""
    async with serve(Emulator(EmulatorSettings(time_to_ready=0.1))) as origin:
        await program(tmp_path, origin, monkeypatch)


def test_every_snippet_of_the_guides_runs() -> None:
    """Every Python snippet of a guide is marked to run, and every mark is run here."""
    found = [one for one in snippets() if one.page in GUIDES]

    assert [one.page for one in found if one.language == "python" and not one.name] == []
    assert {one.name for one in found if one.name} == RECIPES.keys() | PROGRAMS.keys()
    assert {one.page for one in found} == set(GUIDES)


def test_cookbook_has_short_recipes() -> None:
    """The cookbook has at least fifty recipes, of at most ten lines."""
    recipes = [one.code for one in snippets() if one.page == "cookbook.md"]

    assert len(recipes) >= 50
    assert max(len(code.splitlines()) for code in recipes) <= 10


@pytest.mark.parametrize("page", [client_tables.PYTHON_PAGE, client_tables.NODE_PAGE], ids=lambda page: page.name)
def test_tables_of_operations(page: Path) -> None:
    """The tables of operations are what ``make tables`` writes."""
    assert page.read_text("utf-8") == client_tables.pages()[page]


def test_table_of_mux_python_is_complete() -> None:
    """Every operation of the installed ``mux_python`` is in the table, once, and each name given for it exists here."""
    theirs = vars(import_module("mux_python.api"))
    methods = {
        f"{cls.__name__}.{name.removesuffix('_with_http_info')}"
        for module in theirs.values()
        if inspect.ismodule(module)
        for cls in vars(module).values()
        if inspect.isclass(cls) and cls.__name__.endswith("Api")
        for name in vars(cls)
        if name.endswith("_with_http_info")
    }
    rows = re.findall(r"^\| `(\w+Api\.\w+)` \| `mux\.([\w.]+)` \|$", client_tables.PYTHON_PAGE.read_text("utf-8"), re.MULTILINE)

    assert len(rows) == 113
    assert methods <= {name for name, _ in rows}
    mux = Mux(token_id="a", token_secret="b")
    for _, ours in rows:
        found: Any = mux
        for part in ours.split("."):
            found = getattr(found, part)
        assert callable(found)


def test_settings_on_the_page() -> None:
    """The tables of settings are what ``make tables`` writes."""
    page = settings_tables.PAGE.read_text("utf-8")

    assert page == settings_tables.page_with_tables(page)


def test_environment_variables_on_the_page() -> None:
    """The page names every environment variable that the code reads, and no other."""
    _, _, rest = settings_tables.PAGE.read_text("utf-8").partition("## Environment variables")
    rows = [line.split("|")[1] for line in rest.partition("\n## ")[0].splitlines() if line.startswith("| `")]

    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == settings_tables.variables()
