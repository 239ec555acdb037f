"""Check a built site: links, anchors, names, tables of contents, and requests to other hosts."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import attrs


class _Parser(HTMLParser):
    """Collects what the checks need of one page."""

    def __init__(self) -> None:
        super().__init__()
        self.page = Page()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if identifier := found.get("id") or (found.get("name") if tag == "a" else None):
            self.page.ids.add(identifier)
        if tag == "a" and (target := found.get("href")) is not None:
            self.page.links.add(target)
        if tag in {"script", "img", "iframe", "video", "audio", "source"} and (target := found.get("src")):
            self.page.loads.add(target)
        if (
            tag == "link"
            and found.get("rel") not in {"canonical", "prev", "next", "alternate"}
            and (target := found.get("href"))
        ):
            self.page.loads.add(target)
        if found.get("data-md-component") == "toc":
            self.page.has_contents = True


@attrs.define
class Page:
    """What one page has: the ids of its elements, its links, and what a browser loads with it."""

    ids: set[str] = attrs.field(factory=set[str])
    links: set[str] = attrs.field(factory=set[str])
    loads: set[str] = attrs.field(factory=set[str])
    has_contents: bool = False


def read_pages(folder: Path) -> dict[str, Page]:
    """Return the pages of a site by their path."""
    pages = dict[str, Page]()
    for file in sorted(folder.rglob("*.html")):
        parser = _Parser()
        parser.feed(file.read_text("utf-8"))
        pages[file.relative_to(folder).as_posix()] = parser.page
    return pages


def _broken(folder: Path, pages: dict[str, Page], path: str, target: str) -> str | None:
    """Return what is wrong with a link or a resource of a page."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return None
    found = posixpath.normpath(posixpath.join(posixpath.dirname(path), unquote(parts.path))) if parts.path else path
    file = folder / found
    if file.is_dir():
        found = posixpath.join(found, "index.html").removeprefix("./")
        file = folder / found
    if not file.is_file():
        return f"{path}: the link {target} leads nowhere"
    anchor = unquote(parts.fragment)
    if anchor and found in pages and anchor not in pages[found].ids and not anchor.startswith("__"):
        return f"{path}: the page of {target} has no such anchor"
    return None


def _problems(folder: Path, pages: dict[str, Page], names: set[str]) -> Iterator[str]:
    for path, page in pages.items():
        if path == "404.html":  # is served at any address
            continue
        for target in sorted(page.links | page.loads):
            if problem := _broken(folder, pages, path, target):
                yield problem
        for target in sorted(page.loads):
            if urlsplit(target).netloc:
                yield f"{path}: a browser loads {target} with it, from another host"
        if not page.has_contents and not path.startswith("docs/decisions/"):  # short, and in the section's own list
            yield f"{path} has no table of contents: give it headings"
    missing = names - {identifier for page in pages.values() for identifier in page.ids}
    for name in sorted(missing):
        yield f"{name} is public and not in the reference"


def check(folder: Path, names: set[str]) -> list[str]:
    """Return the problems of the site in *folder*, whose reference has to have *names*."""
    return list(_problems(folder, read_pages(folder), names))
