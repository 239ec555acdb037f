"""Programs that are not ours, under Mux's host names over https: Node.js with the official client, curl, and the links of ``mux sign``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import pytest

from tests._servers import require
from tests.cli.commands import environment, run_here
from tests.emulator import official
from tests.emulator.browser.browsing import Account

pytestmark = pytest.mark.proof


@attrs.frozen
class Emulated:
    account: Account
    bundle: str
    port: str

    def curl(self, url: str) -> tuple[str, str]:
        """Status and body of *url*, with every name resolved to the emulator."""
        options = ["--silent", "--show-error", "--noproxy", "*", "--max-time", "20", "--cacert", self.bundle]
        command = [require("curl"), *options, "--connect-to", f"::127.0.0.1:{self.port}", "--write-out", "\n%{http_code}", url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        body, _, status = done.stdout.rpartition("\n")
        return status, body


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Generator[Emulated, None, None]:
    folder = tmp_path_factory.mktemp("settings") / "ca"
    options = ["--tls", "--tls-port", "0", "--ca-folder", str(folder), "--domain", "video.example.com"]
    with official.emulate_lines("--no-limits", "--instant", *options) as lines:
        port = next(urlsplit(line.split()[2]).port for line in lines if "https on" in line)
        yield Emulated(Account(lines[0].split()[-1]), str(folder / "mux-async-ca.pem"), str(port))


def test_node(emulated: Emulated) -> None:
    """Node.js reaches API, uploads, playback and images, with its fetch, its https module and the official client."""
    done = official.run_node(
        "names.cjs",
        TLS_PORT=emulated.port,
        NODE_EXTRA_CA_CERTS=emulated.bundle,
        MUX_TOKEN_ID="test-token",
        MUX_TOKEN_SECRET="test-secret",
    )

    assert (done.returncode, done.stdout) == (0, "done\n"), done.stdout + done.stderr


PROGRAM = """
import asyncio, urllib.request
from mux_async import Mux

async def main():
    async with Mux() as mux:
        print(len(await mux.video.live_streams.list()))

asyncio.run(main())
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print(opener.open(f"{__import__('os').environ['MUX_BASE_URL']}/_emulator/health", timeout=10).status)
"""


def test_python(emulated: Emulated) -> None:
    """SSL_CERT_FILE is enough for Python and this SDK, and MUX_CA_FILE for its command; without them they refuse."""
    variables = {
        "MUX_BASE_URL": f"https://localhost:{emulated.port}",
        "MUX_TOKEN_ID": "test-token",
        "MUX_TOKEN_SECRET": "test-secret",
    }

    def run(trust: dict[str, str]) -> subprocess.CompletedProcess[str]:
        given = {**environment(), **variables, **trust}
        return subprocess.run(
            [sys.executable, "-c", PROGRAM], env=given, capture_output=True, text=True, timeout=50, check=False
        )

    assert run({"SSL_CERT_FILE": emulated.bundle}).stdout.split() == ["0", "200"]
    assert "certificate" in run({}).stderr
    listing = ("api", "GET", "/video/v1/live-streams")
    assert run_here(*listing, env={**variables, "MUX_CA_FILE": emulated.bundle}).returncode == 0
    assert "certificate" in run_here(*listing, env=variables).stderr


def signed_links(playback_id: str, key: str, private_key: str, home: Path) -> dict[str, str]:
    """Links of a signed playback id, as this SDK's command and Mux's print them."""
    variables = {"MUX_SIGNING_KEY": key, "MUX_PRIVATE_KEY": private_key}
    ours = run_here("sign", playback_id, "--url", env=variables).stdout.split()[-1]
    given = {**variables, "HOME": str(home), "MUX_TOKEN_ID": "test-token", "MUX_TOKEN_SECRET": "test-secret"}
    done = subprocess.run(
        [official.mux_cli(), "sign", playback_id, "--json"],
        env={"PATH": os.environ["PATH"], **given},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return {"mux-async": ours, "mux": json.loads(done.stdout)["url"]}


def test_signed_links(emulated: Emulated, tmp_path: Path) -> None:
    """The links that ``mux sign`` and ``mux-async sign`` print go to stream.mux.com, and work; without their token they do not."""
    key = emulated.account.data("POST", "/system/v1/signing-keys")
    settings = {"inputs": [{"url": "https://example.com/film.mp4"}], "playback_policies": ["signed"]}
    playback_id = emulated.account.data("POST", "/video/v1/assets", settings)["playback_ids"][0]["id"]
    links = signed_links(playback_id, key["id"], key["private_key"], tmp_path)

    for link in links.values():
        assert link.startswith(f"https://stream.mux.com/{playback_id}.m3u8?token=")
        status, playlist = emulated.curl(link)
        assert (status, playlist[:7]) == ("200", "#EXTM3U")
        assert emulated.curl(link.partition("?")[0])[0] == "403"
