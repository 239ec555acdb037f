"""``/robots/v1/directives``, ``/robots/v0/directives`` and their runs (facts/BEHAVIOUR.md, 10).

A run is several workflows on one asset, in the order their inputs allow. It checks its inputs again whenever something happens to
an asset or a job (`reconsider`). A workflow is dispatched, as an ordinary job, once all its inputs are there; it fails when one of them
cannot come.

How version 1 writes resources and workflows is not published: here it takes what version 0 takes, and requires less of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import attrs

from mux_async.emulator.http._messages import ApiError, Response, created, data, invalid, json_response, no_content, not_found
from mux_async.emulator.resources._asset_lifecycle import add_track, begin_shots, begin_track
from mux_async.emulator.robots._jobs import OPEN, VERSIONS, check_terms, create_job, event_prefix
from mux_async.emulator.routing._router import ApiCall, Route, take
from mux_async.emulator.state._records import Directive, DirectiveRun, Job, Json, Node
from mux_async.emulator.state._state import Asset, Environment, State, Track
from mux_async.emulator.webhooks._events import emit

ENDED = frozenset({"completed", "partial", "errored"})
DISPATCH = 0.5
"""Seconds that a run is pending."""
_NEEDS_TRACK = frozenset({"edit-captions", "translate-captions"})


@attrs.frozen
class Input:
    """The state of one input of a workflow.

    *detail* is the id of a track that is there, the name of a workflow of this run that makes it (``made``), or why it is ``missing``.
    """

    state: Literal["there", "awaited", "made", "missing"]
    detail: str = ""


def _directive_json(directive: Directive) -> Json:
    return {
        "id": directive.id,
        "name": directive.name,
        "subject": directive.subject,
        "workflows": directive.workflows,
        "resources": directive.resources,
        "created_at": int(directive.created_at),
        "updated_at": int(directive.updated_at),
        **({"_links": {"self": {"href": f"/robots/v1/directives/{directive.id}"}}} if directive.version else {}),
    }


def _run_members(environment: Environment, run: DirectiveRun) -> Json:
    return {
        "status": run.status,
        "started_at": int(run.started_at),
        "completed_at": None if run.completed_at is None else int(run.completed_at),
        "node_states": [_node_json(environment, run, node) for node in run.nodes],
    }


def _run_json(environment: Environment, run: DirectiveRun) -> Json:
    return {"run_id": run.id, "subject_id": run.asset_id, **_run_members(environment, run)}


def _node_json(environment: Environment, run: DirectiveRun, node: Node) -> Json:
    if node.reason is not None:
        return {"reference_id": node.reference_id, "status": "failed", "reason": node.reason}
    shown: Json = {"reference_id": node.reference_id, "workflow_name": node.workflow}
    if node.job_id is not None:
        return {**shown, "status": "dispatched", "job_id": node.job_id}
    asset = environment.assets.get(run.asset_id)
    inputs = (
        []
        if asset is None
        else [_input_state(environment, run, asset, name) for name in _binding(run, node).get("inputs") or ()]
    )
    sources = [found.detail for found in inputs if found.state == "made"]
    if sources:
        return {**shown, "status": "waiting_for_source_workflow", "source_workflows": sources}
    return {**shown, "status": "waiting_for_resources"}


def _run_event(state: State, environment: Environment, name: str, run: DirectiveRun) -> None:
    members = {"id": run.id, "asset_id": run.asset_id, "directive_id": run.directive_id, **_run_members(environment, run)}
    payload = {
        "created_at": int(run.started_at),
        "directive_run": members,
        "environment_id": environment.id,
        "internal_id": run.id,
    }
    emit(state, environment, f"{event_prefix(run.version)}.directive_run.{name}", ("directive_run", run.id), payload)


def _binding(run: DirectiveRun, node: Node) -> Json:
    found: Json = next(entry for entry in run.directive["workflows"] if entry["reference_id"] == node.reference_id)
    return found


# ---- runs


def start_run(state: State, environment: Environment, directive: Directive, asset: Asset) -> DirectiveRun:
    """Begin a run on a ready asset."""
    run = DirectiveRun(
        state.id_generator.uuid("directive run"),
        state.next_number(),
        directive.id,
        _directive_json(directive),
        asset.id,
        state.now,
        nodes=[Node(entry["reference_id"], entry["workflow"]) for entry in directive.workflows],
        version=directive.version,
    )
    environment.directive_runs[run.id] = run
    _run_event(state, environment, "created", run)
    state.work(DISPATCH, "run.dispatch", environment, run.id)
    return run


def run_directive_step(state: State, environment: Environment, name: str, subject: str) -> None:
    """Dispatch a run, or begin those that an asset was created with."""
    if name == "run.attach":
        asset = environment.assets.get(subject)
        for entry in () if asset is None else asset.options.get("directives", ()):
            directive = environment.directives.get(entry["id"])
            if directive is not None and asset is not None:
                start_run(state, environment, directive, asset)
        return
    run = environment.directive_runs.get(subject)
    if run is not None and run.status == "pending":
        run.status = "dispatching"
        _advance(state, environment, run)


def reconsider(state: State, environment: Environment) -> None:
    """Check the inputs of every open run again."""
    for run in [run for run in environment.directive_runs.values() if run.status not in ENDED and run.status != "pending"]:
        _advance(state, environment, run)


def _advance(state: State, environment: Environment, run: DirectiveRun) -> None:
    asset = environment.assets.get(run.asset_id)
    for node in run.nodes:
        if node.job_id is None and node.reason is None:
            if asset is None:
                node.reason = "the asset was deleted"
            else:
                _dispatch(state, environment, run, asset, node)
    jobs = [environment.jobs.get(node.job_id) for node in run.nodes if node.job_id is not None]
    if any(job is not None and job.status in OPEN for job in jobs):
        run.status = "running"
    elif any(node.job_id is None and node.reason is None for node in run.nodes):
        run.status = "waiting"
    else:
        completed = sum(job is not None and job.status == "completed" for job in jobs)
        run.status = "completed" if completed == len(run.nodes) else "partial" if completed else "errored"
        run.completed_at = state.now
        _run_event(state, environment, run.status, run)


def _dispatch(state: State, environment: Environment, run: DirectiveRun, asset: Asset, node: Node) -> None:
    binding = _binding(run, node)
    for name in binding.get("inputs") or ():
        _request_resource(state, environment, run, asset, name)
    inputs = [_input_state(environment, run, asset, name) for name in binding.get("inputs") or ()]
    missing = next((found.detail for found in inputs if found.state == "missing"), None)
    if missing is not None:
        node.reason = missing
        return
    if any(found.state != "there" for found in inputs):
        return
    given: Json = binding.get("params") or {}
    parameters: Json = {**given, "asset_id": asset.id}
    if node.workflow in _NEEDS_TRACK:
        tracks = [found.detail for found in inputs if found.detail] or [
            track.id for track in _ready_tracks(asset, "text", None)
        ]
        if not tracks:
            node.reason = "the asset has no text track"
            return
        parameters["track_id"] = tracks[0]
    try:
        node.job_id = create_job(
            state,
            environment,
            node.workflow,
            parameters,
            directive={"id": run.directive_id, "run_id": run.id},
            version=run.version,
        ).id
    except ApiError as error:
        node.reason = "; ".join(error.messages)


# ---- inputs


def _ready_tracks(asset: Asset, kind: str, language: str | None) -> list[Track]:
    return [
        track
        for track in asset.tracks
        if track.type == kind and track.status == "ready" and language in {None, track.language_code}
    ]


def _declared(run: DirectiveRun, name: str) -> Json | None:
    found: Json | None = next((entry for entry in run.directive["resources"] if entry["reference_id"] == name), None)
    return found


def _input_state(environment: Environment, run: DirectiveRun, asset: Asset, name: str) -> Input:
    """Return the state of the input of this name: a resource, or a workflow of this run."""
    resource = _declared(run, name)
    if resource is None:
        return _workflow_state(environment, run, name)
    source: Json = resource.get("source") or {"via": "required"}
    if source["via"] == "workflow":
        return _workflow_state(environment, run, source["binding"])
    if resource["type"] == "video.asset.shots":
        if asset.shots is not None and asset.shots.status == "completed":
            return Input("there")
        if asset.shots is not None and asset.shots.status in {"errored", "skipped"}:
            return Input("missing", "the asset has no shots")
    else:
        tracks = _ready_tracks(asset, "audio" if resource.get("kind") == "audio" else "text", resource.get("language"))
        if tracks:
            return Input("there", tracks[0].id)
    if source["via"] == "required":
        return Input("missing", f"the resource {name} is not there")
    return Input("awaited")


def _workflow_state(environment: Environment, run: DirectiveRun, name: str) -> Input:
    node = take(run.nodes, lambda node: node.reference_id == name)
    if node is None or node.reason is not None:
        return Input("missing", f"the workflow {name} failed")
    job: Job | None = None if node.job_id is None else environment.jobs.get(node.job_id)
    if job is None or job.status in OPEN:
        return Input("made", name)
    if job.status != "completed":
        return Input("missing", f"the workflow {name} is {job.status}")
    outputs = job.outputs or {}
    return Input("there", outputs.get("uploaded_track_id") or outputs.get("track_id") or "")


def _request_resource(state: State, environment: Environment, run: DirectiveRun, asset: Asset, name: str) -> None:
    """Request a missing resource from the API, once, if the directive asks for that."""
    resource = _declared(run, name)
    source: Json = (resource or {}).get("source") or {}
    if (
        source.get("via") != "mux_api"
        or name in run.requested
        or _input_state(environment, run, asset, name).state != "awaited"
    ):
        return
    run.requested.append(name)
    parameters: Json = source.get("params") or {}
    if source["action"] == "request_shots":
        if asset.shots is None or asset.shots.status == "deleted":
            begin_shots(state, environment, asset)
        return
    is_generated = source["action"] == "generate_subtitles"
    track = add_track(state, asset, parameters, source="generated_vod" if is_generated else "uploaded")
    if is_generated:
        track.language_code = parameters.get("language_code", "auto")
    begin_track(state, environment, asset, track)


# ---- operations


def _directive(version: int, call: ApiCall) -> Directive:
    check_terms(call, version)
    directive = call.environment.one(call.environment.directives, call.params["DIRECTIVE_ID"])
    if directive.version != version:
        raise not_found()
    return directive


def _check_names(body: Json) -> None:
    workflows: list[str] = [entry["reference_id"] for entry in body["workflows"]]
    resources: list[str] = [entry["reference_id"] for entry in body.get("resources", ())]
    names = [*workflows, *resources]
    if len(set(names)) != len(names):
        raise invalid("reference_id must be unique within a directive")
    for entry in body["workflows"]:
        unknown = [name for name in entry.get("inputs") or () if name not in names]
        if unknown:
            raise invalid(f"workflows: {entry['reference_id']} has the input {unknown[0]}, which is not declared")
    for entry in body.get("resources", ()):
        source: Json = entry.get("source") or {}
        if source.get("via") == "workflow" and source["binding"] not in workflows:
            raise invalid(f"resources: {entry['reference_id']} comes from {source['binding']}, which is not declared")


def _with_names(entries: Sequence[Json], kind: str) -> list[Json]:
    """Give what has no ``reference_id`` one: version 1 may not ask for them."""
    return [{"reference_id": f"{kind}-{number}", **entry} for number, entry in enumerate(entries, 1)]


def _create(version: int, call: ApiCall) -> Response:
    check_terms(call, version)
    body: Json = call.json("RobotsV1CreateDirectiveRequest" if version else "CreateDirectiveRequest")
    if version:
        body.setdefault("name", "directive")
        body.setdefault("subject", {"type": "video.asset"})
        body["workflows"] = _with_names(body.get("workflows", ()), "workflow")
        body["resources"] = _with_names(body.get("resources", ()), "resource")
        if any("workflow" not in entry for entry in body["workflows"]):
            raise invalid("workflows: workflow is required")
    _check_names(body)
    state = call.state
    members = body["name"], body["subject"], body["workflows"], body.get("resources", [])
    directive = Directive(*state.identity("directive"), *members, version=version)
    call.environment.directives[directive.id] = directive
    return created(_directive_json(directive))


def _list(version: int, call: ApiCall) -> Response:
    check_terms(call, version)
    found = [directive for directive in reversed(call.environment.directives.values()) if directive.version == version]
    rows = [_directive_json(directive) for directive in call.page(found)]
    return json_response(200, {"data": rows, "total_row_count": len(found)})


def _retrieve(version: int, call: ApiCall) -> Response:
    return data(_directive_json(_directive(version, call)))


def _delete(version: int, call: ApiCall) -> Response:
    del call.environment.directives[_directive(version, call).id]
    return no_content()


def _create_run(version: int, call: ApiCall) -> Response:
    directive = _directive(version, call)
    body = call.json("RobotsV1RunDirectiveRequest" if version else "RunDirectiveRequest")
    if "asset_id" not in body:
        raise invalid("asset_id is required")
    asset = call.environment.asset(body["asset_id"])
    if asset.status != "ready":
        raise ApiError(422, "unprocessable_entity", "The asset is not ready")
    run = start_run(call.state, call.environment, directive, asset)
    return data({"run_id": run.id, "subject_id": asset.id, "status": "pending"}, 202)


def _list_runs(version: int, call: ApiCall) -> Response:
    directive = _directive(version, call)
    found = [run for run in reversed(call.environment.directive_runs.values()) if run.directive_id == directive.id]
    rows = [_run_json(call.environment, run) for run in call.page(found)]
    return json_response(200, {"data": rows, "total_row_count": len(found)})


def _retrieve_run(version: int, call: ApiCall) -> Response:
    directive, wanted = _directive(version, call), call.params["RUN_ID"]
    run = call.environment.directive_runs.get(wanted)
    if run is None or run.directive_id != directive.id:
        raise ApiError(404, "not_found", "There is no such run of the directive")
    return data(_run_json(call.environment, run))


def _routes(version: int) -> tuple[Route, ...]:
    every = f"/robots/v{version}/directives"
    one = f"{every}/{{DIRECTIVE_ID}}"
    return (
        Route("POST", every, partial(_create, version)),
        Route("GET", every, partial(_list, version)),
        Route("GET", one, partial(_retrieve, version)),
        Route("DELETE", one, partial(_delete, version)),
        Route("POST", f"{one}/runs", partial(_create_run, version)),
        Route("GET", f"{one}/runs", partial(_list_runs, version)),
        Route("GET", f"{one}/runs/{{RUN_ID}}", partial(_retrieve_run, version)),
    )


ROUTES = tuple(route for version in VERSIONS for route in _routes(version))
