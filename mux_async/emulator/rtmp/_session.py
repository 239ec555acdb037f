"""The server's side of an encoder's connection: handshake, commands, and media. Bytes in; events and bytes out.

Only publishing is served: an encoder connects to the application `APP` and publishes one stream, whose name is the stream key. Whoever runs
the session accepts or refuses that. Before that, messages are small, so that nobody without a stream key can fill the memory.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Any, Final, Literal, TypeAlias, cast

import attrs

from mux_async.emulator.rtmp import _amf, _flv
from mux_async.emulator.rtmp._chunks import SMALLEST_CHUNK_SIZE, ChunkReader, Message, RtmpError, chunks

APP: Final = "app"
"""The application in addresses of Mux: ``rtmp://HOST:5222/app/STREAM_KEY`` (facts/BEHAVIOUR.md, section 6.3)."""
MAX_COMMAND: Final = 64 * 1024
"""Bytes of a message before publishing was accepted."""
MAX_MEDIA: Final = 8 * 1024 * 1024
"""Bytes of a message afterwards: a key frame of a large picture."""
_HANDSHAKE: Final = 1536
_WINDOW: Final = 2_500_000
"""Bytes after which the receiver acknowledges, by default."""
_CHUNK_SIZE: Final = 4096
"""Bytes of the chunks that this side sends."""
_SET_CHUNK_SIZE, _ABORT, _USER_CONTROL, _WINDOW_SIZE, _BANDWIDTH, _COMMAND_3, _COMMAND = 1, 2, 4, 5, 6, 17, 20
_ACKNOWLEDGEMENT = 3
_DATA_3, _DATA = 15, 18
_STREAM_BEGIN, _PING, _PONG = 0, 6, 7
_SET_DATA_FRAME: Final = _amf.encode_amf("@setDataFrame")
_METADATA: Final = _amf.encode_amf("onMetaData")
_MEDIA_STREAM: Final = 1


@attrs.frozen
class PublishRequested:
    """An encoder wants to publish. Answer with `Session.accept` or `Session.refuse`."""

    stream_key: str = attrs.field(repr=False)


@attrs.frozen
class Media:
    """A message of audio, video or metadata (`mux_async.emulator.rtmp._flv`), with its time in milliseconds.

    The time goes on where the 32 bits of RTMP begin again at 0, after 49 days.
    """

    kind: int
    timestamp: int
    body: bytes = attrs.field(repr=False)


@attrs.frozen
class Ended:
    """The encoder stopped publishing."""


Event: TypeAlias = PublishRequested | Media | Ended
"""What a session reports of an encoder: it asks to publish, sends media, or stops."""
_Step: TypeAlias = Literal["hello", "echo", "commands", "asked", "publishing", "ended"]


