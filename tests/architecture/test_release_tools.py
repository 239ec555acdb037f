"""The tools behind `make test-pythons` and `make release-check`: what they find, and what they refuse."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager

from tools.pythons import RUNNING, find_pythons
from tools.release_check import PACKAGES, ReleaseError, check_contents, check_description, check_version

ROOT = Path(__file__).parents[2]


def test_pythons_that_run_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command counts if it runs and is of its version, on PATH, in pyenv's folder or uv's; the running Python is always there."""
    other = next(version for version in ("3.12", "3.13") if version != RUNNING)
    (pyenv, uv, path) = (tmp_path / name for name in ("pyenv", "uv", "path"))
    for name, value in {"PYENV_ROOT": pyenv, "UV_PYTHON_INSTALL_DIR": uv, "PATH": path}.items():
        monkeypatch.setenv(name, str(value))

    assert find_pythons() == {RUNNING: Path(sys.executable)}

    older = _python(pyenv / "versions" / f"{other}.2" / "bin" / "python3", other)
    newer = _python(pyenv / "versions" / f"{other}.10" / "bin" / "python3", other)
    assert find_pythons()[other] == newer
    newer.unlink()
    assert find_pythons()[other] == older
    in_uv = _python(uv / f"cpython-{other}.1-linux-x86_64-gnu" / "bin" / "python3", other)
    assert find_pythons()[other] == older
    older.unlink()
    assert find_pythons()[other] == in_uv
    _python(path / f"python{other}", "3.9")
    assert find_pythons()[other] == in_uv
    on_path = _python(path / f"python{other}", other)
    assert find_pythons()[other] == on_path


def _python(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)
    return path


def test_named_version_that_is_missing_is_an_error() -> None:
    """`make test-pythons PYTHONS=3.9` does not pass silently."""
    command = [sys.executable, "-m", "tools.pythons", "--others", "3.9"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PATH": ""}, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 2
    assert "3.9 is not among the supported Pythons" in done.stderr


def test_version_needs_a_section_of_the_changelog_and_its_tag() -> None:
    """A release without a dated section, or with another tag than its version, is refused."""
    changelog = "# Changelog\n\n## Unreleased\n\n## 1.2.3 - 2030-01-02\n"
    check_version(None, changelog, "1.2.3")
    check_version("v1.2.3", changelog, "1.2.3")

    with pytest.raises(ReleaseError, match=r"no heading `## 1\.2\.4 - YYYY-MM-DD`"):
        check_version(None, changelog, "1.2.4")
    with pytest.raises(ReleaseError, match=r"the tag is 'v1\.2\.4'"):
        check_version("v1.2.4", changelog, "1.2.3")


def test_description_of_the_readme_has_no_link_into_the_repository() -> None:
    """What a package index shows has no relative link and no missing picture, and still names the files."""
    description = ProjectMetadata(str(ROOT), PluginManager()).core.readme

    check_description(_metadata(description))
    assert "docs/ingest.md" in description
    assert "](https://www.mux.com)" in description
    assert "](docs/" in (ROOT / "README.md").read_text("utf-8"), "the README has no link, so that this test shows nothing"


@pytest.mark.parametrize(
    "wrong",
    ["[a page](docs/ingest.md)", "![a picture](docs/a.png)", "[below](#extras)", '<img src="docs/a.png">', "<a href='docs/a'>"],
)
def test_description_with_a_relative_link_is_refused(wrong: str) -> None:
    """Links and pictures that lead nowhere on a package index are found; those in code are no links."""
    text = "All the text of a description.\n" * 40
    check_description(_metadata(f"{text}\n[a](https://example.com)\n```python\nx = [1](2)\n```\n"))

    with pytest.raises(ReleaseError, match="leads nowhere"):
        check_description(_metadata(text + wrong))
    with pytest.raises(ReleaseError, match="no description"):
        check_description(_metadata(""))


def _metadata(description: str) -> str:
    return f"Metadata-Version: 2.4\nName: x\nDescription-Content-Type: text/markdown\n\n{description}"


@pytest.mark.parametrize("change", ["nothing", "a test", "less", "no licence"])
def test_wheel_with_other_files_is_refused(change: str, tmp_path: Path) -> None:
    """A wheel has exactly the tracked files of the packages, and the licence."""
    tracked = {f"{folder}/__init__.py" for folder in PACKAGES.values()} | {"tests/test_a.py", "README.md"}
    wheel = tmp_path / "a.whl"
    names = [f"{package}/__init__.py" for package in PACKAGES]
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in names[1:] if change == "less" else [*names, "tests/test_a.py"] if change == "a test" else names:
            archive.writestr(name, "")
        archive.writestr("a.dist-info/METADATA", _metadata("All the text of a description.\n" * 40))
        if change != "no licence":
            archive.writestr("a.dist-info/licenses/LICENSE", "MIT")

    if change == "nothing":
        check_contents(wheel, tracked)
    else:
        with pytest.raises(ReleaseError, match=re.escape("a.whl")):
            check_contents(wheel, tracked)
