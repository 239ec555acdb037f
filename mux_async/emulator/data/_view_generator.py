"""Generates viewers from a seed, and views from a seed, a viewer and a video; the same input gives the same result.

Dependent values are computed in the order of the events that they describe: errors, startup, playback, scores. So the fields of a view are
consistent, and sums over views are consistent with each other.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from random import Random

import attrs

from mux_async.emulator.data import _scores, _vocabulary
from mux_async.emulator.data._views import (
    Ads,
    Delivery,
    Outcome,
    Playback,
    PlayingInterval,
    Rebuffering,
    Startup,
    Video,
    View,
    Viewer,
)

MAX_SPAN = 3 * 3600 * 1000
"""Milliseconds that no view is longer than."""
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LIVE_SITTING = 15 * 60 * 1000
_SLOW = 4_000_000
"""Bits per second below which a connection stalls and starts more slowly."""
_NO_ADS = Ads()
_NOT_PLAYED = Playback()


@attrs.frozen
class Outage:
    """A CDN that fails far more often from *start* to *end* (epoch milliseconds)."""

    cdn: str
    start: int
    end: int


@lru_cache(2048)
def make_viewer(seed: str) -> Viewer:
    """Generate a viewer, the same for the same *seed*."""
    random = Random(seed)  # noqa: S311 - generated data, not secrets
    (place,) = random.choices(_vocabulary.LOCATIONS, [place.weight for place in _vocabulary.LOCATIONS])
    (device,) = random.choices(_vocabulary.DEVICES, [device.weight for device in _vocabulary.DEVICES])
    plan, status, category = random.choice(_vocabulary.PLANS)
    connection = random.choice(device.connections) if device.connections else None
    is_web = device.page_type is not None
    fast = 3_000_000 if connection == "cellular" else 12_000_000
    return Viewer(
        mux_viewer_id=_uuid(random),
        viewer_user_id=f"user-{random.randrange(10_000, 99_999)}" if plan is not None else None,
        place=place,
        device=device,
        sub_property_id=random.choice(("web", "web", "partner")) if is_web else "apps",
        viewer_connection_type=connection,
        viewer_plan=plan,
        viewer_plan_category=category,
        viewer_plan_status=status,
        player_autoplay=random.random() < 0.4,
        player_language=random.choice(("en", "en", "de", "fr", "ja", "pt")),
        player_preload=random.random() < 0.3,
        player_version=random.choice(("2.4.0", "2.4.1")),
        custom_1=random.choice(("organic", "organic", "newsletter", "campaign")),
        experiment_name=random.choice((None, "fast-start", "control")),
        throughput=int(fast * random.lognormvariate(0.0, 0.5)),
    )


@lru_cache(8192)
def make_view(seed: int, end: int, viewer: Viewer, video: Video, outages: tuple[Outage, ...]) -> View:
    """Generate the view of *video* by *viewer* that ended at *end* (epoch milliseconds).

    The cache holds a week of views. It is shared by the emulators of a process, because programs that test against one often make another
    for each test.
    """
    random = Random(seed)  # noqa: S311 - generated data, not secrets
    (cdn,) = random.choices([name for name, _ in _vocabulary.CDNS], [share for _, share in _vocabulary.CDNS])
    in_outage = any(outage.cdn == cdn and outage.start <= end < outage.end for outage in outages)
    error = _error(random, in_outage)
    is_exit = error is None and random.random() < 0.035
    plays = not is_exit and (error is None or error.stage == "playing")
    ads = _ads(random) if plays and random.random() < 0.18 else _NO_ADS
    startup = _startup(random, viewer, ads, plays=plays)
    playback = _playback(random, viewer, video, is_cut=error is not None) if plays else _NOT_PLAYED
    count = _stall_count(random, playback.view_playing_time, viewer.throughput, in_outage)
    stalled = sum(int(random.lognormvariate(7.3, 0.7)) for _ in range(count))
    watch_time = startup.waited + playback.view_playing_time + stalled + playback.view_seek_duration
    start = end - watch_time
    rebuffering = _rebuffering(count, stalled, watch_time, (start + startup.waited, end), plays=plays)
    return View(
        id="".join(random.choices(_ALPHABET, k=random.choice((35, 36)))),
        record_id=_uuid(random),
        seed=seed,
        session_id=_uuid(random),
        view_session_id=f"cdn-{random.getrandbits(40):010x}" if random.random() < 0.5 else None,
        player_instance_id=_uuid(random),
        player_view_count=random.choice((1, 1, 1, 2, 3)),
        player_remote_played=random.random() < 0.02,
        used_captions=random.random() < 0.15,
        page_url=f"https://www.example.com/watch/{video.video_id}" if viewer.device.page_type is not None else None,
        view_start=start,
        view_end=end,
        watch_time=watch_time,
        viewer=viewer,
        video=video,
        startup=startup,
        playback=playback,
        rebuffering=rebuffering,
        outcome=_outcome(error, startup, playback, rebuffering, is_exit=is_exit, is_dropped=random.random() < 0.006),
        ads=ads,
        delivery=_delivery(random, cdn, viewer, plays=plays),
    )


def _uuid(random: Random) -> str:
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def _error(random: Random, in_outage: bool) -> _vocabulary.ErrorType | None:
    if random.random() >= (0.35 if in_outage else 0.03):
        return None
    (error,) = random.choices(_vocabulary.ERRORS, [error.weight for error in _vocabulary.ERRORS])
    return _vocabulary.ERRORS[0] if in_outage else error


def _ads(random: Random) -> Ads:
    attempts = random.choice((1, 1, 2, 3))
    errors = sum(random.random() < 0.06 for _ in range(attempts))
    exits = sum(random.random() < 0.03 for _ in range(attempts - errors))
    wait = int(random.lognormvariate(6.5, 0.4))
    return Ads(
        view_has_ad=True,
        preroll_requested=True,
        preroll_played=errors < attempts,
        preroll_ad_asset_hostname="assets.ads.example.com",
        preroll_ad_tag_hostname="tags.ads.example.com",
        ad_attempt_count=attempts,
        ad_break_count=1,
        ad_break_error_count=int(errors == attempts),
        ad_error_count=errors,
        ad_exit_before_start_count=exits,
        ad_impression_count=attempts - errors - exits,
        ad_startup_error_count=errors,
        ad_preroll_startup_time=wait,
        requests_for_first_preroll=random.choice((1, 1, 1, 2)),
        video_startup_preroll_load_time=wait * 3 // 4,
        video_startup_preroll_request_time=wait - wait * 3 // 4,
    )


def _startup(random: Random, viewer: Viewer, ads: Ads, *, plays: bool) -> Startup:
    page_load = int(random.lognormvariate(7.0, 0.4)) if viewer.device.page_type is not None else None
    player = int(random.lognormvariate(5.6, 0.5))
    content = int((1.6 if viewer.throughput < _SLOW else 1.0) * random.lognormvariate(6.9, 0.5)) + 80
    first_frame = content + (ads.ad_preroll_startup_time or 0) if plays else None
    return Startup(
        page_load_time=page_load,
        player_startup_time=player,
        time_to_first_frame=first_frame,
        view_content_startup_time=content if plays else None,
        aggregate_startup_time=None if first_frame is None else first_frame + player + (page_load or 0),
        startup_score=None if first_frame is None else _scores.startup(first_frame),
        waited=content * 3 if first_frame is None else first_frame,
    )


def _playback(random: Random, viewer: Viewer, video: Video, *, is_cut: bool) -> Playback:
    playing = _playing_time(random, video, is_cut=is_cut)
    seeks = 0 if playing < 20_000 or random.random() < 0.7 else random.randrange(1, 5)
    sought = sum(int(random.lognormvariate(5.5, 0.5)) for _ in range(seeks))
    parts = _stretches(random, playing, viewer, video)
    stretches = tuple(PlayingInterval(_vocabulary.RENDITIONS[index], mode, length) for index, mode, length in parts)
    ranges = _ranges(random, playing, seeks, video)
    shown = [(length / playing, _vocabulary.RENDITIONS[index]) for index, _, length in parts]
    scales = [(share, (viewer.device.player_height or 0) / (rendition.height or 1)) for share, rendition in shown]
    ups = [(share, max(0.0, scale - 1)) for share, scale in scales]
    downs = [(share, max(0.0, 1 - scale)) for share, scale in scales]
    changes = [after - before for (before, _, _), (after, _, _) in pairwise(parts)]
    modes = {stretch.mode for stretch in stretches}
    return Playback(
        view_playing_time=playing,
        view_max_playhead_position=max((stop for _, stop in ranges), default=playing),
        watched=True,
        watched_ranges=ranges,
        stretches=stretches,
        first_rendition=stretches[0].rendition,
        last_rendition=stretches[-1].rendition,
        view_seek_count=seeks,
        view_seek_duration=sought,
        seek_latency=sought / seeks if seeks else None,
        view_dropped_frame_count=int(playing / 60_000 * random.random()) if viewer.device.page_type is not None else None,
        view_max_upscale_percentage=max(up for _, up in ups),
        view_max_downscale_percentage=max(down for _, down in downs),
        view_total_upscaling=_weighted(ups) * playing,
        view_total_downscaling=_weighted(downs) * playing,
        upscale_percentage=_weighted(ups),
        downscale_percentage=_weighted(downs),
        live_stream_latency=max(3000, int(random.gauss(14_000, 3000))) if video.video_stream_type == "live" else None,
        weighted_average_bitrate=_weighted([(share, rendition.bitrate or 0) for share, rendition in shown]),
        rendition_change_count=sum(change != 0 for change in changes),
        rendition_upshift_count=sum(change > 0 for change in changes),
        rendition_downshift_count=sum(change < 0 for change in changes),
        quality_score=_scores.quality(_weighted(scales)),
        used_fullscreen="fullscreen" in modes,
        used_pip="pip" in modes,
    )


def _weighted(parts: Sequence[tuple[float, float]]) -> float:
    """Average of values, each with its share."""
    return sum(share * value for share, value in parts)


def _playing_time(random: Random, video: Video, *, is_cut: bool) -> int:
    if video.video_duration is None:
        whole = random.expovariate(1 / _LIVE_SITTING)
    else:
        # Many leave soon, many stay to the end, few in between.
        share = random.betavariate(0.6, 0.5)
        whole = video.video_duration * (1.0 if share > 0.93 else share)
    if is_cut:
        whole *= random.random()
    return min(max(int(whole), 500), MAX_SPAN - 600_000)


def _stretches(random: Random, playing: int, viewer: Viewer, video: Video) -> list[tuple[int, str, int]]:
    """Divide the playing time: index of the rendition, mode of the player, milliseconds."""
    best = max(
        index
        for index, rendition in enumerate(_vocabulary.RENDITIONS)
        if index == 0 or (rendition.height or 0) <= video.max_height
    )
    fits = sum((rendition.bitrate or 0) < viewer.throughput * 0.7 for rendition in _vocabulary.RENDITIONS) - 1
    aim = max(0, min(best, fits))
    count = min(random.choice((1, 2, 2, 3, 4)), max(1, playing // 4000))
    cuts = sorted(random.sample(range(1, playing), count - 1))
    (mode,) = random.choices(_vocabulary.PLAYBACK_MODES, (60, 30, 6, 4))
    made: list[tuple[int, str, int]] = []
    for number, (start, stop) in enumerate(zip([0, *cuts], [*cuts, playing], strict=True)):
        is_first = number == 0 and count > 1  # playback starts low and climbs
        rendition = max(0, aim - 2) if is_first else max(0, aim - random.choice((0, 0, 0, 1)))
        made.append((rendition, "standard" if is_first else mode, stop - start))
    return made


def _ranges(random: Random, playing: int, seeks: int, video: Video) -> tuple[tuple[int, int], ...]:
    """Cut the playing time into parts of the content, one more than there were seeks."""
    duration = video.video_duration
    if not duration:
        return ()
    sizes = [playing // (seeks + 1)] * seeks
    sizes.append(playing - sum(sizes))
    ranges: list[tuple[int, int]] = []
    position = 0 if random.random() < 0.9 else random.randrange(duration // 2 + 1)
    for size in sizes:
        left = size
        while left > 0:  # past the end it starts over, as a loop does
            step = min(left, duration - position)
            ranges.append((position, position + step))
            position = (position + step) % duration
            left -= step
        if duration > size:
            position = random.randrange(duration - size)
    return tuple(ranges)


def _stall_count(random: Random, playing: int, throughput: int, in_outage: bool) -> int:
    """Draw from Poisson's distribution, by multiplying chances until they fall below its first term; at most 8."""
    expected = playing / 60_000 * (0.12 if throughput < _SLOW else 0.02) * (4 if in_outage else 1)
    count, limit, chance = 0, math.exp(-min(expected, 5.0)), random.random()
    while chance > limit and count < 8:
        chance *= random.random()
        count += 1
    return count


