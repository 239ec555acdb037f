"""HTML of values in notebooks. All text is escaped; nothing here trusts a value that came from the API."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def html_table(headings: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """Return a table. Cells are escaped; ``None`` is an empty cell."""
    parts = ["<table>", f"<caption>{escape(caption)}</caption>" if caption else ""]
    parts.append(f"<tr>{''.join(f'<th>{escape(each)}</th>' for each in headings)}</tr>")
    for row in rows:
        cells = ["" if each is None else escape(str(each)) for each in row]
        parts.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return "".join([*parts, "</table>"])
