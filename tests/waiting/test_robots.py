"""``wait_until_done`` and ``create_and_wait`` of Robots jobs, and waits for directive runs, against the emulator."""

from __future__ import annotations

from itertools import pairwise

import anyio
import pytest

from mux_async import Mux
from mux_async.emulator import Arrival, EmulatorSettings, Fault, WorkFault
from mux_async.errors import (
    DeadlineExceededError,
    DirectiveRunFailedError,
    JobFailedError,
    NotFoundError,
    PermissionDeniedError,
    ProcessingError,
)
from mux_async.webhooks import WebhookEvent, parse_event
from tests.waiting.harness import Counter, emulated, ready_asset

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

JOBS = "/robots/v1/jobs"
OLD = pytest.mark.filterwarnings("ignore:Mux keeps Robots v0:DeprecationWarning")


async def summarize(mux: Mux, asset_id: str, number: int = 1) -> str:
    """Create a job; those of one asset differ in *number*, from 0."""
    job = await mux.robots.jobs.summarize.create(parameters={"asset_id": asset_id, "title_length": number + 1})
    assert job.id is not None
    return job.id


async def test_one_job() -> None:
    """A single wait costs one GET of the job per poll and no list request, and returns the job with its outputs."""
    async with emulated(EmulatorSettings(time_to_ready=20.0)) as (emulator, mux):
        job_id = await summarize(mux, (await ready_asset(mux)).id)
        seen = Counter(emulator)
        job = await mux.robots.jobs.summarize.wait_until_done(job_id)

    assert job.status == "completed"
    assert job.outputs is not None
    assert job.outputs.title
    assert seen.paths() == {f"{JOBS}/summarize/{job_id}"}
    assert len(seen.gets) < 12


async def test_create_and_wait() -> None:
    """A job is created and awaited in one call, which takes what ``create`` takes and returns a job of the same type."""
    async with emulated() as (_, mux):
        asset = await ready_asset(mux)
        job = await mux.robots.jobs.moderate.create_and_wait(parameters={"asset_id": asset.id}, passthrough="mine")

    assert (job.status, job.passthrough) == ("completed", "mine")
    assert job.outputs is not None
    assert job.outputs.max_scores is not None


@pytest.mark.parametrize("count", [2, 1_000])
async def test_many_jobs_share_a_list_request(count: int) -> None:
    """A thousand waiting jobs cost one list request per poll, at least a second apart; then each costs one GET, for its results."""
    async with emulated(EmulatorSettings(time_to_ready=100.0), has_limits=False) as (emulator, mux):
        asset = await ready_asset(mux)
        ids = [await summarize(mux, asset.id, number) for number in range(count)]
        done: list[str] = []
        waiting: list[Arrival] = []

        async def wait(job_id: str) -> None:
            job = await mux.robots.jobs.summarize.wait_until_done(job_id)
            assert job.outputs is not None
            done.append(job_id)

        seen = Counter(emulator)
        async with anyio.create_task_group() as tasks:
            for job_id in ids:
                tasks.start_soon(wait, job_id)
            await anyio.sleep(60)
            waiting += seen.gets

    assert {each.path for each in waiting} == {JOBS}
    gaps = [later.at - earlier.at for earlier, later in pairwise(waiting)]
    assert min(gaps) >= 0.999
    assert 58 <= len(waiting) <= 61 if count == 1_000 else 10 < len(waiting) < 20
    assert sorted(done) == sorted(ids)
    ended = [each for each in seen.gets if each.path != JOBS]
    assert sorted(each.path.rpartition("/")[2] for each in ended) == sorted(ids)


async def test_each_job_is_seen_in_ten_seconds() -> None:
    """A sweep of several pages takes several polls, so that no job of a thousand is found more than 11 s after its end."""
    async with emulated(EmulatorSettings(time_to_ready=300.0), has_limits=False) as (_, mux):
        asset = await ready_asset(mux)
        late: list[float] = []

        async def wait(job_id: str) -> None:
            job = await mux.robots.jobs.summarize.wait_until_done(job_id)
            assert job.updated_at is not None
            late.append(1.7e9 + anyio.current_time() - job.updated_at.timestamp())

        async with anyio.create_task_group() as tasks:
            for number in range(1_000):
                tasks.start_soon(wait, await summarize(mux, asset.id, number))
                if number % 50 == 0:
                    await anyio.sleep(10)

    assert len(late) == 1_000
    assert max(late) <= 11.0


