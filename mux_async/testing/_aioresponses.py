"""aioresponses on the aiohttp of today.

aioresponses 0.7.9 builds `aiohttp.ClientResponse` objects by hand and does not give them the ``stream_writer`` that aiohttp asks for since
3.14. Every answer that it is told can name a class to build instead, and that is all the shim does: it names one that knows what
to do without. When a release of aioresponses passes ``stream_writer`` itself, its own class will do, and this module can go.
"""

from __future__ import annotations

import functools
import inspect
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import aiohttp
    from aioresponses import aioresponses


def patched_aioresponses(**options: Any) -> aioresponses:
    """Return an `aioresponses.aioresponses` that works on aiohttp 3.14 as on those before it.

    For tests of programs that use `mux_async` on its default transport::

        async def test_title():
            with patched_aioresponses() as mocked:
                mocked.get(
                    "https://api.mux.com/video/v1/assets/a1",
                    payload={"data": {"id": "a1", "status": "ready", "passthrough": "film"}},
                    headers={"X-Request-Id": "r1"},
                )
                async with Mux(token_id="id", token_secret="secret") as mux:
                    asset = await mux.video.assets.retrieve("a1")
            assert asset.passthrough == "film"

    What was sent is in ``mocked.requests``; streamed bodies are there as bytes. An address that nothing was said about counts as a lost
    connection, which the client may try again: give expected failures as ``exception=`` and keep ``max_attempts`` low.

    Args:
        options: Of `aioresponses.aioresponses`: ``param``, ``passthrough``, ``passthrough_unmatched``.

    Raises:
        ImportError: aioresponses is not installed.
    """
    return _mock_class()(**options)


@functools.cache
def _mock_class() -> type[aioresponses]:
    try:
        from aioresponses import CallbackResult
        from aioresponses import aioresponses as original
    except ImportError:
        raise ImportError("patched_aioresponses needs aioresponses: pip install aioresponses") from None
    response_class = _response_class()

    def with_class(callback: Any) -> Any:
        def finish(result: Any) -> Any:
            if isinstance(result, CallbackResult) and result.response_class is None:
                result.response_class = response_class
            return result

        @functools.wraps(callback)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            result = callback(*args, **kwargs)
            return finish(await result if inspect.isawaitable(result) else result)

        return awaited

    class PatchedAioresponses(original):
        """As `aioresponses.aioresponses`, with answers that today's aiohttp accepts."""

        def add(self, url: Any, method: str = "GET", *args: Any, **kwargs: Any) -> None:
            kwargs.setdefault("response_class", response_class)
            if kwargs.get("callback") is not None:
                kwargs["callback"] = with_class(kwargs["callback"])
            super().add(url, method, *args, **kwargs)  # pyright: ignore[reportUnknownMemberType] - half typed

    return PatchedAioresponses


def _response_class() -> type[aiohttp.ClientResponse]:
    import aiohttp
    from multidict import CIMultiDict, CIMultiDictProxy

    takes_writer = "stream_writer" in inspect.signature(aiohttp.ClientResponse.__init__).parameters

    class ScriptedResponse(aiohttp.ClientResponse):
        """A response that was never on a wire."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            if takes_writer:
                kwargs.setdefault("stream_writer", SimpleNamespace(output_size=0))
            super().__init__(*args, **kwargs)

        @property
        def headers(self) -> CIMultiDictProxy[str]:  # pyright: ignore[reportIncompatibleVariableOverride] - a cached property there
            """The headers, read-only, as real ones are; aioresponses sets a plain multidict."""
            return CIMultiDictProxy(CIMultiDict(self._headers))

    return ScriptedResponse
