"""The layers of the packages, and the picture of them in CONTRIBUTING.md.

``python -m tools.layers`` (or ``make layers``) draws the picture from the imports; tests fail when it is not up to date, when a module
imports from a layer above its own, and when modules import each other in a circle. All imports count, also those inside functions and under
``TYPE_CHECKING``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from typing import Final

from tools.sources import ROOT, modules

LAYERS: Final[Mapping[str, tuple[str, ...]]] = {
    "Foundations": (
        "_checks", "_explain", "_forks", "_html_table", "_journal_errors", "_lazy_exports", "_leader", "_lease", "_listeners", "_logging",
        "_names", "_operation", "_per_loop", "_poll_schedule", "_redis", "_setting_text", "_sqlite", "_store_url",
        "_text_encoding", "_time_spans", "_tracebacks", "_types", "_version", "drift", "errors", "events",
        "transport",
        "transport_errors",
    ),
    "Models and playback URLs": ("_models", "models", "params", "playback"),
    "Signing": ("signing",),
    "Webhooks": ("webhooks",),
    "Rate limits": ("limits",),
    "Parts of a call": (
        "_classify", "_config", "_content", "_list_cycles", "_misspelt", "_options", "_pagination", "_response",
        "_retry", "_transports",
    ),
    "Path of a request": (
        "_arguments", "_call", "_engine", "_idempotency", "_observer", "_recovery", "_resource", "_single_flight",
        "_strict", "_wire",
    ),
    "Waiting": ("_goals", "_poller", "_webhook_stream", "_webhook_updates"),
    "Resources": ("_operation_index", "resources"),
    "Live streams": ("live",),
    "Uploads and bulk changes": ("bulk", "uploads"),
    "Client": ("_client", "health", "otel", "recorder", "__init__"),
    "Ingest": ("ingest",),
    "Emulator": ("emulator",),
    "Testing and command line": ("cli", "testing"),
    "Transports": ("mux_async_aiohttp", "mux_async_httpx"),
}  # fmt: skip
"""From the bottom up, with the top-level modules and packages of each layer. A module imports from its own layer and those before it."""

START: Final = "<!-- layers: written by `make layers` -->\n"
END: Final = "<!-- end of layers -->\n"
PAGE: Final = ROOT / "CONTRIBUTING.md"


def top_level(module: str) -> str:
    """Return the top-level module or package of ``mux_async`` that a module belongs to, or the name of an adapter's package."""
    package, _, rest = module.partition(".")
    return package if package != "mux_async" else rest.partition(".")[0] or "__init__"


def layer_of(module: str) -> str | None:
    """Return the layer of a module; ``None`` if `LAYERS` does not name its top-level module."""
    return next((layer for layer, names in LAYERS.items() if top_level(module) in names), None)


def imported(source: str, known: Iterable[str]) -> Iterator[str]:
    """Yield the modules among *known* that *source* imports, at any depth.

    ``from package import name`` imports the module ``package.name`` if there is one, else ``package``. The packages above an imported
    module do not count: an ``__init__`` that re-exports its submodules is a circle only if a submodule imports the package itself.
    """
    names = set(known)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                if module in names:
                    yield module
                elif node.module in names:
                    yield node.module


@cache
def import_graph() -> dict[str, set[str]]:
    """Return the modules that each module imports."""
    paths = modules()
    return {name: set(imported(path.read_text("utf-8"), paths)) - {name} for name, path in paths.items()}


def circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Return a circle of nodes, its first one also at its end; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def edges() -> dict[str, set[str]]:
    """Return the layers below that each layer imports, without those that it also reaches through another layer."""
    order = list(LAYERS)
    direct: dict[str, set[str]] = {layer: set() for layer in LAYERS}
    for module, others in import_graph().items():
        layer = layer_of(module)
        if layer is not None:
            below = order[: order.index(layer)]
            direct[layer] |= {found for each in others if (found := layer_of(each)) in below and found}

    def reachable(layer: str) -> set[str]:
        return {each for other in direct[layer] for each in (other, *reachable(other))}

    return {
        layer: {each for each in others if not any(each in reachable(other) for other in others)}
        for layer, others in direct.items()
    }


def picture() -> str:
    """Return the picture as a Mermaid diagram."""
    ids = {layer: f"l{number}" for number, layer in enumerate(LAYERS)}
    lines = ["```mermaid", "flowchart TD"]
    for layer, names in LAYERS.items():
        text = " ".join(name for name in names if name != "__init__")
        lines.append(f'    {ids[layer]}["<b>{layer}</b><br>{text}"]')
    for layer, others in edges().items():
        lines += [f"    {ids[layer]} --> {ids[other]}" for other in LAYERS if other in others]
    return "\n".join([*lines, "```", ""])


def page_with_picture(page: str) -> str:
    """Return the text of CONTRIBUTING.md with the current picture."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}{picture()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page_with_picture(PAGE.read_text("utf-8")), "utf-8")
