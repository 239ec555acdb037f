"""Every test counts from nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mux_async.drift import drift


@pytest.fixture(autouse=True)
def counted() -> Iterator[None]:
    drift.clear()
    yield
    drift.clear()
