"""Makes up values that fit a schema: always the same ones for the same question, and such as Mux could give."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import attrs

from mux_async.emulator._ids import encode
from mux_async.emulator._spec import JsonSchema, Spec

EPOCH = 1_767_225_600
"""When everything made up happened: the first second of 2026."""
_MAX_DEPTH = 12
_WISHES = ("ready", "completed", "complete", "idle", "waiting", "public", "en")
"""Enum values that show an object in the state most clients hope for."""
_TEXTS: Mapping[str, str] = {
    "address": "https://example.com/webhooks",
    "aspect_ratio": "16:9",
    "environment_type": "development",
    "ext": "mp4",
    "filesize": "1048576",
    "language_code": "en",
    "url": "https://example.com/film.mp4",
}


@attrs.frozen
class Examples:
    """Makes up values.

    Attributes:
        spec: The schemas that references name.
        seed: What the values depend on besides the schema: another seed, other ids.
