"""Real media in a real browser: an upload plays from its playback URL and on the emulator's page."""

from __future__ import annotations

from collections.abc import Callable, Generator
from urllib.request import ProxyHandler, Request, build_opener
from zlib import crc32

import pytest

from tests.emulator import official
from tests.emulator.browser.browsing import PATIENCE, Account, Visit
from tests.emulator.browser.elsewhere import elsewhere
from tests.emulator.browser.film import HEIGHT, WIDTH, film

pytestmark = pytest.mark.proof

OpenPage = Callable[[str], Visit]
SECONDS = 3
PIECE = 512 * 1024
WITHOUT_HLS = "HTMLMediaElement.prototype.canPlayType = () => ''"
"""Hides the browser's own HLS support from the page."""


@pytest.fixture(scope="module")
def account() -> Generator[Account, None, None]:
    film(SECONDS)  # or there is a reason to skip
    with official.emulate("--limits", "off", "--time-to-ready", "0.1", "--media", "auto") as origin:
        yield Account(origin)


def create_upload(account: Account, policy: str, cors_origin: str = "*") -> tuple[str, str]:
    settings = {"playback_policies": [policy], "meta": {"title": f"A {policy} film"}}
    made = account.data("POST", "/video/v1/uploads", {"cors_origin": cors_origin, "new_asset_settings": settings})
    return made["id"], made["url"]


def ready_asset(account: Account, upload_id: str) -> tuple[str, str]:
    """Return the asset's id and its playback id when it can be played."""
    asset_id = account.data("GET", f"/video/v1/uploads/{upload_id}")["asset_id"]
    asset = account.finished_asset(asset_id)
    assert asset["status"] == "ready", asset
    return asset["id"], asset["playback_ids"][0]["id"]


def assert_plays(visit: Visit, video: str) -> None:
    """The element plays the film from its beginning to its end, in its size."""
    element = f"document.querySelector('{video}')"
    visit.until(f"{element}.currentTime > 0.3")
    assert visit.page.evaluate(f"[{element}.videoWidth, {element}.videoHeight]") == [WIDTH, HEIGHT]
    assert visit.page.evaluate(f"{element}.duration") == pytest.approx(SECONDS, abs=0.3)
    visit.page.evaluate(f"() => {{ {element}.currentTime = {SECONDS - 0.7}; }}")
    visit.until(f"{element}.ended")
    assert visit.page.evaluate(f"{element}.error") is None


def test_uploaded_and_played(account: Account, open_page: OpenPage) -> None:
    """A page on another origin uploads a film with UpChunk while connections break, and plays it from the playback URL."""
    content = film(SECONDS, padding=3 * PIECE)
    with elsewhere() as site:
        upload_id, url = create_upload(account, "public", site)
        account.cut_pieces(2, 3, after_bytes=300_000)
        visit = open_page(site)
        visit.page.set_input_files("#file", {"name": "holiday.mp4", "mimeType": "video/mp4", "buffer": content})
        options = {"chunkSize": PIECE // 1024, "retryCodes": [0, 408, 502, 503, 504]}
        visit.page.evaluate("([url, options]) => send(url, options)", [url, options])
        visit.until("count('success') + count('error') > 0")
        account.send("DELETE", "/_emulator/faults")
        stored = account.upload(upload_id)
        assert (stored["size"], stored["crc32"]) == (len(content), f"{crc32(content):08x}")

        _, playback_id = ready_asset(account, upload_id)
        visit.page.evaluate("url => { video.src = url; video.play(); }", f"{account.origin}/{playback_id}.m3u8")

        assert_plays(visit, "#video")


@pytest.mark.parametrize(("policy", "hls"), [("public", "native"), ("signed", "ours")])
def test_played_on_the_page(account: Account, open_page: OpenPage, policy: str, hls: str) -> None:
    """The page shows an image of an asset, signed or not, and plays it with the browser's HLS or, without that, with its own."""
    upload_id, url = create_upload(account, policy)
    build_opener(ProxyHandler({})).open(Request(url, data=film(SECONDS), method="PUT"), timeout=PATIENCE).close()
    asset, _ = ready_asset(account, upload_id)
    visit = open_page(account.origin)
    if hls == "ours":
        visit.page.add_init_script(WITHOUT_HLS)
        visit.page.reload()
    picture = f"document.querySelector('article[data-id=\"{asset}\"] img')"
    visit.until(f"{picture} && {picture}.naturalWidth > 0")
    assert visit.page.evaluate(f"{picture}.naturalWidth / {picture}.naturalHeight") == pytest.approx(WIDTH / HEIGHT, abs=0.02)
    visit.page.click(f'article[data-id="{asset}"] button.frame')

    assert_plays(visit, "#player video")
    assert visit.page.evaluate("document.querySelector('#player video').src").startswith("blob:" if hls == "ours" else "http:")
    visit.page.click("#player >> text=Close")
    assert visit.errors == []
