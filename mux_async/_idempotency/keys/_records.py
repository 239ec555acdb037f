"""The record of an idempotency key, and the commands that change it.

Pure: the time is an argument, and a store (this process, a SQLite file, Redis) keeps the result. The rules:

1. Of any number of callers one *holds* a key at a time, for the length of a lease. A holder that died blocks it no longer than that.
2. A holder announces each attempt before it is sent. It cannot if its lease was taken over: its token is the fence.
3. A key counts as *used* from the first announced attempt on. It is forgotten when an attempt is known to have created nothing.
4. The times of announced attempts stay when a holder dies, so that the next holder knows from when on to search, and how long ago it was.
"""

from __future__ import annotations

from typing import Final, Literal, Protocol, TypeAlias

import attrs

LEASE: Final = 15.0
"""Seconds without a command after which others may take a key from its holder in a shared store."""
KEEP: Final = 24 * 3600.0
"""Seconds after the last command for which a key is remembered."""

Verb: TypeAlias = Literal["claim", "renew", "announce", "made", "nothing", "unknown"]


class KeyStoreLostError(Exception):
    """A shared store gives no usable answer. Never leaves the engine."""


@attrs.frozen
class KeyRecord:
    """What is known of a key.

    Attributes:
        holder: Token of the caller that holds it; empty when there is none.
        until: When its lease ends.
        first_at: When the first attempt was announced; ``None`` when none was.
        last_at: When the last one was.
        is_acted: Whether Mux is known to have created something whose id is not known.
        made_id: Id of what was created; ``None`` while that is not known.
        expires_at: When the record can be forgotten.
    """

    holder: str = ""
    until: float = 0.0
    first_at: float | None = None
    last_at: float | None = None
    is_acted: bool = False
    made_id: str | None = None
    expires_at: float = 0.0


@attrs.frozen
class KeyCommand:
    """What to do with a key.

    Attributes:
        verb: ``claim``: become the holder. ``renew``: stay the holder. ``announce``: the same, and record that an attempt follows.
            ``made``, ``nothing``, ``unknown``: release the key, with the outcome of the attempts (``unknown`` without an attempt
            changes nothing).
        token: The caller's own.
        lease: Seconds.
        made_id: With ``made``.
        is_acted: With ``unknown``: whether Mux is known to have created something.
    """

    verb: Verb
    token: str
    lease: float = LEASE
    made_id: str | None = None
    is_acted: bool = False


@attrs.frozen
class KeyReply:
    """The result of a command, and what was known of the key before it. See `KeyRecord` for the rest.

    Attributes:
        is_mine: Whether the caller holds the key now, or did when it released it.
        first_age: Seconds since the first announced attempt; ``None`` when there was none, or its result must not be searched for.
        last_age: The same for the last one.
    """

    is_mine: bool
    first_age: float | None = None
    last_age: float | None = None
    is_acted: bool = False
    made_id: str | None = None


def perform(record: KeyRecord | None, command: KeyCommand, now: float) -> tuple[KeyRecord | None, KeyReply]:
    """Perform *command* on the *record* of a key, ``None`` for an unknown one, at *now*, seconds by the store's clock.

    Returns the record afterwards, ``None`` to forget the key, and the reply.
    """
    if record is None or record.expires_at <= now:
        record = KeyRecord()
    is_free = not record.holder or record.until <= now
    is_mine = record.holder == command.token or (command.verb == "claim" and is_free)
    reply = KeyReply(
        is_mine,
        None if record.first_at is None else max(0.0, now - record.first_at),
        None if record.last_at is None else max(0.0, now - record.last_at),
        record.is_acted,
        record.made_id,
    )
    if not is_mine:
        return (record if record.holder or record.first_at is not None else None), reply
    held = attrs.evolve(record, holder=command.token, until=now + command.lease, expires_at=now + KEEP)
    match command.verb:
        case "claim" | "renew":
            return held, reply
        case "announce":
            first_at = now if record.first_at is None else record.first_at
            return attrs.evolve(held, first_at=first_at, last_at=now, is_acted=False, made_id=None), reply
        case "made":
            first_at = now if record.first_at is None else record.first_at
            last_at = now if record.last_at is None else record.last_at
            made = attrs.evolve(held, holder="", first_at=first_at, last_at=last_at, made_id=command.made_id)
            return attrs.evolve(made, is_acted=command.made_id is None), reply
        case "nothing":
            return None, reply
        case "unknown":
            freed = attrs.evolve(held, holder="", is_acted=record.is_acted or command.is_acted)
            return (freed if record.first_at is not None else None), reply


class KeyStore(Protocol):
    """Keeps records."""

    async def perform(self, key: str, command: KeyCommand) -> KeyReply:
        """Perform *command* on *key*, as one uncancelled step. After a `KeyStoreLostError` it may have been carried out."""
        ...

    async def aclose(self) -> None:
        """Close what the running event loop has open. The next command opens it again."""
        ...
