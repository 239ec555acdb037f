"""Requests, responses and error responses: plain values, the same for every frontend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote

import attrs
import orjson
from multidict import CIMultiDict, CIMultiDictProxy

_NO_HEADERS: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())


def header_map(pairs: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> CIMultiDictProxy[str]:
    """Return *pairs* as a case-insensitive, read-only mapping; repeated names are kept."""
    return CIMultiDictProxy(CIMultiDict(pairs))


@attrs.frozen(repr=False, eq=False, slots=False)  # cached properties need a __dict__
class Request:
    """One request.

    Attributes:
        method: HTTP verb in capitals.
        target: Path and query as they were sent, percent-encoded: ``/video/v1/assets?limit=2``.
        headers: Case-insensitive.
        body: The whole body, for `Emulator.handle`; frontends that stream leave it empty and feed an `Exchange` instead.
        origin: Scheme and host the client spoke to, without a trailing slash; upload URLs begin with it.
    """

    method: str
    target: str
    headers: CIMultiDictProxy[str] = attrs.field(default=_NO_HEADERS, converter=header_map)
    body: bytes = b""
    origin: str = "http://emulator.test"

    @cached_property
    def raw_path(self) -> str:
        """The path, still percent-encoded, without the query."""
        return self.target.partition("?")[0]

    @cached_property
    def segments(self) -> tuple[str, ...]:
        """The path's parts, decoded after splitting, so that an encoded slash stays inside its part."""
        return tuple(unquote(part) for part in self.raw_path.strip("/").split("/"))

    @cached_property
    def query(self) -> Mapping[str, str]:
        """Query parameters; of a repeated one, the last."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    def values(self, name: str) -> list[str]:
        """Return all values of a query parameter, in order; empty ones are left out."""
        return [value for key, value in parse_qsl(self.target.partition("?")[2]) if key == name]

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.raw_path}>"


@attrs.frozen
class FileSlice:
    """A slice of a file, in bytes, for bodies that are too large to keep in memory."""

    path: Path
    offset: int
    size: int


class Feed(Protocol):
    """A body without an end that is known before. A frontend takes what is there, and is called when there is more."""

    def take(self) -> bytes | None:
        """Return the next bytes, not many more than 64 KiB; empty if there are none now, ``None`` at the end."""
        ...

    def next_in(self) -> float | None:
        """Run the scheduled steps that are due, and return the seconds until the next one; ``None`` if there is none."""
        ...

    def watch(self, notice: Callable[[], None], /) -> Callable[[], None]:
        """Call *notice* whenever there may be more. Returns a function that stops the calls."""
        ...

    def end(self) -> None:
        """End it here, because the frontend stops."""
        ...


@attrs.frozen(repr=False, eq=False)
class Response:
    """One response. The frontend adds ``Content-Length``, and ``Date`` if it is missing.

    Attributes:
        status: HTTP status.
        headers: Case-insensitive.
        body: The body, unless *file* or *pending* is given.
        file: The slice of a file that is the body.
        pending: A future of a file that is being made, and a function from that future to the response. See `settled`.
        feed: The body, if it goes on without an end.
    """

    status: int
    headers: CIMultiDictProxy[str] = attrs.field(default=_NO_HEADERS, converter=header_map)
    body: bytes = b""
    file: FileSlice | None = None
    pending: tuple[Future[Path], Callable[[Future[Path]], Response]] | None = None
    feed: Feed | None = None

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return len(self.body) if self.file is None else self.file.size

    def settled(self) -> Response:
        """Return the response that is not pending. Blocks on the future; a frontend that must not block waits until it is done."""
        if self.pending is None:
            return self
        future, finish = self.pending
        return finish(future).settled().with_headers(self.headers)

    def loaded(self) -> Response:
        """Return the response with its body in memory: blocks as `settled` does, and reads the file, or what a feed has now.

        Raises:
            OSError: The file is gone.
        """
        settled = self.settled()
        if (feed := settled.feed) is not None:
            return attrs.evolve(settled, body=b"".join(iter(lambda: feed.take() or b"", b"")), feed=None)
        if settled.file is None:
            return settled
        with settled.file.path.open("rb") as stored:
            stored.seek(settled.file.offset)
            return attrs.evolve(settled, body=stored.read(settled.file.size), file=None)

    def json(self) -> Any:
        """Decode the body.

        Raises:
            ValueError: It is not JSON.
        """
        return orjson.loads(self.body)

    def with_headers(self, more: Mapping[str, str]) -> Response:
        """Return a copy with *more* headers, for the names it has no value for."""
        headers = CIMultiDict(self.headers)
        for name, value in more.items():
            headers.setdefault(name, value)
        return attrs.evolve(self, headers=headers)

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.length} bytes>"


class ApiError(Exception):
    """An error response, raised as an exception. *type* is Mux's word: ``not_found``, ... (facts/BEHAVIOUR.md, section 1.3)."""

    def __init__(self, status: int, type: str, *messages: str) -> None:
        super().__init__(f"{status} {type}: {'; '.join(messages)}")
        self.status = status
        self.type = type
        self.messages = messages

    def response(self, family: str = "") -> Response:
        """Return the response. *family* is the first part of the path: Robots has one ``message`` (facts/README.md, Oddities)."""
        members = {"message": "; ".join(self.messages)} if family == "robots" else {"messages": list(self.messages)}
        return json_response(self.status, {"error": {"type": self.type, **members}})


def invalid(*messages: str) -> ApiError:
    """400: a parameter is wrong."""
    return ApiError(400, "invalid_parameters", *messages)


NOT_FOUND_TEXT = "The requested resource either doesn't exist or you don't have access to it."


def not_found(*messages: str) -> ApiError:
    """404: the object does not exist, or belongs to another environment; Mux does not distinguish them."""
    return ApiError(404, "not_found", *(messages or (NOT_FOUND_TEXT,)))


def failed(message: str) -> ApiError:
    """412: the object is in the wrong state."""
    return ApiError(412, "failed_request", message)


def json_response(status: int, value: object) -> Response:
    """Return a response with a JSON body."""
    return Response(status, {"Content-Type": "application/json; charset=utf-8"}, orjson.dumps(value))


def data(value: object, status: int = 200) -> Response:
    """Return ``{"data": value}``, the envelope of nearly every response of the API."""
    return json_response(status, {"data": value})


def created(value: object) -> Response:
    """201, wrapped in ``data``."""
    return data(value, 201)


def no_content() -> Response:
    """204 without a body, as every DELETE is answered."""
    return Response(204)


def text(status: int, body: str | bytes, content_type: str = "text/plain; charset=utf-8") -> Response:
    """Return a response that is not JSON."""
    return Response(status, {"Content-Type": content_type}, body.encode() if isinstance(body, str) else body)
