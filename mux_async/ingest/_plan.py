"""Makes the list of items from files, folders, URLs and manifests. Reports all problems before anything is sent."""

from __future__ import annotations

import glob as globs
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from itertools import count
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, cast

import attrs

from mux_async._tracebacks import hides_locals
from mux_async.errors import InvalidRequestError
from mux_async.ingest._file_types import (
    HEAD,
    MANIFEST_SUFFIXES,
    MEDIA_SUFFIXES,
    check_media_name,
    is_source_code,
    is_transport_stream,
    may_be_source_code,
    suffix_of,
)
from mux_async.ingest._items import FETCHED_SCHEMES, Item, default_title, file_item, open_file_system, remote_item
from mux_async.ingest._manifest import ItemOrProblem, Manifest, address_item
from mux_async.ingest._manifest_rows import Problem
from mux_async.ingest._signed_urls import without_signature

T = TypeVar("T")

Dedup: TypeAlias = Literal["key", "content", "none"]
"""What makes two items one: the same key, the same content, or nothing."""
OnBadLine: TypeAlias = Literal["stop", "skip"]
"""What a line of a list that cannot be read does: ``stop`` before anything is sent, or ``skip`` the line."""
Source: TypeAlias = "str | bytes | os.PathLike[str]"
Sources: TypeAlias = "Source | Iterable[Source]"
Manifests: TypeAlias = "str | os.PathLike[str] | Manifest | Iterable[str | os.PathLike[str] | Manifest]"


class PlanError(InvalidRequestError):
    """The sources or manifests of an ingest have problems. Nothing was sent.

    Attributes:
        problems: All problems, in the order of the sources.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems: tuple[Problem, ...] = tuple(problems)


@attrs.frozen
class Plan:
    """The items of an ingest, in order. Each item costs one POST.

    Attributes:
        items: By descending priority, otherwise in the given order.
        problems: Problems of sources and lines that were skipped; always empty unless ``on_bad_line="skip"``.
        duplicates: Sources that were left out because they equal another one.
    """

    items: tuple[Item, ...]
    problems: tuple[Problem, ...] = ()
    duplicates: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes that will be sent from this machine; Mux fetches URLs itself."""
        return sum(item.size or 0 for item in self.items)


@hides_locals
def make_plan(
    sources: Sources = (),
    *,
    manifest: Manifests = (),
    glob: str | None = None,
    encoding: str | None = None,
    dedup: Dedup = "key",
    on_bad_line: OnBadLine = "stop",
    allow_private: bool = False,
) -> Plan:
    """Make the plan of an ingest. Reads folders and opens every file once; blocks.

    Args:
        sources: Files, folders, patterns (``films/**/*.mov``), URLs, or one of them. Folders are searched recursively for media files,
            without hidden ones. Lists (``.csv``, ``.tsv``, ``.json``, ``.jsonl``, ``.ndjson``, ``.txt``, ``.lst``) are manifests.
            Addresses that fsspec reads (``s3://bucket/film.mp4``) may be patterns too, or folders, which end with a slash.
        manifest: Lists of URLs and files; see `Manifest`.
        encoding: Encoding of manifests; ``None`` for UTF-8, or as their byte order marks say.
        glob: Pattern for the names of files in folders, such as ``*.mxf``, instead of the known media suffixes.
        dedup: ``key`` ingests a source that is named twice once; ``content`` reads every file and ingests equal files once; ``none``
            makes an asset of each source.
        on_bad_line: ``skip`` leaves out bad lines and sources and lists them in `Plan.problems`; ``stop`` raises an error.
        allow_private: Allow ``file://`` URLs and addresses of private networks (loopback, link-local, names such as ``nas.local``) in
            manifests, which may be untrusted. They are always allowed in *sources*, and so are paths in manifests. Names are not
            resolved.

    Raises:
        PlanError: A file is missing, unreadable or empty; a folder or manifest is empty; a line is invalid; two sources have the same key;
            or no items are left.
        MissingExtraError: An address needs fsspec, which is not installed.
    """
    named = [os.fsdecode(each) for each in ([sources] if isinstance(sources, str | bytes | os.PathLike) else sources)]
    lists = [manifest] if isinstance(manifest, str | os.PathLike | Manifest) else list(manifest)
    if not named and not lists:
        raise PlanError([Problem("nothing was named to ingest: give files, folders, URLs or a manifest")])
    finds = _Finder(glob, encoding, by_content=dedup == "content", allow_private=allow_private)
    found = [each for name in named for each in finds.of_source(name)]
    found += [each for name in lists for each in finds.of_manifest(name)]
    problems = [each.what for each in found if isinstance(each.what, Problem)]
    items, duplicates, clashes = _dedup([(each.what, each) for each in found if isinstance(each.what, Item)], dedup)
    problems += clashes
    if problems and (on_bad_line == "stop" or not items):
        raise PlanError(problems)
    items.sort(key=lambda item: -item.priority)
    return Plan(tuple(items), tuple(problems), tuple(duplicates))


