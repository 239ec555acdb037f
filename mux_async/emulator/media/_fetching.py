"""Downloads an input URL, as Mux does. Blocking: it runs in the worker process."""

from __future__ import annotations

from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    Request,
)

_PATIENCE = 10.0
"""Seconds that a server may be silent."""
_PIECE = 1024 * 1024


class FetchError(Exception):
    """A URL that could not be downloaded. *status* is that of the answer; ``None`` when there was no usable one."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def fetch(url: str, path: str, most: int) -> None:
    """Download an http or https URL into a file; redirects to other schemes are not followed.

    Raises `FetchError`: there is no response, or it is not successful, incomplete, or larger than *most* bytes.
    """
    opener = OpenerDirector()  # and not the usual one: it reads proxies from the environment, and opens files
    for handler in (HTTPHandler(), HTTPSHandler(), HTTPRedirectHandler(), HTTPErrorProcessor(), HTTPDefaultErrorHandler()):
        opener.add_handler(handler)
    request = Request(url, headers={"User-Agent": "mux-async emulator"})  # noqa: S310 - the opener knows http and https alone
    try:
        answer = opener.open(request, timeout=_PATIENCE)
        if answer is None:
            raise FetchError("the URL is neither http nor https")
        with answer, Path(path).open("wb") as stored:
            expected = answer.headers.get("Content-Length")
            size = 0
            while piece := answer.read(_PIECE):
                size += len(piece)
                if size > most:
                    raise FetchError(f"it is larger than {most} bytes", 413)
                stored.write(piece)
    except HTTPError as error:
        with error:
            raise FetchError(f"it was answered {error.code}", error.code) from error
    except (HTTPException, OSError, ValueError) as error:
        raise FetchError(str(error) or type(error).__name__) from error
    if expected is not None and expected.isdigit() and size < int(expected):
        raise FetchError(f"it broke off after {size} of {expected} bytes")
