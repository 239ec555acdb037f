"""What the account asks of a studio, if it has one, when an asset's time has come.

A studio takes its time, and the account does not wait: a step that finds something still being made is run again a little later
(`NotYetError`). Without a studio, or where it leaves something to the account, media are made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from mux_async.emulator.media._backend import Download, IngestOrder, Order
from mux_async.emulator.media._probe import InputProblem, MediaInfo, MediaSource
from mux_async.emulator.state._state import TIER_HEIGHTS, Asset, Environment, Json, World

LOOK_AGAIN = 0.05
"""Seconds after which something that was still being made is looked at again."""
TEST_DURATION = 10.0
"""Seconds that a test asset is cut to."""


class NotYetError(Exception):
    """What a step needs is still being made."""


def main_input(options: Json) -> Mapping[str, Any]:
    """The input that holds the media itself; empty for an upload without input settings."""
    inputs: list[Json] = options.get("inputs") or [{}]
    return next((entry for entry in inputs if entry.get("type") != "text" and "overlay_settings" not in entry), inputs[0])


def examine(world: World, environment: Environment, asset: Asset) -> MediaInfo | InputProblem:
    """Say what an asset's medium is, or why it cannot be used. With a studio, it can be played from then on.

    Raises:
        NotYetError: The studio is at work on it.
    """
    if asset.source_asset_id is not None:
        return _clip(world, environment, asset)
    end = TEST_DURATION if asset.test else None
    if asset.upload_id is not None:
        session = environment.uploads[asset.upload_id].session
        source = MediaSource(size=session.size, head=session.head, path=session.path)
    else:
        source = MediaSource(url=main_input(asset.options).get("url", ""))
    order = IngestOrder(asset.id, source.url, source.path, end=end, tallest=_tallest(asset), is_test=asset.test)
    found = _ask(world, order)
    if found is None:
        found = world.settings.probe(source)
    if isinstance(found, MediaInfo) and end is not None:
        return attrs.evolve(found, duration=min(found.duration, end))
    return found


def _clip(world: World, environment: Environment, asset: Asset) -> MediaInfo | InputProblem:
    entry = main_input(asset.options)
    source = environment.assets.get(asset.source_asset_id or "")
    if source is None or source.media is None:
        return InputProblem("invalid_input", "The source asset of the clip is not ready")
    start = entry.get("start_time", 0.0)
    end = min(entry.get("end_time", source.media.duration), source.media.duration)
    if end - start < 0.5:
        return InputProblem("invalid_input", "The clip is shorter than 500 milliseconds")
    order = IngestOrder(
        asset.id, clip_of=source.id, start=start, end=end, tallest=_tallest(asset), is_test=asset.test and not source.test
    )
    if asset.test:
        order = attrs.evolve(order, end=min(end, start + TEST_DURATION))
    found = _ask(world, order)
    if found is not None:
        return found
    return attrs.evolve(source.media, duration=round((order.end or end) - start, 6))


def _tallest(asset: Asset) -> int:
    return TIER_HEIGHTS[asset.options.get("max_resolution_tier", "1080p")]


def _ask(world: World, order: IngestOrder) -> MediaInfo | InputProblem | None:
    """``None`` leaves it to the account to make something up."""
    studio = world.settings.media
    if studio is None:
        return None
    future = studio.ingest(order)
    if not future.done():
        raise NotYetError
    return future.result()


def made_size(world: World, asset: Asset, order: Order) -> int | None:
    """Have a file made of an asset's film, and return its size in bytes; ``None`` when there is no film.

    Raises:
        NotYetError: It is being made.
        StudioError: It could not be.
    """
    studio = world.settings.media
    if studio is None or studio.film(asset.id) is None:
        return None
    future = studio.make(asset.id, order)
    if not future.done():
        raise NotYetError
    return future.result().stat().st_size


def master_order(asset: Asset) -> Download:
    """What is made for a master: all there is."""
    return Download("mp4" if asset.stored_height else "m4a", asset.stored_height)


def download_order(file: Json) -> Download:
    """What is made for a static rendition, as the API shows it."""
    return Download(file["ext"], min(file.get("width", 0), file.get("height", 0)))


def forget(world: World, asset_id: str) -> None:
    """Throw away the film of an asset, if there is one."""
    if world.settings.media is not None:
        world.settings.media.forget(asset_id)
