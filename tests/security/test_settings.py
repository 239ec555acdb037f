"""Credentials and hosts as a client is set up with them."""

from __future__ import annotations

import logging

import pytest

from mux_async import Mux
from mux_async._config import tell_foreign_host


@pytest.mark.parametrize(
    ("base_url", "is_told"),
    [
        ("https://api.example.com", True),
        ("https://api.mux.com.example.com/x", True),
        ("https://notmux.com", True),
        ("https://10.0.0.1:8443", True),
        ("https://api.mux.com", False),
        ("https://api.eu.mux.com", False),
        ("http://127.0.0.1:8787", False),
        ("https://mux.localhost", False),
    ],
)
def test_foreign_host_of_the_environment(
    base_url: str, is_told: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Credentials that the environment sends elsewhere than to Mux are said in the log, once; a host in the program's own code is not."""
    tell_foreign_host.cache_clear()
    monkeypatch.setenv("MUX_BASE_URL", base_url)

    for _ in range(2):
        Mux(token_id="id", token_secret="secret")
    Mux(token_id="id", token_secret="secret", base_url="https://other.example.com")

    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == is_told
    assert "other.example.com" not in caplog.text
