"""Every event of the facts, and how to produce it: by requests, or by faults that a test sets.

The table is the documentation: somebody who has to handle an event finds here what makes it happen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pytest

from mux_async.emulator import EmulatorSettings, MediaInfo, WorkFault
from tests.emulator import tour
from tests.emulator.harness import Account, Json, always
from tests.emulator.validating import ValidatingAccount, event_facts
from tests.generated import spec

FILM: Json = {"inputs": [{"url": "https://example.com/film.mp4"}], "playback_policies": ["public"]}
SILENT: Json = {
    "url": "https://example.com/silent.mp4",
    "generated_subtitles": [{"language_code": "en", "name": "English"}],
}
"""An input without audio, with generated subtitles."""
SUBTITLES: Json = {"url": "https://example.com/a.vtt", "type": "text", "language_code": "en"}
ASSETS, STREAMS, UPLOADS, SPACES = ("/video/v1/" + name for name in ("assets", "live-streams", "uploads", "spaces"))
WORKFLOWS = {
    operation.path: operation
    for operation in spec.operations()
    if operation.id.startswith(("robots.jobs.", "robots_v0.jobs.")) and operation.id.endswith(".create")
}
"""By path, of both versions."""


def film(account: Account, **members: object) -> Json:
    """A ready asset, an hour later."""
    asset: Json = account.data("POST", ASSETS, {**FILM, **members})
    account.pass_time(3600.0)
    return account.asset(asset["id"])


def failing(work: str, **members: object) -> Callable[[Account], None]:
    """Let the next job of a kind fail, and create an asset that needs it."""

    def provoke(account: Account) -> None:
        account.ok("POST", "/_emulator/work/faults", {"work": work, "message": "on purpose"})
        film(account, **members)

    return provoke


def with_asset(change: Callable[[Account, str], object], **members: object) -> Callable[[Account], None]:
    """Create an asset, do something with its path, and let an hour pass."""

    def provoke(account: Account) -> None:
        change(account, f"{ASSETS}/{film(account, **members)['id']}")
        account.pass_time(3600.0)

    return provoke


def call(method: str, path: str, body: Json | None = None) -> Callable[[Account, str], object]:
    return lambda account, here: account.ok(method, here + path, body)


def delete_track(account: Account, here: str) -> None:
    track = account.data("POST", f"{here}/tracks", SUBTITLES)["id"]
    account.ok("DELETE", f"{here}/tracks/{track}")


def delete_rendition(account: Account, here: str) -> None:
    (file,) = account.data("GET", here)["static_renditions"]["files"]
    account.ok("DELETE", f"{here}/static-renditions/{file['id']}")


def play(account: Account) -> None:
    """Download a file, and report high traffic."""
    playback_id = film(account, static_renditions=[{"resolution": "highest"}])["playback_ids"][0]["id"]
    assert account.send("GET", f"/{playback_id}/highest.mp4").status == 200
    account.ok("POST", "/_emulator/delivery/high-traffic", {"threshold": 1})


def warn(account: Account, here: str) -> None:
    account.ok("POST", f"/_emulator/assets/{here.rpartition('/')[2]}/warning", {"message": "odd"})


def upload(account: Account, *, cancel: bool = False, body: bytes = b"film") -> None:
    made = account.create_upload(cors_origin="*")
    if cancel:
        account.ok("PUT", f"{UPLOADS}/{made['id']}/cancel")
    else:
        account.put(made["url"], body)
        account.pass_time(60.0)


def stream(account: Account, then: str = "", **members: object) -> tuple[str, str]:
    """A live stream with a simulcast target, and the calls named in *then*. Returns its path and the target's id."""
    body = {"simulcast_targets": [{"url": "rtmp://example.com/app", "stream_key": "key"}], **members}
    made = account.data("POST", STREAMS, body)
    here, control = f"{STREAMS}/{made['id']}", f"/_emulator/live-streams/{made['id']}"
    target = made["simulcast_targets"][0]["id"]
    calls: Mapping[str, tuple[str, str, Json | None]] = {
        "connect": ("POST", f"{control}/connect", None),
        "disconnect": ("POST", f"{control}/disconnect", None),
        "fail": ("POST", f"{control}/simulcast-targets/{target}/fail", None),
        "change target": ("POST", f"{control}/simulcast-targets/{target}/update", {"url": "rtmp://example.com/other"}),
        "delete target": ("DELETE", f"{here}/simulcast-targets/{target}", None),
        "update": ("PATCH", here, {"passthrough": "x"}),
        "enable": ("PUT", f"{here}/enable", None),
        "disable": ("PUT", f"{here}/disable", None),
        "delete": ("DELETE", here, None),
    }
    for word in filter(None, then.split(", ")):
        account.ok(*calls[word])
        account.pass_time(120.0)
    return here, target


