"""What is to be ingested: one value per file or URL, with the settings its asset will have."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import attrs

from mux_async._types import Secret
from mux_async.errors import InvalidRequestError
from mux_async.uploads._source import open_file

LONGEST_TITLE = 512
LONGEST_PASSTHROUGH = 255
LONGEST_KEY = 128
"""Of ``meta.external_id``, where the key goes. All three: facts/BEHAVIOUR.md, section 4.1."""


@attrs.frozen
class Item:
    """One file, or one URL that Mux is to fetch.

    Attributes:
        key: Stable from run to run: as given, else made of the file's path, size and time of change, or of the URL.
        source: Names it for people: the path, or the URL without its query (which may hold a signature).
        path: The file; ``None`` for a URL.
        url: The URL; ``None`` for a file.
        size: Bytes of the file; ``None`` for a URL.
        modified_ns: When the file was last written to, nanoseconds since 1970; ``None`` for a URL.
        settings: Members of the create call, by wire name: ``meta``, ``passthrough`` and whatever a manifest gave.
    """

    key: str
    source: str
    path: Path | None = None
    url: Secret | None = None
    size: int | None = None
    modified_ns: int | None = None
    settings: Mapping[str, object] = attrs.field(factory=dict[str, object])


@attrs.frozen
class Wishes:
    """What a manifest says about one item."""

    key: str | None = None
    passthrough: str | None = None
    meta: Mapping[str, str] = attrs.field(factory=dict[str, str])
    settings: Mapping[str, object] = attrs.field(factory=dict[str, object])


NO_WISHES = Wishes()


def file_item(path: Path, wishes: Wishes = NO_WISHES) -> Item:
    """Return the item of a file, having opened it once.

    Raises:
        InvalidRequestError: It is missing, no regular file, unreadable or empty, or a setting is too long.
    """
    file, found = open_file(path)
    file.close()
    whole = path.resolve()
    key = _key(wishes, "f", f"{whole}\0{found.st_size}\0{found.st_mtime_ns}")
    return Item(
        key=key,
        source=str(path),
        path=path,
        size=found.st_size,
        modified_ns=found.st_mtime_ns,
        settings=_settings(wishes, key, path.name, str(path)),
    )


def url_item(url: str, wishes: Wishes = NO_WISHES) -> Item:
    """Return the item of a URL. Nothing is fetched.

    Raises:
        InvalidRequestError: It is no http(s) URL, or a setting is too long.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not host or not url.isprintable() or " " in url:
        shown = url.partition("?")[0][:80]
        raise InvalidRequestError(f"{shown!r} is not a URL that Mux could fetch; it has the form https://host/path")
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" + ("?..." if parts.query else "")
    key = _key(wishes, "u", url)
    name = unquote(parts.path).rstrip("/").rpartition("/")[2] or host
    return Item(key=key, source=shown, url=Secret(url), settings=_settings(wishes, key, name, shown))


def _key(wishes: Wishes, kind: str, identity: str) -> str:
    given = wishes.key or wishes.meta.get("external_id")
    if not given:
        return f"{kind}-{hashlib.blake2b(identity.encode(errors='surrogateescape'), digest_size=16).hexdigest()}"
    if len(given) > LONGEST_KEY:
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
