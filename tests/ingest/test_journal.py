"""The journal file: what it stores, what it refuses, and which run may write it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from mux_async import Secret
from mux_async.ingest import Item, ItemError, ItemState, Journal, JournalError, Stage
from mux_async.ingest._journal import store_of
from mux_async.ingest._journal_file import APPLICATION_ID, VERSION
from mux_async.ingest._journal_store import Change, JournalStore
from mux_async.ingest._runs import begin_run, end_run, expire_runs
from mux_async.ingest.machine import (
    AssetCreated,
    BecameReady,
    Began,
    BytesMoved,
    BytesSent,
    Died,
    ItemEvent,
    NothingCreated,
    Retried,
    SessionLost,
    SourceChanged,
    UploadCreated,
    advance,
)
from mux_async.uploads import UploadState
from tests._examples import examples

URL = Secret("https://example.com/film.mp4")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "films.journal"


def new_item(number: int) -> Item:
    return Item(f"k{number}", f"{number}.mp4", size=number, modified_ns=1)


def test_entries_counts_and_options(path: Path) -> None:
    """Entries, counts and options are read from the file as they were written, in order."""
    with Journal.open(path) as journal:
        runner, lease = begin_run(store_of(journal))
        store_of(journal).add_items([new_item(number) for number in (3, 1, 2)])
        store_of(journal).claim(["k1", "k2"], runner)
        done = ItemState("k1", stage=Stage.DONE, upload_id="u", asset_id="a")
        outcome = {"playback_ids": {"p": "public"}, "duration": 2.5}
        store_of(journal).write([Change(done, outcome=outcome, seconds=4.0)], runner)
        died = ItemState("k2", stage=Stage.DEAD, error=ItemError("UploadError", "no"), died_in=Stage.SENDING)
        store_of(journal).write([Change(died)], runner)
        journal.save_options({"playback_policies": ["signed"]})
        end_run(store_of(journal), runner, lease)
    with Journal.open(path, create=False) as journal:
        entries = list(journal.entries())
        summary = journal.summary()

        assert journal.options == {"playback_policies": ["signed"]}
    assert [entry.key for entry in entries] == ["k3", "k1", "k2"]
    assert [entry.stage for entry in entries] == ["planned", "done", "dead"]
    assert (entries[1].asset_id, entries[1].playback_ids, entries[1].duration, entries[1].seconds) == (
        "a",
        {"p": "public"},
        2.5,
        4.0,
    )
    assert entries[2].error == ItemError("UploadError", "no")
    assert (summary.total, summary.planned, summary.done, summary.dead, summary.begun, summary.runs) == (3, 1, 1, 1, 0, 0)
    assert (summary.size, summary.size_done) == (6, 1)


def test_many_entries(path: Path) -> None:
    """Entries on several pages are all returned, once."""
    with Journal.open(path) as journal:
        store_of(journal).add_items([new_item(number) for number in range(2345)])

        assert [entry.size for entry in journal.entries()] == list(range(2345))


def test_what_is_no_journal(tmp_path: Path) -> None:
    """A file of another type is refused and not changed."""
    text, other, folder = tmp_path / "text", tmp_path / "other.db", tmp_path / "folder"
    text.write_text("These are notes, and not a journal.\n" * 100)
    folder.mkdir()
    with sqlite3.connect(other) as sql:
        sql.execute("CREATE TABLE mine (a)")
    sql.close()
    before = text.read_bytes(), other.read_bytes()

    with pytest.raises(JournalError, match="it is not an SQLite file: name another one"):
        Journal.open(text)
    with pytest.raises(JournalError, match="an SQLite file of another program"):
        Journal.open(other)
    with pytest.raises(JournalError, match="name one in a folder that exists"):
        Journal.open(folder)
    with pytest.raises(JournalError, match="name one in a folder that exists"):
        Journal.open(tmp_path / "missing" / "films.journal")
    with pytest.raises(JournalError, match="there is no journal"):
        Journal.open(tmp_path / "films.journal", create=False)
    assert (text.read_bytes(), other.read_bytes()) == before


def test_versions(path: Path) -> None:
    """A journal of an older version is migrated with all its content; a newer one is refused."""
    with sqlite3.connect(path) as sql:
        for statement in OLD:
            sql.execute(statement)
    sql.close()
    with Journal.open(path) as journal:
        (entry,) = journal.entries()

        assert (entry.key, entry.asset_id) == ("k", "a")
    with sqlite3.connect(path) as sql:
        assert sql.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert sql.execute(
            "SELECT count(*) FROM sqlite_master WHERE type = 'index' AND name IN ('held', 'unknown')"
        ).fetchone() == (2,)
        sql.execute(f"PRAGMA user_version = {VERSION + 1}")
    sql.close()
    with pytest.raises(JournalError, match=f"has version {VERSION + 1}, and this mux-async knows {VERSION}"):
        Journal.open(path)


OLD = (
    """CREATE TABLE items (position INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, source TEXT NOT NULL, size INTEGER, fingerprint TEXT,
        stage TEXT NOT NULL, state TEXT NOT NULL, outcome TEXT, seconds REAL, changed_at REAL NOT NULL, runner TEXT)""",
    "CREATE TABLE runners (id TEXT PRIMARY KEY, process INTEGER NOT NULL, host TEXT NOT NULL, started_at REAL NOT NULL)",
    "CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """INSERT INTO items VALUES
        (1, 'k', 'k.mp4', 7, '7:1', 'done', '{"is_fetched":false,"uploads":1,"asset_id":"a"}', NULL, 1.0, 2.0, NULL)""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    "PRAGMA user_version = 1",
)
"""The first version, as it was written."""


