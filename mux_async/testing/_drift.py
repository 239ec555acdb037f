"""Checks of what was received, for tests."""

from __future__ import annotations

from mux_async._models.drift_check import check
from mux_async._models.model import examine
from mux_async._pagination import whole


def check_drift(value: object) -> None:
    """Check that a model, a webhook event, a page or a list of them has nothing that this version has no name for.

    Everything in it is read, also what the test does not use. ``Mux(strict=True)`` does this to every response.

    Raises:
        DriftError: Something is different; the message lists every place.
    """
    check(examine, whole(value))