def space(account: Account, then: str = "") -> None:
    """A space with a broadcast, and the calls named in *then*."""
    live = account.data("POST", STREAMS, {})["id"]
    here = f"{SPACES}/{account.data('POST', SPACES, {})['id']}"
    broadcast = f"{here}/broadcasts/{account.data('POST', f'{here}/broadcasts', {'live_stream_id': live})['id']}"
    control = f"/_emulator/spaces/{here.rpartition('/')[2]}"
    calls: Mapping[str, tuple[str, str, Json | None]] = {
        "join": ("POST", f"{control}/join", {"participant": "somebody"}),
        "leave": ("POST", f"{control}/leave", {"participant": "somebody"}),
        "start": ("POST", f"{broadcast}/start", None),
        "stop": ("POST", f"{broadcast}/stop", None),
        "delete broadcast": ("DELETE", broadcast, None),
        "delete": ("DELETE", here, None),
    }
    for word in filter(None, then.split(", ")):
        account.ok(*calls[word])
        account.pass_time(60.0)


def job(path: str, end: str, account: Account) -> None:
    """A job of a workflow that ends in this status."""
    operation, (jobs, _, workflow) = WORKFLOWS[path], path.rpartition("/")
    asset = film(account, inputs=[{"url": "https://example.com/film.mp4"}, SUBTITLES])
    track = next(track["id"] for track in asset["tracks"] if track["type"] == "text")
    known = {"asset_id": asset["id"], "track_id": track, "to_language_code": "de"}
    if end == "errored":
        account.ok("POST", "/_emulator/work/faults", {"work": "job", "id": workflow, "type": "overloaded"})
    made = account.data("POST", operation.path, tour.job_body(operation, known))["id"]
    if end == "cancelled":
        account.ok("POST", f"{jobs}/{made}/cancel")
    account.pass_time(600.0)


def directive(account: Account, *, failing: Sequence[str] = (), version: int = 0) -> None:
    """A run of a directive with two workflows, of which those named fail."""
    names = ("moderate", "summarize")
    workflows: list[Json] = [{"reference_id": name, "workflow": name, "parameters": {}} for name in names]
    body: Json = {"name": "both", "subject": {"type": "video.asset"}, "workflows": workflows}
    made = account.data("POST", f"/robots/v{version}/directives", body)["id"]
    account.emulator.work_faults.add(*(WorkFault("job", name) for name in failing))
    account.data("POST", f"/robots/v{version}/directives/{made}/runs", {"asset_id": film(account)["id"]})
    account.pass_time(600.0)


