"""The page at ``/`` in a real browser: changes are shown without a reload, and data of clients are never executed."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from zlib import crc32

import pytest

from tests.emulator import official
from tests.emulator.browser.browsing import Account, Visit
from tests.emulator.browser.elsewhere import elsewhere

pytestmark = pytest.mark.proof

OpenPage = Callable[[str], Visit]
HOSTILE = '<img src="x" onerror="window.hit = 1"><script>window.hit = 1</script>'


@pytest.fixture(scope="module")
def emulator() -> Generator[Account, None, None]:
    with (
        elsewhere(with_upchunk=False) as hook,
        official.emulate("--time-scale", "10", "--time-to-ready", "2", "--webhook-url", f"{hook}/hook") as origin,
    ):
        yield Account(origin)


@pytest.fixture
def account(emulator: Account) -> Account:
    emulator.send("POST", "/_emulator/reset")
    return emulator


@pytest.fixture
def visit(account: Account, open_page: OpenPage) -> Visit:
    opened = open_page(account.origin)
    opened.until("document.querySelector('#clock').textContent")
    return opened


def create_asset(account: Account, **members: object) -> str:
    given = {"inputs": [{"url": "https://example.com/film.mp4"}], "playback_policies": ["public"], **members}
    asset_id: str = account.data("POST", "/video/v1/assets", given)["id"]
    return asset_id


def card(asset_id: str) -> str:
    return f'article[data-id="{asset_id}"]'


@pytest.mark.parametrize("policy", ["public", "signed"])
def test_assets(account: Account, visit: Visit, policy: str) -> None:
    """A new asset appears, becomes ready, and then has its thumbnail, also with a signed playback id."""
    asset_id = create_asset(account, playback_policies=[policy], meta={"title": "Holidays"})
    visit.page.wait_for_selector(f"{card(asset_id)} >> text=Holidays")
    visit.page.wait_for_selector(f"{card(asset_id)} .tag.good >> text=ready")
    visit.until("document.querySelector('#assets img').naturalWidth > 0")

    assert policy in visit.page.inner_text(card(asset_id))
    assert visit.page.inner_text("#count-assets") == "1"
    assert visit.errors == []


def test_errored(account: Account, visit: Visit) -> None:
    """An errored asset shows the reason."""
    asset_id = create_asset(account, inputs=[{"url": "https://nowhere.invalid/film.mp4"}])
    visit.page.wait_for_selector(f"{card(asset_id)} >> text=The input URL could not be downloaded")

    assert visit.page.query_selector(f"{card(asset_id)} img") is None
    assert visit.errors == []


def test_generated_media(account: Account, visit: Visit) -> None:
    """An asset with generated media plays too."""
    asset_id = create_asset(account)
    visit.page.click(f"{card(asset_id)} button.frame")
    visit.until("document.querySelector('#player video').currentTime > 0.3")

    assert visit.page.is_visible("#player video")
    visit.page.click("#player >> text=Close")
    assert not visit.page.is_visible("#player")
    assert visit.errors == []


@pytest.mark.parametrize("way", ["choose", "drop"])
def test_sending_a_file(account: Account, visit: Visit, way: str) -> None:
    """A chosen or dropped file is uploaded completely, although connections break."""
    content = bytes(range(256)) * 10_000
    account.cut_pieces(2, 3, after_bytes=300_000)
    if way == "choose":
        visit.page.set_input_files("#file", {"name": "holiday.mp4", "mimeType": "video/mp4", "buffer": content})
    else:
        dropped = visit.page.evaluate_handle(
            """() => {
                const bytes = Uint8Array.from({ length: 2560000 }, (_, index) => index % 256);
                const transfer = new DataTransfer();
                transfer.items.add(new File([bytes], 'holiday.mp4'));
                return transfer;
            }"""
        )
        visit.page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
    visit.page.wait_for_selector("#uploads .tag >> text=asset_created")
    visit.page.wait_for_selector("#assets .tag >> text=ready")

    (stored,) = account.send("GET", "/_emulator/uploads")["uploads"]
    assert (stored["size"], stored["crc32"]) == (len(content), f"{crc32(content):08x}")
    assert account.statuses.count(None) == 2
    assert visit.page.inner_text("#assets .title") == "holiday.mp4"
    assert [line for line in visit.errors if "ERR_" not in line] == []


def test_refused_file(account: Account, visit: Visit) -> None:
    """If an upload is refused, the page shows the file and the reason."""
    account.send("POST", "/_emulator/faults", {"method": "PUT", "path": "/_upload/.*", "status": 403})
    visit.page.set_input_files("#file", {"name": "<b>film.mp4", "mimeType": "video/mp4", "buffer": b"a film"})
    visit.page.wait_for_selector("#sending >> text=<b>film.mp4 was not uploaded: answered 403")


def test_live_streams(account: Account, visit: Visit) -> None:
    """A live stream becomes active and idle as its encoder connects and disconnects, which the page can control."""
    made = account.data("POST", "/video/v1/live-streams", {"playback_policies": ["public"], "reconnect_window": 0})
    visit.page.wait_for_selector(f"{card(made['id'])} .tag >> text=idle")
    visit.page.click("text=connect encoder")
    visit.page.wait_for_selector(f"{card(made['id'])} .tag.good >> text=active")
    visit.page.click("text=disconnect encoder")
    visit.page.wait_for_selector(f"{card(made['id'])} .tag >> text=idle")

    assert "connected" not in visit.page.inner_text(card(made["id"]))
    assert visit.errors == []


def test_webhooks_and_requests(account: Account, visit: Visit) -> None:
    """Events, deliveries with the endpoint's responses, and requests are listed as they happen."""
    create_asset(account)
    for kind in ("video.asset.created", "video.asset.ready"):
        row = visit.page.locator("#webhooks tbody tr", has_text=kind).filter(has_text="delivered")
        row.wait_for()
        assert "200" in row.inner_text()
        assert "/hook" in row.inner_text()
    visit.page.wait_for_selector("#events td >> text=video.asset.ready")
    request = visit.page.locator("#requests tbody tr", has_text="POST /video/v1/assets").filter(has_text="201")
    request.wait_for()

    assert "post" in request.inner_text()
    assert visit.errors == []


