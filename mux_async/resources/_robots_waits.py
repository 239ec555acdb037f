"""The waiting methods of Robots: `JobWaits` and `RunWaits`, base classes of generated resources of both versions."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast

from mux_async._options import CallOptions
from mux_async._resource import Caller, Resource

if TYPE_CHECKING:
    from mux_async._goals import Ended
    from mux_async.resources._waits import PagedSource

P = ParamSpec("P")
E = TypeVar("E", bound="Ended")
E_co = TypeVar("E_co", bound="Ended", covariant=True)


class _Workflow(Protocol[E_co]):
    """The generated class of a workflow, as far as waits use it."""

    def retrieve(self, job_id: str, /) -> Awaitable[E_co]: ...


class _Creates(Protocol[P, E_co]):
    def create(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[E_co]: ...


class _Runs(Protocol[E_co]):
    def retrieve(self, directive_id: str, run_id: str, /) -> Awaitable[E_co]: ...


class JobWaits(Resource):
    """The waiting methods of a workflow's jobs."""

    async def wait_until_done(self: _Workflow[E], job_id: str, *, timeout: float | None = None) -> E:
        """Wait until a job is completed.

        Any number of tasks may wait, for jobs of any workflow. Together they cost one list request per poll, 1 s apart at first, and one
        GET per job that has ended, for its results. A poll reads one page of a hundred jobs. With fewer jobs polls are up to 10 s apart
        while nothing changes, and each job is seen at least every 10 s, up to a thousand jobs. A single task costs one GET per poll. A
        webhook that is passed to `Mux.webhook_received` ends the wait without a request. Requests are limited and retried like all others.
        The client's deadline applies to single calls and not to the wait: use *timeout*. Cancelling leaves nothing behind; the job
        continues.

        Args:
            job_id: The job.
            timeout: Maximum seconds to wait; ``None`` for no limit.

        Returns:
            The completed job, with its outputs.

        Raises:
            JobFailedError: The job is errored, with Mux's reasons, or was cancelled.
            NotFoundError: There is no such job of this workflow and version.
            DeadlineExceededError: *timeout* expired; the job continues.
        """
        from mux_async.resources._waits import PagedSource, for_polls, operation_of

        caller, module = cast("Resource", self)._caller, type(self).__module__
        prefix, _, workflow = module.partition("_jobs_")
        jobs = f"{prefix}_jobs"
        source = PagedSource(
            for_polls(caller),
            list_name=jobs.rpartition(".")[2],
            list_operation=operation_of(jobs, "LIST"),
            retrieve_operation=operation_of(module, "RETRIEVE"),
            id_parameter="JOB_ID",
        )
        return cast("E", await _ended(caller, source, f"job {job_id!r}", job_id, timeout, workflow.replace("_", "-")))

    async def create_and_wait(self: _Creates[P, E], *args: P.args, **kwargs: P.kwargs) -> E:
        """Create a job and wait until it is completed.

        Takes what ``create`` takes, waits as `wait_until_done` does without a time limit, and raises what both raise. Of ``options`` the
        wait takes the priority. To wait again after a time limit or a cancellation the id of the job is needed: then call the two one
        after the other.
        """
        job = await self.create(*args, **kwargs)
        jobs: Any = self
        if isinstance(options := kwargs.get("options"), CallOptions):
            caller = jobs._caller
            priority = CallOptions(priority=options.priority)
            jobs = type(jobs)(Caller(caller.engine, caller.options.merged(priority)))
        return cast("E", await jobs.wait_until_done(cast("Any", job).id))


class RunWaits(Resource):
    """The waiting methods of directive runs."""

    async def wait_until_done(self: _Runs[E], directive_id: str, run_id: str, *, timeout: float | None = None) -> E:
        """Wait until a run of a directive has ended.

        Tasks that wait for runs of the same directive share a list request per poll, as those that wait for jobs do.

        Args:
            directive_id: The directive.
            run_id: The run.
            timeout: Maximum seconds to wait; ``None`` for no limit.

        Returns:
            The run. Its ``status`` is ``completed``, or ``partial`` if only some of its workflows succeeded: see ``node_states``.

        Raises:
            DirectiveRunFailedError: No workflow succeeded.
            NotFoundError: There is no such directive or run.
            DeadlineExceededError: *timeout* expired; the run continues.
        """
        from mux_async._webhook_updates import run_list
        from mux_async.resources._waits import PagedSource, for_polls, operation_of

        caller, module = cast("Resource", self)._caller, type(self).__module__
        source = PagedSource(
            for_polls(caller),
            list_name=run_list(module.rpartition(".")[2], directive_id),
            list_operation=operation_of(module, "LIST"),
            retrieve_operation=operation_of(module, "RETRIEVE"),
            id_parameter="RUN_ID",
            path={"DIRECTIVE_ID": directive_id},
            id_field="run_id",
        )
        return cast("E", await _ended(caller, source, f"run {run_id!r} of directive {directive_id!r}", run_id, timeout))


async def _ended(
    caller: Caller, source: PagedSource, what: str, id: str, timeout: float | None, workflow: str | None = None
) -> object:
    from mux_async._goals import ended_goal, failure, is_whole
    from mux_async._poller import Ref
    from mux_async.resources._waits import wait

    def is_result(ended: Ended) -> bool:
        """Whether it is what a GET would return: an event may be about a job of another workflow, for which a GET returns 404."""
        return is_whole(ended) and (getattr(ended, "workflow", None) or workflow) == workflow

    ref = Ref(source.list_name, id)
    ended = await wait(caller, source, ref, ended_goal(what), timeout, is_result)
    if (error := failure(ended, id)) is not None:
        raise error
    return ended