Provoke = Callable[[Account], object]
ready = with_asset(lambda _account, _here: None)
shots = with_asset(call("POST", "/shots", {}))
EVENTS: dict[str, Provoke] = {
    "video.asset.created": ready,
    "video.asset.deleted": with_asset(call("DELETE", "")),
    "video.asset.errored": failing("asset"),
    "video.asset.live_stream_completed": partial(stream, then="connect, disconnect"),
    "video.asset.master.deleted": with_asset(
        call("PUT", "/master-access", {"master_access": "none"}), master_access="temporary"
    ),
    "video.asset.master.errored": failing("master", master_access="temporary"),
    "video.asset.master.preparing": with_asset(call("PUT", "/master-access", {"master_access": "temporary"})),
    "video.asset.master.ready": with_asset(call("PUT", "/master-access", {"master_access": "temporary"})),
    "video.asset.non_standard_input_detected": partial(film, inputs=[{"url": "https://example.com/film.webm"}]),
    "video.asset.ready": ready,
    "video.asset.shots.created": shots,
    "video.asset.shots.deleted": with_asset(call("DELETE", "/shots"), generate_shots=True),
    "video.asset.shots.errored": failing("shots", generate_shots=True),
    "video.asset.shots.ready": shots,
    "video.asset.shots.skipped": partial(film, inputs=[{"url": "https://example.com/a.mp3"}], generate_shots=True),
    "video.asset.static_rendition.created": with_asset(call("POST", "/static-renditions", {"resolution": "highest"})),
    "video.asset.static_rendition.deleted": with_asset(delete_rendition, static_renditions=[{"resolution": "highest"}]),
    "video.asset.static_rendition.errored": failing("static_rendition", static_renditions=[{"resolution": "highest"}]),
    "video.asset.static_rendition.ready": with_asset(call("POST", "/static-renditions", {"resolution": "highest"})),
    "video.asset.static_rendition.skipped": with_asset(call("POST", "/static-renditions", {"resolution": "2160p"})),
    "video.asset.static_renditions.deleted": with_asset(
        call("PUT", "/mp4-support", {"mp4_support": "none"}), mp4_support="standard"
    ),
    "video.asset.static_renditions.errored": failing("static_renditions", mp4_support="standard"),
    "video.asset.static_renditions.preparing": with_asset(call("PUT", "/mp4-support", {"mp4_support": "standard"})),
    "video.asset.static_renditions.ready": with_asset(call("PUT", "/mp4-support", {"mp4_support": "standard"})),
    "video.asset.track.created": with_asset(call("POST", "/tracks", SUBTITLES)),
    "video.asset.track.deleted": with_asset(delete_track),
    "video.asset.track.errored": failing("track", inputs=[*FILM["inputs"], SUBTITLES]),
    "video.asset.track.ready": with_asset(call("POST", "/tracks", SUBTITLES)),
    "video.asset.track.skipped": partial(film, inputs=[SILENT]),
    "video.asset.updated": with_asset(call("PATCH", "", {"passthrough": "x"})),
    "video.asset.warning": with_asset(warn),
    "video.delivery.high_traffic": play,
    "video.live_stream.active": partial(stream, then="connect"),
    "video.live_stream.connected": partial(stream, then="connect"),
    "video.live_stream.created": stream,
    "video.live_stream.deleted": partial(stream, then="delete"),
    "video.live_stream.disabled": partial(stream, then="disable"),
    "video.live_stream.disconnected": partial(stream, then="connect, disconnect"),
    "video.live_stream.enabled": partial(stream, then="disable, enable"),
    "video.live_stream.idle": partial(stream, then="connect, disconnect"),
    "video.live_stream.recording": partial(stream, then="connect"),
    "video.live_stream.updated": partial(stream, then="update"),
    "video.live_stream.warning": partial(stream, then="connect", reconnect_slate_url="https://gone.invalid/slate.png"),
    "video.live_stream.simulcast_target.broadcasting": partial(stream, then="connect"),
    "video.live_stream.simulcast_target.created": stream,
    "video.live_stream.simulcast_target.deleted": partial(stream, then="delete target"),
    "video.live_stream.simulcast_target.errored": partial(stream, then="connect, fail"),
    "video.live_stream.simulcast_target.idle": partial(stream, then="connect, disconnect"),
    "video.live_stream.simulcast_target.starting": partial(stream, then="connect"),
    "video.live_stream.simulcast_target.updated": partial(stream, then="change target"),
    "video.upload.asset_created": upload,
    "video.upload.cancelled": partial(upload, cancel=True),
    "video.upload.created": upload,
    "video.upload.errored": partial(upload, body=b""),
    "video.space.active": partial(space, then="join"),
    "video.space.broadcast.active": partial(space, then="join, start"),
    "video.space.broadcast.created": space,
    "video.space.broadcast.deleted": partial(space, then="delete broadcast"),
    "video.space.broadcast.idle": partial(space, then="join, start, stop"),
    "video.space.created": space,
    "video.space.deleted": partial(space, then="delete broadcast, delete"),
    "video.space.idle": partial(space, then="join, leave"),
    "video.space.updated": partial(space, then="delete broadcast"),
    **{
        f"{prefix}.directive_run.{name}": provoke
        for version, prefix in enumerate(("robots", "robots.v1"))
        for name, provoke in {
            "completed": partial(directive, version=version),
            "created": partial(directive, version=version),
            "errored": partial(directive, failing=("moderate", "summarize"), version=version),
            "partial": partial(directive, failing=("moderate",), version=version),
        }.items()
    },
    **{
        f"{'robots.v1' if '/v1/' in path else 'robots'}.job.{path.rpartition('/')[2].replace('-', '_')}.{status}": partial(
            job, path, status if status in {"errored", "cancelled"} else "completed"
        )
        for path in WORKFLOWS
        for status in ("pending", "processing", "completed", "errored", "cancelled")
    },
}


def test_table() -> None:
    """The table has every event of the facts, and no other."""
    assert sorted(EVENTS) == sorted(event_facts())
    assert len(EVENTS) == 206


@pytest.mark.parametrize("type", EVENTS)
def test_event(type: str) -> None:
    """The event occurs at least once, and all events and responses on the way are as described."""
    account = ValidatingAccount(EmulatorSettings(limits=None, accept_robots_terms=True))

    EVENTS[type](account)

    assert type in [event.type for event in account.events]


