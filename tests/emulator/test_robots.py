"""Robots: jobs of every workflow, and directives that run several."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from mux_async.emulator import MediaInfo, Request
from tests.emulator.harness import Json, always, target_of, well_formed_id
from tests.emulator.validating import ValidatingAccount

JOBS = "/robots/v0/jobs"
DIRECTIVES = "/robots/v0/directives"
UNKNOWN = well_formed_id()
WORKFLOWS: dict[str, Json] = {
    "ask-questions": {
        "questions": [{"question": "Who?", "answer_options": ["a", "b"]}, {"question": "Why?", "free_form_reply": True}]
    },
    "edit-captions": {"replacements": [{"find": "RIVER", "replace": "lake"}]},
    "find-best-thumbnails": {"max_thumbnails": 3, "update_asset_thumbnail": True},
    "find-key-moments": {"max_moments": 2, "target_duration_ms": {"min": 1000, "max": 3000}},
    "find-scenes": {"min_scenes": 2, "min_scene_duration_ms": 5000},
    "generate-chapters": {"update_asset_chapters": True},
    "generate-engagement-insights": {},
    "generate-premium-captions": {"include_words": True},
    "moderate": {"max_samples": 4, "thresholds": {"violence": 0}, "on_flagged": {"action": "delete_playback_ids"}},
    "summarize": {"tag_count": 3, "update_asset_meta": True},
    "translate-audio": {"to_language_code": "fr"},
    "translate-captions": {"to_language_code": "de", "never_translate": ["Mux"]},
}
"""Parameters of each, besides those that name asset and track."""


def captioned(account: ValidatingAccount, **members: Any) -> tuple[Json, Json]:
    """A ready asset, and its text track."""
    inputs = [{"url": "https://example.com/a.mp4"}, {"url": "https://example.com/a.vtt", "type": "text", "language_code": "en"}]
    asset = account.data("POST", "/video/v1/assets", {"inputs": inputs, **members})
    account.pass_time(1.0)
    ready = account.asset(asset["id"])
    return ready, next(track for track in ready["tracks"] if track["type"] == "text")


def start(account: ValidatingAccount, workflow: str, **more: Any) -> Json:
    """Create a job of the workflow on a new asset."""
    asset, track = captioned(account, playback_policies=["public"], meta={"title": "Film"})
    parameters = {"asset_id": asset["id"], **WORKFLOWS[workflow], **more}
    if workflow in {"edit-captions", "translate-captions"}:
        parameters["track_id"] = track["id"]
    response = account.send("POST", f"{JOBS}/{workflow}", {"parameters": parameters, "passthrough": "p"})
    assert response.status == 202, response.body
    return dict(response.json()["data"])


def finish(account: ValidatingAccount, job: Json) -> Json:
    """Let the job finish, and return it."""
    account.pass_time(1.0)
    return dict(account.data("GET", f"{JOBS}/{job['workflow']}/{job['id']}"))


def titles(account: ValidatingAccount) -> list[str]:
    return [event.type.rpartition(".")[2] for event in account.events if event.type.startswith("robots.job.")]


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_life(workflow: str) -> None:
    """A job of every workflow is pending, processing, completed, at the right times, with outputs and events as described."""
    account = ValidatingAccount()
    job = start(account, workflow)
    account.pass_time(0.5)
    processing = account.data("GET", f"{JOBS}/{workflow}/{job['id']}")
    done = finish(account, job)
    name = f"robots.job.{workflow.replace('-', '_')}.completed"
    nested: Any = orjson.loads(next(event.body for event in account.events if event.type == name))["data"]

    assert (job["status"], job["units_consumed"], job["passthrough"]) == ("pending", 0, "p")
    assert isinstance(job["created_at"], int)
    assert processing["status"] == "processing"
    assert done["status"] == "completed"
    assert done["units_consumed"] >= 1
    assert done["outputs"]
    assert done["resources"]["assets"][0]["id"] == job["parameters"]["asset_id"]
    assert titles(account) == ["pending", "processing", "completed"]
    assert nested == {name: done}


def test_same_every_time() -> None:
    """The same asset gives the same findings."""
    assert [
        finish(account, start(account, "moderate"))["outputs"] for account in (ValidatingAccount(), ValidatingAccount())
    ] == [finish(account, start(account, "moderate"))["outputs"] for account in (ValidatingAccount(), ValidatingAccount())]


def test_counts_and_bounds() -> None:
    """There are as many findings as requested, within the requested scope."""
    account = ValidatingAccount(probe=always(MediaInfo(duration=100.0)))
    scope = {"output_steering": {"scope": {"start_time": 20.0, "end_time": 60.0}}}
    moments = finish(account, start(account, "find-key-moments"))["outputs"]["moments"]
    scenes = finish(account, start(account, "find-scenes", **scope))["outputs"]["scenes"]
    thumbnails = finish(account, start(account, "find-best-thumbnails", **scope))["outputs"]["best_thumbnails"]
    summary = finish(account, start(account, "summarize", title_length=5))["outputs"]
    answers = finish(account, start(account, "ask-questions"))["outputs"]["answers"]
    samples = finish(account, start(account, "moderate"))["outputs"]["thumbnail_scores"]

    assert [moment["end_ms"] - moment["start_ms"] for moment in moments] == [3000, 3000]
    assert (scenes[0]["start_ms"], scenes[-1]["end_ms"], len(scenes)) == (20_000, 60_000, 2)
    assert all(20_000 <= found["timestamp_ms"] <= 60_000 for found in thumbnails)
    assert [found["overall"] for found in thumbnails] == sorted((found["overall"] for found in thumbnails), reverse=True)
    assert (len(summary["tags"]), len(summary["title"])) == (3, 5)
    assert [answer["question"] for answer in answers] == ["Who?", "Why?"]
    assert answers[0]["answer"] in {"a", "b"}
    assert len(samples) == 4


def test_effects() -> None:
    """Jobs change their asset as requested: tracks, title, thumbnail, playback ids."""
    account = ValidatingAccount()
    jobs = {workflow: finish(account, start(account, workflow)) for workflow in WORKFLOWS}

    def asset(workflow: str) -> Json:
        return account.asset(jobs[workflow]["parameters"]["asset_id"])

    def ids(workflow: str) -> list[str]:
        return [track["id"] for track in asset(workflow)["tracks"]]

    edited = jobs["edit-captions"]
    assert edited["outputs"]["total_replacement_count"] > 0
    assert edited["outputs"]["uploaded_track_id"] in ids("edit-captions")
    assert edited["parameters"]["track_id"] not in ids("edit-captions")
    assert jobs["translate-captions"]["outputs"]["uploaded_track_id"] in ids("translate-captions")
    assert jobs["translate-captions"]["outputs"]["never_translate_terms_preserved"] is True
    assert jobs["translate-audio"]["outputs"]["uploaded_track_id"] in ids("translate-audio")
    assert jobs["generate-premium-captions"]["outputs"]["track_id"] in ids("generate-premium-captions")
    assert jobs["generate-chapters"]["outputs"]["asset_update"]["track_id"] in ids("generate-chapters")
    assert asset("summarize")["meta"]["title"] == jobs["summarize"]["outputs"]["title"]
    best = jobs["find-best-thumbnails"]["outputs"]["best_thumbnails"][0]["timestamp_ms"]
    assert asset("find-best-thumbnails")["thumbnail_time"] == best / 1000
    flagged = jobs["moderate"]["outputs"]
    assert flagged["exceeds_threshold"] is True
    (gone,) = flagged["flagged_action"]["deleted_playback_ids"]
    assert "playback_ids" not in asset("moderate")
    assert account.error("GET", f"/video/v1/playback-ids/{gone}")[0] == 404


def test_temporary_files() -> None:
    """An output that is not uploaded to Mux can be downloaded for a limited time."""
    account = ValidatingAccount()
    captions = finish(account, start(account, "translate-captions", upload_to_mux=False))["outputs"]["temporary_vtt_url"]
    edited = finish(account, start(account, "edit-captions", upload_to_mux=False))["outputs"]["temporary_vtt_url"]
    audio = finish(account, start(account, "translate-audio", upload_to_mux=False))["outputs"]["temporary_audio_url"]
    premium = finish(account, start(account, "generate-premium-captions", upload_to_mux=False))["outputs"]

    def fetch(url: str) -> bytes:
        response = account.emulator.handle(Request("GET", target_of(url)))
        assert response.status == 200
        return response.body

    assert fetch(captions).startswith(b"WEBVTT\n")
    assert b"lake" in fetch(edited)
    assert b"river" not in fetch(edited)
    assert fetch(audio)[:4] == b"RIFF"
    assert b"00:00:00,000 --> 00:00:02,500" in fetch(premium["temporary_srt_url"])
    assert orjson.loads(fetch(premium["temporary_words_url"]))["words"]
    assert "track_id" not in premium
    assert account.emulator.handle(Request("GET", "/_emulator/robots/nobody/captions.vtt")).status == 404


def test_duplicate() -> None:
    """A second job of the same workflow, asset and parameters is a 409 while the first one runs, but not after it."""
    account = ValidatingAccount()
    job = start(account, "summarize")
    body = {"parameters": job["parameters"]}
    refused = account.send("POST", f"{JOBS}/summarize", body)
    other = account.send("POST", f"{JOBS}/summarize", {"parameters": {**job["parameters"], "tag_count": 4}})
    finish(account, job)

    assert refused.status == 409
    assert set(refused.json()["error"]) == {"type", "message"}
    assert other.status == 202
    assert account.send("POST", f"{JOBS}/summarize", body).status == 202


def test_refused() -> None:
    """A job needs a ready asset, a text track if it works on one, and valid parameters."""
    account = ValidatingAccount()
    asset, track = captioned(account)
    sound = next(entry for entry in asset["tracks"] if entry["type"] == "audio")

    def status(workflow: str, **parameters: Any) -> int:
        return account.send("POST", f"{JOBS}/{workflow}", {"parameters": parameters}).status

    assert status("summarize") == 400
    assert status("summarize", asset_id=5) == 400
    assert status("summarize", asset_id="somefakeid") == 400
    assert status("summarize", asset_id=asset["id"], tone="angry") == 400
    assert status("summarize", asset_id=UNKNOWN) == 404
    preparing = account.create_asset()["id"]
    assert status("summarize", asset_id=preparing) == 422
    assert status("translate-captions", asset_id=asset["id"], to_language_code="de", track_id=UNKNOWN) == 404
    assert status("translate-captions", asset_id=asset["id"], to_language_code="de", track_id=sound["id"]) == 422
    assert status("translate-captions", asset_id=asset["id"], track_id=track["id"]) == 400
    assert account.send("GET", f"{JOBS}/summarize/{UNKNOWN}").status == 404
    assert account.send("POST", f"{JOBS}/write-a-novel", {"parameters": {}}).status == 404


def test_errored() -> None:
    """A job is errored, with the reason, if its asset or track is deleted or its asset has no audio that it needs."""
    account = ValidatingAccount()
    gone = start(account, "summarize")
    account.send("DELETE", f"/video/v1/assets/{gone['parameters']['asset_id']}")
    lost = start(account, "translate-captions")
    account.send("DELETE", f"/video/v1/assets/{lost['parameters']['asset_id']}/tracks/{lost['parameters']['track_id']}")
    silent = ValidatingAccount(probe=always(MediaInfo(duration=5.0, channels=0)))
    song = ValidatingAccount(probe=always(MediaInfo(duration=5.0, width=0, height=0)))

    failures = [finish(account, gone), finish(account, lost)]
    failures += [finish(silent, start(silent, "translate-audio")), finish(song, start(song, "find-scenes"))]
    assert [job["errors"][0]["type"] for job in failures] == ["asset_not_found", "track_not_found", "no_audio", "no_video"]
    assert {job["status"] for job in failures} == {"errored"}
    assert titles(silent)[-1] == "errored"
    assert "resources" not in failures[0]


def test_cancel() -> None:
    """A running job can be cancelled once; it has no results."""
    account = ValidatingAccount()
    job = start(account, "summarize")
    cancelled = account.data("POST", f"{JOBS}/{job['id']}/cancel")
    again = account.send("POST", f"{JOBS}/{job['id']}/cancel")
    after = finish(account, job)

    assert cancelled["status"] == "cancelled"
    assert again.status == 409
    assert after["status"] == "cancelled"
    assert "outputs" not in after
    assert titles(account) == ["pending", "cancelled"]


def test_list() -> None:
    """Jobs are listed newest first, with a total, by asset, status and workflow; they are deleted after thirty days."""
    account = ValidatingAccount()
    first, second = start(account, "summarize"), start(account, "moderate")
    finish(account, first)
    third = start(account, "summarize")

    def found(query: str) -> list[str]:
        return [job["id"] for job in account.data("GET", f"{JOBS}?{query}")]

    listed = account.ok("GET", f"{JOBS}?limit=2")
    assert [job["id"] for job in listed["data"]] == [third["id"], second["id"]]
    assert listed["total_row_count"] == 3
    assert listed["data"][0]["_links"]["self"]["href"].endswith(f"{JOBS}/summarize/{third['id']}")
    assert found("workflow=summarize") == [third["id"], first["id"]]
    assert found("status=pending") == [third["id"]]
    assert found(f"asset_id={first['parameters']['asset_id']}") == [first["id"]]
    assert account.send("GET", f"{JOBS}?status=lost").status == 400
    assert account.send("GET", f"{JOBS}?workflow=write").status == 400
    account.pass_time(30 * 24 * 3600.0)
    assert found("") == []


# ---- directives


def directive(account: ValidatingAccount, workflows: list[Json], resources: list[Json] | None = None) -> Json:
    body: Json = {"name": "all", "subject": {"type": "video.asset"}, "workflows": workflows}
    return dict(account.data("POST", DIRECTIVES, body if resources is None else {**body, "resources": resources}))


def run(account: ValidatingAccount, made: Json, asset: Json) -> Json:
    """Create a run, and return it after it was dispatched."""
    response = account.send("POST", f"{DIRECTIVES}/{made['id']}/runs", {"asset_id": asset["id"]})
    assert response.status == 202
    begun = response.json()["data"]
    assert (begun["status"], begun["subject_id"]) == ("pending", asset["id"])
    account.pass_time(0.5)
    return look(account, made, begun["run_id"])


def look(account: ValidatingAccount, made: Json, run_id: str) -> Json:
    return dict(account.data("GET", f"{DIRECTIVES}/{made['id']}/runs/{run_id}"))


def states(found: Json) -> list[str]:
    return [node["status"] for node in found["node_states"]]


def test_directives() -> None:
    """Directives are created, listed with a total, read and deleted; the names in them must be consistent."""
    account = ValidatingAccount()
    made = directive(account, [{"reference_id": "s", "workflow": "summarize"}])
    listed = account.ok("GET", DIRECTIVES)

    assert listed == {"data": [made], "total_row_count": 1}
    assert account.data("GET", f"{DIRECTIVES}/{made['id']}") == made
    assert account.send("DELETE", f"{DIRECTIVES}/{made['id']}").status == 204
    assert account.send("GET", f"{DIRECTIVES}/{made['id']}").status == 404
    twice = [{"reference_id": "s", "workflow": "summarize"}, {"reference_id": "s", "workflow": "moderate"}]
    stray = [{"reference_id": "s", "workflow": "summarize", "inputs": ["nothing"]}]
    for workflows in ([], twice, stray, [{"reference_id": "s", "workflow": "write"}]):
        body = {"name": "x", "subject": {"type": "video.asset"}, "workflows": workflows}
        assert account.send("POST", DIRECTIVES, body).status == 400


def test_run() -> None:
    """A run dispatches its workflows as jobs that refer to it, and is completed with the last of them."""
    account = ValidatingAccount()
    asset, _ = captioned(account)
    made = directive(account, [{"reference_id": "s", "workflow": "summarize"}, {"reference_id": "m", "workflow": "moderate"}])
    running = run(account, made, asset)
    jobs = account.data("GET", JOBS)
    account.pass_time(1.0)
    done = look(account, made, running["run_id"])

    assert (running["status"], states(running), running["completed_at"]) == ("running", ["dispatched"] * 2, None)
    assert sorted(job["id"] for job in jobs) == sorted(node["job_id"] for node in running["node_states"])
    job = account.data("GET", f"{JOBS}/summarize/{running['node_states'][0]['job_id']}")
    assert job["directive"] == {"id": made["id"], "run_id": running["run_id"]}
    assert done["status"] == "completed"
    assert done["completed_at"] is not None
    assert account.ok("GET", f"{DIRECTIVES}/{made['id']}/runs") == {"data": [done], "total_row_count": 1}
    assert [event.type for event in account.events if "directive" in event.type] == [
        "robots.directive_run.created",
        "robots.directive_run.completed",
    ]
    assert account.send("GET", f"{DIRECTIVES}/{made['id']}/runs/{UNKNOWN}").status == 404


def test_run_in_order() -> None:
    """A workflow that depends on another one waits for it, and works on its output."""
    account = ValidatingAccount()
    asset = account.ready_asset()
    captions = {
        "reference_id": "c",
        "type": "video.asset.track",
        "kind": "caption",
        "source": {"via": "workflow", "binding": "p"},
    }
    workflows: list[Json] = [
        {"reference_id": "t", "workflow": "translate-captions", "params": {"to_language_code": "de"}, "inputs": ["c"]},
        {"reference_id": "p", "workflow": "generate-premium-captions"},
    ]
    made = directive(account, workflows, [captions])
    first = run(account, made, asset)
    account.pass_time(1.0)
    second = look(account, made, first["run_id"])
    account.pass_time(1.0)
    job = account.data("GET", f"{JOBS}/translate-captions/{second['node_states'][0]['job_id']}")
    premium = account.data("GET", f"{JOBS}/generate-premium-captions/{first['node_states'][1]['job_id']}")

    assert states(first) == ["waiting_for_source_workflow", "dispatched"]
    assert first["node_states"][0]["source_workflows"] == ["p"]
    assert states(second) == ["dispatched", "dispatched"]
    assert job["parameters"]["track_id"] == premium["outputs"]["track_id"]
    assert look(account, made, first["run_id"])["status"] == "completed"


def test_run_asks_for_resources() -> None:
    """A run requests the resources that the API can make, and waits for them and for those of the client."""
    account = ValidatingAccount()
    asset = account.ready_asset()
    resources: list[Json] = [
        {"reference_id": "shots", "type": "video.asset.shots", "source": {"via": "mux_api", "action": "request_shots"}},
        {
            "reference_id": "captions",
            "type": "video.asset.track",
            "kind": "caption",
            "language": "es",
            "source": {"via": "external"},
        },
        {
            "reference_id": "own",
            "type": "video.asset.track",
            "kind": "caption",
            "language": "en",
            "source": {"via": "mux_api", "action": "generate_subtitles", "params": {"language_code": "en"}},
        },
    ]
    workflows: list[Json] = [
        {"reference_id": "scenes", "workflow": "find-scenes", "inputs": ["shots", "own"]},
        {
            "reference_id": "german",
            "workflow": "translate-captions",
            "params": {"to_language_code": "de"},
            "inputs": ["captions"],
        },
    ]
    made = directive(account, workflows, resources)
    first = run(account, made, asset)
    account.pass_time(1.0)
    second = look(account, made, first["run_id"])
    account.pass_time(1.0)
    waiting = look(account, made, first["run_id"])
    track = {"url": "https://x.example/a.vtt", "type": "text", "language_code": "es"}
    account.data("POST", f"/video/v1/assets/{asset['id']}/tracks", track)
    account.pass_time(2.0)

    assert states(first) == ["waiting_for_resources"] * 2
    assert first["status"] == "waiting"
    assert states(second) == ["dispatched", "waiting_for_resources"]
    assert (second["status"], waiting["status"]) == ("running", "waiting")
    assert look(account, made, first["run_id"])["status"] == "completed"
    assert account.asset(asset["id"])["shots"]["status"] == "completed"


def test_run_fails_in_part() -> None:
    """A missing resource fails its workflow and the dependent ones; the run is partial, or errored if no workflow succeeded."""
    account = ValidatingAccount()
    asset = account.ready_asset()
    resources: list[Json] = [
        {"reference_id": "c", "type": "video.asset.track", "kind": "caption", "source": {"via": "required"}},
        {"reference_id": "made", "type": "video.asset.track", "kind": "caption", "source": {"via": "workflow", "binding": "t"}},
    ]
    broken: list[Json] = [
        {"reference_id": "t", "workflow": "translate-captions", "params": {"to_language_code": "de"}, "inputs": ["c"]},
        {"reference_id": "e", "workflow": "edit-captions", "inputs": ["made"]},
    ]
    partial = directive(account, [*broken, {"reference_id": "s", "workflow": "summarize"}], resources)
    errored = directive(account, broken, resources)
    first, second = run(account, partial, asset), run(account, errored, asset)
    account.pass_time(1.0)

    assert states(first) == ["failed", "failed", "dispatched"]
    assert first["node_states"][0]["reason"] == "the resource c is not there"
    assert look(account, partial, first["run_id"])["status"] == "partial"
    assert second["status"] == "errored"
    assert [event.type.rpartition(".")[2] for event in account.events if "directive" in event.type] == [
        "created",
        "created",
        "errored",
        "partial",
    ]


def test_attached() -> None:
    """The directive of an asset runs when the asset is ready; that of a live stream, when its recording is complete."""
    account = ValidatingAccount()
    made = directive(account, [{"reference_id": "s", "workflow": "summarize"}])
    asset = account.ready_asset(directives=[{"id": made["id"]}])
    account.pass_time(2.0)
    stream = account.data("POST", "/video/v1/live-streams", {"new_asset_settings": {"directives": [{"id": made["id"]}]}})
    account.emulator.live.connect(stream["id"])
    account.pass_time(30.0)
    during = account.ok("GET", f"{DIRECTIVES}/{made['id']}/runs")
    account.emulator.live.disconnect(stream["id"])
    account.pass_time(70.0)
    after = account.ok("GET", f"{DIRECTIVES}/{made['id']}/runs")

    assert [entry["subject_id"] for entry in during["data"]] == [asset["id"]]
    assert after["total_row_count"] == 2
    assert {entry["status"] for entry in after["data"]} == {"completed"}


def test_run_of_a_deleted_asset() -> None:
    """If the asset of a run is deleted, the workflows that were not dispatched fail."""
    account = ValidatingAccount()
    asset = account.ready_asset()
    resource = {"reference_id": "c", "type": "video.asset.track", "kind": "caption", "source": {"via": "external"}}
    made = directive(account, [{"reference_id": "s", "workflow": "summarize", "inputs": ["c"]}], [resource])
    waiting = run(account, made, asset)
    account.send("DELETE", f"/video/v1/assets/{asset['id']}")
    account.ready_asset()  # something happens, so the run looks again

    assert waiting["status"] == "waiting"
    assert look(account, made, waiting["run_id"])["status"] == "errored"
    fresh = account.create_asset()["id"]
    assert account.send("POST", f"{DIRECTIVES}/{made['id']}/runs", {"asset_id": fresh}).status == 422
