"""Strict mode: the first thing in a response that this version has no name for is an error. For tests and staging.

A class of its own, so that other clients do not even ask whether they are strict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mux_async._engine import USUAL_SUCCESS, Engine
from mux_async._models.drift_check import all_findings, raise_for
from mux_async._models.model import examine
from mux_async._models.response_decoder import unknown_beside_data
from mux_async._pagination import whole
from mux_async._recovery import EXPECTED_STATUSES
from mux_async.drift import plain_name
from mux_async.errors import APIStatusError

if TYPE_CHECKING:
    from mux_async._arguments import Arguments
    from mux_async._observer import CallObserver
    from mux_async._operation import Operation
    from mux_async._options import EffectiveOptions


class StrictEngine(Engine):
    """Performs calls, reads the whole of each response at once, and raises `DriftError` for what has no name here."""

    async def call(
        self,
        operation: Operation[Any],
        arguments: Arguments,
        options: EffectiveOptions,
        *,
        with_answer: bool = False,
        observer: CallObserver | None = None,
    ) -> Any:
        """See `Engine.call`. With listeners, the check is a part of what they observe."""
        value: Any
        try:
            value, answer = await super().call(operation, arguments, options, with_answer=True, observer=observer)
            if self.listeners is not None and observer is None:
                return (value, answer) if with_answer else value
        except APIStatusError as error:
            if error.status not in EXPECTED_STATUSES:
                raise_for([f"unexpected status {error.status}"], operation.line, error)
            raise
        status = answer.response.status
        places = [] if status in USUAL_SUCCESS else [f"unexpected status {status}"]
        places += [
            f"unknown field {owner}.{plain_name(name)}" for owner, name, _ in unknown_beside_data(operation, answer.content)
        ]
        places += [f"{found} at {path or 'the top'}" for path, found in all_findings(examine, whole(value), "")]
        raise_for(places, f"the response to {operation.line}")
        return (value, answer) if with_answer else value
