"""Writes `mux_async.models`, `mux_async.resources` and `mux_async.webhooks.events` from facts and overlays.

``python -m codegen`` writes, ``python -m codegen --check`` compares. The way of a run: `_facts` reads and verifies the input, `_overlays`
corrects and annotates it, `_reading` turns it into the values of `_api`, which say what Python needs to know, `_models`, `_resources` and
`_events` write those down, `_output` formats and stores or compares.
"""

from pathlib import Path

from codegen._facts import FACTS, SCHEMAS, GeneratorError, Json, load
from codegen._overlays import OVERLAYS, add_errors, correct
from codegen._overlays import load as load_overlays

__all__ = ["FACTS", "OVERLAYS", "SCHEMAS", "GeneratorError", "Json", "corrected_facts"]


def corrected_facts(facts: Path = FACTS, overlays: Path = OVERLAYS) -> Json:
    """Return Mux's description of the API as one OpenAPI document, with our corrections.

    Raises:
        GeneratorError: Facts and overlays do not fit together.
    """
    document = load(facts)
    overlay = load_overlays(overlays)
    correct(document, overlay.corrections)
    add_errors(document, overlay.errors)
    return document
