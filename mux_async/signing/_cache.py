"""Tokens that are good for a while yet, so that a page shown a thousand times costs one signature and keeps its addresses.

Addresses that stay the same are also what lets browsers and CDNs keep pictures.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, NamedTuple

from mux_async._checks import check_number, check_whole


class _Entry(NamedTuple):
    token: str
    refresh_at: float


class TokenCache:
    """Keeps tokens until a part of their life is over; the one least recently asked for makes room.

    For a `mux_async.signing.Signer`, or several: entries are told apart by key. It belongs to one event loop.

    Args:
        size: Tokens kept at most. One takes about a kilobyte.
        fresh: Share of its life, from 0 to below 1, that a token must have left to be handed out again. With the default of a half, a
            token of 7 days is made anew after 3.5.

    Raises:
        ConfigurationError: A value makes no sense.
    """

    def __init__(self, *, size: int = 10_000, fresh: float = 0.5) -> None:
        check_whole("size", size, 1, "it must be 1 or more tokens, and whole")
        check_number("fresh", fresh, "it must be a share of the life of a token, from 0 to below 1", least=0, below=1)
        self._size: Final = size
        self._fresh: Final = fresh
        self._entries: Final = OrderedDict[Hashable, _Entry]()

    def get(self, key: Hashable, now: float) -> str | None:
        """Return the token kept for *key*, if it is fresh at *now* (Unix seconds)."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now >= entry.refresh_at:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry.token

    def put(self, key: Hashable, token: str, issued: float, expires: float) -> None:
        """Keep *token*, made at *issued* and good until *expires* (Unix seconds)."""
        self._entries[key] = _Entry(token, expires - self._fresh * (expires - issued))
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget every token: after a key or a restriction was deleted, for example."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return (
            f"<TokenCache {len(getattr(self, '_entries', ()))} of {getattr(self, '_size', 0)}>"  # a constructor may have failed
        )
