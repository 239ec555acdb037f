"""Mux's player, ``@mux/mux-player``, with a playback id and nothing else: it goes to Mux's host names, which are the emulator's here."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import attrs
import pytest

from mux_async.signing import Signer
from tests.emulator import official
from tests.emulator.browser.browsing import PATIENCE, Account, Visit, chromium
from tests.emulator.browser.elsewhere import elsewhere
from tests.emulator.browser.film import HEIGHT, WIDTH, film

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import Response as BrowserResponse

pytestmark = pytest.mark.proof

SECONDS = 4
DOMAIN = "video.example.com"
PAGE = b"""<!doctype html><title>A program</title><link rel="icon" href="data:,">
<script src="/mux-player.js"></script><style>mux-player { width: 640px }</style>"""
DAY = 24 * 3600.0
PLAYER = "document.querySelector('mux-player')"
FIND = """(selector) => {
  const search = (root) => {
    for (const element of root.querySelectorAll('*')) {
      if (element.matches(selector)) return element;
      const found = element.shadowRoot && search(element.shadowRoot);
      if (found) return found;
    }
    return null;
  };
  return search(document);
}"""
"""Finds an element inside of other elements' shadow trees."""


@attrs.frozen
class Emulated:
    account: Account
    chromium_options: list[str]
    playback_ids: dict[str, str]
    key_id: str
    private_key: str = attrs.field(repr=False)

    def signer(self, now: Callable[[], float] = time.time) -> Signer:
        return Signer(self.key_id, self.private_key, clock=now)


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Generator[Emulated, None, None]:
    """An emulator with an asset of each policy, and the options that it prints for Chromium."""
    content = film(SECONDS)  # or there is a reason to skip
    folder = tmp_path_factory.mktemp("settings") / "ca"
    options = ["--tls", "--tls-port", "0", "--ca-folder", str(folder), "--domain", DOMAIN]
    with official.emulate_lines("--limits", "off", "--time-to-ready", "0.1", "--media", "auto", *options) as lines:
        account = Account(lines[0].split()[-1])
        printed = next(shlex.split(line) for line in lines if "--host-resolver-rules" in line)
        key = account.data("POST", "/system/v1/signing-keys")
        yield Emulated(
            account,
            [option for option in printed[1:] if not option.startswith("--user-data-dir")],  # Playwright has its own
            {policy: create_asset(account, policy, content) for policy in ("public", "signed")},
            key["id"],
            key["private_key"],
        )


def create_asset(account: Account, policy: str, content: bytes) -> str:
    made = account.data("POST", "/video/v1/uploads", {"new_asset_settings": {"playback_policies": [policy]}})
    build_opener(ProxyHandler({})).open(Request(made["url"], data=content, method="PUT"), timeout=PATIENCE).close()
    asset = account.finished_asset(account.data("GET", f"/video/v1/uploads/{made['id']}")["asset_id"])
    assert asset["status"] == "ready", asset
    playback_id: str = asset["playback_ids"][0]["id"]
    return playback_id


@pytest.fixture(scope="module")
def browser(emulated: Emulated) -> Generator[Browser, None, None]:
    """Chromium with the printed options, in place of the usual one."""
    with chromium(*emulated.chromium_options) as running:
        yield running


@attrs.define(eq=False, slots=False)
class Watching:
    """A page with a player, and the responses that it got from Mux's hosts and the custom domain."""

    visit: Visit
    statuses: dict[str, int] = attrs.field(factory=dict[str, int])

    def note(self, response: BrowserResponse) -> None:
        parts = urlsplit(response.url)
        if parts.scheme == "https":
            self.statuses[f"{parts.hostname}/{parts.path.rpartition('/')[2]}"] = response.status

    def status_of(self, host: str, ending: str) -> set[int]:
        return {status for place, status in self.statuses.items() if place.startswith(f"{host}/") and place.endswith(ending)}


OpenPlayer = Callable[..., Watching]


@pytest.fixture(scope="module")
def site() -> Generator[str, None, None]:
    """A page on this machine: Chromium asks people before a page of another network may use addresses of this machine."""
    script = official.node_modules() / "node_modules" / "@mux" / "mux-player" / "dist" / "mux-player.js"
    files = {"/player": (PAGE, "text/html"), "/mux-player.js": (script.read_bytes(), "text/javascript")}
    with elsewhere(with_upchunk=False, more=files) as origin:
        yield f"{origin}/player"


@pytest.fixture
def open_player(open_page: Callable[[str], Visit], site: str) -> OpenPlayer:
    """Open a page of another origin with the player and its attributes."""

    def open_player(**attributes: str) -> Watching:
        watching = Watching(open_page(site))
        watching.visit.page.on("response", watching.note)
        given = {"muted": "", "disable-cookies": "", **{name.replace("_", "-"): value for name, value in attributes.items()}}
        watching.visit.page.evaluate(
            """(given) => {
              const player = document.createElement('mux-player');
              player.addEventListener('error', (event) => { window.failure = event.detail?.message ?? 'error'; });
              for (const [name, value] of Object.entries(given)) player.setAttribute(name, value);
              document.body.append(player);
            }""",
            given,
        )
        return watching

    return open_player


