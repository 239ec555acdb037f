"""The written files: formatted, stored, or compared with what is there."""

from __future__ import annotations

import ast
import difflib
import subprocess
import sys
import tempfile
from pathlib import Path

import attrs

from codegen._facts import GeneratorError
from codegen._python import HEADER

REPOSITORY = Path(__file__).parent.parent


def formatted(files: dict[str, str]) -> dict[str, str]:
    """Return *files* as ``ruff`` lays them out with the repository's settings."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for path, text in files.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_with_exports(path, text), "utf-8")
        settings = ["--config", str(REPOSITORY / "pyproject.toml"), "--no-cache", "--quiet"]
        first_party = "lint.isort.known-first-party=['mux_async']"
        _ruff(root, "check", "--select", "I,RUF022", "--fix", *settings, "--config", first_party)
        _ruff(root, "format", *settings)
        return {path: (root / path).read_text("utf-8") for path in sorted(files)}


def _with_exports(path: str, text: str) -> str:
    """Add ``__all__`` after the imports: the public definitions of a module; of a resource its classes, without their operations."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise GeneratorError(f"{path} is not Python: {error}") from error
    if path.endswith("__init__.py") or any(part.startswith("_") for part in path.split("/")) or "\n__all__ = " in text:
        return text
    names: list[str] = []
    imports_end = 0
    for node in tree.body:
        match node:
            case ast.Import() | ast.ImportFrom() | ast.If():
                imports_end = node.end_lineno or 0
            case ast.ClassDef(name=name):
                names.append(name)
            case ast.FunctionDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                if "/resources/" not in path:
                    names.append(name)
            case _:
                pass
    lines = text.splitlines(keepends=True)
    exports = [repr(name) for name in names if not name.startswith("_")]
    return "".join([*lines[:imports_end], f"\n__all__ = [{', '.join(exports)}]\n", *lines[imports_end:]])


def _ruff(root: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments, "."], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise GeneratorError(f"ruff {arguments[0]} does not take what was written:\n{(done.stderr + done.stdout)[:4000]}")


@attrs.frozen
class Drift:
    """How what is there differs from what would be written."""

    missing: tuple[str, ...]
    stale: tuple[str, ...]
    changed: dict[str, str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.stale or self.changed)

    def summary(self, lines_per_file: int = 12) -> str:
        """Say it in a screenful."""
        parts = [f"missing: {path}" for path in self.missing]
        parts += [f"stale: {path} (nothing generates it any more)" for path in self.stale]
        for path, difference in self.changed.items():
            lines = difference.splitlines()
            parts.append(f"differs: {path}")
            parts += [f"    {line}" for line in lines[2 : lines_per_file + 2]]
            if len(lines) > lines_per_file + 2:
                parts.append(f"    ... {len(lines) - lines_per_file - 2} more lines")
        return "\n".join(parts)


def compare(files: dict[str, str], root: Path = REPOSITORY) -> Drift:
    """Compare *files* with what is stored."""
    changed: dict[str, str] = {}
    missing: list[str] = []
    for path, text in sorted(files.items()):
        target = root / path
        if not target.exists():
            missing.append(path)
            continue
        there = target.read_text("utf-8")
        if there != text:
            difference = difflib.unified_diff(there.splitlines(), text.splitlines(), "stored", "generated", lineterm="", n=1)
            changed[path] = "\n".join(difference)
    return Drift(tuple(missing), tuple(_stale(files, root)), changed)


def _stale(files: dict[str, str], root: Path) -> list[str]:
    """Find generated files that are no longer written. Files without our header are somebody's own."""
    found: list[str] = []
    for folder in sorted({str(Path(path).parent) for path in files}):
        for path in sorted((root / folder).glob("*.py")):
            name = path.relative_to(root).as_posix()
            if name not in files and path.read_text("utf-8").startswith(HEADER):
                found.append(name)
    return found


def store(files: dict[str, str], root: Path = REPOSITORY) -> Drift:
    """Write what differs, and delete what is stale. Returns what was done."""
    drift = compare(files, root)
    for path in (*drift.missing, *drift.changed):
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(files[path], "utf-8")
    for path in drift.stale:
        (root / path).unlink()
    return drift
