"""The arguments of one call, as a resource hands them to the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from mux_async._idempotency.key import IdempotencyKey
    from mux_async._options import CallOptions

_NOTHING: Mapping[str, Any] = {}


# Not frozen: three times slower to build, once for each call. Treat as immutable.
@attrs.define(eq=False, repr=False)
class Arguments:
    """The arguments of one call, by wire name. ``UNSET`` values are left out when the request is built."""

    path: Mapping[str, str] = attrs.field(default=_NOTHING, repr=False)
    query: Mapping[str, object] = attrs.field(default=_NOTHING, repr=False)
    body: Mapping[str, object] | None = attrs.field(default=None, repr=False)
    """JSON members; ``None`` for operations that take no body, so that none is sent."""
    extra_headers: Mapping[str, str] | None = attrs.field(default=None, repr=False)
    extra_query: Mapping[str, object] | None = attrs.field(default=None, repr=False)
    extra_body: Mapping[str, object] | None = attrs.field(default=None, repr=False)
    once: str | IdempotencyKey | None = None
    """The idempotency key: set in the body, and searched for when the response is lost."""
    options: CallOptions | None = None
    """How this one call is made, where that differs from the client's other calls."""
