"""The keys of one client: those of this process always, and those of the shared store where its limits have one.

Both are asked, so that a store that does not answer leaves what this process knows. What this process knows is the second piece of
process-wide state beside the registry of limits, and for the same reason: two clients of one token are one account to Mux, and a program
that makes a client for each request must not forget between them. It is bounded (`_memory.CAPACITY`). A transport object of the caller's
own stands for a server of its own: its keys live as long as it does.
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

MEMORY_LEASE = 3600.0
"""Seconds that a caller in this process holds a key without a word. A caller that ends always lets go; this is for event loops that
were stopped in the middle of it."""


@attrs.frozen
class Held:
    """What came of trying to hold a key, and what is known of it; see `KeyReply`.

    Attributes:
        is_mine: Whether the caller holds it.
        first_age: Seconds since the first attempt; ``None`` when it was not used.
        last_age: Seconds since the last one.
        is_acted: Whether Mux is known to have made something.
        made_id: Id of what was made.
        is_store_lost: Whether the shared store did not answer, so that other processes may use the key.
    """

    is_mine: bool
    first_age: float | None = None
    last_age: float | None = None
    is_acted: bool = False
    made_id: str | None = None
    is_store_lost: bool = False


class KeyRegistry:
    """Keeps the keys of a client.

    Args:
        scope: Names whose keys they are: server, account, token.
        local: Those of this process.
        shared: Those of several; ``None`` when there is no such store.
    """

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

        Raises:
            ConfigurationError: The URL names no store.
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
            return made  # it cannot be told from another at the same place in memory
        registry[number] = (reference, made)
        return made

    @property
    def is_shared(self) -> bool:
        """Whether other processes use these keys too, so that holding one has to be renewed."""
        return self._shared is not None

    def name(self, *parts: str) -> str:
        """Return the name under which a key is kept: a digest, for keys are the program's own affair."""
        return sha256("\0".join([self._scope, *parts]).encode()).hexdigest()

    async def claim(self, name: str, token: str) -> Held:
        """Try to hold a key."""
        local = self._local.perform_now(name, KeyCommand("claim", token, MEMORY_LEASE))
        if not local.is_mine or self._shared is None:
            return _held(local)
        try:
            reply = await self._ask(self._shared, name, KeyCommand("claim", token, LEASE))
        except KeyStoreLostError as error:
            logger.warning("the shared store of once keys does not answer (%s): what other processes do is not known", error)
            return _held(local, is_store_lost=True)
        except BaseException:
            self._local.perform_now(name, KeyCommand("unknown", token))
            raise
        if not reply.is_mine:
            self._local.perform_now(name, KeyCommand("unknown", token))
        return _held(reply, local)

    async def announce(self, name: str, token: str) -> bool:
        """Say that an attempt follows. Returns whether the key is still held."""
        if not self._local.perform_now(name, KeyCommand("announce", token, MEMORY_LEASE)).is_mine:
            return False
        return await self._keep(name, KeyCommand("announce", token, LEASE))

    async def renew(self, name: str, token: str) -> bool:
        """Go on holding a key. Returns whether it is still held."""
        return await self._keep(name, KeyCommand("renew", token, LEASE))

    async def finish(self, name: str, command: KeyCommand) -> None:
        """Let go of a key, and say what became of it."""
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
            logger.warning("the shared store of once keys does not answer (%s): what other processes do is not known", error)
            return True

    async def _ask(self, store: KeyStore, name: str, command: KeyCommand) -> KeyReply:
        try:
            return await store.perform(name, command)
        except KeyStoreLostError:
            # Once more: a connection that was idle for long breaks when it is used, and every command may be repeated by its holder.
            return await store.perform(name, command)


def _held(reply: KeyReply, local: KeyReply | None = None, *, is_store_lost: bool = False) -> Held:
    """Return what both replies say together: what was done last, and the longest time back."""
    used = [each for each in (reply, local) if each is not None and each.last_age is not None]
    newest = min(used, key=lambda each: each.last_age or 0.0, default=reply)
    return Held(
        reply.is_mine,
        max((each.first_age for each in used if each.first_age is not None), default=None),
        newest.last_age,
        newest.is_acted,
        newest.made_id,
        is_store_lost,
    )


def open_key_store(url: Secret) -> KeyStore | None:
    """Return the store that the URL of shared limits names; ``None`` for this process. Nothing is opened yet.

    Raises:
        ConfigurationError: It names none.
    """
    address = parse_store_url(url, "the limits'")
    if address is None:
        return None
    if isinstance(address, RedisAddress):
        from mux_async._idempotency.keys._redis import TIMEOUT, RedisKeyStore
        from mux_async._redis import connect_to

        return RedisKeyStore(connect_to(address.url, TIMEOUT, "idempotency keys in Redis"))
    from mux_async._idempotency.keys._sqlite import SqliteKeyStore

    return SqliteKeyStore(address)
