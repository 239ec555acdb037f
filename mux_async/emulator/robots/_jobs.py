"""``/robots/v1/jobs`` and ``/robots/v0/jobs``: jobs of the workflows (facts/BEHAVIOUR.md, section 10; facts/NEWER.md, section 2).

The versions do the same work, and do not see each other's jobs. Version 1 answers 403 until its terms are accepted, and counts in seconds
what version 0 counts in milliseconds; what else is different is not published.

A job is pending when it is created, processing soon after, and completed or errored when an asset would be ready; it is forgotten after
30 days. A second job of the same version, workflow, asset and parameters is refused with 409 while the first is under way.
"""

from __future__ import annotations

import math
from functools import partial

import orjson

from mux_async.emulator.http._messages import ApiError, Response, data, invalid, json_response, not_found
from mux_async.emulator.robots._effects import NEEDS, NEW_WORKFLOWS, WORKFLOWS, JobFailedError, perform
from mux_async.emulator.routing._router import ApiCall, Route, check_choice, take
from mux_async.emulator.state._records import Job, JobStatus, Json
from mux_async.emulator.state._serialization import without_none
from mux_async.emulator.state._state import Asset, Environment, State
from mux_async.emulator.webhooks._events import emit

VERSIONS = (0, 1)
STATUSES = ("pending", "processing", "completed", "errored", "cancelled")
OPEN = frozenset({"pending", "processing"})
PENDING_SHARE = 0.2
"""How much of a job's time it is pending."""
LIFETIME = 30 * 24 * 3600.0
UNIT_SECONDS = 60.0
"""Seconds of media per unit consumed: not published, so this is a guess."""


def job_json(environment: Environment, job: Job) -> Json:
    """A job."""
    asset = environment.assets.get(job.asset_id)
    return without_none(
        {
            **_head(job),
            "parameters": job.parameters,
            "units_consumed": job.units_consumed,
            "passthrough": job.passthrough,
            "outputs": job.outputs,
            "errors": job.errors,
            "directive": job.directive,
            "resources": None if asset is None else {"assets": [_slim(asset)]},
        }
    )


def _slim(asset: Asset) -> Json:
    links = {"self": {"href": f"/video/v1/assets/{asset.id}"}}
    return without_none({"id": asset.id, "meta": asset.meta, "passthrough": asset.passthrough, "_links": links})


def _head(job: Job) -> Json:
    times = {"created_at": int(job.created_at), "updated_at": int(job.updated_at)}
    return {"id": job.id, "workflow": job.workflow, "status": job.status, **times}


def _summary(job: Job) -> Json:
    return {**_head(job), "_links": {"self": {"href": f"/robots/v{job.version}/jobs/{job.workflow}/{job.id}"}}}


def workflows_of(version: int) -> tuple[str, ...]:
    """The workflows of a version: scenes are found by analyze-structure since version 1."""
    return WORKFLOWS if version == 0 else tuple(workflow for workflow in WORKFLOWS if workflow != "find-scenes")


def schema_of(version: int, workflow: str) -> str:
    """The name of the schema of the workflow's create request."""
    prefix = f"RobotsV{version}" if version or workflow in NEW_WORKFLOWS else ""
    return f"{prefix}Create{''.join(word.capitalize() for word in workflow.split('-'))}JobRequest"


def check_terms(call: ApiCall, version: int) -> None:
    """Refuse version 1 until its terms are accepted. Raises `ApiError` (403): they are not."""
    if version and not (call.environment.has_robots_terms or call.state.settings.accept_robots_terms):
        raise ApiError(
            403,
            "forbidden",
            "The Robots terms have not been accepted for this environment. Accept them at https://dashboard.mux.com/robots "
            "(of this emulator: POST /_emulator/robots/terms)",
        )


def _check_plan(state: State, environment: Environment, workflow: str) -> None:
    plan = environment.robots_plan or state.settings.robots_plan
    if plan.workflows is not None and workflow not in plan.workflows:
        raise ApiError(
            403, "robots_workflow_not_available", f"The workflow {workflow} is not available on the plan of this account"
        )
    consumed = sum(job.units_consumed or 0 for job in environment.jobs.values())
    if plan.units is not None and consumed >= plan.units:
        raise ApiError(403, "robots_units_limit_exceeded", f"{consumed} of {plan.units} Robots units are used")


def event_prefix(version: int) -> str:
    """What the names of events begin with."""
    return "robots" if version == 0 else f"robots.v{version}"


def _job_event(state: State, environment: Environment, job: Job) -> None:
    # The job lies under a key named after the event, not at the top level: facts/BEHAVIOUR.md, section 7.2.
    name = f"{event_prefix(job.version)}.job.{job.workflow.replace('-', '_')}.{job.status}"
    emit(state, environment, name, ("job", job.id), {name: job_json(environment, job)})


