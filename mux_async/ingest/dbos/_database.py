"""The database that the hosts share: the tables, and how items and states are stored in them."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import re
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import Any, Final, TypeVar, cast

import attrs

from mux_async._types import Secret
from mux_async.errors import ConfigurationError, InvalidRequestError, MissingExtraError, MuxError

try:
    import dbos
    import sqlalchemy as sa
    from cryptography.fernet import Fernet, InvalidToken
    from sqlalchemy.exc import DBAPIError
except ImportError:
    raise MissingExtraError("ingesting on many hosts", "DBOS", "dbos") from None

T = TypeVar("T")

APPLICATION: Final = "mux-ingest"
VERSION: Final = "1"
"""Of the workflows: workers take items of the same version, whatever the version of the package. A change of the steps changes it."""
TRANSFER: Final = "mux-ingest-transfer"
FINISH: Final = "mux-ingest-finish"
BULK: Final = "mux-bulk-row"
"""Names of the workflows, and of their queues."""
FINISH_SUFFIX: Final = "/finish"
"""Of the id of the second workflow of an item; the id of the first is the key."""


FAILED: Final = ("ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
"""States of workflows that ended without success."""

_TABLES: Final = f"2, dbos {importlib.metadata.version('dbos')}"
"""Stored in the database when its tables exist. Change the number with the tables."""
_SCHEMA: Final = (
    "CREATE SCHEMA IF NOT EXISTS mux_ingest",
    """CREATE TABLE IF NOT EXISTS mux_ingest.workers (executor TEXT PRIMARY KEY, host TEXT NOT NULL,
        started_at TIMESTAMPTZ NOT NULL DEFAULT now(), seen_at TIMESTAMPTZ NOT NULL DEFAULT now())""",
    "CREATE TABLE IF NOT EXISTS mux_ingest.settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS mux_ingest.bulk (name TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, operation TEXT NOT NULL,
        rows INTEGER NOT NULL DEFAULT 0)""",
    """ALTER TABLE mux_ingest.bulk ADD COLUMN IF NOT EXISTS max_failures INTEGER NOT NULL DEFAULT 0,
        ADD COLUMN IF NOT EXISTS failures INTEGER NOT NULL DEFAULT 0, ADD COLUMN IF NOT EXISTS reason TEXT""",
)


