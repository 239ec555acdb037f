"""The items of an ingest: one value for each file or URL, with the settings of its asset."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import attrs

from mux_async._text_encoding import is_path, legible, legible_all, stripped
from mux_async._tracebacks import hides_locals
from mux_async._types import Secret
from mux_async.errors import InvalidRequestError
from mux_async.ingest._asset_settings import MAX_LENGTHS
from mux_async.ingest._signed_urls import without_signature, without_signature_before_v3
from mux_async.uploads._remote import import_fsspec
from mux_async.uploads._source import open_file

FETCHED_SCHEMES = frozenset({"http", "https", "mux"})
"""Schemes that Mux fetches itself; ``mux://assets/{id}`` is a clip of another asset (facts/BEHAVIOUR.md, section 4.1)."""


def _names(settings: Mapping[str, object]) -> str:
    """Return only the names of settings, for reprs: inputs may hold signed URLs."""
    return f"<{', '.join(settings)}>"


def without_secrets(address: str) -> str:
    """Return an address without its password and its query, which may be a signature."""
    scheme, found, rest = address.partition("://")
    if not found:  # file:/path
        scheme, rest = "", scheme
    place, query, _ = rest.partition("?")
    host, slash, path = place.partition("/")
    return legible(f"{scheme}{found}{host.rpartition('@')[2]}{slash}{path}") + ("?..." if query else "")


_LOCAL_KEY = "f-"
"""Begins keys that are derived from a path, a size and a time, which another host need not have."""


