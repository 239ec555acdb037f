"""Tables as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from benchmarks._contenders import REFERENCE
from benchmarks._report import HEADINGS, Table

_SHOWN = ("get/1", "get/100", "list/100", "create/100")
_COLOURS = {"mux_async": "#d6335c", "reference": "#4a5568", "other": "#a0aec0"}


def plot(tables: Sequence[Table], path: Path) -> None:
    """Draw CPU time per call as bars, on a scale of powers of ten, into an SVG; the same tables give the same bytes."""
    shown = [table for table in tables if table.work in _SHOWN]
    mpl.rcParams.update({"svg.hashsalt": "mux_async", "svg.fonttype": "none", "font.size": 8})
    rows = (len(shown) + 1) // 2
    figure, places = plt.subplots(rows, 2, figsize=(11, 3.4 * rows), squeeze=False, layout="constrained")
    for axes in places.flat[len(shown) :]:
        axes.axis("off")
    for axes, table in zip(places.flat, shown, strict=False):
        names = list(table.rows)[::-1]
        cells = [table.rows[name][0] for name in names]
        colours = [_COLOURS["mux_async" if name.startswith("mux_async") else "other"] for name in names]
        if REFERENCE in names:
            colours[names.index(REFERENCE)] = _COLOURS["reference"]
        bars = axes.barh(names, [cell.median for cell in cells], color=colours)
        axes.bar_label(bars, [f"{cell.ratio:.2f} x" if cell.ratio is not None else "" for cell in cells], padding=2)
        axes.set(xscale="log", title=table.title, xlabel=HEADINGS[table.measures[0]])
        axes.margins(x=0.12)
        axes.spines[["top", "right"]].set_visible(False)
    drawn: Any = figure  # what it says of `savefig` is not complete
    drawn.savefig(path, format="svg", metadata={"Date": None})
