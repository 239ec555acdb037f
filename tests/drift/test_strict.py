"""A strict client raises for the first response with drift; any other counts it, and gives the value."""

from __future__ import annotations

import inspect
from random import Random
from typing import Any
from uuid import uuid4

import pytest

from mux_async import ConfigurationError, DriftError, LimitSettings, Mux, NotFoundError, ServerError
from mux_async.drift import drift
from mux_async.emulator import Emulator, Fault
from mux_async.errors import APIStatusError
from mux_async.events import CallEnded
from mux_async.testing import FakeTransport, check_drift, plugin, respond
from mux_async.webhooks import parse_event
from tests.emulator.harness import Json
from tests.generated import spec

pytestmark = pytest.mark.anyio


def asset(**changes: Any) -> Json:
    made: Json = spec.make({"$ref": f"{spec.REF}Asset"}, Random(1), is_answer=False)
    return {**made, **changes}


def client(status: int, body: object, *, strict: bool) -> Mux:
    return Mux(
        token_id="id",
        token_secret="secret",
        account=f"strict-{uuid4()}",
        transport=FakeTransport(lambda _: respond(status, json=body)),
        limits=LimitSettings(enabled=False),
        max_attempts=1,
        strict=strict,
    )


DIFFERENT: dict[str, tuple[int, Json, str]] = {
    "field": (200, {"data": asset(new=1)}, r"unknown field Asset\.new \(integer\)"),
    "value": (200, {"data": asset(status="paused")}, r"unknown value Asset\.status \(paused\), expected one of 3 values"),
    "deep": (200, {"data": asset(progress={"progress": "x", "state": "live"})}, r"wrong type AssetProgress\.progress .* at \.progress"),
    "missing": (200, {"data": {name: value for name, value in asset().items() if name != "id"}}, r"missing field Asset\.id"),
    "beside data": (200, {"data": asset(), "warnings": ["x"]}, r"unknown field response of Asset\.warnings"),
    "status": (207, {"data": asset()}, "unexpected status 207"),
    "error status": (418, {}, "unexpected status 418"),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
async def test_strict(name: str) -> None:
    """A strict client raises one error that names operation and place; the same response is counted by another client, and returned."""
    status, body, message = DIFFERENT[name]
    async with client(status, body, strict=True) as mux:
        with pytest.raises(DriftError, match=message) as caught:
            await mux.video.assets.retrieve("a1")
    assert "GET /video/v1/assets/{ASSET_ID}" in str(caught.value)
    drift.clear()

    async with client(status, body, strict=False) as mux:
        if status == 418:
            with pytest.raises(APIStatusError):
                await mux.video.assets.retrieve("a1")
        else:
            assert (await mux.video.assets.retrieve("a1")).to_wire() == body["data"]
        (place,) = mux.drift.report().places
    assert place.count == 1


async def test_strict_page() -> None:
    """Every item of a page is checked, and the page itself; the message has every place."""
    body = {"data": [asset(), asset(new=1), asset(new="x")], "next_cursor": None, "total": 7}
    async with client(200, body, strict=True) as mux:
        with pytest.raises(DriftError) as caught:
            await mux.video.assets.list()

    assert [place.partition(" at ")[2] for place in caught.value.places] == ["the top", ".data[1]", ".data[2]"]


@pytest.mark.parametrize(("status", "error"), [(404, NotFoundError), (503, ServerError)])
async def test_usual_errors(status: int, error: type[Exception]) -> None:
    """Errors that Mux is known to send are no drift."""
    async with client(status, {"error": {"type": "x", "messages": ["y"]}}, strict=True) as mux:
        with pytest.raises(error):
            await mux.video.assets.retrieve("a1")

    assert not drift.report()


async def test_list_with_company() -> None:
    """What stands beside a list of objects is counted once a response, and the list is read as usual."""
    made = spec.make({"$ref": f"{spec.REF}InputInfo"}, Random(1), is_answer=False)
    async with client(200, {"data": [made, made], "more": {"x": 1}}, strict=False) as mux:
        for _ in range(2):
            assert [each.to_wire() for each in await mux.video.assets.retrieve_input_info("a1")] == [made, made]

    (place,) = drift.report().places
    assert (place.owner, place.name, place.count, place.samples) == ("response of InputInfo", "more", 2, ({"x": "integer"},))


async def test_nothing_is_read_for_it() -> None:
    """Without strict mode a response is not read: what the program does not use is not examined."""
    async with client(200, {"data": asset(new=1)}, strict=False) as mux:
        found = await mux.video.assets.retrieve("a1")
        assert not mux.drift.report()
        assert found.status
        assert found.id
        assert len(mux.drift.report()) == 1


async def test_options_stay_strict() -> None:
    """A client made with other options is strict too."""
    async with client(200, {"data": asset(new=1)}, strict=True) as mux:
        with pytest.raises(DriftError):
            await mux.with_options(deadline=5.0).video.assets.retrieve("a1")


async def test_strict_with_listeners() -> None:
    """Listeners see a call with drift end in an error, once."""
    ended: list[CallEnded] = []
    async with client(200, {"data": asset(new=1)}, strict=True) as mux:
        with mux.listen(lambda event: ended.append(event) if isinstance(event, CallEnded) else None), pytest.raises(DriftError):
            await mux.video.assets.retrieve("a1")

    assert [(event.outcome, event.error) for event in ended] == [("error", "DriftError")]


@pytest.mark.runtimes("asyncio")
async def test_option_of_the_plugin(pytestconfig: pytest.Config, mux_emulator: Emulator) -> None:
    """The fixture ``mux`` is strict where the option says so, and is not by default."""
    make = inspect.unwrap(plugin.mux)
    for is_strict in (False, True):
        pytestconfig.option.mux_strict = is_strict
        try:
            mux: Mux = make(mux_emulator, pytestconfig)
        finally:
            pytestconfig.option.mux_strict = False
        mux_emulator.faults.add(Fault(path="/video/v1/assets", status=418))
        with pytest.raises(DriftError if is_strict else APIStatusError, match="418"):
            await mux.video.assets.list()


def test_check_of_events() -> None:
    """Events are checked with a function, because no client reads them."""
    event = parse_event({"type": "video.asset.ready", "id": "e", "data": {"id": "a1", "new": [1]}})

    with pytest.raises(DriftError, match=r"unknown field WebhookAsset\.new \(\['integer'\]\) at \.data"):
        check_drift(event)


def test_misuse() -> None:
    """``strict`` is true or false."""
    with pytest.raises(ConfigurationError, match="strict"):
        Mux(token_id="i", token_secret="s", strict="yes")  # type: ignore[arg-type]
