"""Settings as environments hand them over: what is around a value that a file, a shell or ``docker --env-file`` put there, taken away.

One reading for all settings that are text: tokens, secrets, ids, keys, URLs. None of Mux's begins or ends with white space, a line break
(real or spelled out, ``\\n``), a byte order mark, or has quotes around it. Out of an environment variable these are taken away; in an
argument, which a program wrote, they are refused by name. Nothing within a value is changed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from mux_async.errors import ConfigurationError

_QUOTES: Final = {'"': '"', "'": "'", "`": "`", "\u201c": "\u201d", "\u2018": "\u2019"}
"""Closing quotes by opening ones: those of shells, and those of word processors."""
_AROUND: Final = ("\\r", "\\n", "\\t")
_MARKS: Final = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig"))


def unwrap_setting(value: str) -> str:
    """Return *value* without what is around it; empty when there is nothing else."""
    while True:
        text = value.strip().strip("\ufeff\u200b")
        for mark in _AROUND:
            text = text.removeprefix(mark).removesuffix(mark)
        if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
            text = text[1:-1]
        if text == value:
            return text
        value = text


def read_variable(name: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the value of an environment variable, unwrapped; ``None`` when it is not set, or has nothing in it."""
    value = (os.environ if environ is None else environ).get(name)
    return None if value is None else unwrap_setting(value) or None


def text_of(value: bytes) -> str | None:
    """Return the text in *value*, which a file may have in UTF-8 or, with its mark, in UTF-16; ``None`` when it is neither."""
    encoding = next((name for mark, name in _MARKS if value.startswith(mark)), "utf-8")
    try:
        return value.decode(encoding)
    except UnicodeDecodeError:
        return None


def check_token(name: str, value: str) -> str:
    """Return *value* if it can be an id or a secret of Mux's: printable ASCII without spaces, quotes and backslashes. It is not shown."""
    if "-----BEGIN" in value:
        raise ConfigurationError(f"{name} holds a key in PEM; were two settings swapped?")
    if any(mark in value for mark in ("\n", "\r", *_AROUND)):
        raise ConfigurationError(f"{name} holds a line break; was it read from a file? Strip it")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ConfigurationError(f"{name} holds a space or another character that no Mux token has; was it copied whole?")
    if found := {'"', "'", "`", "\\"} & set(value):
        raise ConfigurationError(f"{name} holds {min(found)}, which no Mux token has: leave the quotes out")
    return value
