"""An async-first SDK for the Mux API. Start at `Mux`."""

from typing import TYPE_CHECKING

from mux_async._config import use_priority
from mux_async._pagination import Page, Paginator
from mux_async._response import ByteStream, Download, RawResponse
from mux_async._retry import RetryPolicy
from mux_async._types import UNSET, Secret, Unset
from mux_async._version import __version__
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
    ServerError,
    TransportError,
    UploadError,
)
from mux_async.limits import BucketSettings, LimitSettings, Priority, RetrySettings
from mux_async.transport import Timeouts, TransportSettings

if TYPE_CHECKING:
    from mux_async._client import Limits, Mux

__all__ = [
    "UNSET",
    "APIStatusError",
    "AmbiguousOutcomeError",
    "AssetErroredError",
    "AuthenticationError",
    "BadRequestError",
    "BucketSettings",
    "ByteStream",
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
    "Page",
    "Paginator",
    "PermissionDeniedError",
    "Priority",
    "RateLimitedError",
    "RawResponse",
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
    "use_priority",
]


def __getattr__(name: str) -> object:
    # The client brings the engine and the codec with it; a transport or a webhook handler needs neither.
    if name in {"Limits", "Mux"}:
        from mux_async import _client

        return getattr(_client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
