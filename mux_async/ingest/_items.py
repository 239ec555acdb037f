"""What is to be ingested: one value per file or URL, with the settings its asset will have."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import cast
from urllib.parse import unquote, urlsplit

import attrs

from mux_async._types import Secret
from mux_async.errors import InvalidRequestError
from mux_async.uploads._source import open_file

LONGEST_TITLE = 512
LONGEST_PASSTHROUGH = 255
LONGEST_KEY = 128
"""Of ``meta.external_id``, where the key goes. All three: facts/BEHAVIOUR.md, section 4.1."""

_FETCHED = frozenset({"http", "https", "mux"})
"""What Mux fetches itself; ``mux://assets/{id}`` is a clip of another asset (facts/BEHAVIOUR.md, section 4.1)."""


def _names(settings: Mapping[str, object]) -> str:
    """Show settings by name only: inputs may hold signed URLs."""
    return f"<{', '.join(settings)}>"


@attrs.frozen
class Item:
    """One file, or one URL that Mux is to fetch.

    Attributes:
        key: Stable from run to run: as given, else made of the file's path, size and time of change, or of the URL.
        source: Names it for people: the path, or the URL without its query (which may hold a signature).
        path: The file; ``None`` for anything else.
        url: The URL that Mux fetches; ``None`` for anything else.
        address: A file that fsspec reads, such as ``s3://bucket/film.mp4``; ``None`` for anything else.
        size: Bytes of the file; ``None`` for a URL.
        modified_ns: When the file was last written to, nanoseconds since 1970; ``None`` when that is not known.
        settings: Members of the create call, by wire name: ``meta``, ``passthrough`` and whatever a manifest gave. ``inputs``, if there,
            begins with the settings of the main media, without ``url``.
        priority: Items with a higher one are begun earlier.
    """

    key: str
    source: str
    path: Path | None = None
    url: Secret | None = None
    address: str | None = None
    size: int | None = None
    modified_ns: int | None = None
    settings: Mapping[str, object] = attrs.field(factory=dict[str, object], repr=_names)
    priority: int = 0

    def create_body(self) -> dict[str, object]:
        """Return the whole of what is asked for in the one create call: an asset's own, or ``new_asset_settings`` of an upload.

        For a URL, ``inputs`` is there and names it: the result holds a secret.
        """
        body = dict(self.settings)
        if self.url is not None:
            main, *others = cast("list[Mapping[str, object]]", body.get("inputs") or [{}])
            body["inputs"] = [{**main, "url": self.url.reveal()}, *others]
        return body


@attrs.frozen
class Wishes:
    """What a manifest says about one item."""

    key: str | None = None
    passthrough: str | None = None
    meta: Mapping[str, str] = attrs.field(factory=dict[str, str])
    settings: Mapping[str, object] = attrs.field(factory=dict[str, object], repr=_names)
    priority: int = 0


NO_WISHES = Wishes()


def file_item(path: Path, wishes: Wishes = NO_WISHES, *, by_content: bool = False) -> Item:
    """Return the item of a file, having opened it once.

    Args:
        path: The file.
        wishes: What else is known about it.
        by_content: Make the key of the bytes, which reads all of them, instead of the place: the same film elsewhere has the same key.

    Raises:
        InvalidRequestError: It is missing, no regular file, unreadable or empty, or a setting is too long.
    """
    file, found = open_file(path)
    with file:
        identity = f"{path.resolve()}\0{found.st_size}\0{found.st_mtime_ns}"
        key = _given_key(wishes)
        if key is None and by_content:
            try:
                key = f"c-{hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()}"
            except OSError as error:
                raise InvalidRequestError(
                    f"{str(path)!r} cannot be read to its end ({error.strerror}): look after the disk"
                ) from error
    key = key or _made_key("f", identity)
    return Item(
        key=key,
        source=str(path),
        path=path,
        size=found.st_size,
        modified_ns=found.st_mtime_ns,
        settings=_settings(wishes, key, path.name, str(path)),
        priority=wishes.priority,
    )


def url_item(url: str, wishes: Wishes = NO_WISHES) -> Item:
    """Return the item of a URL that Mux fetches. Nothing is fetched here.

    Raises:
        InvalidRequestError: It is no http(s) URL and no clip (``mux://assets/...``), or a setting is too long.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in _FETCHED or not host or not url.isprintable() or " " in url:
        shown = url.partition("?")[0][:80]
        raise InvalidRequestError(f"{shown!r} is not a URL that Mux could fetch; it has the form https://host/path")
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" + ("?..." if parts.query else "")
    key = _given_key(wishes) or _made_key("u", url)
    name = unquote(parts.path).rstrip("/").rpartition("/")[2] or host
    settings = _settings(wishes, key, name, shown)
    return Item(key=key, source=shown, url=Secret(url), settings=settings, priority=wishes.priority)


def _made_key(kind: str, identity: str) -> str:
    return f"{kind}-{hashlib.blake2b(identity.encode(errors='surrogateescape'), digest_size=16).hexdigest()}"


def _given_key(wishes: Wishes) -> str | None:
    given = wishes.key or wishes.meta.get("external_id") or None
    if given is not None and len(given) > LONGEST_KEY:
        raise InvalidRequestError(f"the key {given[:20]!r}... has {len(given)} characters; Mux keeps {LONGEST_KEY}")
    return given


def _settings(wishes: Wishes, key: str, name: str, source: str) -> Mapping[str, object]:
    title = wishes.meta.get("title")
    if title is None:
        title = name.encode(errors="replace").decode()[:LONGEST_TITLE]
    elif len(title) > LONGEST_TITLE:
        raise InvalidRequestError(
            f"the title of {source!r} has {len(title)} characters; Mux keeps {LONGEST_TITLE}, so shorten it"
        )
    settings: dict[str, object] = dict(wishes.settings)
    settings["meta"] = {**wishes.meta, "title": title, "external_id": key}
    if wishes.passthrough is not None:
        if len(wishes.passthrough) > LONGEST_PASSTHROUGH:
            raise InvalidRequestError(
                f"the passthrough of {source!r} has {len(wishes.passthrough)} characters; Mux keeps {LONGEST_PASSTHROUGH}, so shorten it"
            )
        settings["passthrough"] = wishes.passthrough
    return settings
