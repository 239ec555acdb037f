"""The Pythons of this machine that the project supports, for ``make test-pythons`` and ``make release-check``.

They are looked for on ``PATH``, in pyenv's folder, and in uv's. A command counts if it runs: a shim of pyenv does not, unless its
version is selected. ``python -m tools.pythons`` prints them, or those versions that are named after it; ``--others`` leaves out the
version that runs it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SUPPORTED = ("3.11", "3.12", "3.13", "3.14")
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"


def find_pythons() -> dict[str, Path]:
    """Return a command for each supported version that is there, the running one included, in the order of versions."""
    found: dict[str, Path] = {}
    for version in SUPPORTED:
        if version == RUNNING:
            found[version] = Path(sys.executable)
        else:
            for python in _candidates(version):
                if _runs(python, version):
                    found[version] = python
    return found


def _candidates(version: str) -> Iterator[Path]:
    """Yield the commands that may be that version. The last that runs is taken: the newest of uv's, then pyenv's, then that of ``PATH``."""
    home = Path.home()
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or home / ".local/share/uv/python")
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv") / "versions"
    for folder, pattern in ((uv, f"cpython-{version}.*"), (pyenv, f"{version}.*")):
        for installed in sorted(folder.glob(pattern), key=_numbers):
            yield installed / "bin" / "python3"
    if on_path := shutil.which(f"python{version}"):
        yield Path(on_path)


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.name)]


def _runs(python: Path, version: str) -> bool:
    program = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def main() -> None:
    """Print a version and its command on each line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--others", action="store_true")
    parser.add_argument("versions", nargs="*")
    arguments = parser.parse_args()
    found = find_pythons()
    if missing := [version for version in arguments.versions if version not in found]:
        parser.error(f"{missing[0]} is not among the supported Pythons that are here: {', '.join(found)}")
    for version, python in found.items():
        wanted = version in arguments.versions if arguments.versions else True
        if wanted and not (arguments.others and version == RUNNING):
            print(version, python)


if __name__ == "__main__":
    main()
