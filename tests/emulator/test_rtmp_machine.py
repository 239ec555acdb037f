"""The RTMP machine: sessions as encoders have them, and whatever else a socket can bring."""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mux_async.emulator.rtmp import (
    MAX_CHUNK_STREAMS,
    MAX_COMMAND,
    MAX_MEDIA,
    MAX_PENDING,
    ChunkReader,
    Ended,
    Event,
    Media,
    Message,
    PublishRequested,
    RtmpError,
    Session,
    chunks,
    decode_amf,
    encode_amf,
    unsupported_codec,
)
from tests._servers import require

COMMAND, DATA, AUDIO, VIDEO = 20, 18, 8, 9
HELLO = b"\x03" + bytes(1536) + bytes(1536)
"""C0, C1 and C2: this side ignores what the last one says."""
READ = 16 * 1024
PATIENCE = 60.0
"""Seconds that ffmpeg may take on a busy machine."""


def command(*values: Any) -> Message:
    return Message(COMMAND, 0, 0, encode_amf(*values))


CONNECT = command("connect", 1.0, {"app": "app", "type": "nonprivate", "tcUrl": "rtmp://127.0.0.1/app"})
OPENING = (
    CONNECT,
    command("releaseStream", 2.0, None, "key"),
    command("FCPublish", 3.0, None, "key"),
    command("createStream", 4.0, None),
    command("publish", 5.0, None, "key", "live"),
)
MEDIA = (
    Message(DATA, 1, 0, encode_amf("@setDataFrame", "onMetaData", {"width": 640.0, "height": 360.0})),
    Message(VIDEO, 1, 0, b"\x17\x00" + bytes(30)),
    Message(AUDIO, 1, 0, b"\xaf\x00\x12\x10"),
    Message(VIDEO, 1, 40, b"\x17\x01" + bytes(5000)),
    Message(AUDIO, 1, 45, b"\xaf\x01" + bytes(300)),
    Message(VIDEO, 1, 0x1000000, b"\x27\x01" + bytes(700)),
)
CLOSING = (command("FCUnpublish", 6.0, None, "key"), command("deleteStream", 7.0, None, 1.0))


def session_bytes(*messages: Message, chunk_size: int = 128) -> bytes:
    return HELLO + b"".join(chunks(message, 3 + message.type % 8, chunk_size) for message in messages)


WHOLE = session_bytes(*OPENING, *MEDIA, *CLOSING)


def run(data: bytes, step: int = READ) -> tuple[list[Event], bytes, Session]:
    """Feed a session, accept what is published, and return events and what was sent. Memory stays bounded all the while."""
    session, events, sent = Session(), list[Event](), b""
    try:
        for at in range(0, len(data), step):
            for event in session.receive(data[at : at + step]):
                events.append(event)
                if isinstance(event, PublishRequested):
                    session.accept()
            assert session.buffered <= MAX_PENDING + MAX_MEDIA + 2 * READ
            sent += session.data_to_send()
    finally:
        sent += session.data_to_send()
    return events, sent, session


def received(sent: bytes) -> Iterator[Message]:
    """Yield the messages that the server sent, after the handshake."""
    assert sent[0] == 3
    reader = ChunkReader(MAX_MEDIA)
    reader.feed(sent[1 + 2 * 1536 :])
    while (message := reader.next_message()) is not None:
        if message.type == 1:
            reader.chunk_size = struct.unpack(">I", message.body)[0]
        yield message


def received_commands(sent: bytes) -> list[list[Any]]:
    """Return the commands among them."""
    return [decode_amf(message.body) for message in received(sent) if message.type == COMMAND]


