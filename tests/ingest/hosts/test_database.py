"""Workers of this process with PostgreSQL: secrets, keys, environments, retries and hand-back."""

from __future__ import annotations

import asyncio
import logging
import re
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from cryptography.fernet import Fernet
from dbos import DBOS

from mux_async import LimitSettings, Mux
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, Fault, WorkFault
from mux_async.errors import BadRequestError, ConfigurationError, InvalidRequestError, MuxError
from mux_async.events import ClientEvent, IngestItemChanged
from mux_async.ingest import Item, ItemOptions, url_item
from mux_async.ingest._steps import ActiveItem, Steps
from mux_async.ingest.dbos import Worker, _items, _submit, _worker, entries, retry_failed, status, submit
from tests._servers import Server, free_port, postgres_server
from tests.ingest.hosts.test_hosts import assets_by_key

pytestmark = [pytest.mark.proof, pytest.mark.timeout(300)]

KEY = Fernet.generate_key().decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with postgres_server(tmp_path_factory.mktemp("postgres") / "log") as found:
        yield found


@pytest.fixture
def url(server: Server, request: pytest.FixtureRequest) -> str:
    name = re.sub(r"\W+", "_", request.node.name).lower()
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server.url.rpartition("/")[0] + f"/{name}"


@pytest.fixture
def emulator() -> Generator[Emulator]:
    found = Emulator(EmulatorSettings(limits=None, time_to_ready=0.0))
    yield found
    found.close()


def make_client(emulator: Emulator) -> Mux:
    return Mux(
        token_id="test-token",
        token_secret="test-secret",
        transport=EmulatorTransport(emulator),
        limits=LimitSettings(enabled=False),
    )


def make_worker(url: str, emulator: Emulator, *, storage_key: str | None = None, drain: float = 5.0) -> Worker:
    return Worker(url, make_client=lambda _: make_client(emulator), storage_key=storage_key, drain=drain)


async def is_working(url: str) -> None:
    """Return when a worker has stored its heartbeat."""
    while True:
        if (await asyncio.to_thread(status, url)).workers:
            return
        await asyncio.sleep(0.1)


async def has_ready(url: str, count: int) -> None:
    """Return when *count* items are ready."""
    while True:
        if (await asyncio.to_thread(status, url)).ready >= count:
            return
        await asyncio.sleep(0.05)


async def finished(url: str) -> None:
    """Return when every item is ready or failed."""
    while True:
        found = await asyncio.to_thread(status, url)
        if found.ready + found.failed == found.total:
            return
        await asyncio.sleep(0.1)


async def work_until(worker: Worker, done: Callable[[], Awaitable[object]]) -> bool:
    running = asyncio.create_task(worker.run())
    waiting = asyncio.ensure_future(done())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=100)
    waiting.cancel()
    worker.stop()
    return await running


def work(url: str, emulator: Emulator, storage_key: str | None = None) -> None:
    worker = make_worker(url, emulator, storage_key=storage_key)
    assert asyncio.run(work_until(worker, lambda: finished(url)))


