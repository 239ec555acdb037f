"""The runs of a journal: each is stored in it, and holds a lease as long as its process lives."""

from __future__ import annotations

import os
import platform
import secrets
from pathlib import Path

from mux_async import _lease
from mux_async.ingest._journal_store import JournalStore


def begin_run(store: JournalStore) -> tuple[str, _lease.Lease | None]:
    """Store a new run. Returns its id, and the lease to hold while it runs; ``None`` for a journal in memory."""
    runner = secrets.token_hex(6)
    lease = _lease.take(_lease_path(store.path, runner)) if store.path is not None else None
    try:
        store.add_runner(runner, os.getpid(), platform.node())
    except BaseException:
        if lease is not None:
            lease.drop()
        raise
    return runner, lease


def end_run(store: JournalStore, runner: str, lease: _lease.Lease | None) -> None:
    """Release the items and the lease of *runner*."""
    try:
        store.remove_runner(runner)
    finally:
        if lease is not None:
            lease.drop()


def expire_runs(store: JournalStore, but: str) -> int:
    """Release the items of runs whose processes have ended, except the calling run *but*. Returns the number of items."""
    freed = 0
    path = store.path
    if path is None:
        return freed
    for runner, *_ in store.runners():
        if runner != but and (lease := _lease.inherit(_lease_path(path, runner))) is not None:
            try:
                freed += store.remove_runner(runner)
            finally:
                lease.drop()
    return freed


def is_alive(store: JournalStore, runner: str) -> bool:
    """Return whether the process of *runner* lives."""
    lease = _lease.inherit(_lease_path(store.path, runner)) if store.path is not None else None
    if lease is None:
        return True
    lease.close()
    return False


def _lease_path(journal: Path, runner: str) -> Path:
    return journal.with_name(f"{journal.name}-run-{runner}")