@pytest.mark.parametrize("step", [1, 7, 1536, READ])
def test_session(step: int) -> None:
    """A session as ffmpeg has it gives the stream key, the media as they were sent, and the end, however its bytes are cut."""
    events, sent, _ = run(WHOLE, step)

    assert events[0] == PublishRequested("key")
    assert events[-1] == Ended()
    media = [event for event in events if isinstance(event, Media)]
    assert [(event.kind, event.timestamp) for event in media] == [(message.type, message.timestamp) for message in MEDIA]
    assert media[0].body == MEDIA[0].body.removeprefix(encode_amf("@setDataFrame"))
    assert [event.body for event in media[1:]] == [message.body for message in MEDIA[1:]]
    names = [values[0] for values in received_commands(sent)]
    assert names == ["_result", "_result", "onFCPublish", "_result", "onStatus"]


def test_codes() -> None:
    """Encoders are answered with the codes that they look for."""
    _, sent, _ = run(WHOLE)

    answers = {(values[0], values[1]): values[-1] for values in received_commands(sent)}
    assert answers["_result", 1.0]["code"] == "NetConnection.Connect.Success"
    assert answers["_result", 4.0] == 1.0
    assert answers["onStatus", 0.0]["code"] == "NetStream.Publish.Start"


def test_refused_key() -> None:
    """A key that is refused gets a status with the reason, and nothing after it counts."""
    session = Session()
    events = list[Event]()
    for event in session.receive(session_bytes(*OPENING, *MEDIA)):
        events.append(event)
        session.refuse("there is no such stream")
    answer = received_commands(session.data_to_send())[-1]

    assert events == [PublishRequested("key")]
    assert (answer[0], answer[-1]["code"], answer[-1]["description"]) == (
        "onStatus",
        "NetStream.Publish.BadName",
        "there is no such stream",
    )


def test_key_is_not_shown() -> None:
    """A stream key is in no repr."""
    assert "secret" not in repr(PublishRequested("secret"))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "not RTMP"),
        (b"\x06" + bytes(1536), "encrypted"),
        (session_bytes(command("connect", 1.0, {"app": "live"})), "application"),
        (session_bytes(CONNECT, command("play", 2.0, None, "key")), "play"),
        (session_bytes(*OPENING, OPENING[-1]), "one stream"),
        (session_bytes(Message(1, 0, 0, struct.pack(">I", 1))), "chunks of 1 bytes"),
        (session_bytes(Message(COMMAND, 0, 0, bytes(MAX_COMMAND + 1))), "at most"),
        (session_bytes(Message(COMMAND, 0, 0, b"\x02\x00\x05abc")), "damaged"),
        (session_bytes(Message(COMMAND, 0, 0, b"\x0a\x00\x00\x00\x01" * 20)), "nest"),
        (HELLO + b"\xc3", "no full header"),
        (
            HELLO + b"".join(chunks(Message(AUDIO, 1, 0, b"a"), 2 + number, 128) for number in range(MAX_CHUNK_STREAMS + 1)),
            "chunk streams",
        ),
    ],
)
def test_refusals(data: bytes, said: str) -> None:
    """What is no session of an encoder is refused with a reason."""
    with pytest.raises(RtmpError, match=said):
        run(data)


def test_headers_of_all_formats() -> None:
    """Chunks that leave out the length, the time or everything take it from those before, also with extended times."""
    first = b"\x04" + (1000).to_bytes(3, "big") + (2).to_bytes(3, "big") + b"\x08" + (1).to_bytes(4, "little") + b"ab"
    second = b"\x44" + (20).to_bytes(3, "big") + (3).to_bytes(3, "big") + b"\x09" + b"cde"
    third = b"\x84" + (30).to_bytes(3, "big") + b"fgh"
    fourth = b"\xc4" + b"ijk"
    extended = b"\x44" + b"\xff\xff\xff" + (130).to_bytes(3, "big") + b"\x09" + (0x1000000).to_bytes(4, "big") + bytes(128)
    repeated, plain = b"\xc4" + (0x1000000).to_bytes(4, "big") + b"12", b"\xc4" + b"1234"
    reader = ChunkReader(1000)
    reader.feed(first + second + third + fourth + extended + repeated)
    found = list(iter(reader.next_message, None))

    assert [(message.type, message.timestamp, message.body[:3]) for message in found] == [
        (8, 1000, b"ab"),
        (9, 1020, b"cde"),
        (9, 1050, b"fgh"),
        (9, 1080, b"ijk"),
        (9, 1080 + 0x1000000, bytes(3)),
    ]
    assert found[-1].body[-2:] == b"12"
    reader.feed(extended.replace((130).to_bytes(3, "big"), (132).to_bytes(3, "big")) + plain)
    assert (message := reader.next_message()) is not None
    assert message.body[-4:] == b"1234"


