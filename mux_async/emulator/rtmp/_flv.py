"""FLV: the file format whose tags have the same bodies as RTMP's messages, so that FFmpeg can read what an encoder sends."""

from __future__ import annotations

from typing import Final

AUDIO: Final = 8
VIDEO: Final = 9
SCRIPT: Final = 18

HEADER: Final = b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00"
"""Beginning of a file with audio and video."""
_AAC, _AVC = 10, 7
_AUDIO_CODECS: Final = {
    0: "PCM",
    1: "ADPCM",
    2: "MP3",
    3: "PCM",
    4: "Nellymoser",
    5: "Nellymoser",
    6: "Nellymoser",
    7: "G.711",
    8: "G.711",
}
_AUDIO_CODECS_LATER: Final = {9: "an enhanced RTMP codec", 11: "Speex", 14: "MP3"}
_VIDEO_CODECS: Final = {2: "Sorenson H.263", 3: "Screen video", 4: "VP6", 5: "VP6", 6: "Screen video", 12: "HEVC"}


def tag(kind: int, timestamp: int, body: bytes) -> bytes:
    """Return a tag, with the size that follows it."""
    time = timestamp & 0xFFFFFFFF
    head = bytes([kind]) + len(body).to_bytes(3, "big") + (time & 0xFFFFFF).to_bytes(3, "big") + bytes([time >> 24]) + b"\0\0\0"
    return head + body + (len(head) + len(body)).to_bytes(4, "big")


def unsupported_codec(kind: int, body: bytes) -> str | None:
    """Return the name of the codec of an audio or video message, unless it is AAC or H.264."""
    if not body:
        return None
    if kind == AUDIO:
        codec = body[0] >> 4
        return None if codec == _AAC else {**_AUDIO_CODECS, **_AUDIO_CODECS_LATER}.get(codec, f"audio codec {codec}")
    if body[0] & 0x80:  # enhanced RTMP names codecs by four characters
        return body[1:5].decode("ascii", "replace")
    codec = body[0] & 0x0F
    return None if codec == _AVC else _VIDEO_CODECS.get(codec, f"video codec {codec}")


def is_codec_header(kind: int, body: bytes) -> bool:
    """Whether a message of AAC or H.264 holds the settings of the decoder, and no media."""
    return len(body) >= 2 and body[1] == 0 and kind in {AUDIO, VIDEO}
