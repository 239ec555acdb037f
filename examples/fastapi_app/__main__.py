"""Run the application, with a Mux of its own unless there are credentials for the real one.

    python -m examples.fastapi_app

Then open http://127.0.0.1:8000 (``PORT``). Against Mux itself: set ``MUX_TOKEN_ID``, ``MUX_TOKEN_SECRET``, ``MUX_SIGNING_KEY``,
``MUX_PRIVATE_KEY`` and ``MUX_WEBHOOK_SECRET``, and let webhooks reach ``/webhooks/mux``. It needs
``pip install 'mux-async[cli,jwt,media]' fastapi uvicorn``; without ``media`` the emulator shows nothing of what is uploaded.
``METRICS=1`` adds ``/metrics`` for Prometheus (``examples/observability`` has a dashboard, alerts and a configuration).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
from collections.abc import AsyncGenerator

import anyio
import uvicorn
from anyio.streams.text import TextReceiveStream

from examples.fastapi_app.app import create_app
from mux_async import Mux
from mux_async.signing import Signer
from mux_async.webhooks import WebhookRouter


@contextlib.asynccontextmanager
async def emulated_mux(webhook_url: str) -> AsyncGenerator[None]:
    """Run ``mux-async emulate`` and let this process use it."""
    secret = secrets.token_hex(16)
    command = [sys.executable, "-m", "mux_async.cli", "emulate", "--port", "0", "--limits", "off", "--quiet"]
    process = await anyio.open_process([*command, "--webhook-url", webhook_url, "--webhook-secret", secret], stderr=None)
    try:
        said = ""
        async for text in TextReceiveStream(process.stdout or sys.exit("the emulator has no output")):
            said += text
            if "rate limits" in said:  # the last line
                break
        os.environ |= {
            "MUX_BASE_URL": said.split()[3],
            "MUX_TOKEN_ID": "test-token",
            "MUX_TOKEN_SECRET": "test-secret",
            "MUX_WEBHOOK_SECRET": secret,
        }
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        with anyio.CancelScope(shield=True):
            await process.aclose()


async def load_signer(mux: Mux) -> Signer:
    if os.environ.get("MUX_SIGNING_KEY"):
        return Signer.from_environment()
    key = await mux.system.signing_keys.create()  # of the emulator, which forgets it when it ends
    return Signer(key.id, key.private_key)


async def main() -> None:
    port = int(os.environ.get("PORT", "8000"))
    origin = f"http://127.0.0.1:{port}"
    async with contextlib.AsyncExitStack() as stack:
        if not os.environ.get("MUX_TOKEN_ID"):
            await stack.enter_async_context(emulated_mux(f"{origin}/webhooks/mux"))
        mux = await stack.enter_async_context(Mux())
        app = create_app(mux, WebhookRouter(), await load_signer(mux))
        if os.environ.get("METRICS"):
            from examples.fastapi_app.metrics import add_metrics  # needs more libraries than the rest

            add_metrics(app, mux)
        print(f"open {origin} (Mux is {mux.base_url})", flush=True)
        await uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning")).serve()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
