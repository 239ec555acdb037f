"""What the browser tests share: Chromium, its log, and the evidence of a failed test.

The browser is the machine's own (``chromium`` of Debian, or the one that ``MUX_ASYNC_CHROMIUM`` names), driven by Playwright. Where it
or the driver is absent the tests skip, and fail where the environment variable ``CI`` is set.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any
from urllib.request import ProxyHandler, Request, build_opener

import attrs

from tests.emulator.harness import Json, basic
from tests.emulator.official import ROOT, missing

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Error, Page
    from playwright.sync_api import Request as BrowserRequest

EVIDENCE = ROOT / ".browser-evidence"
"""Where the screenshot and the log of a failed test are kept."""
PATIENCE = 20.0
"""Seconds that a test waits for anything; far more than needed, for busy machines."""
_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@contextmanager
def chromium(*options: str, home: Path | None = None) -> Generator[Browser, None, None]:
    """Run a headless browser, with *options* of its command line; *home* has the certificates that its user trusts."""
    path = os.environ.get("MUX_ASYNC_CHROMIUM") or next((found for found in map(which, _NAMES) if found), None)
    if path is None:
        missing("Chromium is not installed: apt-get install chromium, or set MUX_ASYNC_CHROMIUM")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("the driver of the browser is not installed: pip install playwright")
    arguments = ["--autoplay-policy=no-user-gesture-required", "--disable-dev-shm-usage", *options]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--no-sandbox")  # which Chromium refuses to make for root
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=path, args=arguments, env=None if home is None else {**os.environ, "HOME": str(home)}
        )
        try:
            yield browser
        finally:
            browser.close()


@attrs.define(eq=False, slots=False)  # Playwright puts something of its own on whoever listens
class Visit:
    """A page in a profile of its own, and its log.

    Attributes:
        page: Of Playwright.
        said: Console messages, uncaught errors and failed requests, in order.
        errors: Those of them that no page should have.
    """

    page: Page
    said: list[str] = attrs.field(factory=list[str])
    errors: list[str] = attrs.field(factory=list[str])

    def __attrs_post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE * 1000)
        self.page.on("console", self._console)
        self.page.on("pageerror", self._uncaught)
        self.page.on("requestfailed", self._failed)

    def _console(self, message: ConsoleMessage) -> None:
        self.said.append(f"{message.type}: {message.text}")
        if message.type in {"error", "warning"}:
            self.errors.append(self.said[-1])

    def _uncaught(self, error: Error) -> None:
        self.said.append(f"uncaught: {error}")
        self.errors.append(self.said[-1])

    def _failed(self, request: BrowserRequest) -> None:
        self.said.append(f"failed: {request.method} {request.url.partition('?')[0]}: {request.failure}")

    def until(self, claim: str) -> None:
        """Wait until *claim*, an expression of JavaScript, is true.

        Asked from outside: what Playwright has for it evaluates text in the page, which the policy of a page may forbid.
        """
        until = time.monotonic() + PATIENCE
        while not self.page.evaluate(f"Boolean({claim})"):
            assert time.monotonic() < until, f"not true after {PATIENCE:g} seconds: {claim}"
            self.page.wait_for_timeout(20)

    def keep_evidence(self, name: str, folder: Path = EVIDENCE) -> None:
        """Write a screenshot and the log of the page, as *name*``.png`` and *name*``.log``."""
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.log").write_text("\n".join(["at " + self.page.url.partition("?")[0], *self.said]) + "\n")
        if not self.page.is_closed():
            self.page.screenshot(path=folder / f"{name}.png", timeout=10_000)


@attrs.frozen
class Account:
    """A client of the emulator at *origin*."""

    origin: str

    def send(self, method: str, path: str, body: object = None) -> Json:
        """Send a request and return the body of the response; ``{}`` if it is empty."""
        content = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": basic(), "Content-Type": "application/json"}
        request = Request(self.origin + path, data=content, headers=headers, method=method)
        with build_opener(ProxyHandler({})).open(request, timeout=PATIENCE) as response:
            answered: Json = json.loads(response.read() or b"{}")
            return answered

    def data(self, method: str, path: str, body: object = None) -> Any:
        """Likewise, and return what is under ``data``."""
        return self.send(method, path, body)["data"]

    def upload(self, upload_id: str) -> Json:
        """What is stored of an upload, with its ``crc32``."""
        stored: list[Json] = self.send("GET", "/_emulator/uploads")["uploads"]
        return next(entry for entry in stored if entry["id"] == upload_id)

    def cut_pieces(self, *numbers: int, after_bytes: int) -> None:
        """Break the connections of some of the next chunks of uploads in their middle, counted from 1."""
        fault = {"method": "PUT", "path": "/_upload/.*", "nth": numbers, "cut": "before", "after_bytes": after_bytes}
        self.send("POST", "/_emulator/faults", fault)

    def finished_asset(self, asset_id: str) -> Json:
        """Wait until an asset is no longer preparing."""
        until = time.monotonic() + PATIENCE
        while (asset := self.data("GET", f"/video/v1/assets/{asset_id}"))["status"] == "preparing":
            assert time.monotonic() < until, asset
            time.sleep(0.05)
        found: Json = asset
        return found

    @property
    def statuses(self) -> list[int | None]:
        """The statuses of requests with chunks of uploads, in order; ``None`` for a broken connection."""
        arrivals: list[Json] = self.send("GET", "/_emulator/arrivals")["arrivals"]
        return [one["status"] for one in arrivals if one["method"] == "PUT" and one["path"].startswith("/_upload/")]


def evidence_name(node_id: str) -> str:
    """Return the name of a test as a file name."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in Path(node_id).name)
