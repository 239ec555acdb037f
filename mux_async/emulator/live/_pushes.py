"""Encoders that send real media: what happened on a connection, as changes of the state. Sockets and processes are elsewhere.

The life cycle is that of simulated encoders (`mux_async.emulator.live._encoders`), except that frames and stored segments move it, and not
the clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias
from uuid import uuid4

import attrs

from mux_async.emulator.http._messages import ApiError
from mux_async.emulator.live import _encoders
from mux_async.emulator.media._probe import MediaInfo
from mux_async.emulator.state._state import Environment, LiveStream, SimulcastTarget, State

Perform: TypeAlias = Callable[[Callable[[State], None]], None]
"""Lets something happen now, on the emulator's clock."""


class PushRefusedError(Exception):
    """An encoder may not push. The message says why, without its stream key."""


class EncoderPresentError(PushRefusedError):
    """The live stream has an encoder, which may be about to disconnect."""


class Push:
    """A connection of an encoder to the live stream with this stream key.

    Args:
        perform: See `Perform`.
        stream_key: As the encoder sent it.
        protocol: How it sends.

    Raises:
        PushRefusedError: No live stream has this key, or it takes no encoder now.
    """

    def __init__(self, perform: Perform, stream_key: str, protocol: Literal["rtmp", "srt"] = "rtmp") -> None:
        self._perform = perform
        self._id = str(uuid4())
        self._environment = self._stream_id = ""
        self._has_recorded = False
        self.sent_targets: set[str] = set()
        """Ids of simulcast targets that really get the stream, so that they report themselves."""

        def connect(state: State) -> None:
            environment, stream = _stream_of(state, stream_key)
            if stream.ingest.connected:
                raise EncoderPresentError("the live stream has an encoder already")
            _encoders.connect(state, environment, stream, protocol=protocol, push=self._id)
            self._environment, self._stream_id = environment.name, stream.id

        try:
            perform(connect)
        except ApiError as error:
            raise PushRefusedError("; ".join(error.messages)) from error

    @property
    def stream_id(self) -> str:
        """Of the live stream."""
        return self._stream_id

    def _find(self, state: State) -> tuple[Environment, LiveStream] | None:
        """Return the live stream, unless the connection was ended meanwhile."""
        environment = state.environments.get(self._environment)
        stream = None if environment is None else environment.live_streams.get(self._stream_id)
        if environment is None or stream is None or stream.ingest.push != self._id:
            return None
        return environment, stream

    def _act(self, handler: Callable[[State, Environment, LiveStream], None]) -> None:
        def act(state: State) -> None:
            found = self._find(state)
            if found is not None:
                handler(state, *found)

        self._perform(act)

    @property
    def is_open(self) -> bool:
        """Whether the encoder may go on. It may not after the live stream was disabled or deleted, or its time was over."""
        found: list[str] = []
        self._act(lambda _, __, stream: found.append(stream.id))
        return bool(found)

    @property
    def asset_id(self) -> str | None:
        """The asset that the recording goes to; ``None`` after it was completed or deleted."""
        found: list[str] = []

        def look(_: State, environment: Environment, stream: LiveStream) -> None:
            if stream.ingest.asset_id in environment.assets:
                found.append(stream.ingest.asset_id or "")

        self._act(look)
        return found[0] if found else None

    @property
    def latency_mode(self) -> str:
        """Of the live stream: ``standard``, ``reduced`` or ``low``."""
        return str(self._members().get("latency_mode", "standard"))

    @property
    def is_audio_only(self) -> bool:
        """Whether the live stream takes audio only."""
        return bool(self._members().get("audio_only"))

    def _members(self) -> dict[str, object]:
        found: dict[str, object] = {}
        self._act(lambda _, __, stream: found.update(stream.members))
        return found

    @property
    def now(self) -> float:
        """The emulator's time, in epoch seconds."""
        found: list[float] = []
        self._perform(lambda state: found.append(state.now))
        return found[0]

    @property
    def simulcast_targets(self) -> tuple[tuple[str, str, str | None], ...]:
        """Id, URL and stream key of each simulcast target."""
        found: list[SimulcastTarget] = []
        self._act(lambda _, __, stream: found.extend(stream.simulcast_targets))
        return tuple((target.id, target.url, target.stream_key) for target in found)

    def record(self) -> None:
        """Note the first frame of the connection. Further calls have no effect."""
        if not self._has_recorded:
            self._has_recorded = True
            self._act(lambda state, environment, stream: _encoders.record(state, environment, stream, stored=0.0))

    def store(self, seconds: float, media: MediaInfo) -> None:
        """Note that a segment is stored, so that it can be played."""
        self._act(
            lambda state, environment, stream: _encoders.store(state, environment, stream, seconds, media, self.sent_targets)
        )

    def set_target(self, target_id: str, status: Literal["starting", "broadcasting", "errored"]) -> None:
        """Note what became of sending to a simulcast target."""
        self._act(lambda state, environment, stream: _encoders.set_target(state, environment, stream, target_id, status))

    def drop(self) -> None:
        """Note that the encoder disconnected: its reconnect window begins."""
        self._act(_encoders.disconnect)

    def end(self) -> None:
        """Disconnect an encoder that has been silent for too long; the recording is complete."""
        self._act(_encoders.end)


def _stream_of(state: State, stream_key: str) -> tuple[Environment, LiveStream]:
    for environment in state.environments.values():
        for stream in environment.live_streams.values():
            if stream_key and stream.stream_key == stream_key:
                return environment, stream
    raise PushRefusedError("no live stream has this stream key")


@attrs.frozen
class SrtSettings:
    """What a listener for SRT needs to know of a live stream."""

    stream_id: str
    stream_key: str = attrs.field(repr=False)
    passphrase: str = attrs.field(repr=False)
    has_encoder: bool = attrs.field(eq=False)
    """Whether one sends to it over SRT."""


def srt_settings(state: State, live_stream_id: str | None) -> SrtSettings | None:
    """Return the settings of a live stream, by default of the one that was created last; ``None`` if there is none."""
    streams = [stream for environment in state.environments.values() for stream in environment.live_streams.values()]
    if live_stream_id is not None:
        streams = [stream for stream in streams if stream.id == live_stream_id]
    if not streams:
        return None
    # The last of those that were created in the same second.
    newest = max(reversed(streams), key=lambda stream: stream.created_at)
    has_encoder = newest.ingest.connected and newest.ingest.protocol == "srt"
    return SrtSettings(newest.id, newest.stream_key, newest.srt_passphrase, has_encoder)


def drop_pushes(state: State) -> None:
    """Disconnect all encoders of an earlier run of the emulator, whose connections ended with it."""
    for environment in state.environments.values():
        for stream in environment.live_streams.values():
            if stream.ingest.push is not None:
                _encoders.disconnect(state, environment, stream)
