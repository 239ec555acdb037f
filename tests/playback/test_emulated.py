"""Addresses and tokens, used: over HTTP against the emulator, which checks tokens as Mux does."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import aiohttp
import anyio
import anyio.lowlevel
import pytest

from mux_async import LimitSettings, Mux
from mux_async.emulator import Emulator, EmulatorSettings
from mux_async.emulator.server import serve
from mux_async.models import Asset, Track
from mux_async.params import PlaybackPolicyParam
from mux_async.signing import Signer, verify
from tests.signing import keys

pytestmark = pytest.mark.asyncio

FREE = LimitSettings(enabled=False)


@asynccontextmanager
async def emulated() -> AsyncGenerator[tuple[Mux, Signer, aiohttp.ClientSession], None]:
    """A client, a signer with a key that the emulator made, and an HTTP client of another library."""
    emulator = Emulator(EmulatorSettings(limits=None, time_to_ready=0, time_scale=1000))
    async with (
        serve(emulator) as origin,
        Mux(token_id="test-token", token_secret="test-secret", base_url=origin, limits=FREE) as mux,
        aiohttp.ClientSession() as browser,
    ):
        key = await mux.system.signing_keys.create()
        yield mux, Signer(key.id, key.private_key), browser


async def film(mux: Mux, policy: PlaybackPolicyParam) -> tuple[Asset, Track]:
    """A ready asset with a file and a generated subtitle track."""
    made = await mux.video.assets.create(
        inputs=[{"url": "https://example.com/film.mp4", "generated_subtitles": [{"language_code": "en", "name": "English"}]}],
        playback_policies=[policy],
        static_renditions=[{"resolution": "highest"}],
    )

    def is_whole(asset: Asset) -> bool:
        files = asset.static_renditions.files if asset.static_renditions else None
        tracks = [track.status for track in asset.tracks or () if track.type == "text"]
        return bool(files) and [file.status for file in files or ()] == ["ready"] and tracks == ["ready"]

    await mux.video.assets.wait_until_ready(made.id)
    with anyio.fail_after(20):
        while not is_whole(asset := await mux.video.assets.retrieve(made.id)):
            await anyio.lowlevel.checkpoint()  # a thousand times as fast as at Mux: two or three rounds
    (track,) = [track for track in asset.tracks or () if track.type == "text"]
    return asset, track


@pytest.mark.parametrize("policy", ["public", "signed"])
async def test_every_address(policy: PlaybackPolicyParam) -> None:
    """Every address that an emulator serves opens what it says: with a signer where the id is signed, bare where it is public."""
    async with emulated() as (mux, signer, browser):
        asset, track = await film(mux, policy)
        (playback,) = asset.playback_ids or []
        hosts, track_id = mux.hosts, str(track.id)
        if policy == "signed":
            urls = {
                playback.hls_url(signer=signer, max_resolution="720p", hosts=hosts): "application/vnd.apple.mpegurl",
                playback.thumbnail_url("png", signer=signer, time=1, width=64, hosts=hosts): "image/png",
                playback.animated_url("webp", signer=signer, end=2, hosts=hosts): "image/webp",
                playback.storyboard_url(signer=signer, hosts=hosts): "text/vtt",
                playback.storyboard_url("json", signer=signer, hosts=hosts): "application/json",
                playback.storyboard_image_url(signer=signer, hosts=hosts): "image/jpeg",
                playback.text_track_url(track_id, signer=signer, hosts=hosts): "text/vtt",
                playback.transcript_url(track_id, signer=signer, hosts=hosts): "text/plain",
                playback.static_rendition_url("highest.mp4", signer=signer, hosts=hosts): "video/mp4",
                playback.static_rendition_url("highest.mp4", download="film", signer=signer, hosts=hosts): "video/mp4",
            }
        else:
            urls = {
                playback.hls_url(max_resolution="720p", hosts=hosts): "application/vnd.apple.mpegurl",
                playback.thumbnail_url("png", time=1, width=64, hosts=hosts): "image/png",
                playback.animated_url("webp", end=2, hosts=hosts): "image/webp",
                playback.storyboard_url(hosts=hosts): "text/vtt",
                playback.storyboard_url("json", hosts=hosts): "application/json",
                playback.storyboard_image_url(hosts=hosts): "image/jpeg",
                playback.text_track_url(track_id, hosts=hosts): "text/vtt",
                playback.transcript_url(track_id, hosts=hosts): "text/plain",
                playback.static_rendition_url("highest.mp4", hosts=hosts): "video/mp4",
                playback.static_rendition_url("highest.mp4", download="film", hosts=hosts): "video/mp4",
            }
        found: dict[str, str] = {}
        for url in urls:
            async with browser.get(url) as answer:
                found[url] = answer.content_type if answer.status == 200 else f"{answer.status} {await answer.text()}"

        assert found == urls


async def test_refused() -> None:
    """A token opens neither another kind of address nor another id, and nothing once its key is gone."""
    async with emulated() as (mux, signer, browser):
        asset, _ = await film(mux, "signed")
        (playback,) = asset.playback_ids or []
        good = playback.hls_url(signer=signer, hosts=mux.hosts)
        bare = good.partition("?")[0]

        async def status(url: str) -> int:
            async with browser.get(url) as answer:
                return answer.status

        assert await status(good) == 200
        assert await status(bare) == 403
        assert await status(f"{bare}?token={signer.sign(playback.id, 'thumbnail')}") == 403
        assert await status(f"{bare}?token={signer.sign('other')}") == 403
        assert await status(f"{bare}?token={Signer('other', keys.as_mux_shows_it()).sign(playback.id)}") == 403
        await mux.system.signing_keys.delete(signer.key_id)
        assert await status(good) == 403


async def test_restriction() -> None:
    """A token bound to a restriction opens its id on the sites that the restriction names, and nowhere else."""
    async with emulated() as (mux, signer, browser):
        asset, _ = await film(mux, "signed")
        (playback,) = asset.playback_ids or []
        restriction = await mux.video.playback_restrictions.create(
            referrer={"allowed_domains": ["example.com"], "allow_no_referrer": False},
            user_agent={"allow_no_user_agent": True, "allow_high_risk_user_agent": True},
        )
        url = playback.hls_url(signer=signer, playback_restriction_id=restriction.id, hosts=mux.hosts)

        async def status(site: str) -> int:
            async with browser.get(url, headers={"Referer": site}) as answer:
                return answer.status

        assert [await status("https://example.com/page"), await status("https://elsewhere.com/")] == [200, 403]


async def test_from_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the key in the variables of Mux's own clients, the client itself signs; a live stream is played in the same way."""
    async with emulated() as (mux, _, browser):
        key = await mux.system.signing_keys.create()
        monkeypatch.setenv("MUX_SIGNING_KEY", key.id)
        monkeypatch.setenv("MUX_PRIVATE_KEY", key.private_key or "")
        stream = await mux.video.live_streams.create(playback_policies=["signed"])
        (playback,) = stream.playback_ids or []
        url = playback.hls_url(signer=mux.signer, hosts=mux.hosts)

        async with browser.get(url) as answer:
            assert answer.status == 412  # the token is good, and nobody broadcasts
        token = parse_qs(urlsplit(url).query)["token"][0]
        assert verify(token, mux.signer.public_keys, audience="v", subject=playback.id).key_id == key.id
        assert stream.ingest().stream_key == stream.stream_key
