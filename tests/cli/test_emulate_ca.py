"""``mux-async emulate --tls`` and ``mux-async emulate-ca``: what they print, what they refuse, and requests to what is served."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cli.commands import command, environment, run_here


@contextmanager
def emulating(folder: Path, *options: str) -> Generator[list[str]]:
    """Run ``emulate --tls``; gives the lines that it printed before it was ready."""
    arguments = command(
        "emulate", "--tls", "--port", "0", "--tls-port", "0", "--ca-folder", str(folder), "--media", "off", *options
    )
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        try:
            lines: list[str] = []
            while not lines or "rate limits" not in lines[-1]:
                line = process.stdout.readline()
                assert line, lines
                lines.append(line.rstrip("\n"))
            yield lines
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)


def value(lines: list[str], name: str) -> str:
    return next(line.partition("=")[2] for line in lines if f"export {name}=" in line)


def secure_port(lines: list[str]) -> int:
    return urlsplit(next(line.split()[2] for line in lines if "https on" in line)).port or 0


def status(lines: list[str], host: str, path: str) -> int:
    """GET with the address of this machine for *host*, as with a line in the hosts file."""
    connection = HTTPSConnection(host, context=ssl.create_default_context(cafile=value(lines, "SSL_CERT_FILE")), timeout=10)

    def connect(_: object, *rest: object) -> socket.socket:
        return socket.create_connection(("127.0.0.1", secure_port(lines)), timeout=10)

    vars(connection)["_create_connection"] = connect
    connection.request("GET", path)
    found = connection.getresponse().status
    connection.close()
    return found


@pytest.mark.proof
def test_served_and_shown(tmp_path: Path) -> None:
    """It serves https under Mux's names and a custom domain with the files that it prints, and a second start trusts the same."""
    folder = tmp_path / "ca"
    with emulating(folder, "--domain", "Video.example.com", "--allow-host", "mux.test", "--allow-host", "10.0.0.1") as lines:
        statuses = [
            status(lines, "api.mux.com", "/video/v1/assets"),
            status(lines, "stream.mux.com", "/video/v1/assets"),
            status(lines, "stream.video.example.com", "/somefakeid.m3u8"),
            status(lines, "localhost", "/_emulator/health"),
            status(lines, "mux.test", "/_emulator/health"),
        ]
        with emulating(folder) as second:
            assert status(second, "api.mux.com", "/video/v1/assets") == 401
    text = "\n".join(lines)

    assert statuses == [401, 400, 400, 200, 200]
    assert value(lines, "NODE_EXTRA_CA_CERTS") == value(lines, "MUX_CA_FILE") == str(folder / "mux-async-ca.pem")
    assert "new certificate authority" in text
    assert "new certificate authority" not in "\n".join(second)
    assert f"MAP *.mux.com 127.0.0.1:{secure_port(lines)}, MAP *.litix.io" in text
    assert "MAP *.video.example.com" in text
    assert len(re.findall(r"[\w+/]{43}=", text)) == 3
    assert "127.0.0.1 api.mux.com stream.mux.com image.mux.com" in text

    shown = run_here("emulate-ca", "show", "--ca-folder", str(folder)).stdout
    assert "mux.com: certifies *.mux.com, *.litix.io" in shown
    assert shown.count("SHA-256 ") == 3
    removed = run_here("emulate-ca", "remove", env={"MUX_CA_FOLDER": str(folder)})
    assert removed.stdout.count("removed ") == 4
    assert not folder.exists()
    assert "there is no certificate authority" in run_here("emulate-ca", "show", "--ca-folder", str(folder)).stdout
    assert "there is no certificate authority" in run_here("emulate-ca", "remove", "--ca-folder", str(folder)).stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--domain", "video.example.com"], "--domain is for https, so that it needs --tls"),
        (["--tls-port", "443"], "--tls-port is for https, so that it needs --tls"),
        (["--tls", "--domain", "https://video.example.com"], "--domain: 'https://video.example.com' is not a domain name"),
        (["--tls", "--domain", "stream.mux.com"], "--domain: 'stream.mux.com' is Mux's own domain"),
        (["--tls", "--allow-host", "under_score.test"], "no certificate for --allow-host or --host: 'under_score.test'"),
    ],
)
def test_refused(tmp_path: Path, options: list[str], said: str) -> None:
    """Options that do not fit are refused before anything is served."""
    done = run_here("emulate", "--port", "0", "--ca-folder", str(tmp_path), *options)

    assert done.returncode != 0
    assert said in " ".join(done.stderr.replace("│", " ").split())


def test_damaged(tmp_path: Path) -> None:
    """A damaged authority is one sentence that says how to mend it, and that works."""
    (tmp_path / "mux.com.mux-async-ca-key.pem").touch(mode=0o600)
    (tmp_path / "mux.com.mux-async-ca-key.pem").write_text("nothing")
    served = run_here("emulate", "--tls", "--port", "0", "--ca-folder", str(tmp_path))
    shown = run_here("emulate-ca", "show", "--ca-folder", str(tmp_path))

    assert (served.returncode, shown.returncode) == (2, 2)
    assert "emulate-ca remove" in served.stderr
    assert "Traceback" not in served.stderr + shown.stderr
    assert run_here("emulate-ca", "remove", "--ca-folder", str(tmp_path)).returncode == 0


def test_port_in_use(tmp_path: Path) -> None:
    """A port for https that is taken is an error that names its option."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_here("emulate", "--tls", "--port", "0", "--tls-port", port, "--ca-folder", str(tmp_path))

    assert done.returncode == 1
    assert "choose another with --tls-port" in done.stderr
