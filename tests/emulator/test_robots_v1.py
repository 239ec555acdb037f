"""Robots v1 in the emulator: its terms, its own jobs and directives, and what is different from v0."""

from __future__ import annotations

import pytest

from mux_async.emulator import Emulator, RobotsPlan
from tests.emulator.harness import Account, Json

V0, V1 = "/robots/v0/jobs", "/robots/v1/jobs"


@pytest.fixture
def account() -> Account:
    """An account that has accepted the terms."""
    return Account(accept_robots_terms=True)


def summarize(account: Account, asset: Json, root: str = V1) -> Json:
    made: Json = account.data("POST", f"{root}/summarize", {"parameters": {"asset_id": asset["id"]}})
    return made


def test_terms() -> None:
    """Until the terms are accepted, every call of v1 is a 403 that says where to accept them; v0 needs none."""
    account = Account()
    asset = account.ready_asset()
    body = {"parameters": {"asset_id": asset["id"]}}
    refused = account.send("POST", f"{V1}/summarize", body)

    assert refused.status == 403
    assert refused.json()["error"]["type"] == "forbidden"
    assert "https://dashboard.mux.com/" in refused.json()["error"]["message"]
    assert [account.send("GET", path).status for path in (V1, "/robots/v1/directives")] == [403, 403]
    assert account.send("GET", V0).status == 200
    account.ok("POST", "/_emulator/robots/terms")
    assert account.send("POST", f"{V1}/summarize", body).status == 202


def test_terms_from_python() -> None:
    """The terms can be accepted for one environment by its name; an unknown name is refused."""
    account = Account()
    assert isinstance(account.emulator, Emulator)

    with pytest.raises(ValueError, match="environment must be one of"):
        account.emulator.accept_robots_terms("nowhere")
    account.emulator.accept_robots_terms("development")
    assert account.send("GET", V1).status == 200


def test_plan() -> None:
    """Jobs beyond the units of a plan and workflows outside of it are a 403 of their own, in both versions, until the plan is changed."""
    account = Account(accept_robots_terms=True, robots_plan=RobotsPlan(workflows=("summarize",)))
    asset = account.ready_asset()
    body = {"parameters": {"asset_id": asset["id"]}}
    assert [_refusal(account, f"{root}/moderate", body) for root in (V0, V1)] == ["robots_workflow_not_available"] * 2
    job = summarize(account, asset)
    account.pass_time(600)
    units = account.data("GET", f"{V1}/summarize/{job['id']}")["units_consumed"]

    account.ok("POST", "/_emulator/robots/plan", {"units": units})
    assert [_refusal(account, f"{root}/moderate", body) for root in (V0, V1)] == ["robots_units_limit_exceeded"] * 2
    account.ok("POST", "/_emulator/robots/plan", {"units": units + 1})
    assert account.send("POST", f"{V1}/moderate", body).status == 202


def _refusal(account: Account, path: str, body: Json) -> str:
    answer = account.send("POST", path, body)
    assert answer.status == 403
    kind: str = answer.json()["error"]["type"]
    return kind


def test_plan_from_python() -> None:
    """The plan of one environment can be set by its name; an unknown workflow or environment is refused."""
    account = Account(accept_robots_terms=True)
    asset = account.ready_asset()
    with pytest.raises(ValueError, match="'dance' is not a workflow"):
        RobotsPlan(workflows=("dance",))
    assert account.send("POST", "/_emulator/robots/plan", {"workflows": ["dance"]}).status == 400
    with pytest.raises(ValueError, match="environment must be one of"):
        account.emulator.set_robots_plan(RobotsPlan(), "nowhere")
    account.emulator.set_robots_plan(RobotsPlan(units=0), "development")
    assert _refusal(account, f"{V1}/summarize", {"parameters": {"asset_id": asset["id"]}}) == "robots_units_limit_exceeded"


