"""A server that keeps very little state, for runs of a hundred thousand items in which the client is measured.

Of each asset it keeps the key, the time and, for uploads, the id: a list holds them in order of age. It fails on purpose: connections that
are refused, or cut before and after the request was acted on, and 500s.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from email.utils import formatdate
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import anyio.lowlevel

from mux_async.errors import ConnectError, Delivery, Phase, TransportError
from mux_async.testing import respond
from mux_async.transport import Body, HttpRequest, HttpResponse

EPOCH = 1_700_000_000.0
NOT_FOUND = {"error": {"type": "not_found", "messages": ["no such thing"]}}


class LeanMux:
    """A transport that answers as Mux does.

    Args:
        time_to_ready: Seconds from an asset's creation to its being ready.
        trouble: Share of requests that fail, in each of the ways that there are for it.
        seed: Of what fails.
    """

    def __init__(self, *, time_to_ready: float, trouble: float, seed: int = 1) -> None:
        self._time_to_ready = time_to_ready
        self._trouble = trouble
        self._random = Random(seed)
        self.keys: list[str] = []
        self.uploads: dict[str, str] = {}
        """Key by id of each upload that waits for its bytes."""
        self._uploads_made = 0
        self._times = array("d")
        self._upload_of: dict[int, str] = {}
        self._asset_of: dict[str, int] = {}
        self.troubles: Counter[str] = Counter()
        self.last_post = 0.0
        self.posts = 0

    async def aclose(self) -> None:
        """Do nothing: no connection is open."""

    def _fails(self, how: str) -> bool:
        fails = self._random.random() < self._trouble
        self.troubles[how] += fails
        return fails

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        await anyio.lowlevel.checkpoint()
        if self._fails("refused"):
            raise ConnectError("refused on purpose")
        content = request.body or b""
        if isinstance(content, Body):
            content = b"".join([piece async for piece in content.pieces()])
        if self._fails("cut before"):
            raise _cut()
        if self._fails("500"):
            return self._answer(500, {})
        status, answer = self._do(request, content)
        if self._fails("cut after"):
            raise _cut()
        return self._answer(status, answer)

    def _answer(self, status: int, answer: object) -> HttpResponse:
        return respond(status, json=answer, headers={"Date": formatdate(EPOCH + anyio.current_time(), usegmt=True)})

    def _do(self, request: HttpRequest, content: bytes) -> tuple[int, dict[str, Any]]:
        parts = urlsplit(request.url)
        match request.method, parts.path.strip("/").split("/"):
            case "GET", ["system", "v1", "whoami"]:
                return 200, {"data": {"environment_id": "e", "environment_name": "lean"}}
            case "POST", ["video", "v1", "assets"]:
                self._count_post()
                return 201, {"data": self._asset(self._make(json.loads(content)["meta"]["external_id"]))}
            case "POST", ["video", "v1", "uploads"]:
                self._count_post()
                self._uploads_made += 1
                upload_id = f"u{self._uploads_made}"
                self.uploads[upload_id] = json.loads(content)["new_asset_settings"]["meta"]["external_id"]
                return 201, {"data": self._upload(upload_id)}
            case "PUT", ["put", upload_id]:
                if content and upload_id in self.uploads:
                    number = self._make(self.uploads.pop(upload_id))
                    self._upload_of[number] = upload_id
                    self._asset_of[upload_id] = number
                return (200 if upload_id not in self.uploads else 308), {}
            case "GET", ["video", "v1", "uploads"]:
                newest = list(self.uploads)[-100:][::-1]
                return 200, {"data": [self._upload(each) for each in newest]}
            case "GET", ["video", "v1", "uploads", upload_id]:
                return 200, {"data": self._upload(upload_id)}
            case "GET", ["video", "v1", "assets"]:
                return 200, self._page(parse_qs(parts.query))
            case "GET", ["video", "v1", "assets", asset_id]:
                return 200, {"data": self._asset(int(asset_id[1:]))}
            case _:
                return 404, NOT_FOUND

    def _count_post(self) -> None:
        self.posts += 1
        self.last_post = anyio.current_time()

    def _make(self, key: str) -> int:
        self.keys.append(key)
        self._times.append(anyio.current_time())
        return len(self.keys) - 1

    def _page(self, query: dict[str, list[str]]) -> dict[str, Any]:
        if "upload_id" in query:
            number = self._asset_of.get(query["upload_id"][0])
            return {"data": [] if number is None else [self._asset(number)]}
        end = int(query.get("cursor", [str(len(self.keys))])[0])
        start = max(0, end - int(query["limit"][0]))
        page = [self._asset(number) for number in range(end - 1, start - 1, -1)]
        return {"data": page, "next_cursor": str(start) if start else None}

    def _asset(self, number: int) -> dict[str, Any]:
        is_ready = anyio.current_time() >= self._times[number] + self._time_to_ready
        asset: dict[str, Any] = {
            "id": f"a{number}",
            "status": "ready" if is_ready else "preparing",
            "created_at": str(int(EPOCH + self._times[number])),
            "encoding_tier": "smart",
            "master_access": "none",
            "max_resolution_tier": "1080p",
            "playback_ids": [{"id": f"p{number}", "policy": "public"}],
            "meta": {"external_id": self.keys[number]},
        }
        if number in self._upload_of:
            asset["upload_id"] = self._upload_of[number]
        return asset

    def _upload(self, upload_id: str) -> dict[str, Any]:
        upload: dict[str, Any] = {"id": upload_id, "timeout": 3600, "status": "asset_created"}
        if upload_id in self.uploads:
            settings = {"meta": {"external_id": self.uploads[upload_id]}}
            upload |= {"status": "waiting", "url": f"https://put.test/put/{upload_id}", "new_asset_settings": settings}
        return upload


def _cut() -> TransportError:
    return TransportError("cut on purpose", delivery=Delivery.MAYBE_PROCESSED, phase=Phase.READ_HEAD)
