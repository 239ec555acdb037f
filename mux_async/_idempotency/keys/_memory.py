"""Records in this process, shared by its threads and bounded in number."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from mux_async._idempotency.keys._records import KeyCommand, KeyRecord, KeyReply, perform

CAPACITY: Final = 10_000
"""Keys; the least recently used are forgotten first. They take some 4 MB."""


class MemoryKeyStore:
    """Keeps records in this process: *capacity* of them, not counting keys that are held."""

    def __init__(self, capacity: int = CAPACITY, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._clock = clock
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._records: OrderedDict[str, KeyRecord] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    async def perform(self, key: str, command: KeyCommand) -> KeyReply:
        """See `KeyStore.perform`. Never suspends."""
        return self.perform_now(key, command)

    def perform_now(self, key: str, command: KeyCommand) -> KeyReply:
        """Perform *command*."""
        if self._process != os.getpid():
            self._forget_holders()
        with self._lock:
            record, reply = perform(self._records.get(key), command, self._clock())
            if record is None:
                self._records.pop(key, None)
            else:
                self._records[key] = record
                self._records.move_to_end(key)
                self._evict()
            return reply

    async def aclose(self) -> None:
        """Do nothing: nothing is open."""

    def _evict(self) -> None:
        excess = len(self._records) - self._capacity
        if excess > 0:
            free = (key for key, record in self._records.items() if not record.holder)
            for key in [key for key, _ in zip(free, range(excess), strict=False)]:
                del self._records[key]

    def _forget_holders(self) -> None:
        """Release all keys, after a fork: the callers of the parent are not in this process, and a thread may have held the lock."""
        self._process, self._lock = os.getpid(), threading.Lock()
        for key, record in list(self._records.items()):
            if record.holder:
                freed, _ = perform(record, KeyCommand("unknown", record.holder), self._clock())
                if freed is None:
                    del self._records[key]
                else:
                    self._records[key] = freed
