"""The journal of an ingest: how each item stands, in one file that survives everything.

::

    with Journal.open("films.journal") as journal:
        print(journal.summary())
        journal.retry()
        await Ingest(mux, items, journal=journal).run()

The runner writes the intent before every step and the outcome after it. An intent is on disk before the request is written to the network;
outcomes follow with the next transaction, a moment later: one that is lost with the machine is found out from Mux again. No URL, token or
upload address is in it: the items are named again by whoever runs the same again, and matched by key.

Any number of runs, in as many processes of one machine, may share a journal: each item is worked on by one of them, which has a lease
(`_lease`) for as long as its process lives. What a killed run leaves is taken over by the others, or by the next.

Methods block for a moment: from an event loop, call those that read all items in a thread.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, cast

import attrs

from mux_async.ingest._runs import is_alive
from mux_async.ingest._store import Store
from mux_async.ingest.machine import ItemError, Stage

if TYPE_CHECKING:
    from typing import Self


@attrs.frozen
class JournalSummary:
    """How many items are where.

    Attributes:
        stages: Number of items by stage; stages without any are left out.
        size: Bytes of all files.
        size_done: Bytes of those that became assets.
        runs: Runs that work on it now, in this process or others.
    """

    stages: Mapping[Stage, int]
    size: int
    size_done: int
    runs: int

    @property
    def total(self) -> int:
        """Items in all."""
        return sum(self.stages.values())

    @property
    def done(self) -> int:
        """Items that became assets."""
        return self.stages.get(Stage.DONE, 0)

    @property
    def dead(self) -> int:
        """Items that did not, until somebody retries them."""
        return self.stages.get(Stage.DEAD, 0)

    @property
    def planned(self) -> int:
        """Items of which nothing was begun."""
        return self.stages.get(Stage.PLANNED, 0)

    @property
    def begun(self) -> int:
        """Items that are on their way."""
        return self.total - self.done - self.dead - self.planned


@attrs.frozen
class JournalEntry:
    """One item as the journal has it.

    Attributes:
        key: Of the item; the asset's ``meta.external_id``.
        source: The path, or the URL without its query.
        stage: Where it is.
        size: Bytes of the file; ``None`` for URLs.
        upload_id: The upload; ``None`` for URLs and before it was created.
        asset_id: The asset, once known; also of a dead item, when it got that far.
        former: Assets of earlier tries that came to nothing.
        playback_ids: Policy by playback id, of a finished item.
        duration: Seconds of media, of a finished item.
        seconds: From the beginning to the end in the run that finished it; ``None`` before.
        changed_at: When it got where it is, seconds since 1970 by this machine's clock.
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
    """An open journal. Make one with `open`, or with `in_memory` for a run that need not survive."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, create: bool = True) -> Self:
        """Open a journal file, on a disk of this machine. Files named like it, with an ending, are kept beside it while it is in use.

        Args:
            path: The file.
            create: Whether to make it when it is not there.

        Raises:
            JournalError: It cannot be read or written, is damaged, of a newer version, or not a journal; the message says what to do.
        """
        return cls(Store(Path(path), create=create))

    @classmethod
    def in_memory(cls) -> Self:
        """Return a journal that is gone when it is closed."""
        return cls(Store(None))

    @property
    def path(self) -> Path | None:
        """The file; ``None`` for one in memory."""
        return self._store.path

    def summary(self) -> JournalSummary:
        """Count the items, without those that are superseded (see `entries`)."""
        rows = self._store.counts()
        return JournalSummary(
            stages={Stage(stage): count for stage, count, _ in rows},
            size=sum(size for *_, size in rows),
            size_done=sum(size for stage, _, size in rows if stage == Stage.DONE),
            runs=sum(is_alive(self._store, runner) for runner, *_ in self._store.runners()),
        )

    def entries(self, *, superseded: bool = False) -> Iterator[JournalEntry]:
        """Yield every item, those of earlier runs too, in the order in which they were first named.

        Args:
            superseded: Whether those are among them that came to nothing, and whose file was written to and taken again since: a file that
                changes is another item. Assets that were made of an earlier version are always among them.
        """
        for key, source, size, _, state, outcome, seconds, changed_at in self._store.rows(superseded=superseded):
            told = cast("dict[str, object]", json.loads(outcome)) if outcome is not None else {}
            yield JournalEntry(
                key=key,
                source=source,
                stage=state.stage,
                size=size,
                upload_id=state.upload_id,
                asset_id=state.asset_id,
                former=state.former,
                playback_ids=cast("dict[str, str]", told.get("playback_ids", {})),
                duration=cast("float | None", told.get("duration")),
                seconds=seconds,
                changed_at=changed_at,
                error=state.error,
            )

    def retry(self, keys: Iterable[str] | None = None) -> int:
        """Let dead items be tried again by the next run, from where they died.

        An asset that Mux could not make of its input is made anew, and the errored one stays for somebody to look at and delete.

        Args:
            keys: Which ones; ``None`` for all. Others than dead ones are left as they are.

        Returns:
            How many there were.
        """
        return self._store.retry(keys)

    @property
    def options(self) -> Mapping[str, object]:
        """What `save_options` kept; empty before."""
        return cast("dict[str, object]", self._store.note("options") or {})

    def save_options(self, options: Mapping[str, object]) -> None:
        """Keep what the run was told, such as policies, so that the next one can be told the same.

        Args:
            options: Members that can be JSON, without secrets.
        """
        self._store.set_note("options", dict(options))

    def close(self) -> None:
        """Close the file. Any number of times."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


def store_of(journal: Journal) -> Store:
    """Return what is below *journal*: the runner writes there."""
    return journal._store  # pyright: ignore[reportPrivateUsage] - of this module, and nobody else's to promise