def create_job(
    state: State,
    environment: Environment,
    workflow: str,
    parameters: Json,
    *,
    passthrough: str | None = None,
    directive: Json | None = None,
    version: int = 0,
) -> Job:
    """Begin a job whose parameters fit their schema.

    Raises:
        ApiError: 403, the plan does not allow it; 400, a parameter is missing; 400 or 404, there is no such asset or track; 409, it is in
            progress already; 422, the asset or track is in the wrong state.
    """
    _check_plan(state, environment, workflow)
    for name in ("asset_id", *NEEDS.get(workflow, ())):
        if name not in parameters:
            raise invalid(f"parameters.{name} is required")
    asset = environment.asset(parameters["asset_id"])
    if asset.status != "ready":
        raise ApiError(422, "unprocessable_entity", "The asset is not ready")
    if "track_id" in parameters:
        track = take(asset.tracks, lambda track: track.id == parameters["track_id"])
        if track is None:
            raise not_found()
        if track.type != "text" or track.status != "ready":
            raise ApiError(422, "unprocessable_entity", "The track is no text track that is ready")
    fingerprint = orjson.dumps([version, workflow, parameters], option=orjson.OPT_SORT_KEYS).decode()
    if any(job.fingerprint == fingerprint and job.status in OPEN for job in environment.jobs.values()):
        raise ApiError(409, "conflict", "A job with the same workflow, asset and parameters is under way")
    job = Job(
        *state.identity("job"),
        workflow,
        asset.id,
        parameters,
        fingerprint,
        passthrough=passthrough,
        directive=directive,
        version=version,
    )
    environment.jobs[job.id] = job
    _job_event(state, environment, job)
    state.work(state.settings.time_to_ready * PENDING_SHARE, "job.started", environment, job.id)
    state.wait(LIFETIME, "job.expired", environment, job.id)
    return job


def run_job_step(state: State, environment: Environment, name: str, subject: str) -> None:
    """Run a step of a job. It has no effect if the job is gone or has ended."""
    job = environment.jobs.get(subject)
    if job is None:
        return
    if name == "job.expired":
        del environment.jobs[job.id]
    elif name == "job.started" and job.status == "pending":
        _move(state, environment, job, "processing")
        state.work(state.settings.time_to_ready * (1 - PENDING_SHARE), "job.done", environment, job.id)
    elif name == "job.done" and job.status == "processing":
        _finish(state, environment, job)


def _move(state: State, environment: Environment, job: Job, status: JobStatus) -> None:
    job.status = status
    job.updated_at = state.now
    _job_event(state, environment, job)


def _finish(state: State, environment: Environment, job: Job) -> None:
    fault = state.work_faults.pick("job", job.id, job.asset_id, job.workflow)
    try:
        if fault is not None:
            raise JobFailedError(fault.type, fault.message)
        job.outputs = perform(state, environment, job)
    except JobFailedError as failure:
        job.errors = [{"type": failure.type, "message": failure.message, "retryable": False}]
        _move(state, environment, job, "errored")
        return
    media = environment.assets[job.asset_id].media
    job.units_consumed = math.ceil((0.0 if media is None else media.duration) / UNIT_SECONDS)
    _move(state, environment, job, "completed")


def _create(version: int, workflow: str, call: ApiCall) -> Response:
    check_terms(call, version)
    body = call.json(schema_of(version, workflow))
    parameters: Json = body.get("parameters") or {}
    job = create_job(call.state, call.environment, workflow, parameters, passthrough=body.get("passthrough"), version=version)
    return data(job_json(call.environment, job), 202)


def _job(version: int, call: ApiCall) -> Job:
    check_terms(call, version)
    job = call.environment.one(call.environment.jobs, call.params["JOB_ID"])
    if job.version != version:
        raise not_found()
    return job


def _retrieve(version: int, workflow: str, call: ApiCall) -> Response:
    job = _job(version, call)
    if job.workflow != workflow:
        raise not_found()
    return data(job_json(call.environment, job))


def _list(version: int, call: ApiCall) -> Response:
    check_terms(call, version)
    query = call.request.query
    check_choice(query.get("status") or None, STATUSES, "status")
    check_choice(query.get("workflow") or None, workflows_of(version), "workflow")
    wanted = {name: query[name] for name in ("asset_id", "status", "workflow") if query.get(name)}
    found = [
        job
        for job in reversed(call.environment.jobs.values())
        if job.version == version and all(getattr(job, name) == value for name, value in wanted.items())
    ]
    return json_response(200, {"data": [_summary(job) for job in call.page(found)], "total_row_count": len(found)})


def _cancel(version: int, call: ApiCall) -> Response:
    job = _job(version, call)
    if job.status not in OPEN:
        raise ApiError(409, "conflict", f"A job that is {job.status} cannot be cancelled")
    _move(call.state, call.environment, job, "cancelled")
    return data(_summary(job))


def _routes(version: int) -> tuple[Route, ...]:
    jobs = f"/robots/v{version}/jobs"
    workflows = workflows_of(version)
    return (
        Route("GET", jobs, partial(_list, version)),
        Route("POST", f"{jobs}/{{JOB_ID}}/cancel", partial(_cancel, version)),
        *(Route("POST", f"{jobs}/{workflow}", partial(_create, version, workflow)) for workflow in workflows),
        *(Route("GET", f"{jobs}/{workflow}/{{JOB_ID}}", partial(_retrieve, version, workflow)) for workflow in workflows),
    )


ROUTES = tuple(route for version in VERSIONS for route in _routes(version))