def _rebuffering(count: int, total: int, watch_time: int, played: tuple[int, int], *, plays: bool) -> Rebuffering:
    """Spread *count* stalls, which last *total* together, evenly over the time in which it *played*."""
    begin, end = played
    length, gap = (total // count, (end - begin - total) // (count + 1)) if count else (0, 0)
    share = total / watch_time if plays else None
    return Rebuffering(
        stalls=tuple((begin + gap + (length + gap) * n, begin + (length + gap) * (n + 1)) for n in range(count)),
        buffering_count=count,
        buffering_duration=total,
        rebuffer_frequency=None if share is None else count / (watch_time / 60_000),
        rebuffer_percentage=share,
        rebuffering_score=None if share is None else _scores.rebuffering(share),
    )


def _outcome(
    error: _vocabulary.ErrorType | None,
    startup: Startup,
    playback: Playback,
    rebuffering: Rebuffering,
    *,
    is_exit: bool,
    is_dropped: bool,
) -> Outcome:
    is_business = error is not None and error.stage == "business"
    playback_score = _scores.playback(is_error=error is not None, is_exit=is_exit)
    scores = (playback_score, startup.startup_score, rebuffering.rebuffering_score, playback.quality_score)
    return Outcome(
        exit_before_video_start=is_exit,
        video_startup_failure=error is not None and error.stage == "startup",
        playback_failure=error is not None and not is_business,
        playback_business_exception=is_business,
        video_startup_business_exception=is_business,
        view_dropped=is_dropped,
        error_type_id=None if error is None else error.id,
        player_error_code=None if error is None else error.player_code,
        player_error_message=None if error is None else error.message,
        playback_score=playback_score,
        viewer_experience_score=_scores.overall(scores),
    )


def _delivery(random: Random, cdn: str | None, viewer: Viewer, *, plays: bool) -> Delivery:
    others = [name for name, _ in _vocabulary.CDNS if name is not None and name != cdn]
    trace = () if cdn is None else (cdn, random.choice(others)) if random.random() < 0.07 else (cdn,)
    latency = int(random.lognormvariate(4.3, 0.5))
    return Delivery(
        cdn=cdn,
        video_cdn_trace=trace,
        view_cdn_edge_pop=None if cdn is None else _vocabulary.EDGES[(viewer.place.asn or 0) % len(_vocabulary.EDGES)],
        view_cdn_origin=None if cdn is None else "origin-1",
        view_max_request_latency=latency * random.randrange(2, 9) if plays else None,
        view_average_request_latency=latency if plays else None,
        view_average_request_throughput=int(viewer.throughput * random.uniform(0.7, 1.2)) if plays else None,
    )
