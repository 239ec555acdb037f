"""Wrap paragraphs of the documents that have a line of more than 140 characters: ``python -m tools.prose`` (part of ``make format``)."""

from __future__ import annotations

import re
import textwrap
from typing import Final

from tools.site.build import documents
from tools.sources import ROOT

WIDTH: Final = 140
_BULLET: Final = re.compile(r" *(?:(?:[-*+]|\d+\.) )?")
_NEW_BLOCK: Final = re.compile(r" *(?:(?:[-*+]|\d+\.) |\||```|#|<|>|!\[|$)")
_CODE: Final = re.compile(r"`[^`]*`")


def is_too_long(line: str) -> bool:
    """Whether a line outside of code is prose and too long: tables, pictures and comments stay on one line."""
    return len(line) > WIDTH and not line.startswith(("|", "![", "<!--", "[!["))


def wrap(text: str) -> str:
    """Return a document whose paragraphs fit; code, and paragraphs that fit already, stay as they are."""
    lines = text.split("\n")
    wrapped: list[str] = []
    in_code = False
    while lines:
        line = lines.pop(0)
        in_code ^= line.lstrip().startswith("```")
        if in_code or not is_too_long(line):
            wrapped.append(line)
            continue
        paragraph = [line.strip()]
        while lines and not _NEW_BLOCK.match(lines[0]):
            paragraph.append(lines.pop(0).strip())
        bullet = _BULLET.match(line)
        indent = " " * len(bullet[0]) if bullet else ""
        whole = _CODE.sub(lambda code: code[0].replace(" ", "\0"), " ".join(paragraph))  # spans of code are not broken
        parts = textwrap.wrap(
            whole,
            WIDTH,
            initial_indent=" " * (len(line) - len(line.lstrip())),
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        wrapped += [part.replace("\0", " ") for part in parts]
    return "\n".join(wrapped)


def long_lines(text: str) -> list[str]:
    """Return the lines of prose that are too long."""
    outside = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [line for line in outside.splitlines() if is_too_long(line)]


if __name__ == "__main__":
    for path in documents():
        if path != "CHANGELOG.md":
            (ROOT / path).write_text(wrap((ROOT / path).read_text("utf-8")), "utf-8")