class ItemFailedError(MuxError):
    """An item failed. The error of a workflow.

    Attributes:
        state: The item's state, in which it can be retried.
    """

    def __init__(self, message: str, *, state: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.state: Mapping[str, object] = state or {}


_ENCRYPTED: Final = "gAAAA"
"""How every token of Fernet begins, and no JSON: its version and the high bytes of its time, in base 64."""


_SECRET_URL: Final = re.compile(r"""://[^/?#\s"]*@|://[^"]*\?""")


class Storage(dbos.Serializer):
    """How items and states are stored in the database: as JSON, encrypted where there is a key."""

    def __init__(self, key: str | Secret | None) -> None:
        self._fernet: Fernet | None = None
        if key is not None:
            try:
                self._fernet = Fernet(Secret(key).reveal())
            except ValueError:
                raise ConfigurationError(
                    "storage_key is not a key: make one with `mux-async ingest new-key`, and give every host the same"
                ) from None

    @property
    def is_encrypted(self) -> bool:
        """Whether what is stored is encrypted."""
        return self._fernet is not None

    def check_secrets(self, text: str, what: str) -> None:
        """Refuse to store a URL in clear that has a password or a query. *text* is one, or JSON."""
        if not self.is_encrypted and _SECRET_URL.search(text):
            raise InvalidRequestError(
                f"{what} holds a URL with a password or a query, which may be a signature, and would be stored as it is: "
                "give a storage key (MUX_INGEST_KEY)"
            )

    def name(self) -> str:
        """Return the name that DBOS stores beside each value."""
        return "mux-ingest-json"

    def serialize(self, data: Any) -> str:
        """Return the stored text of a value, or of an error."""
        if isinstance(data, BaseException):
            data = {"error": type(data).__name__, "message": str(data), "state": getattr(data, "state", None)}
        text = json.dumps(data)
        return text if self._fernet is None else self._fernet.encrypt(text.encode()).decode()

    def deserialize(self, serialized_data: str) -> Any:
        """Return the value of a stored text."""
        if serialized_data.startswith(_ENCRYPTED):
            if self._fernet is None:
                raise ConfigurationError("the items are encrypted: give the storage key with which they were submitted")
            try:
                serialized_data = self._fernet.decrypt(serialized_data).decode()
            except InvalidToken:
                raise ConfigurationError("the items were encrypted with another storage key") from None
        data: Any = json.loads(serialized_data)
        if isinstance(data, dict) and "error" in data and "message" in data:
            found = cast("dict[str, Any]", data)
            return ItemFailedError(found["message"], state=found.get("state"))
        return cast("object", data)


def run(sql: sa.Connection, statement: str, **values: object) -> sa.CursorResult[*tuple[Any, ...]]:
    """Execute a statement; ``:name`` in it is a value."""
    return sql.execute(sa.text(statement), values)


@attrs.frozen
class StoredWorkflow:
    """A workflow of the database.

    Attributes:
        id: Its id.
        state: As DBOS names it.
        attributes: That were stored when it was enqueued.
        outcome: Its result, or its error; ``None`` before.
        changed_at: Seconds since 1970.
    """

    id: str
    state: str
    attributes: Mapping[str, Any]
    outcome: object
    changed_at: float


@attrs.frozen
class Database:
    """An open database, which has its tables; see `open_database`."""

    engine: sa.Engine
    client: dbos.DBOSClient
    """Of DBOS. It runs no workflows."""
    storage: Storage

    def workflows(self, where: str, order: str = "", **values: object) -> Iterator[StoredWorkflow]:
        """Yield workflows, called ``one`` in *where*, as they are at one moment: the server keeps the place in its answer."""
        statement = (
            "SELECT one.workflow_uuid, one.status, one.attributes, o.output, o.error, one.updated_at FROM dbos.workflow_status AS one "  # noqa: S608 - constants
            f"LEFT JOIN dbos.workflow_output AS o USING (workflow_uuid) WHERE {where} {order}"
        )
        with self.engine.connect().execution_options(yield_per=1000) as sql:
            for one, state, attributes, output, error, changed_at in run(sql, statement, **values):
                text = output if state == "SUCCESS" else error
                outcome = None if text is None else self.storage.deserialize(text)
                yield StoredWorkflow(one, state, attributes or {}, outcome, (changed_at or 0) / 1000)

    def keep_setting(self, name: str, value: str) -> str:
        """Store a setting unless there is one, and return the stored value."""
        with self.engine.begin() as sql:
            return keep_setting(sql, name, value)

    def check_environment(self, environment: object) -> None:
        """Refuse credentials of another environment: what was begun would not be found there, and be made twice."""
        if isinstance(environment, str):
            first = self.keep_setting("environment", environment)
            if first != environment:
                raise ConfigurationError(
                    f"the items of this database belong to the environment {first!r}, and these credentials are for {environment!r}: "
                    "use those with which it was first used, or another database"
                )


@contextmanager
def open_database(url: str, storage_key: str | Secret | Storage | None) -> Generator[Database]:
    """Create the tables, check that *storage_key* is the database's, and open it. Blocks.

    The first process that uses the database decides whether there is a key, and which. An item that a worker cannot decrypt would fail.

    Raises:
        ConfigurationError: The database or the key cannot be used.
    """
    storage = storage_key if isinstance(storage_key, Storage) else Storage(storage_key)
    with open_engine(url) as engine:
        with engine.begin() as sql:
            found = keep_setting(sql, "storage", storage.serialize(APPLICATION))
        if storage.is_encrypted and not found.startswith(_ENCRYPTED):
            raise ConfigurationError(
                "this database was first used without a storage key, and its items are not encrypted: "
                "use another database for items that hold secrets, or give no key"
            )
        storage.deserialize(found)
        client = dbos.DBOSClient(
            system_database_url=url, serializer=storage, application_name=APPLICATION, retry_connection_errors=False
        )
        try:
            yield Database(engine, client, storage)
        finally:
            client.destroy()


@contextmanager
def open_engine(url: str) -> Generator[sa.Engine]:
    """Create the tables, those of DBOS as well, and connect. Blocks. An error of the database is a `ConfigurationError`."""
    logging.getLogger("dbos").setLevel(logging.WARNING)
    engine = sa.create_engine(
        url.replace("postgresql://", "postgresql+psycopg://", 1),
        pool_pre_ping=True,
        pool_size=2,
        # A heartbeat must fail soon, and not hang for as long as TCP retransmits.
        connect_args={"connect_timeout": 5, "tcp_user_timeout": 10_000},
    )
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as sql:
            if not _is_prepared(sql):
                _create_tables(sql, url)
        yield engine
    except DBAPIError as error:
        raise ConfigurationError(f"the database cannot be used: {str(error.orig).splitlines()[0]}") from None
    finally:
        engine.dispose()


def _is_prepared(sql: sa.Connection) -> bool:
    if run(sql, "SELECT to_regclass('mux_ingest.settings')").scalar() is None:
        return False
    return run(sql, "SELECT value FROM mux_ingest.settings WHERE name = 'tables'").scalar() == _TABLES


def _create_tables(sql: sa.Connection, url: str) -> None:
    """Create the tables, one process at a time.

    DBOS makes indexes with ``CREATE INDEX CONCURRENTLY``, which waits for every open transaction. A process that waited for the lock within
    a statement would be waited for in turn, so it asks again and again.
    """
    while not run(sql, "SELECT pg_try_advisory_lock(4085)").scalar():
        time.sleep(0.1)
    try:
        for statement in _SCHEMA:
            run(sql, statement)
        dbos.DBOS.migrate(url)
        run(
            sql,
            "INSERT INTO mux_ingest.settings VALUES ('tables', :version) ON CONFLICT (name) DO UPDATE SET value = :version",
            version=_TABLES,
        )
    finally:
        with suppress(DBAPIError):  # the connection may be what failed
            run(sql, "SELECT pg_advisory_unlock(4085)")


def keep_setting(sql: sa.Connection, name: str, value: str) -> str:
    """Store a setting unless there is one, and return the stored value."""
    run(sql, "INSERT INTO mux_ingest.settings VALUES (:name, :value) ON CONFLICT DO NOTHING", name=name, value=value)
    return str(run(sql, "SELECT value FROM mux_ingest.settings WHERE name = :name", name=name).scalar())


def known_ids(sql: sa.Connection, ids: list[str]) -> set[str]:
    """Return those of *ids* that workflows have."""
    return set(run(sql, "SELECT workflow_uuid FROM dbos.workflow_status WHERE workflow_uuid = ANY(:ids)", ids=ids).scalars())


def begun(iterator: Iterator[T]) -> Iterator[T]:
    """Return the same iterator after it has begun, so that an error of its beginning is raised here."""
    first = list(islice(iterator, 1))
    return chain(first, iterator)
