"""The clients that the emulator is tested with: for each one the flows that matter for it, as a function that raises if one fails.

To add a client, write a function here and a `Client` in `CLIENTS`; ``python -m tests.emulator.clients.table`` then runs it and writes the
table of docs/emulator.md. A client with test files of its own names them, instead of the function or beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version as installed_version
from pathlib import Path
from shutil import copy
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import attrs

from tests._servers import free_port, postgres_server, require
from tests.emulator import official
from tests.emulator.browser.browsing import EVIDENCE, Account, Visit, chromium, evidence_name
from tests.emulator.browser.film import RATE, film
from tests.emulator.clients.installing import node_folder
from tests.emulator.clients.pins import NPM

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HERE: Final = Path(__file__).parent
MODES: Final = ("standard", "reduced", "low")
WINDOW: Final = 4
"""Seconds of the reconnect window."""
FRAME: Final = 0.032
"""Seconds of a frame of generated media."""
PATIENCE: Final = 45.0
"""Seconds that a player may take for a live stream of about fifteen."""
_KINDS: Final = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".mjs": "text/javascript"}


@attrs.frozen
class Client:
    """A client, and what it is tested with.

    Attributes:
        name: As users call it, which is the name of its package.
        registry: ``npm``, ``PyPI`` or ``Debian``.
        flows: What is tested, for the table.
        run: Runs flows with an empty folder to work in. ``None``: all are in *suites*.
        suites: Test files that run flows.
        remark: What does not work, for the table.
    """

    name: str
    registry: str
    flows: str
    run: Callable[[Path], None] | None = None
    suites: tuple[str, ...] = ()
    remark: str = ""

    @property
    def version(self) -> str:
        """The version that is pinned, or that the distribution has."""
        if self.registry == "npm":
            return NPM[self.name]
        if self.registry == "PyPI":
            return str(installed_version(self.name))
        output = subprocess.run([require(self.name), "-version"], capture_output=True, text=True, check=True).stdout
        return output.split()[2].partition("-")[0]


def check(condition: object, problem: object) -> None:
    """Raise `AssertionError` with *problem* unless *condition* is true."""
    assert condition, problem


def environment(origin: str, home: Path, **more: str) -> dict[str, str]:
    """The variables that Mux's clients read, and no others of ours."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "MUX_BASE_URL": origin,
        "MUX_TOKEN_ID": "test-token",
        "MUX_TOKEN_SECRET": "test-secret",
        "NO_COLOR": "1",
        **more,
    }