@pytest.mark.parametrize("timestamp", [0, 0xFFFFFE, 0xFFFFFF, 0x1000000, 0xFFFFFFFF])
def test_times_at_the_limit_of_three_bytes(timestamp: int) -> None:
    """A message keeps its time, in one chunk and in several, also where the three bytes for it are just full."""
    sent = [Message(VIDEO, 1, timestamp, bytes(size)) for size in (1, 400)]
    reader = ChunkReader(MAX_MEDIA)
    reader.feed(b"".join(chunks(message, 5, 128) for message in sent))

    assert [reader.next_message(), reader.next_message(), reader.next_message()] == [*sent, None]


def test_clock_that_begins_again() -> None:
    """Times go on where 32 bits begin again at 0, also for messages that come a little late; those before the first one stay before it."""
    times = (0xFFFFFF00, 0xFFFFFFF0, 0x10, 0xFFFFFFF8, 0x20, 0xFFFFFE00)
    events, _, _ = run(session_bytes(*OPENING, *(Message(AUDIO, 1, time, b"\xaf\x01" + bytes(9)) for time in times)))

    got = [event.timestamp - times[0] for event in events if isinstance(event, Media)]
    assert got == [0, 0xF0, 0x110, 0xF8, 0x120, -0x100]


def test_large_numbers_of_chunk_streams() -> None:
    """The number of a chunk stream takes one, two or three bytes."""
    header = bytes(3) + (1).to_bytes(3, "big") + b"\x08" + bytes(4)
    reader = ChunkReader(1000)
    reader.feed(b"\x00\x00" + header + b"a" + b"\x01\x00\x01" + header + b"b")

    assert [message.body for message in iter(reader.next_message, None)] == [b"a", b"b"]


def test_acknowledgements_and_pings() -> None:
    """Received bytes are acknowledged by the window that the encoder asks for, and a ping gets its time back."""
    data = session_bytes(Message(5, 0, 0, struct.pack(">I", 2000)), Message(4, 0, 0, struct.pack(">HI", 6, 77)), CONNECT)
    _, sent, _ = run(data)
    found = [(message.type, message.body) for message in received(sent)]

    assert (3, struct.pack(">I", len(data))) in found
    assert (4, struct.pack(">HI", 7, 77)) in found


@pytest.mark.parametrize(
    ("kind", "body", "codec"),
    [
        (VIDEO, b"\x17\x01", None),
        (AUDIO, b"\xaf\x01", None),
        (VIDEO, b"\x22", "Sorenson H.263"),
        (VIDEO, b"\x9dav01", "av01"),
        (VIDEO, b"\x91hvc1", "hvc1"),
        (AUDIO, b"\x2f", "MP3"),
    ],
)
def test_codecs(kind: int, body: bytes, codec: str | None) -> None:
    """H.264 and AAC are taken, and other codecs are named."""
    assert unsupported_codec(kind, body) == codec


