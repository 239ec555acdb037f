"""State in a file: what a response confirmed is there after any crash, once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import attrs
import pytest

from mux_async.emulator import Emulator, EmulatorSettings, StateFileError, WebhookSettings
from tests.emulator import tour
from tests.emulator.harness import Account, Json, basic

ROOT = Path(__file__).parents[2]


class Restarts:
    """Accounts on one state file, one after the other, as after restarts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self._open: list[Account] = []
        self.path = folder / "state"
        self.settings = EmulatorSettings(limits=None, state=self.path, store=folder / "store", accept_robots_terms=True)

    def account(self, **changes: Any) -> Account:
        """Start an account."""
        account = Account(attrs.evolve(self.settings, **changes))
        self._open.append(account)
        return account

    def crash(self, account: Account, **changes: Any) -> Account:
        """Crash as in a power cut: only what is on the disk now is kept. Return the next account, at the same time."""
        self._number += 1
        copy = self._folder / f"crash-{self._number}"
        copy.mkdir()
        state = account.emulator.settings.state
        assert state is not None
        for part in state.parent.glob("state*"):
            shutil.copy(part, copy / part.name)
        after = Account(attrs.evolve(self.settings, **{**changes, "state": copy / "state"}))
        after.clock.now = account.clock.now
        self._open.append(after)
        return after

    def close(self) -> None:
        for account in self._open:
            account.emulator.close()


@pytest.fixture
def restarts(tmp_path: Path) -> Generator[Restarts, None, None]:
    found = Restarts(tmp_path)
    yield found
    found.close()


def everything(account: Account) -> Json:
    """The responses about objects of all kinds."""
    lists = ["assets", "uploads", "live-streams", "signing-keys"]
    found: Json = {name: account.data("GET", f"/video/v1/{name}?limit=100") for name in lists}
    found["webhooks"] = account.data("GET", "/system/v1/webhooks")
    found["whoami"] = account.data("GET", "/system/v1/whoami")
    return found


def test_crash(restarts: Restarts) -> None:
    """After a crash the responses are the same: objects of all kinds, their order, and whoami."""
    before = restarts.account()
    asset = before.ready_asset(
        playback_policies=["public"], meta={"title": "A film"}, static_renditions=[{"resolution": "480p"}]
    )
    stream = before.data("POST", "/video/v1/live-streams", {"playback_policies": ["signed"]})
    before.data("POST", f"/video/v1/live-streams/{stream['id']}/simulcast-targets", {"url": "rtmp://example.com/live"})
    before.data("POST", "/system/v1/signing-keys")
    before.data("POST", "/system/v1/webhooks", {"address": "https://example.com/hook"})
    before.create_asset("https://example.invalid/film.mp4")
    before.data("PATCH", f"/video/v1/assets/{asset['id']}", {"passthrough": "changed"})
    gone = before.create_upload()
    before.data("PUT", f"/video/v1/uploads/{gone['id']}/cancel")
    for _ in range(3):
        before.create_asset()

    after = restarts.crash(before)

    assert everything(after) == everything(before)
    assert after.send("GET", f"/{asset['playback_ids'][0]['id']}.m3u8").status == 200


def test_deleted(restarts: Restarts) -> None:
    """Deleted objects stay deleted, and their ids are not given out again."""
    before = restarts.account()
    asset = before.ready_asset()
    before.ok("DELETE", f"/video/v1/assets/{asset['id']}")

    after = restarts.crash(before)

    assert after.send("GET", f"/video/v1/assets/{asset['id']}").status == 404
    assert after.create_asset()["id"] != asset["id"]


def test_time_goes_on(restarts: Restarts) -> None:
    """Steps scheduled before a crash are executed once after it, and events keep their ids."""
    before = restarts.account(time_to_ready=5.0)
    asset = before.create_asset(static_renditions=[{"resolution": "highest"}])
    after = restarts.crash(before, time_to_ready=5.0)
    after.pass_time(5.0)
    ready = after.asset(asset["id"])
    later = restarts.crash(after, time_to_ready=5.0)
    later.pass_time(5.0)

    assert ready["status"] == "ready"
    assert later.asset(asset["id"])["tracks"] == ready["tracks"]
    assert later.asset(asset["id"])["static_renditions"]["files"][0]["status"] == "ready"
    types = [event.type for event in later.emulator.events]
    assert types.count("video.asset.created") == types.count("video.asset.ready") == 1
    assert [event.id for event in later.emulator.events][: len(after.emulator.events)] == [e.id for e in after.emulator.events]