def test_buckets(account: Account, visit: Visit) -> None:
    """Four buckets are shown; one decreases as it is used, and fills up again."""
    level = "document.querySelector('[data-bucket=post] meter').value"
    visit.until(f"{level} === 5")
    for _ in range(4):
        account.data("POST", "/video/v1/uploads", {})
    visit.until(f"(window.low = {level}) < 4")
    visit.until(f"{level} > window.low")

    assert visit.page.locator("#buckets [data-bucket]").count() == 4
    assert visit.errors == []


def test_hostile_words(account: Account, visit: Visit) -> None:
    """Names, ids and paths of clients are shown as text, never as markup."""
    titled = create_asset(account, meta={"title": HOSTILE})
    passed = create_asset(account, passthrough=HOSTILE)
    account.data("POST", "/system/v1/webhooks", {"address": "http://127.0.0.1:9/<img/src=x/onerror=window.hit=1>"})
    visit.page.set_input_files("#file", {"name": f"{HOSTILE}.mp4", "mimeType": "video/mp4", "buffer": b"a film"})
    for asset_id in (titled, passed):
        visit.page.wait_for_selector(f"{card(asset_id)} .tag.good")
        assert HOSTILE in visit.page.inner_text(card(asset_id))
    visit.page.locator("#assets .title", has_text=".mp4").wait_for()
    visit.page.click(f"{card(titled)} button.frame")
    visit.page.wait_for_selector("#player video")

    assert visit.page.inner_text("#film") == HOSTILE
    assert visit.page.evaluate("[window.hit, document.querySelectorAll('img[src=x], main script').length]") == [None, 0]
    assert visit.errors == []


def test_policy(visit: Visit) -> None:
    """The page's policy prevents scripts in injected markup from running."""
    visit.page.evaluate("html => { document.querySelector('#events').innerHTML = html; }", HOSTILE)
    visit.until("document.querySelector('#events img').complete")

    assert visit.page.evaluate("window.hit") is None
    assert any("Content Security Policy" in line for line in visit.said)


def test_gone_and_back(visit: Visit) -> None:
    """While the emulator does not respond, the page says so, and continues when it is back."""
    visit.page.context.set_offline(True)
    visit.page.wait_for_selector("#trouble >> text=no answer")
    visit.page.context.set_offline(False)
    visit.until("document.querySelector('#trouble').textContent === ''")


def test_telephone(account: Account, visit: Visit) -> None:
    """At 390 pixels, with objects of every kind, nothing overflows and every control can be reached."""
    create_asset(account, meta={"title": "Holidays " * 20})
    account.data("POST", "/video/v1/uploads", {"new_asset_settings": {"meta": {"title": "a" * 80}}})
    account.data("POST", "/video/v1/live-streams", {"meta": {"title": "b" * 80}})
    visit.page.set_viewport_size({"width": 390, "height": 844})
    visit.page.wait_for_selector("#assets .tag.good")
    visit.page.click("text=Connect a program")

    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    visit.page.click("#assets >> text=JSON")
    visit.page.locator("#object pre", has_text="playback_ids").wait_for()
    box = visit.page.locator("#object").bounding_box()
    assert box is not None
    assert 0 <= box["x"] <= box["x"] + box["width"] <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow(account: Account, visit: Visit, scheme: str) -> None:
    """On a telephone, light and dark, nothing overflows, and text has enough contrast."""
    create_asset(account, meta={"title": "Holidays " * 20})
    visit.page.wait_for_selector("#assets .tag.good")
    visit.page.set_viewport_size({"width": 340, "height": 700})
    visit.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")

    def brightness(selector: str, of: str) -> int:
        colour: str = visit.page.evaluate(
            "([selector, of]) => getComputedStyle(document.querySelector(selector))[of]", [selector, of]
        )
        return sum(int(part) for part in colour.strip("rgb()").split(",")[:3])

    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 340
    ink, paper = brightness("body", "color"), brightness("body", "backgroundColor")
    assert ink - paper > 400 if scheme == "dark" else paper - ink > 400
    assert visit.errors == []