def mutations() -> Iterator[st.SearchStrategy[bytes]]:
    yield st.binary(max_size=4000)
    yield st.binary(max_size=4000).map(lambda tail: HELLO + tail)
    yield st.integers(0, len(WHOLE)).map(lambda size: WHOLE[:size])
    yield st.tuples(st.integers(len(HELLO), len(WHOLE) - 1), st.binary(min_size=1, max_size=40)).map(
        lambda cut: WHOLE[: cut[0]] + cut[1] + WHOLE[cut[0] + len(cut[1]) :]
    )
    yield st.tuples(st.integers(len(HELLO), len(WHOLE)), st.integers(len(HELLO), len(WHOLE))).map(
        lambda cut: WHOLE[: cut[0]] + WHOLE[cut[1] :]
    )
    yield st.binary(max_size=2000).map(lambda body: session_bytes(CONNECT, Message(COMMAND, 0, 0, body)))


@settings(max_examples=150)
@given(data=st.one_of(*mutations()), step=st.sampled_from([1000, READ]))
def test_anything(data: bytes, step: int) -> None:
    """Whatever is received, the machine goes on or refuses it with `RtmpError`, and its memory is bounded."""
    with suppress(RtmpError):
        run(data, step)


ATOMS = st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=50)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=10), ATOMS | st.dictionaries(st.text(min_size=1, max_size=10), ATOMS), max_size=5
    )
)
def test_amf(value: Any) -> None:
    """Values of commands survive encoding and decoding."""
    assert decode_amf(encode_amf(value, "end")) == [value, "end"]


@pytest.mark.parametrize(
    "filler",
    [
        pytest.param(b"\xc3", id="empty chunks"),
        pytest.param(b"\x03" + bytes(3) + b"\x00\xff\xff" + b"\x08" + bytes(4) + bytes(128), id="messages without an end"),
        pytest.param(b"\x03" + bytes(6) + b"\x05" + bytes(4), id="empty messages"),
    ],
)
def test_a_read_is_short(filler: bytes) -> None:
    """The worst that one read can bring takes a fraction of a second, so that other requests do not wait."""
    session = Session()
    for _ in session.receive(session_bytes(CONNECT) + b"\x03" + bytes(6) + b"\x08" + bytes(4)):
        pass
    began = time.process_time()
    with suppress(RtmpError):
        for _ in session.receive((filler * READ)[:READ]):
            pass
    assert time.process_time() - began < 0.5


@pytest.fixture(scope="module")
def recorded_session() -> bytes:
    """What ffmpeg sends to publish two seconds, recorded from a server that lets it."""
    program = require("ffmpeg")
    received = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        address = f"rtmp://127.0.0.1:{server.getsockname()[1]}/app/key"
        inputs = ["-f", "lavfi", "-i", "testsrc2=s=320x180:d=2[out0];sine=d=2[out1]"]
        codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-f", "flv"]
        with subprocess.Popen([program, "-nostdin", "-v", "error", *inputs, *codecs, address]) as process:
            connection, _ = server.accept()
            with connection:
                session = Session()
                while data := connection.recv(READ):
                    received += data
                    for event in session.receive(data):
                        if isinstance(event, PublishRequested):
                            session.accept()
                    connection.sendall(session.data_to_send())
            assert process.wait(PATIENCE) == 0
    return bytes(received)


@pytest.mark.proof
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1), size=st.integers(0, 200), patch=st.binary(max_size=200), end=st.floats(0, 1))
def test_damaged_sessions(recorded_session: bytes, at: float, size: int, patch: bytes, end: float) -> None:
    """A session of ffmpeg that is damaged or cut off anywhere goes on or is refused, within bounded memory."""
    begin = 3073 + round(at * (len(recorded_session) - 3073))
    damaged = recorded_session[:begin] + patch + recorded_session[begin + size :]
    with suppress(RtmpError):
        run(damaged[: max(begin, round(end * len(damaged)))])


@pytest.mark.proof
def test_recorded_session(recorded_session: bytes) -> None:
    """The recorded session is whole: it gives the key, media, and the end."""
    events, _, _ = run(recorded_session)

    assert events[0] == PublishRequested("key")
    assert len(events) > 100