@attrs.frozen
class Item:
    """One file, or one URL that Mux fetches.

    Attributes:
        key: The same in every run: as given, else derived from the file's path, size and modification time, or from the URL without its
            signature.
        source: The path, or the URL without its query (which may hold a signature). Bytes of a name that are not UTF-8 are written as
            ``\\xe9``.
        path: The file; ``None`` for anything else.
        url: The URL that Mux fetches; ``None`` for anything else.
        address: A file that fsspec reads, such as ``s3://bucket/film.mp4``; ``None`` for anything else.
        size: Bytes of the file; ``None`` for a URL.
        modified_ns: When the file was last modified, in nanoseconds since 1970; ``None`` if not known.
        settings: Members of the create call, by wire name: ``meta``, ``passthrough`` and whatever a manifest gave. ``inputs``, if there,
            begins with the settings of the main media, without ``url``.
        priority: Items with a higher value are begun earlier.
        older_key: The key that earlier versions derived from the URL, if it differs: their journals have it.
    """

    key: str
    source: str
    path: Path | None = None
    url: Secret | None = None
    address: str | None = attrs.field(default=None, repr=lambda address: repr(address and without_secrets(address)))
    size: int | None = None
    modified_ns: int | None = None
    settings: Mapping[str, object] = attrs.field(factory=dict[str, object], repr=_names)
    priority: int = 0
    older_key: str | None = None

    def with_key(self, key: str) -> Item:
        """Return the same under another key, which is its asset's ``external_id`` as well."""
        meta = self.settings.get("meta")
        members: Mapping[str, object] = cast("Mapping[str, object]", meta) if isinstance(meta, Mapping) else {}
        return attrs.evolve(self, key=key, older_key=None, settings={**self.settings, "meta": {**members, "external_id": key}})

    @property
    def is_portable(self) -> bool:
        """Whether the key is the same on every host: given, derived from content, from a URL, or from an address and its version."""
        return self.path is None or not self.key.startswith(_LOCAL_KEY)

    def to_dict(self) -> dict[str, object]:
        """Return JSON members, without those that are ``None``. They hold secrets: the URL with its signature."""
        members = {
            "key": self.key,
            "source": self.source,
            "path": None if self.path is None else str(self.path),
            "url": None if self.url is None else self.url.reveal(),
            "address": self.address,
            "size": self.size,
            "modified_ns": self.modified_ns,
            "settings": dict(self.settings),
            "priority": self.priority or None,
        }
        return {name: value for name, value in members.items() if value is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Item:
        """Return the item from the result of `to_dict`. Raises `ValueError`: a member is missing or unknown."""
        try:
            members = dict(data)
            path, url = members.pop("path", None), members.pop("url", None)
            return cls(path=None if path is None else Path(path), url=None if url is None else Secret(url), **members)
        except TypeError as error:
            raise ValueError(f"a stored item is invalid: {error}") from error

    def create_body(self) -> dict[str, object]:
        """Return the body of the create call: of an asset, or the ``new_asset_settings`` of an upload.

        For a URL, ``inputs`` contains it: the result holds a secret.
        """
        body = dict(self.settings)
        if self.url is not None:
            main, *others = cast("list[Mapping[str, object]]", body.get("inputs") or [{}])
            body["inputs"] = [{**main, "url": self.url.reveal()}, *others]
        return body


def fingerprint(item: Item) -> str | None:
    """Return a text that changes when the item's file changes; ``None`` for URLs, since a signed URL differs every time."""
    if item.url is not None or item.size is None:
        return None
    return f"{item.size}:{item.modified_ns}" if item.modified_ns is not None else str(item.size)


@attrs.frozen
class ItemOptions:
    """Options of one item, as a manifest gives them."""

    key: str | None = None
    passthrough: str | None = None
    meta: Mapping[str, str] = attrs.field(factory=dict[str, str])
    settings: Mapping[str, object] = attrs.field(factory=dict[str, object], repr=_names)
    priority: int = 0


NO_OPTIONS = ItemOptions()


def file_item(path: Path, options: ItemOptions = NO_OPTIONS, *, by_content: bool = False) -> Item:
    """Return the item of a file. Opens it once.

    Args:
        path: The file.
        options: Its options.
        by_content: Derive the key from the bytes, which reads all of them, instead of the path: equal files have the same key.

    Raises:
        InvalidRequestError: It is missing, not a regular file, unreadable or empty, or a setting is too long.
    """
    file, found = open_file(path)
    with file:
        identity = f"{path.resolve()}\0{found.st_size}\0{found.st_mtime_ns}"
        key = _own_key(options)
        if key is None and by_content:
            try:
                key = f"c-{hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()}"
            except OSError as error:
                raise InvalidRequestError(
                    f"{str(path)!r} cannot be read to its end ({error.strerror}): check the disk"
                ) from error
    key = key or _derived_key(_LOCAL_KEY[0], identity)
    return Item(
        key=key,
        source=legible(str(path)),
        path=path,
        size=found.st_size,
        modified_ns=found.st_mtime_ns,
        settings=_settings(options, key, path.name),
        priority=options.priority,
    )


@hides_locals
def url_item(url: str, options: ItemOptions = NO_OPTIONS) -> Item:
    """Return the item of a URL that Mux fetches. Nothing is fetched here.

    Raises:
        InvalidRequestError: It is neither an http(s) URL nor a clip (``mux://assets/...``), or a setting is too long.
    """
    given = stripped(url)
    url = _normalized(url)
    try:
        parts = urlsplit(url)
        is_complete = parts.scheme in FETCHED_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, is_complete = urlsplit(""), False
    if not is_complete or not url.isprintable():
        shown = legible(url.partition("?")[0][:80])
        raise InvalidRequestError(f"{shown!r} is not a URL that Mux can fetch; it must have the form https://host/path")
    shown = without_secrets(url)
    older, key = None, _own_key(options)
    if key is None:
        older, key = _derived_key("u", without_signature_before_v3(given)), _derived_key("u", without_signature(url))
        older = older if older != key else None
    name = unquote(parts.path).rstrip("/").rpartition("/")[2] or parts.hostname or ""
    settings = _settings(options, key, name)
    return Item(key, shown, url=Secret(url), settings=settings, priority=options.priority, older_key=older)


def _normalized(url: str) -> str:
    """Return a URL without surrounding blanks, with inner blanks encoded, and its scheme and host in lower case.

    Raises `InvalidRequestError` if other text follows the URL.
    """
    url = stripped(url)
    if found := _FOLLOWED.search(url):
        shown = url[: found.start()].partition("?")[0][:80]
        raise InvalidRequestError(
            f"{shown!r} is followed by other text ({found[0].strip()!r}...): write one URL per line and nothing after it"
        )
    scheme, mark, rest = url.partition("://")
    end = next((number for number, each in enumerate(rest) if each in "/?#"), len(rest))
    user, at, host = rest[:end].rpartition("@")
    return f"{scheme.lower()}{mark}{user}{at}{host.lower()}{rest[end:]}".replace(" ", "%20")


_FOLLOWED = re.compile(r"\s+(?:#|[A-Za-z][\w+.-]*://)|\t")
"""A comment, another URL or another column after a URL."""


@hides_locals
def remote_item(address: str, options: ItemOptions = NO_OPTIONS) -> Item:
    """Return the item of a file that fsspec can read. Blocks while it asks for the file's size.

    Raises:
        MissingExtraError: fsspec is not installed.
        InvalidRequestError: It is missing, unreadable, empty or of unknown size, or a setting is too long.
    """
    system, place = open_file_system(address)
    shown = without_secrets(address)
    try:
        found: Mapping[str, object] = system.info(place)
    except Exception as error:  # any error of the library behind fsspec
        raise InvalidRequestError(f"{shown!r} cannot be read ({_first_line(error)}): check its name and your access") from error
    size = found.get("size")
    if found.get("type") == "directory":
        raise InvalidRequestError(f"{shown!r} is a folder: end it with a slash to ingest the media files in it")
    if not isinstance(size, int) or not size:
        raise InvalidRequestError(f"{shown!r} is empty, or its size is not known, so no asset can be made of it")
    version = next((found[name] for name in _VERSIONS if found.get(name)), "")
    key = _own_key(options) or _derived_key("r", f"{address}\0{size}\0{version}")
    name = address.rstrip("/").rpartition("/")[2]
    settings = _settings(options, key, name)
    return Item(key=key, source=shown, address=address, size=size, settings=settings, priority=options.priority)


_VERSIONS = ("ETag", "etag", "md5Hash", "generation", "LastModified", "mtime", "updated", "created")
"""Metadata by which file systems identify the version of a file, the most reliable first."""


def open_file_system(address: str) -> tuple[Any, str]:
    """Return the fsspec file system of an address, and the path in it.

    Raises `MissingExtraError` or `InvalidRequestError` if fsspec, or a library that it needs, is missing.
    """
    library = import_fsspec(address)
    try:
        system, place = library.url_to_fs(address)
    except (ImportError, ValueError, OSError) as error:
        raise InvalidRequestError(f"{without_secrets(address)!r} cannot be reached: {_first_line(error)}") from error
    return system, str(place)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _derived_key(kind: str, identity: str) -> str:
    data = identity.encode(errors="surrogateescape" if is_path(identity) else "surrogatepass")
    return f"{kind}-{hashlib.blake2b(data, digest_size=16).hexdigest()}"


def _own_key(options: ItemOptions) -> str | None:
    given = legible(options.key or options.meta.get("external_id") or "")
    _check_length("key", given)
    return given or None


def _settings(options: ItemOptions, key: str, name: str) -> Mapping[str, object]:
    meta = {member: legible(text) for member, text in options.meta.items()}
    passthrough = None if options.passthrough is None else legible(options.passthrough)
    for member, text in [*meta.items(), ("passthrough", passthrough or "")]:
        _check_length(member, text)
    settings = cast("dict[str, object]", legible_all(dict(options.settings)))
    settings["meta"] = {**meta, "title": meta.get("title", default_title(name)), "external_id": key}
    if passthrough is not None:
        settings["passthrough"] = passthrough
    return settings


def default_title(name: str) -> str:
    """Return the title of an asset without a given title, from the name of its file."""
    if is_path(name):  # in a locale without UTF-8, other characters are kept as bytes
        name = name.encode(errors="surrogateescape").decode(errors="surrogateescape")
    return name.encode(errors="replace").decode()[: MAX_LENGTHS["title"]]


def _check_length(name: str, text: str) -> None:
    longest = MAX_LENGTHS.get(name, len(text))
    if len(text) > longest:
        raise InvalidRequestError(f"the {name} {text[:20]!r}... has {len(text)} characters; Mux keeps {longest}, so shorten it")
