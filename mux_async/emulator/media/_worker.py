"""The media backend on FFmpeg: converts inputs in worker processes, and keeps the media files in a folder.

Inputs and each kind of file have their own processes and time limit, so that slow work of one kind does not hold up another. Two jobs of
a kind run at once, so that one slow job does not hold up the next. A finished file is moved into place by a rename, so that a crash leaves
no partial file.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from queue import LifoQueue
from threading import Lock
from typing import Any, Literal, Self, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit

import attrs

from mux_async.emulator.http._addresses import is_loopback
from mux_async.emulator.media._backend import (
    Animation,
    Download,
    IngestOrder,
    LivePart,
    MediaBackendError,
    MediaFile,
    Order,
    Segment,
    Still,
    Storyboard,
)
from mux_async.emulator.media._live_recordings import LiveRecordings, worker_command
from mux_async.emulator.media._probe import InputProblem, MediaInfo
from mux_async.emulator.media._worker_process import WorkerProcess
from mux_async.errors import MissingExtraError

log = logging.getLogger(__name__)
T = TypeVar("T")

FetchRule: TypeAlias = Literal["auto", "always", "never"]
"""Which input URLs are fetched. ``auto`` generates media for URLs that cannot be reached and for the names reserved for examples
(RFC 2606), so that work goes on offline; ``always`` reports an error for them, as Mux does; ``never`` generates media for all URLs."""

_EXAMPLES = ("example", "example.com", "example.net", "example.org", "test", "invalid")
_MOST_FILES = 300
"""Images and downloads kept for one media file; the oldest are deleted first."""
_PROCESSES = 2
"""Processes for inputs, and for each kind of file. They are started when they are needed."""
_TIME_LIMITS: Mapping[type[Order], float] = {Still: 15.0, Storyboard: 60.0, Animation: 60.0, Download: 600.0}
"""Seconds that making a file may take, by kind. On a quiet machine, the largest still takes 2 s."""


def has_media() -> bool:
    """Whether the library that this needs is installed."""
    return find_spec("av") is not None


class MediaWorker:
    """A media backend on FFmpeg (`EmulatorSettings.media`). Close it, or use it as a context manager.

    Args:
        folder: Where media files are kept, also over restarts; its parent folder must exist. ``None`` takes a temporary folder, which
            `close` deletes.
        fetch: See `FetchRule`.
        most_bytes: Of a file that is fetched.
        longest_job: Seconds that one piece of work may take at most. Images have lower limits of their own: 15 s for a thumbnail, 60 s for
            a storyboard or an animated image.
        memory: Bytes that each worker process may have (on Linux).

    Raises:
        MissingExtraError: PyAV is not installed.
        OSError: The folder cannot be made.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        fetch: FetchRule = "auto",
        most_bytes: int = 2 * 1024**3,
        longest_job: float = 600.0,
        memory: int = 3 * 1024**3,
    ) -> None:
        if not has_media():
            raise MissingExtraError("real media in the emulator", "av", "media")
        self._temporary = tempfile.TemporaryDirectory(prefix="mux-async-media-") if folder is None else None
        self._folder = Path(self._temporary.name) if self._temporary is not None else Path(folder or "").absolute()
        self._media_folder, self._work_folder = self._folder / "films", self._folder / "work"
        shutil.rmtree(self._work_folder, ignore_errors=True)  # an earlier run's, which will not come back to it
        for needed in (self._folder, self._media_folder, self._work_folder, self.uploads):
            needed.mkdir(exist_ok=True)
        self._fetch_rule, self._most_bytes = fetch, most_bytes
        self._memory = memory
        self._recordings = LiveRecordings(self._media_folder)
        self._joining: dict[str, Lock] = {}
        self._inputs = _JobQueue(memory, longest_job)
        self._makes = {kind: _JobQueue(memory, min(limit, longest_job)) for kind, limit in _TIME_LIMITS.items()}
        self._lock = Lock()
        self._ingests: dict[str, Future[MediaInfo | InputProblem | None]] = {}
        self._media_files: dict[str, MediaFile] = {}
        self._made: dict[str, dict[Order, Future[Path]]] = {}

    @property
    def uploads(self) -> Path:
        """A folder for uploads."""
        return self._folder / "uploads"

    def ingest(self, order: IngestOrder, /) -> Future[MediaInfo | InputProblem | None]:
        """See `mux_async.emulator.media._backend.MediaBackend.ingest`."""
        with self._lock:
            future = self._ingests.get(order.asset_id)
            if future is None:
                job = self._job(order)
                if job is None:
                    future = self._ingests[order.asset_id] = _done(cast("MediaInfo | InputProblem | None", None))
                else:
                    future = self._ingests[order.asset_id] = self._inputs.submit(lambda: self._ingest(order, job))
            return future

    def _job(self, order: IngestOrder) -> dict[str, Any] | None:
        """Return the job for the worker process; ``None`` if the media are to be generated."""
        members = attrs.asdict(order, filter=attrs.filters.exclude("asset_id", "clip_of", "path"))
        job = {"job": "ingest", "most": self._most_bytes, "path": None, **members}
        if order.clip_of is not None:
            media_file = self._media_file(order.clip_of)
            return None if media_file is None else job
        if order.path is not None:
            return {**job, "path": str(order.path)}
        return job if order.url is not None and self._fetches(order.url) else None

    def _fetches(self, url: str) -> bool:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme not in {"http", "https"} or not host or self._fetch_rule == "never":
            return False
        return self._fetch_rule == "always" or not any(host == name or host.endswith(f".{name}") for name in _EXAMPLES)

    def _ingest(self, order: IngestOrder, job: Mapping[str, Any]) -> MediaInfo | InputProblem | None:
        """Runs in a thread for inputs."""
        folder = Path(tempfile.mkdtemp(dir=self._work_folder))
        try:
            if order.path is not None and not order.path.stat().st_size:
                return InputProblem("invalid_input", "The uploaded file is empty")
            if order.clip_of is not None:
                job = {**job, "path": str(self._whole(order.clip_of, self._inputs))}
            answer = self._inputs.run_job({**job, "folder": str(folder)})
            if "unreachable" in answer:
                return self._unreachable(order.url or "", answer["unreachable"], answer["status"])
            if "problem" in answer:
                return InputProblem("invalid_input", answer["problem"])
            self._keep(order.asset_id, folder)
            return MediaInfo(**answer["value"])
        except (OSError, MediaBackendError) as error:
            log.warning("the input of asset %s could not be converted: %s", order.asset_id, error)
            return InputProblem("invalid_input", f"The input could not be converted: {error}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _unreachable(self, url: str, why: str, status: int | None) -> InputProblem | None:
        if status is None and self._fetch_rule == "auto" and not is_loopback(urlsplit(url).hostname or ""):
            log.info("media are generated for an input that could not be fetched: %s", why)
            return None
        return InputProblem("download_failed", f"The input URL could not be downloaded: {why}")

    def _keep(self, asset_id: str, folder: Path) -> None:
        with self._lock:
            if asset_id not in self._ingests:
                raise MediaBackendError("the asset was deleted")
            place = self._media_folder / asset_id
            shutil.rmtree(place, ignore_errors=True)
            folder.rename(place)

    def media_file(self, asset_id: str, /) -> MediaFile | None:
        """See `mux_async.emulator.media._backend.MediaBackend.media_file`."""
        with self._lock:
            return self._media_file(asset_id)

    def _media_file(self, asset_id: str) -> MediaFile | None:
        if asset_id in self._media_files:
            return self._media_files[asset_id]
        folder = self._media_folder / asset_id
        try:
            described = json.loads((folder / "film.json").read_bytes())
        except FileNotFoundError:
            return next((part.media_file for part in self._recordings.parts(asset_id)), None)
        segments = tuple(Segment(*segment) for segment in described.pop("segments"))
        self._media_files[asset_id] = MediaFile(path=folder / "index.m4s", segments=segments, **described)
        return self._media_files[asset_id]

    @property
    def live(self) -> LiveRecordings:
        """What encoders push to live streams. `media_file` returns the first part of a recording."""
        return self._recordings

    def live_parts(self, asset_id: str, /) -> tuple[LivePart, ...]:
        """See `mux_async.emulator.media._backend.LiveMediaBackend.live_parts`."""
        return self._recordings.parts(asset_id)

    def live_command(self, path: Path, start: float, latency_mode: str, *, audio_only: bool) -> list[str]:
        """Return the command of the process that writes a part of a recording: where `LiveRecordings.begin_part` says."""
        return worker_command(path, start, latency_mode, self._memory, audio_only=audio_only)

    def end_live(self, asset_id: str, /) -> None:
        """See `mux_async.emulator.media._backend.LiveMediaBackend.end_live`."""
        self._recordings.end(asset_id)

    def _whole(self, asset_id: str, queue: _JobQueue) -> Path:
        """Return one file of everything in an asset. The parts of a recording are joined when that is first needed. Runs in a thread."""
        parts = [part.media_file for part in self._recordings.parts(asset_id)]
        if len(parts) < 2:
            media_file = self.media_file(asset_id)
            if media_file is None:
                raise MediaBackendError("there is no media file")
            return media_file.path
        place = parts[0].path.with_name("joined.mp4")
        with self._lock:
            joining = self._joining.setdefault(asset_id, Lock())
        with joining:
            if not place.exists():
                listing = self._work_folder / f"{asset_id}.ffconcat"
                # Times in a part go on from the part before. Without its duration, FFmpeg would take its end for that.
                entries = (f"file {_quoted(part.path)}\nduration {part.duration:.6f}\n" for part in parts)
                listing.write_text("ffconcat version 1.0\n" + "".join(entries))
                settings = {(part.codecs, part.width, part.height) for part in parts}
                out = self._work_folder / f"{asset_id}-joined.mp4"
                job = {"job": "make", "kind": "Join", "media_file": str(listing), "out": str(out)}
                try:
                    queue.run_job({**job, "order": {"is_uniform": len(settings) == 1}})
                    out.replace(place)
                finally:
                    listing.unlink(missing_ok=True)
                    out.unlink(missing_ok=True)
        return place

    def make(self, asset_id: str, order: Order, /) -> Future[Path]:
        """See `mux_async.emulator.media._backend.MediaBackend.make`."""
        with self._lock:
            media_file, made = self._media_file(asset_id), self._made.setdefault(asset_id, {})
            future = made.get(order)
            if future is None or (future.done() and future.exception() is not None):
                if media_file is None:
                    return _failed(MediaBackendError("there is no media file"))
                name = sha256(repr(order).encode()).hexdigest()[:32]
                place = media_file.path.with_name(f"{name}.{order.extension}")
                future = (
                    _done(place)
                    if place.exists()
                    else self._makes[type(order)].submit(lambda: self._make(asset_id, order, place))
                )
                made[order] = future
                self._spare(made)
            return future

    def _make(self, asset_id: str, order: Order, place: Path) -> Path:
        """Runs in a thread for this kind of file."""
        out, queue = self._work_folder / place.name, self._makes[type(order)]
        try:
            path = self._located(asset_id, order.time) if isinstance(order, Still) else self._whole(asset_id, queue)
            job = {"job": "make", "kind": type(order).__name__, "media_file": str(path), "out": str(out)}
            queue.run_job({**job, "order": attrs.asdict(order)})
            out.rename(place)
        except OSError as error:
            raise MediaBackendError(f"it could not be kept: {error}") from error
        finally:
            out.unlink(missing_ok=True)
        return place

    def _located(self, asset_id: str, time: float) -> Path:
        """Return the file that has the picture of a time."""
        ends = 0.0
        for part in self._recordings.parts(asset_id):
            ends += part.media_file.duration
            if time < ends:
                return part.media_file.path
        parts = self._recordings.parts(asset_id)
        return parts[-1].media_file.path if parts else self._whole(asset_id, self._makes[Still])

    @staticmethod
    def _spare(made: dict[Order, Future[Path]]) -> None:
        """Delete the oldest files; they are made again on request."""
        for order in list(made)[:-_MOST_FILES]:
            if made[order].done() and not made[order].exception():
                made.pop(order).result().unlink(missing_ok=True)

    def forget(self, asset_id: str, /) -> None:
        """See `mux_async.emulator.media._backend.MediaBackend.forget`."""
        with self._lock:
            futures: list[Future[Any]] = [*self._made.pop(asset_id, {}).values()]
            if asset_id in self._ingests:
                futures.append(self._ingests.pop(asset_id))
            self._media_files.pop(asset_id, None)
            self._joining.pop(asset_id, None)
            self._recordings.forget(asset_id)
            folder = self._media_folder / asset_id
            if folder.exists():  # moved first, because the id may be used again at once
                bin_folder = Path(tempfile.mkdtemp(dir=self._work_folder))
                folder.rename(bin_folder / "media")
                self._makes[Still].submit(lambda: shutil.rmtree(bin_folder, ignore_errors=True))
        for future in futures:
            future.cancel()

    def close(self) -> None:
        """Stop all work, and delete a temporary folder. The worker cannot be used afterwards."""
        queues = [self._inputs, *self._makes.values()]
        for queue in queues:
            queue.close()
        for queue in queues:
            queue.settle()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _JobQueue:
    """A queue of jobs with `_PROCESSES` worker processes, and a thread for each. No job may take more than *limit* seconds."""

    def __init__(self, memory: int, limit: float) -> None:
        self._limit = limit
        self._processes = [WorkerProcess(memory) for _ in range(_PROCESSES)]
        self._idle: LifoQueue[WorkerProcess] = LifoQueue()  # the last one used comes first, because it is running
        for process in self._processes:
            self._idle.put(process)
        self._threads = ThreadPoolExecutor(_PROCESSES, thread_name_prefix="mux-async-media")

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Queue a job. After `close` its future fails."""
        try:
            return self._threads.submit(work)
        except RuntimeError:
            return _failed(MediaBackendError("the media backend is closed"))

    def run_job(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Run a job in a process that is idle. Called by work that was submitted. Raises `MediaBackendError`."""
        process = self._idle.get_nowait()  # there are as many processes as threads
        try:
            return process.run_job(job, self._limit)
        finally:
            self._idle.put(process)

    def close(self) -> None:
        """End all jobs, and start no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.close()

    def settle(self) -> None:
        """Wait for the threads after `close`, and release the processes."""
        self._threads.shutdown(wait=True)
        for process in self._processes:
            process.settle()


def _quoted(path: Path) -> str:
    """Return a path as FFmpeg's lists have it."""
    return "'" + str(path).replace("'", "'\\''") + "'"


def _done(value: T) -> Future[T]:
    future: Future[T] = Future()
    future.set_result(value)
    return future


def _failed(error: MediaBackendError) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future
