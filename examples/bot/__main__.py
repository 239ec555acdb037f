"""Run the bot.

    export MUX_TOKEN_ID=... MUX_TOKEN_SECRET=... MUX_WEBHOOK_SECRET=... DISCORD_TOKEN=... DISCORD_CHANNEL_ID=...
    python -m examples.bot

Mux delivers webhooks to ``/webhooks/mux`` on port 8080 (``PORT``). Besides the SDK it needs ``pip install hikari``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

from aiohttp import web

from examples.bot.bot import Bot
from mux_async import Mux
from mux_async.webhooks import WebhookRouter
from mux_async.webhooks.aiohttp_web import endpoint

NEEDED = ("MUX_TOKEN_ID", "MUX_TOKEN_SECRET", "MUX_WEBHOOK_SECRET", "DISCORD_TOKEN", "DISCORD_CHANNEL_ID")


async def main() -> None:
    hooks = WebhookRouter()
    app = web.Application()
    app.router.add_post("/webhooks/mux", endpoint(hooks))
    runner = web.AppRunner(app)
    async with Mux() as mux:
        bot = Bot(
            mux,
            hooks,
            token=os.environ["DISCORD_TOKEN"],
            channel=int(os.environ["DISCORD_CHANNEL_ID"]),
            discord=os.environ.get("DISCORD_API_URL"),
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(os.environ.get("PORT", "8080"))).start()
        try:
            await bot.run()
        finally:
            await runner.cleanup()


if __name__ == "__main__":
    if missing := [name for name in NEEDED if not os.environ.get(name)]:
        sys.exit(f"set {', '.join(missing)} first; what they are is said at the top of {__file__}")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
