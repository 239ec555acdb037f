"""Links between documents, and the files they name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.site.build import documents, listed_pages

TREE = Path(__file__).parents[2]
DOCUMENTS = [*TREE.glob("*.md"), *TREE.glob("docs/**/*.md"), *TREE.glob("codegen/**/*.md"), *TREE.glob("benchmarks/*.md")]
LINK = re.compile(r"\]\(([^)#\s]+?)(?:#([^)\s]+))?\)")
FILE = re.compile(r"`((?:mux_async|transports|tests|codegen|tools|benchmarks|examples|docs)/[\w./-]+)`")
HISTORY = {"CHANGELOG.md", "upgrading.md"}  # they name what was there before


def anchors(document: Path) -> set[str]:
    """Return the anchors of the headings in *document*, as code hosts and site generators derive them."""
    text = re.sub(r"^```.*?^```", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(TREE)))
def test_links_and_anchors(document: Path) -> None:
    """A relative link of a document leads to a file, and its anchor to a heading."""
    for target, anchor in LINK.findall(document.read_text("utf-8")):
        if "://" in target or target.startswith("mailto:"):
            continue
        file = (document.parent / target).resolve()
        assert file.exists(), f"{target} is not a file"
        assert not anchor or file.suffix != ".md" or anchor in anchors(file), f"{target} has no heading #{anchor}"


@pytest.mark.parametrize(
    "document", [path for path in DOCUMENTS if path.name not in HISTORY], ids=lambda path: str(path.relative_to(TREE))
)
def test_files(document: Path) -> None:
    """A file that a document names is in the tree."""
    for name in FILE.findall(document.read_text("utf-8")):
        assert (TREE / name).exists(), f"{name} is not in the tree"


def test_every_document_is_in_the_navigation() -> None:
    """Each document is in the navigation of the site once, and what is in the navigation exists."""
    assert listed_pages() == documents(), "put the page into nav in zensical.toml"