async def test_jobs_far_down_the_list() -> None:
    """Jobs beyond the pages of a sweep are requested one by one, each by its workflow, after each sweep: every 10 s."""
    async with emulated(EmulatorSettings(time_to_ready=500.0), has_limits=False) as (emulator, mux):
        asset = await ready_asset(mux)
        jobs = mux.robots.jobs
        old = [await summarize(mux, asset.id, number) for number in range(3)]
        other = await jobs.moderate.create(parameters={"asset_id": asset.id})
        for number in range(3, 400):
            await summarize(mux, asset.id, number)
        seen = Counter(emulator)
        async with anyio.create_task_group() as tasks:
            for job_id in old:
                tasks.start_soon(jobs.summarize.wait_until_done, job_id)
            tasks.start_soon(jobs.moderate.wait_until_done, other.id or "")

    assert seen.paths() == {JOBS, f"{JOBS}/moderate/{other.id}"} | {f"{JOBS}/summarize/{job_id}" for job_id in old}
    reads = [each.at for each in seen.gets if each.path.endswith(old[0])]
    assert max(later - earlier for earlier, later in pairwise(reads)) < 15.0


@OLD
async def test_versions_apart() -> None:
    """Jobs of v0 and v1 are on lists of their own, and a job of the one is not found in the other."""
    async with emulated(EmulatorSettings(time_to_ready=30.0)) as (emulator, mux):
        asset = await ready_asset(mux)
        new = [await summarize(mux, asset.id, number) for number in range(2)]
        make = mux.robots_v0.jobs.summarize.create  # pyright: ignore[reportDeprecated] - it may be awaited as long as it exists
        old = [(await make(parameters={"asset_id": asset.id, "title_length": number})).id for number in range(1, 3)]
        seen = Counter(emulator)
        titles: list[str | None] = []

        async def wait_old(job_id: str) -> None:
            job = await mux.robots_v0.jobs.summarize.wait_until_done(job_id)
            assert job.outputs is not None
            titles.append(job.outputs.title)

        async with anyio.create_task_group() as tasks:
            for old_id in old:
                tasks.start_soon(wait_old, old_id)
            for job_id in new:
                tasks.start_soon(mux.robots.jobs.summarize.wait_until_done, job_id)

        assert {JOBS, "/robots/v0/jobs"} < seen.paths()
        assert len(titles) == 2
        assert all(titles)
        with pytest.raises(NotFoundError):
            await mux.robots.jobs.summarize.wait_until_done(old[0])


@OLD
async def test_only_one_version_is_refused() -> None:
    """While the terms of v1 are not accepted, a wait for one of its jobs raises, and waits for jobs of v0 go on."""
    async with emulated(EmulatorSettings(time_to_ready=30.0), has_terms=False) as (_, mux):
        asset = await ready_asset(mux)
        moderate = mux.robots_v0.jobs.moderate
        job = await moderate.create(parameters={"asset_id": asset.id})  # pyright: ignore[reportDeprecated] - as above
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(moderate.wait_until_done, job.id)
            await anyio.sleep(2)
            with pytest.raises(PermissionDeniedError):
                await mux.robots.jobs.moderate.wait_until_done(job.id)


async def test_errored_and_cancelled() -> None:
    """A job that fails raises with Mux's reason, and a cancelled one says so; other waits go on."""
    async with emulated(EmulatorSettings(time_to_ready=30.0)) as (emulator, mux):
        asset = await ready_asset(mux)
        bad, stopped, good = [await summarize(mux, asset.id, number) for number in range(1, 4)]
        emulator.work_faults.add(WorkFault("job", bad, type="no_transcript", message="nothing is said"))
        caught: dict[str, JobFailedError] = {}

        async def fail(job_id: str) -> None:
            with pytest.raises(JobFailedError) as error:
                await mux.robots.jobs.summarize.wait_until_done(job_id)
            caught[job_id] = error.value

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail, bad)
            tasks.start_soon(fail, stopped)
            await anyio.sleep(5)
            await mux.robots.jobs.cancel(stopped)
            assert (await mux.robots.jobs.summarize.wait_until_done(good)).status == "completed"

    error = caught[bad]
    assert isinstance(error, ProcessingError)
    assert (error.id, error.status, error.type, error.messages) == (bad, "errored", "no_transcript", ("nothing is said",))
    assert error.is_retryable is False
    assert caught[stopped].status == "cancelled"


async def test_passing_trouble_is_sat_out() -> None:
    """A server that fails while results are read does not end the waits."""
    async with emulated(EmulatorSettings(time_to_ready=30.0)) as (emulator, mux):
        asset = await ready_asset(mux)
        ids = [await summarize(mux, asset.id, number) for number in range(2)]
        emulator.faults.add(Fault(method="GET", path=f"{JOBS}/summarize/.*", nth=range(1, 30), status=503))
        async with anyio.create_task_group() as tasks:
            for job_id in ids:
                tasks.start_soon(mux.robots.jobs.summarize.wait_until_done, job_id)

    assert sum(each.status == 503 for each in emulator.arrivals) >= 20


