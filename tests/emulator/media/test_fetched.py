"""Inputs that are fetched: which are, what becomes of those that cannot be, and that nothing waits meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Generator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import attrs
import pytest

pytest.importorskip("av", reason="real media need PyAV: pip install 'mux-async[media]'")

from mux_async.emulator.media import FetchRule, MediaWorker
from tests.emulator.media.theatre import PATIENCE, Theatre, children, playback, playing, watch

pytestmark = pytest.mark.proof


@attrs.frozen
class Shelf:
    """A web server with films. What is under ``/slow/`` comes when somebody lets it; ``/away/`` leads elsewhere."""

    origin: str
    asked: Event
    go_on: Event


@pytest.fixture(scope="module")
def shelf(inputs: Path) -> Generator[Shelf, None, None]:
    asked, go_on = Event(), Event()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(inputs))  # type: ignore[arg-type]  # those of the server, unchanged

        def do_GET(self) -> None:
            if self.path.startswith("/away/"):
                self.send_response(302)
                self.send_header("Location", self.path.removeprefix("/away"))
                self.end_headers()
                return
            if self.path.startswith("/slow/"):
                self.path = self.path.removeprefix("/slow")
                asked.set()
                go_on.wait(PATIENCE)
            super().do_GET()

        def log_message(self, format: str, *args: object) -> None: ...

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Some hang up on purpose."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield Shelf(f"http://127.0.0.1:{server.server_port}", asked, go_on)
        go_on.set()
        server.shutdown()
        thread.join()


def test_fetched(theatre: Theatre, shelf: Shelf) -> None:
    """An input is fetched, through redirects too, and is what plays."""
    asset = theatre.create(f"{shelf.origin}/away/film.mp4")

    assert asset["duration"] == pytest.approx(3.0, abs=0.01)
    assert watch(f"{theatre.origin}/{playback(asset)}.m3u8").frames[0] == 90


def test_refused(theatre: Theatre, shelf: Shelf) -> None:
    """An answer that is no success makes an errored asset that says so."""
    asset = theatre.create(f"{shelf.origin}/nothing.mp4")

    assert asset["status"] == "errored"
    assert asset["errors"]["type"] == "download_failed"
    assert "404" in asset["errors"]["messages"][0]


def test_examples(theatre: Theatre) -> None:
    """Names that are kept for examples are not fetched: a film is made up, so that examples work anywhere."""
    asset = theatre.create("https://example.com/film.mp4")

    assert asset["status"] == "ready"
    assert "avc1.640028" in theatre.text(f"/{playback(asset)}.m3u8")
    assert theatre.get(f"/{playback(asset)}/thumbnail.jpg").status == 200


def test_meanwhile(theatre: Theatre, shelf: Shelf) -> None:
    """While an input takes its time, everything else is answered, and pictures are made."""
    film = theatre.create("https://example.com/other.mp4")
    made = theatre.data("POST", "/video/v1/assets", {"inputs": [{"url": f"{shelf.origin}/slow/film.mp4"}]})
    assert shelf.asked.wait(PATIENCE)
    slowest = 0.0
    for _ in range(20):
        began = time.monotonic()
        assert theatre.data("GET", f"/video/v1/assets/{made['id']}")["status"] == "preparing"
        slowest = max(slowest, time.monotonic() - began)
    assert theatre.get(f"/{playback(film)}/thumbnail.png?width=10").status == 200
    shelf.go_on.set()

    assert slowest < 10.0  # had anything waited, it would be as long as the web server is patient
    assert theatre.settled(made["id"])["status"] == "ready"


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


@pytest.mark.parametrize(
    ("fetch", "host", "is_error"),
    [
        ("auto", "127.0.0.1", True),
        ("auto", "0.0.0.0", False),  # refuses at once like 127.0.0.1, and is not this machine's name for itself
        ("always", "0.0.0.0", True),
        ("never", "127.0.0.1", False),
    ],
)
def test_no_server(tmp_path: Path, fetch: FetchRule, host: str, is_error: bool) -> None:
    """A URL without a server is an error if its host is this machine or everything is fetched; otherwise the media are generated."""
    with MediaWorker(tmp_path, fetch=fetch) as worker, playing(worker) as origin:
        asset = Theatre(origin).create(f"http://{host}:{closed_port()}/film.mp4")

    assert asset["status"] == ("errored" if is_error else "ready")
    assert not is_error or asset["errors"]["type"] == "download_failed"


def test_too_large(tmp_path: Path, inputs: Path, shelf: Shelf) -> None:
    """A file larger than the limit is refused, and nothing of it is kept."""
    size = (inputs / "film.mp4").stat().st_size
    with MediaWorker(tmp_path, most_bytes=size - 1) as worker, playing(worker) as origin:
        asset = Theatre(origin).create(f"{shelf.origin}/film.mp4")
        left = [path for path in tmp_path.rglob("*") if path.is_file()]

    assert (asset["status"], asset["errors"]["type"]) == ("errored", "download_failed")
    assert left == []


def test_too_slow(tmp_path: Path, inputs: Path, shelf: Shelf) -> None:
    """A job that takes too long is ended with its process; another process does the next job."""
    shelf.go_on.clear()
    with MediaWorker(tmp_path, longest_job=2.0) as worker, playing(worker) as origin:
        theatre = Theatre(origin)
        slow = theatre.create(f"{shelf.origin}/slow/film.mp4")
        after = theatre.upload(inputs / "tone.wav")
    shelf.go_on.set()

    assert slow["errors"]["messages"] == ["The input could not be converted: it took longer than 2 s"]
    assert after["status"] in {"ready", "errored"}  # on a busy machine it may be too slow as well


@pytest.mark.skipif(not Path("/proc").exists(), reason="processes are found in /proc")
def test_killed_at_work(tmp_path: Path, inputs: Path, shelf: Shelf) -> None:
    """If a process dies, the input that it worked on is errored, and the next one is converted."""
    before = children()
    shelf.go_on.clear()
    shelf.asked.clear()
    with MediaWorker(tmp_path) as worker, playing(worker) as origin:
        theatre = Theatre(origin)
        body = {"inputs": [{"url": f"{shelf.origin}/slow/film.mp4"}]}
        lost = theatre.data("POST", "/video/v1/assets", body)["id"]
        after = theatre.data("POST", "/video/v1/assets", {"inputs": [{"url": f"{shelf.origin}/film.mp4"}]})["id"]
        assert shelf.asked.wait(PATIENCE)
        for process in children() - before:
            os.kill(process, signal.SIGKILL)
        shelf.go_on.set()

        problem = "The input could not be converted: the process that worked on it ended"
        assert theatre.settled(lost)["errors"]["messages"] == [problem]
        assert theatre.settled(after)["status"] == "ready"
