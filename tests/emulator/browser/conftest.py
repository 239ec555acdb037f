"""One browser per module, one profile per test, and evidence when a test fails."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import pytest

from tests.emulator.browser.browsing import Visit, chromium, evidence_name

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture(scope="module")
def browser() -> Generator[Browser, None, None]:
    # No longer than a module: the driver's event loop is the thread's, and tests elsewhere want to run their own.
    with chromium() as running:
        yield running


@pytest.fixture
def open_page(browser: Browser, request: pytest.FixtureRequest) -> Generator[Callable[[str], Visit], None, None]:
    """Open an address in a new profile."""
    context = browser.new_context(locale="en-GB", timezone_id="UTC")
    opened: list[Visit] = []

    def open_page(url: str) -> Visit:
        opened.append(Visit(context.new_page()))
        opened[-1].page.goto(url)
        return opened[-1]

    yield open_page
    if request.node.stash.get(FAILED, False):
        for number, visit in enumerate(opened):
            visit.keep_evidence(evidence_name(f"{request.node.name}-{number}"))
    context.close()
