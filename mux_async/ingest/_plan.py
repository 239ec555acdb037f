"""From what the user named to a list of items, with everything that is wrong said before anything is sent."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path

import attrs

from mux_async.errors import InvalidRequestError
from mux_async.ingest._items import Item, file_item
from mux_async.ingest._manifest import read_manifest

MEDIA_SUFFIXES = frozenset(
    [
        ".3g2",
        ".3gp",
        ".aac",
        ".aif",
        ".aiff",
        ".asf",
        ".avi",
        ".flac",
        ".flv",
        ".gif",
        ".m2ts",
        ".m2v",
        ".m4a",
        ".m4v",
        ".mka",
        ".mkv",
        ".mov",
        ".mp3",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".oga",
        ".ogg",
        ".ogv",
        ".opus",
        ".ts",
        ".vob",
        ".wav",
        ".webm",
        ".wma",
        ".wmv",
    ]
)
"""What is taken from folders. A file named itself is taken whatever it is called: Mux looks at bytes, not names."""


class PlanError(InvalidRequestError):
    """Something about what was to be ingested is wrong. Nothing was sent.

    Attributes:
        problems: A sentence each, saying what to mend.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@attrs.frozen
class Plan:
    """What will be ingested, in order."""

    items: tuple[Item, ...]

    @property
    def size(self) -> int:
        """Bytes that will be sent from here; URLs count nothing."""
        return sum(item.size or 0 for item in self.items)


def make_plan(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    *,
    manifest: str | os.PathLike[str] | None = None,
    glob: str | None = None,
) -> Plan:
    """Find out what is to be ingested. Reads folders and opens every file once; blocks while it does.

    Args:
        paths: Files and folders, or one of them. Folders are searched to the bottom for media files; hidden ones are left out.
        manifest: A list of URLs and files; see `mux_async.ingest`.
        glob: Pattern for the names of files in folders, like ``*.mxf``, instead of the known media suffixes.

    Raises:
        PlanError: A file is missing, unreadable, empty or named twice; a folder or manifest has nothing in it; a line is wrong.
    """
    problems: list[str] = []
    items: list[Item] = []
    named = [Path(paths)] if isinstance(paths, str | os.PathLike) else [Path(path) for path in paths]
    if not named and manifest is None:
        raise PlanError(["nothing was named to ingest: give files, folders or a manifest"])
    for path in named:
        try:
            items += [file_item(each) for each in (_search(path, glob) if path.is_dir() else [path])]
        except PlanError as error:
            problems += error.problems
        except InvalidRequestError as error:
            problems.append(str(error))
    if manifest is not None:
        _add_manifest(Path(manifest), items, problems)
    problems += _duplicates(items)
    if problems:
        raise PlanError(problems)
    return Plan(tuple(items))


def _add_manifest(path: Path, items: list[Item], problems: list[str]) -> None:
    before = len(items) + len(problems)
    try:
        for item in read_manifest(path):
            if isinstance(item, Item):
                items.append(item)
            else:
                problems.append(str(item))
    except InvalidRequestError as error:
        problems.append(str(error))
    if len(items) + len(problems) == before:
        problems.append(f"the manifest {str(path)!r} names nothing: write one URL a line")


def _search(folder: Path, glob: str | None) -> list[Path]:
    """Return the media files under *folder*, sorted by path; hidden files and folders are left out, links to folders not followed."""
    found: list[Path] = []
    seen = 0
    unreadable: list[str] = []

    def refuse(error: OSError) -> None:
        unreadable.append(
            f"the folder {error.filename!r} cannot be read ({error.strerror}): check its permissions, or leave it out"
        )

    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                seen += 1
                if fnmatch(name, glob) if glob is not None else Path(name).suffix.lower() in MEDIA_SUFFIXES:
                    found.append(Path(root, name))
    if unreadable:
        raise PlanError(unreadable)
    if not seen:
        raise PlanError([f"the folder {str(folder)!r} is empty: put media files there, or name another one"])
    if not found:
        wanted = f"matches {glob!r}" if glob is not None else "has the suffix of a media file"
        raise PlanError(
            [
                f"none of the {seen} files in {str(folder)!r} {wanted}: give a pattern that does (--glob '*.xyz'), or name the files"
            ]
        )
    return found


def _duplicates(items: Sequence[Item]) -> list[str]:
    """Say which items are the same file, the same URL or have the same key: each would become two assets."""
    problems: list[str] = []
    by_place: dict[object, Item] = {}
    by_key: dict[str, Item] = {}
    for item in items:
        place = item.path.resolve() if item.path is not None else item.url
        if (first := by_place.setdefault(place, item)) is not item:
            names = f"{item.source!r}" if item.source == first.source else f"{item.source!r}, also as {first.source!r},"
            problems.append(f"{names} is named twice, and would become two assets: name it once")
        elif (first := by_key.setdefault(item.key, item)) is not item:
            problems.append(f"{first.source!r} and {item.source!r} have the same key {item.key!r}: give each its own")
    return problems
