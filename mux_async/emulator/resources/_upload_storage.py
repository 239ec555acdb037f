"""The storage side of direct uploads: requests to upload URLs (facts/BEHAVIOUR.md, section 5.2)."""

from __future__ import annotations

from mux_async.emulator.http._messages import Request, Response, text
from mux_async.emulator.resources._uploads import PURPOSE, complete
from mux_async.emulator.state._state import Environment, State, Upload
from mux_async.emulator.state._upload_sessions import SessionError, SessionWriter

_WRITES = frozenset({"PUT", "POST", "PATCH"})
"""UpChunk has an option for each of them."""


class StorageSink:
    """One request at an upload URL: fed as it arrives, answered at its end."""

    def __init__(self, state: State, request: Request) -> None:
        self._state = state
        self._request = request
        self._environment: Environment | None = None
        self._upload: Upload | None = None
        self._writer: SessionWriter | None = None
        self._early: Response | None = None
        try:
            self._early = self._open()
        except SessionError as error:
            self._early = text(error.status, error.message)

    def _open(self) -> Response | None:
        parts = self._request.segments
        found = self._state.find_upload(parts[1]) if len(parts) == 2 else None
        if found is None:
            raise SessionError(404, "There is no such upload")
        self._environment, self._upload = found
        if self._request.method == "OPTIONS":
            return text(200, "")
        self._check_signature(self._upload)
        _check_open(self._upload)
        if self._request.method == "DELETE":
            if not self._upload.session.is_complete:
                self._upload.session.discard()
            return text(499, "")
        if self._request.method not in _WRITES:
            raise SessionError(405, "An upload URL takes PUT")
        headers = self._request.headers
        length = headers.get("Content-Length", "")
        self._writer = self._upload.session.begin(headers.get("Content-Range"), int(length) if length.isdigit() else None)
        return None

    def _check_signature(self, upload: Upload) -> None:
        query = self._request.query
        expires = int(upload.created_at + upload.timeout)
        is_signed = self._state.id_generator.is_signature(query.get("Signature", ""), PURPOSE, f"{upload.id}.{expires}")
        if query.get("Expires") != str(expires) or not is_signed:
            raise SessionError(403, "The signature of the upload URL does not fit")

    def feed(self, data: bytes) -> None:
        """Take bytes of the body."""
        if self._writer is not None:
            self._writer.feed(data)

    def finish(self) -> Response:
        """Respond after the end of the body."""
        try:
            response = self._early if self._early is not None else self._settle()
        except SessionError as error:
            response = text(error.status, error.message)
        return response.with_headers(self._cors())

    def _settle(self) -> Response:
        assert self._upload is not None  # noqa: S101 - without one there is an early answer
        assert self._environment is not None  # noqa: S101
        assert self._writer is not None  # noqa: S101
        # Other requests may have changed it since the head of this one.
        self._upload = self._environment.uploads[self._upload.id]
        _check_open(self._upload)
        if not self._writer.finish():
            stored = self._upload.session.range_header
            return Response(308, {} if stored is None else {"Range": stored})
        if self._upload.status == "waiting":
            complete(self._state, self._environment, self._upload)
        return text(200, "")

    def cut(self) -> None:
        """The connection broke."""
        if self._writer is not None:
            self._writer.cut()

    def _cors(self) -> dict[str, str]:
        origin = self._request.headers.get("Origin")
        if self._upload is None or origin is None or self._upload.cors_origin not in {origin, "*"}:
            return {}
        headers = {
            "Access-Control-Allow-Origin": self._upload.cors_origin,
            "Access-Control-Expose-Headers": "Range",
            "Vary": "Origin",
        }
        if self._request.method == "OPTIONS":
            headers["Access-Control-Allow-Methods"] = "PUT, POST, PATCH, DELETE, OPTIONS"
            headers["Access-Control-Max-Age"] = "3600"
            asked = self._request.headers.get("Access-Control-Request-Headers")
            if asked is not None:
                headers["Access-Control-Allow-Headers"] = asked
        return headers


def _check_open(upload: Upload) -> None:
    if upload.session.is_gone:
        raise SessionError(404, "The upload is gone")