def execute(command: list[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None, limit: float = 60.0) -> str:
    """Run a program and return what it printed. Raises if it fails or takes longer than *limit* seconds."""
    done = subprocess.run(
        command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit, check=False
    )
    check(done.returncode == 0, f"{command[0]} ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def run_script(name: str, origin: str, home: Path, **more: str) -> Any:
    """Run a script of this folder beside the packages of npm, and return its last line as JSON."""
    folder = node_folder()
    script = folder / name
    copy(HERE / name, script)
    printed = execute(["node", str(script)], cwd=folder, env=environment(origin, home, **more))
    return json.loads(printed.splitlines()[-1])


# ---- Mux's tools


def cli(home: Path) -> None:
    """Assets by URL and by upload, live streams, signing, Mux Data."""
    with official.emulate("--limits", "off", "--instant") as origin:
        program = str(node_folder() / "node_modules" / "@mux" / "cli-linux-x64" / "mux")

        def mux(*arguments: str) -> Any:
            return json.loads(execute([program, *arguments, "--json"], env=environment(origin, home)))

        made = mux("assets", "create", "--url", "https://example.com/film.mp4", "-p", "public", "--wait", "-y")
        asset_id = made["id"]
        (home / "film.mp4").write_bytes(os.urandom(300_000))
        mux("assets", "create", "--upload", str(home / "film.mp4"), "-p", "public", "-y")
        listed = mux("assets", "list")
        check(len(listed.get("data", listed)) == 2, listed)
        check(mux("assets", "get", asset_id)["status"] == "ready", "the asset is not ready")
        stream = mux("live", "create", "-p", "public", "--latency-mode", "reduced")
        check(mux("live", "get", stream["id"])["latency_mode"] == "reduced", stream)
        execute([program, "live", "disable", stream["id"]], env=environment(origin, home))
        check(mux("live", "get", stream["id"])["status"] == "disabled", stream)
        check(mux("video-views", "list", "--timeframe", "7:days"), "there are no views")
        check(mux("whoami"), "it does not say who it is")


def mcp(home: Path) -> None:
    """Tools over standard streams: list, create, read, Mux Data."""
    with official.emulate("--limits", "off", "--instant") as origin:
        found = run_script("mux_mcp.mjs", origin, home)
        check(found["tools"] > 50, found)


def sync_engine(home: Path) -> None:
    """Migrations, backfill and signed webhooks into PostgreSQL."""
    port = free_port()
    hook = ("--webhook-url", f"http://127.0.0.1:{port}/", "--webhook-secret", "hook-secret")
    with postgres_server(home / "postgres.log") as database, official.emulate("--limits", "off", "--instant", *hook) as origin:
        found = run_script(
            "mux_sync.cjs", origin, home, DATABASE_URL=database.url, HOOK_PORT=str(port), HOOK_SECRET="hook-secret"
        )
        made, counts = found["made"], found["counts"]
        check(not found["problems"], found["problems"])
        check(made[0] in counts["assets"] and [made[1]] == counts["live_streams"] and [made[2]] == counts["uploads"], found)


def next_video(home: Path) -> None:
    """`next-video sync`: uploads a local file and keeps the playback id beside it."""
    program = node_folder() / "node_modules" / "next-video" / "dist" / "cli.js"
    videos = home / "videos"
    videos.mkdir()
    (videos / "film.mp4").write_bytes(film(2))
    with official.emulate("--limits", "off", "--instant") as origin:
        execute(["node", str(program), "sync"], cwd=home, env=environment(origin, home))
        stored = json.loads((videos / "film.mp4.json").read_text())
        account = Account(origin)
        (asset,) = account.data("GET", "/video/v1/assets")
        check(stored["status"] == "ready", stored)
        check(stored["providerMetadata"]["mux"]["assetId"] == asset["id"], stored)
        check(stored["providerMetadata"]["mux"]["playbackId"] == asset["playback_ids"][0]["id"], stored)


def ai(home: Path) -> None:
    """Hotspots and thumbnails of an asset, without a model."""
    with official.emulate("--limits", "off", "--instant") as origin:
        found = run_script("mux_ai.mjs", origin, home)
        check(found["hotspots"] and found["thumbnails"], found)


# ---- players


@contextmanager
def pages() -> Generator[str, None, None]:
    """Serve the page with the clients for browsers, on an origin of its own. Yields that origin."""
    modules = node_folder() / "node_modules"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.partition("?")[0]
            path = modules / name.removeprefix("/npm/") if name.startswith("/npm/") else HERE / "page.html"
            is_there = path.is_file() and (name == "/" or name.startswith("/npm/"))
            content = path.read_bytes() if is_there else b""
            self.send_response(200 if is_there else 404)
            self.send_header("Content-Type", _KINDS.get(path.suffix, "text/plain"))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()


@attrs.frozen
class Broadcast:
    """A live stream in real time: it sends, drops, reconnects within its window, and ends."""

    account: Account
    stream: Mapping[str, Any]

    @classmethod
    def begin(cls, account: Account, mode: str) -> Broadcast:
        """Connect an encoder, and wait until the stream is active."""
        settings = {"playback_policies": ["public"]}
        body = {**settings, "latency_mode": mode, "reconnect_window": WINDOW, "new_asset_settings": settings}
        broadcast = cls(account, account.data("POST", "/video/v1/live-streams", body))
        broadcast.act("connect")
        broadcast.wait_for("active")
        return broadcast

    @property
    def url(self) -> str:
        """Of the multivariant playlist."""
        return f"{self.account.origin}/{self.stream['playback_ids'][0]['id']}.m3u8"

    def act(self, what: str) -> None:
        self.account.send("POST", f"/_emulator/live-streams/{self.stream['id']}/{what}", {})

    def wait_for(self, status: str) -> None:
        until = time.monotonic() + PATIENCE
        while self.account.data("GET", f"/video/v1/live-streams/{self.stream['id']}")["status"] != status:
            check(time.monotonic() < until, f"the stream is not {status}")
            time.sleep(0.05)

    @property
    def duration(self) -> float:
        """Seconds that were recorded."""
        stream = self.account.data("GET", f"/video/v1/live-streams/{self.stream['id']}")
        duration: float = self.account.data("GET", f"/video/v1/assets/{stream['recent_asset_ids'][-1]}")["duration"]
        return duration


def broadcast_all(account: Account, begin: Callable[[Broadcast], Any]) -> list[tuple[str, Broadcast, Any]]:
    """Run a stream of each latency mode; *begin* starts a player as soon as one is active. Returns when they are idle."""
    playing: list[tuple[str, Broadcast, Any]] = []
    for mode in MODES:
        broadcast = Broadcast.begin(account, mode)
        playing.append((mode, broadcast, begin(broadcast)))
    for seconds, what in ((6, "disconnect"), (2, "connect"), (5, "disconnect")):
        time.sleep(seconds)
        for _, broadcast, _ in playing:
            broadcast.act(what)
    for _, broadcast, _ in playing:
        broadcast.wait_for("idle")
    return playing


def uploaded(account: Account) -> str:
    """Upload a real file of four seconds, and return the URL of its playlist when it can be played."""
    upload = account.data("POST", "/video/v1/uploads", {"new_asset_settings": {"playback_policies": ["public"]}})
    build_opener(ProxyHandler({})).open(Request(upload["url"], film(4), method="PUT"), timeout=20).close()
    asset = account.finished_asset(account.data("GET", f"/video/v1/uploads/{upload['id']}")["asset_id"])
    check(asset["status"] == "ready", asset)
    return f"{account.origin}/{asset['playback_ids'][0]['id']}.m3u8"


def on_demand_in_browser(client: str, _: Path, **query: str) -> None:
    """An upload with real media plays from its start to its end."""
    film(4)  # or there is a reason to skip
    with official.emulate("--limits", "off", "--time-to-ready", "0.1", "--media", "auto") as origin, pages() as site:
        account = Account(origin)
        with chromium() as browser, opened(browser, client, site, src=uploaded(account), **query) as visit:
            seen = until_ended(visit)
            check(abs(seen["time"] - 4) < 0.4 and seen["width"] == 320, seen)


def live_in_browser(client: str, _: Path, **query: str) -> None:
    """Live streams of each latency mode play from the moment they are active, over a reconnect, to their end."""
    with official.emulate("--limits", "off") as origin, pages() as site, chromium() as browser, ExitStack() as stack:
        account = Account(origin)

        def begin(broadcast: Broadcast) -> Visit:
            return stack.enter_context(opened(browser, client, site, src=broadcast.url, **query))

        for mode, broadcast, visit in broadcast_all(account, begin):
            seen = until_ended(visit)
            duration = broadcast.duration
            check(abs(seen["duration"] - duration) < 0.6, (mode, seen, duration))
            check(seen["time"] > duration - 0.6, (mode, seen, duration))
            # It begins near the live edge, and shows most of what is sent from then on.
            check(seen["frames"] > 25 * (duration - 12), (mode, seen, duration))


@contextmanager
def opened(browser: Browser, client: str, site: str, **query: str) -> Generator[Visit, None, None]:
    """Open the page with a client in a browser. A failure leaves its screenshot and its log."""
    visit = Visit(browser.new_context(locale="en-GB").new_page())
    visit.page.goto(f"{site}/?{urlencode({'client': client, **query})}")
    try:
        visit.until("state.element")
        yield visit
    except BaseException:
        visit.keep_evidence(evidence_name(f"client-{client}{urlsplit(visit.page.url).query[-20:]}"), EVIDENCE)
        raise


def until_ended(visit: Visit) -> Any:
    """Wait for the end, while the picture moves, and return what was seen at last."""
    until = time.monotonic() + PATIENCE
    while True:
        seen: Any = visit.page.evaluate("seen()")
        if seen is not None:
            check(not seen["failed"], seen)
        if seen is not None and seen["ended"]:
            check(seen["moved"] > 5, seen)
            return seen
        check(time.monotonic() < until, f"it did not end: {seen}")
        visit.page.wait_for_timeout(100)


def both_in_browser(client: str, home: Path, live: Mapping[str, str]) -> None:
    """On demand, and live."""
    fixed = {} if client == "hls.js" else {"muted": "", "autoplay": "", "disable-tracking": ""}
    on_demand_in_browser(client, home, **fixed)
    live_in_browser(client, home, **fixed, **live)


def uploader(home: Path) -> None:
    """A file is sent in pieces and becomes an asset."""
    with official.emulate("--limits", "off", "--instant") as origin, pages() as site:
        account = Account(origin)
        upload = account.data("POST", "/video/v1/uploads", {"cors_origin": site})
        (home / "film.mp4").write_bytes(os.urandom(1_000_000))
        query = {"endpoint": upload["url"], "chunk-size": "256", "dynamic-chunk-size": "false"}
        with chromium() as browser, opened(browser, "mux-uploader", site, **query) as visit:
            visit.page.set_input_files("input[type=file]", home / "film.mp4")
            visit.until("state.uploaded + state.failed.length")
            check(visit.page.evaluate("state.failed.length") == 0, visit.page.evaluate("state.failed"))
        stored = account.upload(upload["id"])
        check(stored["size"] == 1_000_000 and stored["is_complete"], stored)
        check(account.data("GET", f"/video/v1/uploads/{upload['id']}")["status"] == "asset_created", "it is no asset")


def ffmpeg(home: Path) -> None:
    """Live streams of each latency mode, from start to end over a reconnect; then the recording, on demand."""
    program = require("ffmpeg")
    with official.emulate("--limits", "off") as origin:
        account = Account(origin)

        def begin(broadcast: Broadcast) -> subprocess.Popen[str]:
            command = [program, "-nostdin", "-v", "error", "-live_start_index", "0", "-i", broadcast.url, "-c", "copy"]
            out = home / f"{broadcast.stream['id']}.mkv"
            return subprocess.Popen([*command, str(out)], stderr=subprocess.PIPE, text=True)

        for mode, broadcast, process in broadcast_all(account, begin):
            try:
                _, problems = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                raise
            check(process.returncode == 0, (mode, problems))
            duration = broadcast.duration
            check(abs(_length(home / f"{broadcast.stream['id']}.mkv") - duration) < 0.2, (mode, duration))
        recorded = account.data("GET", "/video/v1/assets")[0]
        url = f"{origin}/{recorded['playback_ids'][0]['id']}.m3u8"
        execute([program, "-nostdin", "-v", "error", "-i", url, "-c", "copy", str(home / "recorded.mp4")])
        check(abs(_length(home / "recorded.mp4") - recorded["duration"]) < 0.2, recorded)


def _length(path: Path, frame: float = FRAME) -> float:
    """Seconds of all frames, which are decoded; *frame* is the length of one, by default of generated media."""
    entries = ["-count_frames", "-select_streams", "v", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"]
    return int(execute([require("ffprobe"), "-v", "error", *entries, str(path)]).split()[0].strip(",")) * frame


def yt_dlp(home: Path) -> None:
    """Formats, and a download of an asset with real media."""
    with official.emulate("--limits", "off", "--time-to-ready", "0.1", "--media", "auto") as origin:
        account = Account(origin)
        url = uploaded(account)
        program = [sys.executable, "-m", "yt_dlp", "--no-config", "--proxy", "", "--no-cache-dir"]
        formats = json.loads(execute([*program, "-J", url], cwd=home))["formats"]
        check([one["height"] for one in formats] == [180], formats)
        execute([*program, "-o", "film.%(ext)s", url], cwd=home)
        check(abs(_length(home / "film.mp4", 1 / RATE) - 4) < 0.2, "the download is not as long as the film")


_LIVE: Final = {"stream-type": "live"}
_PLAYED: Final = "on demand; live in each latency mode, over a reconnect"
CLIENTS: Final = (
    Client("mux_python", "PyPI", "every operation that it has", suites=("tests/emulator/test_official_python.py",)),
    Client(
        "@mux/mux-node",
        "npm",
        "every operation that it has, webhooks, signing; https under Mux's names",
        suites=("tests/emulator/test_official_node.py", "tests/emulator/test_official_tls.py"),
    ),
    Client(
        "@mux/cli-linux-x64",
        "npm",
        "assets, uploads, live streams, Mux Data; `mux webhooks listen`",
        cli,
        suites=("tests/emulator/test_official_cli.py",),
    ),
    Client("@mux/mcp", "npm", "tools over standard streams: assets, live streams, Mux Data", mcp),
    Client(
        "@mux/sync-engine",
        "npm",
        "migrations, backfill and signed webhooks into PostgreSQL",
        sync_engine,
        remark="with `require`: with `import`, it does not find its own migrations",
    ),
    Client(
        "@mux/ai",
        "npm",
        "hotspots, addresses of thumbnails",
        ai,
        remark="its heatmaps are empty, because it reads members that Mux does not describe; workflows need other services",
    ),
    Client("next-video", "npm", "`next-video sync` of a local file", next_video),
    Client(
        "@mux/upchunk",
        "npm",
        "uploads, also over broken connections",
        suites=("tests/emulator/browser/test_upchunk.py",),
        remark="retries a connection that breaks without a response only with `retryCodes`",
    ),
    Client(
        "@mux/mux-uploader",
        "npm",
        "upload in pieces",
        uploader,
        remark="gives up when a connection breaks without a response",
    ),
    Client(
        "@mux/mux-player",
        "npm",
        f"{_PLAYED}; by playback id, signed, over https; views from its beacons",
        partial(both_in_browser, "mux-player", live=_LIVE),
        suites=("tests/emulator/browser/test_mux_player.py", "tests/emulator/browser/test_watched_views.py"),
    ),
    Client("@mux/mux-video", "npm", _PLAYED, partial(both_in_browser, "mux-video", live=_LIVE)),
    Client("hls.js", "npm", _PLAYED, partial(both_in_browser, "hls.js", live={})),
    Client("ffmpeg", "Debian", "live in each latency mode, over a reconnect; recordings", ffmpeg),
    Client("yt-dlp", "PyPI", "formats, download", yt_dlp),
    Client(
        "schemathesis", "PyPI", "generated requests for every operation", suites=("tests/emulator/test_every_operation.py",)
    ),
)
