"""What became of creates whose outcome nobody knows: one look through the newest pages for all of them.

A run that dies between sending a create and writing down its answer leaves an item ``creating``; so does an answer that got lost and could
not be found again at once. The create carried the item's key (``meta.external_id``), so what it made can be recognised. However many
items there are, one sweep serves them all. The rules of looking are those of `mux_async._idempotency.search`:

1. Assets are listed newest first; the sweep ends where they are older than the oldest create that is looked for.
2. Ages are told by the server's clock, which was asked at the beginning of the run: the intent holds its time by that clock.
3. What is not there is believed only when the create was begun `SETTLE_TIME` seconds ago: a server may still be at work.

An upload that nobody sent a byte to becomes no asset, so that it is looked for to save a create and not for safety: on a few pages, once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import anyio
import attrs

from mux_async._models.times import parse_http_date
from mux_async.errors import APIStatusError, AuthenticationError, MuxError, PermissionDeniedError
from mux_async.ingest._journal_errors import JournalError
from mux_async.ingest._journal_writer import JournalWriter
from mux_async.ingest._store import Change
from mux_async.ingest.machine import AssetCreated, ItemEvent, ItemState, NothingCreated, UploadCreated, advance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mux_async._client import Mux
    from mux_async.models import Asset

logger = logging.getLogger(__name__)

SETTLE_TIME: Final = 10.0
"""Seconds after which a create that shows nowhere did not happen."""
CLOCK_SLACK: Final = 10.0
"""Seconds that an asset may seem older than its create: times are whole seconds, and servers differ a little."""
LOCAL_CLOCK_SLACK: Final = 300.0
"""The same when the server does not tell the time, so that the clock of this machine has to do."""
PAGE: Final = 100
MAX_UPLOAD_PAGES: Final = 5
"""Pages of uploads that are looked at; they carry no time (facts/BEHAVIOUR.md, section 5.1)."""
RETRY: Final = 10.0
"""Seconds between two sweeps when one fails."""


@attrs.frozen
class ServerClock:
    """The server's time, as far as it is known here.

    Attributes:
        offset: Seconds since 1970, there, at 0 of the event loop's clock.
        slack: Seconds by which it may be wrong.
    """

    offset: float
    slack: float

    @classmethod
    def read(cls, headers: Mapping[str, str], epoch: Callable[[], float]) -> ServerClock:
        """Return it from an answer that has just come."""
        date = parse_http_date(headers.get("Date"))
        if date is not None:
            return cls(date - anyio.current_time(), CLOCK_SLACK)
        return cls(epoch() - anyio.current_time(), LOCAL_CLOCK_SLACK)

    def now(self) -> float:
        """Return seconds since 1970."""
        return self.offset + anyio.current_time()


async def check_account(client: Mux, writer: JournalWriter, epoch: Callable[[], float]) -> ServerClock:
    """Ask Mux who we are: that credentials work, that the journal is about the same environment, and what time it is.

    Raises:
        JournalError: The journal is about another environment.
        MuxError: Mux cannot be asked.
    """
    try:
        answer = await client.system.utilities.with_raw_response.whoami()
    except (AuthenticationError, PermissionDeniedError):
        raise
    except APIStatusError as error:
        if error.status >= 500 or error.status == 429:
            raise
        return ServerClock.read(error.headers, epoch)  # whatever this is in Mux's place, it does not know the question
    clock = ServerClock.read(answer.headers, epoch)
    environment: object = getattr(answer.value, "environment_id", None)
    if isinstance(environment, str):
        noted = await writer.call(lambda: writer.store.set_note("environment", environment, keep=True))
        if noted != environment:
            raise JournalError(
                f"the journal {writer.store.name!r} is about the environment {noted!r}, and these credentials are for "
                f"{environment!r}: use those of the first run, or another journal"
            )
    return clock


class Reconciler:
    """Finds out about creates, for all items of a run together.

    Args:
        client: Looks.
        writer: Gets what was found.
        clock: The server's.
        settled: Called when items have got a new state and are free.
    """

    def __init__(self, client: Mux, writer: JournalWriter, clock: ServerClock, settled: Callable[[], object]) -> None:
        self._client = client
        self._writer = writer
        self._clock = clock
        self._settled = settled
        self._unknown: dict[str, ItemState] = {}
        self._since: dict[str, float] = {}
        self._wake_up = anyio.Event()

    def add(self, *states: ItemState) -> None:
        """Look for items that are ``creating`` and belong to this run; they are let go when that is done."""
        now = self._clock.now()
        for state in states:
            self._unknown[state.key] = state
            # An intent in the future, or without a time, is from a clock that was wrong: then all that is sure is that it was before now.
            self._since[state.key] = now if state.intended_at is None else min(state.intended_at, now)
        self._wake_up.set()

    async def run(self) -> None:
        """Look whenever there is something to look for, for ever."""
        while True:
            await self._wake_up.wait()
            self._wake_up = anyio.Event()
            while self._unknown:
                try:
                    await self._sweep_uploads()
                    await self._sweep_assets()
                except MuxError as error:
                    logger.info("looking for %d creates failed (%s); again in %g s", len(self._unknown), error, RETRY)
                    await anyio.sleep(RETRY)

    async def _sweep_uploads(self) -> None:
        wanted = {key: state for key, state in self._unknown.items() if not state.is_fetched}
        found: dict[str, ItemEvent] = {}
        for number in range(1, MAX_UPLOAD_PAGES + 1):
            if len(found) == len(wanted):
                break
            page = (await self._client.video.uploads.list(page=number, limit=PAGE)).data
            for upload in page:
                settings = upload.new_asset_settings
                key = settings.meta.external_id if settings is not None and settings.meta is not None else None
                if key is not None and key in wanted and upload.status == "waiting":
                    found.setdefault(key, UploadCreated(upload.id))
            if len(page) < PAGE:
                break
        await self._settle({key: found.get(key, NothingCreated()) for key in wanted})

    async def _sweep_assets(self) -> None:
        wanted = {key: state for key, state in self._unknown.items() if state.is_fetched}
        if not wanted:
            return
        began = self._clock.now()
        found = await self._find_assets(wanted)
        events: dict[str, ItemEvent] = {key: AssetCreated(asset.id) for key, asset in found.items()}
        pending = [self._since[key] for key in wanted if key not in found]
        events |= {key: NothingCreated() for key in wanted if key not in found and self._since[key] + SETTLE_TIME <= began}
        await self._settle(events)
        if len(events) < len(wanted):
            await anyio.sleep(max(max(pending) + SETTLE_TIME - self._clock.now(), 0.5))

    async def _find_assets(self, wanted: Mapping[str, ItemState]) -> dict[str, Asset]:
        """Return the newest asset of each item; pages are read until the rest is older than all that is looked for."""
        horizons = {key: self._horizon(state) for key, state in wanted.items()}
        oldest = min(horizons.values())
        found: dict[str, Asset] = {}
        async with aclosing(self._client.video.assets.list(limit=PAGE).pages()) as pages:
            async for page in pages:
                for asset in page.data:
                    made_at = asset.created_at.timestamp()
                    if made_at < oldest:
                        return found
                    key = asset.meta.external_id if asset.meta is not None else None
                    if key is not None and key in wanted and made_at >= horizons[key] and asset.id not in wanted[key].former:
                        found.setdefault(key, asset)
                if len(found) == len(wanted):
                    break
        return found

    def _horizon(self, state: ItemState) -> float:
        """Return the server's time before which nothing was made for *state*."""
        at = state.intended_at
        return 0.0 if at is None or at > self._clock.now() + self._clock.slack else at - self._clock.slack

    async def _settle(self, events: Mapping[str, ItemEvent]) -> None:
        if not events:
            return
        changes = [Change(advance(self._unknown[key], event)) for key, event in events.items()]
        await self._writer.call(self._write, changes)
        for key in events:
            del self._unknown[key], self._since[key]
        self._settled()

    def _write(self, changes: list[Change]) -> None:
        self._writer.store.write(changes, self._writer.runner, release=True)
