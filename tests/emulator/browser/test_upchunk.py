"""Mux's own uploader for browsers, ``@mux/upchunk``, in a real one: from another origin, over connections that break."""

from __future__ import annotations

from collections.abc import Callable, Generator
from zlib import crc32

import pytest

from tests.emulator import official
from tests.emulator.browser.browsing import Account, Visit
from tests.emulator.browser.elsewhere import elsewhere
from tests.emulator.browser.film import film
from tests.emulator.harness import Json

PIECE = 256 * 1024
RETRIED = [0, 408, 502, 503, 504]
"""What UpChunk is to try again: its own list, and 0, which is what it sees of a broken connection. Version 3.5.0 gives up on that."""
OpenPage = Callable[[str], Visit]


@pytest.fixture(scope="module")
def site() -> Generator[str, None, None]:
    with elsewhere() as origin:
        yield origin


@pytest.fixture(scope="module")
def emulator() -> Generator[Account, None, None]:
    with official.emulate("--no-limits", "--time-to-ready", "0.1") as origin:
        yield Account(origin)


@pytest.fixture
def account(emulator: Account) -> Account:
    emulator.send("POST", "/_emulator/reset")
    return emulator


def create_upload(account: Account, cors_origin: str) -> Json:
    settings = {"playback_policies": ["public"]}
    made: Json = account.data("POST", "/video/v1/uploads", {"cors_origin": cors_origin, "new_asset_settings": settings})
    return made


def choose(visit: Visit, content: bytes, name: str = "holiday.mp4") -> None:
    visit.page.set_input_files("input[type=file]", {"name": name, "mimeType": "video/mp4", "buffer": content})


def start(visit: Visit, upload: Json, content: bytes, **options: object) -> None:
    choose(visit, content)
    visit.page.evaluate("([url, options]) => send(url, options)", [upload["url"], {"chunkSize": PIECE // 1024, **options}])


def assert_arrived(account: Account, upload: Json, content: bytes) -> None:
    stored = account.upload(upload["id"])
    assert (stored["size"], stored["crc32"]) == (len(content), f"{crc32(content):08x}")
    assert stored["is_complete"]


def finish(visit: Visit) -> None:
    visit.until("count('success') + count('error') > 0")
    assert visit.page.evaluate("[count('success'), count('error')]") == [1, 0]


def test_across_a_cut_connection(account: Account, site: str, open_page: OpenPage) -> None:
    """A file arrives whole although a connection breaks in the middle of a piece; its asset becomes ready.

    Chromium itself sends a request again, once, when a connection broke that it had used before: UpChunk sees nothing of it.
    """
    content = film(padding=5 * PIECE)
    upload = create_upload(account, site)
    account.cut_pieces(2, after_bytes=100_000)
    visit = open_page(site)
    start(visit, upload, content)
    finish(visit)

    assert account.statuses.count(None) == 1
    assert_arrived(account, upload, content)
    asset_id = account.data("GET", f"/video/v1/uploads/{upload['id']}")["asset_id"]
    assert account.finished_asset(asset_id)["status"] == "ready"


def test_across_cuts_that_show(account: Account, site: str, open_page: OpenPage) -> None:
    """So does it when the browser cannot hide that connections break, and UpChunk sends a piece again that is partly there."""
    content = film(padding=5 * PIECE)
    upload = create_upload(account, site)
    account.cut_pieces(2, 3, after_bytes=PIECE + 100_000)
    visit = open_page(site)
    start(visit, upload, content, chunkSize=2 * PIECE // 1024, retryCodes=RETRIED)
    finish(visit)

    assert visit.page.evaluate("count('attemptFailure')") > 0
    assert account.statuses.count(None) == 2
    assert_arrived(account, upload, content)


def test_offline_for_a_moment(account: Account, site: str, open_page: OpenPage) -> None:
    """A browser that loses its network in the middle, and gets it back, goes on from where it was."""
    content = film(padding=5 * PIECE)
    upload = create_upload(account, site)
    visit = open_page(site)
    # The second piece is held back, so that the network is sure to be lost before the file is sent.
    visit.page.evaluate("hold_from = 1")
    start(visit, upload, content, retryCodes=RETRIED)
    visit.until("count('chunkSuccess') === 1")
    visit.page.context.set_offline(True)
    visit.until("count('offline') === 1")
    visit.page.evaluate("release()")
    visit.until("upload.pendingChunk")  # UpChunk's own sign that a piece waits for the network
    visit.page.context.set_offline(False)
    finish(visit)

    assert visit.page.evaluate("count('online')") == 1
    assert_arrived(account, upload, content)


def test_kept_out(account: Account, site: str, open_page: OpenPage) -> None:
    """A page of an origin that the upload was not made for is kept out by the browser, as Mux has it."""
    upload = create_upload(account, "https://app.example")
    visit = open_page(site)
    start(visit, upload, b"not much of a film", attempts=1)
    visit.until("count('error') === 1")

    assert any("blocked by CORS policy" in line for line in visit.said)
    assert account.upload(upload["id"])["size"] == 0
