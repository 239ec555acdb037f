"""``mux-async api``: any request, with credentials, limits and paging, against an emulator over a socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mux_async.emulator import EmulatorSettings
from tests.cli.commands import CREDENTIALS, Emulate, emulate_here, run_here


@pytest.fixture(scope="module")
def server() -> Iterator[Emulate]:
    with emulate_here(EmulatorSettings(limits=None, instant=True)) as running:
        environment = {**CREDENTIALS, "MUX_BASE_URL": running.origin}
        for number in range(5):
            made = run_here("api", "POST", "/video/v1/live-streams", "-f", f"passthrough=stream-{number}", env=environment)
            assert made.returncode == 0, made.stderr
        yield running


@pytest.fixture
def env(server: Emulate) -> dict[str, str]:
    return {**CREDENTIALS, "MUX_BASE_URL": server.origin}


def test_get(env: dict[str, str]) -> None:
    """A GET prints the JSON of the response, and nothing else."""
    done = run_here("api", "GET", "/video/v1/live-streams?limit=2", env=env)

    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["data"]) == 2


def test_paginate(env: dict[str, str]) -> None:
    """``--paginate`` follows pages to the end of the list and prints all items under one ``data``."""
    done = run_here("api", "get", "video/v1/live-streams", "-q", "limit=2", "--paginate", env=env)

    assert done.returncode == 0, done.stderr
    assert sorted(each["passthrough"] for each in json.loads(done.stdout)["data"]) == [f"stream-{n}" for n in range(5)]


def test_paginate_with_cursors(env: dict[str, str]) -> None:
    """Lists with cursors are followed too, each item once."""
    for _ in range(3):
        assert (
            run_here(
                "api", "POST", "/video/v1/assets", "-F", 'inputs=[{"url": "https://example.com/a.mp4"}]', env=env
            ).returncode
            == 0
        )
    done = run_here("api", "GET", "/video/v1/assets?limit=1", "--paginate", "--lines", env=env)
    ids = [json.loads(line)["id"] for line in done.stdout.splitlines()]

    assert done.returncode == 0, done.stderr
    assert len(ids) == len(set(ids)) == 3


def test_paginate_no_list(env: dict[str, str]) -> None:
    """A response that is not a list is an error with ``--paginate``, and the message says to leave it out."""
    done = run_here("api", "GET", "/system/v1/whoami", "--paginate", env=env)

    assert done.returncode == 1
    assert "leave out --paginate" in done.stderr


def test_bodies(env: dict[str, str], tmp_path: Path) -> None:
    """Members of the body come from text, JSON and a file; later ones replace earlier ones."""
    file = tmp_path / "body.json"
    file.write_text('{"passthrough": "from the file", "reconnect_window": 10}')
    done = run_here(
        "api", "POST", "/video/v1/live-streams", "--body", f"@{file}", "-f", "passthrough=text", "-F", "test=true", env=env
    )
    made = json.loads(done.stdout)["data"]

    assert (made["passthrough"], made["reconnect_window"], made["test"]) == ("text", 10, True)


def test_error_body(env: dict[str, str]) -> None:
    """The body of an error is printed, the message goes to standard error, and the exit code is 1."""
    done = run_here("api", "DELETE", "/video/v1/assets/nothing", env=env)

    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["type"]
    assert done.stderr.startswith("error: DELETE /video/v1/assets/nothing was answered")


def test_no_content(env: dict[str, str]) -> None:
    """A response without a body prints nothing."""
    made = json.loads(run_here("api", "POST", "/video/v1/live-streams", "-f", "passthrough=gone", env=env).stdout)["data"]
    done = run_here("api", "DELETE", f"/video/v1/live-streams/{made['id']}", env=env)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_include(env: dict[str, str]) -> None:
    """``--include`` shows status and headers beside the JSON, not in it, and no credentials."""
    done = run_here("api", "GET", "/system/v1/whoami", "--include", env=env)

    assert json.loads(done.stdout)["data"]["environment_name"]
    assert done.stderr.startswith("HTTP 200\n")
    assert "authorization" not in done.stderr.lower()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/video/v1/assets", "GET"], "the method comes first"),
        (["GET", "https://example.com/video/v1/assets"], "where the credentials go"),
        (["GET", "/video/v1/assets", "-f", "a=b"], "takes no body"),
        (["POST", "/video/v1/assets", "--paginate"], "--paginate reads a list"),
        (["POST", "/video/v1/assets", "-F", "inputs=[{"], "is not JSON"),
        (["POST", "/video/v1/assets", "--body", "[1]"], "not a JSON object"),
        (["POST", "/video/v1/assets", "--body", "@missing.json"], "cannot be read"),
        (["POST", "/video/v1/assets", "-f", "novalue"], "NAME=VALUE"),
        (["GET", "/video/v1/assets", "-q", "=1"], "NAME=VALUE"),
        (["GET", "/video/v1/assets", "-H", "s3cr3t"], "NAME:VALUE"),
    ],
)
def test_wrong_input(server: Emulate, env: dict[str, str], arguments: list[str], message: str) -> None:
    """Wrong arguments are refused with exit code 2 before anything is sent."""
    before = len(server.arrivals())
    done = run_here("api", *arguments, env={**env, "COLUMNS": "400"})

    assert done.returncode == 2
    assert message in done.stderr
    assert "s3cr3t" not in done.stderr
    assert len(server.arrivals()) == before
