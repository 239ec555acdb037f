"""``mux-async webhooks listen``: events of an emulator, printed and forwarded by a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import pytest

from mux_async.cli import main
from mux_async.emulator import Emulator, EmulatorSettings, Fault, Request, Token, serve
from mux_async.webhooks import unwrap
from tests._servers import free_port
from tests.cli.commands import CREDENTIALS, command, environment
from tests.emulator.harness import basic
from tests.emulator.test_official_cli import receiving

PATIENCE = 40
SETTINGS = EmulatorSettings(limits=None, instant=True)


@attrs.define(eq=False)
class Listening:
    process: Process
    notices: str = ""

    async def notice(self, wanted: str) -> str:
        """Read standard error up to the line with *wanted*; return the line."""
        assert self.process.stderr is not None
        while True:
            line = (await self.process.stderr.readline()).decode()
            assert line, self.notices
            self.notices += line
            if wanted in line:
                return line

    async def line(self) -> str:
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode()


@asynccontextmanager
async def listening(origin: str, *arguments: str, output: int = PIPE) -> AsyncGenerator[Listening]:
    """Run the command; kill it at the end if it still runs."""
    given = environment({**CREDENTIALS, "MUX_BASE_URL": origin})
    process = await asyncio.create_subprocess_exec(
        *command("webhooks", "listen", *arguments), env=given, stdout=output, stderr=PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE):
            yield Listening(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def create_asset(emulator: Emulator) -> None:
    body = b'{"inputs": [{"url": "https://example.com/film.mp4"}]}'
    assert emulator.handle(Request("POST", "/video/v1/assets", {"Authorization": basic()}, body)).status == 201


@pytest.mark.proof
@pytest.mark.asyncio
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
async def test_forwarding_over_a_restart(stop: signal.Signals) -> None:
    """Events are printed and forwarded, signed with the secret that is shown, also after a restart; a signal ends it with a summary."""
    port, emulator = free_port(), Emulator(SETTINGS)
    async with receiving() as receiver, AsyncExitStack() as server:
        origin = await server.enter_async_context(serve(emulator, port=port))
        async with listening(origin, "--forward-to", receiver.url, "--events", "video.asset.*") as run:
            secret = (await run.notice("this secret")).partition("MUX_WEBHOOK_SECRET=")[2].rstrip(")\n")
            await run.notice("connected to")
            create_asset(emulator)
            for wanted in ("video.asset.created", "video.asset.ready"):
                body, headers = await receiver.arrived.get()
                assert unwrap(body, headers, secret).type == json.loads(await run.line())["type"] == wanted

            await server.aclose()
            await run.notice("connecting again in")
            create_asset(emulator)  # while nobody is connected
            await server.enter_async_context(serve(emulator, port=port))
            await run.notice("connected to")
            for wanted in ("video.asset.created", "video.asset.ready"):
                body, headers = await receiver.arrived.get()
                assert unwrap(body, headers, secret).type == wanted

            run.process.send_signal(stop)
            assert re.search("4 events received, 4 forwarded, 0 not", await run.notice("received"))
            assert await run.process.wait() == 0


@pytest.mark.proof
@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "said"), [(401, "was answered 401"), (403, "permission to read the system"), (404, "not offered here")]
)
async def test_refusals(status: int, said: str) -> None:
    """What cannot be listened to is one sentence, and the exit code 1."""
    token = Token("test-token", "test-secret", permissions=("video:read",) if status == 403 else ("system:read",))
    if status == 401:
        token = Token("other", "test-secret")
    emulator = Emulator(attrs.evolve(SETTINGS, tokens=(token,)))
    if status == 404:
        emulator.faults.add(Fault(path="/system/v1/webhook-events/stream", status=404))
    async with serve(emulator) as origin, listening(origin) as run:
        assert said in await run.notice("error: ")
        assert await run.process.wait() == 1


@pytest.mark.proof
@pytest.mark.asyncio
async def test_a_reader_that_does_not_read() -> None:
    """Ten thousand events to a pipe that nobody reads, and an interrupt ends the command all the same."""
    emulator = Emulator(SETTINGS)
    reader, writer = os.pipe()
    try:
        async with serve(emulator) as origin, listening(origin, output=writer) as run:
            await run.notice("connected to")
            for _ in range(100):
                for _ in range(50):
                    create_asset(emulator)
                await asyncio.sleep(0)
            while not os.read(reader, 1):
                pass
            run.process.send_signal(signal.SIGINT)
            assert "received" in await run.notice("received")
            assert await run.process.wait() == 0
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.proof
@pytest.mark.asyncio
async def test_count_and_patterns() -> None:
    """It stops after the wanted number of events of the wanted types."""
    emulator = Emulator(SETTINGS)
    async with serve(emulator) as origin, listening(origin, "--events", "video.asset.ready", "--count", "2") as run:
        await run.notice("connected to")
        for _ in range(3):
            create_asset(emulator)
        assert [json.loads(await run.line())["type"] for _ in range(2)] == ["video.asset.ready"] * 2
        assert await run.process.wait() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--forward-to", "nowhere"], "absolute URL"),
        (["--events", "video.asset.redy"], "similar ones are video.asset.ready"),
        (["--events", "a b"], "is not an event type"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong argument is refused before anything is sent, with what would be right."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MUX_BASE_URL", "http://127.0.0.1:1")
    with pytest.raises(SystemExit) as caught:
        main(["webhooks", "listen", *arguments])
    assert caught.value.code == 2
    assert said in " ".join(re.sub("[│╭╰─╮╯]", " ", capsys.readouterr().err).split())
