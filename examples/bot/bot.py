"""The bot: what it does when Discord says something, and when Mux does.

Two sources of news about the account, each for what it is best at. Films that became ready are told by webhooks: the router hands each
to its handler once, however often it is delivered. Broadcasts are followed with ``mux.live.watch()``, which hears the same webhooks and
looks for itself where one got lost, so that no broadcast goes on without a word in the channel, or ends without its recording.
"""

from __future__ import annotations

import logging
import sys

import anyio
import hikari

from mux_async import Mux, MuxError
from mux_async.live import LiveEvent
from mux_async.models import PlaybackId
from mux_async.playback import player_url
from mux_async.webhooks import WebhookRouter
from mux_async.webhooks.events import AssetEvent

log = logging.getLogger(__name__)


class Bot:
    """A bot that talks in one channel.

    Args:
        mux: The account.
        hooks: Receives the account's webhooks.
        token: Of the bot, from Discord's developer portal.
        channel: Where it talks.
        discord: Address of Discord's API, if not Discord itself.
    """

    def __init__(self, mux: Mux, hooks: WebhookRouter, *, token: str, channel: int, discord: str | None = None) -> None:
        self.mux = mux
        self.channel = channel
        self.discord = hikari.GatewayBot(
            token, intents=hikari.Intents.NONE, banner=None, suppress_optimization_warning=True, rest_url=discord
        )
        self.discord.listen(hikari.ShardReadyEvent)(self.offer_commands)
        self.discord.listen(hikari.InteractionCreateEvent)(self.obey)
        hooks.on("video.asset.ready")(self.announce_film)
        hooks.attach(mux)

    async def run(self) -> None:
        """Talk until cancelled."""
        await self.discord.start(check_for_updates=False)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.follow_broadcasts)
                await self.discord.join()
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self.discord.close()

    async def say(self, text: str) -> None:
        await self.discord.rest.create_message(self.channel, text)

    # Mux to Discord

    async def announce_film(self, event: AssetEvent) -> None:
        if event.data.live_stream_id is None:  # recordings are told of when they are whole
            await self.say(f"Ready to watch: {self.link(event.data.playback_ids)}")

    async def follow_broadcasts(self) -> None:
        broadcasts = self.mux.live.watch()
        while True:
            try:
                await self.announce_broadcast(await anext(broadcasts))
            except (MuxError, hikari.HikariError):  # an outage of either; this goes on when it is over
                log.exception("a broadcast may go on unannounced")

    async def announce_broadcast(self, event: LiveEvent) -> None:
        match event.type:
            case "video.live_stream.active" if event.live_stream is not None:
                stream = event.live_stream
                title = stream.meta.title if stream.meta is not None and stream.meta.title else "A broadcast"
                await self.say(f"{title} is live: {self.link(stream.playback_ids)}")
            case "video.asset.live_stream_completed" if event.asset is not None:
                await self.say(f"Recorded: {self.link(event.asset.playback_ids)}")
            case _:
                pass

    def link(self, playback_ids: list[PlaybackId] | None) -> str:
        public = [each.id for each in playback_ids or [] if each.policy == "public"]
        return player_url(public[0], hosts=self.mux.hosts) if public else "(only with a signed link)"

    # Discord to Mux

    async def offer_commands(self, event: hikari.ShardReadyEvent) -> None:
        live = self.discord.rest.slash_command_builder("live", "Start a live stream")
        live.add_option(hikari.CommandOption(type=hikari.OptionType.STRING, name="title", description="What it is called"))
        await self.discord.rest.set_application_commands(event.application_id, [live])
        print("listening", file=sys.stderr, flush=True)

    async def obey(self, event: hikari.InteractionCreateEvent) -> None:
        command = event.interaction
        if not isinstance(command, hikari.CommandInteraction) or command.command_name != "live":
            return
        # Discord wants to hear something within 3 s. Only who asked sees the answer: there is a key in it.
        await command.create_initial_response(hikari.ResponseType.DEFERRED_MESSAGE_CREATE, flags=hikari.MessageFlag.EPHEMERAL)
        try:
            text = await self.start_stream(command)
        except MuxError as error:
            log.warning("no live stream: %s", error)
            text = "Mux did not give me a live stream; try again in a minute."
        await command.edit_initial_response(text)

    async def start_stream(self, command: hikari.CommandInteraction) -> str:
        title = next((str(option.value) for option in command.options or () if option.name == "title"), "A broadcast")
        stream = await self.mux.with_options(priority="interactive").video.live_streams.create(
            meta={"title": title},
            playback_policies=["public"],
            new_asset_settings={"playback_policies": ["public"]},
            once=f"discord-{command.id}",  # if the answer gets lost, the stream is found, not made again
        )
        encoder = stream.ingest()
        return f"Send to `{encoder.rtmps_url}` with the key `{stream.stream_key}`"
