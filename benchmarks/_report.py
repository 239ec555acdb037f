"""Samples into tables: medians, and ratios to the reference as medians of the ratios within each round."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import attrs

from benchmarks._contenders import REFERENCE
from benchmarks._run import Sample

COLUMNS = {
    "get/1": ("GET of an asset, one after the other", ("cpu_us", "p50_us")),
    "get/100": ("GET of an asset, 100 at a time", ("cpu_us", "rate")),
    "list/1": ("List of 100 assets, one after the other", ("cpu_us", "p50_us")),
    "list/100": ("List of 100 assets, 100 at a time", ("cpu_us", "rate")),
    "list_ascii/1": ("List of 100 assets with texts of ASCII alone, one after the other", ("cpu_us", "p50_us")),
    "list_ascii/100": ("List of 100 assets with texts of ASCII alone, 100 at a time", ("cpu_us", "rate")),
    "create/1": ("POST of an asset, one after the other", ("cpu_us", "p50_us")),
    "create/100": ("POST of an asset, 100 at a time", ("cpu_us", "rate")),
    "first": ("From the first import to the first answer", ("cpu_ms", "ms")),
    "memory": ("Memory: after one answer, and of each of 10,000 assets held", ("idle_mb", "per_asset_kb")),
}
HEADINGS = {
    "cpu_us": "CPU, µs per call",
    "p50_us": "p50, µs",
    "rate": "calls a second",
    "cpu_ms": "CPU, ms",
    "ms": "wall, ms",
    "idle_mb": "idle, MB",
    "per_asset_kb": "per asset, kB",
}


@attrs.frozen
class Cell:
    """The median of a measure, and its ratio to the reference's, where that was measured."""

    median: float
    ratio: float | None

    def __str__(self) -> str:
        digits = 0 if self.median >= 100 else 1 if self.median >= 10 else 2
        return f"{self.median:,.{digits}f}" + (f" ({self.ratio:.2f} x)" if self.ratio is not None else "")


@attrs.frozen
class Table:
    """One piece of work: measures by contender, those of the reference first, then in order of the first measure."""

    work: str
    title: str
    measures: tuple[str, ...]
    rows: dict[str, tuple[Cell, ...]]


def tables(samples: Sequence[Sample]) -> list[Table]:
    """Return a table for each piece of work there are samples of."""
    found: list[Table] = []
    for work, (title, measures) in COLUMNS.items():
        by_name: dict[str, list[Sample]] = {}
        for sample in samples:
            if sample.work == work:
                by_name.setdefault(sample.contender, []).append(sample)
        base = by_name.get(REFERENCE)
        rows = {name: tuple(_cell(mine, base, measure) for measure in measures) for name, mine in by_name.items()}
        if rows:
            found.append(Table(work, title, measures, dict(sorted(rows.items(), key=lambda row: row[1][0].median))))
    return found


def _cell(mine: Sequence[Sample], base: Sequence[Sample] | None, measure: str) -> Cell:
    values = [one.values[measure] for one in mine]
    if base is None:
        return Cell(statistics.median(values), None)
    return Cell(
        statistics.median(values),
        statistics.median(one / other.values[measure] for one, other in zip(values, base, strict=False)),
    )


def server_shares(samples: Sequence[Sample]) -> dict[str, float]:
    """Return how busy the server would be, as a share of its core, if a contender kept a whole core busy: the most in any work.

    It is the server's CPU time per call over the contender's. Near 1, the contender would have waited for the server.
    """
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        if "calls" in sample.values:
            groups.setdefault((sample.contender, sample.work), []).append(sample)
    shares: dict[str, float] = {}
    for (name, _), group in groups.items():
        served = sum(one.values["server_cpu_s"] for one in group) / sum(one.values["calls"] for one in group) * 1e6
        share = served / statistics.median(one.values["cpu_us"] for one in group)
        shares[name] = max(share, shares.get(name, 0.0))
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def markdown(found: Sequence[Table]) -> str:
    """Write the tables down, this client's rows in bold."""
    parts: list[str] = []
    for table in found:
        heading = " | ".join(HEADINGS[name] for name in table.measures)
        lines = [f"### {table.title}", "", f"| | {heading} |", f"| --- |{' ---: |' * len(table.measures)}"]
        for name, cells in table.rows.items():
            shown = f"**{name}**" if name.startswith("mux_async") else name
            lines.append(f"| {shown} | {' | '.join(map(str, cells))} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def text(table: Table) -> str:
    """Write one table down for a terminal."""
    lines = [f"\n{table.title}", " " * 30 + "".join(f"{HEADINGS[name]:>24}" for name in table.measures)]
    lines += [f"  {name:28}" + "".join(f"{cell!s:>24}" for cell in cells) for name, cells in table.rows.items()]
    return "\n".join(lines)
