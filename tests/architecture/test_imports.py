"""The house rules about who may know whom, read off the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Set
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "mux_async"

HTTP_LIBRARIES = {"aiohttp", "httpx", "httpx2", "httpcore", "requests", "urllib3"}
MAY_NAME_HTTP = {"emulator", "testing", "cli"}
"""They sit on top, and serve or fake HTTP."""
SERVES_IN_A_FRAMEWORK = "webhooks/aiohttp_web.py"
"""An adapter to a web framework that happens to be a client too; nothing imports it but who uses that framework."""
MAY_NAME_A_LOOP = {
    "transport.py",
    "_per_loop.py",
    "_leader.py",
    "testing",
    "emulator",
    "cli",
    "ingest/dbos/_context.py",
    "ingest/dbos/_worker.py",
}
"""The core speaks anyio. `transport.py` tells the loops apart, `_per_loop.py` closes what they leave, and every paced request pays for
`_leader`; DBOS is asyncio's; the others sit at the edge, where a loop is started."""


def modules(but: Collection[str] = ()) -> list[Path]:
    return sorted(
        path for path in CORE.rglob("*.py") if not {path.relative_to(CORE).parts[0], str(path.relative_to(CORE))} & set(but)
    )


def imports(tree: ast.AST, *, at_import_time: bool) -> Iterator[str]:
    """Yield imported module names; with *at_import_time*, leave out functions and ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if at_import_time:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            module = node.module or ""
            yield module
            if module in {"mux_async", "mux_async.cli"}:
                yield from (f"{module}.{alias.name}" for alias in node.names)
        else:
            yield from imports(node, at_import_time=at_import_time)


@cache
def all_imports(path: Path) -> tuple[str, ...]:
    """Return the modules that a file imports, inside functions too."""
    return tuple(imports(ast.parse(path.read_text()), at_import_time=False))


def importers(paths: Iterable[Path], libraries: Set[str]) -> list[str]:
    """Return what of *libraries* the modules import, inside functions too: ``path: name`` each."""
    return [
        f"{path.relative_to(ROOT)}: {name}" for path in paths for name in all_imports(path) if name.split(".")[0] in libraries
    ]


def test_core_names_no_http_library() -> None:
    """The core knows no HTTP library; the emulator's server, the testing shims and the command line may."""
    assert importers(modules(but={*MAY_NAME_HTTP, SERVES_IN_A_FRAMEWORK}), HTTP_LIBRARIES) == []


def test_core_speaks_anyio() -> None:
    """asyncio and trio are named only where a loop is identified or started."""
    assert importers(modules(but=MAY_NAME_A_LOOP), {"asyncio", "trio", "uvloop"}) == []


@pytest.mark.parametrize("package", ["mux_async_aiohttp", "mux_async_httpx"])
def test_adapters_use_public_names_only(package: str) -> None:
    """An adapter needs nothing of the core that a third party's adapter could not use."""
    for path in sorted((ROOT / "transports" / package).rglob("*.py")):
        for name in all_imports(path):
            assert not any(part.startswith("_") for part in name.split(".")[1:]) or not name.startswith("mux_async."), name


def loaded_after(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(*sys.modules)"
    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    return set(printed.stdout.split())


def test_importing_brings_no_http_library() -> None:
    """``import mux_async`` imports no HTTP library; choosing a transport does, when the client is made."""
    loaded = loaded_after("import mux_async; mux_async.Mux")

    assert not loaded & HTTP_LIBRARIES


def test_importing_is_lean() -> None:
    """``import mux_async`` loads no resource, no model and no cattrs: those come with their first use."""
    loaded = loaded_after("import mux_async; mux_async.Mux")

    assert not {
        name for name in loaded if name.startswith(("mux_async.resources", "mux_async.models.", "cattrs", "typer", "rich"))
    }


def test_webhooks_bring_no_framework() -> None:
    """``import mux_async.webhooks`` imports no web framework and no client of a store."""
    loaded = loaded_after("import mux_async.webhooks")

    assert not loaded & {*HTTP_LIBRARIES, "django", "litestar", "quart", "redis", "starlette"}
