"""Whether a release can be published: ``make release-check``, in a few minutes. ``--tag v1.2.3`` also compares the tag.

What it builds, in ``dist/``, is what ``make sbom`` describes and what the workflow publishes. It fails at the first thing that is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from email import message_from_string
from hashlib import sha256
from pathlib import Path

from tools.pythons import find_pythons

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
PACKAGES = {
    "mux_async": "mux_async",
    "mux_async_aiohttp": "transports/mux_async_aiohttp",
    "mux_async_httpx": "transports/mux_async_httpx",
}
SMOKE = ROOT / "tools" / "release_smoke.py"
RELATIVE_LINK = re.compile(r"""\]\((?!https?://|mailto:)[^)]*\)|(?:src|href)=["'](?!https?://|mailto:)""")


class ReleaseError(Exception):
    """What keeps the release from being published, and how to mend it."""


def check_version(tag: str | None, changelog: str, version: str) -> None:
    """Compare the version with the changelog, and with the *tag* if there is one."""
    if not re.search(rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        raise ReleaseError(f"CHANGELOG.md has no heading `## {version} - YYYY-MM-DD`: move what is under Unreleased below one")
    if tag is not None and tag != f"v{version}":
        raise ReleaseError(f"the tag is {tag!r}, and mux_async/_version.py says {version!r}: one of them is wrong")


def check_description(metadata: str) -> None:
    """Find links of the description that lead nowhere on a package index."""
    description = message_from_string(metadata).get_payload()
    if not isinstance(description, str) or len(description) < 1000:
        raise ReleaseError(
            "the metadata has no description: see [tool.hatch.metadata.hooks.fancy-pypi-readme] in pyproject.toml"
        )
    if found := RELATIVE_LINK.search(re.sub(r"^```.*?^```", "", description, flags=re.MULTILINE | re.DOTALL)):
        raise ReleaseError(
            f"the description has the link {found[0]!r}, which leads nowhere on a package index: the substitutions of "
            "[tool.hatch.metadata.hooks.fancy-pypi-readme] in pyproject.toml do not cover it"
        )


def check_contents(wheel: Path, tracked: set[str]) -> None:
    """Compare the files of the *wheel* with those of the packages that are *tracked* by git."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = next(archive.read(name).decode() for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        licensed = any(name.endswith(".dist-info/licenses/LICENSE") for name in archive.namelist())
    wanted = {
        package + path.removeprefix(folder)
        for package, folder in PACKAGES.items()
        for path in tracked
        if path.startswith(f"{folder}/")
    }
    if names != wanted:
        raise ReleaseError(
            f"{wheel.name} has files too many {sorted(names - wanted)[:5]}, and lacks {sorted(wanted - names)[:5]}"
        )
    if not licensed:
        raise ReleaseError(f"{wheel.name} has no licence")
    check_description(metadata)


def _run(*command: str | Path, cwd: Path = ROOT, **variables: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **variables}, capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode:
        raise ReleaseError(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _build() -> tuple[Path, Path]:
    """Build both archives from the tree, and the wheel once more from the sdist. The tree's is published."""
    shutil.rmtree(DIST, ignore_errors=True)
    build = (sys.executable, "-m", "build", "--no-isolation")
    _run(*build, "--sdist", "--wheel", "--outdir", DIST)
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        (unpacked,) = Path(folder).iterdir()
        _run(*build, "--wheel", "--outdir", folder, cwd=unpacked)
        (again,) = Path(folder).glob("*.whl")
        if sha256(again.read_bytes()).digest() != sha256(wheel.read_bytes()).digest():
            raise ReleaseError(f"{sdist.name} builds another wheel than the tree: compare the files of both")
    return wheel, sdist


def _try(wheel: Path, version: str, python: Path, extra: str) -> None:
    """Install the *wheel* into an empty environment and use it there."""
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "venv"
        _run(python, "-m", "venv", environment)
        own = environment / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        target = f"{wheel}[{extra}]" if extra else str(wheel)
        pip = (own, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--constraint", ROOT / "constraints.txt")
        _run(*pip, target, PYTHONPATH="")
        program = Path(shutil.copy(SMOKE, folder))
        _run(own, "-W", "error", program, version, extra, cwd=Path(folder), PYTHONPATH="")


def main() -> None:
    """Run every check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tag", default=None)
    tag = parser.parse_args().tag or None
    version = re.findall(r'__version__ = "(.+)"', (ROOT / "mux_async" / "_version.py").read_text("utf-8"))[0]
    try:
        check_version(tag, (ROOT / "CHANGELOG.md").read_text("utf-8"), version)
        wheel, sdist = _build()
        print(f"built {wheel.name} and {sdist.name}; the sdist builds the same wheel")
        check_contents(wheel, set(_run("git", "ls-files").splitlines()))
        _run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
        print("contents, metadata and description are well")
        for python_version, python in find_pythons().items():
            for extra in ("", "all"):
                _try(wheel, version, python, extra)
                print(f"Python {python_version}, {extra or 'no'} extras: works")
    except ReleaseError as error:
        sys.exit(f"release-check: {error}")
    print(json.dumps({path.name: sha256(path.read_bytes()).hexdigest() for path in (wheel, sdist)}, indent=2))


if __name__ == "__main__":
    main()
