"""Encoders of live streams: they connect, send, disconnect and reconnect, and the stream changes accordingly (facts/BEHAVIOUR.md, 6.2).

Control calls and the Python handle (`mux_async.emulator.Emulator.live`) stand for an encoder; real ones are in
`mux_async.emulator.live._pushes`. The order of events is the documented one. The times of the steps are not published, so they are simple:

* connected, asset created and simulcast targets starting: at once;
* recording after `FIRST_FRAMES`, active `PLAYABLE` after the connection, the asset ready when `STORED` seconds are recorded;
* disconnected at once; idle, and the recording complete, at the end of the reconnect window.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal
from urllib.parse import urlsplit

import attrs

from mux_async.emulator.http._messages import failed, not_found
from mux_async.emulator.media._probe import InputProblem, MediaInfo, live_media
from mux_async.emulator.resources._asset_lifecycle import (
    add_ready_track,
    add_track,
    become_ready,
    begin_track,
    new_asset,
    prepare_extras,
)
from mux_async.emulator.state._media_orders import end_live
from mux_async.emulator.state._records import Recording
from mux_async.emulator.state._serialization import recorded_seconds, recording_length
from mux_async.emulator.state._state import Asset, Environment, LiveStream, State
from mux_async.emulator.webhooks._events import asset_event, asset_warning, live_event, live_warning, target_event

FIRST_FRAMES = 1.0
PLAYABLE = 2.0
STORED = 10.0
SILENCE = 300.0
"""Seconds after which an encoder that sends nothing is disconnected."""
SHORTEST = 0.1
"""Seconds of media in a recording. A stream that is active at once lists as much."""
LONGEST_SEGMENT = {"standard": 5.0, "reduced": 3.0, "low": 1.0}
"""Seconds of a segment by latency mode. Mux does not publish its own."""
DRAIN = 60.0
"""Seconds that an encoder may stay after its recording was completed."""
TEST_LIMIT = 300.0
"""Seconds that a test stream lasts."""
_NO_SLATE = ("custom_slate_unavailable", "The reconnect slate image could not be fetched; a default one is used")
"""The one warning that Mux documents, for the stream and for its asset (facts/BEHAVIOUR.md, sections 4.3, 6.2)."""


def connect(
    state: State,
    environment: Environment,
    stream: LiveStream,
    *,
    protocol: Literal["rtmp", "srt"] = "rtmp",
    silent: bool = False,
    push: str | None = None,
) -> None:
    """Connect an encoder. Raises `ApiError` (412): the stream is disabled or has an encoder.

    Args:
        state: Of the account.
        environment: Of the live stream.
        stream: To connect to.
        protocol: How it sends.
        silent: Whether it sends nothing.
        push: Name of the connection, if the encoder sends real media: `record` and `store` follow. Otherwise it is simulated.
    """
    ingest = stream.ingest
    if stream.status == "disabled":
        raise failed("The live stream is disabled and takes no connections")
    if ingest.connected:
        raise failed("An encoder is already connected to the live stream")
    ingest.session += 1
    ingest.connected, ingest.protocol, ingest.draining, ingest.push = True, protocol, False, push
    asset = _asset(environment, stream)
    if asset is not None:
        live_event(state, environment, "connected", stream)
        _stop_recording(state, asset)  # the slate
    else:
        _begin_asset(state, environment, stream)
    step = f"{stream.id}/{ingest.session}"
    if push is not None:
        pass  # it reports what it sends
    elif silent:
        state.wait(SILENCE, "live.silent", environment, step)
    else:
        state.work(FIRST_FRAMES, "live.recording", environment, step)
    state.wait(float(stream.members["max_continuous_duration"]), "live.too_long", environment, step)
    if stream.members.get("test"):
        state.wait(TEST_LIMIT, "live.test_over", environment, step)


def _begin_asset(state: State, environment: Environment, stream: LiveStream) -> None:
    ingest = stream.ingest
    options = {"video_quality": "plus", **stream.options}  # live streams have no basic quality
    is_test = bool(stream.members.get("test"))
    asset = new_asset(state, environment, options, ingest_type=f"live_{ingest.protocol}", test=is_test)
    asset.live_stream_id, asset.is_live = stream.id, True
    ingest.asset_id = asset.id
    stream.recent_asset_ids.append(asset.id)
    live_event(state, environment, "connected", stream)
    slate: str | None = stream.members.get("reconnect_slate_url")
    has_slate = not slate or not (urlsplit(slate).hostname or "").endswith(".invalid")
    if not has_slate:
        live_warning(state, environment, stream, *_NO_SLATE)
    for target in stream.simulcast_targets:
        target.status, target.error_severity = "starting", None
        target_event(state, environment, "starting", stream, target)
    asset_event(state, environment, "created", asset)
    if not has_slate:
        asset_warning(state, environment, asset, *_NO_SLATE)


def disconnect(state: State, environment: Environment, stream: LiveStream) -> None:
    """Disconnect the encoder. The stream is idle when the reconnect window is over. Raises `ApiError` (412): there is no encoder."""
    if not stream.ingest.connected:
        raise failed("No encoder is connected to the live stream")
    _drop(state, environment, stream)
    if stream.ingest.asset_id is None:  # the recording was completed before
        return
    window = float(stream.members.get("reconnect_window", 0))
    asset = _asset(environment, stream)
    if window and asset is not None and _has_slate(stream) and asset.pushed is None:
        asset.recordings.append(_recording(state, stream, "slate"))
    state.wait(window, "live.window_over", environment, f"{stream.id}/{stream.ingest.session}")


def _drop(state: State, environment: Environment, stream: LiveStream) -> None:
    ingest = stream.ingest
    if not ingest.connected:
        return
    ingest.connected, ingest.draining, ingest.push = False, False, None
    ingest.session += 1  # steps that were planned for the connection have no effect
    _stop_recording(state, _asset(environment, stream))
    live_event(state, environment, "disconnected", stream)


def _has_slate(stream: LiveStream) -> bool:
    """Low and reduced latency always have one; standard latency on request."""
    return stream.members["latency_mode"] != "standard" or bool(stream.members.get("use_slate_for_standard_latency"))


def _asset(environment: Environment, stream: LiveStream) -> Asset | None:
    """The asset being recorded; it may have been deleted meanwhile."""
    return environment.assets.get(stream.ingest.asset_id or "")


def _stop_recording(state: State, asset: Asset | None) -> None:
    for entry in () if asset is None else asset.recordings:
        if entry.duration is None:
            length = recording_length(entry, state)
            entry.duration = max(SHORTEST, length) if entry.stored is None else length


def _recording(state: State, stream: LiveStream, type: Literal["content", "slate"]) -> Recording:
    first = SHORTEST if state.settings.instant else PLAYABLE - FIRST_FRAMES
    return Recording(state.now, type, longest_segment=LONGEST_SEGMENT[stream.members["latency_mode"]], first_segments=first)


def complete(state: State, environment: Environment, stream: LiveStream) -> None:
    """End the recording now. The encoder may stay for a minute; nothing happens to an idle stream."""
    ingest = stream.ingest
    if ingest.asset_id is None:
        return
    _finish(state, environment, stream)
    if ingest.connected:
        ingest.session += 1
        ingest.draining = True
        state.wait(DRAIN, "live.drained", environment, f"{stream.id}/{ingest.session}")


def end(state: State, environment: Environment, stream: LiveStream) -> None:
    """Cut the encoder off and end the recording, now."""
    _drop(state, environment, stream)
    if stream.ingest.asset_id is not None:
        _finish(state, environment, stream)


def disable(state: State, environment: Environment, stream: LiveStream) -> None:
    """End everything and refuse encoders from now on."""
    if stream.status == "disabled":
        return
    end(state, environment, stream)
    stream.status = "disabled"
    live_event(state, environment, "disabled", stream)


def enable(state: State, environment: Environment, stream: LiveStream) -> None:
    """Take encoders again."""
    if stream.status == "disabled":
        stream.status = "idle"
        live_event(state, environment, "enabled", stream)


def _finish(state: State, environment: Environment, stream: LiveStream) -> None:
    """The recording is over: the stream is idle and its asset whole."""
    asset = _asset(environment, stream)
    _stop_recording(state, asset)
    stream.ingest.asset_id = None
    stream.status = "idle"
    live_event(state, environment, "idle", stream)
    for target in stream.simulcast_targets:
        if target.status != "idle":
            target.status = "idle"
            target_event(state, environment, "idle", stream, target)
    if asset is not None:
        _complete_asset(state, environment, stream, asset)


def _complete_asset(state: State, environment: Environment, stream: LiveStream, asset: Asset) -> None:
    length = recorded_seconds(asset, state)
    asset.is_live = False
    end_live(state, asset.id)
    if all(entry.stored == 0.0 for entry in asset.recordings):  # or there are none
        asset.status, asset.problem = "errored", InputProblem("invalid_input", "The live stream ended before any media arrived")
        asset_event(state, environment, "errored", asset)
        return
    if asset.status == "preparing":
        _make_ready(state, environment, stream, asset)
    assert asset.media is not None  # noqa: S101 - ready by now
    asset.media = attrs.evolve(asset.media, duration=length)
    for track in asset.tracks:
        track.duration = None if track.duration is None else length
    asset_event(state, environment, "live_stream_completed", asset)
    for entry in stream.members.get("generated_subtitles", ()):
        begin_track(state, environment, asset, add_track(state, asset, entry, source="generated_live_final"))
    prepare_extras(state, environment, asset)


def _make_ready(state: State, environment: Environment, stream: LiveStream, asset: Asset) -> None:
    length = recorded_seconds(asset, state)
    media = live_media(length, audio_only=bool(stream.members.get("audio_only")))
    become_ready(state, environment, asset, media if asset.pushed is None else attrs.evolve(asset.pushed, duration=length))
    for name, source in (("embedded_subtitles", "embedded"), ("generated_subtitles", "generated_live")):
        for entry in stream.members.get(name, ()):
            add_ready_track(state, environment, asset, add_track(state, asset, entry, source=source))


def fail_target(
    state: State, environment: Environment, stream: LiveStream, target_id: str, severity: Literal["normal", "fatal"]
) -> None:
    """Let a simulcast target fail. Raises `ApiError` (412): there is no active one of this id."""
    for target in stream.simulcast_targets:
        if target.id == target_id and target.status in {"starting", "broadcasting"}:
            target.status, target.error_severity = "errored", severity
            target_event(state, environment, "errored", stream, target)
            return
    raise failed("The live stream sends to no simulcast target of this id")


def set_target(
    state: State,
    environment: Environment,
    stream: LiveStream,
    target_id: str,
    status: Literal["starting", "broadcasting", "errored"],
) -> None:
    """Note what became of sending to a simulcast target. A failure counts as ``normal``, because it is tried again."""
    for target in stream.simulcast_targets:
        if target.id == target_id and target.status != status:
            target.status, target.error_severity = status, "normal" if status == "errored" else None
            target_event(state, environment, status, stream, target)


def update_target(
    state: State, environment: Environment, stream: LiveStream, target_id: str, changes: Mapping[str, str]
) -> None:
    """Change where a simulcast target sends to; there is an event for it, and no operation of the API. Raises `ApiError` (404)."""
    for target in stream.simulcast_targets:
        if target.id == target_id:
            for name, value in changes.items():
                setattr(target, name, value)
            target_event(state, environment, "updated", stream, target)
            return
    raise not_found()


def run_live_step(state: State, environment: Environment, name: str, subject: str) -> None:
    """Run a step that was planned for a connection. It has no effect if that has ended."""
    stream_id, _, session = subject.partition("/")
    stream = environment.live_streams.get(stream_id)
    if stream is None or str(stream.ingest.session) != session:
        return
    ingest, asset = stream.ingest, _asset(environment, stream)
    if name == "live.recording":
        record(state, environment, stream)
        if stream.status != "active":
            state.work(PLAYABLE - FIRST_FRAMES, "live.active", environment, subject)
        else:
            _plan_ready(state, environment, asset, subject)
    elif name == "live.active":
        _activate(state, environment, stream)
        _plan_ready(state, environment, asset, subject)
    elif name == "live.stored":
        if asset is not None and asset.status == "preparing":
            _make_ready(state, environment, stream, asset)
    elif name == "live.window_over":
        if ingest.asset_id is not None:
            _finish(state, environment, stream)
    elif name == "live.test_over":
        disable(state, environment, stream)
    elif name == "live.drained":
        _drop(state, environment, stream)
    else:  # live.silent, live.too_long
        end(state, environment, stream)


def record(state: State, environment: Environment, stream: LiveStream, *, stored: float | None = None) -> None:
    """Begin a recording, at the first frame of an encoder. *stored* is 0.0 if its media are stored."""
    asset = _asset(environment, stream)
    if asset is not None:
        asset.recordings.append(attrs.evolve(_recording(state, stream, "content"), stored=stored))
    live_event(state, environment, "recording", stream)


def store(
    state: State, environment: Environment, stream: LiveStream, seconds: float, media: MediaInfo, sent_targets: Collection[str]
) -> None:
    """Count what was stored of *media*, which an encoder pushes. It makes the stream active, and then the asset ready.

    *sent_targets* are ids of simulcast targets whose status does not follow from that, because they really get the stream.
    """
    asset = _asset(environment, stream)
    if asset is None or not asset.recordings:  # it was deleted, or the recording was completed
        return
    asset.pushed = (
        asset.pushed or media
    )  # later parts may differ: the rendition and the joined file have the size of the first one
    asset.recordings[-1].stored = round((asset.recordings[-1].stored or 0.0) + seconds, 6)
    if stream.status != "active":
        _activate(state, environment, stream, sent_targets)
    if asset.status == "preparing" and recorded_seconds(asset, state) >= STORED:
        _make_ready(state, environment, stream, asset)


def _activate(state: State, environment: Environment, stream: LiveStream, sent_targets: Collection[str] = ()) -> None:
    stream.status = "active"
    live_event(state, environment, "active", stream)
    for target in stream.simulcast_targets:
        if target.status == "starting" and target.id not in sent_targets:
            target.status = "broadcasting"
            target_event(state, environment, "broadcasting", stream, target)


def _plan_ready(state: State, environment: Environment, asset: Asset | None, subject: str) -> None:
    if asset is not None and asset.status == "preparing":
        state.work(max(0.0, STORED - recorded_seconds(asset, state)), "live.stored", environment, subject)
