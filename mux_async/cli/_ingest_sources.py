"""The arguments of ``mux-async ingest``: sources, journal, saved options, and the items that earlier runs finished."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import attrs

from mux_async.cli._input import read_standard_input
from mux_async.errors import InvalidRequestError
from mux_async.ingest import Dedup, Journal, JournalSummary, Manifest, ManifestForm, OnBadLine, Plan, Stage, make_plan
from mux_async.ingest._file_types import MANIFEST_SUFFIXES
from mux_async.ingest._journal import store_of

STDIN = "-"
SUFFIX = ".mux-journal"


@attrs.frozen
class Sources:
    """The sources that the user named, and options of `make_plan`."""

    names: Sequence[str]
    """Files, folders, patterns, URLs, and ``-`` for a list on standard input."""
    manifests: Sequence[Path]
    form: ManifestForm
    """Format of the list on standard input; ``null`` applies to plain lists in files too."""
    glob: str | None
    dedup: Dedup
    on_bad_line: OnBadLine
    encoding: str | None = None
    allow_private: bool = False

    def plan(self) -> Plan:
        """Make the plan. Raises the errors of `make_plan`, and `InvalidRequestError` if a list is not text."""
        files = [path for path in self.manifests if str(path) != STDIN]
        lists = [self._null_ended(path) if self.form == "null" else path for path in files]
        if STDIN in self.names or len(files) < len(self.manifests):
            lists.append(Manifest.from_bytes(read_standard_input(), self.form, name="standard input", encoding=self.encoding))
        names = [name for name in self.names if name != STDIN]
        return make_plan(
            names,
            manifest=lists,
            glob=self.glob,
            encoding=self.encoding,
            dedup=self.dedup,
            on_bad_line=self.on_bad_line,
            allow_private=self.allow_private,
        )

    def _null_ended(self, path: Path) -> Path | Manifest:
        is_plain = MANIFEST_SUFFIXES.get(path.suffix.lower(), "lines") == "lines"
        return Manifest.read(path, form="null", encoding=self.encoding) if is_plain else path

    def journal(self) -> Path:
        """Return the name of the journal, in the working directory: the same for the same sources."""
        names = [*self.names, *map(str, self.manifests)]
        first = "stdin" if names[0] == STDIN else Path(names[0].partition("?")[0]).resolve().name
        stem = re.sub(r"[^\w.-]+", "-", first).strip("-.") or "ingest"
        if len(names) > 1:
            # Independent of the order. A collision does no harm: a journal may have items of other sources.
            mark = hashlib.blake2b("\0".join(sorted(names)).encode(errors="replace"), digest_size=3).hexdigest()
            stem += f"-and-{len(names) - 1}-more-{mark}"
        return Path(stem[:120] + SUFFIX)


def journal_keys(journal: Journal, plan: Plan) -> list[str]:
    """Return the keys of a plan's items in the journal; a journal of an earlier version may have different ones."""
    return store_of(journal).stored_keys(plan.items)


@attrs.frozen
class EarlierRuns:
    """The keys of a plan's items that earlier runs processed."""

    done: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    begun: frozenset[str] = frozenset()
    """Created, and neither ready nor failed."""

    @classmethod
    def of(cls, journal: Journal, plan: Plan) -> EarlierRuns:
        """Read them from *journal*."""
        # Keeps the plan's strings, not a second copy of a hundred thousand keys.
        keys = {key: key for key in journal_keys(journal, plan)}
        found: dict[str, list[str]] = {"done": [], "failed": [], "begun": []}
        for entry in journal.entries(superseded=True):
            key = keys.get(entry.key)
            if key is not None and entry.stage not in {Stage.PLANNED, Stage.CREATING}:
                place = "done" if entry.stage is Stage.DONE else "failed" if entry.stage is Stage.DEAD else "begun"
                found[place].append(key)
        return cls(**{name: frozenset(keys) for name, keys in found.items()})


@attrs.frozen
class SavedOptions:
    """Options of an ingest that are stored in its journal, so that the next run uses the same."""

    base_url: str
    policies: tuple[str, ...]
    test: bool

    @classmethod
    def merge(
        cls, stored: Mapping[str, object], *, base_url: str, policies: Sequence[str] | None, test: bool, journal: Path
    ) -> SavedOptions:
        """Return the stored options, replaced by those that were given now. The journal must belong to the same server."""
        begun_at = stored.get("base_url", base_url)
        if begun_at != base_url:
            raise InvalidRequestError(
                f"the journal {str(journal)!r} belongs to {begun_at}, and this run is for {base_url}: name another one (--journal)"
            )
        kept = stored.get("policies")
        before = tuple(cast("list[str]", kept)) if isinstance(kept, list) else ("public",)
        return cls(base_url, tuple(policies) if policies else before, test or stored.get("test") is True)

    def to_dict(self) -> dict[str, object]:
        """Return JSON members."""
        return {"base_url": self.base_url, "policies": list(self.policies), "test": self.test}


def summarize(summary: JournalSummary) -> list[tuple[str, int]]:
    """Return the counts of a journal, with their names."""
    return [("ready", summary.done), ("failed", summary.dead), ("unfinished", summary.begun), ("not started", summary.planned)]