def dump(url: str) -> str:
    program = max(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"))
    done = subprocess.run([program, "--dbname", url], capture_output=True, text=True, check=True)
    assert "workflow_status" in done.stdout
    return done.stdout


def test_canary(url: str, emulator: Emulator) -> None:
    """With a storage key, no signature, password, token or signed input is anywhere in the database, before and after the work."""
    items = [
        url_item("https://example.com/a.mp4?Signature=canary-1", ItemOptions(key="a")),
        url_item("https://user:canary-2@example.com/b.mp4", ItemOptions(key="b")),
        url_item(
            "https://example.com/c.mp4",
            ItemOptions(key="c", settings={"inputs": [{}, {"url": "https://example.com/d.png?token=canary-3"}]}),
        ),
    ]
    for item in items:
        with pytest.raises(InvalidRequestError, match="storage key"):
            submit(url, [item])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM mux_ingest.settings WHERE name = 'storage'")
    assert submit(url, items, storage_key=KEY) == (3, 0)
    assert "canary" not in dump(url)
    work(url, emulator, KEY)
    assert "canary" not in (found := dump(url))
    assert "test-secret" not in found
    assert {entry["status"] for entry in entries(url, storage_key=KEY)} == {"ready"}


def test_logs(url: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """What a worker logs when it is stopped in the middle of a step holds no signature."""
    submit(url, [url_item("https://example.com/a.mp4?Signature=canary", ItemOptions(key="a"))], storage_key=KEY)
    begun = asyncio.Event()

    async def hang(*_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Steps, "create", hang)
    monkeypatch.setattr(logging.getLogger("dbos"), "handlers", [caplog.handler])
    assert asyncio.run(work_until(make_worker(url, emulator, storage_key=KEY, drain=0.0), begun.wait))
    assert "cancelled" in caplog.text
    assert "canary" not in caplog.text


def test_wrong_key(url: str, emulator: Emulator) -> None:
    """With another key than the database's, or without it, nothing begins, and nothing is lost."""
    submit(url, [url_item("https://example.com/a.mp4?Signature=1")], storage_key=KEY)
    for wrong, message in ((None, "give the storage key"), (Fernet.generate_key().decode(), "another storage key")):
        with pytest.raises(ConfigurationError, match=message):
            submit(url, [], storage_key=wrong)
        with pytest.raises(ConfigurationError, match=message):
            entries(url, storage_key=wrong)
        with pytest.raises(ConfigurationError, match=message):
            retry_failed(url, storage_key=wrong)
        with pytest.raises(ConfigurationError, match=message):
            asyncio.run(make_worker(url, emulator, storage_key=wrong).run())
    work(url, emulator, KEY)
    assert status(url).ready == 1


def test_key_after_none(url: str) -> None:
    """A database that was used without a key takes none later."""
    submit(url, [url_item("https://example.com/a.mp4")])
    with pytest.raises(ConfigurationError, match="first used without a storage key"):
        submit(url, [], storage_key=KEY)


def test_no_database(server: Server, emulator: Emulator) -> None:
    """A database that does not exist, or a server that is gone, is a clear error."""
    for url in (f"{server.url}_gone", f"postgresql://mux@127.0.0.1:{free_port()}/gone"):
        with pytest.raises(ConfigurationError, match="the database cannot be used"):
            submit(url, [])
        with pytest.raises(ConfigurationError, match="the database cannot be used"):
            asyncio.run(make_worker(url, emulator).run())


def test_first_use(url: str) -> None:
    """Several processes that use a new database at the same time all succeed."""

    async def main() -> None:
        await asyncio.gather(*(asyncio.to_thread(status, url) for _ in range(5)))

    asyncio.run(asyncio.wait_for(main(), 60))


def test_no_rights(server: Server, url: str) -> None:
    """A user that may not create the tables gets the server's reason."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE USER reader")
    with pytest.raises(ConfigurationError, match="the database cannot be used: permission denied"):
        submit(url.replace("mux@", "reader@"), [])


def test_second_worker(url: str, emulator: Emulator) -> None:
    """A second worker in the process is refused, and the first goes on; after it, another may start."""

    async def main() -> None:
        worker = make_worker(url, emulator)
        running = asyncio.create_task(worker.run())
        await is_working(url)
        with pytest.raises(ConfigurationError, match="runs in this process already"):
            await make_worker(url, emulator).run()
        await asyncio.to_thread(submit, url, [url_item("https://example.com/a.mp4")])  # items may come during the work
        await finished(url)
        worker.stop()
        assert await running

    asyncio.run(main())
    submit(url, [url_item("https://example.com/b.mp4")])
    work(url, emulator)
    assert status(url).ready == 2


def test_other_environment(url: str, emulator: Emulator) -> None:
    """A worker whose token is of another environment than the first worker's is refused."""
    submit(url, [])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO mux_ingest.settings VALUES ('environment', 'another')")
    with pytest.raises(ConfigurationError, match="belong to the environment 'another'"):
        asyncio.run(make_worker(url, emulator).run())


def urls(*names: str) -> list[Item]:
    return [url_item(f"https://example.com/{name}.mp4", ItemOptions(key=name)) for name in names]


def test_retry_refused(url: str, emulator: Emulator) -> None:
    """A create that Mux refused is an item's failure, and is done once more by a retry; two retries at once are one."""
    submit(url, urls("good", "bad"))
    emulator.faults.add(Fault(method="POST", path="/video/v1/assets", status=400, nth=range(1, 2)))
    work(url, emulator)
    (failed,) = [entry for entry in entries(url) if entry["status"] == "failed"]
    assert "BadRequestError" in str(failed["error"])
    assert (status(url).ready, status(url).failed, status(url).total) == (1, 1, 2)

    async def both() -> list[int]:
        return await asyncio.gather(*(asyncio.to_thread(retry_failed, url) for _ in range(2)))

    assert sum(asyncio.run(both())) == 1
    assert retry_failed(url) == 0
    work(url, emulator)
    assert assets_by_key(emulator) == Counter({"good": 1, "bad": 1})


def test_retry_errored(url: str, emulator: Emulator) -> None:
    """An item whose asset errored gets a new asset by a retry, and the errored one is kept."""
    submit(url, urls("film"))
    emulator.work_faults.add(WorkFault("asset", nth=1))
    work(url, emulator)
    assert [entry["status"] for entry in entries(url)] == ["failed"]
    assert retry_failed(url) == 1
    work(url, emulator)
    assert [entry["status"] for entry in entries(url)] == ["ready"]
    assert assets_by_key(emulator) == Counter({"film": 2})


def test_unexpected_error(url: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """An item whose step failed by an error that nobody foresaw, after Mux had created its asset, is retried without a second create."""
    submit(url, urls("film"))
    create = Steps.create

    async def create_and_fail(self: Steps, active: ActiveItem) -> None:
        await create(self, active)
        raise RuntimeError("unforeseen")

    with monkeypatch.context() as patch:
        patch.setattr(Steps, "create", create_and_fail)
        work(url, emulator)
    assert [entry["error"] for entry in entries(url)] == ["RuntimeError: unforeseen"]
    assert retry_failed(url) == 1
    work(url, emulator)
    assert status(url).ready == 1
    assert assets_by_key(emulator) == Counter({"film": 1})


def test_events(url: str, emulator: Emulator) -> None:
    """Listeners of a worker's client get each stage of each item once, in order, up to done or dead."""
    submit(
        url,
        [
            *urls("film"),
            url_item("https://example.com/bad.mp4", ItemOptions(key="bad", settings={"max_resolution_tier": "9p"})),
        ],
    )
    stages = dict[str, list[str]]()

    def listener(event: ClientEvent) -> None:
        if isinstance(event, IngestItemChanged):
            stages.setdefault(event.key, []).append(event.stage)

    client = make_client(emulator)
    client.listen(listener)
    assert asyncio.run(work_until(Worker(url, make_client=lambda _: client, drain=5.0), lambda: finished(url)))

    assert stages == {"film": ["creating", "created", "waiting", "done"], "bad": ["creating", "planned", "dead"]}


def test_retry_cancelled(url: str, emulator: Emulator) -> None:
    """An item whose workflow was cancelled after its create continues from its last step, without a second create."""
    submit(url, urls("film"))
    work(url, emulator)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM dbos.workflow_status WHERE workflow_uuid = 'film/finish'")
        connection.execute("DELETE FROM dbos.workflow_output")
        connection.execute("UPDATE dbos.workflow_status SET status = 'CANCELLED'")
    assert status(url).failed == 1
    assert retry_failed(url) == 1
    work(url, emulator)
    assert status(url).ready == 1
    assert assets_by_key(emulator) == Counter({"film": 1})


def test_revoked(url: str, emulator: Emulator) -> None:
    """A worker whose token is refused ends with that error and hands back its items, which do not fail."""
    submit(url, urls("a", "b", "c"))
    emulator.faults.add(Fault(method="POST", path="/video/v1/assets", status=401))
    worker = make_worker(url, emulator)
    with pytest.raises(MuxError):
        asyncio.run(work_until(worker, lambda: finished(url)))
    found = status(url)
    assert (found.waiting, found.failed, found.total, found.workers) == (3, 0, 3, {})
    emulator.faults.clear()
    work(url, emulator)
    assert assets_by_key(emulator) == Counter({"a": 1, "b": 1, "c": 1})


def plan_used_up(nth: range | None = None) -> Fault:
    """Refuse creates with Mux's sentence for an account whose plan is used up."""
    sentence = "Free plan is limited to 10 assets, you cannot create assets while exceeding this limit"
    body = {"error": {"type": "invalid_parameters", "messages": [sentence]}}
    return Fault(method="POST", path="/video/v1/assets", status=400, body=body, nth=nth)


def test_plan_used_up(url: str, emulator: Emulator) -> None:
    """If Mux refuses every create for a reason of the account, the worker ends with it; no item fails, and the next worker continues."""
    keys = [f"film{number}" for number in range(8)]
    submit(url, urls(*keys))
    emulator.faults.add(plan_used_up())
    with pytest.raises(BadRequestError, match="plan is limited"):
        asyncio.run(work_until(make_worker(url, emulator), lambda: finished(url)))
    assert (status(url).waiting, status(url).failed, status(url).total) == (8, 0, 8)
    emulator.faults.clear()
    work(url, emulator)
    assert assets_by_key(emulator) == Counter(dict.fromkeys(keys, 1))


def test_one_refusal_of_the_account(url: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal that only one item gets is its own failure: at once if another create is accepted, and else after a while."""
    monkeypatch.setattr(_items, "HOLD", 0.5)
    submit(url, urls("alone"))
    emulator.faults.add(plan_used_up())
    work(url, emulator)
    assert (status(url).ready, status(url).failed) == (0, 1)
    emulator.faults.clear()
    emulator.faults.add(plan_used_up(range(1, 2)))
    monkeypatch.setattr(_items, "HOLD", 60.0)
    submit(url, urls("a", "b"))
    work(url, emulator)
    assert (status(url).ready, status(url).failed) == (1, 2)


def test_an_expired_url(url: str, emulator: Emulator) -> None:
    """A list that is submitted again brings new URLs of items that wait or are failed, and leaves the others as they are."""

    def signed(name: str, signature: str) -> Item:
        return url_item(f"https://example.com/{name}.mp4?Signature={signature}", ItemOptions(key=name))

    submit(url, [signed("failed", "old"), signed("good", "old")], storage_key=KEY)
    emulator.work_faults.add(WorkFault("asset", nth=1))
    work(url, emulator, KEY)
    submit(url, [signed("waiting", "old")], storage_key=KEY)
    renewed = [signed(name, "new") for name in ("failed", "good", "waiting")]
    assert submit(url, renewed, storage_key=KEY) == (0, 3)
    assert retry_failed(url, storage_key=KEY) == 1
    work(url, emulator, KEY)
    assert Counter(entry["status"] for entry in entries(url, storage_key=KEY)) == {"ready": 3}
    assert Counter(url.rpartition("=")[2] for url in fetched_urls(emulator)) == {"old": 2, "new": 2}


def fetched_urls(emulator: Emulator) -> list[str]:
    """Return the URL of the input of each asset."""

    async def read() -> list[str]:
        async with make_client(emulator) as mux:
            found = [asset async for asset in mux.video.assets.list(limit=100)]
            inputs = [await mux.video.assets.retrieve_input_info(asset.id) for asset in found]
            return [str(each[0].settings.url) for each in inputs if each[0].settings is not None]

    return asyncio.run(read())


def test_no_items(url: str, emulator: Emulator) -> None:
    """A list without items stores nothing, and the worker has nothing to do."""
    assert submit(url, []) == (0, 0)
    assert status(url).total == 0
    assert list(entries(url)) == []
    assert retry_failed(url) == 0
    work(url, emulator)


def test_odd_keys(url: str, emulator: Emulator) -> None:
    """Keys with any characters are kept as they are."""
    keys = ["ü/ß ñ", "a%_\\b", "'; DROP TABLE x; --", ":id", "{key}", "\N{GRINNING FACE}", "bulk/x/y", "finish", "a//finish2"]
    submit(url, urls(*keys))
    work(url, emulator)
    assert {str(entry["key"]): entry["status"] for entry in entries(url)} == dict.fromkeys(keys, "ready")
    assert assets_by_key(emulator) == Counter(dict.fromkeys(keys, 1))


def test_no_writes_for_a_while(url: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that takes no writes during the work, as when its disk is full, strands no item, and nothing is created twice."""
    monkeypatch.setattr(_worker, "BEAT", 0.5)
    name = url.rpartition("/")[2]
    items = urls(*(f"item-{number}" for number in range(30)))
    submit(url, items)

    def set_read_only(value: str) -> None:
        with psycopg.connect(url.rpartition("/")[0] + "/postgres", autocommit=True) as sql:
            sql.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {value}".encode())
            sql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))

    async def disturb() -> None:
        await has_ready(url, 3)
        await asyncio.to_thread(set_read_only, "on")
        await asyncio.sleep(4.0)
        await asyncio.to_thread(set_read_only, "off")
        await finished(url)

    assert asyncio.run(work_until(make_worker(url, emulator), disturb))
    assert {entry["key"]: entry["status"] for entry in entries(url)} == {item.key: "ready" for item in items}
    assert assets_by_key(emulator) == Counter({item.key: 1 for item in items})


def test_an_older_database(url: str, emulator: Emulator) -> None:
    """Tables of an earlier release are brought up to date at the first use, with what they hold."""
    submit(url, urls("film"))
    with psycopg.connect(url, autocommit=True) as sql:
        sql.execute("ALTER TABLE mux_ingest.bulk DROP COLUMN max_failures, DROP COLUMN failures, DROP COLUMN reason")
        sql.execute("UPDATE mux_ingest.settings SET value = '1, dbos 3.3.0' WHERE name = 'tables'")
    work(url, emulator)
    assert status(url).ready == 1
    with psycopg.connect(url) as sql:
        sql.execute("SELECT max_failures, failures, reason FROM mux_ingest.bulk")


def test_version_of_the_steps(url: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers leave items of another version of the steps to workers of that version, which may follow or work beside them."""
    with monkeypatch.context() as patch:
        patch.setattr(_submit, "VERSION", "0")
        submit(url, urls("old"))
    submit(url, urls("new"))

    async def is_ready() -> None:
        while True:
            if (await asyncio.to_thread(status, url)).ready:
                return
            await asyncio.sleep(0.1)

    assert asyncio.run(work_until(make_worker(url, emulator), is_ready))
    assert {entry["key"]: entry["status"] for entry in entries(url)} == {"old": "waiting", "new": "ready"}
    with monkeypatch.context() as patch:
        patch.setattr(_worker, "VERSION", "0")
        work(url, emulator)
    assert assets_by_key(emulator) == Counter({"old": 1, "new": 1})


@pytest.mark.parametrize("is_renamed", [False, True])
def test_half_done(url: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, is_renamed: bool) -> None:
    """An item that was handed back during its create continues elsewhere. With renamed steps it fails, and a retry finds its asset."""
    submit(url, urls("film"))
    create = Steps.create
    created = asyncio.Event()

    async def create_and_hang(self: Steps, active: ActiveItem) -> None:
        await create(self, active)
        created.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(Steps, "create", create_and_hang)
        assert asyncio.run(work_until(make_worker(url, emulator, drain=0.0), created.wait))
    assert status(url).waiting == 1
    if is_renamed:
        run_step = cast("Any", DBOS).run_step_async

        async def run_renamed(options: Any, *arguments: Any) -> Any:
            return await run_step({"name": f"new {options['name']}"}, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(DBOS, "run_step_async", run_renamed)
            work(url, emulator)
        assert status(url).failed == 1
        assert retry_failed(url) == 1
    work(url, emulator)
    assert status(url).ready == 1
    assert assets_by_key(emulator) == Counter({"film": 1})
