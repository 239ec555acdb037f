"""Chromium with the authority among the certificates that its user trusts, as after an import, and without any other help."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Generator
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs
import pytest

from tests.emulator import official
from tests.emulator.browser.browsing import Visit, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.proof

DOMAIN = "video.example.com"
HOSTS = ("stream.mux.com", "api.mux.com", "a.b.mux.com", "inferred.litix.io", f"stream.{DOMAIN}", "example.org")


@attrs.frozen
class Emulated:
    secure: str
    bundle: Path

    @property
    def rules(self) -> str:
        return "--host-resolver-rules=" + ", ".join(f"MAP {host} {urlsplit(self.secure).netloc}" for host in HOSTS)


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Generator[Emulated, None, None]:
    folder = tmp_path_factory.mktemp("settings") / "ca"
    options = ["--tls", "--tls-port", "0", "--ca-folder", str(folder), "--domain", DOMAIN]
    with official.emulate_lines("--no-limits", *options) as lines:
        yield Emulated(next(line.split()[2] for line in lines if "https on" in line), folder / "mux-async-ca.pem")


@pytest.fixture(scope="module")
def browser(emulated: Emulated, tmp_path_factory: pytest.TempPathFactory) -> Generator[Browser, None, None]:
    """Chromium of a user who has imported the authority. The database of certificates is in a folder of its own."""
    home = tmp_path_factory.mktemp("home")
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    program = which("certutil") or official.missing("certutil is not installed: apt-get install libnss3-tools")
    certutil = [program, "-d", f"sql:{database}"]
    subprocess.run([*certutil, "-N", "--empty-password"], check=True, timeout=20)
    for number, pem in enumerate(
        re.findall(r"-----BEGIN.*?-----END CERTIFICATE-----\n", emulated.bundle.read_text(), re.DOTALL)
    ):
        importing = [*certutil, "-A", "-t", "C,,", "-n", f"emulator {number}", "-a"]
        subprocess.run(importing, input=pem, text=True, check=True, timeout=20)
    with chromium(emulated.rules, home=home) as running:
        yield running


def opened(browser: Browser, url: str) -> int | str:
    """The status of a page, or the error of the network."""
    context = browser.new_context()
    page = context.new_page()
    try:
        response = page.goto(url)
        return 0 if response is None else response.status
    except Exception as error:  # noqa: BLE001 - an error of Playwright, which is not imported where it is absent
        return next(iter(re.findall(r"net::(\w+)", str(error))), str(error))
    finally:
        context.close()


def test_trusted(emulated: Emulated, browser: Browser) -> None:
    """All names that are served are trusted, and no others."""
    found = {host: opened(browser, f"https://{host}/somefakeid.m3u8") for host in HOSTS}

    assert found == {
        "stream.mux.com": 400,
        "api.mux.com": 404,
        "a.b.mux.com": 404,
        "inferred.litix.io": 404,
        f"stream.{DOMAIN}": 400,
        "example.org": "ERR_CERT_COMMON_NAME_INVALID",
    }


def test_page(emulated: Emulated, browser: Browser) -> None:
    """The emulator's page works over https, on localhost and on an address."""
    for origin in (emulated.secure, emulated.secure.replace("127.0.0.1", "localhost")):
        context = browser.new_context()
        visit = Visit(context.new_page())
        visit.page.goto(origin)
        visit.until("document.querySelector('#clock').textContent")

        assert visit.page.evaluate("isSecureContext")
        assert visit.errors == []
        context.close()
