"""Credentials and hosts as a client is set up with them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from mux_async import Mux, Secret
from mux_async.errors import ConfigurationError, MissingCredentialsError
from mux_async.signing import Signer
from mux_async.testing import FakeTransport
from mux_async.webhooks import sign, verify
from tests.signing import keys


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
    monkeypatch.setenv("MUX_BASE_URL", f"{base_url}/{uuid4()}")  # each is said once in a process

    for _ in range(2):
        Mux(token_id="id", token_secret="secret")
    Mux(token_id="id", token_secret="secret", base_url="https://other.example.com")

    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == is_told
    assert "other.example.com" not in caplog.text


WRAPPINGS: dict[str, Callable[[str], str]] = {
    "a byte order mark": lambda text: f"\ufeff{text}",
    "a line break": lambda text: f"{text}\n",
    "a line break of Windows": lambda text: f"{text}\r\n",
    "line breaks that are spelled out": lambda text: f"{text}\\r\\n",
    "white space": lambda text: f" \t{text}  ",
    "quotes": lambda text: f'"{text}"',
    "single quotes": lambda text: f"'{text}'",
    "quotes of a word processor": lambda text: f"\u201c{text}\u201d",
    "quotes and a line break": lambda text: f'"{text}\\n"\n',
    "all of them": lambda text: f"\ufeff \"'{text}\\n' \"\r\n",
}


def authorization_of(**credentials: Any) -> str:
    """Return the ``Authorization`` that a client sends."""
    transport = FakeTransport()

    async def call() -> None:
        await Mux(transport=transport, **credentials).request("GET", "/x")

    asyncio.run(call())
    return transport.requests[0].headers["Authorization"]


MAKERS: dict[str, Callable[[str], object]] = {
    "token_id": lambda value: Mux(token_id=value, token_secret="s"),
    "token_secret": lambda value: Mux(token_id="id", token_secret=value),
    "authorization_token": lambda value: Mux(authorization_token=value),
    "the signing key id": lambda value: Signer(value, keys.pem()),
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_wrapped_credentials(wrapping: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever an environment puts around a setting, it is the same setting: token, bearer, secret, signing key, addresses."""
    wrap = WRAPPINGS[wrapping]
    for name, value in [("TOKEN_ID", "id"), ("TOKEN_SECRET", "s3cr+t/="), ("BASE_URL", "http://127.0.0.1:1/x")]:
        monkeypatch.setenv(f"MUX_{name}", wrap(value))
    monkeypatch.setenv("MUX_WEBHOOK_SECRET", wrap("hook"))
    monkeypatch.setenv("MUX_SIGNING_KEY", wrap(keys.KEY_ID))
    monkeypatch.setenv("MUX_PRIVATE_KEY", wrap(keys.as_mux_shows_it()))

    assert authorization_of() == authorization_of(token_id="id", token_secret="s3cr+t/=")
    assert Mux().base_url == "http://127.0.0.1:1/x"
    verify(b"{}", {"Mux-Signature": sign(b"{}", "hook")})
    assert Signer.from_environment().key_id == keys.KEY_ID
    assert Signer(keys.KEY_ID, wrap(keys.pem().decode())).key_id == keys.KEY_ID
    monkeypatch.delenv("MUX_TOKEN_ID")
    monkeypatch.setenv("MUX_AUTHORIZATION_TOKEN", wrap("bearer"))
    assert authorization_of() == "Bearer bearer"


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_wrapped_arguments(wrapping: str) -> None:
    """In an argument, which a program wrote, the same is refused by name and not shown."""
    wrap = WRAPPINGS[wrapping]

    for name, make in MAKERS.items():
        with pytest.raises(ConfigurationError, match=name) as caught:
            make(wrap("abcd"))
        assert "abcd" not in str(caught.value)
    for given in (wrap("abcd"), wrap("abcd").encode(), Secret(wrap("abcd"))):
        with pytest.raises(ConfigurationError, match="webhook secret") as caught:
            sign(b"{}", given)
        assert "abcd" not in str(caught.value)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ('ab"cd', 'holds "'),
        ('"abcd', 'holds "'),
        ("ab\\ncd", "line break"),
        ("ab\ncd", "line break"),
        ("ab cd", "a space"),
        ("ab\u00e4cd", "another character"),
        ("ab\x00cd", "another character"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabcd", "PEM"),
    ],
)
def test_what_no_token_holds(name: str, value: str, words: str) -> None:
    """A setting that cannot be right is refused by its name before anything is sent, and not shown."""
    with pytest.raises(ConfigurationError, match=f"{name} .*{words}") as caught:
        MAKERS[name](value)

    assert "abcd" not in str(caught.value)


@pytest.mark.parametrize("value", ["", "  ", '""', "\ufeff", "\\n"])
def test_nothing_in_a_setting(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable with nothing in it is one that is not set."""
    monkeypatch.setenv("MUX_TOKEN_ID", "id")
    monkeypatch.setenv("MUX_TOKEN_SECRET", value)
    monkeypatch.setenv("MUX_BASE_URL", value)
    monkeypatch.setenv("MUX_WEBHOOK_SECRET", value)

    with pytest.raises(MissingCredentialsError, match="MUX_TOKEN_SECRET"):
        Mux()
    assert Mux(token_secret="s").base_url == "https://api.mux.com"
    with pytest.raises(ConfigurationError, match="no webhook secret"):
        verify(b"{}", {})
