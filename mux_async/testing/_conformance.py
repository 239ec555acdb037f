"""The contract of `mux_async.transport`, as checks that any adapter can be handed to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from mux_async.testing import (
    _checks_connections,
    _checks_faults,
    _checks_kept,
    _checks_malformed,
    _checks_messages,
    _checks_tls,
)
from mux_async.testing._bench import Check, ConformanceError, Connect, InProcessBench, SocketBench
from mux_async.transport import TransportFactory

_MODULES: Final = (_checks_messages, _checks_faults, _checks_tls, _checks_connections, _checks_kept, _checks_malformed)
CHECKS: Final[Sequence[Check]] = tuple(each for module in _MODULES for each in vars(module).values() if isinstance(each, Check))
"""Everything that is expected of a transport; ``str(check)`` is a name to parametrise tests with."""

IN_PROCESS_CHECKS: Final[Sequence[Check]] = tuple(each for each in CHECKS if not each.needs_sockets)
"""What is expected of a transport that answers without a network."""


async def check_transport(make_transport: TransportFactory, checks: Sequence[Check] = CHECKS) -> None:
    """Check a transport against servers on 127.0.0.1 that do as each check needs.

    Runs on asyncio and trio. Call it on every event loop that the transport supports, best with one check at a time::

        @pytest.mark.anyio
        @pytest.mark.parametrize("check", CHECKS, ids=str)
        async def test_conformance(check):
            await check_transport(create_transport, [check])

    The checks of TLS need ``trustme``.

    Args:
        make_transport: The adapter's factory; called for each check, and more than once in some.
        checks: Which ones, in order.

    Raises:
        ConformanceError: A promise is broken; the message says which, and how.
    """
    for check in checks:
        await _run(check, SocketBench(make_transport))


async def check_in_process(connect: Connect, checks: Sequence[Check] = IN_PROCESS_CHECKS) -> None:
    """Check a transport that has no sockets.

    Args:
        connect: Makes a transport whose requests are answered by the script it is given; called for each check, and more than once
            in some.
        checks: Which ones, in order.

    Raises:
        ConformanceError: A promise is broken; the message says which, and how.
        ValueError: One of *checks* needs sockets.
    """
    for check in checks:
        if check.needs_sockets:
            raise ValueError(f"the check {check.name!r} is about sockets; an in-process transport has none")
        await _run(check, InProcessBench(connect))


async def _run(check: Check, bench: SocketBench | InProcessBench) -> None:
    try:
        await check.run(bench)
    except BaseExceptionGroup as group:
        # The servers run in task groups, which wrap what the check raised. One exception is raised as itself; if requests that were sent
        # at the same time break the promise, the first failure is.
        raise _only(group) from None


def _only(error: BaseException) -> BaseException:
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    errors = [_only(each) for each in group.exceptions]
    return errors[0] if len(errors) == 1 or all(isinstance(each, ConformanceError) for each in errors) else group
