"""Examples of every command, as its ``--help`` shows them. The tests hold each against the options that the command has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import typer
from rich.markup import escape

EXAMPLES: Final[Mapping[str, Sequence[str]]] = {
    "": (
        "mux-async demo",
        "mux-async ingest films/ --report films.jsonl",
        "mux-async --profile staging api GET /video/v1/assets",
    ),
    "demo": ("mux-async demo", "mux-async demo --keep"),
    "ingest": (
        "mux-async ingest films/",
        "mux-async ingest list.csv --dry-run",
        "mux-async ingest 'films/**/*.mov' --policy signed --report films.csv",
        "find films -name '*.mp4' | mux-async ingest -",
        "mux-async ingest films/ --retry-failed",
    ),
    "ingest-status": (
        "mux-async ingest-status films.mux-journal",
        "mux-async ingest-status films.mux-journal --report films.csv",
    ),
    "ingest-submit": (
        "mux-async ingest submit catalogue.csv --on postgresql://mux@db/ingest",
        "mux-async ingest submit /mnt/films --shared /mnt/films --on postgresql://mux@db/ingest",
    ),
    "ingest-work": ("mux-async ingest work --on postgresql://mux@db/ingest",),
    "ingest-status-on": (
        "mux-async ingest status --on postgresql://mux@db/ingest",
        "mux-async ingest status --on postgresql://mux@db/ingest --watch",
    ),
    "ingest-retry-failed": ("mux-async ingest retry-failed --on postgresql://mux@db/ingest",),
    "ingest-report": ("mux-async ingest report done.csv --on postgresql://mux@db/ingest",),
    "ingest-new-key": ("mux-async ingest new-key",),
    "bulk": (
        "mux-async bulk video.assets.update titles.csv --dry-run",
        "mux-async bulk video.assets.update titles.csv --report done.csv",
        "mux-async bulk video.assets.create_static_rendition ids.txt --set resolution=720p",
        "mux-async bulk robots.jobs.moderate.create jobs.jsonl --retry-failed",
        "mux-async bulk video.assets.delete old.txt --max 500 --yes",
        "mux-async bulk video.assets.update titles.csv --on postgresql://mux@db/ingest",
    ),
    "bulk-status": (
        "mux-async bulk-status titles.csv.video.assets.update.mux-bulk",
        "mux-async bulk-status titles.csv.video.assets.update.mux-bulk --report done.csv",
        "mux-async bulk-status titles.csv.video.assets.update.mux-bulk --on postgresql://mux@db/ingest",
    ),
    "upload": (
        "mux-async upload film.mp4",
        "mux-async upload film.mp4 --policy signed --title 'A film'",
        "mux-async upload film.mp4 --bandwidth 5M --resume",
        "ffmpeg -i in.mov -f matroska - | mux-async upload -",
    ),
    "explain": (
        "mux-async explain errors.jsonl",
        "mux-async --debug api GET /video/v1/assets 2>&1 | mux-async explain",
    ),
    "emulate": (
        "mux-async emulate",
        "mux-async emulate --port 0 --limits off --instant",
        "mux-async emulate --webhook-url http://127.0.0.1:8788/ --webhook-secret whsec",
        "mux-async emulate --state mux.state --token ci:secret",
        "mux-async emulate --tls --domain video.example.com",
        "mux-async emulate --rtmp 0 --port 0",
        "mux-async emulate --rtmp --srt",
    ),
    "emulate-ca": ("mux-async emulate-ca show", "mux-async emulate-ca remove"),
    "emulate-ca show": ("mux-async emulate-ca show",),
    "emulate-ca remove": ("mux-async emulate-ca remove",),
    "sign": (
        "mux-async sign PLAYBACK_ID",
        "mux-async sign PLAYBACK_ID --kind video --kind thumbnail --kind storyboard",
        "mux-async sign PLAYBACK_ID --url --expires 2h",
        "mux-async sign PLAYBACK_ID --kind thumbnail --param time=12.5 --url",
    ),
    "limits": ("mux-async limits", "mux-async limits --post 12000", "mux-async limits --json"),
    "replay": ("mux-async replay mux-calls.json", "mux-async replay mux-calls.json --base-url http://127.0.0.1:3883"),
    "drift": ("mux-async drift", "mux-async drift web-1.json web-2.json --patch drift.toml", "mux-async drift --check --json"),
    "doctor": ("mux-async doctor", "mux-async doctor --online", "mux-async --profile staging doctor --online --json"),
    "api": (
        "mux-async api GET /video/v1/assets --paginate",
        "mux-async api GET '/data/v1/video-views?limit=5' -q timeframe[]=7:days -q filters[]=country:US",
        "mux-async api GET /video/v1/assets --paginate --lines | jq -r .id",
        "mux-async api PATCH /video/v1/assets/ASSET_ID -f passthrough=film-7",
        "mux-async api POST /video/v1/live-streams -F 'playback_policies=[\"public\"]'",
        "mux-async api DELETE /video/v1/assets/ASSET_ID",
    ),
    "profiles": ("mux-async profiles add staging", "mux-async --profile staging doctor --online"),
    "profiles list": ("mux-async profiles list",),
    "profiles add": (
        "mux-async profiles add staging --default",
        "mux-async profiles add laptop --base-url http://127.0.0.1:8787",
        "mux-async profiles add staging --also signing_key --also private_key",
    ),
    "profiles remove": ("mux-async profiles remove staging",),
    "webhooks": (
        "mux-async webhooks listen",
        "mux-async webhooks receive",
        "mux-async webhooks trigger video.asset.ready --secret SECRET",
    ),
    "webhooks listen": (
        "mux-async webhooks listen",
        "mux-async webhooks listen --forward-to http://127.0.0.1:8000/webhooks",
        "mux-async webhooks listen --events video.asset.ready --events 'video.live_stream.*'",
        "mux-async webhooks listen --json | jq -r .data.id",
    ),
    "webhooks receive": (
        "mux-async webhooks receive",
        "mux-async webhooks receive --secret SECRET --forward http://127.0.0.1:8000/webhooks",
        "mux-async webhooks receive --record events.jsonl",
    ),
    "webhooks trigger": (
        "mux-async webhooks trigger video.asset.ready --secret SECRET",
        'mux-async webhooks trigger video.asset.errored --to http://127.0.0.1:8000/webhooks --secret SECRET --data \'{"id": "A1"}\'',
        "mux-async webhooks trigger list",
    ),
    "webhooks replay": ("mux-async webhooks replay events.jsonl --to http://127.0.0.1:8000/webhooks --secret SECRET",),
}
"""By the command's name; the empty one is the program itself."""


def examples_of(command: str) -> str:
    """Return the end of a command's help: its examples, one a line. Raises `KeyError`: it has none."""
    return "\n\n".join(["[bold]Examples[/]", *(f"  $ {escape(each)}" for each in EXAMPLES[command])])


def make_group(name: str, explained: str, commands: Mapping[str, Callable[..., None]]) -> typer.Typer:
    """Return a group of commands, each with its examples."""
    app = typer.Typer(name=name, no_args_is_help=True, rich_markup_mode="rich", help=explained, epilog=examples_of(name))
    for each, command in commands.items():
        app.command(each, epilog=examples_of(f"{name} {each}"))(command)
    return app
