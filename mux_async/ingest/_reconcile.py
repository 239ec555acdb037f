"""Looks up creates with an unknown outcome: one listing of the newest assets serves all of them.

A run that ends between sending a create and storing its response leaves an item ``creating``; so does a lost response. The create has the
item's key in ``meta.external_id``, so the asset can be recognised. One listing serves any number of items. The rules are those of
`mux_async._idempotency.search`:

1. Assets are listed newest first; the listing ends at assets that are older than the oldest create in question.
2. Times are by the server's clock, which is read at the beginning of the run; the stored intent has its time by that clock.
3. A create is taken as not done only `SETTLE_TIME` seconds after it was sent: the server may still be processing it.

An upload without bytes never becomes an asset, so uploads are looked up only to save a create: on a few pages, once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import attrs

from mux_async._journal_errors import JournalError
from mux_async._models.times import parse_http_date
from mux_async.errors import APIStatusError, AuthenticationError, MuxError, PermissionDeniedError
from mux_async.ingest._journal_store import Change
from mux_async.ingest._journal_writer import JournalWriter
from mux_async.ingest.machine import AssetCreated, ItemEvent, ItemState, NothingCreated, UploadCreated, advance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mux_async._client import Mux

logger = logging.getLogger(__name__)

SETTLE_TIME: Final = 10.0
"""Seconds after which a create that is not listed did not happen."""
CLOCK_SLACK: Final = 10.0
"""Seconds that an asset may seem older than its create: times are whole seconds, and the clocks of servers differ."""
LOCAL_CLOCK_SLACK: Final = 300.0
"""The same if the server sends no ``Date``, so that this machine's clock is used."""
PAGE: Final = 100
MAX_UPLOAD_PAGES: Final = 5
"""Pages of uploads that are read; they have no creation time (facts/BEHAVIOUR.md, section 5.1)."""
RETRY: Final = 10.0
"""Seconds to wait after a failed listing."""


@attrs.frozen
class ServerClock:
    """An estimate of the server's time."""

    offset: float
    """The server's time, in seconds since 1970, at 0 of the event loop's clock."""
    slack: float
    """Seconds by which it may be wrong."""

    @classmethod
    def read(cls, headers: Mapping[str, str], epoch: Callable[[], float]) -> ServerClock:
        """Return it from the headers of a response that has just arrived."""
        date = parse_http_date(headers.get("Date"))
        if date is not None:
            return cls(date - anyio.current_time(), CLOCK_SLACK)
        return cls(epoch() - anyio.current_time(), LOCAL_CLOCK_SLACK)

    def now(self) -> float:
        """Return seconds since 1970."""
        return self.offset + anyio.current_time()


async def check_account(client: Mux, writer: JournalWriter, epoch: Callable[[], float]) -> ServerClock:
    """Call ``whoami``: check the credentials and that the journal belongs to their environment, and read the server's clock."""
    try:
        answer = await client.system.utilities.with_raw_response.whoami()
    except (AuthenticationError, PermissionDeniedError):
        raise
    except APIStatusError as error:
        if error.status >= 500 or error.status == 429:
            raise
        return ServerClock.read(error.headers, epoch)  # a server of one's own without this operation
    clock = ServerClock.read(answer.headers, epoch)
    environment: object = getattr(answer.value, "environment_id", None)
    if isinstance(environment, str):
        noted = await writer.call(lambda: writer.store.set_note("environment", environment, keep=True))
        if noted != environment:
            raise JournalError(
                f"the journal {writer.store.name!r} belongs to the environment {noted!r}, and these credentials are for "
                f"{environment!r}: use those of the first run, or another journal"
            )
    return clock


@attrs.frozen
class UnknownCreate:
    """A create with an unknown outcome."""

    state: ItemState
    sent_by: float
    """The server's time at which it had been sent, in seconds since 1970."""

    @classmethod
    def of(cls, state: ItemState, clock: ServerClock) -> UnknownCreate:
        """Return the create of an item that is ``creating``, and of which no attempt can follow.

        The last attempt was sent before now; it may have been long after the intent, whose time is stored.
        """
        return cls(state, clock.now())

    def horizon(self, clock: ServerClock) -> float:
        """Return the server's time before which its asset cannot have been created."""
        at = self.state.intended_at
        return 0.0 if at is None or at > clock.now() + clock.slack else at - clock.slack


