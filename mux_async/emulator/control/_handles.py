"""Handles for what happens outside of the API: encoders, warnings and participants. Python tests and control calls use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from mux_async.emulator._settings import RobotsPlan
from mux_async.emulator.http._messages import ApiError, invalid, not_found
from mux_async.emulator.live import _encoders, _spaces
from mux_async.emulator.resources import _usage
from mux_async.emulator.state._state import Environment, LiveStream, State
from mux_async.emulator.webhooks._events import asset_warning

Perform: TypeAlias = Callable[[Callable[[State], None]], None]
"""Lets something happen now, on the emulator's clock."""

Protocol: TypeAlias = Literal["rtmp", "srt"]
Severity: TypeAlias = Literal["normal", "fatal"]


def find_stream(state: State, key: str) -> tuple[Environment, LiveStream]:
    """Return the live stream with this id or stream key, of any environment. Raises `ApiError` (404): there is none."""
    for environment in state.environments.values():
        for stream in environment.live_streams.values():
            if key in {stream.id, stream.stream_key}:
                return environment, stream
    raise not_found()


def environment_named(state: State, name: str | None) -> Environment:
    """Return the environment of this name, the first for ``None``. Raises `ApiError` (400)."""
    name = next(iter(state.environments)) if name is None else name
    if name not in state.environments:
        raise invalid(f"environment must be one of {', '.join(state.environments)}")
    return state.environments[name]


def accept_robots_terms(state: State, name: str | None) -> None:
    """See `Emulator.accept_robots_terms`."""
    for environment in state.environments.values() if name is None else [environment_named(state, name)]:
        environment.has_robots_terms = True


def set_robots_plan(state: State, name: str | None, plan: RobotsPlan) -> None:
    """See `Emulator.set_robots_plan`."""
    for environment in state.environments.values() if name is None else [environment_named(state, name)]:
        environment.robots_plan = plan


def asked(perform: Perform, handler: Callable[[State], None]) -> None:
    """Perform *handler*; what the API would answer with is a `ValueError` in Python."""
    try:
        perform(handler)
    except ApiError as error:
        raise ValueError("; ".join(error.messages)) from error


class _Handle:
    def __init__(self, perform: Perform) -> None:
        self._perform = perform


class LiveHandle(_Handle):
    """Encoders: what OBS or ffmpeg would do to a live stream. Streams are named by id or by stream key.

    Every method raises `ValueError` when there is no such stream, or it is in no state for that.
    """

    def connect(self, stream: str, *, protocol: Protocol = "rtmp", silent: bool = False) -> None:
        """Connect an encoder; within the reconnect window it goes on with the same asset.

        Args:
            stream: Id or stream key.
            protocol: How it sends.
            silent: Whether it sends nothing; Mux disconnects it after five minutes.
        """
        asked(
            self._perform, lambda state: _encoders.connect(state, *find_stream(state, stream), protocol=protocol, silent=silent)
        )

    def disconnect(self, stream: str) -> None:
        """Let the encoder drop out; the stream is idle when its reconnect window is over."""
        asked(self._perform, lambda state: _encoders.disconnect(state, *find_stream(state, stream)))

    def fail_target(self, stream: str, target_id: str, *, severity: Severity = "normal") -> None:
        """Let a simulcast target that is being sent to fail."""
        asked(self._perform, lambda state: _encoders.fail_target(state, *find_stream(state, stream), target_id, severity))

    def update_target(self, stream: str, target_id: str, **changes: str) -> None:
        """Change the ``url``, ``stream_key`` or ``passthrough`` of a simulcast target: there is an event for it, and no operation."""
        asked(self._perform, lambda state: _encoders.update_target(state, *find_stream(state, stream), target_id, changes))


class AssetHandle(_Handle):
    """Events about assets that no request causes. Every method raises `ValueError` when there is no such asset."""

    def warn(self, asset_id: str, *, type: str = "custom_slate_unavailable", message: str = "Something is odd") -> None:
        """Send ``video.asset.warning``: something is wrong that does not keep the asset from being played."""
        asked(self._perform, lambda state: asset_warning(state, *state.find_asset(asset_id), type, message))

    def announce_traffic(self, *, threshold: float = 0.0, environment: str | None = None) -> None:
        """Send ``video.delivery.high_traffic`` about the playback since the last full hour began.

        Args:
            threshold: Seconds of media; assets that were delivered for less are left out.
            environment: Its name; ``None`` for the first.

        Raises:
            ValueError: Nothing was delivered so often, or there is no such environment.
        """
        asked(self._perform, lambda state: _usage.announce_traffic(state, environment_named(state, environment), threshold))


class SpaceHandle(_Handle):
    """Participants of spaces (legacy). Raises `ValueError` when there is no such space, or no such participant in it."""

    def join(self, space_id: str, participant: str) -> None:
        """Let a participant join; the first makes the space active."""
        asked(self._perform, lambda state: _spaces.join(state, space_id, participant))

    def leave(self, space_id: str, participant: str) -> None:
        """Let a participant leave; the last leaves the space idle, and ends its broadcasts."""
        asked(self._perform, lambda state: _spaces.leave(state, space_id, participant))
