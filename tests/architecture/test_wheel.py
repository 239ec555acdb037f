"""What a user gets: the wheel, installed in an environment of its own, from an empty directory."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.proof

ROOT = Path(__file__).parents[2]

ADAPTERS = ("mux_async_aiohttp", "mux_async_httpx")
PROGRAM = """
import asyncio, importlib.util, sys
import mux_async, mux_async_aiohttp
from mux_async import Mux
from mux_async.errors import ConnectError, MissingExtraError, UnknownTransportError

assert "site-packages" in mux_async.__file__, mux_async.__file__
assert not importlib.util.find_spec("typer") and not importlib.util.find_spec("httpx")

async def main():
    async with Mux(token_id="id", token_secret="secret", base_url="http://127.0.0.1:9", max_attempts=1) as mux:
        try:
            await mux.video.assets.list()
        except ConnectError as error:
            print("default transport works:", type(error).__name__)

asyncio.run(main())
for name in ("httpx", "aiohttq"):
    try:
        Mux(token_id="id", token_secret="secret", transport=name)
    except (MissingExtraError, UnknownTransportError) as error:
        print(error)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
        ".",
    ]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return built


def test_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    """The wheel has the core, the adapters, their type markers and the licence; no tests, tools or facts."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tops = {name.split("/")[0] for name in names}
    source = {
        path.relative_to(ROOT / root).as_posix()
        for root, package in [(".", "mux_async"), *(("transports", adapter) for adapter in ADAPTERS)]
        for path in (ROOT / root / package).rglob("*")
        if path.suffix in {".html", ".json", ".py"}
    }

    assert {top for top in tops if not top.endswith(".dist-info")} == {"mux_async", *ADAPTERS}
    assert source <= names
    assert {f"{package}/py.typed" for package in ("mux_async", *ADAPTERS)} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.timeout(300)
def test_wheel_works_without_extras(wheel: Path, tmp_path: Path) -> None:
    """Installed alone, it gives a working client with the default transport, and says what an extra would bring."""
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    python = environment / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--constraint", str(ROOT / "constraints.txt"), str(wheel)], check=True, timeout=240, cwd=tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    done = subprocess.run([str(python), "-c", PROGRAM], cwd=empty, capture_output=True, text=True, timeout=60, check=False)
    command = subprocess.run(
        [str(python.parent / "mux-async"), "demo"], cwd=empty, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "default transport works: ConnectError" in done.stdout
    assert "pip install 'mux-async[httpx]'" in done.stdout
    assert "did you mean 'aiohttp'?" in done.stdout
    assert command.returncode == 2
    assert "pip install 'mux-async[cli]'" in command.stderr
    assert "Traceback" not in command.stderr
