"""Proxy, certificate authorities and the environment's proxies, for every command that sends requests, in all ways to set them."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme

from tests.cli.commands import CREDENTIALS, run_here

NOWHERE = "http://nowhere.localhost:1"


@attrs.frozen
class Server:
    """Answers every request with the same object."""

    origin: str
    targets: list[str]


@contextmanager
def serve(context: ssl.SSLContext | None = None) -> Generator[Server]:
    targets: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            targets.append(f"{self.command} {self.path}")
            data: object = {"environment_name": "Production", "permissions": ["video:read"]} if "whoami" in self.path else []
            body = json.dumps({"data": data} if self.command == "GET" else {"error": {"messages": ["by the proxy"]}}).encode()
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.send_response(200 if self.command == "GET" else 400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_DELETE = do_GET

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        scheme = "https" if context is not None else "http"
        try:
            yield Server(f"{scheme}://localhost:{server.server_port}", targets)
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Credentials, and no settings of the user's."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "film.mp4").write_bytes(b"film")
    monkeypatch.chdir(tmp_path)
    return {**CREDENTIALS, "XDG_CONFIG_HOME": str(tmp_path), "MUX_BASE_URL": NOWHERE}


COMMANDS = {
    "api": ["api", "GET", "/video/v1/assets"],
    "api-httpx": ["api", "GET", "/video/v1/assets", "--transport", "httpx"],
    "doctor": ["doctor", "--online"],
    "ingest": ["ingest", "film.mp4", "--plain"],
    "upload": ["upload", "film.mp4"],
}


@pytest.mark.parametrize("place", ["before", "behind", "variable", "environment"])
@pytest.mark.parametrize("name", COMMANDS)
def test_proxy(env: dict[str, str], name: str, place: str) -> None:
    """Every command that sends requests uses the proxy, given before it, after it, by its variable, or by the environment."""
    command = COMMANDS[name]
    with serve() as proxy:
        match place:
            case "before":
                run_here("--proxy", proxy.origin, *command, env=env)
            case "behind":
                run_here(*command, "--proxy", proxy.origin, env=env)
            case "variable":
                run_here(*command, env={**env, "MUX_PROXY": proxy.origin})
            case _:
                run_here(*command, "--trust-env", env={**env, "http_proxy": proxy.origin, "no_proxy": ""})
        assert proxy.targets
        assert all(f" {NOWHERE}/" in target for target in proxy.targets)


def test_only_on_request(env: dict[str, str]) -> None:
    """Proxies of the environment are used only with ``--trust-env`` or its variable, and ``--no-trust-env`` overrides the variable."""
    with serve() as proxy, serve() as server:
        env = {**env, "http_proxy": proxy.origin, "no_proxy": "", "MUX_BASE_URL": server.origin}
        command = COMMANDS["api"]
        assert run_here(*command, env=env).returncode == 0
        assert run_here(*command, "--no-trust-env", env={**env, "MUX_TRUST_ENV": "1"}).returncode == 0
        assert not proxy.targets
        run_here(*command, env={**env, "MUX_TRUST_ENV": "true"})
        assert proxy.targets


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
def test_authorities(env: dict[str, str], tmp_path: Path, transport: str) -> None:
    """A server with a certificate of a private authority is trusted with ``--ca-file``, and not without."""
    authority: Any = trustme.CA()  # its annotations are not complete
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with serve(context) as server:
        command = [*COMMANDS["api"], "--transport", transport, "--base-url", server.origin]
        refused = run_here(*command, env=env)
        assert run_here(*command, "--ca-file", "ca.pem", env=env).returncode == 0
        assert run_here(*command, env={**env, "MUX_CA_FILE": "ca.pem"}).returncode == 0
        assert run_here("--ca-file", "ca.pem", *command, env=env).returncode == 0

    assert refused.returncode == 1
    assert "certificate" in refused.stderr.lower()
    assert len(server.targets) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--proxy", "canary:3128"], "the proxy is not of the form"),
        (["--proxy", "socks5://canary:1"], "takes a proxy of the form"),
        (["--ca-file", "none.pem"], "none.pem"),
        (["--ca-file", "film.mp4"], "film.mp4"),
    ],
)
def test_mistakes(env: dict[str, str], options: list[str], message: str) -> None:
    """An invalid proxy, and a file without certificates, are refused with a message before anything is sent."""
    done = run_here(*COMMANDS["api"], *options, env=env)

    assert done.returncode != 0
    assert message in " ".join(done.stderr.split())
    assert "canary" not in done.stderr
    assert "Traceback" not in done.stderr


def test_one_run_does_not_reach_the_next(env: dict[str, str]) -> None:
    """The options of one run have no effect on the next run in the same process."""
    with serve() as proxy, serve() as server:
        run_here(*COMMANDS["api"], "--proxy", proxy.origin, env=env)
        before = len(proxy.targets)
        run_here(*COMMANDS["api"], env={**env, "MUX_BASE_URL": server.origin})

        assert len(proxy.targets) == before == len(server.targets) == 1
