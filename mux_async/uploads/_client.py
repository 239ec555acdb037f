"""``mux.uploads``: the upload, the bytes and the wait in one call, or each by itself."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Literal, cast, overload
from urllib.parse import urlsplit

import anyio

from mux_async._checks import check_instance, check_whole
from mux_async._client import Mux, for_long_work
from mux_async._tracebacks import hides_methods
from mux_async._types import UNSET, Secret, Unset
from mux_async.errors import APIStatusError, InvalidRequestError, MuxError, UploadError
from mux_async.uploads._flow import Flow, UploadSettings
from mux_async.uploads._reader import Reader
from mux_async.uploads._source import Source, open_source
from mux_async.uploads.machine import UploadState
from mux_async.uploads.runner import ProgressCallback, UploadGoneError, UploadReport, UploadRun

if TYPE_CHECKING:
    from mux_async.models import Asset, AssetOptions, Upload
    from mux_async.params import AssetOptionsParam

logger = logging.getLogger(__name__)

_CANCEL_TIME = 10.0
"""Seconds that a cancelled upload may take to be cancelled at Mux as well."""


@hides_methods
class Uploads:
    """Direct uploads. A client's `Mux.uploads`.

    Args:
        client: Creates and asks; its transport carries the bytes. Its priority is for the calls to the API. Its deadline and other
            options are for single calls and not for uploads: bytes go to another host, which has no rate limit, and are retried chunk
            by chunk.
        settings: What these uploads may use together; ``None`` for the client's (``Mux(uploads=...)``), shared with all of its others.
        random: Source of jitter; the system's by default. One with a state of its own gives the same to all processes forked from this one.
        max_failures: Failures in a row, without a byte getting through, after which an upload is given up. They are up to 30 s
            apart.
    """

    def __init__(
        self,
        client: Mux,
        settings: UploadSettings | None = None,
        *,
        random: Random | None = None,
        max_failures: int = 10,
    ) -> None:
        check_instance("client", client, Mux, "it must be a Mux")
        check_instance("settings", settings, UploadSettings, "it must be an UploadSettings", allow_none=True)
        check_instance("random", random, Random, "it must be a random.Random", allow_none=True)
        check_whole("max_failures", max_failures, 0, "it must be 0 or more, and whole")
        self._client = for_long_work(client)
        self._settings = settings if settings is not None else client.upload_settings
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
        playback_policies: Sequence[str] | Unset = UNSET,
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
        playback_policies: Sequence[str] | Unset = UNSET,
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
        playback_policies: Sequence[str] | Unset = UNSET,
        new_asset_settings: AssetOptions | AssetOptionsParam | Unset = UNSET,
        cors_origin: str | Unset = UNSET,
        timeout: int | Unset = UNSET,
        test: bool | Unset = UNSET,
        wait_timeout: float | None = None,
        cancel_at_mux: bool = True,
        on_progress: ProgressCallback | None = None,
    ) -> Asset | Upload:
        """Make an asset of a file: create an upload, send the bytes, and wait until the asset can be played.

        Waits for a place among the client's uploads first. The source is looked at next: an unreadable or empty one costs no request. A
        connection that breaks is taken up where the server stands. Memory does not grow with the file.

        Args:
            source: A path, bytes, an open file (from where it stands; left open), what a web framework makes of an uploaded file, an
                iterator of bytes, plain or asynchronous, or a URL that fsspec can open (``s3://bucket/film.mp4``; extra ``fsspec``);
                see ``docs/uploads.md``. An iterator, or a file that cannot seek, is read once: with *length* it goes out in chunks, kept
                until the server has it; without, in a single request that cannot be repeated, so that a broken connection ends it.
            wait: ``False`` returns as soon as the server has every byte.
            length: Bytes that a source which is read once will give.
            playback_policies: ``public``, ``signed`` or ``drm``; without any, the asset cannot be played.
            new_asset_settings: For the asset; *playback_policies* is added to them.
            cors_origin: Origin of the web page that would send the bytes; not needed here.
            timeout: Seconds for which the upload URL is valid, 60 to 604 800; 3600 when not given.
            test: Makes a watermarked asset that is free, cut to 10 s and deleted after a day.
            wait_timeout: Seconds to wait for the asset at most; ``None`` for no limit.
            cancel_at_mux: Whether an upload that is cancelled, or ends in an error after which it cannot be resumed, is cancelled at Mux
                too, which takes 10 s at most. ``False`` leaves it to be resumed by the id in the progress, or to expire.
            on_progress: Told about every piece that leaves and every answer; must return at once.

        Returns:
            The ready asset; with ``wait=False`` the upload.

        Raises:
            InvalidRequestError: The source is unreadable, empty, gives no bytes or is no source at all; nothing was sent.
            UploadError: The bytes did not all arrive; what the source raised half-way is its cause. ``resumable`` says whether
                `resume` can help.
            AssetErroredError: Mux could not make an asset of the bytes.
            DeadlineExceededError: *wait_timeout* ran out.
        """
        async with self._open(source, length) as reader:
            await reader.prepare(0, 0)
            upload = await self._client.video.uploads.create(
                new_asset_settings=merge_settings(new_asset_settings, playback_policies=playback_policies),
                cors_origin=cors_origin,
                timeout=timeout,
                test=test,
            )
            try:
                await self._deliver(upload, reader, None, on_progress)
            except (Exception, anyio.get_cancelled_exc_class()) as error:
                is_over = isinstance(error, UploadGoneError)
                is_resumable = isinstance(error, UploadError) and error.resumable
                if cancel_at_mux and not is_over and not is_resumable:
                    await self.cancel(upload.id)
                raise
        if wait:
            return await self._client.video.assets.wait_for_upload(upload.id, timeout=wait_timeout)
        return await self._client.video.uploads.retrieve(upload.id)

    async def cancel(self, upload_id: str) -> bool:
        """Cancel an upload at Mux, so that its URL takes no more bytes. Makes a last effort: shielded, 10 s at most, raises nothing.

        For clean-up; ``mux.video.uploads.cancel`` is the plain call.

        Args:
            upload_id: The upload.

        Returns:
            Whether it is cancelled now. If not, it was complete or over already, or expires by itself; the log says why.
        """
        hurried = self._client.with_options(priority="interactive")
        # Shielded: the caller is being cancelled, and nobody else knows of the upload.
        with anyio.move_on_after(_CANCEL_TIME, shield=True):
            try:
                await hurried.video.uploads.cancel(upload_id)
            except APIStatusError as error:
                logger.info("upload %s was not cancelled: it was answered %s", upload_id, error.status)
            except MuxError as error:
                logger.info("upload %s was not cancelled and will expire: %s", upload_id, type(error).__name__)
            else:
                return True
            return False
        logger.info("upload %s was not cancelled within %s s and will expire", upload_id, _CANCEL_TIME)
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
            state: Where an earlier run left off; ``None`` for an upload nothing was sent to.
            on_progress: As for `send`.

        Returns:
            What it took; ``None`` when it turned out that the upload was complete already.

        Raises:
            UploadGoneError: It has expired or was cancelled.
            UploadError: It cannot go on for another reason.
            InvalidRequestError: The source is unreadable or empty, or the upload has no URL any more.
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
        """Send a source to an upload URL, and no more: for URLs that somebody else created.

        Nothing but the bytes goes there: no credentials.

        Args:
            url: Of the upload; whoever has it can upload, so it is treated as a secret.
            source: As for `send`.
            length: As for `send`.
            state: Where an earlier run left off; ``None`` for a URL to which nothing was sent.
            upload_id: For messages.
            on_progress: As for `send`.

        Raises:
            UploadGoneError: The URL has expired or was used up.
            UploadError: It cannot go on for another reason.
            InvalidRequestError: The source is unreadable or empty, or the URL is not one.
        """
        async with self._open(source, length) as reader:
            return await self._run(Secret(url), reader, state, upload_id, on_progress)

    async def resume(
        self,
        upload_id: str,
        source: Source,
        *,
        state: UploadState | None = None,
        on_progress: ProgressCallback | None = None,
    ) -> UploadReport | None:
        """Go on with an upload that this or another process began, from the byte where the server stands.

        Only the id is needed: the URL can be asked for as long as the upload waits for its bytes.

        Args:
            upload_id: The upload.
            source: The same bytes as before: a path, a URL, bytes or a seekable file.
            state: From the progress of the earlier run. With it the source is checked: its size, the checksum of what the server had
                confirmed, and, where more has arrived since, its time of change or version.
            on_progress: As for `send`.

        Returns:
            What it took; ``None`` when the upload was complete already.

        Raises:
            UploadError: It was cancelled or has expired; or the source is another than the one *state* is about.
            NotFoundError: There is no such upload.
            InvalidRequestError: The source is unreadable, empty, read once only, or of another size than *state* says.
        """
        async with self._open(source, None) as reader:
            await reader.prepare(0, 0)
            if reader.size is None:
                raise InvalidRequestError(
                    "a stream cannot be resumed, because it cannot be read again; pass a path or a seekable file"
                )
            upload = await self._client.video.uploads.retrieve(upload_id)
            if is_settled(upload):
                return None
            return await self._deliver(upload, reader, state or UploadState.unknown(reader.size), on_progress)

    @asynccontextmanager
    async def _open(self, source: Source, length: int | None) -> AsyncGenerator[Reader, None]:
        """Open a source and hold a place among the uploads that may send at once, which is waited for with nothing open or created."""
        reader = open_source(source, length=length)
        try:
            async with self._flow().place():
                yield reader
        finally:
            await reader.aclose()

    def _flow(self) -> Flow:
        """Return what is shared in the running event loop."""
        return self._client.local(self._settings.open_flow)

    async def _deliver(
        self, upload: Upload, reader: Reader, state: UploadState | None, on_progress: ProgressCallback | None
    ) -> UploadReport | None:
        """Send the bytes; where the session is gone, look whether that is because it was complete."""
        if not upload.url:
            raise InvalidRequestError(
                f"upload {upload.id!r} is {upload.status} and has no URL to send bytes to; create a new one"
            )
        try:
            return await self._run(Secret(upload.url), reader, state, upload.id, on_progress)
        except UploadGoneError:
            if is_settled(await self._client.video.uploads.retrieve(upload.id)):
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
            raise InvalidRequestError("the upload URL is not one: it has the form https://host/path, all in ASCII")
        run = UploadRun(
            transport=self._client.transport(),
            url=url,
            reader=reader,
            random=self._random,
            upload_id=upload_id,
            on_progress=on_progress,
            max_failures=self._max_failures,
            flow=self._flow(),
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
    """Return whether *upload* has become an asset; ``False`` while it waits for bytes.

    Raises:
        UploadError: It never will.
    """
    if upload.status in {"errored", "cancelled", "timed_out"}:
        raise UploadError(
            f"upload {upload.id!r} is {upload.status}; start a new one", upload_id=upload.id, sent=0, resumable=False
        )
    return upload.status == "asset_created"


def merge_settings(
    settings: AssetOptions | AssetOptionsParam | Unset, *, playback_policies: Sequence[str] | Unset
) -> AssetOptionsParam | Unset:
    """Return *settings* as a mapping with *playback_policies* in it; ``UNSET`` when there is nothing to say."""
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