@attrs.frozen
class _Named:
    """An item or a problem, with its place in a manifest; for a source ``None``."""

    what: ItemOrProblem
    manifest: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        source = repr(self.what.source) if isinstance(self.what, Item) else "it"
        return source if self.manifest is None else f"{source} of {self.manifest}, line {self.line}"


@attrs.frozen
class _Finder:
    """Finds the items of sources and manifests."""

    glob: str | None
    encoding: str | None
    by_content: bool
    allow_private: bool

    def of_source(self, name: str) -> Iterator[_Named]:
        """Yield the items of a source."""
        try:
            if "://" in name:
                yield from map(_Named, self._address(name))
            elif os.path.isdir(name):  # noqa: PTH112 - false for names that no file can have, where pathlib fails
                yield from map(_Named, _each(_search(Path(name), self.glob), self._media_item))
            elif globs.has_magic(name) and not os.path.lexists(name):
                for path in _match(name):
                    yield from self._named(path)
            else:
                yield from self._named(Path(name))
        except PlanError as error:
            yield from map(_Named, error.problems)
        except InvalidRequestError as error:
            yield _Named(Problem(str(error)))

    def of_manifest(self, name: str | os.PathLike[str] | Manifest) -> Iterator[_Named]:
        """Yield the items of a manifest."""
        try:
            manifest = name if isinstance(name, Manifest) else Manifest.read(Path(name), encoding=self.encoding)
        except InvalidRequestError as error:
            yield _Named(Problem(str(error)))
            return
        line = 0
        for line, each in manifest.entries(by_content=self.by_content, allow_private=self.allow_private):
            yield _Named(each, manifest.name, line)
        if not line:
            yield _Named(Problem(f"the manifest {manifest.name!r} is empty: write one URL per line"))

    def _named(self, path: Path) -> Iterator[_Named]:
        if suffix_of(path.name) in MANIFEST_SUFFIXES:
            yield from self.of_manifest(path)
        else:
            yield from map(_Named, _each([path], self._media_item))

    def _media_item(self, path: Path) -> Item:
        check_media_name(path.name)
        item = file_item(path, by_content=self.by_content)
        if is_source_code(path):
            raise InvalidRequestError(f"{item.source!r} is not an MPEG transport stream; it may be source code: leave it out")
        return item

    def _address(self, name: str) -> Iterator[ItemOrProblem]:
        is_folder, is_pattern = name.endswith("/"), "*" in name
        if name.partition("://")[0].lower() in FETCHED_SCHEMES or not (is_folder or is_pattern):
            check_media_name(name.partition("?")[0])
            yield address_item(name)
            return
        system, place = open_file_system(name)
        try:
            names: list[str] = sorted(system.find(place) if is_folder else system.glob(place))
        except Exception as error:  # whatever the library behind fsspec raises
            raise InvalidRequestError(f"{name!r} cannot be listed ({error}): check its name and your access") from error
        chosen = [each for each in names if is_pattern or _is_wanted(each.rpartition("/")[2], self.glob)]
        chosen = [each for each in chosen if not (may_be_source_code(each) and _is_remote_source_code(system, each))]
        if not chosen:
            raise InvalidRequestError(f"nothing in {name!r} is a media file: check the name, or give a pattern")

        yield from _each(chosen, lambda each: remote_item(str(system.unstrip_protocol(each))))


def _is_remote_source_code(system: Any, place: str) -> bool:
    try:
        return not is_transport_stream(system.cat_file(place, start=0, end=HEAD))
    except Exception:  # noqa: BLE001 - opening the file will raise it again
        return False


