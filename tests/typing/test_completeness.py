"""Every public type is written down: what type checkers and editors know of the packages when they are installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = {
    "mux_async": ROOT / "mux_async",
    "mux_async_aiohttp": ROOT / "transports" / "mux_async_aiohttp",
    "mux_async_httpx": ROOT / "transports" / "mux_async_httpx",
}

pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(400),
    pytest.mark.skipif(find_spec("pyright") is None, reason="pyright is not installed"),
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment in which the packages are copies below ``site-packages``: an editable install does not count for pyright."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=os.name != "nt", with_pip=False)
    site = next(folder.rglob("site-packages"))
    for name, source in PACKAGES.items():
        shutil.copytree(source, site / name, ignore=shutil.ignore_patterns("__pycache__"))
    # The libraries under them are those that run this test; the copies stand before them in the path.
    (site / "libraries.pth").write_text(f"{Path(attrs.__file__).parent.parent}\n")
    return folder


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_type(installed: Path, package: str, tmp_path: Path) -> None:
    """pyright knows the type of each public name of each package without inferring it: 100 %."""
    bin_folder = installed / ("Scripts" if os.name == "nt" else "bin")
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--verifytypes", package, "--ignoreexternal", "--outputjson"],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}"},
        capture_output=True,
        text=True,
        timeout=360,
        check=False,
    )

    assert done.stdout, done.stderr
    found = json.loads(done.stdout)["typeCompleteness"]
    lacking = [
        f"{symbol['name']}: {diagnostic['message']}"
        for symbol in found["symbols"]
        if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]
        for diagnostic in symbol["diagnostics"]
    ]
    assert Path(found["packageRootDirectory"]).is_relative_to(installed.resolve())
    assert not lacking
    assert found["exportedSymbolCounts"]["withKnownType"] > 0
    assert found["completenessScore"] == 1
