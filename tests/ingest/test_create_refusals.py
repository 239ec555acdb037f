"""Mux refuses one create after the other: for a reason of the account the run ends, for reasons of the items it does not."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from mux_async.emulator import Emulator, Fault
from mux_async.ingest import Ingest, IngestSummary, Item, Journal, Manifest, Stage, make_plan
from tests.ingest.emulation import client_of, emulate, posts, urls

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

CREATE = "/video/v1/(assets|uploads)"
PLAN = "Free plan is limited to 10 assets, you cannot create direct uploads while exceeding this limit"
SENTENCES = [
    (400, PLAN),
    (400, "Your organization has unpaid invoices"),
    (402, "Please settle it"),
    (400, "You must accept the terms of service first"),
    (422, "Creation is switched off until further notice"),
]


def refusal(status: int, sentence: str, nth: range | None = None) -> Fault:
    body = {"error": {"type": "invalid_parameters", "messages": [sentence]}}
    return Fault(method="POST", path=CREATE, status=status, body=body, nth=nth)


async def ingest(emulator: Emulator, items: list[Item], journal: Path, concurrency: int = 4) -> IngestSummary:
    async with client_of(emulator) as mux:
        return await Ingest(mux, items, journal=journal, concurrency=concurrency).run()


@pytest.mark.parametrize(("status", "sentence"), SENTENCES)
async def test_the_account(tmp_path: Path, status: int, sentence: str) -> None:
    """A message about the account ends the run after a few creates, and is its reason; the other items stay planned for the next run."""
    emulator, items, journal = emulate(), urls(16), tmp_path / "j"
    emulator.faults.add(refusal(status, sentence))
    summary = await ingest(emulator, items, journal)
    refused = len(posts(emulator))

    assert sentence in (summary.reason or "")
    assert (summary.ready, summary.failed, summary.not_started, summary.unfinished) == (0, 0, 16, 0)
    assert refused <= 14
    with Journal.open(journal) as kept:
        assert kept.summary().stages == {Stage.PLANNED: 16}

    emulator.faults.clear()
    summary = await ingest(emulator, items, journal)
    assert (summary.ready, summary.reason) == (16, None)
    assert len(posts(emulator)) == refused + 16


async def test_what_was_begun_is_finished(tmp_path: Path) -> None:
    """If a plan is used up in the middle, accepted items are finished before the run ends."""
    emulator, journal = emulate(), tmp_path / "j"
    emulator.faults.add(refusal(400, PLAN, range(11, 10_000)))
    summary = await ingest(emulator, urls(50), journal)

    assert (summary.ready, summary.failed, summary.not_started) == (10, 0, 40)
    assert PLAN in (summary.reason or "")


async def test_items_of_their_own_fault(tmp_path: Path) -> None:
    """Items that are refused between accepted ones, or with messages about them, fail alone and do not end the run."""
    emulator, journal = emulate(), tmp_path / "j"
    emulator.faults.add(refusal(400, PLAN, range(3, 5)))
    emulator.faults.add(refusal(400, "Something is odd", range(8, 13)))
    emulator.faults.add(refusal(400, "the url of an input cannot be used", range(20, 40)))
    summary = await ingest(emulator, urls(60), journal, concurrency=1)

    assert summary.reason is None
    assert (summary.ready, summary.failed) == (60 - 2 - 5 - 20, 27)
    assert sorted(summary.errors.values()) == [2, 5, 20]
    with Journal.open(journal) as kept:
        assert kept.summary().dead == 27


async def test_settings_of_their_own(tmp_path: Path) -> None:
    """Items with settings of their own may be refused for these, any number of times: the run continues."""
    emulator = emulate()
    text = "url,video_quality\n" + "".join(f"https://e.com/{number}.mp4,premium\n" for number in range(30))
    items = list(make_plan(manifest=Manifest(text, "csv")).items)
    emulator.faults.add(refusal(400, "premium is not for you"))
    summary = await ingest(emulator, [*items, *urls(3)], tmp_path / "j", concurrency=1)

    assert (summary.reason, summary.failed) == (None, 33)


async def test_a_few_at_the_end(tmp_path: Path) -> None:
    """Refusals that are too few to end the run are failures when the run ends or is stopped."""
    emulator = emulate()
    emulator.faults.add(refusal(400, PLAN))
    summary = await ingest(emulator, urls(2), tmp_path / "j")

    assert (summary.failed, summary.reason) == (2, None)
    assert [count for _, count in summary.errors.items()] == [2]
    (sentence,) = summary.errors
    assert PLAN in sentence
    assert "request id" not in sentence
    assert anyio.current_time() < 60
