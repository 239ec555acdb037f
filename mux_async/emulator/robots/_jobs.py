"""``/robots/v0/jobs``: jobs of the twelve workflows (facts/BEHAVIOUR.md, section 10).

A job is pending when it is created, processing soon after, and completed or errored when an asset would be ready; it is forgotten after
30 days. A second job of the same workflow, asset and parameters is refused with 409 while the first is under way.
"""

from __future__ import annotations

import math
from functools import partial
from typing import cast

import orjson

from mux_async.emulator.http._messages import ApiError, Response, data, json_response, not_found
from mux_async.emulator.robots._effects import WORKFLOWS, JobFailedError, perform
from mux_async.emulator.routing._router import Call, Route, known, take
from mux_async.emulator.state._records import Job, JobStatus, Json
from mux_async.emulator.state._serialization import without_none
from mux_async.emulator.state._state import Asset, Environment, World
from mux_async.emulator.validation._described import described
from mux_async.emulator.webhooks._events import emit

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
            "id": job.id,
            "workflow": job.workflow,
            "status": job.status,
            "created_at": int(job.created_at),
            "updated_at": int(job.updated_at),
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


def _summary(job: Job) -> Json:
    return {
        "id": job.id,
        "workflow": job.workflow,
        "status": job.status,
        "created_at": int(job.created_at),
        "updated_at": int(job.updated_at),
        "_links": {"self": {"href": f"/robots/v0/jobs/{job.workflow}/{job.id}"}},
    }


def schema_of(workflow: str) -> str:
    """The name of the schema of the workflow's create request."""
    return f"Create{''.join(word.capitalize() for word in workflow.split('-'))}JobRequest"


def _job_event(world: World, environment: Environment, job: Job) -> None:
    # The job lies under a key named after the event, not at the top level: facts/BEHAVIOUR.md, section 7.2.
    name = f"robots.job.{job.workflow.replace('-', '_')}.{job.status}"
    emit(world, environment, name, ("job", job.id), {name: job_json(environment, job)})


_MOST = 1 << 53


def _counted(value: object) -> object:
    """Return *value* with whole numbers that were written with a point as integers: to JSON they are, to Python they are not."""
    if isinstance(value, float) and value.is_integer():
        return int(min(max(value, -_MOST), _MOST))
    if isinstance(value, list):
        return [_counted(inner) for inner in cast("list[object]", value)]
    if isinstance(value, dict):
        return {key: _counted(inner) for key, inner in cast("dict[str, object]", value).items()}
    return value


def create_job(
    world: World,
    environment: Environment,
    workflow: str,
    parameters: Json,
    *,
    passthrough: str | None = None,
    directive: Json | None = None,
) -> Job:
    """Begin a job whose parameters fit their schema.

    Raises:
        ApiError: 400 or 404, there is no such asset or track; 409, it is being done already; 422, the asset is in no state for it.
    """
    parameters = cast("Json", _counted(parameters))
    asset = environment.asset(parameters["asset_id"])
    if asset.status != "ready":
        raise ApiError(422, "unprocessable", "The asset is not ready")
    if "track_id" in parameters:
        track = take(asset.tracks, lambda track: track.id == parameters["track_id"])
        if track is None:
            raise not_found()
        if track.type != "text" or track.status != "ready":
            raise ApiError(422, "unprocessable", "The track is no text track that is ready")
    fingerprint = orjson.dumps([workflow, parameters], option=orjson.OPT_SORT_KEYS).decode()
    if any(job.fingerprint == fingerprint and job.status in OPEN for job in environment.jobs.values()):
        raise ApiError(409, "conflict", "A job with the same workflow, asset and parameters is under way")
    job = Job(
        world.mint.id("job"),
        world.next_number(),
        world.now,
        world.now,
        workflow,
        asset.id,
        parameters,
        fingerprint,
        passthrough=passthrough,
        directive=directive,
    )
    environment.jobs[job.id] = job
    _job_event(world, environment, job)
    world.work(world.settings.time_to_ready * PENDING_SHARE, "job.started", environment, job.id)
    world.wait(LIFETIME, "job.expired", environment, job.id)
    return job


def run_job_step(world: World, environment: Environment, name: str, subject: str) -> None:
    """Do what was planned for a job; nothing, when it is gone or over."""
    job = environment.jobs.get(subject)
    if job is None:
        return
    if name == "job.expired":
        del environment.jobs[job.id]
    elif name == "job.started" and job.status == "pending":
        _move(world, environment, job, "processing")
        world.work(world.settings.time_to_ready * (1 - PENDING_SHARE), "job.done", environment, job.id)
    elif name == "job.done" and job.status == "processing":
        _finish(world, environment, job)


def _move(world: World, environment: Environment, job: Job, status: JobStatus) -> None:
    job.status = status
    job.updated_at = world.now
    _job_event(world, environment, job)


def _finish(world: World, environment: Environment, job: Job) -> None:
    fault = world.work_faults.pick("job", job.id, job.asset_id, job.workflow)
    try:
        if fault is not None:
            raise JobFailedError(fault.type, fault.message)
        job.outputs = perform(world, environment, job)
    except JobFailedError as failure:
        job.errors = [{"type": failure.type, "message": failure.message, "retryable": False}]
        _move(world, environment, job, "errored")
        return
    media = environment.assets[job.asset_id].media
    job.units_consumed = math.ceil((0.0 if media is None else media.duration) / UNIT_SECONDS)
    _move(world, environment, job, "completed")


def _create(workflow: str, call: Call) -> Response:
    body = call.json(described(schema_of(workflow)))
    job = create_job(call.world, call.environment, workflow, body["parameters"], passthrough=body.get("passthrough"))
    return data(job_json(call.environment, job), 202)


def _job(call: Call) -> Job:
    return call.environment.one(call.environment.jobs, call.params["JOB_ID"])


def _retrieve(workflow: str, call: Call) -> Response:
    job = _job(call)
    if job.workflow != workflow:
        raise not_found()
    return data(job_json(call.environment, job))


def _list(call: Call) -> Response:
    query = call.request.query
    known(query.get("status") or None, STATUSES, "status")
    known(query.get("workflow") or None, WORKFLOWS, "workflow")
    wanted = {name: query[name] for name in ("asset_id", "status", "workflow") if query.get(name)}
    found = [
        job
        for job in reversed(call.environment.jobs.values())
        if all(getattr(job, name) == value for name, value in wanted.items())
    ]
    return json_response(200, {"data": [_summary(job) for job in call.page(found)], "total_row_count": len(found)})


def _cancel(call: Call) -> Response:
    job = _job(call)
    if job.status not in OPEN:
        raise ApiError(409, "conflict", f"A job that is {job.status} cannot be cancelled")
    _move(call.world, call.environment, job, "cancelled")
    return data(_summary(job))


ROUTES = (
    Route("GET", "/robots/v0/jobs", _list),
    Route("POST", "/robots/v0/jobs/{JOB_ID}/cancel", _cancel),
    *(Route("POST", f"/robots/v0/jobs/{workflow}", partial(_create, workflow)) for workflow in WORKFLOWS),
    *(Route("GET", f"/robots/v0/jobs/{workflow}/{{JOB_ID}}", partial(_retrieve, workflow)) for workflow in WORKFLOWS),
)
