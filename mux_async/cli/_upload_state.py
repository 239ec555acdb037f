"""The state file of ``mux-async upload``: the progress of an upload, for ``--resume``.

One small file for each pair of source and server, in the user's settings folder. It has the id and progress of the upload but no secret:
Mux returns the upload URL again.
"""

from __future__ import annotations

import json
import os
import time
from hashlib import sha256
from pathlib import Path

import attrs
import msgspec
import typer

from mux_async.errors import InvalidRequestError
from mux_async.uploads import UploadState

_WRITE_INTERVAL = 0.5
"""Seconds between two writes."""


@attrs.frozen
class StartedUpload:
    """An upload that was begun."""

    upload_id: str
    state: UploadState


class _StoredUpload(msgspec.Struct):
    """The content of the file."""

    upload_id: str
    state: dict[str, object]


def state_path(source: str, base_url: str) -> Path:
    """Return the path of the state file of *source*, a path or a URL."""
    name = source if "://" in source else str(Path(source).absolute())
    digest = sha256(f"{name}\0{base_url}".encode(errors="surrogateescape")).hexdigest()[:32]
    return Path(typer.get_app_dir("mux-async")) / "uploads" / f"{digest}.json"


class StateFile:
    """The state of one upload, in a file whose folder is created if needed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._latest: StartedUpload | None = None
        self._written: StartedUpload | None = None
        self._written_at = float("-inf")

    def load(self) -> StartedUpload | None:
        """Return the state of an earlier run; ``None`` if there is none. Raises `InvalidRequestError` if it cannot be read."""
        try:
            stored = msgspec.json.decode(self.path.read_bytes(), type=_StoredUpload)
            return StartedUpload(stored.upload_id, UploadState.from_dict(stored.state))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, msgspec.DecodeError) as error:
            raise InvalidRequestError(
                f"the state of the earlier upload cannot be read ({error}): delete {str(self.path)!r} to start a new upload"
            ) from error

    def note(self, begun: StartedUpload) -> None:
        """Record the progress; it is written twice a second."""
        self._latest = begun
        if time.monotonic() - self._written_at >= _WRITE_INTERVAL:
            self.save()

    def save(self) -> None:
        """Write the latest progress. Raises `InvalidRequestError`: it cannot be written."""
        if self._latest is None or self._latest == self._written:
            return
        text = json.dumps({"upload_id": self._latest.upload_id, "state": self._latest.state.to_dict()})
        beside = self.path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(text)
            beside.replace(self.path)
        except OSError as error:
            raise InvalidRequestError(
                f"the progress cannot be stored in {str(self.path)!r} ({error.strerror or error}): name another --state file"
            ) from error
        self._written, self._written_at = self._latest, time.monotonic()

    def forget(self) -> None:
        """Delete the file, since the upload has ended."""
        self._latest = None
        self.path.unlink(missing_ok=True)