def test_a_damaged_journal(path: Path) -> None:
    """A journal with a corrupt page is refused when it is opened, and the message says what can be recovered."""
    with Journal.open(path) as journal:
        store_of(journal).add_items([new_item(number) for number in range(500)])
    content = bytearray(path.read_bytes())
    content[8192:12288] = bytes(range(256)) * 16
    path.write_bytes(content)

    with pytest.raises(JournalError, match=r"it is damaged.*restore a copy"):
        Journal.open(path)


def test_an_item_that_cannot_be_read(path: Path) -> None:
    """An item that this program did not write is refused."""
    with Journal.open(path) as journal:
        store_of(journal).add_items([new_item(1)])
    with sqlite3.connect(path) as sql:
        sql.execute("UPDATE items SET state = '[]'")
    sql.close()
    with Journal.open(path) as journal, pytest.raises(JournalError, match="item 'k1' is invalid"):
        list(journal.entries())


class ReadOnlyStore(JournalStore):
    def make_read_only(self) -> None:
        self._sql.execute("PRAGMA query_only = ON")


def test_a_read_only_journal(path: Path) -> None:
    """A journal that cannot be written is refused with advice."""
    with Journal.open(path):
        pass
    store = ReadOnlyStore(path)
    store.make_read_only()
    with Journal(store) as journal:
        with pytest.raises(JournalError, match="it is read-only: correct the permissions"):
            begin_run(store_of(journal))

        assert not list(path.parent.glob("*-run-*")), "its lease stayed"


def test_another_run_has_it(path: Path) -> None:
    """Only the run that has claimed an item can write it, and no other can claim it."""
    with Journal.open(path) as journal:
        first, lease = begin_run(store_of(journal))
        second, other_lease = begin_run(store_of(journal))
        store_of(journal).add_items([new_item(1), new_item(2)])
        ours, _ = store_of(journal).claim(["k1"], first)
        theirs, found = store_of(journal).claim(["k1", "k2"], second)

        assert (ours, theirs) == ({"k1"}, {"k2"})
        assert found["k1"].runner == first
        with pytest.raises(JournalError, match="gives item 'k1' to another run"):
            store_of(journal).write([Change(ItemState("k2")), Change(ItemState("k1"))], second)
        assert (expire_runs(store_of(journal), second), journal.summary().runs) == (0, 2)
        end_run(store_of(journal), first, lease)
        end_run(store_of(journal), second, other_lease)


HOLDER = """
import sys
from mux_async.ingest import Item, Journal
from mux_async.ingest._journal import store_of
from mux_async.ingest._runs import begin_run
journal = Journal.open(sys.argv[1])
runner, lease = begin_run(store_of(journal))
store_of(journal).add_items([Item("k", "k.mp4")])
store_of(journal).claim(["k"], runner)
print(runner, flush=True)
sys.stdin.read()
"""


