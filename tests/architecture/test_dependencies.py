"""Dependencies: bounds leave out releases with known holes, and what is installed for development is pinned with hashes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = sorted(ROOT.glob("requirements-*.lock"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [
    Requirement(text)
    for text in (*PROJECT["dependencies"], *(each for extra in PROJECT["optional-dependencies"].values() for each in extra))
]
HOLES = {
    "aiohttp": ["3.12", "3.12.13", "3.13.0", "3.13.2", "3.14.0", "3.14.2"],
    "cryptography": ["43.0.0", "46.0.4", "46.0.6"],
    "h11": ["0.14.0", "0.15.0"],
    "orjson": ["3.10.0", "3.11.4"],
    "pyjwt": ["2.9.0", "2.11.0"],
}
"""Releases with published holes."""


def pins(path: Path) -> dict[str, tuple[str, int]]:
    """Return version and number of hashes of each package of a lock file."""
    found: dict[str, tuple[str, int]] = {}
    for entry in re.split(r"\n(?=\S)", path.read_text().strip()):
        match = re.match(r"([A-Za-z0-9._-]+)==(\S+)", entry)
        assert match is not None, f"{path.name}: {entry[:60]!r} is not a pin"
        found[str(canonicalize_name(match[1]))] = match[2], len(re.findall(r"--hash=sha256:[0-9a-f]{64}", entry))
    return found


@pytest.mark.parametrize("name", HOLES)
def test_known_holes(name: str) -> None:
    """No release with a known hole is allowed, and one without is."""
    requirements = [each for each in REQUIREMENTS if each.name == name]
    version, _ = pins(ROOT / "requirements-dev.lock")[name]

    assert requirements
    for requirement in requirements:
        assert not [hole for hole in HOLES[name] if requirement.specifier.contains(hole)]
        assert requirement.specifier.contains(version)


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_hashes(path: Path) -> None:
    """Every package of a lock file has hashes of its files, and no registry is named."""
    assert not [name for name, (_, hashes) in pins(path).items() if not hashes]
    assert "://" not in path.read_text()


def test_locks_agree() -> None:
    """The lock file holds what development needs, in the versions of constraints.txt."""
    locked: dict[str, str] = {name: version for name, (version, _) in pins(ROOT / "requirements-dev.lock").items()}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    constrained = {
        str(canonicalize_name(name)): version for name, _, version in (line.split(" ")[0].partition("==") for line in lines)
    }
    needed = [
        Requirement(line.split(" #")[0]).name
        for line in (ROOT / "requirements-dev.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]

    assert not {canonicalize_name(name) for name in (*needed, *(each.name for each in REQUIREMENTS))} - {*locked, "mux-async"}
    assert not {name for name in locked.keys() & constrained.keys() if locked[name] != constrained[name]}


def test_the_lowest_are_the_lowest() -> None:
    """The lock file of the lowest versions holds the lower bound of every dependency."""
    lowest = pins(ROOT / "requirements-lowest.lock")
    for requirement in REQUIREMENTS:
        bounds = [each.version for each in requirement.specifier if each.operator == ">="]
        if requirement.name != "mux-async":
            found = lowest[canonicalize_name(requirement.name)][0]
            assert re.sub(r"(\.0)+$", "", found) == re.sub(r"(\.0)+$", "", bounds[0]), requirement
