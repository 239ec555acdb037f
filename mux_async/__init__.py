"""An async-first SDK for the Mux API. Start at `Mux`."""

from typing import TYPE_CHECKING

from mux_async._lazy_exports import lazy_exports
from mux_async._version import __version__

if TYPE_CHECKING:
    from mux_async._client import Mux
    from mux_async._config import AccessToken
    from mux_async._explain import explain
    from mux_async._idempotency.key import IdempotencyKey
    from mux_async._listeners import Listening
    from mux_async._models.cattrs_converter import converter
    from mux_async._models.model import Model
    from mux_async._options import CallOptions, use_priority
    from mux_async._pagination import Page, Paginator
    from mux_async._response import ByteStream, Download, RawResponse
    from mux_async._retry import RetryPolicy
    from mux_async._types import UNSET, Secret, Unset
    from mux_async._webhook_stream import StreamStatus, WebhookStream
    from mux_async.errors import (
        AmbiguousOutcomeError,
        APIStatusError,
        AssetErroredError,
        Attempt,
        AuthenticationError,
        BadRequestError,
        ClosedError,
        ConfigurationError,
        ConflictError,
        ConnectError,
        DeadlineExceededError,
        Delivery,
        DeprecatedArgumentWarning,
        DirectiveRunFailedError,
        DriftError,
        InvalidRequestError,
        JobFailedError,
        LimitWaitError,
        LiveStreamDisabledError,
        MasterErroredError,
        MissingCredentialsError,
        MissingExtraError,
        MisspeltArgumentWarning,
        MuxError,
        MuxWarning,
        NotFoundError,
        NotReadyError,
        PermissionDeniedError,
        Phase,
        ProcessingError,
        RateLimitedError,
        RepeatedPageError,
        ResponseError,
        ResponseTooLargeError,
        ServerError,
        StaticRenditionErroredError,
        TrackErroredError,
        TransportClosedError,
        TransportError,
        TransportTimeoutError,
        UndecodableResponseError,
        UnknownArgumentError,
        UnknownNameError,
        UnknownTransportError,
        UploadError,
        WrongRuntimeError,
    )
    from mux_async.limits import BucketSettings, Limits, LimitSettings, Priority, RetrySettings
    from mux_async.transport import Timeouts, TransportSettings

__all__ = [
    "UNSET", "APIStatusError", "AccessToken", "AmbiguousOutcomeError", "AssetErroredError", "Attempt",
    "AuthenticationError", "BadRequestError", "BucketSettings", "ByteStream", "CallOptions", "ClosedError",
    "ConfigurationError", "ConflictError", "ConnectError", "DeadlineExceededError", "Delivery",
    "DeprecatedArgumentWarning", "DirectiveRunFailedError", "Download", "DriftError", "IdempotencyKey", "InvalidRequestError",
    "JobFailedError", "LimitSettings", "LimitWaitError", "Limits", "Listening", "LiveStreamDisabledError",
    "MasterErroredError", "MissingCredentialsError", "MissingExtraError", "MisspeltArgumentWarning", "Model",
    "Mux", "MuxError", "MuxWarning", "NotFoundError", "NotReadyError", "Page", "Paginator",
    "PermissionDeniedError", "Phase", "Priority", "ProcessingError", "RateLimitedError", "RawResponse",
    "RepeatedPageError", "ResponseError", "ResponseTooLargeError", "RetryPolicy", "RetrySettings", "Secret",
    "ServerError", "StaticRenditionErroredError", "StreamStatus", "Timeouts", "TrackErroredError", "TransportClosedError",
    "TransportError", "TransportSettings", "TransportTimeoutError", "UndecodableResponseError",
    "UnknownArgumentError", "UnknownNameError", "UnknownTransportError", "Unset", "UploadError",
    "WebhookStream", "WrongRuntimeError", "__version__", "converter", "explain", "use_priority",
]  # fmt: skip

if not TYPE_CHECKING:  # a type checker would believe in every misspelt name
    # A transport or a webhook handler needs no client, and a program that catches errors no rate limits.
    __getattr__ = lazy_exports(
        __name__,
        {
            "_client": ["Mux"],
            "_config": ["AccessToken"],
            "_explain": ["explain"],
            "_listeners": ["Listening"],
            "_models.cattrs_converter": ["converter"],
            "_models.model": ["Model"],
            "_idempotency.key": ["IdempotencyKey"],
            "_options": ["CallOptions", "use_priority"],
            "_pagination": ["Page", "Paginator"],
            "_response": ["ByteStream", "Download", "RawResponse"],
            "_retry": ["RetryPolicy"],
            "_types": ["UNSET", "Secret", "Unset"],
            "_webhook_stream": ["StreamStatus", "WebhookStream"],
            "errors": [
                "APIStatusError", "AmbiguousOutcomeError", "AssetErroredError", "Attempt", "AuthenticationError",
                "BadRequestError", "ClosedError", "ConfigurationError", "ConflictError", "ConnectError",
                "DeadlineExceededError", "Delivery", "DeprecatedArgumentWarning", "DirectiveRunFailedError",
                "DriftError", "InvalidRequestError", "JobFailedError", "LimitWaitError", "LiveStreamDisabledError",
                "MasterErroredError", "MissingCredentialsError", "MissingExtraError", "MisspeltArgumentWarning",
                "MuxError", "MuxWarning", "NotFoundError", "NotReadyError", "PermissionDeniedError", "Phase",
                "ProcessingError", "RateLimitedError", "RepeatedPageError", "ResponseError", "ResponseTooLargeError",
                "ServerError", "StaticRenditionErroredError", "TrackErroredError", "TransportClosedError",
                "TransportError", "TransportTimeoutError", "UndecodableResponseError", "UnknownArgumentError",
                "UnknownNameError", "UnknownTransportError", "UploadError", "WrongRuntimeError",
            ],
            "limits": ["BucketSettings", "LimitSettings", "Limits", "Priority", "RetrySettings"],
            "transport": ["Timeouts", "TransportSettings"],
        },
    )  # fmt: skip


def __dir__() -> list[str]:
    return __all__
