"""Errors of webhook deliveries.

::

    MuxError
    └── WebhookError (ValueError)
        ├── BodyTooLargeError       the body was not read
        ├── SignatureError          the signature is not valid; `reason` says why
        │   └── BodyTypeError (TypeError)   the program passed something other than the bytes that arrived
        └── EventFormatError        the signature is valid, but the body is not an event
    └── EventStoreError             the store of handled events failed

Messages and causes contain no secret, no signature and no part of a body.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from mux_async.errors import MuxError

Reason: TypeAlias = Literal["missing", "malformed", "mismatch", "too_old", "too_new"]


class WebhookError(MuxError, ValueError):
    """A delivery that must not be handled."""


class BodyTooLargeError(WebhookError):
    """The body is larger than the limit. It was neither verified nor parsed."""


class SignatureError(WebhookError):
    """The signature does not prove that Mux sent this body now.

    Attributes:
        reason: ``missing``: there is no ``Mux-Signature`` header. ``malformed``: the header does not have Mux's form. ``mismatch``: none
            of the secrets produces this signature for this body. ``too_old`` and ``too_new``: the signature is valid, but its time
            differs from now by more than the tolerance.
    """

    def __init__(self, message: str, *, reason: Reason) -> None:
        super().__init__(message)
        self.reason: Reason = reason


class BodyTypeError(SignatureError, TypeError):
    """The body is neither bytes nor the signed text: the program parsed or decoded it before."""


class EventFormatError(WebhookError):
    """The signature is valid, but the body is not a JSON object, or not an event."""


class EventStoreError(MuxError):
    """The store of handled events failed."""