async def test_timeout() -> None:
    """A wait has its own timeout, and the job can be awaited again."""
    async with emulated(EmulatorSettings(time_to_ready=60.0)) as (_, mux):
        job_id = await summarize(mux, (await ready_asset(mux)).id)
        with pytest.raises(DeadlineExceededError, match=f"job '{job_id}' was not done within 5 s") as caught:
            await mux.robots.jobs.summarize.wait_until_done(job_id, timeout=5.0)
        assert caught.value.deadline == 5.0

        assert (await mux.robots.jobs.summarize.wait_until_done(job_id)).status == "completed"


async def test_one_of_many_is_cancelled() -> None:
    """A cancelled wait, also the leader's, leaves the others waiting, and they still share their requests."""
    async with emulated(EmulatorSettings(time_to_ready=60.0)) as (emulator, mux):
        asset = await ready_asset(mux)
        ids = [await summarize(mux, asset.id, number) for number in range(5)]
        done: list[str | None] = []
        scopes: list[anyio.CancelScope] = []
        cancelled = 0.0

        async def wait(job_id: str) -> None:
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                done.append((await mux.robots.jobs.summarize.wait_until_done(job_id)).id)

        async with anyio.create_task_group() as tasks:
            for job_id in ids:
                tasks.start_soon(wait, job_id)
            await anyio.sleep(20)
            scopes[0].cancel()
            scopes[2].cancel()
            cancelled = anyio.current_time()

    assert len(done) == 3
    later = [each for each in emulator.arrivals if each.at - 1.7e9 > cancelled and each.path != JOBS]
    assert len(later) == 3


async def test_webhooks_end_waits() -> None:
    """An event with a job ends the wait for it at once, without a request, also if it arrives before the wait."""
    async with emulated(EmulatorSettings(time_to_ready=100.0), has_webhooks=True) as (emulator, mux):
        asset = await ready_asset(mux)
        ids = [await summarize(mux, asset.id, number) for number in range(5)]
        await anyio.sleep(50)
        seen = Counter(emulator)
        late: list[float] = []

        async def wait(job_id: str) -> None:
            job = await mux.robots.jobs.summarize.wait_until_done(job_id)
            assert job.outputs is not None
            assert job.updated_at is not None
            late.append(1.7e9 + anyio.current_time() - job.updated_at.timestamp())

        async with anyio.create_task_group() as tasks:
            for job_id in ids[:4]:
                tasks.start_soon(wait, job_id)
        polls = len(seen.gets)
        await anyio.sleep(20)
        assert (await mux.robots.jobs.summarize.wait_until_done(ids[4])).outputs is not None

    assert len(late) == 4
    assert max(late) < 2.0
    assert polls <= 8
    assert len(seen.gets) == polls


def event_of(job: dict[str, object], *, nested: bool) -> WebhookEvent:
    kind = f"robots.v1.job.summarize.{job['status']}"
    return parse_event(
        {
            "type": kind,
            "id": "3f1e4d50-0000-4000-8000-000000000000",
            "created_at": "2026-01-01T00:00:00.000000Z",
            "object": {"type": "job", "id": job["id"]},
            "environment": {"name": "Test", "id": "j0863n"},
            "attempts": [],
            "data": {kind: job} if nested else job,
        }
    )


@pytest.mark.parametrize("nested", [False, True])
async def test_both_nestings(nested: bool) -> None:
    """A job ends its wait whether the event holds it at the top or under the event's name."""
    async with emulated(EmulatorSettings(time_to_ready=100.0)) as (_, mux):
        job_id = await summarize(mux, (await ready_asset(mux)).id)
        mux.webhook_received(event_of({"id": job_id, "status": "completed", "outputs": {"title": "A film"}}, nested=nested))
        job = await mux.robots.jobs.summarize.wait_until_done(job_id)

    assert job.outputs is not None
    assert job.outputs.title == "A film"


@pytest.mark.parametrize(("errors", "messages"), [(["busy"], ()), ("busy", ()), ([{"message": "busy"}, None], ("busy",))])
async def test_errors_of_another_form(errors: object, messages: tuple[str, ...]) -> None:
    """Errors of a job in a form that is not known end the wait with `JobFailedError` too."""
    async with emulated(EmulatorSettings(time_to_ready=100.0)) as (_, mux):
        mux.webhook_received(event_of({"id": "j", "status": "errored", "errors": errors}, nested=False))
        with pytest.raises(JobFailedError) as caught:
            await mux.robots.jobs.summarize.wait_until_done("j")

    assert caught.value.messages == messages


