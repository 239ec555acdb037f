"""Why a delivery was not taken.

::

    MuxError
    └── WebhookError (ValueError)
        ├── BodyTooLargeError       nothing of it was looked at
        ├── SignatureError          it cannot be told from a forgery; `reason` says why
        │   └── BodyTypeError (TypeError)   the program passed something else than the bytes that arrived
        └── EventFormatError        it is Mux's, and no event
    └── EventStoreError             what was handled before cannot be found out now

No message holds a secret, a signature or anything of a body, and neither does what caused it.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from mux_async.errors import MuxError

Reason: TypeAlias = Literal["missing", "malformed", "mismatch", "too_old", "too_new"]


class WebhookError(MuxError, ValueError):
    """A delivery that is not to be acted on."""


class BodyTooLargeError(WebhookError):
    """The body is larger than is allowed. It was neither verified nor read."""


class SignatureError(WebhookError):
    """The signature does not show that Mux sent this body now.

    Attributes:
        reason: ``missing``: there is no ``Mux-Signature`` header. ``malformed``: it is not of the form that Mux writes. ``mismatch``: none
            of the secrets makes this signature of this body. ``too_old`` and ``too_new``: the signature is right, and its time is
            further from now than is tolerated.
    """

    def __init__(self, message: str, *, reason: Reason) -> None:
        super().__init__(message)
        self.reason: Reason = reason


class BodyTypeError(SignatureError, TypeError):
    """The body that was passed is neither bytes nor the text that was signed: it was parsed or decoded before."""


class EventFormatError(WebhookError):
    """The signature is right, and the body is no JSON object, or names no event."""


class EventStoreError(MuxError):
    """The store of handled events cannot be used now."""