def test_looking_is_promising(restarts: Restarts) -> None:
    """A step that becomes due during a GET is written before the response is sent."""
    before = restarts.account()
    asset = before.create_asset()
    before.pass_time(1.0)
    seen = before.asset(asset["id"])
    after = restarts.crash(before)

    assert after.asset(asset["id"]) == seen


def test_upload(restarts: Restarts) -> None:
    """Confirmed bytes of an upload are kept, later ones are not, and the upload can be continued."""
    before = restarts.account()
    upload = before.create_upload()
    body = os.urandom(700_000)
    first = before.put(upload["url"], body[:600_000], "bytes 0-599999/700000")
    again = before.put(upload["url"], body[524_288:600_000], "bytes 524288-599999/700000")
    after = restarts.crash(before)
    asked = after.put(upload["url"], b"", "bytes */700000")
    done = after.put(upload["url"], body[524_288:], "bytes 524288-699999/700000")

    assert first.headers["Range"] == again.headers["Range"] == asked.headers["Range"] == "bytes=0-524287"
    assert done.status == 200
    stored = after.emulator.stored_upload(upload["id"])
    assert stored is not None
    assert stored.path is not None
    assert stored.path.read_bytes() == body


def test_reset(restarts: Restarts) -> None:
    """A reset empties the file, too, and starts from the beginning."""
    account = restarts.account()
    first = account.create_asset()
    account.emulator.reset()
    after = restarts.crash(account)

    assert after.data("GET", "/video/v1/assets") == []
    assert account.create_asset()["id"] == first["id"]


def test_seed(restarts: Restarts) -> None:
    """The seed in the file takes precedence over that of the settings, so that upload URLs and the environment's id stay valid."""
    before = restarts.account(seed="one")
    upload = before.create_upload()
    after = restarts.crash(before, seed="two")

    assert after.data("GET", "/system/v1/whoami") == before.data("GET", "/system/v1/whoami")
    assert after.put(upload["url"], b"film").status == 200


def test_provided_endpoints(restarts: Restarts) -> None:
    """An endpoint of the settings exists once after every restart; a new one is added, and one created by the API is kept."""
    one, two = WebhookSettings("https://example.com/one", "secret"), WebhookSettings("https://example.com/two", "secret")
    before = restarts.account(webhooks=(one,))
    before.data("POST", "/system/v1/webhooks", {"address": "https://example.com/mine"})
    after = restarts.crash(restarts.crash(before, webhooks=(one,)), webhooks=(one, two))

    addresses = [entry["address"].rpartition("/")[2] for entry in after.data("GET", "/system/v1/webhooks")]
    assert sorted(addresses) == ["mine", "one", "two"]
    assert len({entry["id"] for entry in after.data("GET", "/system/v1/webhooks")}) == 3


def test_log_is_cut(restarts: Restarts) -> None:
    """Of a log with a bounded length, the file keeps the entries that the account keeps."""
    before = restarts.account(max_events=4)
    for _ in range(6):
        before.create_asset()
    after = restarts.crash(before, max_events=4)

    assert [event.id for event in after.emulator.events] == [event.id for event in before.emulator.events]
    assert len(after.emulator.events) == 4


def test_nothing_to_write(restarts: Restarts) -> None:
    """Reads write nothing to the file."""
    account = restarts.account()
    account.ready_asset()
    stamp = [(part.name, part.stat().st_size) for part in sorted(restarts.path.parent.glob("state*"))]
    for _ in range(20):
        account.data("GET", "/video/v1/assets")
        account.send("GET", "/video/v1/assets/nonsense")

    assert [(part.name, part.stat().st_size) for part in sorted(restarts.path.parent.glob("state*"))] == stamp


def test_two_at_once(restarts: Restarts) -> None:
    """A file that another emulator has open is refused until that one is closed; closing twice is allowed."""
    first = restarts.account()
    first.create_asset()
    with pytest.raises(StateFileError, match="locked"):
        Emulator(restarts.settings)
    first.emulator.close()
    first.emulator.close()

    assert len(restarts.account().data("GET", "/video/v1/assets")) == 1


