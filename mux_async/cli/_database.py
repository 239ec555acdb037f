"""The database that many hosts share, as options and variables name it."""

from __future__ import annotations

import os

import typer

KEY_VARIABLE = "MUX_INGEST_KEY"


def database_of_hosts(url: str) -> str:
    """Return the URL of a PostgreSQL database, or raise `typer.BadParameter`."""
    if not url.startswith(("postgresql://", "postgres://")):
        scheme = url.partition(":")[0]
        raise typer.BadParameter(
            f"{scheme}: is not a database that hosts share; --on takes postgresql://user@host/name. On one host, leave --on out: "
            "the journal is an SQLite file already"
        )
    return url.replace("postgres://", "postgresql://", 1)


def storage_key() -> str | None:
    """Return the key that encrypts what is stored, from the environment."""
    return os.environ.get(KEY_VARIABLE) or None
