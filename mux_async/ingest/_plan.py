"""From what the user named to a list of items, with everything that is wrong said before anything is sent."""

from __future__ import annotations

import glob as globs
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar

import attrs

from mux_async.errors import InvalidRequestError
from mux_async.ingest._items import Item, file_item, open_file_system, remote_item
from mux_async.ingest._manifest import MANIFEST_SUFFIXES, Found, Manifest, address_item
from mux_async.ingest._problems import PlanError, Problem

MEDIA_SUFFIXES: Final = frozenset(
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

T = TypeVar("T")

Dedup: TypeAlias = Literal["key", "content", "none"]
OnBadLine: TypeAlias = Literal["stop", "skip"]
Sources: TypeAlias = "str | os.PathLike[str] | Iterable[str | os.PathLike[str]]"
Manifests: TypeAlias = "str | os.PathLike[str] | Manifest | Iterable[str | os.PathLike[str] | Manifest]"


@attrs.frozen
class Plan:
    """What will be ingested, in order. Each item costs one POST.

    Attributes:
        items: Those of higher priority first, else as they were named.
        problems: What was left out because something was wrong with it; always empty unless bad lines are skipped.
        duplicates: Sources that were left out because another one is the same.
    """

    items: tuple[Item, ...]
    problems: tuple[Problem, ...] = ()
    duplicates: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes that will be sent from here; URLs count nothing."""
        return sum(item.size or 0 for item in self.items)


def make_plan(
    sources: Sources = (),
    *,
    manifest: Manifests = (),
    glob: str | None = None,
    dedup: Dedup = "key",
    on_bad_line: OnBadLine = "stop",
) -> Plan:
    """Find out what is to be ingested. Reads folders and opens every file once; blocks while it does.

    Args:
        sources: Files, folders, patterns (``films/**/*.mov``), URLs, or one of them. Folders are searched to the bottom for media files;
            hidden ones are left out. ``.csv``, ``.jsonl`` and ``.ndjson`` files are manifests. Addresses that fsspec reads
            (``s3://bucket/film.mp4``) may be patterns too, or folders, which end with a slash.
        manifest: Lists of URLs and files; see `Manifest`.
        glob: Pattern for the names of files in folders, like ``*.mxf``, instead of the known media suffixes.
        dedup: ``key`` takes a source that is named twice once; ``content`` reads every file and takes equal ones once, wherever they are;
            ``none`` makes an asset of each that is named.
        on_bad_line: ``skip`` leaves out what something is wrong with, and tells it in `Plan.problems`; ``stop`` makes an error of it.

    Raises:
        PlanError: Something is wrong: a file is missing, unreadable or empty; a folder or manifest has nothing in it; a line cannot be
            used; two sources have one key. Or nothing is left.
        MissingExtraError: An address is named that takes fsspec, and that is not installed.
    """
    named = _several(sources)
    lists = [manifest] if isinstance(manifest, str | os.PathLike | Manifest) else list(manifest)
    if not named and not lists:
        raise PlanError([Problem("nothing was named to ingest: give files, folders, URLs or a manifest")])
    finds = _Finds(glob, by_content=dedup == "content")
    found = [each for name in named for each in finds.of_source(name)]
    found += [each for name in lists for each in finds.of_manifest(name)]
    problems = [each for each in found if isinstance(each, Problem)]
    items, duplicates, clashes = _dedup([each for each in found if isinstance(each, Item)], dedup)
    problems += clashes
    if problems and (on_bad_line == "stop" or not items):
        raise PlanError(problems)
    items.sort(key=lambda item: -item.priority)
    return Plan(tuple(items), tuple(problems), tuple(duplicates))


def _several(sources: Sources) -> list[str]:
    return [os.fspath(sources)] if isinstance(sources, str | os.PathLike) else [os.fspath(each) for each in sources]


@attrs.frozen
class _Finds:
    """Looks sources up."""

    glob: str | None
    by_content: bool

    def of_source(self, name: str) -> Iterator[Found]:
        """Yield what a source stands for."""
        try:
            if "://" in name:
                yield from self._address(name)
            elif os.path.isdir(name):  # noqa: PTH112 - false for names that no file can have, where pathlib fails
                yield from self._files(_search(Path(name), self.glob))
            elif os.path.splitext(name)[1].lower() in MANIFEST_SUFFIXES:  # noqa: PTH122 - as above
                yield from self.of_manifest(name)
            elif globs.has_magic(name) and not os.path.lexists(name):
                yield from self._files(_match(name))
            else:
                yield from self._files([Path(name)])
        except PlanError as error:
            yield from error.problems
        except InvalidRequestError as error:
            yield Problem(str(error))

    def of_manifest(self, name: str | os.PathLike[str] | Manifest) -> Iterator[Found]:
        """Yield what a manifest lists."""
        try:
            manifest = name if isinstance(name, Manifest) else Manifest.read(Path(name))
        except InvalidRequestError as error:
            yield Problem(str(error))
            return
        is_empty = True
        for each in manifest.items(by_content=self.by_content):
            is_empty = False
            yield each
        if is_empty:
            yield Problem(f"the manifest {manifest.name!r} names nothing: write one URL a line")

    def _files(self, paths: Iterable[Path]) -> Iterator[Found]:
        yield from _each(paths, lambda path: file_item(path, by_content=self.by_content))

    def _address(self, name: str) -> Iterator[Found]:
        is_folder, is_pattern = name.endswith("/"), "*" in name
        if name.startswith(("http://", "https://", "mux://")) or not (is_folder or is_pattern):
            yield address_item(name)
            return
        system, place = open_file_system(name)
        try:
            names: list[str] = sorted(system.find(place) if is_folder else system.glob(place))
        except Exception as error:  # whatever the library behind fsspec raises
            raise InvalidRequestError(f"{name!r} cannot be listed ({error}): check its name and your access") from error
        chosen = [each for each in names if is_pattern or _is_wanted(each.rpartition("/")[2], self.glob)]
        if not chosen:
            raise InvalidRequestError(f"nothing in {name!r} is a media file: check the name, or give a pattern")
        yield from _each(chosen, lambda each: remote_item(str(system.unstrip_protocol(each))))


def _each(names: Iterable[T], make: Callable[[T], Item]) -> Iterator[Found]:
    """Make items, and say what is wrong with those that cannot be made."""
    for name in names:
        try:
            yield make(name)
        except InvalidRequestError as error:
            yield Problem(str(error))


def _is_wanted(name: str, glob: str | None) -> bool:
    if name.startswith("."):
        return False
    return fnmatch(name, glob) if glob is not None else Path(name).suffix.lower() in MEDIA_SUFFIXES


def _match(pattern: str) -> list[Path]:
    """Return the files that a pattern stands for, sorted."""
    found = sorted(Path(each) for each in globs.glob(pattern, recursive=True) if not os.path.isdir(each))  # noqa: PTH112, PTH207
    if not found:
        raise PlanError(
            [Problem(f"no file matches {pattern!r}: check the pattern, and quote it where a shell would change it")]
        )
    return found


def _search(folder: Path, glob: str | None) -> list[Path]:
    """Return the media files under *folder*, sorted by path; hidden files and folders are left out, links to folders not followed."""
    found: list[Path] = []
    seen = 0
    unreadable: list[Problem] = []

    def refuse(error: OSError) -> None:
        unreadable.append(
            Problem(f"the folder {error.filename!r} cannot be read ({error.strerror}): check its permissions, or leave it out")
        )

    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = sorted(name for name in names if not name.startswith("."))
        seen += len(visible)
        found += [Path(root, name) for name in visible if _is_wanted(name, glob)]
    if unreadable:
        raise PlanError(unreadable)
    if not seen:
        raise PlanError([Problem(f"the folder {str(folder)!r} is empty: put media files there, or name another one")])
    if not found:
        wanted = f"matches {glob!r}" if glob is not None else "has the suffix of a media file"
        advice = "give a pattern that does (--glob '*.xyz'), or name the files"
        raise PlanError([Problem(f"none of the {seen} files in {str(folder)!r} {wanted}: {advice}")])
    return found


def _dedup(items: Sequence[Item], dedup: Dedup) -> tuple[list[Item], list[str], list[Problem]]:
    """Take each key and each place once: return what is kept, the sources that are left out, and what contradicts itself."""
    kept: dict[str, Item] = {}
    places: dict[str, Item] = {}
    duplicates: list[str] = []
    clashes: list[Problem] = []
    for each in items:
        place = _place(each)
        first, item = kept.get(each.key), each
        if first is not None and dedup == "none":
            item = _another(each, kept)
        elif first is not None and (dedup == "content" or (_place(first) == place and first.settings == each.settings)):
            duplicates.append(each.source)
            continue
        elif first is not None:
            told = f"{first.source!r} and {each.source!r} have the same key {each.key!r}: give each its own"
            if _place(first) == place:
                told = f"{each.source!r} is there twice, with different settings: keep one of the two"
            clashes.append(Problem(told))
            continue
        elif dedup == "key" and place in places:
            clashes.append(
                Problem(
                    f"{each.source!r} is there twice, with the keys {places[place].key!r} and {each.key!r}: that is two assets and two "
                    "POSTs; write all its settings on one line, or ask for both (--dedup none)"
                )
            )
            continue
        kept[item.key] = item
        places.setdefault(place, item)
    return list(kept.values()), duplicates, clashes


def _place(item: Item) -> str:
    if item.path is not None:
        return os.path.realpath(item.path)
    return item.url.reveal() if item.url is not None else item.address or ""


def _another(item: Item, kept: dict[str, Item]) -> Item:
    """Return an item that was wished for again under a key of its own, the same in every run."""
    number = 2
    while f"{item.key}-{number}" in kept:
        number += 1
    key = f"{item.key}-{number}"
    meta = item.settings.get("meta")
    return attrs.evolve(
        item, key=key, settings={**item.settings, "meta": {**(meta if isinstance(meta, dict) else {}), "external_id": key}}
    )
