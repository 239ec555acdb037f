"""The studio: keeps films in a folder, and has processes make them and what is made of them.

Two lines of work, each a thread with a process: one for inputs, which may take minutes, and one for pictures and files, which somebody
waits for. What is finished appears in its place at once and whole (a rename), so that a crash leaves nothing half done there.
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
from threading import Lock
from typing import Any, Literal, Self, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit

import attrs

from mux_async.emulator.http._addresses import is_loopback
from mux_async.emulator.media._backend import Film, IngestOrder, Order, Segment, StudioError
from mux_async.emulator.media._probe import InputProblem, MediaInfo
from mux_async.emulator.media._worker_process import Press
from mux_async.errors import MissingExtraError

log = logging.getLogger(__name__)
T = TypeVar("T")

FetchRule: TypeAlias = Literal["auto", "always", "never"]
"""Which URLs of inputs are fetched: ``auto`` makes a film up for those that nobody answers at, and for the names that are kept for
examples (RFC 2606), so that work goes on offline; ``always`` calls that an error, as Mux does; ``never`` makes all of them up."""

_EXAMPLES = ("example", "example.com", "example.net", "example.org", "test", "invalid")
_MOST_FILES = 300
"""Pictures and files kept of one film; the oldest go first."""


def has_media() -> bool:
    """Whether the library that this needs is installed."""
    return find_spec("av") is not None


class MediaWorker:
    """A `mux_async.emulator.media._backend.Studio` of FFmpeg. To be closed, or used as a context manager.

    Args:
        folder: Where films are kept, over restarts; the folder that it lies in is there. ``None`` takes a temporary one that goes with
            the worker.
        fetch: See `FetchRule`.
        most_bytes: Of a file that is fetched.
        longest_job: Seconds that one piece of work may take.
        memory: Bytes that each of the two processes may have (on Linux).

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
        self._films_folder, self._work_folder = self._folder / "films", self._folder / "work"
        shutil.rmtree(self._work_folder, ignore_errors=True)  # an earlier run's, which will not come back to it
        for needed in (self._folder, self._films_folder, self._work_folder, self.uploads):
            needed.mkdir(exist_ok=True)
        self._fetch_rule, self._most_bytes, self._longest_job = fetch, most_bytes, longest_job
        self._inputs, self._makes = _Line(memory), _Line(memory)
        self._lock = Lock()
        self._ingests: dict[str, Future[MediaInfo | InputProblem | None]] = {}
        self._films: dict[str, Film] = {}
        self._made: dict[str, dict[Order, Future[Path]]] = {}

    @property
    def uploads(self) -> Path:
        """A folder for uploads."""
        return self._folder / "uploads"

    def ingest(self, order: IngestOrder, /) -> Future[MediaInfo | InputProblem | None]:
        """See `mux_async.emulator.media._backend.Studio.ingest`."""
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
        """``None`` leaves it to the account to make something up."""
        job = {"job": "ingest", "most": self._most_bytes, "url": None, "path": None, **_plain(order)}
        if order.clip_of is not None:
            film = self._film(order.clip_of)
            return None if film is None else {**job, "path": str(film.path)}
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
        """In the thread for inputs."""
        folder = Path(tempfile.mkdtemp(dir=self._work_folder))
        try:
            if order.path is not None and not order.path.stat().st_size:
                return InputProblem("invalid_input", "The uploaded file is empty")
            answer = self._inputs.press.ask({**job, "folder": str(folder)}, self._longest_job)
            if "unreachable" in answer:
                return self._unreachable(order.url or "", answer["unreachable"], answer["status"])
            if "problem" in answer:
                return InputProblem("invalid_input", answer["problem"])
            self._keep(order.asset_id, folder)
            return MediaInfo(**answer["value"])
        except (OSError, StudioError) as error:
            log.warning("the input of asset %s could not be converted: %s", order.asset_id, error)
            return InputProblem("invalid_input", f"The input could not be converted: {error}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _unreachable(self, url: str, why: str, status: int | None) -> InputProblem | None:
        if status is None and self._fetch_rule == "auto" and not is_loopback(urlsplit(url).hostname or ""):
            log.info("a film is made up for an input that could not be fetched: %s", why)
            return None
        return InputProblem("download_failed", f"The input URL could not be downloaded: {why}")

    def _keep(self, asset_id: str, folder: Path) -> None:
        with self._lock:
            if asset_id not in self._ingests:
                raise StudioError("the asset was deleted")
            place = self._films_folder / asset_id
            shutil.rmtree(place, ignore_errors=True)
            folder.rename(place)

    def film(self, asset_id: str, /) -> Film | None:
        """See `mux_async.emulator.media._backend.Studio.film`."""
        with self._lock:
            return self._film(asset_id)

    def _film(self, asset_id: str) -> Film | None:
        if asset_id in self._films:
            return self._films[asset_id]
        folder = self._films_folder / asset_id
        try:
            described = json.loads((folder / "film.json").read_bytes())
        except FileNotFoundError:
            return None
        segments = tuple(Segment(*segment) for segment in described.pop("segments"))
        self._films[asset_id] = Film(path=folder / "index.m4s", segments=segments, **described)
        return self._films[asset_id]

    def make(self, asset_id: str, order: Order, /) -> Future[Path]:
        """See `mux_async.emulator.media._backend.Studio.make`."""
        with self._lock:
            film, made = self._film(asset_id), self._made.setdefault(asset_id, {})
            future = made.get(order)
            if future is None or (future.done() and future.exception() is not None):
                if film is None:
                    return _failed(StudioError("there is no film"))
                name = sha256(repr(order).encode()).hexdigest()[:32]
                place = film.path.with_name(f"{name}.{order.extension}")
                future = _done(place) if place.exists() else self._makes.submit(lambda: self._make(film, order, place))
                made[order] = future
                self._spare(made)
            return future

    def _make(self, film: Film, order: Order, place: Path) -> Path:
        """In the thread for pictures and files."""
        out = self._work_folder / place.name
        job = {
            "job": "make",
            "kind": type(order).__name__,
            "film": str(film.path),
            "out": str(out),
            "order": attrs.asdict(order),
        }
        try:
            self._makes.press.ask(job, self._longest_job)
            out.rename(place)
        except OSError as error:
            raise StudioError(f"it could not be kept: {error}") from error
        finally:
            out.unlink(missing_ok=True)
        return place

    @staticmethod
    def _spare(made: dict[Order, Future[Path]]) -> None:
        """Make room: what is asked for again is made again."""
        for order in list(made)[:-_MOST_FILES]:
            if made[order].done() and not made[order].exception():
                made.pop(order).result().unlink(missing_ok=True)

    def forget(self, asset_id: str, /) -> None:
        """See `mux_async.emulator.media._backend.Studio.forget`."""
        with self._lock:
            futures: list[Future[Any]] = [*self._made.pop(asset_id, {}).values()]
            if asset_id in self._ingests:
                futures.append(self._ingests.pop(asset_id))
            self._films.pop(asset_id, None)
            folder = self._films_folder / asset_id
            if folder.exists():  # moved first: the same id may be given out again at once
                bin_folder = Path(tempfile.mkdtemp(dir=self._work_folder))
                folder.rename(bin_folder / "film")
                self._makes.submit(lambda: shutil.rmtree(bin_folder, ignore_errors=True))
        for future in futures:
            future.cancel()

    def close(self) -> None:
        """End all work, and remove a temporary folder. Films are not to be asked for any more."""
        self._inputs.close()
        self._makes.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Line:
    """A thread with a process of its own, and the work that waits for them."""

    def __init__(self, memory: int) -> None:
        self.press = Press(memory)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mux-async-media")

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Queue work. After `close` it comes to nothing."""
        try:
            return self._thread.submit(work)
        except RuntimeError:
            return _failed(StudioError("the studio is closed"))

    def close(self) -> None:
        self.press.close()
        self._thread.shutdown(wait=True, cancel_futures=True)
        self.press.settle()


def _plain(order: IngestOrder) -> dict[str, Any]:
    names = ("url", "start", "end", "tallest", "is_test")
    return {name: getattr(order, name) for name in names}


def _done(value: T) -> Future[T]:
    future: Future[T] = Future()
    future.set_result(value)
    return future


def _failed(error: StudioError) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future
