"""Runs a scheduled step: the first word of its name selects the function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from mux_async.emulator.data._beacons import run_view_step
from mux_async.emulator.live._encoders import run_live_step
from mux_async.emulator.live._web_inputs import run_web_input_step
from mux_async.emulator.resources import _uploads
from mux_async.emulator.resources._asset_lifecycle import run_step
from mux_async.emulator.robots._directives import reconsider, run_directive_step
from mux_async.emulator.robots._jobs import run_job_step
from mux_async.emulator.state._scheduler import Step
from mux_async.emulator.state._state import Environment, State
from mux_async.emulator.webhooks._deliveries import run_delivery_step

Runner: TypeAlias = Callable[[State, Environment, str, str], None]


_MOVES_RUNS = frozenset({"asset", "job", "live"})
"""Steps after which the inputs of directive runs may be ready."""
_RUNNERS: Mapping[str, Runner] = {
    "asset": run_step,
    "job": run_job_step,
    "live": run_live_step,
    "run": run_directive_step,
    "upload": _uploads.run_upload_step,
    "view": run_view_step,
    "web_input": run_web_input_step,
    "webhook": run_delivery_step,
}


def run(state: State, step: Step) -> None:
    """Run a step. It has no effect if its object is gone."""
    kind = step.name.partition(".")[0]
    environment = state.environment_by_id(step.environment)
    _RUNNERS[kind](state, environment, step.name, step.subject)
    if kind in _MOVES_RUNS and environment.directive_runs:
        reconsider(state, environment)