def _each(names: Iterable[T], make: Callable[[T], Item]) -> Iterator[ItemOrProblem]:
    """Make items; yield a problem for each that cannot be made."""
    for name in names:
        try:
            yield make(name)
        except InvalidRequestError as error:
            yield Problem(str(error))


def _is_wanted(name: str, glob: str | None) -> bool:
    if name.startswith("."):
        return False
    return fnmatch(name, glob) if glob is not None else suffix_of(name) in MEDIA_SUFFIXES


def _match(pattern: str) -> list[Path]:
    """Return the files that match a pattern, sorted."""
    found = sorted(Path(each) for each in globs.glob(pattern, recursive=True) if not os.path.isdir(each))  # noqa: PTH112, PTH207
    if not found:
        raise PlanError([Problem(f"no file matches {pattern!r}: check the pattern, and quote it if the shell expands it")])
    return found


def _search(folder: Path, glob: str | None) -> list[Path]:
    """Return the media files under *folder*, sorted by path. Skips hidden files and folders, and links to folders."""
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
        chosen = [Path(root, name) for name in visible if _is_wanted(name, glob)]
        found += [path for path in chosen if glob is not None or not is_source_code(path)]
    if unreadable:
        raise PlanError(unreadable)
    if not seen:
        raise PlanError([Problem(f"the folder {str(folder)!r} is empty: put media files there, or name another one")])
    if not found:
        wanted = f"matches {glob!r}" if glob is not None else "has the suffix of a media file"
        advice = "give a pattern that does (--glob '*.xyz'), or name the files"
        raise PlanError([Problem(f"none of the {seen} files in {str(folder)!r} {wanted}: {advice}")])
    return found


def _dedup(found: Sequence[tuple[Item, _Named]], dedup: Dedup) -> tuple[list[Item], list[str], list[Problem]]:
    """Keep each key and each location once. Returns items, left-out sources, and problems of contradictory sources."""
    kept: dict[str, tuple[Item, _Named]] = {}
    locations: dict[str, str] = {}
    duplicates: list[str] = []
    clashes: list[Problem] = []
    for item, find in found:
        place, name = _location(item), repr(item.source)
        first = kept.get(item.key)
        if first is not None and dedup == "none":
            item = _with_own_key(item, kept)
        elif first is not None:
            is_same = _location(first[0]) == place
            different = _differences(first[0], item)
            if dedup == "content" or (is_same and not different):
                duplicates.append(item.source)
                continue
            message = f"{name} and {first[1]} have the same key {item.key!r}: give each its own"
            if is_same:
                settings = ", ".join(different)
                message = (
                    f"{name} is there twice, with different settings ({settings}): the other is {first[1]}; keep one of the two"
                )
            clashes.append(Problem(message, find.manifest, find.line))
            continue
        elif dedup == "key" and place in locations:
            other = locations[place]
            message = (
                f"{name} is there twice, with the keys {other!r} ({kept[other][1]}) and {item.key!r}: that is two assets and two POSTs;"
                " write all its settings on one line, or ask for both (--dedup none)"
            )
            clashes.append(Problem(message, find.manifest, find.line))
            continue
        kept[item.key] = item, find
        locations.setdefault(place, item.key)
    return [item for item, _ in kept.values()], duplicates, clashes


def _location(item: Item) -> str:
    """Return the location of the bytes: the same for a link and its target, and for all signatures of a URL."""
    if item.path is not None:
        return os.path.realpath(item.path)
    return without_signature(item.url.reveal()) if item.url is not None else item.address or ""


def _differences(first: Item, other: Item) -> list[str]:
    """Return the names of the settings in which two items differ. Default titles do not count: a link has its own."""
    one, two = _comparable_settings(first), _comparable_settings(other)
    return sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))


def _comparable_settings(item: Item) -> dict[str, object]:
    settings = dict(item.settings)
    meta = dict(cast("Mapping[str, object]", settings.pop("meta", {})))
    if item.path is not None and meta.get("title") == default_title(item.path.name):
        del meta["title"]
    return {**settings, **meta}


def _with_own_key(item: Item, kept: Collection[str]) -> Item:
    """Return a repeated item with a key of its own, the same in every run."""
    return item.with_key(next(key for number in count(2) if (key := f"{item.key}-{number}") not in kept))
