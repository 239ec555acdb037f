"""Writes `mux_async.models`, `mux_async.resources` and `mux_async.webhooks.events` from facts and overlays.

``python -m codegen`` writes, ``python -m codegen --check`` compares. The way of a run: `_facts` reads and verifies the input, `_overlays`
corrects and annotates it, `_reading` turns it into the values of `_api`, which say what Python needs to know, `_models`, `_resources` and
`_events` write those down, `_output` formats and stores or compares.
"""
