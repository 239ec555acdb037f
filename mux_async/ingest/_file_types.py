"""File types by suffix: media, manifests, and files that Mux cannot process."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mux_async._text_encoding import legible
from mux_async.errors import InvalidRequestError
from mux_async.ingest._manifest_rows import ManifestForm

# fmt: off
MEDIA_SUFFIXES: Final = frozenset([
    ".3g2", ".3gp", ".aac", ".aif", ".aiff", ".asf", ".avi", ".flac", ".flv", ".gif", ".m2ts", ".m2v", ".m4a", ".m4v", ".mka",
    ".mkv", ".mov", ".mp3", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".oga", ".ogg", ".ogv", ".opus", ".ts", ".vob", ".wav", ".webm",
    ".wma", ".wmv",
])
# fmt: on
"""Suffixes of files that are ingested from folders. A file that is named itself is ingested unless it is a manifest or in `_NOT_MEDIA`:
Mux goes by the bytes, not the name."""

MANIFEST_SUFFIXES: Final[Mapping[str, ManifestForm]] = {
    **dict.fromkeys([".csv", ".tsv"], "csv"),
    **dict.fromkeys([".jsonl", ".ndjson"], "jsonl"),
    **dict.fromkeys([".list", ".lst", ".txt"], "lines"),
    ".json": "json",
}
"""Suffixes of manifests."""

_TABLE = "it is a spreadsheet: save it as CSV in UTF-8, and name that"
_SUBTITLES = "it has subtitles: a manifest takes them as 'tracks' of their video"
_ARCHIVE = "it is an archive: unpack it, and name the videos in it"
_DOCUMENT = "it is a document, not a video"
_NOT_MEDIA: Final[Mapping[str, str]] = {
    **dict.fromkeys([".ods", ".numbers", ".xls", ".xlsb", ".xlsm", ".xlsx"], _TABLE),
    **dict.fromkeys([".ass", ".srt", ".ttml", ".vtt"], _SUBTITLES),
    **dict.fromkeys([".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zip"], _ARCHIVE),
    **dict.fromkeys([".doc", ".docx", ".htm", ".html", ".md", ".pdf", ".rtf", ".xml", ".yaml", ".yml"], _DOCUMENT),
}

_TYPESCRIPT: Final = frozenset({".mts", ".ts"})
"""Suffixes that MPEG transport streams share with source code of TypeScript."""
HEAD: Final = 1024
"""Bytes that `is_transport_stream` needs."""
_PACKETS: Final = (188, 192, 204)
"""Bytes of a packet: plain, with a time stamp (M2TS), with a checksum (DVB)."""


def suffix_of(name: str) -> str:
    """Return the suffix of a name, in lower case, with its dot. Accepts invalid file names."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - pathlib refuses some names


def check_media_name(name: str) -> None:
    """Raise `InvalidRequestError` for the name of a manifest, which is not read here, or of a file that Mux cannot process."""
    suffix = suffix_of(name)
    reason = _NOT_MEDIA.get(suffix)
    if suffix in MANIFEST_SUFFIXES:
        reason = "it is a manifest: name it by itself, as a local file"
    if reason is not None:
        raise InvalidRequestError(f"{legible(name)!r} is not ingested: {reason}")


def may_be_source_code(name: str) -> bool:
    """Return whether only the file's bytes tell that it is a media file."""
    return suffix_of(name) in _TYPESCRIPT


def is_source_code(path: Path) -> bool:
    """Return whether a file with a suffix of TypeScript is not an MPEG transport stream. Opens it; blocks."""
    if not may_be_source_code(path.name):
        return False
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - opening a pipe would block
            return False
        with path.open("rb") as file:
            return not is_transport_stream(file.read(HEAD))
    except (OSError, ValueError):
        return False  # opening the file will report the error


def is_transport_stream(head: bytes) -> bool:
    """Return whether a file that begins with *head* has the sync bytes of an MPEG transport stream (ISO/IEC 13818-1, 2.4.3.2)."""
    for size in _PACKETS:
        for first in range(min(size, len(head))):
            positions = range(first, len(head), size)
            if all(head[position] == 0x47 for position in positions) and (len(positions) > 2 or len(head) == size):
                return True
    return False
