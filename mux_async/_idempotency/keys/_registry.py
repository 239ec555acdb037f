"""The idempotency keys of one client: those of this process always, and those of a shared store if its limits have one.

Both are used, so that what this process knows remains when the store does not answer. The keys of this process are process-wide state, as
the registry of limits is, and for the same reason: two clients of one token are one account to Mux, and a program that makes a client for
each request must not forget its keys between them. Their number is bounded (`_memory.CAPACITY`). A transport object that the caller passes
in counts as a server of its own: its keys live as long as it does.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from hashlib import sha256
from typing import ClassVar

import attrs

from mux_async._idempotency.keys._memory import MemoryKeyStore
from mux_async._idempotency.keys._records import LEASE, KeyCommand, KeyReply, KeyStore, KeyStoreLostError
from mux_async._store_url import RedisAddress, parse_store_url
from mux_async._types import Secret

logger = logging.getLogger(__name__)

_LOST = "the shared store of idempotency keys does not answer (%s): other processes may use the same key"

MEMORY_LEASE = 3600.0
"""Seconds that a caller in this process holds a key without renewing it. A caller that ends always releases it; this is for event loops
that were stopped before that."""


@attrs.frozen
class KeyClaim(KeyReply):
    """The result of a claim, and what is known of the key."""

    is_store_lost: bool = False
    """Whether the shared store did not answer, so that other processes may use the key."""


class KeyRegistry:
    """Keeps the keys of a client, whose *scope* is server, account and token: in this process, and in a store that several share."""

    _global: ClassVar[MemoryKeyStore] = MemoryKeyStore()
    _by_transport: ClassVar[dict[int, tuple[weakref.ref[object], MemoryKeyStore]]] = {}

    def __init__(self, scope: str, local: MemoryKeyStore, shared: KeyStore | None = None) -> None:
        self._scope = scope
        self._local = local
        self._shared = shared

    @classmethod
    def of(cls, scope: str, url: Secret | None, transport: object | None, clock: Callable[[], float]) -> KeyRegistry:
        """Return the registry of a client.

        Args:
            scope: Names whose keys they are.
            url: Of the shared limits; ``None`` when they are this process's own.
            transport: The caller's own transport, or what makes one; ``None`` for one that was chosen by name.
            clock: Monotonic seconds.
        """
        local = cls._global if transport is None else cls._local_of(transport, clock)
        return cls(scope, local, None if url is None else open_key_store(url))

    @classmethod
    def _local_of(cls, transport: object, clock: Callable[[], float]) -> MemoryKeyStore:
        known = cls._by_transport.get(id(transport))
        if known is not None and known[0]() is transport:
            return known[1]
        made = MemoryKeyStore(clock=clock)
        number, registry = id(transport), cls._by_transport
        try:
            reference = weakref.ref(transport, lambda _: registry.pop(number, None))
        except TypeError:
            return made  # it cannot be distinguished from a later object at the same address
        registry[number] = (reference, made)
        return made

    @property
    def is_shared(self) -> bool:
        """Whether other processes use these keys too, so that holding one has to be renewed."""
        return self._shared is not None

    def name(self, *parts: str) -> str:
        """Return the name under which a key is kept: a digest, because keys may hold what only the program should know."""
        return sha256("\0".join([self._scope, *parts]).encode()).hexdigest()

    async def claim(self, name: str, token: str) -> KeyClaim:
        """Try to become the holder of a key."""
        local = self._local.perform_now(name, KeyCommand("claim", token, MEMORY_LEASE))
        if not local.is_mine or self._shared is None:
            return _held(local)
        try:
            reply = await self._ask(self._shared, name, KeyCommand("claim", token, LEASE))
        except KeyStoreLostError as error:
            logger.warning(_LOST, error, extra={"mux_store": type(self._shared).__name__})
            return _held(local, is_store_lost=True)
        except BaseException:
            self._local.perform_now(name, KeyCommand("unknown", token))
            raise
        if not reply.is_mine:
            self._local.perform_now(name, KeyCommand("unknown", token))
        return _held(reply, local)

    async def announce(self, name: str, token: str) -> bool:
        """Record that an attempt follows. Returns whether the key is still held."""
        if not self._local.perform_now(name, KeyCommand("announce", token, MEMORY_LEASE)).is_mine:
            return False
        return await self._keep(name, KeyCommand("announce", token, LEASE))

    async def renew(self, name: str, token: str) -> bool:
        """Renew the lease of a key. Returns whether it is still held."""
        return await self._keep(name, KeyCommand("renew", token, LEASE))

    async def finish(self, name: str, command: KeyCommand) -> None:
        """Release a key, and record the outcome of its attempts."""
        self._local.perform_now(name, command)
        await self._keep(name, command)

    async def aclose(self) -> None:
        """Close what the running event loop has open."""
        if self._shared is not None:
            await self._shared.aclose()

    async def _keep(self, name: str, command: KeyCommand) -> bool:
        if self._shared is None:
            return True
        try:
            return (await self._ask(self._shared, name, command)).is_mine
        except KeyStoreLostError as error:
            logger.warning(_LOST, error, extra={"mux_store": type(self._shared).__name__})
            return True

    async def _ask(self, store: KeyStore, name: str, command: KeyCommand) -> KeyReply:
        try:
            return await store.perform(name, command)
        except KeyStoreLostError:
            # Once more: a connection that was idle for long breaks when it is used, and a holder may repeat every command.
            return await store.perform(name, command)


def _held(reply: KeyReply, local: KeyReply | None = None, *, is_store_lost: bool = False) -> KeyClaim:
    """Combine both replies: the last attempt of either, and the first of either."""
    used = [each for each in (reply, local) if each is not None and each.last_age is not None]
    newest = min(used, key=lambda each: each.last_age or 0.0, default=reply)
    return KeyClaim(
        reply.is_mine,
        max((each.first_age for each in used if each.first_age is not None), default=None),
        newest.last_age,
        newest.is_acted,
        newest.made_id,
        is_store_lost,
    )


def open_key_store(url: Secret) -> KeyStore | None:
    """Return the store for the URL of shared limits; ``None`` for this process. Nothing is opened yet."""
    address = parse_store_url(url, "the limits'")
    if address is None:
        return None
    if isinstance(address, RedisAddress):
        from mux_async._idempotency.keys._redis import TIMEOUT, RedisKeyStore
        from mux_async._redis import connect_to

        return RedisKeyStore(connect_to(address.url, TIMEOUT, "idempotency keys in Redis"))
    from mux_async._idempotency.keys._sqlite import SqliteKeyStore

    return SqliteKeyStore(address)