def test_a_lease_ends_with_its_process(path: Path) -> None:
    """Items of another process stay claimed while it lives, suspended or not; when it is killed, they are free at once."""
    with (
        subprocess.Popen(
            [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as holder,
        Journal.open(path) as journal,
    ):
        assert holder.stdout is not None
        theirs = holder.stdout.readline().strip()
        runner, lease = begin_run(store_of(journal))
        os.kill(holder.pid, signal.SIGSTOP)
        while_stopped = (
            expire_runs(store_of(journal), runner),
            store_of(journal).claim(["k"], runner)[0],
            journal.summary().runs,
        )
        holder.kill()
        holder.wait()
        after = journal.summary().runs, expire_runs(store_of(journal), runner), store_of(journal).claim(["k"], runner)[0]
        left = [each[0] for each in store_of(journal).runners()]
        end_run(store_of(journal), runner, lease)

        assert while_stopped == (0, set(), 2)
        assert after == (1, 1, {"k"})
        assert theirs not in left
        assert not list(path.parent.glob("*-run-*"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_leaves_the_run_of_its_parent(path: Path) -> None:
    """A child of a process that works on a journal reads and writes it, and does not end the parent's run when it closes it."""
    with Journal.open(path) as journal:
        runner, lease = begin_run(store_of(journal))
        pid = os.fork()
        if not pid:
            status = 1
            try:
                journal.save_options({"test": True})
                end_run(store_of(journal), "another", lease)
                journal.close()
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

        assert journal.options == {"test": True}
        with Journal.open(path) as other:
            assert other.summary().runs == 1
        end_run(store_of(journal), runner, lease)


def test_a_journal_that_was_moved(path: Path, tmp_path: Path) -> None:
    """A copy of a journal in use, without its locks, can be continued elsewhere."""
    with Journal.open(path) as journal:
        runner, lease = begin_run(store_of(journal))
        store_of(journal).add_items([new_item(1)])
        store_of(journal).claim(["k1"], runner)
        copy = tmp_path / "copy.journal"
        with sqlite3.connect(path) as source, sqlite3.connect(copy) as target:
            source.backup(target)
        source.close()
        target.close()
        with Journal.open(copy) as moved:
            other, other_lease = begin_run(store_of(moved))

            assert expire_runs(store_of(moved), other) == 1
            end_run(store_of(moved), other, other_lease)
        end_run(store_of(journal), runner, lease)


@pytest.mark.parametrize("journals", [5, pytest.param(30, marks=pytest.mark.proof)])
def test_opened_at_the_same_time(tmp_path: Path, journals: int) -> None:
    """Several threads may open a new journal at the same moment."""
    problems: list[Exception] = []
    barrier = threading.Barrier(4)

    def open_all() -> None:
        for number in range(journals):
            barrier.wait()
            try:
                Journal.open(tmp_path / f"{number}.journal").close()
            except JournalError as error:
                problems.append(error)

    threads = [threading.Thread(target=open_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not problems


def test_many_threads(path: Path) -> None:
    """One journal serves many threads, and no item is claimed twice."""
    with Journal.open(path) as journal, Journal.open(path) as other:
        store_of(journal).add_items([new_item(number) for number in range(100)])
        given: list[set[str]] = []

        def claim(store: JournalStore, runner: str) -> None:
            given.extend(
                store.claim([f"k{number}" for number in range(start, start + 5)], runner)[0] for start in range(0, 100, 5)
            )

        threads = [
            threading.Thread(target=claim, args=(store_of(each), f"r{number}"))
            for number, each in enumerate([journal, other] * 3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sum(map(len, given)) == len(set[str]().union(*given)) == 100


def _upload(size: int, part: float) -> UploadState:
    return attrs.evolve(UploadState.unknown(size), offset=int(size * part))


def _facts() -> st.SearchStrategy[ItemEvent]:
    times = st.none() | st.floats(0, 4e9)
    uploads = st.builds(_upload, st.integers(1, 1 << 40), st.floats(0, 1))
    return st.one_of(
        st.builds(Began, times),
        st.builds(UploadCreated, st.text(max_size=9)),
        st.builds(AssetCreated, st.text(max_size=9)),
        st.builds(BytesMoved, uploads),
        st.sampled_from([BytesSent(), SessionLost(), SourceChanged(), NothingCreated()]),
        st.builds(BecameReady, st.text(max_size=9)),
        st.builds(Died, st.builds(ItemError, st.sampled_from(["MuxError", "AssetErroredError"]), st.text(max_size=20))),
    )


class JournalMachine(RuleBasedStateMachine):
    """Runs begin, end, claim, change and release items; a model has the expected state of each."""

    runs = Bundle("runs")

    def __init__(self) -> None:
        super().__init__()
        self.journal = Journal.in_memory()
        self.model: dict[str, ItemState] = {}
        self.holder: dict[str, str] = {}

    @initialize(setting_types=st.lists(st.booleans(), min_size=1, max_size=4))
    def add_items(self, setting_types: list[bool]) -> None:
        for number, is_fetched in enumerate(setting_types):
            self.model[f"k{number}"] = ItemState(f"k{number}", is_fetched=is_fetched)
        new_items = [Item(state.key, state.key, url=URL if state.is_fetched else None) for state in self.model.values()]
        found = store_of(self.journal).add_items(new_items)
        assert [stored.state for stored in found] == list(self.model.values())

    @rule(target=runs)
    def begin(self) -> str:
        return begin_run(store_of(self.journal))[0]

    @rule(run=consumes(runs))
    def end(self, run: str) -> None:
        held = [key for key, holder in self.holder.items() if holder == run]
        assert store_of(self.journal).remove_runner(run) == len(held)
        for key in held:
            del self.holder[key]

    @rule(run=runs)
    def claim(self, run: str) -> None:
        ours, _ = store_of(self.journal).claim(list(self.model), run)
        assert ours == {key for key, state in self.model.items() if not state.stage.is_final and key not in self.holder}
        self.holder |= dict.fromkeys(ours, run)

    @rule(run=runs)
    def claim_unknown(self, run: str) -> None:
        ours = {state.key for state in store_of(self.journal).claim_unknown(run)}
        assert ours == {key for key, state in self.model.items() if state.stage is Stage.CREATING and key not in self.holder}
        self.holder |= dict.fromkeys(ours, run)

    @rule(data=st.data(), events=st.lists(_facts(), min_size=1, max_size=6), release=st.booleans())
    def move(self, data: st.DataObject, events: list[ItemEvent], release: bool) -> None:
        if not self.holder:
            return
        key = data.draw(st.sampled_from(sorted(self.holder)))
        state = self.model[key]
        for event in events:
            try:
                state = advance(state, event)
            except ValueError:
                continue
        store_of(self.journal).write([Change(state)], self.holder[key], release=release)
        self.model[key] = _stored(state)
        if release or state.stage.is_final:
            del self.holder[key]

    @rule()
    def retry(self) -> None:
        dead = [key for key, state in self.model.items() if state.stage is Stage.DEAD]
        assert self.journal.retry() == len(dead)
        for key in dead:
            self.model[key] = advance(self.model[key], Retried())
            assert not self.model[key].stage.is_final

    @invariant()
    def items_are_as_in_the_model(self) -> None:
        found = store_of(self.journal).read_items(list(self.model))
        assert {key: stored.state for key, stored in found.items()} == self.model
        assert {key: each.runner for key, each in found.items() if each.runner} == self.holder
        assert self.journal.summary().total == len(self.model)

    def teardown(self) -> None:
        self.journal.close()


def _stored(state: ItemState) -> ItemState:
    """Return the state as it is restored: of an upload, only the confirmed part."""
    upload = UploadState.from_dict(state.upload.to_dict()) if state.upload is not None else None
    return attrs.evolve(state, upload=upload)


JournalMachine.TestCase.settings = settings(max_examples=examples(50), stateful_step_count=25, deadline=None)
TestJournalMachine = JournalMachine.TestCase


# Windows' locks, by those of this system: `msvcrt` is what is there in the place of `fcntl`.
LEASE = """
import fcntl, sys, types
from pathlib import Path
import mux_async._forks, mux_async._journal_errors

locked = []

def locking(descriptor, mode, size):
    assert (mode, size) == (2, 1)
    locked.append(descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

sys.modules["msvcrt"] = types.SimpleNamespace(LK_NBLCK=2, locking=locking)
kept, sys.modules["fcntl"], sys.platform = fcntl, None, "win32"
from mux_async._lease import inherit, take

path = Path(sys.argv[1]) / "lease"
lease = take(path)
assert inherit(path) is None
lease.close()
taken = inherit(path)
assert taken is not None and taken.is_of(path)
taken.drop()
assert not path.exists()
assert len(locked) == 3
"""

FORK = """
import os
del os.register_at_fork
from mux_async._forks import after_fork, detect_fork

class Inherited:
    was_reset = False

    def reset_after_fork(self):
        self.was_reset = True
        return None

inherited = Inherited()
after_fork(inherited)
detect_fork()
assert not inherited.was_reset
child = os.fork()
if not child:
    detect_fork()
    os._exit(7 if inherited.was_reset else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert not inherited.was_reset
"""


@pytest.mark.parametrize("program", [LEASE, FORK], ids=["locks", "forks"])
def test_without_what_other_systems_lack(program: str, tmp_path: Path) -> None:
    """A journal's lock is that of Windows where there is no `fcntl`; without hooks of forks, a child finds out by itself."""
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    assert done.returncode == 0, done.stderr
