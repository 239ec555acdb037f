"""Write the tables that map the operations of Mux's own SDKs to those of this one.

``python -m tools.client_tables`` (or ``make tables``) writes the table of ``docs/from-mux-python.md``, from the installed ``mux_python``,
and that of ``docs/from-mux-node.md``, from the names in ``codegen/facts/mux-api.json``. Operations are matched by verb and path. A test
fails when a table is not up to date.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import attrs

from mux_async._operation_index import operations_by_id
from tools.sources import ROOT

PYTHON_PAGE: Final = ROOT / "docs" / "from-mux-python.md"
NODE_PAGE: Final = ROOT / "docs" / "from-mux-node.md"
FACTS: Final = ROOT / "codegen" / "facts" / "mux-api.json"
START: Final = "<!-- operations: written by `make tables` -->\n"
END: Final = "<!-- end of operations -->\n"

_CLASS: Final = re.compile(r"^class (\w+Api)\(", re.MULTILINE)
_OPERATION: Final = re.compile(r"def (\w+)_with_http_info\(.*?call_api\(\s*'([^']+)', '(\w+)'", re.DOTALL)


@attrs.frozen
class Row:
    """An operation of another SDK: the class or group it is in, its name, and its id here."""

    group: str
    name: str
    ours: str


def _route(verb: str, path: str) -> str:
    """Return verb and path, with parameters of any name alike."""
    return f"{verb.upper()} {re.sub(r'{[^}]*}', '{}', path)}"


def _ours_by_route() -> Mapping[str, str]:
    return {_route(each.method, each.path): each.id for each in operations_by_id().values()}


def python_rows() -> list[Row]:
    """Return every operation of the installed ``mux_python``, by class.

    Raises:
        KeyError: An operation has no counterpart here.
    """
    spec = find_spec("mux_python")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("mux_python is not installed: pip install mux-python")
    ours = _ours_by_route()
    rows: list[Row] = []
    for file in sorted((Path(spec.origin).parent / "api").glob("*_api.py")):
        text = file.read_text("utf-8")
        (group,) = _CLASS.findall(text)
        rows += [Row(group, name, ours[_route(verb, path)]) for name, path, verb in _OPERATION.findall(text)]
    return rows


def camel(name: str) -> str:
    """Return *name* as JavaScript writes it: ``live_streams`` is ``liveStreams``."""
    first, *rest = name.split("_")
    return first + "".join("MP4" if word == "mp4" else word.capitalize() for word in rest)


def node_rows() -> list[Row]:
    """Return every operation that Mux's Node SDK 15.3 has, by its resource."""
    ours = _ours_by_route()
    rows: list[Row] = []
    for path, verbs in json.loads(FACTS.read_text("utf-8"))["paths"].items():
        for verb, operation in verbs.items():
            if operation.get("x-source") != "node-15.3" or operation.get("x-legacy"):
                continue
            group = ".".join(camel(part) for part in operation["x-group"].split("."))
            rows.append(Row(group, camel(operation["x-operation"]), ours[_route(verb, path)]))
    return rows


def table(rows: list[Row], title: str, client: str) -> str:
    """Return *rows* as a table; *client* stands before the group."""
    lines = [f"| {title} | here |", "| --- | --- |"]
    lines += [f"| `{client}{row.group}.{row.name}` | `mux.{row.ours}` |" for row in rows]
    return "\n".join(lines) + "\n"


def page_with_table(page: str, rows: str) -> str:
    """Return the text of a page with *rows* between its two marks."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{rows}\n{END}{after}"


def pages() -> dict[Path, str]:
    """Return both pages as they should be."""
    return {
        PYTHON_PAGE: page_with_table(PYTHON_PAGE.read_text("utf-8"), table(python_rows(), "`mux_python`", "")),
        NODE_PAGE: page_with_table(NODE_PAGE.read_text("utf-8"), table(node_rows(), "`@mux/mux-node`, `@mux/ts`", "client.")),
    }


if __name__ == "__main__":
    for page, text in pages().items():
        page.write_text(text, "utf-8")
