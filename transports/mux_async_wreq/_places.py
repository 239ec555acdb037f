"""How many exchanges may be under way at once: wreq opens as many connections as it is asked for."""

from __future__ import annotations

import asyncio
from collections import deque


class Places:
    """A number of places, taken at once where one is free and else in order of arrival."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._waiting: deque[asyncio.Future[None]] = deque()

    def take_nowait(self) -> bool:
        """Take a place that is free; false where there is none. Those who wait have been handed theirs, so nobody is passed."""
        if self._free:
            self._free -= 1
            return True
        return False

    async def take(self, limit: float | None) -> None:
        """Wait for a place.

        Raises:
            TimeoutError: None became free within *limit* seconds.
        """
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(limit):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.give_back()  # it came at the same moment
            else:
                self._waiting.remove(turn)
            raise

    def give_back(self) -> None:
        """Hand the place to whoever waits longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