def assert_plays(watching: Watching, host: str) -> None:
    """It shows the poster, plays from the start to the end, and previews the film where the pointer is on its bar."""
    visit = watching.visit
    visit.until(f"({FIND})('media-poster-image')?.shadowRoot?.querySelector('#image')?.naturalWidth > 0")
    visit.page.evaluate(f"{PLAYER}.play()")
    visit.until(f"{PLAYER}.currentTime > 0.5")
    assert visit.page.evaluate(f"[{PLAYER}.videoWidth, {PLAYER}.videoHeight]") == [WIDTH, HEIGHT]
    assert visit.page.evaluate(f"{PLAYER}.duration") == pytest.approx(SECONDS, abs=0.3)
    visit.until("[...document.querySelector('mux-player').textTracks].some((track) => track.cues?.length === 50)")
    preview = f"({FIND})('media-preview-thumbnail')?.shadowRoot?.querySelector('img')"
    for offset in (0.3, 0.6):  # a pointer that moves, not one that appears
        box = visit.page.locator("media-time-range").first.bounding_box()
        assert box is not None
        visit.page.mouse.move(box["x"] + box["width"] * offset, box["y"] + box["height"] / 2)
    visit.until(f"{preview}?.src.includes('storyboard') && {preview}.naturalWidth > 0")
    visit.page.evaluate(f"() => {{ {PLAYER}.currentTime = {SECONDS - 0.7}; }}")
    visit.until(f"{PLAYER}.ended")
    assert visit.page.evaluate(f"{PLAYER}.error") is None
    stream, image = f"stream.{host}", f"image.{host}"
    found = [(stream, ".m3u8"), (stream, ".m4s"), (image, "thumbnail.webp"), (image, "storyboard.vtt")]
    assert {each: watching.status_of(*each) for each in found} == {each: {200} for each in found}, watching.statuses


def test_public(emulated: Emulated, open_player: OpenPlayer) -> None:
    """A public playback id plays, with poster and previews, from Mux's hosts; who leaves has become a view of Mux Data."""
    playback_id = emulated.playback_ids["public"]
    watching = open_player(playback_id=playback_id, metadata_video_title="By playback id")

    assert_plays(watching, "mux.com")
    watching.visit.page.goto("about:blank")
    until = time.monotonic() + PATIENCE
    while not emulated.account.data("GET", "/data/v1/video-views?filters[]=video_title:By+playback+id"):
        assert time.monotonic() < until, watching.statuses
        watching.visit.page.wait_for_timeout(50)
    assert watching.status_of("inferred.litix.io", "") <= {200, 204}


def test_signed(emulated: Emulated, open_player: OpenPlayer) -> None:
    """A signed playback id plays with the tokens for video, thumbnail and storyboard that this SDK makes."""
    playback_id = emulated.playback_ids["signed"]
    watching = open_player(playback_id=playback_id, **emulated.signer().sign_tokens(playback_id))

    assert_plays(watching, "mux.com")


@pytest.mark.parametrize("policy", ["public", "signed"])
def test_custom_domain(emulated: Emulated, open_player: OpenPlayer, policy: str) -> None:
    """With a custom domain everything comes from its hosts."""
    playback_id = emulated.playback_ids[policy]
    tokens = {} if policy == "public" else emulated.signer().sign_tokens(playback_id)
    watching = open_player(playback_id=playback_id, custom_domain=DOMAIN, **tokens)

    assert_plays(watching, DOMAIN)


@pytest.mark.parametrize(
    ("token", "title"),
    [
        ("none", "Invalid playback URL"),
        ("expired", "Video URL has expired"),
        ("of another id", "Video URL is formatted incorrectly"),
        ("of another kind", "Video URL is formatted incorrectly"),
        ("damaged", "Network Error"),
    ],
)
def test_refused(emulated: Emulated, open_player: OpenPlayer, token: str, title: str) -> None:
    """Without a valid token the emulator answers 403, and the player shows its error."""
    playback_id = emulated.playback_ids["signed"]
    valid = emulated.signer().sign(playback_id, "video")
    tokens = {
        "expired": emulated.signer(lambda: time.time() - 30 * DAY).sign(playback_id, "video"),
        "of another id": emulated.signer().sign(emulated.playback_ids["public"], "video"),
        "of another kind": emulated.signer().sign(playback_id, "thumbnail"),
        "damaged": f"{valid[:-8]}{valid[-8:][::-1]}",
    }
    given = {"playback_token": tokens[token]} if token in tokens else {}
    watching = open_player(playback_id=playback_id, **given)
    watching.visit.until("window.failure")
    watching.visit.page.wait_for_selector(f"media-error-dialog h3:visible >> text={title}")

    assert watching.status_of("stream.mux.com", ".m3u8") == {403}
    assert watching.visit.page.evaluate(f"{PLAYER}.currentTime") == 0


def test_reported(emulated: Emulated, open_player: OpenPlayer) -> None:
    """Without a key and a collection domain the player reports to Mux's host, and the view is one of the playback id's environment."""
    playback_id = emulated.playback_ids["public"]
    watching = open_player(playback_id=playback_id, metadata_viewer_user_id="by-host-name", autoplay="muted")
    watching.visit.until(f"{PLAYER}.currentTime > 1")
    watching.visit.page.close()
    until = time.monotonic() + PATIENCE
    while not (rows := emulated.account.data("GET", "/data/v1/video-views?viewer_id=by-host-name")):
        assert time.monotonic() < until, watching.visit.said
        time.sleep(0.1)
    view = emulated.account.data("GET", f"/data/v1/video-views/{rows[0]['id']}")

    assert watching.statuses["inferred.litix.io/"] == 200
    assert (view["playback_id"], view["player_source_host_name"]) == (playback_id, "stream.mux.com")
    assert view["exit_before_video_start"] is False
