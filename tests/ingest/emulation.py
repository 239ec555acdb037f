"""An emulator in the same process and clients of it, on the clock of the test's event loop."""

from __future__ import annotations

import json
from itertools import count
from random import Random

import anyio

from mux_async import Mux
from mux_async.emulator import Arrival, Emulator, EmulatorSettings, EmulatorTransport, Request
from mux_async.ingest import Item, ItemState, Journal, url_item
from mux_async.ingest._journal import store_of
from mux_async.ingest._journal_store import Change, NewItem
from mux_async.ingest._runs import begin_run, end_run
from mux_async.ingest.machine import Began, advance
from mux_async.limits import Bucket

_accounts = count()


def emulate(settings: EmulatorSettings | None = None) -> Emulator:
    """Return an emulator whose time is the event loop's."""
    return Emulator(settings, clock=lambda: 1.7e9 + anyio.current_time())


def client_of(emulator: Emulator, *, token_id: str = "test-token", secret: str = "test-secret") -> Mux:
    """Return a client with an account of its own."""
    return Mux(
        token_id=token_id,
        token_secret=secret,
        account=f"emulation-{next(_accounts)}",
        transport=EmulatorTransport(emulator),
        clock=anyio.current_time,
        random=Random(1),
    )


def posts(emulator: Emulator) -> list[Arrival]:
    """Return the creates that arrived."""
    return [each for each in emulator.arrivals if each.bucket is Bucket.POST]


def urls(number: int) -> list[Item]:
    """Return items that Mux fetches; their URLs hold a canary."""
    return [url_item(f"https://example.com/{each}.mp4?signature=canary") for each in range(number)]


def left_unknown(journal: Journal, items: list[Item], at: float) -> None:
    """Leave *items* as a run does that died while their creates were on the way."""
    runner, lease = begin_run(store_of(journal))
    store_of(journal).add_items([NewItem(item.key, item.source, is_fetched=item.url is not None) for item in items])
    store_of(journal).claim([item.key for item in items], runner)
    states = [ItemState(item.key, is_fetched=item.url is not None) for item in items]
    store_of(journal).write([Change(advance(state, Began(at))) for state in states], runner)
    end_run(store_of(journal), runner, lease)


def make_asset(emulator: Emulator, key: str) -> None:
    """Make what a create with *key* would have made."""
    body = json.dumps({"inputs": [{"url": "https://example.com/x.mp4"}], "meta": {"external_id": key}}).encode()
    headers = {"Authorization": "Basic dGVzdC10b2tlbjp0ZXN0LXNlY3JldA==", "Content-Type": "application/json"}
    assert emulator.handle(Request("POST", "/video/v1/assets", headers, body)).status == 201
