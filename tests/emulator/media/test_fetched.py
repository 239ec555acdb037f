"""Inputs that are fetched: which URLs are, errors, limits, and that other requests do not wait."""

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
from tests.emulator.media.serving import TIMEOUT, MediaClient, decode, playback, serving, worker_processes

pytestmark = pytest.mark.proof


@attrs.frozen
class FileServer:
    """A web server with films. A response below ``/slow/`` waits for `released`; ``/away/`` redirects."""

    origin: str
    requested: Event
    released: Event


@pytest.fixture(scope="module")
def files(inputs: Path) -> Generator[FileServer, None, None]:
    requested, released = Event(), Event()

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
                requested.set()
                released.wait(TIMEOUT)
            super().do_GET()

        def log_message(self, format: str, *args: object) -> None: ...

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Ignore errors: some clients disconnect on purpose."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield FileServer(f"http://127.0.0.1:{server.server_port}", requested, released)
        released.set()
        server.shutdown()
        thread.join()


def test_fetched(client: MediaClient, files: FileServer) -> None:
    """An input is fetched, also through redirects, and can be played."""
    asset = client.create(f"{files.origin}/away/film.mp4")

    assert asset["duration"] == pytest.approx(3.0, abs=0.01)
    assert decode(f"{client.origin}/{playback(asset)}.m3u8").frames[0] == 90


def test_refused(client: MediaClient, files: FileServer) -> None:
    """An error of the server makes the asset errored, with the status in its message."""
    asset = client.create(f"{files.origin}/nothing.mp4")

    assert asset["status"] == "errored"
    assert asset["errors"]["type"] == "download_failed"
    assert "404" in asset["errors"]["messages"][0]


def test_examples(client: MediaClient) -> None:
    """URLs of hosts reserved for examples are not fetched: media are generated, so that examples work anywhere."""
    asset = client.create("https://example.com/film.mp4")

    assert asset["status"] == "ready"
    assert "RESOLUTION=1920x1080" in client.text(f"/{playback(asset)}.m3u8")
    assert client.get(f"/{playback(asset)}/thumbnail.jpg").status == 200


def test_meanwhile(client: MediaClient, files: FileServer) -> None:
    """While an input is fetched slowly, the emulator responds to other requests and makes images."""
    film = client.create("https://example.com/other.mp4")
    made = client.data("POST", "/video/v1/assets", {"inputs": [{"url": f"{files.origin}/slow/film.mp4"}]})
    assert files.requested.wait(TIMEOUT)
    slowest = 0.0
    for _ in range(20):
        began = time.monotonic()
        assert client.data("GET", f"/video/v1/assets/{made['id']}")["status"] == "preparing"
        slowest = max(slowest, time.monotonic() - began)
    assert client.get(f"/{playback(film)}/thumbnail.png?width=10").status == 200
    files.released.set()

    assert slowest < 10.0  # had anything waited, it would be as long as the web server is patient
    assert client.settled(made["id"])["status"] == "ready"


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
    with MediaWorker(tmp_path, fetch=fetch) as worker, serving(worker) as origin:
        asset = MediaClient(origin).create(f"http://{host}:{closed_port()}/film.mp4")

    assert asset["status"] == ("errored" if is_error else "ready")
    assert not is_error or asset["errors"]["type"] == "download_failed"


def test_too_large(tmp_path: Path, inputs: Path, files: FileServer) -> None:
    """A file larger than the limit is refused, and nothing of it is kept."""
    size = (inputs / "film.mp4").stat().st_size
    with MediaWorker(tmp_path, most_bytes=size - 1) as worker, serving(worker) as origin:
        asset = MediaClient(origin).create(f"{files.origin}/film.mp4")
        left = [path for path in tmp_path.rglob("*") if path.is_file()]

    assert (asset["status"], asset["errors"]["type"]) == ("errored", "download_failed")
    assert left == []


def test_too_slow(tmp_path: Path, inputs: Path, files: FileServer) -> None:
    """A job that takes too long is ended with its process; another process does the next job."""
    files.released.clear()
    with MediaWorker(tmp_path, longest_job=2.0) as worker, serving(worker) as origin:
        client = MediaClient(origin)
        slow = client.create(f"{files.origin}/slow/film.mp4")
        after = client.upload(inputs / "tone.wav")
    files.released.set()

    assert slow["errors"]["messages"] == ["The input could not be converted: it took longer than 2 s"]
    assert after["status"] in {"ready", "errored"}  # on a busy machine it may be too slow as well


@pytest.mark.skipif(not Path("/proc").exists(), reason="processes are found in /proc")
def test_killed_at_work(tmp_path: Path, inputs: Path, files: FileServer) -> None:
    """If a process dies, the input that it worked on is errored, and the next one is converted."""
    before = worker_processes()
    files.released.clear()
    files.requested.clear()
    with MediaWorker(tmp_path) as worker, serving(worker) as origin:
        client = MediaClient(origin)
        body = {"inputs": [{"url": f"{files.origin}/slow/film.mp4"}]}
        lost = client.data("POST", "/video/v1/assets", body)["id"]
        assert files.requested.wait(TIMEOUT)
        for process in worker_processes() - before:
            os.kill(process, signal.SIGKILL)
        after = client.data("POST", "/video/v1/assets", {"inputs": [{"url": f"{files.origin}/film.mp4"}]})["id"]
        files.released.set()

        problem = "The input could not be converted: the process that worked on it ended"
        assert client.settled(lost)["errors"]["messages"] == [problem]
        assert client.settled(after)["status"] == "ready"
