"""Fuzzing: no request, no file and no webhook endpoint makes the emulator fail or respond with 5xx.

The 30,000 requests are the same in every run: seeds choose them, and `tests.emulator.fuzzing` makes them. They go to accounts that have
objects of every kind, while time passes and webhooks get any response. `MUX_ASYNC_FUZZ` sets the number of seeds of a longer run::

    MUX_ASYNC_FUZZ=500 pytest tests/emulator/test_fuzz.py
"""

from __future__ import annotations

import asyncio
import os
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import attrs
import orjson
import pytest

from mux_async.emulator import (
    ConnectionCutError,
    Emulator,
    EmulatorSettings,
    Fault,
    Response,
    StateFileError,
    WebhookFault,
    WebhookRetries,
    WebhookSettings,
    WorkFault,
    read_faults_file,
    serve,
)
from tests._examples import examples
from tests.emulator import tour
from tests.emulator.fuzzing import VALUES, Mutator, RecordedRequest, corpus
from tests.emulator.harness import Account

SEEDS = int(os.environ.get("MUX_ASYNC_FUZZ", "8"))
REQUESTS = 3000
"""Requests per seed."""
MEMBERS = [field.name for kind in (Fault, WebhookFault, WorkFault) for field in attrs.fields(kind)]
FAMILIES = ("/video/", "/data/", "/system/", "/robots/")


@cache
def good(*, data: bool = False) -> list[RecordedRequest]:
    """Good requests of the Data API, or all others. Those of the Data API take a hundred times as long."""
    return [request for request in corpus() if request.target.startswith("/data/") == data]


def fire(account: Account, request: RecordedRequest) -> Response | None:
    """Send a request; ``None`` if a fault that an earlier request set up broke the connection."""
    try:
        return account.send(request.method, request.target, request.body, headers=dict(request.headers))
    except ConnectionCutError:
        assert len(account.emulator.faults) > 0
        return None


def validate_response(account: Account, request: RecordedRequest, response: Response) -> None:
    """Check that a response is valid."""
    where = (
        request.method,
        request.target[:300],
        request.body[:300],
        dict(request.headers),
        response.status,
        response.body[:300],
    )
    if len(account.emulator.faults) == 0:
        assert 200 <= response.status < 500, where
    is_json = "json" in response.headers.get("Content-Type", "")
    content: Any = response.json() if is_json and response.body else None
    if response.status >= 400 and request.target.startswith(FAMILIES) and len(account.emulator.faults) == 0:
        error = content["error"]
        assert isinstance(error["type"], str), where
        assert error.get("message") or all(error["messages"]), where


def batter(account: Account, random: Random, requests: int = REQUESTS, *, data: bool = False) -> set[int]:
    """Send damaged requests while time passes. Returns the statuses."""
    mutator = Mutator(random, good(data=data))
    statuses: set[int] = set()
    for _ in range(requests):
        request = mutator.next_request()
        response = fire(account, request)
        if response is not None:
            validate_response(account, request, response)
            mutator.learn(request, response)
            statuses.add(response.status)
        if len(account.emulator.faults):  # else nothing that comes after would be heard of
            account.emulator.faults.clear()
        if random.random() < 0.05 and not data:
            account.pass_time(random.choice([0.5, 5.0, 300.0, 7200.0]))
        if random.random() < 0.05:
            for webhook in account.emulator.take_webhooks():
                account.emulator.settle_webhook(webhook.delivery_id, random.choice([None, 200, 204, 302, 500, 999]), "odd")
        if random.random() < 0.01:
            account.emulator.settle_webhook("no such delivery", 200)
    assert account.send("GET", "/system/v1/whoami").status == 200
    return statuses


def settled(**more: Any) -> EmulatorSettings:
    hook = WebhookSettings("https://app.example/hooks", "hush")
    retries = WebhookRetries(until=600.0)
    return EmulatorSettings(
        limits=None, webhooks=(hook,), webhook_retries=retries, max_events=500, accept_robots_terms=True, **more
    )


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(SEEDS))
def test_requests(seed: int) -> None:
    """An account with objects of every kind responds to any request, below 500 and in the right form."""
    account = Account(settled())
    asset = tour.assets(account)
    tour.live_streams(account)
    tour.robots(account, asset)

    statuses = batter(account, Random(f"fuzz {seed}"))

    assert {200, 201, 204, 400, 401, 404} <= statuses


@pytest.mark.proof
def test_requests_of_the_data_api() -> None:
    """The same for the Data API, whose data do not change meanwhile."""
    statuses = batter(Account(settled()), Random("data"), 500, data=True)

    assert {200, 400, 404} <= statuses


@pytest.mark.proof
def test_requests_without_memory() -> None:
    """The same without state."""
    statuses = batter(Account(settled(stub=True)), Random("stub"))

    assert {200, 400, 404} <= statuses


@pytest.mark.proof
def test_requests_with_a_file(tmp_path: Path) -> None:
    """The same with a state file, which can be read afterwards and is complete."""
    account = Account(settled(state=tmp_path / "state"))
    tour.assets(account)
    batter(account, Random("file"), 800)
    before = [account.ok("GET", f"/video/v1/{kind}?limit=100") for kind in ("assets", "live-streams", "uploads")]
    account.emulator.close()

    again = Account(settled(state=tmp_path / "state"))
    again.clock.now = account.clock.now
    after = [again.ok("GET", f"/video/v1/{kind}?limit=100") for kind in ("assets", "live-streams", "uploads")]
    again.emulator.close()

    assert after == before
    assert before[0]["data"]


