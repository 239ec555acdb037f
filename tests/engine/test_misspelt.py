"""Mistakes in arguments: found before anything is sent, reported as warnings, and corrected if there is one way to."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mux_async import LimitSettings, Mux
from mux_async.emulator import Emulator, EmulatorTransport
from mux_async.errors import DeprecatedArgumentWarning, InvalidRequestError, MisspeltArgumentWarning, MuxWarning
from mux_async.models import AssetOptions, InputSettings
from mux_async.testing import FakeTransport, SentRequest, respond
from mux_async.transport import HttpResponse

pytestmark = pytest.mark.anyio
URL = "https://example.com/film.mp4"


class Account:
    """Keeps the bodies that arrive."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []

        async def handle(request: SentRequest) -> HttpResponse:
            self.bodies.append(json.loads(request.content))
            return respond(json={"data": {"id": "a"}})

        # Any: what is written here is what type checkers refuse.
        limits = LimitSettings(enabled=False)
        self.mux: Any = Mux(token_id="id", token_secret="secret", transport=FakeTransport(handle), limits=limits)


Case = tuple[Callable[[Any], Awaitable[object]], str, str]
MISSPELT: list[Case] = [
    (lambda mux: mux.video.assets.create(inputs=[{"uri": URL}]), "inputs[0].uri", "'url'"),
    (lambda mux: mux.video.assets.create(inputs=URL, playback_policies=["pubic"]), "playback_policies[0]", "'public'"),
    (lambda mux: mux.video.assets.create(inputs=URL, master_access="temporal"), "master_access", "'temporary'"),
    (lambda mux: mux.video.assets.create(inputs=URL, meta={"titel": "t"}), "meta.titel", "'title'"),
    (lambda mux: mux.video.assets.create(inputs=URL, meta={"externalId": "t"}), "meta.externalId", "'external_id'"),
    (
        lambda mux: mux.video.assets.create(inputs=URL, extra_body={"playback_polices": ["public"]}),
        "playback_polices",
        "'playback_policies'",
    ),
    (
        lambda mux: mux.video.uploads.create(new_asset_settings={"playback_polices": ["public"]}),
        "new_asset_settings.playback_polices",
        "'playback_policies'",
    ),
    (
        lambda mux: mux.video.uploads.create(new_asset_settings=AssetOptions(extra={"playback_polices": ["public"]})),
        "new_asset_settings.playback_polices",
        "'playback_policies'",
    ),
    (
        lambda mux: mux.video.assets.create(inputs=[{"url": URL, "overlay_settings": {"widht": "10%"}}]),
        "inputs[0].overlay_settings.widht",
        "'width'",
    ),
    (
        lambda mux: mux.video.live_streams.create(simulcast_targets=[{"url": "rtmp://x", "streamkey": "k"}]),
        "streamkey",
        "'stream_key'",
    ),
    (lambda mux: mux.video.live_streams.create(latency_mode="lo"), "latency_mode", "'low'"),
]


@pytest.mark.parametrize(("call", "where", "meant"), MISSPELT, ids=[case[1] for case in MISSPELT])
async def test_misspelt(call: Callable[[Any], Awaitable[object]], where: str, meant: str) -> None:
    """A member or value that is close to a known one is a warning that names place and likely meaning; as an error nothing is sent."""
    account = Account()
    with pytest.warns(MisspeltArgumentWarning) as caught:
        await call(account.mux)
    (said,) = caught
    assert where in str(said.message)
    assert f"did you mean {meant}?" in str(said.message)
    assert said.filename == __file__
    assert len(account.bodies) == 1

    with warnings.catch_warnings():
        warnings.simplefilter("error", MuxWarning)
        with pytest.raises(MisspeltArgumentWarning):
            await call(account.mux)
    assert len(account.bodies) == 1


@pytest.mark.parametrize(
    "more",
    [
        {"extra_body": {"hologram": {"depth": 3}}},
        {"meta": {"title": "t", "zodiac": "lion"}},
        {"playback_policies": ["hologram-only"]},
        {"extra_body": {"passthrough": "p"}},
        {"meta": None},
        {},
    ],
    ids=str,
)
async def test_unknown(more: dict[str, Any]) -> None:
    """An unknown member that resembles no known one may be new, and is sent without a warning; so is a known one."""
    account = Account()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await account.mux.video.assets.create(inputs=[{"url": URL}], **more)

    sent = {name: value for name, value in more.items() if name != "extra_body"} | more.get("extra_body", {})
    assert account.bodies == [{"inputs": [{"url": URL}], **sent}]


LISTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"inputs": {"url": URL}}, {"inputs": [{"url": URL}]}),
    ({"inputs": InputSettings(url=URL)}, {"inputs": [{"url": URL}]}),
    ({"inputs": URL, "playback_policies": "public"}, {"inputs": [{"url": URL}], "playback_policies": ["public"]}),
    (
        {"inputs": URL, "static_renditions": {"resolution": "highest"}},
        {"inputs": [{"url": URL}], "static_renditions": [{"resolution": "highest"}]},
    ),
    (
        {"inputs": [{"url": URL, "generated_subtitles": {"language_code": "en"}}]},
        {"inputs": [{"url": URL, "generated_subtitles": [{"language_code": "en"}]}]},
    ),
]


@pytest.mark.parametrize(("given", "sent"), LISTS)
async def test_one_where_a_list_belongs(given: dict[str, Any], sent: dict[str, Any]) -> None:
    """One object or one text where a list belongs is put into a list, at any depth."""
    account = Account()
    await account.mux.video.assets.create(**given)

    assert account.bodies == [sent]


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"meta": "a film"}, "meta is text"),
        ({"meta": [{"title": "t"}]}, "meta is a list"),
        ({"static_renditions": "highest"}, r"static_renditions\[0\] is text"),
        ({"advanced_playback_policies": ["public"]}, r"advanced_playback_policies\[0\] is text"),
        ({"inputs": [[{"url": URL}]]}, r"inputs\[0\] is a list"),
        ({"inputs": [{"url": URL, "generated_subtitles": "en"}]}, r"inputs\[0\].generated_subtitles\[0\] is text"),
        ({"inputs": [{"url": URL, "overlay_settings": 7}]}, r"inputs\[0\].overlay_settings is of type int"),
    ],
)
async def test_what_can_only_be_an_object(given: dict[str, Any], where: str) -> None:
    """A value where an object belongs is refused before anything is sent; the error lists the members."""
    account = Account()

    with pytest.raises(InvalidRequestError, match=f"{where}.*, where an object belongs; its members are "):
        await account.mux.video.assets.create(**{"inputs": URL, **given})
    assert not account.bodies


async def test_deprecated() -> None:
    """A deprecated member is a warning that says what takes its place, also where it is nested."""
    account = Account()
    with pytest.warns(DeprecatedArgumentWarning, match=r"playback_policy is deprecated.*``playback_policies``") as caught:
        await account.mux.video.assets.create(inputs=URL, playback_policy=["public"])
    assert issubclass(caught[0].category, DeprecationWarning)
    assert caught[0].filename == __file__

    with pytest.warns(DeprecatedArgumentWarning, match=r"new_asset_settings\.playback_policy is deprecated"):
        await account.mux.video.uploads.create(new_asset_settings={"playback_policy": ["public"]})


async def test_older_name_alone() -> None:
    """``input=`` alone is taken for ``inputs=``, with a warning; neither is the caller's mistake."""
    account = Account()
    with pytest.warns(DeprecatedArgumentWarning, match="inputs="):
        await account.mux.video.assets.create(input=[{"url": URL}])
    assert account.bodies == [{"inputs": [{"url": URL}]}]

    with pytest.raises(TypeError, match="'inputs'"):
        await account.mux.video.assets.create()


async def test_emulator_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """The emulator logs members that Mux would ignore and that are close to known ones, and no others."""
    emulator = Emulator()
    mux: Any = Mux(
        transport=EmulatorTransport(emulator),
        token_id="test-token",
        token_secret="test-secret",
        account="misspelt",
        limits=LimitSettings(enabled=False),
    )
    with caplog.at_level(logging.WARNING, logger="mux_async.emulator"), pytest.warns(MisspeltArgumentWarning):
        await mux.video.assets.create(inputs=[{"url": URL}], extra_body={"playback_polices": ["public"], "hologram": 1})
    emulator.close()

    assert [record.getMessage() for record in caplog.records] == [
        "playback_polices is no member that Mux knows, and was ignored; did you mean playback_policies?"
    ]
