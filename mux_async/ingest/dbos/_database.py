"""The database that the hosts share: the tables, and how items and states are stored in them."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import time
from collections.abc import Mapping
from typing import Any, Final, cast

from mux_async._types import Secret
from mux_async.errors import ConfigurationError, MissingExtraError, MuxError

try:
    import dbos
    import sqlalchemy as sa
    from cryptography.fernet import Fernet, InvalidToken
    from sqlalchemy.exc import DBAPIError
except ImportError:
    raise MissingExtraError("ingesting on many hosts", "DBOS", "dbos") from None

APPLICATION: Final = "mux-ingest"
VERSION: Final = "1"
"""Of the workflows: workers take items of the same version, whatever the version of the package. A change of the steps changes it."""
TRANSFER: Final = "mux-ingest-transfer"
FINISH: Final = "mux-ingest-finish"
BULK: Final = "mux-bulk-row"
"""Names of the workflows, and of their queues."""
FINISH_SUFFIX: Final = "/finish"
"""Of the id of the second workflow of an item; the id of the first is the key."""


_TABLES: Final = f"1, dbos {importlib.metadata.version('dbos')}"
"""Stored in the database when its tables exist. Change the number with the tables."""


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


def open_client(url: str, storage: Storage) -> dbos.DBOSClient:
    """Return a client of DBOS, which runs no workflows."""
    return dbos.DBOSClient(
        system_database_url=url, serializer=storage, application_name=APPLICATION, retry_connection_errors=False
    )


def prepare(url: str) -> sa.Engine:
    """Create the tables, those of DBOS as well, and return an engine."""
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
    except DBAPIError as error:
        engine.dispose()
        raise ConfigurationError(f"the database cannot be used: {str(error.orig).splitlines()[0]}") from None
    return engine


def _is_prepared(sql: sa.Connection) -> bool:
    if sql.execute(sa.text("SELECT to_regclass('mux_ingest.settings')")).scalar() is None:
        return False
    return sql.execute(sa.text("SELECT value FROM mux_ingest.settings WHERE name = 'tables'")).scalar() == _TABLES


def _create_tables(sql: sa.Connection, url: str) -> None:
    """Create the tables, one process at a time.

    DBOS makes indexes with ``CREATE INDEX CONCURRENTLY``, which waits for every open transaction. A process that waited for the lock within
    a statement would be waited for in turn, so it asks again and again.
    """
    while not sql.execute(sa.text("SELECT pg_try_advisory_lock(4085)")).scalar():
        time.sleep(0.1)
    try:
        sql.execute(sa.text("CREATE SCHEMA IF NOT EXISTS mux_ingest"))
        sql.execute(
            sa.text(
                "CREATE TABLE IF NOT EXISTS mux_ingest.workers (executor TEXT PRIMARY KEY, host TEXT NOT NULL, "
                "started_at TIMESTAMPTZ NOT NULL DEFAULT now(), seen_at TIMESTAMPTZ NOT NULL DEFAULT now())"
            )
        )
        sql.execute(
            sa.text(
                "CREATE TABLE IF NOT EXISTS mux_ingest.bulk (name TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, "
                "operation TEXT NOT NULL, rows INTEGER NOT NULL DEFAULT 0)"
            )
        )
        sql.execute(sa.text("CREATE TABLE IF NOT EXISTS mux_ingest.settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)"))
        dbos.DBOS.migrate(url)
        sql.execute(
            sa.text(
                "INSERT INTO mux_ingest.settings VALUES ('tables', :version) ON CONFLICT (name) DO UPDATE SET value = :version"
            ),
            {"version": _TABLES},
        )
    finally:
        sql.execute(sa.text("SELECT pg_advisory_unlock(4085)"))


def prepare_items(url: str, storage: Storage) -> sa.Engine:
    """Create the tables, check that *storage* has the database's key, and return an engine.

    The first process that uses the database decides whether there is a key, and which. An item that a worker cannot decrypt would fail.
    """
    engine = prepare(url)
    try:
        found = keep_setting(engine, "storage", storage.serialize(APPLICATION))
        if storage.is_encrypted and not found.startswith(_ENCRYPTED):
            raise ConfigurationError(
                "this database was first used without a storage key, and its items are not encrypted: "
                "use another database for items that hold secrets, or give no key"
            )
        storage.deserialize(found)
    except BaseException:
        engine.dispose()
        raise
    return engine


def keep_setting(engine: sa.Engine, name: str, value: str) -> str:
    """Store a setting unless there is one, and return the stored value."""
    with engine.begin() as sql:
        sql.execute(
            sa.text("INSERT INTO mux_ingest.settings VALUES (:name, :value) ON CONFLICT DO NOTHING"),
            {"name": name, "value": value},
        )
        return str(sql.execute(sa.text("SELECT value FROM mux_ingest.settings WHERE name = :name"), {"name": name}).scalar())
