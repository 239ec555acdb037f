"""Orders for the media backend, built from records.

The emulator does not wait for the backend: a step whose file is still being made raises `MediaPendingError` and runs again after
`RECHECK_DELAY`. Without a backend, or for inputs that it does not take, the probe generates the media.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from mux_async.emulator.media._backend import Download, IngestOrder, LiveMediaBackend, LivePart, Order
from mux_async.emulator.media._probe import InputProblem, MediaInfo, MediaSource
from mux_async.emulator.state._state import TIER_HEIGHTS, Asset, Environment, Json, State

RECHECK_DELAY = 0.05
"""Seconds until a step that found its file pending runs again."""
TEST_DURATION = 10.0
"""Maximum duration of a test asset, in seconds."""


class MediaPendingError(Exception):
    """The media backend is still making the file that a step needs."""


def main_input(options: Json) -> Mapping[str, Any]:
    """The input that holds the media itself; empty for an upload without input settings."""
    inputs: list[Json] = options.get("inputs") or [{}]
    return next((entry for entry in inputs if entry.get("type") != "text" and "overlay_settings" not in entry), inputs[0])


def probe_input(state: State, environment: Environment, asset: Asset) -> MediaInfo | InputProblem:
    """Return what an asset's input holds, or why it cannot be used. Raises `MediaPendingError` while the media backend works on it."""
    if asset.source_asset_id is not None:
        return _clip(state, environment, asset)
    end = TEST_DURATION if asset.test else None
    if asset.upload_id is not None:
        session = environment.uploads[asset.upload_id].session
        source = MediaSource(size=session.size, head=session.head, path=session.path)
    else:
        source = MediaSource(url=main_input(asset.options).get("url", ""))
    order = IngestOrder(asset.id, source.url, source.path, end=end, tallest=_max_height(asset), is_test=asset.test)
    found = _ask(state, order)
    if found is None:
        found = state.settings.probe(source)
    if isinstance(found, MediaInfo) and end is not None:
        return attrs.evolve(found, duration=min(found.duration, end))
    return found


def _clip(state: State, environment: Environment, asset: Asset) -> MediaInfo | InputProblem:
    entry = main_input(asset.options)
    source = environment.assets.get(asset.source_asset_id or "")
    if source is None or source.media is None:
        return InputProblem("invalid_input", "The source asset of the clip is not ready")
    start = entry.get("start_time", 0.0)
    end = min(entry.get("end_time", source.media.duration), source.media.duration)
    if end - start < 0.5:
        return InputProblem("invalid_input", "The clip is shorter than 500 milliseconds")
    order = IngestOrder(
        asset.id, clip_of=source.id, start=start, end=end, tallest=_max_height(asset), is_test=asset.test and not source.test
    )
    if asset.test:
        order = attrs.evolve(order, end=min(end, start + TEST_DURATION))
    found = _ask(state, order)
    if found is not None:
        return found
    return attrs.evolve(source.media, duration=round((order.end or end) - start, 6))


def _max_height(asset: Asset) -> int:
    return TIER_HEIGHTS[asset.options.get("max_resolution_tier", "1080p")]


def _ask(state: State, order: IngestOrder) -> MediaInfo | InputProblem | None:
    """Return the backend's result; ``None`` if the media are to be generated."""
    backend = state.settings.media
    if backend is None:
        return None
    future = backend.ingest(order)
    if not future.done():
        raise MediaPendingError
    return future.result()


def made_size(state: State, asset: Asset, order: Order) -> int | None:
    """Have a file made for an asset, and return its size in bytes; ``None`` without a media file.

    Raises:
        MediaPendingError: The file is still being made.
        MediaBackendError: It could not be made.
    """
    backend = state.settings.media
    if backend is None or backend.media_file(asset.id) is None:
        return None
    future = backend.make(asset.id, order)
    if not future.done():
        raise MediaPendingError
    return future.result().stat().st_size


def master_order(asset: Asset) -> Download:
    """The order for a master: full size."""
    return Download("mp4" if asset.stored_height else "m4a", asset.stored_height)


def download_order(file: Json) -> Download:
    """The order for a static rendition, given as the API shows it."""
    return Download(file["ext"], min(file.get("width", 0), file.get("height", 0)))


def live_parts(state: State, asset_id: str) -> tuple[LivePart, ...]:
    """Return what encoders pushed into an asset; nothing of an asset that was not pushed."""
    backend = state.settings.media
    return backend.live_parts(asset_id) if isinstance(backend, LiveMediaBackend) else ()


def end_live(state: State, asset_id: str) -> None:
    """End the recording of what encoders push, if there is one."""
    backend = state.settings.media
    if isinstance(backend, LiveMediaBackend):
        backend.end_live(asset_id)


def forget(state: State, asset_id: str) -> None:
    """Delete the media file of an asset, if there is one."""
    if state.settings.media is not None:
        state.settings.media.forget(asset_id)
