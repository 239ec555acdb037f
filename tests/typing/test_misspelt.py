"""What a consumer misspells, both type checkers refuse, strict: one error for each, and none for what is written right."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.proof

ROOT = Path(__file__).parent.parent.parent

HEAD: Final = """\
# pyright: strict
from __future__ import annotations

from collections.abc import Sequence

from mux_async import CallOptions, LimitSettings, Mux
from mux_async.ingest import Ingest, Item, make_plan
from mux_async.models import Asset, AssetOptions, InputSettings
from mux_async.params import UpdateReferrerDomainRestrictionRequestParam, UserAgentRestrictionRequestParam
from mux_async.playback import Playback
from mux_async.signing import Signer
from mux_async.uploads import Uploads
from mux_async.webhooks import WebhookRouter
from mux_async.webhooks.events import AssetEvent, LiveStreamEvent, UnknownEvent, WebhookEvent
"""

ASSETS: Final = "await mux.video.assets."
RESTRICT: Final = "await mux.video.playback_restrictions.create("
LIVE: Final = "await mux.video.live_streams."
CASES: Final[list[tuple[str, str]]] = [
    # (written right, misspelt)
    (ASSETS + 'create(inputs=[{"url": "https://x"}])', ASSETS + 'create(inputs=[{"uri": "https://x"}])'),
    (
        ASSETS + 'create(inputs="https://x", playback_policies=["public"])',
        ASSETS + 'create(inputs="https://x", playback_policies=["pubic"])',
    ),
    (
        ASSETS + 'create(inputs="https://x", playback_policies=["signed"])',
        ASSETS + 'create(inputs="https://x", playback_polices=["signed"])',
    ),
    (
        ASSETS + 'create(inputs="https://x", advanced_playback_policies=[{"policy": "signed"}])',
        ASSETS + 'create(inputs="https://x", advanced_playback_policies=[{"polcy": "signed"}])',
    ),
    (
        ASSETS + 'create(inputs="https://x", static_renditions=[{"resolution": "1080p"}])',
        ASSETS + 'create(inputs="https://x", static_renditions=[{"resolution": "1080"}])',
    ),
    (
        ASSETS + 'create(inputs="https://x", video_quality="premium")',
        ASSETS + 'create(inputs="https://x", video_quality="premum")',
    ),
    (
        ASSETS + 'create(inputs="https://x", max_resolution_tier="2160p")',
        ASSETS + 'create(inputs="https://x", max_resolution_tier="4k")',
    ),
    (
        ASSETS + 'create(inputs=[{"url": "https://x", "generated_subtitles": [{"language_code": "en"}]}])',
        ASSETS + 'create(inputs=[{"url": "https://x", "generated_subtitles": [{"lang": "en"}]}])',
    ),
    (
        ASSETS + 'create(inputs=[{"url": "https://x", "overlay_settings": {"vertical_align": "top"}}])',
        ASSETS + 'create(inputs=[{"url": "https://x", "overlay_settings": {"vertical_align": "tpo"}}])',
    ),
    (ASSETS + 'create(inputs="https://x", meta={"title": "T"})', ASSETS + 'create(inputs="https://x", meta={"tilte": "T"})'),
    (ASSETS + 'create(inputs="https://x", test=True)', ASSETS + 'create(inputs="https://x", tset=True)'),
    (ASSETS + 'update("a", meta={"creator_id": "c"})', ASSETS + 'update("a", meta={"creater_id": "c"})'),
    (ASSETS + 'update_master_access("a", master_access="none")', ASSETS + 'update_master_access("a", master_access="nome")'),
    (ASSETS + 'create_playback_id("a", policy="public")', ASSETS + 'create_playback_id("a", policy="pubic")'),
    (
        ASSETS + 'create_track("a", url="https://x", type="text", language_code="en")',
        ASSETS + 'create_track("a", url="https://x", type="txt", language_code="en")',
    ),
    (ASSETS + "list(limit=5)", ASSETS + "list(limits=5)"),
    ('AssetOptions(playback_policies=["public"])', 'AssetOptions(playback_polices=["public"])'),
    ('InputSettings(url="https://x")', 'InputSettings(uri="https://x")'),
    (
        'await mux.video.uploads.create(new_asset_settings={"playback_policies": ["public"]})',
        'await mux.video.uploads.create(new_asset_settings={"playback_polices": ["public"]})',
    ),
    (
        'await mux.video.uploads.create(new_asset_settings={"playback_policies": ["signed"]})',
        'await mux.video.uploads.create(new_asset_settings={"playback_policies": ["singed"]})',
    ),
    (
        'await mux.video.uploads.create(new_asset_settings={"inputs": [{"start_time": 1}]})',
        'await mux.video.uploads.create(new_asset_settings={"inputs": [{"start_tiem": 1}]})',
    ),
    ('await mux.video.uploads.create(cors_origin="*")', 'await mux.video.uploads.create(cors_orgin="*")'),
    (
        'await Uploads(mux).send("a.mp4", new_asset_settings={"meta": {"title": "T"}})',
        'await Uploads(mux).send("a.mp4", new_asset_settings={"metaa": {"title": "T"}})',
    ),
    (
        'await mux.uploads.send("a.mp4", playback_policies=["public"])',
        'await mux.uploads.send("a.mp4", playback_policies=["pubic"])',
    ),
    (
        LIVE + 'create(playback_policies=["public"], latency_mode="low")',
        LIVE + 'create(playback_policies=["public"], latency_mode="lo")',
    ),
    (
        LIVE + 'create(new_asset_settings={"playback_policies": ["public"]})',
        LIVE + 'create(new_asset_settings={"playback_polices": ["public"]})',
    ),
    (
        LIVE + 'create(simulcast_targets=[{"url": "rtmp://x", "stream_key": "k"}])',
        LIVE + 'create(simulcast_targets=[{"url": "rtmp://x", "streamkey": "k"}])',
    ),
    (
        LIVE + 'create(generated_subtitles=[{"language_code": "en"}])',
        LIVE + 'create(generated_subtitles=[{"language": "en"}])',
    ),
    (LIVE + "create(reconnect_window=30)", LIVE + "create(reconect_window=30)"),
    (LIVE + 'create(meta={"title": "T"})', LIVE + 'create(meta={"titel": "T"})'),
    (LIVE + 'update("l", latency_mode="standard")', LIVE + 'update("l", latency_mode="standart")'),
    (LIVE + 'create_playback_id("l", policy="signed")', LIVE + 'create_playback_id("l", policy="sigend")'),
    (
        RESTRICT + 'referrer={"allowed_domains": ["x.com"]}, user_agent=agent)',
        RESTRICT + 'referrer={"allowed_domain": ["x.com"]}, user_agent=agent)',
    ),
    (
        RESTRICT + 'referrer=referrer, user_agent={"allow_no_user_agent": True, "allow_high_risk_user_agent": False})',
        RESTRICT + 'referrer=referrer, user_agent={"allow_no_user_agents": True, "allow_high_risk_user_agent": False})',
    ),
    (
        RESTRICT + 'referrer={"allowed_domains": ["x.com"], "allow_no_referrer": True}, user_agent=agent)',
        RESTRICT + 'referrer={"allowed_domains": ["x.com"], "allow_no_referer": True}, user_agent=agent)',
    ),
    (
        'await mux.data.metrics.list_breakdown_values("views", group_by="country")',
        'await mux.data.metrics.list_breakdown_values("views", groupby="country")',
    ),
    (
        'await mux.robots.jobs.summarize.create(parameters={"asset_id": "a", "tone": "neutral"})',
        'await mux.robots.jobs.summarize.create(parameters={"asset_id": "a", "tonne": "neutral"})',
    ),
    (
        'await mux.with_options(priority="batch").video.assets.retrieve("a")',
        'await mux.with_options(priority="btach").video.assets.retrieve("a")',
    ),
    (ASSETS + 'retrieve("a", options=CallOptions(deadline=1))', ASSETS + 'retrieve("a", options=CallOptions(dead_line=1))'),
    ("Mux(limits=LimitSettings(enabled=False))", "Mux(limits=LimitSettings(enable=False))"),
    ('Ingest(mux, items, playback_policies=["public"])', 'Ingest(mux, items, playback_policies=["pubic"])'),
    ('Ingest(mux, items, playback_policies="signed")', 'Ingest(mux, items, playback_policies="singed")'),
    ('Ingest(mux, items, journal="j")', 'Ingest(mux, items, jornal="j")'),
    ('make_plan("films/", dedup="content")', 'make_plan("films/", dedup="contents")'),
    ('make_plan("films/", on_bad_line="skip")', 'make_plan("films/", on_bad_line="skp")'),
    ('Playback("p").hls_url(max_resolution="720p")', 'Playback("p").hls_url(max_resoluton="720p")'),
    (
        'print(not isinstance(event, UnknownEvent) and event.type == "video.asset.ready")',
        'print(not isinstance(event, UnknownEvent) and event.type == "video.asset.redy")',
    ),
    ('hooks.on("video.asset.ready")(on_asset)', 'hooks.on("video.asset.ready")(on_stream)'),
    ("hooks.on(AssetEvent)(on_asset)", "hooks.on(LiveStreamEvent)(on_asset)"),
    ('WebhookRouter(secrets="s")', 'WebhookRouter(secrts="s")'),
]
SHELL: Final = """
async def f{number}(
    mux: Mux, items: Sequence[Item], signer: Signer, asset: Asset, event: WebhookEvent, hooks: WebhookRouter
) -> None:
    {statement}
