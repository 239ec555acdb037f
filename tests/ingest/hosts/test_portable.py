"""What may be stored for other hosts, how it is stored, when a worker may send, and how it looks up a create. Without servers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import attrs
import pytest
from cryptography.fernet import Fernet

from mux_async import LimitSettings, Mux
from mux_async.errors import ConfigurationError, ConnectError, Delivery, InvalidRequestError, TransportError
from mux_async.ingest import Item, ItemOptions, Stage, file_item, url_item
from mux_async.ingest.dbos import ItemFailedError, _fence
from mux_async.ingest.dbos._context import WorkerContext
from mux_async.ingest.dbos._database import Storage
from mux_async.ingest.dbos._fence import Fence, FencedTransport
from mux_async.ingest.dbos._items import Items
from mux_async.ingest.dbos._submit import _portable, options_of  # pyright: ignore[reportPrivateUsage]
from mux_async.ingest.machine import ItemState
from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.transport import HttpRequest

KEY = Fernet.generate_key().decode()
NOW = 1_800_000_000.0
PLAIN = url_item("https://example.com/a.mp4")
OVERLAY = {"inputs": [{}, {"url": "https://example.com/logo.png?Signature=canary"}]}


@pytest.mark.parametrize(
    "item",
    [
        url_item("https://example.com/a.mp4?Signature=canary"),
        url_item("https://user:canary@example.com/a.mp4"),
        attrs.evolve(PLAIN, url=None, address="ftp://user:canary@example.com/a.mp4"),
        attrs.evolve(PLAIN, url=None, address="simplecache::https://user:canary@example.com/a.mp4"),
        attrs.evolve(PLAIN, url=None, address="simplecache::https://example.com/a.mp4?token=canary"),
        url_item("https://example.com/a.mp4", ItemOptions(settings=OVERLAY)),
    ],
)
def test_secrets(item: Item) -> None:
    """URLs with a password or a query are refused without a storage key, wherever they are, and are not in the message."""
    with pytest.raises(InvalidRequestError, match="storage key") as caught:
        _portable(item, [], Storage(None))
    assert "canary" not in str(caught.value)
    assert _portable(item, [], Storage(KEY)) == item


def test_question_in_a_title() -> None:
    """A question mark outside a URL is no query."""
    item = url_item("https://example.com/a.mp4", ItemOptions(meta={"title": "Who? Me@home"}))
    assert _portable(item, [], Storage(None)) == item


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is accepted under the name that every host has: not under a link of this host, nor through a link out of the folder."""
    shared, local = tmp_path / "shared", tmp_path / "local"
    shared.mkdir()
    local.mkdir()
    for folder in (shared, local):
        (folder / "a.mp4").write_bytes(b"film")
    (local / "link").symlink_to(shared)
    (shared / "link.mp4").symlink_to(local / "a.mp4")
    folders = [str(shared)]
    for refused in (local / "a.mp4", local / "link" / "a.mp4", shared / "link.mp4", shared / ".." / "local" / "a.mp4"):
        with pytest.raises(InvalidRequestError, match="--shared"):
            _portable(file_item(refused), folders, Storage(KEY))
    monkeypatch.chdir(shared)
    assert _portable(file_item(Path("a.mp4")), folders, Storage(KEY)).path == shared / "a.mp4"


def test_key_of_another_workflow() -> None:
    """A key that could be the id of another item's second workflow is refused."""
    with pytest.raises(InvalidRequestError, match="ends with '/finish'"):
        _portable(url_item("https://example.com/a.mp4", ItemOptions(key="film/finish")), [], Storage(KEY))


def test_priority() -> None:
    """An item with a higher priority has a lower number, which DBOS takes first; extremes stay within its bounds."""
    numbers = [options_of(attrs.evolve(PLAIN, priority=priority)).get("priority") for priority in (10**9, 5, 0, -5, -(10**9))]
    assert numbers == sorted({int(number or 0) for number in numbers})
    assert numbers[0] == 1


def test_storage() -> None:
    """What is stored is read again, with its key only; an error keeps its state."""
    key = Fernet.generate_key().decode()
    plain, encrypted = Storage(None), Storage(key)
    for storage in (plain, encrypted):
        assert storage.deserialize(storage.serialize({"args": [{"url": "canary"}]})) == {"args": [{"url": "canary"}]}
        error = storage.deserialize(storage.serialize(ItemFailedError("canary", state={"stage": "dead"})))
        assert isinstance(error, ItemFailedError)
        assert (str(error), error.state) == ("canary", {"stage": "dead"})
    assert "canary" not in encrypted.serialize("canary")
    with pytest.raises(ConfigurationError, match="give the storage key"):
        plain.deserialize(encrypted.serialize(1))
    with pytest.raises(ConfigurationError, match="another storage key"):
        Storage(Fernet.generate_key().decode()).deserialize(encrypted.serialize(1))
    with pytest.raises(ConfigurationError, match="new-key"):
        Storage("not a key")


def test_fence() -> None:
    """A worker sends until its heartbeat is too old, again after a new one, and never after others have taken over."""
    now = 0.0
    fence = Fence(lambda: now)
    transport = FencedTransport(FakeTransport(lambda _: respond(json={})), fence)

    def send() -> None:
        anyio.run(transport.send, HttpRequest("GET", "https://api.mux.com/"))

    send()
    now = _fence.FENCE_AFTER
    with pytest.raises(TransportError) as caught:
        send()
    assert caught.value.delivery is Delivery.NEVER_SENT
    fence.seen(now)
    send()
    fence.is_lost = True
    with pytest.raises(TransportError):
        send()


@pytest.mark.anyio
@pytest.mark.runtimes("virtual-asyncio")
async def test_a_lookup_that_fails_is_repeated() -> None:
    """The asset that another worker created is found when the network is back; nothing is created before or afterwards."""
    item = url_item("https://example.com/film.mp4")
    asset = {"id": "a1", "status": "preparing", "created_at": str(int(NOW) - 60), "meta": {"external_id": item.key}}

    def answer(_: SentRequest) -> object:
        return respond(json={"data": [asset]}) if len(transport.requests) > 2 else ConnectError("connection refused")

    transport = FakeTransport(cast("Any", answer))
    limits = LimitSettings(enabled=False)
    async with Mux(token_id="id", token_secret="secret", transport=transport, max_attempts=1, limits=limits) as mux:
        clock, database = cast("Any", SimpleNamespace(now=lambda: NOW, slack=1.0)), cast("Any", None)
        items: Any = Items(WorkerContext(mux, clock, Fence(lambda: NOW), database, asyncio.Event()), None)
        state = ItemState(item.key, stage=Stage.CREATING, is_fetched=True, intended_at=NOW - 60)
        order = {"item": item.to_dict(), "options": {"policies": ["public"], "test": False}}
        found = (await items._perform(order, state))["state"]
    assert (found["stage"], found["asset_id"]) == ("created", "a1")
    assert [request.method for request in transport.requests] == ["GET"] * 3
