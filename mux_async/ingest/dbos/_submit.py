"""Stores items for the workers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

import dbos
import sqlalchemy as sa

from mux_async._types import Secret
from mux_async.errors import InvalidRequestError
from mux_async.ingest._items import Item
from mux_async.ingest.dbos._database import TRANSFER, VERSION, Storage, open_client, prepare
from mux_async.ingest.machine import ItemState


def submit(
    url: str,
    items: Iterable[Item],
    *,
    storage_key: str | Secret | None = None,
    playback_policies: Sequence[str] = ("public",),
    test: bool = False,
    shared: Sequence[str | os.PathLike[str]] = (),
    batch: int = 500,
) -> tuple[int, int]:
    """Store items for the workers. Blocks.

    Args:
        url: The database: ``postgresql://user@host/name``.
        items: As `make_plan` gives them. URLs, and files that every host can read under the same name: fsspec addresses, or paths under one
            of *shared*. Their keys must be portable (`Item.is_portable`).
        storage_key: Encrypts items in the database; see `Fernet.generate_key`. Required for URLs with a query, which may be a signature.
        playback_policies: Of assets whose items set none.
        test: Make test assets.
        shared: Folders that every host has mounted at the same place.
        batch: Items in a transaction.

    Returns:
        The number of items that are new, and of those that were submitted before.

    Raises:
        InvalidRequestError: An item cannot be ingested by another host. Nothing of its batch was stored.
        ConfigurationError: The database or the key cannot be used.
    """
    storage = Storage(storage_key)
    engine = prepare(url)
    folders = [os.path.realpath(each) for each in shared]
    options = {"policies": list(playback_policies), "test": test}
    client = open_client(url, storage)
    new = known = 0
    try:
        for group in _batches(items, batch):
            for item in group:
                _check_portable(item, folders, is_encrypted=storage.is_encrypted)
            with engine.begin() as sql:
                keys = [item.key for item in group]
                found = sql.execute(
                    sa.text("SELECT workflow_uuid FROM dbos.workflow_status WHERE workflow_uuid = ANY(:keys)"), {"keys": keys}
                )
                stored = {str(row[0]) for row in found}
                for item in group:
                    if item.key in stored:
                        known += 1
                        continue
                    stored.add(item.key)
                    state = ItemState(item.key, is_fetched=item.url is not None)
                    order = {"item": item.to_dict(), "state": state.to_dict(), "options": options}
                    client.enqueue_in_transaction(sql, options_of(item), order)
                    new += 1
    finally:
        client.destroy()
        engine.dispose()
    return new, known


def options_of(item: Item) -> dbos.EnqueueOptions:
    # DBOS takes the lowest number first; an item with a higher priority goes first.
    priority = min(max(1_000_000 - item.priority, 1), 2_000_000)
    return {
        "workflow_name": TRANSFER,
        "queue_name": TRANSFER,
        "workflow_id": item.key,
        "app_version": VERSION,
        "priority": priority,
        "attributes": {"source": item.source},
    }


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def _check_portable(item: Item, folders: Sequence[str], *, is_encrypted: bool) -> None:
    if item.path is not None and not _is_in(os.path.realpath(item.path), folders):
        raise InvalidRequestError(
            f"{item.source!r} is a path of this host, which the others cannot read: put it into storage that fsspec reads (s3://...), "
            "or name the folder that all hosts have mounted (--shared)"
        )
    if item.url is not None and "?" in item.url.reveal() and not is_encrypted:
        raise InvalidRequestError(
            f"{item.source!r} has a query, which may be a signature, and would be stored as it is: give a storage key (MUX_INGEST_KEY)"
        )
    if item.address is not None and "@" in item.address.partition("://")[2].partition("/")[0] and not is_encrypted:
        raise InvalidRequestError(f"{item.source!r} holds a password: give a storage key (MUX_INGEST_KEY)")


def _is_in(path: str, folders: Sequence[str]) -> bool:
    return any(os.path.commonpath([folder, path]) == folder for folder in folders)