def test_a_run_outside_of_the_plan(account: Account) -> None:
    """A directive run states which of its workflows the plan does not include."""
    account.emulator.set_robots_plan(RobotsPlan(workflows=("moderate",)))
    made = account.data("POST", "/robots/v1/directives", {"workflows": [{"workflow": "summarize"}]})
    runs = f"/robots/v1/directives/{made['id']}/runs"
    run = account.data("POST", runs, {"asset_id": account.ready_asset()["id"]})
    account.pass_time(60)
    shown = account.data("GET", f"{runs}/{run['run_id']}")

    assert shown["status"] == "errored"
    assert "not available" in shown["node_states"][0]["reason"]


def test_versions_do_not_share(account: Account) -> None:
    """A duplicate is a 409 within a version only; neither version lists, shows or cancels a job of the other."""
    asset = account.ready_asset()
    new, old = summarize(account, asset), summarize(account, asset, V0)
    body = {"parameters": {"asset_id": asset["id"]}}

    assert [account.send("POST", f"{root}/summarize", body).status for root in (V0, V1)] == [409, 409]
    assert [job["id"] for job in account.data("GET", V1)] == [new["id"]]
    assert [job["id"] for job in account.data("GET", V0)] == [old["id"]]
    assert account.send("GET", f"{V1}/summarize/{old['id']}").status == 404
    assert account.send("POST", f"{V0}/{new['id']}/cancel").status == 404


def test_events_in_order(account: Account) -> None:
    """A job of v1 sends its own events, in order."""
    summarize(account, account.ready_asset())
    account.pass_time(600)

    types = [event.type for event in account.emulator.events if event.type.startswith("robots.")]
    assert types == [f"robots.v1.job.summarize.{status}" for status in ("pending", "processing", "completed")]


def test_seconds(account: Account) -> None:
    """Results of v1 count in seconds, those of v0 in milliseconds."""
    asset = account.ready_asset()
    body = {"parameters": {"asset_id": asset["id"]}}
    jobs = {root: account.data("POST", f"{root}/find-key-moments", body)["id"] for root in (V0, V1)}
    account.pass_time(600)
    old, new = (account.data("GET", f"{root}/find-key-moments/{jobs[root]}")["outputs"]["moments"][0] for root in (V0, V1))

    assert new["end_time"] == old["end_ms"] / 1000
    assert not [name for name in new if name.endswith("_ms")]


def test_chapters(account: Account) -> None:
    """Chapters that are written to the asset are a track of chapters, which is not in playlists as subtitles."""
    asset = account.ready_asset()
    body = {"parameters": {"asset_id": asset["id"], "update_asset_chapters": True}}
    job = account.data("POST", f"{V1}/generate-chapters", body)["id"]
    account.pass_time(600)

    update = account.data("GET", f"{V1}/generate-chapters/{job}")["outputs"]["asset_updates"]["chapters"]
    (track,) = [track for track in account.asset(asset["id"])["tracks"] if track["type"] == "text"]
    assert update == {"status": "created", "track_id": track["id"]}
    assert track["text_type"] == "chapters"


def test_missing_scope() -> None:
    """A token without the permission of Robots gets a 401 of its own type."""
    from mux_async.emulator import EmulatorSettings, Token

    account = Account(EmulatorSettings(limits=None, tokens=(Token("test-token", "test-secret", permissions=("video:read",)),)))
    refused = account.send("GET", V1)

    assert (refused.status, refused.json()["error"]["type"]) == (401, "insufficient_scope")


def test_not_found_scenes(account: Account) -> None:
    """v1 finds scenes by analyze-structure; there is no separate workflow for them."""
    body = {"parameters": {"asset_id": account.ready_asset()["id"]}}
    job = account.data("POST", f"{V1}/analyze-structure", body)["id"]
    account.pass_time(600)

    assert account.data("GET", f"{V1}/analyze-structure/{job}")["outputs"]["scenes"]
    assert account.send("POST", f"{V1}/find-scenes", body).status == 404
