"""Ten thousand creates through a storm, against the emulator, in virtual time: one key is one asset, whatever fails.

The storm is a script made from a seed: every POST, and every read of the searches that follow, meets its own fate. ``MUX_TEST_STORM`` sets
the number of creates.
"""

from __future__ import annotations

import os
from collections import Counter
from random import Random
from typing import Any
from uuid import uuid4

import anyio
import attrs
import orjson
import pytest

from mux_async import AmbiguousOutcomeError, LimitSettings, Mux, RetrySettings, Timeouts
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport, Fault
from mux_async.errors import ConnectError
from mux_async.transport import HttpRequest, HttpResponse

pytestmark = [pytest.mark.proof, pytest.mark.anyio, pytest.mark.virtual_time]

CREATES = int(os.environ.get("MUX_TEST_STORM", "1000"))
WORKERS = 20
START = 1_767_225_600.0
SLOW = 90.0
"""Seconds that are more than the client waits for an answer."""

POST_FATES: dict[str, Fault] = {
    "no connection": Fault(cut="refuse"),
    "reset before the body": Fault(cut="before", after_bytes=0),
    "reset within the body": Fault(cut="before", after_bytes=25),
    "reset before acting": Fault(cut="before"),
    "lost reply": Fault(cut="after"),
    "500 before acting": Fault(status=500),
    "500 after acting": Fault(status=500, acts=True),
    "502 after acting": Fault(status=502, body="<html>bad gateway", acts=True),
    "timeout after acting": Fault(cut="after", delay=SLOW),
    "truncated 201": Fault(truncate=40),
    "empty 201": Fault(truncate=0),
    "429": Fault(status=429, body={"errors": ["Too many requests, retry later."]}),
}
GET_FATES: dict[str, Fault] = {
    "500": Fault(status=500),
    "reset": Fault(cut="after"),
    "truncated": Fault(truncate=40),
}
WRITES_NOTHING = {"no connection", "429"}
"""After these, and only these, a POST may be sent again without a look."""


def brew(emulator: Emulator, seed: int, requests: int) -> Counter[str]:
    """Set the storm up: of *requests* POSTs 4 in 10 meet something, of as many GETs 1 in 10. Returns how often each fate was dealt."""
    random = Random(seed)
    dealt: Counter[str] = Counter()
    for method, path, fates, share in [
        ("POST", "/video/v1/assets", POST_FATES, 0.4),
        ("GET", "/video/v1/assets", GET_FATES, 0.1),
    ]:
        numbers: dict[str, set[int]] = {name: set() for name in fates}
        for number in range(1, requests + 1):
            if random.random() < share:
                numbers[random.choice(list(fates))].add(number)
        for name, fault in fates.items():
            emulator.faults.add(attrs.evolve(fault, method=method, path=path, nth=numbers[name]))
            dealt[name] += len(numbers[name])
    return dealt


class Wire:
    """The emulator's transport, with a note of every POST: which key, and whether it may be sent again as it is."""

    def __init__(self, emulator: Emulator) -> None:
        self.inner = EmulatorTransport(emulator)
        self.posts: dict[str, list[bool]] = {}

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        if request.method != "POST":
            return await self.inner.send(request)
        assert isinstance(request.body, bytes)
        body = orjson.loads(request.body)
        log = self.posts.setdefault(body.get("meta", {}).get("external_id") or body["passthrough"], [])
        log.append(False)
        try:
            response = await self.inner.send(request)
        except ConnectError:
            log[-1] = True
            raise
        log[-1] = response.status == 429
        return response

    async def aclose(self) -> None:
        await self.inner.aclose()


def storm(seed: int, creates: int) -> tuple[Emulator, Wire, Mux]:
    emulator = Emulator(EmulatorSettings(max_arrivals=10 * creates), clock=lambda: START + anyio.current_time())
    brew(emulator, seed, 3 * creates)
    wire = Wire(emulator)
    mux = Mux(
        token_id="test-token",
        token_secret="test-secret",
        base_url="https://mux.test",
        account=f"storm-{uuid4()}",
        transport=wire,
        clock=anyio.current_time,
        random=Random(seed),
        max_attempts=20,
        timeouts=Timeouts(read=SLOW - 30.0),
        limits=LimitSettings(retries=RetrySettings(share=float("inf"))),  # a storm this long is what the budget is there to end
    )
    return emulator, wire, mux


async def by_workers(keys: list[str], work: Any) -> None:
    waiting = iter(keys)

    async def worker() -> None:
        for key in waiting:
            await work(key)

    async with anyio.create_task_group() as tasks:
        for _ in range(WORKERS):
            tasks.start_soon(worker)


@pytest.mark.timeout(300)
async def test_with_once_every_key_is_one_asset() -> None:
    """Every create returns the one asset that carries its key; no key has two, and none has none."""
    emulator, wire, mux = storm(20260101, CREATES)
    results: dict[str, str] = {}
    reconciled = 0

    async def create(key: str) -> None:
        nonlocal reconciled
        raw = await mux.video.assets.with_raw_response.create(
            inputs=[{"url": "https://example.com/film.mp4"}], playback_policies=["public"], once=key
        )
        assert raw.value.meta is not None
        assert raw.value.meta.external_id == key
        results[key] = raw.value.id
        reconciled += raw.is_reconciled

    await by_workers([f"film-{number}" for number in range(CREATES)], create)
    emulator.faults.clear()
    there = Counter([asset.meta.external_id async for asset in mux.video.assets.list(limit=100) if asset.meta is not None])

    assert len(results) == len(set(results.values())) == CREATES
    assert set(there) == set(results)
    assert set(there.values()) == {1}
    assert reconciled > CREATES / 10
    posts = [arrival for arrival in emulator.arrivals if arrival.method == "POST"]
    assert len(posts) == sum(map(len, wire.posts.values())) > 1.2 * CREATES


@pytest.mark.timeout(300)
async def test_without_once_nothing_is_sent_again_after_bytes() -> None:
    """A POST without a key is sent again only after a 429 or when there was no connection; everything else ends it."""
    emulator, wire, mux = storm(20260102, CREATES)
    outcomes: Counter[str] = Counter()

    async def create(key: str) -> None:
        try:
            await mux.video.assets.create(inputs=[{"url": "https://example.com/film.mp4"}], passthrough=key)
        except AmbiguousOutcomeError:
            outcomes["in doubt"] += 1
        else:
            outcomes["made"] += 1

    keys = [f"film-{number}" for number in range(CREATES)]
    await by_workers(keys, create)
    emulator.faults.clear()
    there = Counter([asset.passthrough async for asset in mux.video.assets.list(limit=100)])

    assert sorted(wire.posts) == sorted(keys)
    for key, attempts in wire.posts.items():
        assert all(attempts[:-1]), f"{key} was sent again after bytes had left: {attempts}"
    assert set(there.values()) == {1}
    assert outcomes["made"] + outcomes["in doubt"] == CREATES
    assert outcomes["in doubt"] > CREATES / 5
    posts = [arrival for arrival in emulator.arrivals if arrival.method == "POST"]
    assert len(posts) == sum(map(len, wire.posts.values()))
