"""The documentation site: navigation, the reference of every public name, and what `make docs` builds."""

from __future__ import annotations

import re
import shutil
from collections.abc import Generator, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from mux_async.webhooks.events import EVENTS
from tests.emulator.browser.browsing import chromium
from tools.prose import long_lines, wrap
from tools.site import reference
from tools.site.build import HTML, build, documents, listed_pages
from tools.site.check import check

TREE = Path(__file__).parents[2]


@pytest.mark.parametrize("path", [path for path in documents() if path != "CHANGELOG.md"])
def test_lines_of_prose(path: str) -> None:
    """A line of a document has at most 140 characters, outside of tables and code."""
    assert not long_lines((TREE / path).read_text("utf-8")), "run python -m tools.prose"


def test_wrapping() -> None:
    """Long paragraphs and items of lists are wrapped with their indentation; code, tables and spans of code stay as they are."""
    long = "word " * 40
    text = (
        f"{long}\nend\n\n- {long}\n  end\n- next\n\n| {long} |\n\n```text\n{long}\n```\n{'x' * 130} `a b c d e f g h i j k l`\n"
    )
    wrapped = wrap(text)
    assert not long_lines(wrapped)
    assert wrapped.split() == text.split()
    assert "\n  word" in wrapped
    assert wrapped.count(f"{long}") == 2
    assert "`a b c d e f g h i j k l`" in wrapped
    assert wrap(wrapped) == wrapped


def test_every_public_name_is_documented() -> None:
    """Every public module and every public name has a docstring, and each module is in a section of the reference."""
    assert not reference.undocumented()
    assert sorted(module for found in reference.grouped().values() for module in found) == sorted(reference.public_modules())


def test_every_event_has_a_sample_body() -> None:
    """The pages of events have a heading and a body for each of the event types."""
    pages = "".join(reference.event_pages().values())
    assert set(re.findall(r"^## (\S+)$", pages, re.MULTILINE)) == set(EVENTS)
    assert pages.count("```json") == len(EVENTS)


PAGE = '<a href="#here">x</a><a href="other.html#there">x</a><ul data-md-component="toc"></ul><h1 id="here"></h1>'


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        (PAGE, None),
        (PAGE.replace("other.html", "another.html"), "index.html: the link another.html#there leads nowhere"),
        (PAGE.replace("#there", "#elsewhere"), "index.html: the page of other.html#elsewhere has no such anchor"),
        (PAGE.replace('id="here"', ""), "index.html: the page of #here has no such anchor"),
        (PAGE + '<img src="gone.png">', "index.html: the link gone.png leads nowhere"),
        (
            PAGE + '<script src="https://cdn.test/a.js"></script>',
            "index.html: a browser loads https://cdn.test/a.js with it, from another host",
        ),
        (PAGE.replace("toc", ""), "index.html has no table of contents: give it headings"),
    ],
)
def test_check(tmp_path: Path, page: str, problem: str | None) -> None:
    """The check of a built site finds broken links and anchors, requests to other hosts, and pages without contents."""
    (tmp_path / "index.html").write_text(page)
    (tmp_path / "other.html").write_text('<h2 id="there"></h2><ul data-md-component="toc"></ul>')
    assert check(tmp_path, {"there"}) == ([problem] if problem else [])


def test_check_of_names(tmp_path: Path) -> None:
    """The check of a built site finds public names without a place in it."""
    assert check(tmp_path, {"mux_async.Mux"}) == ["mux_async.Mux is public and not in the reference"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as `make docs` does, and return a copy of it."""
    problems = build()
    assert not problems, "\n".join(problems)
    copy = tmp_path_factory.mktemp("site") / "html"
    shutil.copytree(HTML, copy)
    return copy


@pytest.fixture(scope="module")
def origin(site: Path) -> Generator[str, None, None]:
    """Serve the site."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Be quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(site))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def pages_of(site: Path) -> Iterator[str]:
    """Yield every page that is written by hand, and one of each kind of the reference."""
    yield from (path.replace("README.md", "index.md").removesuffix(".md") + ".html" for path in listed_pages())
    for path in ("index", "mux_async", "mux_async/errors", "mux_async/models/video_assets", "mux_async/resources/video_assets"):
        yield f"reference/{path}.html"
    yield from ("reference/events/video.asset.html", "reference/commands.html")


@pytest.mark.proof
def test_pages_for_language_models(site: Path) -> None:
    """llms.txt links to pages that exist; llms-full.txt has the guides and the listing of the API."""
    links = re.findall(r"\]\((.+?)\)", (site / "llms.txt").read_text("utf-8"))
    assert len(links) > 200
    assert not [link for link in links if not (site / link).is_file()]
    full = (site / "llms-full.txt").read_text("utf-8")
    assert "# Webhooks" in full
    assert "class AccessToken" in full


WIDE = """
[...document.querySelectorAll("pre > code, .md-typeset__table, .md-typeset__scrollwrap")]
    .filter(each => each.scrollWidth > each.clientWidth + 1).map(each => [each.tagName, getComputedStyle(each).overflowX])
"""
"""Tag and overflow of code and tables that are wider than their place."""


@pytest.mark.proof
def test_small_screen_dark_mode_and_search(site: Path, origin: str) -> None:
    """At 390 px no page scrolls sideways; nothing is loaded from elsewhere; dark mode follows the system; search finds a class."""
    requests: list[str] = []
    with chromium() as browser:
        page = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark").new_page()
        page.on("request", lambda request: requests.append(request.url))
        wide: list[str] = []
        inside: list[list[str]] = []
        for path in pages_of(site):
            assert page.goto(f"{origin}/{path}").ok, path  # type: ignore[union-attr]
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                wide.append(path)
            inside += page.evaluate(WIDE)
        assert not wide
        assert {overflow for _, overflow in inside} == {"auto"}
        assert {tag for tag, _ in inside} >= {"CODE", "DIV"}

        page.goto(f"{origin}/docs/limits.html", wait_until="networkidle")
        assert page.evaluate("document.body.getAttribute('data-md-color-scheme')") == "slate"
        page.keyboard.press("Control+k")
        page.keyboard.type("AmbiguousOutcomeError", delay=20)
        page.locator('a[href*="errors.html?h="][href$="#mux_async.errors.AmbiguousOutcomeError"]').wait_for(timeout=20_000)
    assert not [url for url in requests if not url.startswith((origin, "data:", "blob:"))]
