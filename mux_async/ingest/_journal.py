"""The journal of an ingest: the state of each item, in one file that survives crashes.

::

    with Journal.open("films.journal") as journal:
        print(journal.summary())
        journal.retry()
        await Ingest(mux, items, journal=journal).run()

The runner writes the intent before every step and the outcome after it. An intent is on disk before its request is sent; outcomes are
written with the next transaction, and a lost one is looked up at Mux. The journal contains no URL, token or upload address: the next run
passes the items again, and they are matched by key.

Any number of runs, in processes of one machine, may share a journal: each item is processed by one of them, which has a lease (`_lease`) as
long as its process lives. The items of a killed run are continued by the others, or by the next run.

Methods block briefly. In an event loop, call those that read all items in a thread.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

import attrs

from mux_async.ingest._journal_store import JournalStore
from mux_async.ingest._runs import is_alive
from mux_async.ingest.machine import ItemError, Stage

if TYPE_CHECKING:
    from typing import Self


@attrs.frozen
class JournalSummary:
    """The number of items in each stage.

    Attributes:
        stages: Number of items by stage; empty stages are left out.
        size: Bytes of all files.
        size_done: Bytes of the files that became assets.
        runs: Runs that use the journal now, in this process or others.
    """

    stages: Mapping[Stage, int]
    size: int
    size_done: int
    runs: int

    @property
    def total(self) -> int:
        """Number of items."""
        return sum(self.stages.values())

    @property
    def done(self) -> int:
        """Items that became assets."""
        return self.stages.get(Stage.DONE, 0)

    @property
    def dead(self) -> int:
        """Items that failed and were not retried."""
        return self.stages.get(Stage.DEAD, 0)

    @property
    def planned(self) -> int:
        """Items that were not begun."""
        return self.stages.get(Stage.PLANNED, 0)

    @property
    def begun(self) -> int:
        """Items that were begun and are not finished."""
        return self.total - self.done - self.dead - self.planned


@attrs.frozen
class JournalEntry:
    """One item of the journal.

    Attributes:
        key: Of the item; the asset's ``meta.external_id``.
        source: The path, or the URL without its query.
        stage: Its stage.
        size: Bytes of the file; ``None`` for URLs.
        upload_id: The upload; ``None`` for URLs and before it was created.
        asset_id: The asset, once known; also of a dead item that has one.
        former: Failed assets of earlier tries.
        playback_ids: Policy by playback id, of a finished item.
        duration: Seconds of media, of a finished item.
        seconds: Duration of its processing in the run that finished it; ``None`` before.
        changed_at: When its stage last changed, in seconds since 1970 by this machine's clock.
        error: Why it is dead.
    """

    key: str
    source: str
    stage: Stage
    size: int | None
    upload_id: str | None
    asset_id: str | None
    former: tuple[str, ...]
    playback_ids: Mapping[str, str]
    duration: float | None
    seconds: float | None
    changed_at: float
    error: ItemError | None


class Journal:
    """An open journal. Create one with `open`, or with `in_memory` for a run that is not resumed."""

    def __init__(self, store: JournalStore) -> None:
        self._store = store

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, create: bool = True) -> Self:
        """Open a journal file, on a disk of this machine. While it is in use, there are files with its name and a suffix beside it.

        Args:
            path: The file.
            create: Whether to create a missing file.

        Raises:
            JournalError: It cannot be read or written, is damaged, has a newer version, or is not a journal; the message says what to do.
        """
        return cls(JournalStore(Path(path), create=create))

    @classmethod
    def in_memory(cls) -> Self:
        """Return a journal without a file."""
        return cls(JournalStore(None))

    @property
    def path(self) -> Path | None:
        """The file; ``None`` for one in memory."""
        return self._store.path

    def summary(self) -> JournalSummary:
        """Count the items, without superseded ones (see `entries`)."""
        rows = self._store.counts()
        return JournalSummary(
            stages={Stage(stage): count for stage, count, _ in rows},
            size=sum(size for *_, size in rows),
            size_done=sum(size for stage, _, size in rows if stage == Stage.DONE),
            runs=sum(is_alive(self._store, runner) for runner, *_ in self._store.runners()),
        )

    def entries(self, *, superseded: bool = False) -> Iterator[JournalEntry]:
        """Yield every item, including those of earlier runs, in the order in which they were added.

        Args:
            superseded: Whether to include unfinished items of which a later version of the same file exists: a changed file is a new
                item. Items that became assets are always included.
        """
        for key, source, size, _, state, outcome, seconds, changed_at in self._store.rows(superseded=superseded):
            result = cast("dict[str, object]", json.loads(outcome)) if outcome is not None else {}
            yield JournalEntry(
                key=key,
                source=source,
                stage=state.stage,
                size=size,
                upload_id=state.upload_id,
                asset_id=state.asset_id,
                former=state.former,
                playback_ids=cast("dict[str, str]", result.get("playback_ids", {})),
                duration=cast("float | None", result.get("duration")),
                seconds=seconds,
                changed_at=changed_at,
                error=state.error,
            )

    def retry(self, keys: Iterable[str] | None = None) -> int:
        """Let the next run retry dead items, from the stage in which they died.

        If Mux could not process an input, a new asset is created; the errored one is kept until you delete it.

        Args:
            keys: Keys of items; ``None`` for all. Items that are not dead are unchanged.

        Returns:
            Number of items.
        """
        return self._store.retry(keys)

    @property
    def options(self) -> Mapping[str, object]:
        """The options that `save_options` stored; empty before."""
        return cast("dict[str, object]", self._store.note("options") or {})

    def save_options(self, options: Mapping[str, object]) -> None:
        """Store options of the run, such as policies, for the next run.

        Args:
            options: JSON members, without secrets.
        """
        self._store.set_note("options", dict(options))

    def close(self) -> None:
        """Close the file. May be called repeatedly."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def store_of(journal: Journal) -> JournalStore:
    """Return the store of *journal*, for the runner."""
    return journal._store  # pyright: ignore[reportPrivateUsage] - of this module
