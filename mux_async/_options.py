"""How a call is made, besides what it asks for: class of service, deadline, time limits, attempts.

`CallOptions` is what users write: for a client, for a variant of it (`Mux.with_options`), or for one call. What is left out comes from
the level above. `EffectiveOptions` is what the engine works with: every option has a value.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import attrs

from mux_async._checks import check_choice, check_flag, check_instance, check_period, check_whole, explains_arguments
from mux_async._types import UNSET, Unset
from mux_async.errors import ConfigurationError
from mux_async.limits._wait_queue import PRIORITIES, Priority
from mux_async.transport import Timeouts

MAX_RESPONSE_BYTES: Final = 64 * 1024 * 1024
MAX_ATTEMPTS: Final = 5

ambient_priority: ContextVar[Priority | None] = ContextVar("mux_async_priority", default=None)
"""Of the surrounding `use_priority`; ``None`` outside of one."""


@contextmanager
def use_priority(priority: Priority) -> Generator[None]:
    """Give every call made in the block, and in tasks started from it, a class of service, where its client has none of its own.

    For web frameworks: a middleware that says ``with use_priority("interactive"):`` covers all handlers.

    Args:
        priority: ``"interactive"``, ``"default"`` or ``"batch"``.

    Raises:
        ConfigurationError: It is something else.
    """
    check_choice("priority", priority, PRIORITIES)
    token = ambient_priority.set(priority)
    try:
        yield
    finally:
        ambient_priority.reset(token)


@explains_arguments
@attrs.frozen(kw_only=True)
class CallOptions:
    """How calls are made. For one call: ``await mux.video.assets.retrieve(id, options=CallOptions(deadline=2))``.

    The same value can be given to `Mux` and `Mux.with_options`. What is left out (``UNSET``) stays as it is.

    Attributes:
        priority: How calls use the rate limits: ``"interactive"`` goes first, ``"batch"`` is evenly spaced and leaves bursts to
            others. ``None`` for that of the surrounding `use_priority`, else ``"default"``.
        deadline: Seconds for a whole call: queue, attempts, waits and body. ``None`` for no limit.
        timeout: Seconds that one attempt may be silent: short for a `Timeouts` whose three limits are all this; ``None`` for no limit.
        timeouts: The same for each phase of an attempt.
        max_attempts: Times a request may be sent. A POST whose outcome is unknown is never sent again, whatever this says.
        max_response_bytes: Size of an answer, decompressed, beyond which it is refused.
        share_reads: Whether identical GETs at the same time are sent once.

    Raises:
        ConfigurationError: A value has the wrong type or is out of range, or *timeout* and *timeouts* are both given.
    """

    priority: Priority | Unset | None = UNSET
    deadline: float | Unset | None = UNSET
    timeout: float | Unset | None = UNSET
    timeouts: Timeouts | Unset = UNSET
    max_attempts: int | Unset = UNSET
    max_response_bytes: int | Unset = UNSET
    share_reads: bool | Unset = UNSET

    def __attrs_post_init__(self) -> None:
        if self.priority is not UNSET and self.priority is not None:
            check_choice("priority", self.priority, PRIORITIES)
        if self.deadline is not UNSET:
            check_period("deadline", self.deadline, none_means="no limit")
        if self.timeout is not UNSET:
            check_period("timeout", self.timeout, none_means="no limit")
            if self.timeouts is not UNSET:
                raise ConfigurationError(
                    "timeout and timeouts are both given; timeout=5 is short for Timeouts(5, 5, 5): leave one out"
                )
        if self.timeouts is not UNSET:
            takes = "it must be a Timeouts(connect=..., read=..., write=...); a number of seconds is CallOptions(timeout=...)"
            check_instance("timeouts", self.timeouts, Timeouts, takes)
        if self.max_attempts is not UNSET:
            check_whole("max_attempts", self.max_attempts, 1, "it is a whole number; 1 sends once, and never again")
        if self.max_response_bytes is not UNSET:
            check_whole("max_response_bytes", self.max_response_bytes, 1, "it must be above 0, and whole")
        if self.share_reads is not UNSET:
            check_flag("share_reads", self.share_reads)

    def over(self, options: CallOptions | None) -> CallOptions:
        """Return *options*, with what is given here in its place."""
        if options is None:
            return self
        given = self.given()
        dropped: dict[str, Any] = dict.fromkeys(
            {"timeout", "timeouts"} if given.keys() & {"timeout", "timeouts"} else (), UNSET
        )
        return attrs.evolve(options, **{**dropped, **given})

    def given(self) -> dict[str, Any]:
        """Return the options that have a value, by name."""
        values = ((field.name, getattr(self, field.name)) for field in attrs.fields(CallOptions))
        return {name: value for name, value in values if value is not UNSET}


@attrs.frozen(eq=False, repr=False)
class EffectiveOptions:
    """Every option of a call. See `CallOptions`."""

    priority: Priority | None = None
    deadline: float | None = None
    timeouts: Timeouts = attrs.field(factory=Timeouts)
    max_attempts: int = MAX_ATTEMPTS
    max_response_bytes: int = MAX_RESPONSE_BYTES
    share_reads: bool = True

    def merged(self, options: CallOptions) -> EffectiveOptions:
        """Return these options with what *options* gives in their place."""
        changes = options.given()
        if "timeout" in changes:
            seconds: float | None = changes.pop("timeout")
            changes["timeouts"] = Timeouts(seconds, seconds, seconds)
        return attrs.evolve(self, **changes)

    def for_long_work(self) -> EffectiveOptions:
        """Return the options of the calls that long work makes: waiting, uploading, ingesting, searching for a lost create.

        The options of a client are for one call of the user's. Such work makes many calls in its own time, so none of them inherits a
        deadline, and none gets less time, fewer attempts or smaller answers than the defaults allow. The priority is the client's.
        """
        least = Timeouts()
        timeouts = Timeouts(
            _longer(self.timeouts.connect, least.connect),
            _longer(self.timeouts.read, least.read),
            _longer(self.timeouts.write, least.write),
        )
        return EffectiveOptions(
            priority=self.priority,
            timeouts=timeouts,
            max_attempts=max(self.max_attempts, MAX_ATTEMPTS),
            max_response_bytes=max(self.max_response_bytes, MAX_RESPONSE_BYTES),
        )


def _longer(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else max(one, other)
