"""What the end of a file's name says: a film, a list of films, or something that Mux could make nothing of."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mux_async.errors import InvalidRequestError
from mux_async.ingest._manifest_rows import ManifestForm
from mux_async.ingest._text_encoding import legible

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
"""What is taken from folders. A file named itself is taken unless it is a list or in `_NOT_MEDIA`: Mux looks at bytes, not names."""

MANIFEST_SUFFIXES: Final[Mapping[str, ManifestForm]] = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".list": "lines",
    ".lst": "lines",
    ".ndjson": "jsonl",
    ".tsv": "csv",
    ".txt": "lines",
}
"""Files that are lists wherever they are named: Mux could make nothing of them."""

_TABLE = "it is a spreadsheet: save it as CSV in UTF-8, and name that"
_SUBTITLES = "it holds subtitles: a list takes them as 'tracks' of their film"
_ARCHIVE = "it is an archive: unpack it, and name the films in it"
_DOCUMENT = "it is a document, and no film"
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
    """Return the suffix of a name, in lower case, with its dot; also of names that no file can have."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - as above


def check_media_name(name: str) -> None:
    """See that a name can be that of a film.

    Raises:
        InvalidRequestError: It is that of a list, which is not read here, or of something else.
    """
    suffix = suffix_of(name)
    reason = _NOT_MEDIA.get(suffix)
    if suffix in MANIFEST_SUFFIXES:
        reason = "it is a list: name it by itself, as a file of this machine"
    if reason is not None:
        raise InvalidRequestError(f"{legible(name)!r} is not ingested: {reason}")


def may_be_source_code(name: str) -> bool:
    """Return whether it takes a look at the file's bytes to know that it is a film."""
    return suffix_of(name) in _TYPESCRIPT


def is_source_code(path: Path) -> bool:
    """Return whether a file with a suffix of TypeScript is no MPEG transport stream. Opens it; blocks."""
    if not may_be_source_code(path.name):
        return False
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - a pipe would block when it is opened
            return False
        with path.open("rb") as file:
            return not is_transport_stream(file.read(HEAD))
    except (OSError, ValueError):
        return False  # what is wrong with it is found out by others


def is_transport_stream(head: bytes) -> bool:
    """Return whether a file that begins with *head* has the sync bytes of an MPEG transport stream (ISO/IEC 13818-1, 2.4.3.2)."""
    for size in _PACKETS:
        for first in range(min(size, len(head))):
            positions = range(first, len(head), size)
            if all(head[position] == 0x47 for position in positions) and (len(positions) > 2 or len(head) == size):
                return True
    return False
