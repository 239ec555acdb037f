"""What an ingest on the command line is about: its sources, its journal, and what was done before."""

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
from mux_async.ingest._item_queue import enrolment
from mux_async.ingest._journal import store_of

STDIN = "-"
SUFFIX = ".mux-journal"


@attrs.frozen
class Sources:
    """What the user named.

    Attributes:
        names: Files, folders, patterns, URLs, and ``-`` for a list on standard input.
        manifests: Lists of them.
        form: How the list on standard input is written; ``null`` is of plain lists in files too.
        glob: Names of files to take from folders.
        dedup: What counts as the same.
        on_bad_line: What becomes of the others when something is wrong.
        encoding: Of the text of lists; ``None`` for what their bytes say.
        allow_private: Whether lists may name files by URL, and private addresses.
    """

    names: Sequence[str]
    manifests: Sequence[Path]
    form: ManifestForm
    glob: str | None
    dedup: Dedup
    on_bad_line: OnBadLine
    encoding: str | None = None
    allow_private: bool = False

    def plan(self) -> Plan:
        """Find out what is to be ingested.

        Raises:
            PlanError: See `make_plan`.
            InvalidRequestError: A list is not text.
        """
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
            # Which ones they are matters as little as their order: a journal that has other items too does no harm.
            mark = hashlib.blake2b("\0".join(sorted(names)).encode(errors="replace"), digest_size=3).hexdigest()
            stem += f"-and-{len(names) - 1}-more-{mark}"
        return Path(stem[:120] + SUFFIX)


def journal_keys(journal: Journal, plan: Plan) -> list[str]:
    """Return the keys that the journal has for the items of a plan: those of an earlier version's may be others."""
    return store_of(journal).keys([enrolment(item) for item in plan.items])


@attrs.frozen
class Before:
    """How the items of a plan stood before a run.

    Attributes:
        done: Keys of those that were ready.
        failed: Keys of those that had failed.
        begun: Keys of those that have been created and are neither.
    """

    done: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    begun: frozenset[str] = frozenset()

    @classmethod
    def of(cls, journal: Journal, plan: Plan) -> Before:
        """Look them up."""
        # The plan's own strings are kept, and not a second copy of a hundred thousand keys.
        keys = {key: key for key in journal_keys(journal, plan)}
        found: dict[str, list[str]] = {"done": [], "failed": [], "begun": []}
        for entry in journal.entries(superseded=True):
            key = keys.get(entry.key)
            if key is not None and entry.stage not in {Stage.PLANNED, Stage.CREATING}:
                place = "done" if entry.stage is Stage.DONE else "failed" if entry.stage is Stage.DEAD else "begun"
                found[place].append(key)
        return cls(**{name: frozenset(keys) for name, keys in found.items()})


@attrs.frozen
class Options:
    """What all items of an ingest have in common, kept in its journal: who goes on with it gets the same.

    Attributes:
        base_url: The server.
        policies: Playback policies.
        test: Whether test assets are made.
    """

    base_url: str
    policies: tuple[str, ...]
    test: bool

    @classmethod
    def settle(
        cls, stored: Mapping[str, object], *, base_url: str, policies: Sequence[str] | None, test: bool, journal: Path
    ) -> Options:
        """Return what the journal has, but for what was said now.

        Raises:
            InvalidRequestError: The journal is of another server: what is done there is not done here.
        """
        begun_at = stored.get("base_url", base_url)
        if begun_at != base_url:
            raise InvalidRequestError(
                f"the journal {str(journal)!r} is of {begun_at}, and this run is for {base_url}: name another one (--journal)"
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
