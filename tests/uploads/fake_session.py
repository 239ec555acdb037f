"""A resumable session behind `FakeTransport`, and uploads over any transport, for tests of `Uploads`."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

import attrs

from mux_async import LimitSettings, Mux
from mux_async.testing import SentRequest, respond
from mux_async.transport import Delivery, HttpResponse, Phase, Transport, TransportError
from mux_async.uploads import Uploads, UploadSettings

URL = "https://uploads.example/film?upload_id=canary-7f3a&Signature=canary-7f3a"
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")


SMALL_PIECES = UploadSettings(memory=256 * 1024)
"""Settings with which one upload reads pieces of 128 KiB."""


def uploads_over(transport: Transport, settings: UploadSettings | None = None, *, max_failures: int = 10) -> Uploads:
    """Return uploads over *transport*, with the same jitter in every run."""
    client = Mux(token_id="id", token_secret="secret", transport=transport, limits=LimitSettings(enabled=False))
    return Uploads(client, settings, random=Random(1), max_failures=max_failures)


def reset() -> TransportError:
    return TransportError("connection reset", delivery=Delivery.MAYBE_PROCESSED, phase=Phase.READ_HEAD)


@attrs.define
class Session:
    """Answers the PUTs of one upload. *faults* maps the number of a request, from 1, to what happens instead of the answer."""

    faults: dict[int, Callable[[Session], HttpResponse | Exception]] = attrs.field(
        factory=dict[int, Callable[["Session"], "HttpResponse | Exception"]]
    )
    held: bytearray = attrs.field(factory=bytearray)
    is_complete: bool = False
    ranges: list[str | None] = attrs.field(factory=list["str | None"])

    def __call__(self, request: SentRequest) -> HttpResponse | Exception:
        assert request.method == "PUT"
        assert request.url == URL
        assert "authorization" not in {name.lower() for name in request.headers}
        line = request.headers.get("Content-Range")
        self.ranges.append(line)
        found = _RANGE.match(line) if line is not None else None
        if line is None:
            self.held[:] = request.content
            self.is_complete = True
        elif found is not None and found[1] is not None and not self.is_complete:
            first, last, size = int(found[1]), int(found[2]), int(found[3])
            assert len(request.content) == last - first + 1
            assert first <= len(self.held)
            self.held += request.content[len(self.held) - first :]
            self.is_complete = len(self.held) == size
        fault = self.faults.get(len(self.ranges))
        return fault(self) if fault is not None else self.state()

    def state(self) -> HttpResponse:
        if self.is_complete:
            return respond(200)
        return respond(308, headers={"Range": f"bytes=0-{len(self.held) - 1}"} if self.held else {})
