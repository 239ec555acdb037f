"""Stores items for the workers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import attrs
import dbos
import sqlalchemy as sa

from mux_async._types import Secret
from mux_async.errors import InvalidRequestError
from mux_async.ingest._items import Item
from mux_async.ingest.dbos._database import FAILED, FINISH_SUFFIX, TRANSFER, VERSION, Storage, known_ids, open_database, run
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
            of *shared*.
        storage_key: Encrypts items in the database; see `Fernet.generate_key`. Required for URLs that hold a password, or a query, which
            may be a signature. The first use of a database decides its key.
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
    folders = [os.path.abspath(each) for each in shared]  # noqa: PTH100 - links are kept: they are part of the name on every host
    options = {"policies": list(playback_policies), "test": test}
    new = known = 0
    with open_database(url, storage_key) as database:
        rest = iter(items)
        while group := list(islice(rest, batch)):
            chosen: dict[str, Item] = {}
            for item in group:
                chosen.setdefault(item.key, _portable(item, folders, database.storage))
            with database.engine.begin() as sql:
                _renew(database.storage, sql, chosen)
                for key in known_ids(sql, list(chosen)):
                    del chosen[key]
                for item in chosen.values():
                    state = ItemState(item.key, is_fetched=item.url is not None)
                    order = {"item": item.to_dict(), "state": state.to_dict(), "options": options}
                    database.client.enqueue_in_transaction(sql, options_of(item), order)
            new += len(chosen)
            known += len(group) - len(chosen)
    return new, known


def _renew(storage: Storage, sql: sa.Connection, items: Mapping[str, Item]) -> None:
    """Store items in the place of equal ones that wait or are failed: a signed URL may have expired, so that the list has a new one."""
    found = run(
        sql,
        "SELECT i.workflow_uuid, i.inputs FROM dbos.workflow_input AS i JOIN dbos.workflow_status AS one USING (workflow_uuid) "
        "WHERE one.workflow_uuid = ANY(:ids) AND one.status = ANY(:states) FOR UPDATE",
        ids=[id_ for key in items for id_ in (key, key + FINISH_SUFFIX)],
        states=["ENQUEUED", *FAILED],
    ).all()
    for workflow, stored in found:
        inputs, item = storage.deserialize(stored), items[workflow.removesuffix(FINISH_SUFFIX)]
        before, now = inputs["args"][0]["item"], item.to_dict()
        if before != now and ("url" in before) == ("url" in now):  # the state is that of a URL, or of a file
            inputs["args"][0]["item"] = now
            statement = "UPDATE dbos.workflow_input SET inputs = :inputs WHERE workflow_uuid = :id"
            run(sql, statement, inputs=storage.serialize(inputs), id=workflow)


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


def _portable(item: Item, folders: Sequence[str], storage: Storage) -> Item:
    """Return the item as every host can use it. Raises `InvalidRequestError` if there is no such item."""
    if item.key.endswith(FINISH_SUFFIX):
        raise InvalidRequestError(f"the key {item.key!r} ends with {FINISH_SUFFIX!r}, which is used for ids: give another")
    if item.path is not None:
        path = os.path.abspath(item.path)  # noqa: PTH100 - see `submit`
        is_shared = _is_in(path, folders) and _is_in(os.path.realpath(path), [os.path.realpath(each) for each in folders])
        if not is_shared:
            raise InvalidRequestError(
                f"{item.source!r} is a path of this host, which the others cannot read: put it into storage that fsspec reads "
                "(s3://...), or name the folder that all hosts have mounted (--shared)"
            )
        item = attrs.evolve(item, path=Path(path))
    storage.check_secrets(item.url.reveal() if item.url is not None else item.address or "", repr(item.source))
    for name, value in item.settings.items():
        storage.check_secrets(json.dumps(value), f"{name!r} of {item.source!r}")
    return item


def _is_in(path: str, folders: Sequence[str]) -> bool:
    return any(os.path.commonpath([folder, path]) == folder for folder in folders)