def test_state_files(tmp_path: Path) -> None:
    """A damaged state file is refused with a reason, or can still be read."""
    path = tmp_path / "state"
    account = Account(settled(state=path))
    tour.assets(account)
    account.emulator.close()
    whole = path.read_bytes()
    random = Random("state files")
    refused, count = 0, examples(60)
    for number in range(count):
        content = bytearray(whole)
        for _ in range(random.choice([1, 1, 5, 50])):
            at = random.randrange(len(content))
            if random.random() < 0.2:
                del content[at:]
                content += b"\0"
            else:
                content[at] = random.randrange(256)
        damaged = tmp_path / f"damaged-{number}"
        damaged.write_bytes(bytes(content))
        try:
            opened = Account(settled(state=damaged))
        except StateFileError:
            refused += 1
        else:
            opened.send("GET", "/video/v1/assets")
            opened.emulator.close()

    assert 0 < refused < count


def test_faults_files(tmp_path: Path) -> None:
    """A malformed faults file is a ValueError, whatever it contains."""
    random = Random("faults files")
    path = tmp_path / "faults.json"
    read = 0
    for _ in range(500):
        value: Any = {
            kind: random.choice(
                [[{random.choice(MEMBERS): random.choice(VALUES) for _ in range(random.randrange(4))}], random.choice(VALUES)]
            )
            for kind in random.sample(["requests", "webhooks", "work", "more"], random.randrange(1, 4))
        }
        content = str(value).encode() if random.random() < 0.1 else orjson.dumps(value, default=str) if _fits(value) else b"{"
        path.write_bytes(content)
        try:
            read_faults_file(path)
            read += 1
        except ValueError:
            continue

    assert read > 0


def _fits(value: object) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


ANSWERS = {
    "nothing": b"",
    "noise": bytes(range(256)),
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "no status": b"HTTP/1.1 abc\r\n\r\n",
    "odd status": b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
    "only informing": b"HTTP/1.1 100 Continue\r\n\r\n",
    "redirect to nowhere": b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
    "very long header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
    "broken chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "no gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    "an odd cookie": b"HTTP/1.1 204 OK\r\nSet-Cookie: \xff=\x01; Domain=.com\r\n\r\n",
    "fine": b"HTTP/1.1 204 No Content\r\n\r\n",
}


@pytest.mark.asyncio
async def test_endpoints() -> None:
    """Whatever an endpoint responds to a webhook, the attempt is recorded, and the next event is delivered."""
    answers = iter(ANSWERS.values())

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
        await reader.readexactly(length)
        writer.write(next(answers))
        writer.close()

    delivered = asyncio.Event()
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    hook = WebhookSettings(f"http://127.0.0.1:{port}/hooks", "hush")
    settings = EmulatorSettings(limits=None, webhooks=(hook,))
    emulator = Emulator(settings, on_delivery=lambda delivery: delivered.set() if delivery.attempts[-1].status == 204 else None)
    async with server, serve(emulator):
        account = Account(settings)
        account.emulator = emulator
        for _ in ANSWERS:
            account.create_upload()
        async with asyncio.timeout(30):
            while len([entry for entry in emulator.deliveries if entry.attempts]) < len(ANSWERS):
                await delivered.wait()
                delivered.clear()
    ended = {name: delivery.attempts[0] for name, delivery in zip(ANSWERS, emulator.deliveries, strict=True)}

    assert ended["fine"].status == 204
    assert ended["odd status"].status == 999
    assert ended["redirect to nowhere"].status == 302
    assert all(attempt.status is not None or attempt.error for attempt in ended.values())


# ---- what damaged requests found, each in its smallest form


def test_placeholder_for_an_id() -> None:
    """A path with the name of a parameter instead of an id is a malformed id, not a failure."""
    assert Account().error("GET", "/video/v1/assets/{ASSET_ID}")[0] == 400


def test_unknown_members_of_control_calls() -> None:
    """Unknown members of a control call are ignored."""
    account = Account()
    stream = account.data("POST", "/video/v1/live-streams", {})["id"]

    assert account.send("POST", f"/_emulator/live-streams/{stream}/connect", {"protocol": "srt", "url": 5}).status == 204


def test_null_in_a_fault() -> None:
    """A null in a fault is the same as a missing member."""
    account = Account()

    assert account.send("POST", "/_emulator/webhooks/faults", {"copies": None, "lose": True}).status == 204
    assert len(account.emulator.webhook_faults) == 1


@pytest.mark.parametrize("length", [5.0, 1e308])
def test_whole_numbers_with_a_point(length: float) -> None:
    """A whole number may be written as a float."""
    account = Account()
    asset = account.ready_asset()
    parameters = {"asset_id": asset["id"], "title_length": length}
    job = account.data("POST", "/robots/v0/jobs/summarize", {"parameters": parameters})["id"]
    account.pass_time(600.0)

    assert account.data("GET", f"/robots/v0/jobs/summarize/{job}")["status"] == "completed"
