"""The picture of the emulator's page in README.md: a live stream that ffmpeg pushes, playing.

``python -m tools.emulator_picture`` writes ``docs/emulator.png``. It needs the programs ffmpeg and Chromium (or the one that
``MUX_ASYNC_CHROMIUM`` names), and the packages playwright and ``mux-async[media]``.
"""

from __future__ import annotations

import os
import shutil
import sys
from asyncio.subprocess import DEVNULL, create_subprocess_exec
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from playwright.async_api import Page, ViewportSize, async_playwright

from mux_async import Mux
from mux_async.emulator import Emulator, EmulatorSettings
from mux_async.emulator.media import MediaWorker
from mux_async.emulator.server import serve, serve_rtmp
from tools.sources import ROOT

PICTURE = ROOT / "docs" / "emulator.png"
SIZE = ViewportSize(width=1200, height=640)
SOURCE = "testsrc2=s=960x400:r=30,drawtext=text='pushed with ffmpeg':x=40:y=h-80:fontsize=44:fontcolor=white:box=1:boxcolor=black@0.6"
PATIENCE = 60.0


async def main() -> None:
    """Push a stream, open the page, play the stream, and take the picture."""
    with TemporaryDirectory() as folder, MediaWorker(Path(folder) / "media") as media:
        emulator = Emulator(EmulatorSettings(limits=None, media=media, seed="picture"))
        async with serve(emulator) as origin, serve_rtmp(emulator, port=0) as address:
            async with Mux(token_id="test-token", token_secret="test-secret", base_url=origin) as mux:
                stream = await mux.video.live_streams.create(
                    playback_policies=["public"], latency_mode="low", meta={"title": "Town hall"}
                )
            codecs = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-g", "60", "-c:a", "aac", "-f", "flv"]
            inputs = ["-re", "-f", "lavfi", "-i", SOURCE, "-f", "lavfi", "-i", "sine=b=4"]
            command = ["ffmpeg", "-nostdin", "-v", "error", *inputs, *codecs, f"{address}/{stream.stream_key}"]
            encoder = await create_subprocess_exec(*command, stdout=DEVNULL)
            try:
                await take(origin, stream.id)
            finally:
                encoder.terminate()
                await encoder.wait()


async def take(origin: str, stream_id: str) -> None:
    """Open the page, play the live stream, and take the picture."""
    program = os.environ.get("MUX_ASYNC_CHROMIUM") or shutil.which("chromium") or sys.exit("there is no Chromium")
    async with async_playwright() as driver:
        arguments = ["--autoplay-policy=no-user-gesture-required", "--no-sandbox"]
        browser = await driver.chromium.launch(executable_path=program, args=arguments)
        page: Page = await browser.new_page(viewport=SIZE, locale="en-GB", color_scheme="light")
        await page.goto(origin)
        await page.click(f'article[data-id="{stream_id}"] button.frame', timeout=PATIENCE * 1000)
        with anyio.fail_after(PATIENCE):
            while await page.evaluate("document.querySelector('#player video').currentTime") < 4:  # noqa: ASYNC110 - of the page
                await anyio.sleep(0.1)
        await page.screenshot(path=PICTURE)
        await browser.close()


if __name__ == "__main__":
    anyio.run(main, backend="asyncio")
