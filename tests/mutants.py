"""Mutation testing of the pure modules: ``make mutants``, or ``python -m tests.mutants [MODULE ...]`` for some of them.

mutmut breaks a module in one place after the other, and runs the tests named here for it. What survives is shown, and argued in
docs/decisions/mutants.md. Each module runs in a copy of the tree, with the fast tests that state what it promises: of the others, some
wait for real time, and all of them would run for each survivor.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TREE = Path(__file__).parent.parent
COPIED = ("mux_async", "transports", "codegen", "tests", "README.md", "pyproject.toml")
MOST = 0.05
"""Share of a module's mutants that may survive."""
PLUGINS = ("pytest_asyncio.plugin", "pytest_timeout", "anyio.pytest_plugin", "no:unraisableexception", "no:threadexception")
"""What the tests need of pytest: starting it is most of what a mutant costs, and with every plugin there is it takes four times as long."""
MODULES = {
    "mux_async/_retry.py": ["tests/engine/test_retry.py"],
    "mux_async/_classify.py": ["tests/engine/test_retry.py"],
    "mux_async/webhooks/_signature.py": ["tests/webhooks/test_signature_steps.py"],
    "mux_async/limits/_token_bucket.py": ["tests/limits/test_token_bucket.py"],
    "mux_async/_pagination.py": ["tests/engine/test_pagination.py"],
    "mux_async/uploads/machine.py": ["tests/uploads/test_machine.py"],
    "mux_async/ingest/machine.py": ["tests/ingest/test_machine.py"],
    "mux_async/_idempotency/search.py": ["tests/engine/test_once_search.py"],
    "mux_async/_idempotency/guard.py": ["tests/engine/test_once_guard.py"],
}
CHOSEN = "not trio and not uvloop and not any_history"
"""Tests that run, as an expression of pytest: one event loop is enough here, and a test of properties takes seconds."""
_CAST = re.compile(r'\bcast\((?:None|"[^"]*"), ')
SETTINGS = """
[mutmut]
source_paths=
    mux_async
only_mutate=
    {module}
also_copy=
    transports
    codegen
    README.md
pytest_add_cli_args=
    -q
    -k
    {chosen}
    {plugins}
pytest_add_cli_args_test_selection=
    {tests}
track_dependencies=false
"""


def run(module: str, tests: list[str], children: int) -> bool:
    """Run the mutants of *module*, print how many survive, and which. Return whether they are few enough."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as place:
        for name in COPIED:
            if (TREE / name).is_dir():
                shutil.copytree(TREE / name, Path(place, name), ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(TREE / name, place)
        plugins = [argument for plugin in (*PLUGINS, "no:cacheprovider") for argument in ("-p", plugin)]
        settings = SETTINGS.format(module=module, chosen=CHOSEN, plugins="\n    ".join(plugins), tests="\n    ".join(tests))
        Path(place, "setup.cfg").write_text(settings)

        def mutmut(*arguments: str) -> str:
            done = subprocess.run(
                [sys.executable, "-m", "mutmut", *arguments],
                cwd=place,
                env={**os.environ, "PYTHONPATH": f"{place}/transports", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
            if done.returncode:
                sys.exit(f"{module}: mutmut {arguments[0]} failed:\n{done.stdout[-2000:]}")
            return done.stdout

        mutmut("run", "--max-children", str(children))
        status = dict(line.strip().rsplit(": ", 1) for line in mutmut("results", "--all", "true").splitlines() if ": " in line)
        shown = [mutmut("show", name) for name, came_to in status.items() if came_to not in {"killed", "timeout"}]
        alive = [change for change in shown if not is_of_types(change)]
        print(*alive, sep="\n")
        count, casts = len(status), len(shown) - len(alive)
        print(
            f"{module}: {len(alive)} of {count} survive, {len(alive) / max(1, count):.1%}; besides, {casts} of type casts",
            flush=True,
        )
        return bool(status) and len(alive) < MOST * count


def is_of_types(change: str) -> bool:
    """Whether a change is of the type that `typing.cast` is given, which does nothing when the code runs."""
    lines = {
        mark: [_CAST.sub("cast(", line[1:]) for line in change.splitlines() if re.match(rf"\{mark}\s", line)] for mark in "+-"
    }
    return bool(lines["-"]) and lines["-"] == lines["+"]


def main() -> None:
    unknown = set(sys.argv[1:]) - MODULES.keys()
    if unknown:
        sys.exit(f"no tests are named for {', '.join(sorted(unknown))}; there are some for {', '.join(MODULES)}")
    results = [run(module, MODULES[module], len(os.sched_getaffinity(0))) for module in sys.argv[1:] or MODULES]
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
