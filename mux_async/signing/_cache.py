"""A cache of signed tokens: a page that is served a thousand times costs one signature and keeps its URLs.

URLs that stay the same also let browsers and CDNs cache images.
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
    """An LRU cache that keeps tokens until a part of their lifetime is over.

    For one `mux_async.signing.Signer` or several: entries of different signing keys do not collide. It belongs to one event loop.

    Args:
        size: Maximum number of tokens. A token takes about a kilobyte.
        fresh: Share of its lifetime, from 0 to below 1, that a token must have left to be returned again. With the default of one half, a
            token of 7 days is signed anew after 3.5 days.

    Raises:
        ConfigurationError: A value is out of range.
    """

    def __init__(self, *, size: int = 10_000, fresh: float = 0.5) -> None:
        check_whole("size", size, 1, "it must be 1 or more tokens, and whole")
        check_number("fresh", fresh, "it must be a share of the lifetime of a token, from 0 to below 1", least=0, below=1)
        self._size: Final = size
        self._fresh: Final = fresh
        self._entries: Final = OrderedDict[Hashable, _Entry]()

    def get(self, key: Hashable, now: float) -> str | None:
        """Return the token cached for *key* if it is fresh at *now* (Unix seconds)."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now >= entry.refresh_at:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry.token

    def put(self, key: Hashable, token: str, issued: float, expires: float) -> None:
        """Cache *token*, which was signed at *issued* and is valid until *expires* (Unix seconds)."""
        self._entries[key] = _Entry(token, expires - self._fresh * (expires - issued))
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Remove every token: after a key or a restriction was deleted, for example."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        # Works even if the constructor failed.
        return f"<TokenCache {len(getattr(self, '_entries', ()))} of {getattr(self, '_size', 0)}>"