def test_errors_say_why() -> None:
    """A failure is in its event and in the API, with the given type and message."""
    account = ValidatingAccount()
    for work in ("track", "static_rendition", "shots", "master"):
        account.ok("POST", "/_emulator/work/faults", {"work": work, "type": "odd", "message": "on purpose"})
    asset = film(
        account,
        inputs=[{"url": "https://example.com/film.mp4"}, SUBTITLES],
        static_renditions=[{"resolution": "highest"}],
        master_access="temporary",
        generate_shots=True,
    )
    why = {"type": "odd", "messages": ["on purpose"]}

    assert asset["status"] == "ready"
    assert account.last("video.asset.track.errored")["error"] == why
    assert account.last("video.asset.static_rendition.errored")["error"] == why
    assert account.last("video.asset.shots.errored")["errors"] == why
    assert [track["status"] for track in asset["tracks"] if track["type"] == "text"] == ["errored"]
    assert asset["static_renditions"]["files"][0]["status"] == "errored"
    assert asset["master"] == {"status": "errored"}
    assert asset["shots"] == {"status": "errored", "errors": why}
    assert account.send("GET", f"/{asset['playback_ids'][0]['id']}/highest.mp4").status == 404


def test_one_of_many() -> None:
    """A fault applies to the asset that it names, or to the job of its number; none applies after they are cleared or after a reset."""
    account = Account()
    one, other = account.create_asset(), account.create_asset()
    account.emulator.work_faults.add(WorkFault("asset", one["id"]), WorkFault("asset", nth=[3]))
    account.pass_time(1.0)
    statuses = [account.asset(asset["id"])["status"] for asset in (one, other, account.ready_asset(), account.ready_asset())]
    account.ok("DELETE", "/_emulator/work/faults")

    assert statuses == ["errored", "ready", "errored", "ready"]
    assert len(account.emulator.work_faults) == 0
    account.emulator.work_faults.add(WorkFault("asset"))
    account.ok("POST", "/_emulator/reset")
    assert account.ready_asset()["status"] == "ready"


def test_upload_of_what_fails() -> None:
    """If an uploaded asset fails, its upload is errored, too."""
    account = ValidatingAccount()
    account.emulator.work_faults.add(WorkFault("asset", message="on purpose"))
    upload(account)

    assert account.names()[-2:] == ["asset.errored", "upload.errored"]
    assert account.last("video.upload.errored")["error"] == {"type": "invalid_input", "message": "on purpose"}


def test_traffic() -> None:
    """High traffic counts what was delivered in this hour and the one before, with the numbers of delivery usage."""
    account = ValidatingAccount(probe=always(MediaInfo(duration=30.0)))
    with pytest.raises(ValueError, match="No asset was delivered"):
        account.emulator.assets.announce_traffic()
    play(account)
    told = account.last("video.delivery.high_traffic")
    usage = account.data(
        "GET", f"/video/v1/delivery-usage?timeframe[]={told['timeframe'][0]}&timeframe[]={told['timeframe'][1] - 1}"
    )

    assert told["threshold"] == 1
    assert told["data"][0]["delivered_seconds"] == 30.0
    assert isinstance(told["data"][0]["created_at"], int)
    assert usage == []  # it lags by half a day
    with pytest.raises(ValueError, match="environment must be one of"):
        account.emulator.assets.announce_traffic(environment="elsewhere")
    with pytest.raises(ValueError, match="No asset was delivered for 31 seconds"):
        account.emulator.assets.announce_traffic(threshold=31)
    account.pass_time(2 * 3600.0)
    with pytest.raises(ValueError, match="No asset was delivered"):
        account.emulator.assets.announce_traffic()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("work/faults", {"work": "tracks"}, 400),
        ("work/faults", {"message": "x"}, 400),
        ("work/faults", {"work": "track", "when": 1}, 400),
        ("work/faults", [{"work": "track"}, 5], 400),
        ("assets/unknown/warning", {}, 404),
        ("live-streams/unknown/simulcast-targets/x/update", {}, 404),
        ("delivery/high-traffic", {"threshold": -1}, 400),
        ("delivery/high-traffic", {}, 412),
    ],
)
def test_refused(path: str, body: object, status: int) -> None:
    """An invalid control call is refused with the reason."""
    response = Account().send("POST", f"/_emulator/{path}", body)

    assert response.status == status
    assert response.json()["error"]["messages"][0]
