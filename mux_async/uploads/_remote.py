"""Remote files by URL: whatever fsspec can open (``s3://``, ``gs://``, ``https://``, ``memory://``), read piece by piece.

Credentials and settings come from fsspec: the environment and its configuration files. Every read requests exactly the bytes needed, and
the file's metadata (ETag, generation, modification time) is checked again before a chunk is completed.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NoReturn
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from mux_async.errors import InvalidRequestError, MissingExtraError, UploadError
from mux_async.uploads._file_objects import FileObject
from mux_async.uploads._reader import Reader, changed_error, empty_source_error, read_at, source_error

# fmt: off
_VERSION_FIELDS = frozenset([
    "checksum", "content-md5", "crc32c", "created", "digest", "etag", "generation", "ino", "last-modified", "last_modified",
    "lastmodified", "md5hash", "modified", "mtime", "size", "updated", "versionid",
])
# fmt: on
"""Metadata that changes with a file's bytes, as stores name it, in lower case. The time of the last access is not among it."""


class RemoteReader(Reader):
    """A file that fsspec opens, on first use."""

    is_remote = True

    def __init__(self, url: str) -> None:
        # A password may come before the path, a signature after it.
        self.label = repr(_safe_label(url))
        self.size = None
        self._url = url
        self._system: Any = None
        self._path = ""
        self._file: Any = None

    async def prepare(self, offset: int, length: int) -> None:  # noqa: ARG002 - any part can be read at any time
        """Open the file on the first call; check for changes on later ones."""
        if self._file is None:
            await anyio.to_thread.run_sync(self._open)
        else:
            await self.verify()

    async def verify(self) -> None:
        """Compare the file's metadata with those at the start."""
        info = await anyio.to_thread.run_sync(self._fetch_info)
        if info.get("size") != self.size or version_of(info) != self.version:
            raise changed_error(self.label)

    def read_blocking(self, offset: int, length: int) -> bytes:
        """Fetch that range."""
        try:
            data = read_at(FileObject(self._file, self._file.read), offset, length, self.label)
        except UploadError:
            raise
        except Exception as error:  # noqa: BLE001 - every store has its own errors
            self._interrupt(f"read at byte {offset}", error)
        if len(data) < length:
            raise source_error(f"{self.label} ended {length - len(data)} bytes early at byte {offset}; upload it again")
        return data

    async def aclose(self) -> None:
        """Close the file."""
        if self._file is not None:
            with anyio.CancelScope(shield=True):  # a running thread cannot be cancelled anyway
                await anyio.to_thread.run_sync(self._file.close)

    def _open(self) -> None:
        core = import_fsspec(self._url)
        try:
            self._system, self._path = core.url_to_fs(self._url)
            info: Mapping[str, Any] = self._system.info(self._path)
        except Exception as error:  # noqa: BLE001 - every store has its own errors
            self._refuse(error)
        size = info.get("size")
        if info.get("type") == "directory":
            raise InvalidRequestError(f"{self.label} is a folder: name the files in it")
        if not isinstance(size, int):
            raise InvalidRequestError(f"{self.label} has no known size: copy it into a local file first")
        if info.get("partial") is False:
            raise InvalidRequestError(f"{self.label} does not support range requests: copy it into a local file first")
        if not size:
            raise empty_source_error(self.label)
        try:
            self._file = self._system.open(self._path, mode="rb", cache_type="none")
        except Exception as error:  # noqa: BLE001
            self._refuse(error)
        self.size = size
        self.version = version_of(info)

    def _refuse(self, error: Exception) -> NoReturn:
        if isinstance(error, ImportError):
            raise InvalidRequestError(f"{self.label} cannot be read: {error}") from error
        message = f"{self.label} cannot be read ({type(error).__name__}): check its URL and your access"
        raise InvalidRequestError(message) from self._safe_cause(error)

    def _fetch_info(self) -> Mapping[str, Any]:
        try:
            self._system.invalidate_cache()
            found: Mapping[str, Any] = self._system.info(self._path)
            return found
        except FileNotFoundError:
            return {}
        except Exception as error:  # noqa: BLE001
            self._interrupt("checked for changes", error)

    def _interrupt(self, what: str, error: Exception) -> NoReturn:
        message = f"{self.label} could not be {what} ({type(error).__name__}); check that it can be reached, then resume"
        raise source_error(message, resumable=True) from self._safe_cause(error)

    def _safe_cause(self, error: Exception) -> Exception | None:
        """Return *error* unless its text has the full address, which may hold a signature or a password."""
        text = str(error)
        return None if "://" in text or (self._path and self._path in text) else error


def import_fsspec(address: str) -> Any:
    """Return the module that opens *address*. Raises `MissingExtraError` if fsspec is not installed."""
    try:
        return importlib.import_module("fsspec.core")  # it has no types
    except ImportError:
        raise MissingExtraError(f"reading {address.partition('://')[0]}:// files", "fsspec", "fsspec") from None


def version_of(info: Mapping[str, Any]) -> str | None:
    """Return a digest of the metadata that identifies this version of a file; ``None`` if there is none but the size."""
    found = sorted((name.lower(), str(value)) for name, value in info.items() if name.lower() in _VERSION_FIELDS)
    if [name for name, _ in found] in ([], ["size"]):
        return None
    return sha256(repr(found).encode()).hexdigest()[:32]


def _safe_label(url: str) -> str:
    try:
        parts = urlsplit(url.rpartition("::")[2] if "::" in url else url)
    except ValueError:
        return f"{url.partition('://')[0]}://..."
    return f"{parts.scheme}://.../{parts.path.rpartition('/')[2]}"