def test_own_requests(account: Account, visit: Visit) -> None:
    """The log of requests shows those of programs, but not the images that the page itself fetches."""
    create_asset(account)
    visit.until("document.querySelector('#assets img')?.naturalWidth > 0")
    visit.page.locator("#requests tbody tr", has_text="POST /video/v1/assets").wait_for()

    assert "thumbnail" not in visit.page.inner_text("#requests")
    assert all("thumbnail" not in each["path"] for each in account.send("GET", "/_emulator/arrivals")["arrivals"])


def test_titles(account: Account, visit: Visit) -> None:
    """Live streams and uploads are shown with their titles."""
    settings = {"meta": {"title": "Raw cut"}, "playback_policies": ["public"]}
    account.data("POST", "/video/v1/uploads", {"new_asset_settings": settings})
    stream = account.data("POST", "/video/v1/live-streams", {"meta": {"title": "Town hall"}, "playback_policies": ["public"]})
    visit.page.wait_for_selector("#uploads .title >> text=Raw cut")
    visit.page.wait_for_selector(f"{card(stream['id'])} .title >> text=Town hall")


def test_json(account: Account, visit: Visit) -> None:
    """Any object can be opened as the JSON of the API, without counting a request; so can requests, events and deliveries."""
    asset_id = create_asset(account, meta={"title": HOSTILE})
    visit.page.wait_for_selector(f"{card(asset_id)} .tag.good")
    counted = len(account.send("GET", "/_emulator/arrivals")["arrivals"])
    for selector, member in [
        (f"{card(asset_id)}", f'"id": "{asset_id}"'),
        ("#events tbody tr:last-child", '"type": "video.asset.created"'),
        ("#webhooks tbody tr:last-child", '"address": "http'),
        ("#requests tbody tr:last-child", '"path": "/video/v1/assets"'),
    ]:
        visit.page.click(f"{selector} >> text=JSON")
        visit.page.locator("#object pre", has_text=member).wait_for()
        visit.page.click("#object >> text=Close")

    assert len(account.send("GET", "/_emulator/arrivals")["arrivals"]) == counted
    assert visit.page.evaluate("window.hit") is None
    assert visit.errors == []


def test_copying(account: Account, visit: Visit) -> None:
    """A click on an id copies the whole id."""
    visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    asset_id = create_asset(account)
    visit.page.click(f"{card(asset_id)} button.id")
    visit.page.wait_for_selector(f"{card(asset_id)} button.id.copied")

    assert visit.page.evaluate("navigator.clipboard.readText()") == asset_id


def test_filter(account: Account, visit: Visit) -> None:
    """The filter finds the text in any value, also in objects that are too old to be shown without it."""
    old = create_asset(account, meta={"title": "An old one"})
    for number in range(35):
        account.send("POST", "/_emulator/uploads", {"title": f"film {number}"})
    visit.page.fill("#filter", "OLD ONE")
    visit.page.wait_for_selector(f"{card(old)} >> text=An old one")

    visit.until("document.querySelectorAll('#uploads tbody tr').length === 0")
    visit.page.fill("#filter", "film 0")
    visit.until("document.querySelectorAll('#uploads tbody tr').length === 1")
    assert visit.errors == []


def test_connecting(account: Account, visit: Visit) -> None:
    """The page shows the variables that connect a program to the emulator, to be copied."""
    visit.page.click("text=Connect a program")
    shown = visit.page.inner_text("#variables")

    assert f"export MUX_BASE_URL={account.origin}" in shown
    assert "export MUX_TOKEN_ID=test-token" in shown
    assert "export MUX_TOKEN_SECRET=test-secret" in shown


def test_evidence(visit: Visit, tmp_path: Path) -> None:
    """A failed test leaves a screenshot and the log of the page."""
    visit.page.evaluate("console.log('something odd')")
    visit.until("true")
    visit.keep_evidence("test_something-0", tmp_path)

    assert (tmp_path / "test_something-0.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "test_something-0.log").read_text() == f"at {visit.page.url}\nlog: something odd\n"
