"""An async-first SDK for the Mux API. Start at `Mux`."""

from typing import TYPE_CHECKING

from mux_async._lazy_exports import lazy_exports
from mux_async._version import __version__

if TYPE_CHECKING:
    from mux_async._client import Limits, Mux
    from mux_async._models.response_decoder import converter
    from mux_async._options import CallOptions, Once, use_priority
    from mux_async._pagination import Page, Paginator
    from mux_async._response import ByteStream, Download, RawResponse
    from mux_async._retry import RetryPolicy
    from mux_async._types import UNSET, Secret, Unset
    from mux_async.errors import (
        AmbiguousOutcomeError,
        APIStatusError,
        AssetErroredError,
        AuthenticationError,
        BadRequestError,
        ConfigurationError,
        ConflictError,
        DeadlineExceededError,
        LimitWaitError,
        MuxError,
        NotFoundError,
        NotReadyError,
        PermissionDeniedError,
        RateLimitedError,
        RepeatedPageError,
        ServerError,
        TransportError,
        UploadError,
    )
    from mux_async.limits import BucketSettings, LimitSettings, Priority, RetrySettings
    from mux_async.transport import Timeouts, TransportSettings

__all__ = [
    "UNSET",
    "APIStatusError",
    "AmbiguousOutcomeError",
    "AssetErroredError",
    "AuthenticationError",
    "BadRequestError",
    "BucketSettings",
    "ByteStream",
    "CallOptions",
    "ConfigurationError",
    "ConflictError",
    "DeadlineExceededError",
    "Download",
    "LimitSettings",
    "LimitWaitError",
    "Limits",
    "Mux",
    "MuxError",
    "NotFoundError",
    "NotReadyError",
    "Once",
    "Page",
    "Paginator",
    "PermissionDeniedError",
    "Priority",
    "RateLimitedError",
    "RawResponse",
    "RepeatedPageError",
    "RetryPolicy",
    "RetrySettings",
    "Secret",
    "ServerError",
    "Timeouts",
    "TransportError",
    "TransportSettings",
    "Unset",
    "UploadError",
    "__version__",
    "converter",
    "use_priority",
]

if not TYPE_CHECKING:  # a type checker would believe in every misspelt name
    # A transport or a webhook handler needs no client, and a program that catches errors no rate limits.
    __getattr__ = lazy_exports(
        __name__,
        {
            "_client": ["Limits", "Mux"],
            "_models.response_decoder": ["converter"],
            "_options": ["CallOptions", "Once", "use_priority"],
            "_pagination": ["Page", "Paginator"],
            "_response": ["ByteStream", "Download", "RawResponse"],
            "_retry": ["RetryPolicy"],
            "_types": ["UNSET", "Secret", "Unset"],
            "errors": [
                "APIStatusError",
                "AmbiguousOutcomeError",
                "AssetErroredError",
                "AuthenticationError",
                "BadRequestError",
                "ConfigurationError",
                "ConflictError",
                "DeadlineExceededError",
                "LimitWaitError",
                "MuxError",
                "NotFoundError",
                "NotReadyError",
                "PermissionDeniedError",
                "RateLimitedError",
                "RepeatedPageError",
                "ServerError",
                "TransportError",
                "UploadError",
            ],
            "limits": ["BucketSettings", "LimitSettings", "Priority", "RetrySettings"],
            "transport": ["Timeouts", "TransportSettings"],
        },
    )


def __dir__() -> list[str]:
    return __all__