"""
HANDLERS: Final = """

agent: UserAgentRestrictionRequestParam = {"allow_no_user_agent": True, "allow_high_risk_user_agent": True}
referrer: UpdateReferrerDomainRestrictionRequestParam = {"allowed_domains": ["*"]}


async def on_asset(event: AssetEvent) -> None: ...


async def on_stream(event: LiveStreamEvent) -> None: ...

"""


def _program(statements: list[str]) -> tuple[str, dict[int, str]]:
    """Return the text of a program, and the statement that each line holds."""
    text = HEAD + HANDLERS
    lines: dict[int, str] = {}
    for number, statement in enumerate(statements):
        text += SHELL.format(number=number, statement=statement)
        lines[text.count("\n")] = statement
    return text, lines


def _mypy(path: Path) -> list[tuple[int, str]]:
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-incremental",
        "--no-error-summary",
        "--hide-error-context",
        str(path),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode < 2, done.stdout + done.stderr
    found = re.findall(r"^(.+):(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    assert all(Path(where).name == path.name for where, _, _ in found), done.stdout
    return [(int(line), message) for _, line, message in found]


def _pyright(path: Path) -> list[tuple[int, str]]:
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return [(each["range"]["start"]["line"] + 1, each["message"]) for each in json.loads(done.stdout)["generalDiagnostics"]]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("check", [_mypy, _pyright])
def test_misspelt(check: Callable[[Path], list[tuple[int, str]]], tmp_path: Path) -> None:
    """Each misspelt argument, member, value and name is one error, and the same written right is none."""
    right, wrong = [case[0] for case in CASES], [case[1] for case in CASES]
    text, lines = _program([*right, *wrong])
    path = tmp_path / "consumer.py"
    path.write_text(text)

    errors = check(path)

    counts = Counter(line for line, _ in errors)
    told = {lines.get(line, f"line {line}"): message for line, message in errors}
    assert {statement: told[statement] for statement in told if statement not in wrong} == {}
    assert {lines[line]: counts[line] for line in lines if lines[line] in wrong and counts[line] != 1} == {}
