"""``mux.uploads``: create an upload, send the bytes and wait for the asset, in one call or one by one."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Literal, Protocol, cast, overload
from urllib.parse import urlsplit

import anyio

from mux_async._checks import check_instance, check_whole, wrong
from mux_async._options import CallOptions
from mux_async._tracebacks import hides_methods
from mux_async._types import UNSET, Secret, Unset
from mux_async.errors import APIStatusError, InvalidRequestError, MuxError, UploadError
from mux_async.uploads._reader import Reader
from mux_async.uploads._runner import ProgressCallback, UploadGoneError, UploadReport, UploadRun
from mux_async.uploads._scheduler import DEFAULT_UPLOAD_SETTINGS, UploadScheduler, UploadSettings
from mux_async.uploads._source import Source, open_source
from mux_async.uploads.machine import UploadState

if TYPE_CHECKING:
    from mux_async._resource import Caller
    from mux_async.models import Asset, AssetOptions, Upload
    from mux_async.params import AssetOptionsParam, PlaybackPolicyParam
    from mux_async.resources.video import Video

logger = logging.getLogger(__name__)

_CANCEL_TIME = 10.0
"""Seconds that the cancel call to Mux may take when an upload is cancelled."""


class UploadClient(Protocol):
    """The part of `mux_async.Mux` that `Uploads` needs. `Mux` itself cannot be named here: it imports this package."""

    @property
    def _caller(self) -> Caller: ...

    @property
    def _upload_settings(self) -> UploadSettings | None: ...


@hides_methods
class Uploads:
    """Direct uploads. A client's `Mux.uploads`.

    Args:
        client: A `Mux`. Makes the API calls, with its priority; its transport also sends the bytes. Its deadline and other options apply
            to single calls, not to uploads: bytes go to another host, which has no rate limit, and are retried chunk by chunk.
        settings: Limits that these uploads share; ``None`` for the client's (``Mux(uploads=...)``), shared with all its other uploads.
        random: Source of jitter; the system's by default. A seeded one gives the same values in all processes forked from this one.
        max_failures: An upload fails after this many failures in a row without any byte accepted. They are up to 30 s apart.
    """

    def __init__(
        self,
        client: UploadClient,
        settings: UploadSettings | None = None,
        *,
        random: Random | None = None,
        max_failures: int = 10,
    ) -> None:
        caller: Caller | None = getattr(client, "_caller", None)
        if caller is None or not hasattr(client, "_upload_settings"):
            raise wrong("client", client, "it must be a Mux")
        check_instance("settings", settings, UploadSettings, "it must be an UploadSettings", allow_none=True)
        check_instance("random", random, Random, "it must be a random.Random", allow_none=True)
        check_whole("max_failures", max_failures, 0, "it must be 0 or more, and whole")
        own = client._upload_settings  # pyright: ignore[reportPrivateUsage] - for this package, not for users
        self._caller = caller.for_long_work
        self._settings = settings or own or DEFAULT_UPLOAD_SETTINGS
        self._max_failures = max_failures
        self._random = random or SystemRandom()

    if not TYPE_CHECKING:  # a type checker would believe in every misspelt name

        def __getattr__(self, name: str) -> object:
            from mux_async._names import attribute

            return attribute(self, name)

    @overload
    async def send(
        self,
        source: Source,
        *,
        wait: Literal[True] = True,
        length: int | None = None,
        playback_policies: PlaybackPolicyParam | Sequence[PlaybackPolicyParam] | Unset = UNSET,
        new_asset_settings: AssetOptions | AssetOptionsParam | Unset = UNSET,
        cors_origin: str | Unset = UNSET,
        timeout: int | Unset = UNSET,
        test: bool | Unset = UNSET,
        wait_timeout: float | None = None,
        cancel_at_mux: bool = True,
        on_progress: ProgressCallback | None = None,
    ) -> Asset: ...
    @overload
    async def send(
        self,
        source: Source,
        *,
        wait: Literal[False],
        length: int | None = None,
        playback_policies: PlaybackPolicyParam | Sequence[PlaybackPolicyParam] | Unset = UNSET,
        new_asset_settings: AssetOptions | AssetOptionsParam | Unset = UNSET,
        cors_origin: str | Unset = UNSET,
        timeout: int | Unset = UNSET,
        test: bool | Unset = UNSET,
        wait_timeout: float | None = None,
        cancel_at_mux: bool = True,
        on_progress: ProgressCallback | None = None,
    ) -> Upload: ...
    async def send(
        self,
        source: Source,
        *,
        wait: bool = True,
        length: int | None = None,
        playback_policies: PlaybackPolicyParam | Sequence[PlaybackPolicyParam] | Unset = UNSET,
        new_asset_settings: AssetOptions | AssetOptionsParam | Unset = UNSET,
        cors_origin: str | Unset = UNSET,
        timeout: int | Unset = UNSET,
        test: bool | Unset = UNSET,
        wait_timeout: float | None = None,
        cancel_at_mux: bool = True,
        on_progress: ProgressCallback | None = None,
    ) -> Asset | Upload:
        """Make an asset of a file: create an upload, send the bytes, and wait until the asset can be played.

        Waits for a free slot among the client's uploads first, then opens the source: an unreadable or empty one costs no request. After
        a broken connection, the upload continues from the offset that the server reports. Memory use does not grow with the file.

        Args:
            source: A path, bytes, an open file (from its current position; not closed), the upload object of a web framework, an
                iterator of bytes, plain or asynchronous, or a URL that fsspec can open (``s3://bucket/film.mp4``; extra ``fsspec``);
                see ``docs/uploads.md``. An iterator, or a file that cannot seek, is read once: with *length* it is sent in chunks, each
                kept until the server has it; without, in a single request that cannot be retried, so a broken connection ends it.
            wait: ``False`` returns as soon as the server has every byte.
            length: Size in bytes of a source that is read once.
            playback_policies: ``public``, ``signed`` or ``drm``; without any, the asset cannot be played.
            new_asset_settings: For the asset; *playback_policies* is added to them.
            cors_origin: Origin of the web page that would send the bytes; not needed here.
            timeout: Seconds for which the upload URL is valid, 60 to 604 800; Mux uses 3600 if not given.
            test: Makes a watermarked asset that is free, cut to 10 s and deleted after a day.
            wait_timeout: Longest wait for the asset in seconds; ``None`` for no limit.
            cancel_at_mux: Whether to cancel the upload at Mux too when it is cancelled here or fails in a way that cannot be resumed. This
                takes at most 10 s. With ``False`` it can be resumed by the id in the progress until it expires.
            on_progress: Called after every piece sent and every response; must return at once.

        Returns:
            The ready asset; with ``wait=False`` the upload.

        Raises:
            InvalidRequestError: The source is unreadable, empty, or not a source of bytes; nothing was sent.
            UploadError: Not all bytes arrived. If the source failed half-way, its error is the cause. ``resumable`` says whether
                `resume` can help.
            AssetErroredError: Mux could not make an asset of the bytes.
            DeadlineExceededError: *wait_timeout* ran out.
        """
        async with self._open(source, length) as reader:
            await reader.prepare(0, 0)
            upload = await self._video.uploads.create(
                new_asset_settings=merge_settings(new_asset_settings, playback_policies=playback_policies),
                cors_origin=cors_origin,
                timeout=timeout,
                test=test,
            )
            try:
                await self._deliver(upload, reader, None, on_progress)
            except (Exception, anyio.get_cancelled_exc_class()) as error:
                is_gone = isinstance(error, UploadGoneError)
                is_resumable = isinstance(error, UploadError) and error.resumable
                if cancel_at_mux and not is_gone and not is_resumable:
                    await self.cancel(upload.id)
                raise
        if wait:
            return await self._video.assets.wait_for_upload(upload.id, timeout=wait_timeout)
        return await self._video.uploads.retrieve(upload.id)

    async def cancel(self, upload_id: str) -> bool:
        """Cancel an upload at Mux, so that its URL accepts no more bytes. Shielded from cancellation, 10 s at most, raises nothing.

        Meant for clean-up; ``mux.video.uploads.cancel`` is the plain call.

        Args:
            upload_id: The upload.

        Returns:
            Whether it is cancelled now. If not, it was complete or over already, or will expire; the reason is logged.
        """
        extra = {"mux_upload_id": upload_id}
        # Shielded: the calling task is being cancelled, and nothing else knows the upload.
        with anyio.move_on_after(_CANCEL_TIME, shield=True):
            try:
                await self._video.uploads.cancel(upload_id, options=CallOptions(priority="interactive"))
            except APIStatusError as error:
                logger.info("upload %s was not cancelled: it was answered %s", upload_id, error.status, extra=extra)
            except MuxError as error:
                logger.info("upload %s was not cancelled and will expire: %s", upload_id, type(error).__name__, extra=extra)
            else:
                return True
            return False
        logger.info("upload %s was not cancelled within %s s and will expire", upload_id, _CANCEL_TIME, extra=extra)
        return False

    async def deliver(
        self,
        upload: Upload,
        source: Source,
        *,
        length: int | None = None,
        state: UploadState | None = None,
        on_progress: ProgressCallback | None = None,
    ) -> UploadReport | None:
        """Send a source to an upload that was created with ``mux.video.uploads.create``.

        Args:
            upload: As created or retrieved; it must be waiting for bytes.
            source: As for `send`.
            length: As for `send`.
            state: Progress of an earlier run; ``None`` for an upload to which nothing was sent.
            on_progress: As for `send`.

        Returns:
            Size, time and number of requests; ``None`` if the upload was complete already.

        Raises:
            UploadGoneError: The upload has expired or was cancelled.
            UploadError: Sending failed for another reason.
            InvalidRequestError: The source is unreadable or empty, or the upload no longer has a URL.
        """
        async with self._open(source, length) as reader:
            return await self._deliver(upload, reader, state, on_progress)

    async def put(
        self,
        url: str | Secret,
        source: Source,
        *,
        length: int | None = None,
        state: UploadState | None = None,
        upload_id: str | None = None,
        on_progress: ProgressCallback | None = None,
    ) -> UploadReport:
        """Send a source to an upload URL that was created elsewhere.

        Only the bytes are sent there, no credentials.

        Args:
            url: Of the upload. Knowing it is enough to upload, so it is treated as a secret.
            source: As for `send`.
            length: As for `send`.
            state: Progress of an earlier run; ``None`` for a URL to which nothing was sent.
            upload_id: Named in messages and in the progress.
            on_progress: As for `send`.

        Raises:
            UploadGoneError: The URL has expired or was used up.
            UploadError: Sending failed for another reason.
            InvalidRequestError: The source is unreadable or empty, or the URL is not valid.
        """
        async with self._open(source, length) as reader:
            return await self._run(Secret(url), reader, state, upload_id, on_progress)

    async def resume(
        self, upload_id: str, source: Source, *, state: UploadState | None = None, on_progress: ProgressCallback | None = None
    ) -> UploadReport | None:
        """Continue an upload that this or another process began, from the offset that the server reports.

        Only the id is needed: Mux returns the URL as long as the upload waits for bytes.

        Args:
            upload_id: The upload.
            source: The same bytes as before: a path, a URL, bytes or a seekable file.
            state: From the progress of the earlier run. With it the source is compared: its size, the checksum of the bytes that the
                server had confirmed, and, if more bytes arrived after that, its modification time or version.
            on_progress: As for `send`.

        Returns:
            Size, time and number of requests; ``None`` if the upload was complete already.

        Raises:
            UploadError: It was cancelled or has expired; or the source is not the one that *state* belongs to.
            NotFoundError: There is no such upload.
            InvalidRequestError: The source is unreadable, empty, readable only once, or its size differs from *state*.
        """
        async with self._open(source, None) as reader:
            await reader.prepare(0, 0)
            if reader.size is None:
                raise InvalidRequestError(
                    "a stream cannot be resumed, because it cannot be read again; pass a path or a seekable file"
                )
            upload = await self._video.uploads.retrieve(upload_id)
            if is_settled(upload):
                return None
            return await self._deliver(upload, reader, state or UploadState.unknown(reader.size), on_progress)

    @cached_property
    def _video(self) -> Video:
        from mux_async.resources.video import Video

        return Video(self._caller)

    @asynccontextmanager
    async def _open(self, source: Source, length: int | None) -> AsyncGenerator[Reader, None]:
        """Hold a slot among the uploads that may send at once, and close the reader at the end. Nothing is open during the wait."""
        reader = open_source(source, length=length)
        try:
            async with self._scheduler().slot():
                yield reader
        finally:
            await reader.aclose()

    def _scheduler(self) -> UploadScheduler:
        """Return the scheduler that all uploads of the client share in the running event loop."""
        return self._caller.local(self._settings.open_scheduler)

    async def _deliver(
        self, upload: Upload, reader: Reader, state: UploadState | None, on_progress: ProgressCallback | None
    ) -> UploadReport | None:
        """Send the bytes. If the session is gone, check whether that is because the upload is complete."""
        if not upload.url:
            raise InvalidRequestError(
                f"upload {upload.id!r} is {upload.status} and has no URL to send bytes to; create a new one"
            )
        try:
            return await self._run(Secret(upload.url), reader, state, upload.id, on_progress)
        except UploadGoneError:
            if is_settled(await self._video.uploads.retrieve(upload.id)):
                return None
            raise

    async def _run(
        self,
        url: Secret,
        reader: Reader,
        state: UploadState | None,
        upload_id: str | None,
        on_progress: ProgressCallback | None,
    ) -> UploadReport:
        if not _is_url(url.reveal()):
            raise InvalidRequestError("the upload URL is not valid: it must have the form https://host/path, all in ASCII")
        run = UploadRun(
            transport=self._caller.transport(),
            url=url,
            reader=reader,
            random=self._random,
            upload_id=upload_id,
            on_progress=on_progress,
            max_failures=self._max_failures,
            scheduler=self._scheduler(),
            listeners=self._caller.engine.listeners,
        )
        return await run.run(state)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        is_complete = parts.scheme in {"https", "http"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return is_complete and text.isascii() and text.isprintable() and " " not in text


def is_settled(upload: Upload) -> bool:
    """Return whether *upload* has become an asset; ``False`` while it waits for bytes. Raises `UploadError` if it never will."""
    if upload.status in {"errored", "cancelled", "timed_out"}:
        raise UploadError(
            f"upload {upload.id!r} is {upload.status}; start a new one", upload_id=upload.id, sent=0, resumable=False
        )
    return upload.status == "asset_created"


def merge_settings(
    settings: AssetOptions | AssetOptionsParam | Unset,
    *,
    playback_policies: PlaybackPolicyParam | Sequence[PlaybackPolicyParam] | Unset,
) -> AssetOptionsParam | Unset:
    """Return *settings* as a mapping that includes *playback_policies*; ``UNSET`` if both are unset."""
    from mux_async._models.model import Model

    merged: dict[str, object] = {}
    if isinstance(settings, Model):
        merged = dict(settings.to_wire())
    elif settings is not UNSET:
        merged = dict(settings)
    if playback_policies is not UNSET:
        if "playback_policies" in merged:
            raise InvalidRequestError("playback_policies is given twice, by itself and in new_asset_settings; leave one out")
        merged["playback_policies"] = [playback_policies] if isinstance(playback_policies, str) else list(playback_policies)
    return cast("AssetOptionsParam", merged) if merged else UNSET
