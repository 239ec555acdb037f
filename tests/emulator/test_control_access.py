"""Access to the control calls and the page: programs of this machine have it, web pages in a browser do not."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from mux_async.emulator import Emulator, EmulatorSettings
from mux_async.emulator.server import serve
from tests.cli.commands import run_here
from tests.emulator.harness import Account, basic

FOREIGN: list[Mapping[str, str]] = [
    {"Host": "127.0.0.1:8787", "Origin": "https://evil.example"},
    {"Host": "127.0.0.1:8787", "Origin": "null"},
    {"Host": "127.0.0.1:8787", "Origin": "http://127.0.0.1:3000"},
    {"Host": "127.0.0.1:8787", "Origin": "http://127.0.0.1:8787.evil.example"},
    {"Host": "127.0.0.1:8787", "Sec-Fetch-Site": "cross-site"},
    {"Host": "127.0.0.1:8787", "Sec-Fetch-Site": "same-site"},
    {"Host": "evil.example"},
    {"Host": "evil.example:8787", "Origin": "http://evil.example:8787", "Sec-Fetch-Site": "same-origin"},
    {"Host": "localhost.evil.example:8787"},
    {"Host": "192.168.1.7:8787"},
    {"Host": "user@127.0.0.1:8787"},
    {"Host": "[::1"},
    {"Host": ""},
]
OWN: list[Mapping[str, str]] = [
    {},
    {"Host": "127.0.0.1:8787"},
    {"Host": "LOCALHOST"},
    {"Host": "api.localhost:1"},
    {"Host": "127.8.9.1"},
    {"Host": "[::1]:8787"},
    {"Host": "127.0.0.1:8787", "Origin": "http://127.0.0.1:8787", "Sec-Fetch-Site": "same-origin"},
    {"Host": "127.0.0.1:8787", "Sec-Fetch-Site": "none"},
]


DOCUMENTED = re.findall(
    r"^\| (GET|POST|DELETE) `(/_emulator/[^`]+)`",
    Path(__file__).parents[2].joinpath("docs/emulator.md").read_text(),
    re.MULTILINE,
)
"""Verb and path of every control call that the documentation lists."""
CALLS: list[tuple[str, str]] = [
    *((verb, re.sub(r"\{[^}]*\}", "x", path)) for verb, path in DOCUMENTED),
    ("POST", "/%5Femulator/reset"),
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_foreign_callers_are_refused(headers: Mapping[str, str]) -> None:
    """Every control call and request of the page is a 403 for a foreign page or host, and changes nothing."""
    account = Account()
    upload = account.send("POST", "/_emulator/uploads", {})
    assert upload.status == 201

    for verb, path in CALLS:
        refused = account.send(verb, path, {} if verb == "POST" else None, headers=dict(headers))
        assert refused.status == 403, path
        assert "--allow-host" in json.loads(refused.body)["error"]["messages"][0]
    assert len(json.loads(account.send("GET", "/_emulator/uploads").body)["uploads"]) == 1


def test_documented_calls_exist() -> None:
    """Every control call that the documentation lists is one that the emulator has."""
    account = Account()
    served = [(verb, path) for verb, path in DOCUMENTED if "{" not in path and account.send(verb, path, {}).status != 404]

    assert len(DOCUMENTED) == 27
    assert served == [(verb, path) for verb, path in DOCUMENTED if "{" not in path]


@pytest.mark.parametrize("headers", OWN, ids=str)
def test_own_callers_are_served(headers: Mapping[str, str]) -> None:
    """Programs of this machine, the emulator's own page, and calls within the process are served."""
    account = Account()

    for verb, path in [("GET", "/_emulator/health"), ("GET", "/_emulator/overview"), ("GET", "/")]:
        assert account.send(verb, path, headers=dict(headers)).status == 200
    assert account.send("POST", "/_emulator/reset", {}, headers=dict(headers)).status == 204


def test_declared_hosts() -> None:
    """A declared host is served, and its pages may call; other hosts are refused."""
    account = Account(EmulatorSettings(limits=None, allowed_hosts=("Emulator",), public_origin="http://mux.test:1"))

    assert account.send("GET", "/_emulator/health", headers={"Host": "emulator:8787"}).status == 200
    assert account.send("GET", "/_emulator/health", headers={"Host": "mux.test:1"}).status == 200
    page = {"Host": "localhost:8787", "Origin": "https://emulator", "Sec-Fetch-Site": "cross-site"}
    assert account.send("GET", "/_emulator/health", headers=page).status == 200
    assert account.send("GET", "/_emulator/health", headers={"Host": "emulator.evil.example"}).status == 403


def test_page_may_be_linked_to() -> None:
    """Other sites may link to the page; under a foreign host it is refused."""
    account = Account()

    assert account.send("GET", "/", headers={"Host": "localhost:8787", "Sec-Fetch-Site": "cross-site"}).status == 200
    assert account.send("GET", "/", headers={"Host": "evil.example"}).status == 403


def test_api_and_uploads_are_as_muxs() -> None:
    """The API and upload URLs work under any host, because they need a token or a signature; pages upload as they do to Mux."""
    account = Account()
    headers = {"Host": "emulator:8787", "Authorization": basic(), "Sec-Fetch-Site": "cross-site"}

    made = account.send("POST", "/video/v1/uploads", {"cors_origin": "https://app.example"}, headers=headers)
    assert made.status == 201
    path = "/" + json.loads(made.body)["data"]["url"].split("/", 3)[3]
    sent = account.send(
        "PUT", path, b"film", headers={"Host": "emulator:8787", "Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}
    )
    assert sent.status == 200
    assert sent.headers["Access-Control-Allow-Origin"] == "https://app.example"


@pytest.mark.asyncio
async def test_over_sockets() -> None:
    """The server sees the host that a client names, and serves the address that it listens at."""
    import anyio.to_thread

    async with serve(Emulator(EmulatorSettings())) as origin:
        address = origin.removeprefix("http://")

        def ask(host: str) -> int:
            connection = http.client.HTTPConnection(address, timeout=10)
            try:
                connection.request("GET", "/_emulator/arrivals", headers={"Host": host})
                return connection.getresponse().status
            finally:
                connection.close()

        assert await anyio.to_thread.run_sync(ask, address) == 200
        assert await anyio.to_thread.run_sync(ask, "evil.example") == 403


def test_option_of_the_command() -> None:
    """The command has an option for it."""
    assert "--allow-host" in run_here("emulate", "--help", env={"COLUMNS": "200"}).stdout
