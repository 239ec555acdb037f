"""The part of RTMP that encoders use to publish, without I/O: handshake, chunk streams, AMF0 commands and FLV tags.

`_session` is the server's side of one connection: bytes in, events and bytes out. `_chunks` cuts bytes into messages, `_amf` reads and
writes the values of commands, `_flv` wraps media as a file that FFmpeg reads. Sockets are in
`mux_async.emulator.frontends._rtmp_server`. The specification is Adobe's RTMP 1.0 (2012). No library on PyPI that does this is maintained.

Imports no other folder of the emulator.
"""

from mux_async.emulator.rtmp._amf import AmfError, decode_amf, encode_amf
from mux_async.emulator.rtmp._chunks import MAX_CHUNK_STREAMS, MAX_PENDING, ChunkReader, Message, RtmpError, chunks
from mux_async.emulator.rtmp._flv import unsupported_codec
from mux_async.emulator.rtmp._session import MAX_COMMAND, MAX_MEDIA, Ended, Event, Media, PublishRequested, Session

__all__ = [
    "MAX_CHUNK_STREAMS",
    "MAX_COMMAND",
    "MAX_MEDIA",
    "MAX_PENDING",
    "AmfError",
    "ChunkReader",
    "Ended",
    "Event",
    "Media",
    "Message",
    "PublishRequested",
    "RtmpError",
    "Session",
    "chunks",
    "decode_amf",
    "encode_amf",
    "unsupported_codec",
]
