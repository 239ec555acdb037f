"""Build the site: pages of the repository and of the reference in one folder, through Zensical, then checked.

The folder has the layout of the repository, so links between documents need no change. A link to a file that is no page (a manifest, an
example) leads to a copy of that file.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tools.site import reference
from tools.site.check import check
from tools.sources import ROOT

FOLDER: Final = ROOT / "build" / "site"
SOURCE: Final = FOLDER / "source"
HTML: Final = FOLDER / "html"
CONFIGURATION: Final = ROOT / "zensical.toml"
_LINK: Final = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]+)?\)")
_FENCE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def documents() -> list[str]:
    """Return the paths of all documents that have to be pages."""
    found = [
        *ROOT.glob("docs/**/*.md"),
        *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    ]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def title(path: str) -> str:
    """Return the first heading of a document."""
    found = re.search(r"^# (.+)$", (ROOT / path).read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise ValueError(f"{path} has no heading of the first level: give it one")
    return found[1].replace("`", "")


def decisions() -> list[str]:
    """Return the documents that give reasons, which have a section of their own."""
    return [path for path in documents() if path.startswith("docs/decisions/")]


def listed_pages() -> list[str]:
    """Return the documents in the navigation; the decisions are all in it."""
    entries = tomllib.loads(CONFIGURATION.read_text("utf-8"))["project"]["nav"]
    return sorted([path for path in _leaves(entries) if not path.startswith("@")] + decisions())


def _leaves(entry: reference.Entry) -> Iterator[str]:
    match entry:
        case str():
            yield entry
        case list():
            for each in entry:
                yield from _leaves(each)
        case dict():
            for each in entry.values():
                yield from _leaves(each)


def _toml(entry: reference.Entry) -> str:
    """Return an entry of the navigation as inline TOML; JSON strings are TOML strings."""
    match entry:
        case str():
            return json.dumps(entry)
        case list():
            return f"[{', '.join(map(_toml, entry))}]"
        case dict():
            return f"{{ {', '.join(f'{json.dumps(title)} = {_toml(each)}' for title, each in entry.items())} }}"


def _filled_in(configuration: str) -> str:
    """Return the configuration with the generated parts of the navigation."""
    reasons: reference.Navigation = [{"Decisions": ["docs/decisions/index.md", *decisions()]}]
    for mark, entries in (("@reference", reference.navigation()), ("@decisions", reasons)):
        configuration = configuration.replace(json.dumps(mark), ", ".join(map(_toml, entries)))
    return configuration.replace("@root", str(ROOT))


def _write(path: str, text: str) -> None:
    target = SOURCE / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, "utf-8")


def _linked_files(path: str, text: str) -> Iterator[Path]:
    for target in _LINK.findall(_FENCE.sub("", text)):
        file = ((ROOT / path).parent / target).resolve()
        if "://" not in target and file.is_file() and file.suffix != ".md" and file.is_relative_to(ROOT):
            yield file


def _with_folders(text: str) -> str:
    """Return a document whose links to the folder of decisions lead to its page."""
    return re.sub(r"\]\(((?:\.\./)*docs/decisions)/?\)", r"](\1/index.md)", text)


def assemble() -> None:
    """Write all pages, and the files that they link to."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    for path in documents():
        text = _with_folders((ROOT / path).read_text("utf-8"))
        _write(path, text)
        for file in _linked_files(path, text):
            copy = SOURCE / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    rows = [f"- [{title(path)}]({Path(path).name})" for path in decisions()]
    _write("docs/decisions/index.md", "# Decisions\n\nReasons for what is not obvious.\n\n" + "\n".join(rows) + "\n")
    for path, text in reference.pages().items():
        _write(path, text)
    shutil.copyfile(Path(__file__).with_name("site.css"), SOURCE / "site.css")
    (FOLDER / "zensical.toml").write_text(_filled_in(CONFIGURATION.read_text("utf-8")), "utf-8")


def _about(path: str) -> str:
    """Return the first paragraph of a document in one line."""
    text = re.sub(r"<!--.*?-->", "", (ROOT / path).read_text("utf-8"), flags=re.DOTALL)
    found = re.search(r"^# .+\n+([^#\n|`!<>-].*(?:\n.+)*)", text, re.MULTILINE)
    return re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", " ".join(found[1].split())) if found else ""


def _write_llms() -> None:
    """Write ``llms.txt``, a list of the pages for language models, and ``llms-full.txt``, their text with the list of the public API."""
    guides = [
        path
        for path in listed_pages()
        if path not in {"README.md", "CHANGELOG.md", "CONTRIBUTING.md"} and path not in decisions()
    ]
    lines = ["# mux_async", "", f"> {_about('README.md')}", "", "## Guides", ""]
    lines += [f"- [{title(path)}]({_html(path)}): {_about(path)}" for path in guides]
    lines += ["", "## Reference", ""]
    lines += [f"- [{module}]({_html(reference.page_of(module))})" for module in reference.public_modules()]
    lines += ["- [Commands](reference/commands.html)", "", "## Optional", ""]
    lines += [f"- [{title(path)}]({_html(path)})" for path in ["CHANGELOG.md", *decisions()]]
    (HTML / "llms.txt").write_text("\n".join(lines) + "\n", "utf-8")
    texts = [(ROOT / path).read_text("utf-8").strip() for path in ["README.md", *guides]]
    (HTML / "llms-full.txt").write_text("\n\n".join([*texts, (ROOT / "docs" / "api.txt").read_text("utf-8")]), "utf-8")


def _html(path: str) -> str:
    return path.removesuffix(".md") + ".html"


def build() -> list[str]:
    """Build the site, and return its problems."""
    problems = [f"{path} has no docstring" for path in reference.undocumented()]
    problems += [
        f"{path} is not in the navigation: add it to nav in zensical.toml" for path in set(documents()) - set(listed_pages())
    ]
    if problems:
        return sorted(problems)
    assemble()
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict", "--clean"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        return [*re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr).splitlines(), "Zensical failed"]
    _write_llms()
    names = {f"{module}.{name}" for module in reference.public_modules() for name in reference.defined_names(module)}
    return check(HTML, names)