async def reconcile(client: Mux, clock: ServerClock, creates: Mapping[str, UnknownCreate]) -> dict[str, ItemEvent]:
    """Look up creates, by item key.

    Returns:
        What became of them. Creates that are not listed and too young to conclude anything are left out.

    Raises:
        MuxError: Something cannot be listed.
    """
    uploads = {key for key, create in creates.items() if not create.state.is_fetched}
    assets = {key: create for key, create in creates.items() if create.state.is_fetched}
    found: dict[str, ItemEvent] = {}
    if uploads:
        found = dict.fromkeys(uploads, NothingCreated()) | await _find_uploads(client, uploads)
    if assets:
        began = clock.now()
        found |= await _find_assets(client, clock, assets)
        settled = [key for key, create in assets.items() if create.sent_by + SETTLE_TIME <= began and key not in found]
        found |= dict.fromkeys(settled, NothingCreated())
    return found


async def _find_uploads(client: Mux, wanted: Collection[str]) -> dict[str, ItemEvent]:
    found: dict[str, ItemEvent] = {}
    for number in range(1, MAX_UPLOAD_PAGES + 1):
        if len(found) == len(wanted):
            break
        page = (await client.video.uploads.list(page=number, limit=PAGE)).data
        for upload in page:
            settings = upload.new_asset_settings
            key = settings.meta.external_id if settings is not None and settings.meta is not None else None
            if key is not None and key in wanted and upload.status == "waiting":
                found.setdefault(key, UploadCreated(upload.id))
        if len(page) < PAGE:
            break
    return found


async def _find_assets(client: Mux, clock: ServerClock, wanted: Mapping[str, UnknownCreate]) -> dict[str, ItemEvent]:
    """Return the newest asset of each item; pages are read up to the oldest create in question."""
    horizons = {key: create.horizon(clock) for key, create in wanted.items()}
    oldest = min(horizons.values())
    found: dict[str, ItemEvent] = {}
    async with aclosing(client.video.assets.list(limit=PAGE).pages()) as pages:
        async for page in pages:
            for asset in page.data:
                made_at = asset.created_at.timestamp()
                if made_at < oldest:
                    return found
                key = asset.meta.external_id if asset.meta is not None else None
                if key is not None and key in wanted and made_at >= horizons[key] and asset.id not in wanted[key].state.former:
                    found.setdefault(key, AssetCreated(asset.id))
            if len(found) == len(wanted):
                break
    return found


@attrs.define(eq=False)
class Reconciler:
    """Looks up the creates of all items of a run together."""

    _client: Mux
    _writer: JournalWriter
    _clock: ServerClock
    _settled: Callable[[], object]
    """Called when items have a new state and are free."""
    _unknown: dict[str, UnknownCreate] = attrs.field(init=False, factory=dict[str, UnknownCreate])
    _wake_up: anyio.Event = attrs.field(init=False, factory=anyio.Event)

    def add(self, *states: ItemState) -> None:
        """Look up items that are ``creating`` and claimed by this run; they are released afterwards."""
        for state in states:
            self._unknown[state.key] = UnknownCreate.of(state, self._clock)
        self._wake_up.set()

    async def run(self) -> None:
        """Look up added items until cancelled."""
        while True:
            await self._wake_up.wait()
            self._wake_up = anyio.Event()
            while self._unknown:
                try:
                    await self._settle(await reconcile(self._client, self._clock, dict(self._unknown)))
                except MuxError as error:
                    count = len(self._unknown)
                    extra = {"mux_items": count, "mux_delay": RETRY}
                    logger.info("looking up %d creates failed (%s); trying again in %g s", count, error, RETRY, extra=extra)
                    await anyio.sleep(RETRY)
                else:
                    await self._sleep_until_settled()

    async def _sleep_until_settled(self) -> None:
        fetched = [create.sent_by for create in self._unknown.values() if create.state.is_fetched]
        if fetched:
            await anyio.sleep(max(max(fetched) + SETTLE_TIME - self._clock.now(), 0.5))

    async def _settle(self, events: Mapping[str, ItemEvent]) -> None:
        if not events:
            return
        changes = [Change(advance(self._unknown[key].state, event)) for key, event in events.items()]
        await self._writer.call(partial(self._writer.store.write, changes, self._writer.runner, release=True))
        for key in events:
            del self._unknown[key]
        self._settled()
