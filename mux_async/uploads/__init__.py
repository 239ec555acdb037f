"""Files into assets by direct upload: resumable, in constant memory, from disk or from anywhere."""

from mux_async.uploads._client import Uploads
from mux_async.uploads._runner import ProgressCallback, UploadGoneError, UploadProgress, UploadReport
from mux_async.uploads._scheduler import DEFAULT_UPLOAD_SETTINGS, UploadSettings
from mux_async.uploads._source import Source
from mux_async.uploads.machine import UploadState

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
