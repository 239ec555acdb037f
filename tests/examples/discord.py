"""Discord, as far as a bot with one command needs it: the gateway and the calls of REST, on loopback.

Written of the gateway (version 10): hello, identify, ready, heartbeats, one dispatched interaction at a time,
all of it compressed as one stream where the client asks for that.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
from aiohttp import WSMsgType, web

Json = dict[str, Any]
APPLICATION, CHANNEL = "100000000000000001", "200000000000000001"
EPHEMERAL = 1 << 6
"""Flag of messages that only one person sees."""
TOKEN = b64encode(APPLICATION.encode()).decode() + ".none.none"
"""Of the form that Discord's have: libraries read the bot's id from it."""
BOT: Json = {
    "id": APPLICATION,
    "username": "mux",
    "discriminator": "0",
    "avatar": None,
    "bot": True,
    "mfa_enabled": False,
    "flags": 0,
}
PERSON: Json = {"id": "300000000000000001", "username": "ann", "discriminator": "0", "avatar": None}


@attrs.define(eq=False)
class Discord:
    """A fake of Discord, and what a bot said to it.

    Attributes:
        posted: Texts in the channel, in order.
        answered: Texts that only the person who asked sees, in order.
        commands: What the bot offers.
        calls: Requests, as method and path.
    """

    origin: str = ""
    posted: list[str] = attrs.field(factory=list[str])
    answered: list[str] = attrs.field(factory=list[str])
    commands: list[Json] = attrs.field(factory=list[Json])
    calls: list[str] = attrs.field(factory=list[str])
    _socket: web.WebSocketResponse | None = None
    _deflate: Any = None
    _sequence: int = 0
    _private: set[str] = attrs.field(factory=set[str])
    _changed: anyio.Event = attrs.field(factory=anyio.Event)

    async def until_posted(self, *parts: str) -> str:
        """Wait until a text with all of *parts* is in the channel; return it."""
        return await self._until(self.posted, parts)

    async def until_answered(self, *parts: str) -> str:
        """Likewise of what only the person sees."""
        return await self._until(self.answered, parts)

    async def until_offered(self) -> None:
        """Wait until the bot has offered its commands."""
        while not self.commands:
            await self._changed.wait()

    async def _until(self, texts: list[str], parts: tuple[str, ...]) -> str:
        while True:
            if found := [text for text in texts if all(part in text for part in parts)]:
                return found[0]
            await self._changed.wait()

    async def command(self, name: str, **options: str) -> None:
        """Let the person type a command."""
        number = 400000000000000000 + self._sequence
        given = [{"name": key, "type": 3, "value": value} for key, value in options.items()]
        await self._dispatch(
            "INTERACTION_CREATE",
            {
                "id": str(number),
                "application_id": APPLICATION,
                "type": 2,
                "token": f"t{number}",
                "version": 1,
                "data": {"id": "1", "name": name, "type": 1, "options": given},
                "channel_id": CHANNEL,
                "channel": {"id": CHANNEL, "type": 1},
                "user": PERSON,
                "locale": "en-GB",
                "app_permissions": "0",
                "entitlements": [],
                "authorizing_integration_owners": {},
                "attachment_size_limit": 10_000_000,
                "context": 1,
            },
        )

    # The gateway

    async def _gateway(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(timeout=1.0)
        await socket.prepare(request)
        self._socket = socket
        self._deflate = zlib.compressobj() if request.query.get("compress") == "zlib-stream" else None
        await self._send({"op": 10, "d": {"heartbeat_interval": 41_250}})
        async for message in socket:
            if message.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
                continue
            said: Json = json.loads(message.data)
            if said["op"] == 1:
                await self._send({"op": 11, "d": None})
            elif said["op"] == 2:
                if said["d"]["token"] != TOKEN:
                    await socket.close(code=4004)
                    break
                application = {"id": APPLICATION, "flags": 0}
                ready = {"v": 10, "user": BOT, "guilds": [], "session_id": "s", "application": application, "shard": [0, 1]}
                await self._dispatch("READY", {**ready, "resume_gateway_url": self._socket_url})
        return socket

    async def _dispatch(self, kind: str, data: Json) -> None:
        self._sequence += 1
        await self._send({"op": 0, "t": kind, "s": self._sequence, "d": data})

    async def _send(self, message: Json) -> None:
        assert self._socket is not None
        text = json.dumps(message)
        if self._deflate is None:
            await self._socket.send_str(text)
        else:
            await self._socket.send_bytes(self._deflate.compress(text.encode()) + self._deflate.flush(zlib.Z_SYNC_FLUSH))

    @property
    def _socket_url(self) -> str:
        return self.origin.replace("http", "ws", 1) + "/gateway"

    # REST

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix("/api/v10")
        self.calls.append(f"{request.method} {path}")
        is_interaction = path.startswith(("/interactions/", "/webhooks/"))  # they are authorised by the token in their path
        if not is_interaction and request.headers.get("Authorization") != f"Bot {TOKEN}":
            return web.json_response({"message": "401: Unauthorized", "code": 0}, status=401)
        body: Any = await request.json() if request.can_read_body else None
        answer = self._answer(request.method, path, body)
        self._changed.set()
        self._changed = anyio.Event()
        return web.json_response(answer)

    def _answer(self, method: str, path: str, body: Any) -> object:
        match method, path.strip("/").split("/"):
            case "GET", ["gateway", "bot"]:
                starts = {"total": 1000, "remaining": 999, "reset_after": 1000, "max_concurrency": 1}
                return {"url": self._socket_url, "shards": 1, "session_start_limit": starts}
            case "PUT", ["applications", _, "commands"]:
                stored = {"id": "1", "application_id": APPLICATION, "version": "1", "default_member_permissions": None}
                self.commands = [{"type": 1, "description": "", **each, **stored} for each in body]
                return self.commands
            case "POST", ["channels", _, "messages"]:
                self.posted.append(body["content"])
                return _message(body["content"])
            case "POST", ["interactions", number, token, "callback"]:
                if body.get("data", {}).get("flags", 0) & EPHEMERAL:
                    self._private.add(token)
                return {"interaction": {"id": number, "type": 2}}
            case "PATCH", ["webhooks", _, token, "messages", "@original"]:
                (self.answered if token in self._private else self.posted).append(body["content"])
                return _message(body["content"])
            case _:
                raise web.HTTPNotFound


def _message(content: str) -> Json:
    return {
        "id": "500000000000000001",
        "channel_id": CHANNEL,
        "author": BOT,
        "content": content,
        "timestamp": "2026-01-01T00:00:00+00:00",
        "edited_timestamp": None,
        "tts": False,
        "mention_everyone": False,
        "mentions": [],
        "mention_roles": [],
        "attachments": [],
        "embeds": [],
        "pinned": False,
        "flags": 0,
        "type": 0,
    }


@asynccontextmanager
async def discord() -> AsyncGenerator[Discord]:
    """Serve it on a free port while the block runs."""
    fake = Discord()
    app = web.Application()
    app.router.add_get("/gateway", fake._gateway)  # pyright: ignore[reportPrivateUsage]
    app.router.add_route("*", "/api/v10/{path:.*}", fake._rest)  # pyright: ignore[reportPrivateUsage]
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        fake.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield fake
    finally:
        await runner.cleanup()
