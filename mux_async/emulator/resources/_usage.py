"""Delivery usage and its exports: ``/video/v1/delivery-usage`` and ``/system/v1/usage/exports`` (facts/BEHAVIOUR.md, 3.1, 10).

The numbers count the segments and files that this emulator served, by hour. They appear twelve hours late, as Mux's do. An export is a CSV
file of one day; each of the last 400 days has one, empty or not.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from mux_async.emulator.http._messages import Request, Response, failed, invalid, json_response, not_found, text
from mux_async.emulator.routing._router import ApiCall, Route
from mux_async.emulator.state._ids import is_well_formed
from mux_async.emulator.state._records import DeliveredAsset, Json
from mux_async.emulator.state._serialization import encoding_tier, epoch, tier, without_none
from mux_async.emulator.state._signed_urls import check_signed_url, signed_url
from mux_async.emulator.state._state import Asset, Environment, State
from mux_async.emulator.validation._validation import whole_parameter
from mux_async.emulator.webhooks._events import emit

HOUR = 3600
LAG = 12 * HOUR
WINDOW = 90 * 24 * HOUR
"""Seconds back from now within which a timeframe must lie."""
DEFAULT_LIMIT = 100
EXPORT_DAYS = 400
DEFAULT_TTL = 3600
"""Seconds that a download URL works when the request does not say."""
_RELATIVE = re.compile(r"(\d{1,9}):(second|minute|hour|day|week)s?")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_COLUMNS = ("hour", "asset_id", "live_stream_id", "resolution_tier", "delivered_seconds")


def _read_timeframe(values: Sequence[str], now: float) -> tuple[int, int] | None:
    """Return beginning and end in epoch seconds; ``None`` without values. Raises `ApiError` (400)."""
    if not values:
        return None
    if len(values) == 1:
        match = _RELATIVE.fullmatch(values[0])
        if match is not None:
            return int(now) - int(match[1]) * _SECONDS[match[2]], int(now)
    elif len(values) == 2 and all(value.isascii() and value.isdigit() and len(value) < 13 for value in values):
        begin, end = int(values[0]), int(values[1])
        if begin < end:
            return begin, end
    raise invalid("timeframe must be two epoch times in order, or one duration such as 24:hours")


def record_delivery(state: State, environment: Environment, asset: Asset, seconds: float, height: int) -> None:
    """Count *seconds* of media of an asset, in a size (pixels of the smaller side, 0 for audio), as delivered now."""
    known = environment.delivered.get(asset.id)
    if known is None:
        known = environment.delivered[asset.id] = DeliveredAsset(
            asset.id,
            asset.created_at,
            0.0 if asset.media is None else asset.media.duration,
            encoding_tier(asset.options),
            asset.options.get("video_quality", "basic"),
            tier(asset.stored_height),
            asset.live_stream_id,
            asset.passthrough,
        )
    hour = known.hours.setdefault(str(int(state.now) // HOUR * HOUR), {})
    name = f"tier_{tier(height).replace('-', '_')}"
    hour[name] = round(hour.get(name, 0.0) + seconds, 6)


def _report(known: DeliveredAsset, environment: Environment, begin: int, end: int) -> Json | None:
    by_tier: dict[str, float] = {}
    for hour, tiers in known.hours.items():
        if begin <= int(hour) < end:
            for name, seconds in tiers.items():
                by_tier[name] = round(by_tier.get(name, 0.0) + seconds, 6)
    if not by_tier:
        return None
    asset = environment.assets.get(known.id)
    state = "deleted" if asset is None else "errored" if asset.status == "errored" else "ready"
    return without_none(
        {
            "asset_id": known.id,
            "live_stream_id": known.live_stream_id,
            "created_at": epoch(known.created_at),
            "deleted_at": None if known.deleted_at is None else epoch(known.deleted_at),
            "asset_state": state,
            "asset_duration": known.duration,
            "asset_resolution_tier": known.resolution_tier,
            "asset_encoding_tier": known.encoding_tier,
            "asset_video_quality": known.video_quality,
            "passthrough": known.passthrough,
            "delivered_seconds": round(sum(by_tier.values()), 6),
            "delivered_seconds_by_resolution": by_tier,
        }
    )


def announce_traffic(state: State, environment: Environment, threshold: float) -> None:
    """Send ``video.delivery.high_traffic`` for assets delivered for at least *threshold* seconds since the last full hour began.

    When Mux sends it is not published. Times are numbers in this event (facts/BEHAVIOUR.md, section 7.2). Without any, it is a 412.
    """
    end = int(state.now) + 1
    begin = end // HOUR * HOUR - HOUR
    reports = [_report(known, environment, begin, end) for known in environment.delivered.values()]
    busy = [report for report in reports if report is not None and report["delivered_seconds"] >= threshold]
    if not busy:
        raise failed(f"No asset was delivered for {threshold:g} seconds since the last full hour began")
    rows = [{key: int(value) if key in {"created_at", "deleted_at"} else value for key, value in row.items()} for row in busy]
    traffic_id = state.id_generator.uuid("high traffic")
    data = {"id": traffic_id, "threshold": threshold, "timeframe": [begin, end], "data": rows}
    emit(state, environment, "video.delivery.high_traffic", ("delivery", traffic_id), data)


def _list_delivery(call: ApiCall) -> Response:
    query, now = call.request.query, call.state.now
    wanted = {name: query[name] for name in ("asset_id", "live_stream_id") if query.get(name)}
    if len(wanted) == 2:
        raise invalid("asset_id and live_stream_id cannot be used together")
    if not all(is_well_formed(value) for value in wanted.values()):
        raise invalid("Failed to parse ID")
    hour = int(now) // HOUR * HOUR
    given = _read_timeframe(call.request.values("timeframe[]"), now)
    begin, end = (hour - LAG - HOUR, hour - LAG) if given is None else given
    if given is not None and (begin < now - WINDOW or end > now):
        raise invalid("timeframe must lie within the last 90 days")
    reports = [
        report
        for known in call.environment.delivered.values()
        if wanted.get("asset_id", known.id) == known.id
        and wanted.get("live_stream_id", known.live_stream_id) == known.live_stream_id
        and (report := _report(known, call.environment, begin, min(end, hour - LAG))) is not None
    ]
    reports.sort(key=lambda report: -float(report["delivered_seconds"]))
    return json_response(
        200,
        {
            "data": call.page(reports, default=DEFAULT_LIMIT),
            "total_row_count": len(reports),
            "timeframe": [begin, end],
            "page": whole_parameter(query, "page", 1),
            "limit": call.limit(DEFAULT_LIMIT),
        },
    )


def _csv(environment: Environment, day: date) -> bytes:
    begin = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(_COLUMNS)
    for known in environment.delivered.values():
        for hour, tiers in known.hours.items():
            if begin <= int(hour) < begin + 24 * HOUR:
                moment = datetime.fromtimestamp(int(hour), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                for name, seconds in tiers.items():
                    writer.writerow([moment, known.id, known.live_stream_id or "", name.removeprefix("tier_"), seconds])
    return stream.getvalue().encode()


def _list_exports(call: ApiCall) -> Response:
    state, query = call.state, call.request.query
    given = _read_timeframe(call.request.values("timeframe[]"), state.now)
    ttl = whole_parameter(query, "download_url_ttl", DEFAULT_TTL)
    today = datetime.fromtimestamp(state.now, UTC).date()
    days = [today - timedelta(days=back) for back in range(1, EXPORT_DAYS + 1)]
    if given is not None:
        first, last = (datetime.fromtimestamp(moment, UTC).date() for moment in given)
        days = [day for day in days if first <= day <= last]
    limit = call.limit()
    expires = int(state.now) + ttl
    rows: list[Json] = []
    for day in call.page(days):
        path = f"/_emulator/usage-exports/{call.environment.id}/{day.isoformat()}.csv"
        rows.append(
            {
                "date": day.isoformat(),
                "download_url": signed_url(call.request, state, path, expires),
                "download_url_expires_at": expires,
                "file_size": len(_csv(call.environment, day)),
            }
        )
    meta = {"page": whole_parameter(query, "page", 1), "limit": limit, "total": len(days), "pages": -(-len(days) // limit)}
    return json_response(200, {"data": rows, "meta": meta})


def download_export(request: Request, state: State) -> Response:
    """Answer at an export's download URL. Raises `ApiError`: 403 without a valid signature, 404 if there is no such export."""
    check_signed_url(request, state)
    environment = next((found for found in state.environments.values() if found.id == request.segments[2]), None)
    if environment is None:
        raise not_found()
    return text(200, _csv(environment, date.fromisoformat(request.segments[3].removesuffix(".csv"))), "text/csv; charset=utf-8")


ROUTES = (
    Route("GET", "/video/v1/delivery-usage", _list_delivery),
    Route("GET", "/system/v1/usage/exports", _list_exports),
)
