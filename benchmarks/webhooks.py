"""What does taking a webhook cost beside its HMAC and its JSON, and does any of it hold up the event loop?

Method: one process, CPU time, interleaved rounds, medians of the ratios within a round. *Bare* is ``hmac.digest`` over time and body,
compared, and ``orjson.loads`` of the body: the least that any receiver does. *unwrap* is the public function with ten headers and one
secret, settings checked every time; *router's unwrap* has them checked before; *and data read* touches ``event.data``, which reads the
whole event; *route* is the way through a `WebhookRouter` with its store in memory to a handler that does nothing, each event a new one.

Blocking: the longest single calls, in wall time, best of five, because the machine's other work is not ours: a delivery of a mebibyte, as
large as is allowed, authentic and not; a refused one of 64 KiB, which is looked into for the reason; and one of 50 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson

from benchmarks._timing import compare
from benchmarks.decode import RAW
from mux_async.webhooks import WebhookError, WebhookEvent, WebhookRouter, parse_event, sign, unwrap
from mux_async.webhooks._signature import make_verifier
from mux_async.webhooks._unwrap import verify_and_parse

SECRET = "SuperSecret123"


def envelope(data: object, kind: str = "video.asset.ready", number: int = 0) -> bytes:
    return orjson.dumps(
        {
            "type": kind,
            "id": f"4813455b-8fe8-40cc-9150-{number:012}",
            "created_at": "2026-01-01T00:00:00.000000Z",
            "object": {"type": "asset", "id": "WDOoqbLvlbuLdM7YZ00NQDcS3oNcyXNyW"},
            "environment": {"name": "Development", "id": "dvlv0o"},
            "data": data,
            "request_id": None,
            "attempts": [],
            "accessor": None,
            "accessor_source": None,
        }
    )


def headers_of(body: bytes) -> dict[str, str]:
    return {
        "Host": "example.com",
        "User-Agent": "Mux",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Accept": "*/*",
        "Accept-Encoding": "gzip",
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Proto": "https",
        "X-Request-Id": "7f1d",
        "Mux-Signature": sign(body, SECRET),
    }


def contenders(body: bytes) -> dict[str, Callable[[], object]]:
    headers, key, ready = headers_of(body), SECRET.encode(), make_verifier(SECRET)
    at, _, digest = headers["Mux-Signature"].partition(",v1=")
    prefix = at[2:].encode() + b"."

    def bare() -> object:
        assert hmac.compare_digest(hmac.digest(key, prefix + body, "sha256").hex(), digest)
        return orjson.loads(body)

    return {
        "bare": bare,
        "unwrap": lambda: unwrap(body, headers, SECRET),
        "router's unwrap": lambda: verify_and_parse(ready, body, headers, time.time()),
        "unwrap and data read": lambda: unwrap(body, headers, SECRET).data,
        "parse_event alone": lambda: parse_event(orjson.loads(body)),
    }


def route(count: int) -> float:
    hooks = WebhookRouter(SECRET)

    @hooks.on("video.asset.ready")
    async def nothing(_: WebhookEvent) -> None: ...

    bodies = [envelope(ASSET, number=number) for number in range(count)]
    deliveries = [(body, headers_of(body)) for body in bodies]

    async def run() -> float:
        start = time.process_time()
        for body, headers in deliveries:
            assert (await hooks.receive(body, headers)).text == "handled"
        return (time.process_time() - start) / count * 1e6

    return asyncio.run(run())


def longest(action: Callable[[], object]) -> float:
    times: list[float] = []
    for _ in range(5):
        start = time.perf_counter()
        with suppress(WebhookError):
            action()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def blocking() -> dict[str, float]:
    report: dict[str, Any] = {"id": "x", "threshold": 1, "timeframe": [0, 1], "data": []}
    row = {"asset_id": "WDOoqbLvlbuLdM7YZ00NQDcS3oNcyXNyW", "asset_state": "ready", "created_at": 1, "delivered_seconds": 1.5}
    size = 1024 * 1024 - 1000
    report["data"] = [row] * (size // (len(orjson.dumps(row)) + 1))
    large = envelope(report, "video.delivery.high_traffic")
    forged, small, huge = b"x" * (1024 * 1024), envelope(report)[: 64 * 1024], bytes(50_000_000)
    spaced = b"[" + b"[1.5, 2]," * 7000 + b"1]"
    cases = {
        f"authentic, {len(large) / 1e6:.2f} MB": (large, headers_of(large), SECRET),
        f"forged, {len(forged) / 1e6:.2f} MB": (forged, headers_of(b""), SECRET),
        "forged, 64 KiB, looked into": (spaced, headers_of(small), SECRET),
        "forged, 50 MB": (huge, headers_of(b""), SECRET),
    }
    return {name: longest(lambda case=case: unwrap(case[0], case[1], case[2])) for name, case in cases.items()}


ASSET = {**RAW, "created_at": 1592366925}
SIZES = {
    "asset with three renditions and three tracks": envelope(ASSET),
    "asset just created": envelope(
        {
            name: value
            for name, value in ASSET.items()
            if name not in {"tracks", "static_renditions", "recording_times", "meta", "aspect_ratio", "duration"}
        },
        "video.asset.created",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--count", type=int, default=2000)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}, orjson {orjson.__version__}")
    for what, body in SIZES.items():
        print(f"\n{what}, {len(body)} bytes")
        compare(contenders(body), rounds=options.rounds, count=options.count)
    print(f"{'route, each event new':24} {statistics.median(route(options.count) for _ in range(5)):8.2f} us")
    print("\nlongest call")
    for name, milliseconds in blocking().items():
        print(f"{name:32} {milliseconds:8.2f} ms")


if __name__ == "__main__":
    main()
