"""Buckets in Redis, for the processes of many hosts.

The frequent commands are one call of a script (``_token_bucket.lua``), under the server's clock. The others are performed here, by the same
methods as everywhere: read the state, run the method, and write the result if no other process wrote in between, else again. So the
adaptation to 429s is written once, in Python.

Redis' asyncio client runs on asyncio only, and so does this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha1, sha256
from importlib import resources
from typing import Any, Final

import anyio
import orjson

from mux_async._operation import Bucket
from mux_async._redis import RedisClient, RedisClients, no_script_error, redis_error
from mux_async._types import Secret
from mux_async.limits._scheduler import (
    GRACE_MARGIN,
    LEASE,
    LONGEST_GRACE,
    MEMBERSHIP,
    SHORTEST_GRACE,
    BucketCommand,
    BucketReply,
    Requester,
    Scheduler,
)
from mux_async.limits._settings import LimitSettings
from mux_async.limits._shared_limiter import CALL_TIMEOUT, StoreLostError
from mux_async.limits._token_bucket import CLOCK_TOLERANCE, MEMORY, REMEMBERED

KEEP: Final = 7 * 24 * 3600.0
"""Seconds without a command after which Redis forgets a bucket."""
_FREQUENT: Final = frozenset({"acquire", "leave", "give_back"})


@cache
def _script() -> tuple[str, str]:
    """Return the script and the digest by which Redis knows it."""
    text = resources.files("mux_async.limits").joinpath("_token_bucket.lua").read_text(encoding="utf-8")
    return text, sha1(text.encode()).hexdigest()  # noqa: S324 - Redis names scripts by it; it protects nothing


class RedisLimitStore:
    """Keeps the buckets of *account* in Redis; one database may hold several accounts.

    *name* is its address without secrets, *secret* must not appear in messages, *timeout* is how many seconds a command may take, and
    *clock* stands in for the server's in tests.
    """

    is_local_clock = False

    def __init__(
        self,
        name: str,
        account: str,
        settings: LimitSettings,
        connect: Callable[[], RedisClient],
        *,
        clock: Callable[[], float] | None = None,
        timeout: float = CALL_TIMEOUT,
        secret: Secret | None = None,
    ) -> None:
        self.name = name
        self._settings = settings
        self._clock = clock
        self._timeout = timeout
        self._secret = secret
        # The braces keep an account's keys on one node of a cluster.
        digest = sha256(account.encode()).hexdigest()[:24]
        self._prefix = f"mux-async:limits:1:{{{digest}}}"
        self._clients = RedisClients(connect, f"limits shared through {name}")

    async def perform(self, command: BucketCommand) -> BucketReply:
        """Perform *command*. One that takes or returns a grant cannot be cancelled: its outcome would not be known."""
        clients = self._clients.here()
        reply: BucketReply | None = None
        try:
            async with clients as client:
                with anyio.CancelScope(shield=command.verb != "observe", deadline=anyio.current_time() + self._timeout):
                    reply = await self._perform(client, command)
        except (redis_error(), OSError, ValueError, TypeError, IndexError) as error:
            # The library's errors may hold the URL in an attribute: only their text is used.
            raise StoreLostError(self._describe(error)) from None
        if reply is None:
            raise StoreLostError(f"no answer within {self._timeout:g} s")
        return reply

    async def aclose(self) -> None:
        """Close the connections of the running event loop, once its commands have ended."""
        await self._clients.aclose()

    async def _perform(self, client: RedisClient, command: BucketCommand) -> BucketReply:
        while True:
            answer = await self._run(client, command.bucket, self._arguments(command))
            if int(answer[0]) == 1:
                value, now, *others, members, numbers = answer[1:]
                counts = [int(count) for count in others]
                return BucketReply(
                    _number(value), _number(now), _numbers(numbers), (counts[0], counts[1], counts[2]), int(members)
                )
            reply = await self._perform_here(client, command, answer)
            if reply is not None:
                return reply

    async def _perform_here(self, client: RedisClient, command: BucketCommand, answer: Sequence[Any]) -> BucketReply | None:
        """Perform a rare command. Returns ``None`` if another process wrote in between, and nothing was done."""
        now = _number(answer[1])
        numbers, version = _numbers(answer[2]), _pairs(answer[2]).get("version", "")
        bucket = self._settings.new_bucket(command.bucket)
        if version:
            bucket.load(numbers, [float(moment) for moment in answer[3]], now)
        else:
            # This server does not know who used the account before.
            bucket.drain(now)
        shared = Scheduler(
            bucket, _requesters(answer[4]), numbers.get("switch_at", -math.inf), numbers.get("drain_at", math.inf)
        )
        value = shared.perform(command, now)
        # Larger than any version that the bucket had before Redis forgot it.
        next_version = str(int(version) + 1 if version else int(now * 1e6))
        done = await self._run(client, command.bucket, ["write", version, next_version, *_written(shared), _milliseconds(KEEP)])
        return shared.reply(command.owner, value, now) if int(done) == 1 else None

    async def _run(self, client: RedisClient, bucket: Bucket, arguments: Sequence[str]) -> Any:
        key = f"{self._prefix}:{bucket.value}"
        keys = [key, f"{key}:grants", f"{key}:requesters"]
        script, digest = _script()
        try:
            return await client.evalsha(digest, len(keys), *keys, *arguments)
        except no_script_error():
            return await client.eval(script, len(keys), *keys, *arguments)

    def _arguments(self, command: BucketCommand) -> list[str]:
        allowance = self._settings.bucket(command.bucket)
        return [
            command.verb if command.verb in _FREQUENT else "read",
            command.owner,
            "" if self._clock is None else _text(self._clock()),
            _text(allowance.rate),
            _text(allowance.burst),
            _text(self._settings.jitter),
            str(command.held_back),
            str(command.rank),
            "" if command.at is None else _text(command.at),
            _text(MEMORY),
            _text(REMEMBERED),
            _text(CLOCK_TOLERANCE),
            _text(LEASE),
            _text(MEMBERSHIP),
            _text(SHORTEST_GRACE),
            _text(LONGEST_GRACE),
            _text(GRACE_MARGIN),
            _milliseconds(KEEP),
        ]

    def _describe(self, error: Exception) -> str:
        text = f"{type(error).__name__}: {error}"
        secret = self._secret.reveal() if self._secret is not None else ""
        return text.replace(secret, "***") if secret else text


def _text(number: float) -> str:
    """Write a number so that it reads back as the same; the script does so too, and finds grants by their text."""
    return "-" if number == -math.inf else f"{number:.17g}"


def _number(text: str) -> float:
    return -math.inf if text == "-" else float(text)


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _numbers(flat: Sequence[str]) -> dict[str, float]:
    return {name: float(text) for name, text in _pairs(flat).items() if text != "-"}


def _requesters(flat: Sequence[str]) -> dict[str, Requester]:
    requesters: dict[str, Requester] = {}
    for name, text in _pairs(flat).items():
        seen, due, since, rank = text.split(" ")
        requesters[name] = Requester(_number(seen), _number(due), _number(since), int(rank))
    return requesters


def _written(shared: Scheduler) -> list[str]:
    """Return *shared* as the script's ``write`` takes it."""
    numbers, grants = shared.bucket.dump()
    numbers["switch_at"] = shared.switch_at
    next_change_at, drain_at = shared.bucket.next_change_at(), shared.drain_at
    if drain_at < math.inf:
        numbers["drain_at"] = drain_at
    if (rare_at := min(next_change_at, drain_at)) < math.inf:
        numbers["next_change_at"] = max(rare_at, -1e300)  # -inf would not be written
    flat = [part for name, number in numbers.items() for part in (name, _text(number))]
    requesters = [
        part
        for name, requester in shared.requesters.items()
        for part in (name, f"{_text(requester.seen)} {_text(requester.due)} {_text(requester.since)} {requester.rank}")
    ]
    return [orjson.dumps(part).decode() for part in (flat, [_text(moment) for moment in grants], requesters)]