class Session:
    """One connection. After `RtmpError`, send what `data_to_send` returns, and close it."""

    def __init__(self) -> None:
        self._step: _Step = "hello"
        self._handshake = bytearray()
        self._reader = ChunkReader(MAX_COMMAND)
        self._out = bytearray()
        self._received = self._acknowledged = 0
        self._window = _WINDOW
        self._chunk_size = 128
        self._time: int | None = None

    @property
    def buffered(self) -> int:
        """Bytes held in memory."""
        return len(self._handshake) + self._reader.buffered + len(self._out)

    def data_to_send(self) -> bytes:
        """Return the bytes to send now, and forget them."""
        out = bytes(self._out)
        self._out.clear()
        return out

    def receive(self, data: bytes) -> Iterator[Event]:
        """Process received bytes. Run the iterator to its end; `accept` and `refuse` may be called meanwhile. Raises `RtmpError`."""
        self._received += len(data)
        if self._step in {"hello", "echo"}:
            data = self._shake_hands(data)
        self._reader.feed(data)
        while self._step != "ended" and (message := self._reader.next_message()) is not None:
            try:
                yield from self._take(message)
            except (_amf.AmfError, struct.error) as error:
                raise RtmpError(f"a message of type {message.type} is damaged: {error}") from error
        if self._received - self._acknowledged >= self._window:
            self._acknowledged = self._received
            self._send(_ACKNOWLEDGEMENT, struct.pack(">I", self._received & 0xFFFFFFFF))

    def _shake_hands(self, data: bytes) -> bytes:
        """Do the simple handshake (section 5.2), and return the bytes that follow it."""
        held = self._handshake
        held += data
        if self._step == "hello":
            if held and held[0] != 3:
                raise RtmpError("it is not RTMP" if held[0] != 6 else "encrypted RTMP (rtmpe) is not supported")
            if len(held) < 1 + _HANDSHAKE:
                return b""
            self._out += b"\x03" + bytes(8) + os.urandom(_HANDSHAKE - 8) + held[1 : 1 + _HANDSHAKE]
            del held[: 1 + _HANDSHAKE]
            self._step = "echo"
        if len(held) < _HANDSHAKE:
            return b""
        rest = bytes(held[_HANDSHAKE:])
        held.clear()
        self._step = "commands"
        return rest

    def _take(self, message: Message) -> Iterator[Event]:
        body = message.body
        if message.type in {_flv.AUDIO, _flv.VIDEO}:
            if self._step == "publishing" and body:
                yield Media(message.type, self._continued(message.timestamp), body)
        elif message.type in {_DATA, _DATA_3}:
            body = body[1:] if message.type == _DATA_3 else body
            body = body.removeprefix(_SET_DATA_FRAME)
            if self._step == "publishing" and body.startswith(_METADATA):
                yield Media(_flv.SCRIPT, self._continued(message.timestamp), body)
        elif message.type in {_COMMAND, _COMMAND_3}:
            values = _amf.decode_amf(body[1:] if message.type == _COMMAND_3 else body)
            name, transaction, _, *arguments = [*values, None, None, None][: max(3, len(values))]
            if isinstance(name, str):
                yield from self._command(name, transaction if isinstance(transaction, float) else 0.0, values, arguments)
        else:
            self._control(message)

    def _continued(self, timestamp: int) -> int:
        """Return the time that is nearest to that of the message before, modulo 2**32 (section 5.3.1.2.1 calls for serial arithmetic)."""
        before = timestamp if self._time is None else self._time
        self._time = before + (timestamp - before + 2**31) % 2**32 - 2**31
        return self._time

    def _control(self, message: Message) -> None:
        if message.type == _SET_CHUNK_SIZE:
            size = struct.unpack(">I", message.body[:4])[0]
            if not SMALLEST_CHUNK_SIZE <= size <= 0x7FFFFFFF:
                raise RtmpError(f"chunks of {size} bytes are not accepted")
            self._reader.chunk_size = size
        elif message.type == _ABORT:
            self._reader.abort(struct.unpack(">I", message.body[:4])[0])
        elif message.type == _WINDOW_SIZE:
            self._window = max(1024, struct.unpack(">I", message.body[:4])[0])
        elif message.type == _USER_CONTROL and struct.unpack(">H", message.body[:2])[0] == _PING:
            self._send(_USER_CONTROL, struct.pack(">H", _PONG) + message.body[2:6])

    def _command(self, name: str, transaction: float, values: list[Any], arguments: list[Any]) -> Iterator[Event]:
        if name == "connect":
            options = values[2] if len(values) > 2 else None
            self._connect(transaction, cast("dict[str, Any]", options).get("app") if isinstance(options, dict) else None)
        elif name == "releaseStream":
            self._command_out("_result", transaction, None, None)
        elif name == "FCPublish":
            self._command_out("onFCPublish", 0.0, None, _status("status", "NetStream.Publish.Start", "Ready"))
        elif name == "createStream":
            self._command_out("_result", transaction, None, float(_MEDIA_STREAM))
        elif name == "publish":
            if self._step != "commands":
                raise RtmpError("a connection can publish one stream, once")
            key = arguments[0] if arguments and isinstance(arguments[0], str) else ""
            self._step = "asked"
            yield PublishRequested(key.partition("?")[0])
        elif name == "play":
            self._on_status("error", "NetStream.Play.Failed", "Streams can be published here, and not played")
            raise RtmpError("it wants to play a stream; streams can only be published here, and are played over HLS")
        elif name in {"deleteStream", "closeStream", "FCUnpublish"} and self._step == "publishing":
            self._step = "ended"
            yield Ended()

    def _connect(self, transaction: float, app: Any) -> None:
        if not isinstance(app, str) or app.partition("?")[0].strip("/") != APP:
            info = _status("error", "NetConnection.Connect.InvalidApp", f"The application is {APP}")
            self._command_out("_error", transaction, None, info)
            raise RtmpError(f"the address has another application than /{APP}/: rtmp://HOST:PORT/{APP}/STREAM_KEY is right")
        self._send(_WINDOW_SIZE, struct.pack(">I", _WINDOW))
        self._send(_BANDWIDTH, struct.pack(">IB", _WINDOW, 2))
        self._send(_SET_CHUNK_SIZE, struct.pack(">I", _CHUNK_SIZE))
        self._chunk_size = _CHUNK_SIZE
        info = {**_status("status", "NetConnection.Connect.Success", "Connected"), "objectEncoding": 0.0}
        self._command_out("_result", transaction, {"fmsVer": "FMS/3,0,1,123", "capabilities": 31.0}, info)

    def accept(self) -> None:
        """Let the encoder publish."""
        self._step = "publishing"
        self._reader.max_message = MAX_MEDIA
        self._send(_USER_CONTROL, struct.pack(">HI", _STREAM_BEGIN, _MEDIA_STREAM))
        self._on_status("status", "NetStream.Publish.Start", "Publishing")

    def refuse(self, reason: str) -> None:
        """Refuse to let it publish, and say why. The connection is to be closed."""
        self._step = "ended"
        self._on_status("error", "NetStream.Publish.BadName", reason)

    def finish(self, reason: str) -> None:
        """Tell the encoder that its stream is over. The connection is to be closed."""
        self._step = "ended"
        self._on_status("status", "NetStream.Unpublish.Success", reason)

    def _on_status(self, level: str, code: str, description: str) -> None:
        self._command_out("onStatus", 0.0, None, _status(level, code, description), stream=_MEDIA_STREAM)

    def _command_out(self, *values: Any, stream: int = 0) -> None:
        self._send(_COMMAND, _amf.encode_amf(*values), stream, 3)

    def _send(self, type: int, body: bytes, stream: int = 0, chunk_stream: int = 2) -> None:
        self._out += chunks(Message(type, stream, 0, body), chunk_stream, self._chunk_size)


def _status(level: str, code: str, description: str) -> dict[str, Any]:
    return {"level": level, "code": code, "description": description}
