"""The application of `examples/fastapi_app`, run as its users run it, in a real browser, with the emulator that it starts for itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import pytest

from tests._servers import free_port
from tests.emulator.browser.browsing import chromium
from tests.emulator.browser.film import film
from tests.emulator.official import missing

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.proof

ROOT = Path(__file__).parents[2]
PATIENCE = 25.0
opener = build_opener(ProxyHandler({}))


@contextmanager
def application() -> Generator[str]:
    """Run ``python -m examples.fastapi_app``, without credentials; give its address. It ends well when it is interrupted."""
    for name in ("fastapi", "uvicorn"):
        if find_spec(name) is None:
            missing(f"the application's libraries are not installed: pip install {name}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MUX_")}
    environment |= {"PORT": str(free_port()), "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "transports")])}
    command = [sys.executable, "-m", "examples.fastapi_app"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT, start_new_session=True
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("open "), line
            origin = line.split()[1]
            until = time.monotonic() + PATIENCE
            while not _answers(origin):
                assert time.monotonic() < until, "the application does not answer"
                time.sleep(0.05)
            yield origin
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # and the emulator that it started


def _answers(origin: str) -> bool:
    try:
        with opener.open(f"{origin}/films", timeout=PATIENCE):
            return True
    except OSError:
        return False


def status_of(url: str) -> int:
    try:
        with opener.open(url, timeout=PATIENCE) as answer:
            status: int = answer.status
            return status
    except HTTPError as error:
        error.close()
        return error.code


def open_page(browser: Browser, origin: str) -> tuple[Page, list[str], list[str]]:
    """Open the application's page; return it, with what it asked for and what went wrong on it, both of which grow."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    asked: list[str] = []
    wrong: list[str] = []
    page.on("response", lambda answer: asked.append(f"{answer.request.method} {answer.status} {answer.url}"))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(origin)
    return page, asked, wrong


def test_upload_and_watch() -> None:
    """A film chosen in the browser goes to Mux, not to the application; when the webhook has come, the browser plays it from a link that
    was signed for it, and without the signature there is nothing. A second visitor finds it in the list, and plays it with a link of
    their own."""
    with chromium() as browser, application() as origin:
        page, asked, wrong = open_page(browser, origin)
        page.fill("#title", "Holiday <b>2026</b>")
        page.set_input_files("#file", {"name": "holiday.mp4", "mimeType": "video/mp4", "buffer": film(3)})
        page.click("text=Upload")
        page.wait_for_selector("#status:text-is('Ready')")
        page.wait_for_selector("#films >> text=Holiday <b>2026</b>")
        (link,) = [cast("str", page.evaluate("document.getElementById('player').src"))]
        poster = cast("str", page.evaluate("document.getElementById('player').poster"))

        other, others_asked, also_wrong = open_page(browser, origin)
        other.click("text=Holiday")
        other.wait_for_function("document.getElementById('player').src")
        playlist = link.partition("?")[0]
        deadline = time.monotonic() + PATIENCE
        while not any(f"GET 200 {playlist}" in each for each in asked) and time.monotonic() < deadline:
            page.wait_for_timeout(20)

        assert [each for each in asked if each.startswith(f"GET 200 {playlist}?token=")]
        assert [each.split("/_upload/")[0] for each in asked if each.startswith("PUT")] == [
            "PUT 200 " + playlist.rpartition("/")[0]
        ]
        assert not playlist.startswith(origin)
        assert (status_of(link), status_of(playlist)) == (200, 403)
        assert (status_of(poster), status_of(poster.partition("?")[0])) == (200, 403)
        assert [each for each in others_asked if each.startswith(f"GET 200 {origin}/films/")]
        page.evaluate("document.getElementById('player').play()")
        page.wait_for_function(
            "document.getElementById('player').currentTime > 0.5 && document.getElementById('player').videoWidth > 0"
        )
        assert wrong == also_wrong == []


def test_what_is_no_film() -> None:
    """Nothing is waited for that is not there, and a body that Mux did not sign is refused."""
    with application() as origin:
        assert status_of(f"{origin}/films/{'0' * 40}") == 404
        with pytest.raises(HTTPError) as refused:
            opener.open(f"{origin}/webhooks/mux", data=b"{}", timeout=PATIENCE)
        refused.value.close()

    assert refused.value.code == 400