def test_other_files(tmp_path: Path) -> None:
    """A file of another program or of a newer version, or in a missing folder, is refused with its name, and not changed."""
    text, newer, other = tmp_path / "text", tmp_path / "newer", tmp_path / "other"
    text.write_text("not a database at all, but a text of some length" * 20)
    for path, statement in ((newer, "PRAGMA user_version = 99"), (other, "CREATE TABLE mine (x)")):
        database = sqlite3.connect(path)
        database.execute(statement)
        database.close()
    for path in (text, newer, other):
        before = path.read_bytes()
        with pytest.raises(StateFileError, match=path.name):
            Emulator(EmulatorSettings(state=path))
        assert path.read_bytes() == before
    with pytest.raises(StateFileError, match="cannot open"):
        Emulator(EmulatorSettings(state=tmp_path / "nowhere" / "state"))


PROGRAM = """
import sys, asyncio
from pathlib import Path
from mux_async.emulator import Emulator, EmulatorSettings
from mux_async.emulator.server import serve

async def main():
    emulator = Emulator(EmulatorSettings(limits=None, time_to_ready=0.0, state=Path(sys.argv[1])))
    async with serve(emulator) as origin:
        print(origin, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def ask(method: str, url: str, body: object = None) -> Any:
    content = None if body is None else json.dumps(body).encode()
    request = Request(url, content, {"Authorization": basic(), "Content-Type": "application/json"}, method=method)
    with build_opener(ProxyHandler({})).open(request, timeout=10) as response:
        return json.loads(response.read())["data"]


@pytest.mark.proof
def test_kill(tmp_path: Path) -> None:
    """A server that is killed while it creates assets has lost nothing that it confirmed when it starts again, three times in a row."""
    acknowledged: dict[str, Json] = {}
    for _ in range(3):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "state")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "transports")])}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
            assert server.stdout is not None
            origin = server.stdout.readline().strip()
            try:
                for identity, seen in acknowledged.items():
                    assert ask("GET", f"{origin}/video/v1/assets/{identity}") == seen
                made = [
                    ask("POST", f"{origin}/video/v1/assets", {"inputs": [{"url": "https://example.com/a.mp4"}]})
                    for _ in range(10)
                ]
                for asset in made:
                    acknowledged[asset["id"]] = ask("GET", f"{origin}/video/v1/assets/{asset['id']}")
                # The last thing that it did is what a crash would lose first.
                ask("PATCH", f"{origin}/video/v1/assets/{made[0]['id']}", {"passthrough": "last"})
                acknowledged[made[0]["id"]]["passthrough"] = "last"
            finally:
                server.send_signal(signal.SIGKILL)

    assert len(acknowledged) == 30


LISTS = [
    *(f"/video/v1/{name}" for name in ("assets", "uploads", "live-streams", "playback-restrictions", "spaces", "web-inputs")),
    *("/video/v1/transcription-vocabularies", "/video/v1/drm-configurations", "/video/v1/delivery-usage"),
    *("/system/v1/signing-keys", "/system/v1/webhooks", "/data/v1/annotations"),
    *("/robots/v0/jobs", "/robots/v0/directives", "/robots/v1/jobs", "/robots/v1/directives"),
]


def test_every_kind(restarts: Restarts) -> None:
    """After a crash everything is there: every kind of object, every event, every delivery."""
    before = restarts.account(webhooks=(WebhookSettings("https://example.com/hook", "secret"),))
    tour.changes(before)
    before.data("POST", "/video/v1/spaces", {})
    stream = before.data("POST", "/video/v1/live-streams", {})["id"]
    before.data("POST", "/video/v1/web-inputs", {"url": "https://example.com", "live_stream_id": stream})
    before.data("POST", "/video/v1/transcription-vocabularies", {"phrases": ["Mux"]})
    before.data("POST", "/data/v1/annotations", {"date": int(before.clock.now), "note": "kept"})
    agents = {"allow_no_user_agent": True, "allow_high_risk_user_agent": True}
    body = {"referrer": {"allowed_domains": ["*"], "allow_no_referrer": True}, "user_agent": agents}
    before.data("POST", "/video/v1/playback-restrictions", body)
    before.emulator.live.connect(stream)
    before.pass_time(30)
    seen = {path: before.ok("GET", path) for path in LISTS}
    events, deliveries = before.emulator.events, before.emulator.deliveries
    before.send("GET", "/video/v1/assets")
    after = restarts.crash(before)

    assert {path: after.ok("GET", path) for path in LISTS} == seen
    assert [event.body for event in after.emulator.events] == [event.body for event in events]
    assert [(entry.id, entry.status) for entry in after.emulator.deliveries] == [
        (entry.id, entry.status) for entry in deliveries
    ]
