"""Mux's uploader for browsers, ``@mux/upchunk``, in a real browser: from another origin, over connections that break."""

from __future__ import annotations

from collections.abc import Callable, Generator
from random import Random
from zlib import crc32

import pytest

from tests.emulator import official
from tests.emulator.browser.browsing import Account, Visit
from tests.emulator.browser.elsewhere import elsewhere
from tests.emulator.harness import Json

pytestmark = pytest.mark.proof

PIECE = 256 * 1024
RETRIED = [0, 408, 502, 503, 504]
"""Statuses that UpChunk retries: its own list, and 0 for a broken connection, on which version 3.5.0 gives up."""
CONTENT = Random(4).randbytes(6 * PIECE + 12_345)
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


def start(visit: Visit, upload: Json, **options: object) -> None:
    visit.page.set_input_files("#file", {"name": "holiday.mp4", "mimeType": "video/mp4", "buffer": CONTENT})
    given = {"chunkSize": PIECE // 1024, "retryCodes": RETRIED, **options}
    visit.page.evaluate("([url, options]) => send(url, options)", [upload["url"], given])


def assert_arrived(account: Account, upload: Json) -> None:
    stored = account.upload(upload["id"])
    assert (stored["size"], stored["crc32"]) == (len(CONTENT), f"{crc32(CONTENT):08x}")
    assert stored["is_complete"]


def finish(visit: Visit) -> None:
    visit.until("count('success') + count('error') > 0")
    assert visit.page.evaluate("[count('success'), count('error')]") == [1, 0]


@pytest.mark.parametrize("cuts", [(2,), (2, 3)], ids=["once", "twice"])
def test_across_cuts(account: Account, site: str, open_page: OpenPage, cuts: tuple[int, ...]) -> None:
    """A file arrives whole although connections break in the middle of pieces, which are then partly there; its asset becomes ready.

    Chromium itself sends a request again, once, when a connection broke that it had used before: UpChunk sees the second cut for sure.
    """
    upload = create_upload(account, site)
    account.cut_pieces(*cuts, after_bytes=PIECE + 100_000)
    visit = open_page(site)
    start(visit, upload, chunkSize=2 * PIECE // 1024)
    finish(visit)

    assert account.statuses.count(None) == len(cuts)
    assert visit.page.evaluate("count('attemptFailure')") >= len(cuts) - 1
    assert_arrived(account, upload)
    asset_id = account.data("GET", f"/video/v1/uploads/{upload['id']}")["asset_id"]
    assert account.finished_asset(asset_id)["status"] == "ready"


def test_offline_for_a_moment(account: Account, site: str, open_page: OpenPage) -> None:
    """A browser that loses its network and gets it back continues the upload."""
    upload = create_upload(account, site)
    visit = open_page(site)
    # The second piece is held back, so that the network is sure to be lost before the file is sent.
    visit.page.evaluate("hold_from = 1")
    start(visit, upload)
    visit.until("count('chunkSuccess') === 1")
    visit.page.context.set_offline(True)
    visit.until("count('offline') === 1")
    visit.page.evaluate("release()")
    visit.until("upload.pendingChunk")  # UpChunk's own sign that a piece waits for the network
    visit.page.context.set_offline(False)
    finish(visit)

    assert visit.page.evaluate("count('online')") == 1
    assert_arrived(account, upload)


def test_kept_out(account: Account, site: str, open_page: OpenPage) -> None:
    """The browser refuses the upload to a page of another origin than the upload's, as with Mux."""
    upload = create_upload(account, "https://app.example")
    visit = open_page(site)
    start(visit, upload, attempts=1)
    visit.until("count('error') === 1")

    assert any("blocked by CORS policy" in line for line in visit.said)
    assert account.upload(upload["id"])["size"] == 0
