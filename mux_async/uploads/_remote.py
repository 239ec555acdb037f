"""Files elsewhere, by URL: whatever fsspec can open (``s3://``, ``gs://``, ``https://``, ``memory://``), read piece by piece.

fsspec's credentials and settings are its own: the environment, its configuration files. Every read asks for exactly the bytes wanted,
and what the store says about the file (ETag, generation, time of change) is looked at again before a chunk is completed.
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
from mux_async.uploads._foreign import ForeignFile
from mux_async.uploads._reader import Reader, read_at, refuse_empty

_TELLING = frozenset(
    {
        "checksum",
        "content-md5",
        "crc32c",
        "created",
        "digest",
        "etag",
        "generation",
        "ino",
        "last-modified",
        "last_modified",
        "lastmodified",
        "md5hash",
        "modified",
        "mtime",
        "size",
        "updated",
        "versionid",
    }
)
"""What stores call the things about a file that change with its bytes, in lower case. The time of the last access does not."""


class RemoteReader(Reader):
    """A file that fsspec opens, on first use."""

    is_remote = True

    def __init__(self, url: str) -> None:
        # What comes before the path may hold a password, what comes after it a signature.
        self.label = repr(_name(url))
        self.size = None
        self._url = url
        self._system: Any = None
        self._path = ""
        self._file: Any = None

    async def prepare(self, offset: int, length: int) -> None:  # noqa: ARG002 - any part can be read at any time
        """Open the file on first use; find out whether it has changed on every later one."""
        if self._file is None:
            await anyio.to_thread.run_sync(self._open)
        else:
            await self.verify()

    async def verify(self) -> None:
        """Ask the store about the file again."""
        info = await anyio.to_thread.run_sync(self._look)
        if info.get("size") != self.size or version_of(info) != self.version:
            raise UploadError(
                f"{self.label} was changed while it was being uploaded, so parts of two versions would be mixed; upload it again",
                upload_id=None,
                sent=0,
                resumable=False,
            )

    def read_now(self, offset: int, length: int) -> bytes:
        """Fetch that part."""
        try:
            data = read_at(ForeignFile(self._file, self._file.read), offset, length, self.label)
        except UploadError:
            raise
        except Exception as error:  # noqa: BLE001 - every store has its own
            raise UploadError(
                f"{self.label} could not be read at byte {offset} ({type(error).__name__}); see that it can be reached, then resume",
                upload_id=None,
                sent=0,
                resumable=True,
            ) from self._presentable(error)
        if len(data) < length:
            raise UploadError(
                f"{self.label} ended {length - len(data)} bytes early at byte {offset}; upload it again",
                upload_id=None,
                sent=0,
                resumable=False,
            )
        return data

    async def aclose(self) -> None:
        """Close the file."""
        if self._file is not None:
            with anyio.CancelScope(shield=True):  # a thread that runs is waited for anyhow
                await anyio.to_thread.run_sync(self._file.close)

    def _open(self) -> None:
        try:
            core: Any = importlib.import_module("fsspec.core")  # it has no types
        except ImportError:
            raise MissingExtraError(f"uploading from {self._url.partition('://')[0]}://", "fsspec", "fsspec") from None
        try:
            self._system, self._path = core.url_to_fs(self._url)
            info: Mapping[str, Any] = self._system.info(self._path)
        except Exception as error:  # noqa: BLE001 - every store has its own
            self._refuse(error)
        size = info.get("size")
        if info.get("type") == "directory":
            raise InvalidRequestError(f"{self.label} is a folder: name the files in it")
        if not isinstance(size, int):
            raise InvalidRequestError(f"{self.label} is kept where sizes are not told: copy it into a file first")
        if info.get("partial") is False:
            raise InvalidRequestError(f"{self.label} is kept where parts cannot be asked for: copy it into a file first")
        if not size:
            raise refuse_empty(self.label)
        try:
            self._file = self._system.open(self._path, mode="rb", cache_type="none")
        except Exception as error:  # noqa: BLE001
            self._refuse(error)
        self.size = size
        self.version = version_of(info)

    def _refuse(self, error: Exception) -> NoReturn:
        if isinstance(error, ImportError):
            raise InvalidRequestError(f"{self.label} cannot be read: {error}") from error
        what = type(error).__name__
        raise InvalidRequestError(
            f"{self.label} cannot be read ({what}): check its URL, and that you may"
        ) from self._presentable(error)

    def _look(self) -> Mapping[str, Any]:
        try:
            self._system.invalidate_cache()
            found: Mapping[str, Any] = self._system.info(self._path)
        except FileNotFoundError:
            return {}
        except Exception as error:  # noqa: BLE001
            raise UploadError(
                f"{self.label} could not be looked at again ({type(error).__name__}); see that it can be reached, then resume",
                upload_id=None,
                sent=0,
                resumable=True,
            ) from self._presentable(error)
        return found

    def _presentable(self, error: Exception) -> Exception | None:
        """Return *error* unless its text names the place in full, which may hold a signature or a password."""
        text = str(error)
        return None if "://" in text or (self._path and self._path in text) else error


def version_of(info: Mapping[str, Any]) -> str | None:
    """Return what tells this version of a file from others, by what its store says; ``None`` when it says nothing but the size."""
    telling = sorted((name.lower(), str(value)) for name, value in info.items() if name.lower() in _TELLING)
    if [name for name, _ in telling] in ([], ["size"]):
        return None
    return sha256(repr(telling).encode()).hexdigest()[:32]


def _name(url: str) -> str:
    try:
        parts = urlsplit(url.rpartition("::")[2] if "::" in url else url)
    except ValueError:
        return f"{url.partition('://')[0]}://..."
    return f"{parts.scheme}://.../{parts.path.rpartition('/')[2]}"
