"""The pytest plugin, in projects of its own: with each way of running asynchronous tests, and at pytest's start."""

from __future__ import annotations

import os
import subprocess
import sys
from operator import attrgetter
from pathlib import Path

import pytest

from mux_async import testing

ROOT = Path(__file__).parents[2]

TESTS = {
    "anyio": """
import pytest
from mux_async import NotFoundError

pytestmark = pytest.mark.anyio


async def test_two_lines(mux, mux_emulator):
    asset = await mux.video.assets.wait_until_ready((await mux.video.assets.create(inputs=[{"url": "https://a.example/b.mp4"}])).id)
    assert asset.status == "ready" and mux_emulator.arrivals[0].status == 201


async def test_own_account(mux):
    assert len(await mux.video.assets.list()) == 0


async def test_upload(mux):
    assert (await mux.uploads.send(b"a film", playback_policies=["public"])).status == "ready"
""",
    "asyncio": """
import pytest
import mux_async

pytestmark = pytest.mark.asyncio


@pytest.fixture
def mux_emulator_settings():
    from mux_async.emulator import EmulatorSettings, Token
    return EmulatorSettings(tokens=(Token("mine", "secret", "stage"),), limits=None)


async def test_settings(mux):
    assert (await mux.system.utilities.whoami()).environment_name == "stage"


async def test_fault(mux, mux_emulator):
    from mux_async.emulator import Fault
    mux_emulator.faults.add(Fault(path="/video/v1/assets", status=404))
    with pytest.raises(mux_async.NotFoundError):
        await mux.video.assets.list()
""",
    "sync": """
import anyio


def test_sync(mux):
    async def main():
        return await mux.video.live_streams.create(), await mux.video.live_streams.list()

    made, listed = anyio.run(main)
    assert [stream.id for stream in listed] == [made.id]
    assert len(anyio.run(mux.video.live_streams.list, backend="trio")) == 1
""",
}


def run(folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run pytest as a user's project would: warnings are errors, and the plugin comes as an entry point would bring it."""
    if not more:
        (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    plugins = ["no:cacheprovider", "no:faker", "no:schemathesis", "mux_async.testing.plugin"]  # two are slow to import
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", *(f"-p{plugin}" for plugin in plugins)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "transports")]), **more}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=50, check=False)


def test_fixtures(tmp_path: Path) -> None:
    """The fixtures are ready in two lines, fresh for every test, and can be set up, whichever plugin runs the test."""
    for name, text in TESTS.items():
        (tmp_path / f"test_{name}.py").write_text(text)
    done = run(tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 passed" in done.stdout  # those marked anyio on asyncio and on trio


def test_start_is_light(tmp_path: Path) -> None:
    """Having the plugin costs no project the import of the client, the emulator, or an HTTP library."""
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "def test_it():\n"
        "    heavy = {'aiohttp', 'cattrs', 'orjson', 'sqlite3', 'mux_async._client', 'mux_async.emulator', 'mux_async.testing._bench'}\n"
        "    assert heavy & set(sys.modules) == set()\n"
    )
    done = run(tmp_path, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")

    assert done.returncode == 0, done.stdout


def test_every_name_has_a_home() -> None:
    """Whatever `mux_async.testing` promises is found where it is looked for."""
    assert [name for name in testing.__all__ if not hasattr(testing, name)] == []
    with pytest.raises(AttributeError, match="nothing"):
        attrgetter("nothing")(testing)
