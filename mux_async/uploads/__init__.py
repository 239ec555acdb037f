"""Files into assets by direct upload: resumable, in constant memory, from disk or from anywhere."""

from mux_async.uploads._client import Uploads
from mux_async.uploads._flow import DEFAULT_UPLOAD_SETTINGS, UploadSettings
from mux_async.uploads._source import Source
from mux_async.uploads.machine import UploadState
from mux_async.uploads.runner import ProgressCallback, UploadGoneError, UploadProgress, UploadReport

__all__ = [
    "DEFAULT_UPLOAD_SETTINGS",
    "ProgressCallback",
    "Source",
    "UploadGoneError",
    "UploadProgress",
    "UploadReport",
    "UploadSettings",
    "UploadState",
    "Uploads",
]
