"""Where ``mux-async upload`` keeps what it needs to go on with an upload that was stopped.

One small file for each pair of source and server, in the user's own folder for settings. It holds the id of the upload and how far it was,
and no key to anything: the upload URL is asked for again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import cast

import attrs
import typer

from mux_async.errors import InvalidRequestError
from mux_async.uploads import UploadState

_PAUSE = 0.5
"""Seconds between two writings."""


@attrs.frozen
class Begun:
    """An upload that was begun."""

    upload_id: str
    state: UploadState


def place_of(source: str, base_url: str) -> Path:
    """Return where the state of *source*, a path or a URL, is kept."""
    name = source if "://" in source else str(Path(source).absolute())
    digest = sha256(f"{name}\0{base_url}".encode(errors="surrogateescape")).hexdigest()[:32]
    return Path(typer.get_app_dir("mux-async")) / "uploads" / f"{digest}.json"


class StateFile:
    """The state of one upload, on disk.

    Args:
        path: The file; its folder is made when it is needed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._latest: Begun | None = None
        self._written: Begun | None = None
        self._written_at = float("-inf")

    def load(self) -> Begun | None:
        """Return what an earlier run left; ``None`` when there is nothing.

        Raises:
            InvalidRequestError: The file is there and makes no sense.
        """
        try:
            data = cast("object", json.loads(self.path.read_text()))
            if not isinstance(data, Mapping):
                raise ValueError("it holds no object")  # noqa: TRY004 - what it is about is a file
            kept = cast("Mapping[str, object]", data)
            upload_id, state = kept.get("upload_id"), kept.get("state")
            if not isinstance(upload_id, str) or not isinstance(state, Mapping):
                raise ValueError("members are missing")  # noqa: TRY004
            return Begun(upload_id, UploadState.from_dict(cast("Mapping[str, object]", state)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InvalidRequestError(
                f"what is known about the earlier upload cannot be read ({error}): delete {str(self.path)!r} to upload anew"
            ) from error

    def note(self, begun: Begun) -> None:
        """Take note of how far the upload is; written now and then."""
        self._latest = begun
        if time.monotonic() - self._written_at >= _PAUSE:
            self.save()

    def save(self) -> None:
        """Write what was noted last.

        Raises:
            InvalidRequestError: It cannot be written.
        """
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
                f"how far the upload is cannot be kept in {str(self.path)!r} ({error.strerror or error}): name another --state file"
            ) from error
        self._written, self._written_at = self._latest, time.monotonic()

    def forget(self) -> None:
        """Delete it: the upload is over."""
        self._latest = None
        self.path.unlink(missing_ok=True)
