"""Placeholder images of one colour, for every image of an asset without a media file."""

from __future__ import annotations

import struct
from base64 import b64decode
from collections.abc import Mapping
from zlib import compress, crc32

TYPES: Mapping[str, str] = {
    "gif": "image/gif",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
}
"""Media types by extension."""

# 16 x 9 pixels: Python writes PNG and GIF by itself, but neither of these.
_JPEG = b64decode(
    "/9j/4AAQSkZJRgABAgAAAQABAAD//gAPTGF2YzYzLjEuMTAyAP/bAEMACD4+ST5JVVVVVVVVZF1kaGhoZGRkZGhoaHBwcIODg3BwcGhocHB8fIODj5OPh4eD"
    "h5OTm5uburqystnZ4P/////EAEsAAQEAAAAAAAAAAAAAAAAAAAAHAQEAAAAAAAAAAAAAAAAAAAADEAEAAAAAAAAAAAAAAAAAAAAAEQEAAAAAAAAAAAAAAAAA"
    "AAAA/8AAEQgACQAQAwEiAAIRAAMRAP/aAAwDAQACEQMRAD8AkoBRP//Z"
)
_WEBP = b64decode("UklGRh4AAABXRUJQVlA4TBEAAAAvDwACAAdQlII0pv+BiOh/AAA=")


def picture(extension: str, width: int = 16, height: int = 9) -> bytes:
    """Draw a picture of one of `TYPES`. Only PNG and GIF have the requested size."""
    match extension:
        case "png":
            return _png(width, height)
        case "gif":
            return _gif(width, height)
        case "webp":
            return _WEBP
        case _:
            return _JPEG


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc32(kind + content))

    # One bit per pixel and a palette of one grey: compressing 4096 x 4096 pixels of a byte each would hold up other requests.
    head = struct.pack(">IIBBBBB", width, height, 1, 3, 0, 0, 0)
    rows = bytes((1 + -(-width // 8)) * height)
    content = chunk(b"PLTE", b"\x28\x28\x28") + chunk(b"IDAT", compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + content + chunk(b"IEND", b"")


def _gif(width: int, height: int) -> bytes:
    """One pixel on a screen of the requested size; the rest shows the background."""
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\x28\x28\x28\xff\xff\xff"
    image = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return screen + image + b";"