async def test_an_event_without_results() -> None:
    """An event that does not hold the results only causes a read, and the wait goes on if the job itself is not done yet."""
    async with emulated(EmulatorSettings(time_to_ready=100.0)) as (emulator, mux):
        job_id = await summarize(mux, (await ready_asset(mux)).id)
        seen = Counter(emulator)

        async def tell() -> None:
            for at in (50, 100):
                await anyio.sleep(at)
                mux.webhook_received(event_of({"id": job_id, "status": "completed"}, nested=True))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tell)
            job = await mux.robots.jobs.summarize.wait_until_done(job_id)
            assert job.outputs is not None

    assert len(seen.gets) < 30


async def test_timeout_after_an_event_without_results() -> None:
    """The error of a wait that went on after an event names the whole timeout, and not what was left of it."""
    async with emulated(EmulatorSettings(time_to_ready=100.0)) as (_, mux):
        job_id = await summarize(mux, (await ready_asset(mux)).id)

        async def send_event() -> None:
            await anyio.sleep(12)
            mux.webhook_received(event_of({"id": job_id, "status": "completed"}, nested=False))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_event)
            started = anyio.current_time()
            with pytest.raises(DeadlineExceededError, match="was not done within 20 s"):
                await mux.robots.jobs.summarize.wait_until_done(job_id, timeout=20.0)
            assert anyio.current_time() - started == pytest.approx(20.0)


async def test_refused_terms() -> None:
    """While the terms are not accepted, a wait raises at once and says what to do."""
    async with emulated(has_terms=False) as (emulator, mux):
        with pytest.raises(PermissionDeniedError, match="terms"):
            await mux.robots.jobs.summarize.wait_until_done("job_00000000000000000000000000")
        assert len(emulator.arrivals) == 1


async def directive(mux: Mux, *workflows: str) -> str:
    made = await mux.robots.directives.create(
        name="film", subject={"type": "video.asset"}, workflows=[{"workflow": each} for each in workflows]
    )
    assert made.id is not None
    return made.id


async def start(mux: Mux, directive_id: str, asset_id: str) -> str:
    run = await mux.robots.directives.runs.create(directive_id, asset_id=asset_id)
    assert run.run_id is not None
    return run.run_id


@pytest.mark.parametrize("has_webhooks", [False, True])
async def test_runs(has_webhooks: bool) -> None:
    """Waits for runs of one directive share its list of runs, and those of another directive have their own."""
    async with emulated(EmulatorSettings(time_to_ready=30.0), has_webhooks=has_webhooks) as (emulator, mux):
        asset, other = await ready_asset(mux), await ready_asset(mux)
        first, second = await directive(mux, "summarize"), await directive(mux, "moderate")
        runs = [(first, await start(mux, first, asset.id)), (first, await start(mux, first, other.id))]
        runs.append((second, await start(mux, second, asset.id)))
        seen = Counter(emulator)
        states: list[str | None] = []

        async def wait(directive_id: str, run_id: str) -> None:
            run = await mux.robots.directives.runs.wait_until_done(directive_id, run_id)
            assert run.run_id == run_id
            assert run.node_states
            states.append(run.status)

        async with anyio.create_task_group() as tasks:
            for run in runs:
                tasks.start_soon(wait, *run)

    assert states == ["completed"] * 3
    root = "/robots/v1/directives"
    assert f"{root}/{first}/runs" in seen.paths()
    assert f"{root}/{second}/runs" not in seen.paths()
    assert len(seen.gets) < 30


async def test_runs_that_fail() -> None:
    """A run of which nothing succeeded raises with the reasons of its workflows; one of which something did is returned."""
    async with emulated(EmulatorSettings(time_to_ready=30.0)) as (_, mux):
        asset = await ready_asset(mux)
        runs = mux.robots.directives.runs
        nothing, half = await directive(mux, "edit-captions"), await directive(mux, "summarize", "edit-captions")
        with pytest.raises(DirectiveRunFailedError, match="no text track"):
            await runs.wait_until_done(nothing, await start(mux, nothing, asset.id))
        assert (await runs.wait_until_done(half, await start(mux, half, asset.id))).status == "partial"


async def test_the_directive_is_deleted() -> None:
    """Deleting a directive ends all waits for its runs."""
    async with emulated(EmulatorSettings(time_to_ready=100.0)) as (_, mux):
        made = await directive(mux, "summarize")
        assets = [await ready_asset(mux) for _ in range(2)]
        runs = [await start(mux, made, asset.id) for asset in assets]
        deleted = 0.0

        async def wait(run_id: str) -> None:
            with pytest.raises(NotFoundError):
                await mux.robots.directives.runs.wait_until_done(made, run_id)

        async with anyio.create_task_group() as tasks:
            for run_id in runs:
                tasks.start_soon(wait, run_id)
            await anyio.sleep(10)
            await mux.robots.directives.delete(made)
            deleted = anyio.current_time()
        assert anyio.current_time() - deleted < 10.0
