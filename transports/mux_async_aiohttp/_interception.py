"""Whether a tool replaces methods of aiohttp's session: a mock, a recorder such as VCR.py, instrumentation.

Such a tool replaces the method of `aiohttp.ClientSession` that its user would call. A test that uses one must not reach the network. So
while a method is replaced, requests go through the session, by that method.
"""

from __future__ import annotations

import inspect
from operator import attrgetter
from typing import Any, Final

import aiohttp
import aiohttp.client

_VERBS: Final = ("delete", "get", "head", "options", "patch", "post", "put")
_NAMES: Final = ("_request", "request", "__aenter__", *_VERBS)

sending_methods: Final = attrgetter(*_NAMES)
"""Returns the methods of a session class that a tool may replace, in one call, because every request needs them."""


def _find_genuine() -> dict[str, object]:
    """Return the methods that are aiohttp's own: this module may be imported while some are replaced."""
    found: dict[str, object] = {}
    for name in _NAMES:
        method = getattr(aiohttp.ClientSession, name, None)
        code = getattr(method, "__code__", None)
        if code is not None and code.co_filename == aiohttp.client.__file__:
            found[name] = method
    return found


_GENUINE: Final = _find_genuine()
GENUINE: Final = tuple(map(_GENUINE.get, _NAMES))
"""What `sending_methods` returns while nothing is replaced."""


def is_genuine(session: aiohttp.ClientSession) -> bool:
    """Whether *session* performs requests by aiohttp's own code."""
    if not getattr(session, "__dict__", {}).keys().isdisjoint(_NAMES):
        return False
    try:
        return bool(sending_methods(type(session)) == GENUINE)
    except AttributeError:  # something else in the place of the class
        return False


def _is_replaced(session: aiohttp.ClientSession, name: str) -> bool:
    found = getattr(type(session), name, None)
    return (found is not None and found is not _GENUINE.get(name)) or name in getattr(session, "__dict__", ())


def _is_entering_replaced(session: aiohttp.ClientSession) -> bool:
    # In aiohttp's own class: what a subclass does when it is entered, its owner has seen to.
    entering = getattr(aiohttp.ClientSession, "__aenter__", None)
    return entering is not _GENUINE.get("__aenter__") and getattr(type(session), "__aenter__", None) is entering


async def perform(session: aiohttp.ClientSession, method: str, url: object, **options: Any) -> aiohttp.ClientResponse:
    """Have *session* perform a request, by the method that is replaced where one is."""
    target: Any = await session.__aenter__() if _is_entering_replaced(session) else session
    verb = method.lower()
    if verb in _VERBS and _is_replaced(session, verb):
        pending = getattr(target, verb)(url, **options)
    else:
        pending = target.request(method, url, **options)
    # A mock of a method that is no coroutine function can only be entered.
    response: aiohttp.ClientResponse = await (pending if inspect.isawaitable(pending) else pending.__aenter__())
    return response
