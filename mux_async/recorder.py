"""The failure recorder: the last calls of a program, without their content, in a file when something went wrong.

::

    mux = Mux(recorder=Recorder("mux-calls.json"))

It listens to a client (`mux_async.events`) and keeps the last calls in memory: method, path, query, body, attempts, times, and the shape of
the answer. The file is written when the outcome of a call is ambiguous, when the process ends with an unhandled exception, and at its end
if asked. ``mux-async replay`` sends the calls of a file to an emulator and compares the answers. The rules:

1. Redaction happens when a call is recorded, so nothing else is in memory either. Numbers, booleans, the values of known enums and
   the names of members stay; any other text is replaced. Ids become ``id1``, ``id2``, ... in the order of their appearance.
2. The file is replaced as a whole, and only its owner may read it.
3. Recording never breaks a call: a file that cannot be written is logged.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import sys
import tempfile
import weakref
from collections import OrderedDict, deque
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import parse_qsl, urlsplit

from mux_async import models
from mux_async._checks import check_flag, check_path, check_whole
from mux_async._models.json_reader import loads
from mux_async._models.model import Model, table_of
from mux_async._operation_index import api_operations
from mux_async._version import __version__
from mux_async.drift import plain_name, shape
from mux_async.errors import ConfigurationError
from mux_async.events import AttemptEnded, CallEnded, CallInfo, CallStarted, ClientEvent

if TYPE_CHECKING:
    from mux_async._response import AttemptRecord
    from mux_async.transport import HttpRequest

__all__ = ["Recorder"]

logger: logging.Logger = logging.getLogger(__name__)

_MOST_IDS: Final = 10_000
_LARGEST_BODY: Final = 64 * 1024
"""Bytes of a body beyond which only its size is kept."""
_DEEPEST: Final = 8


class Recorder:
    """Keeps the last calls of the clients that it is given to. Making one imports all models, which takes half a second.

    Args:
        path: The file, which is replaced each time. Its folder must exist; what is there must not be a folder or a device.
        calls: How many calls are kept.
        at_exit: Whether the file is written when the process ends, too.

    Raises:
        ConfigurationError: An argument has the wrong type or is out of range.
    """

    def __init__(self, path: Path | str, *, calls: int = 200, at_exit: bool = False) -> None:
        check_path("path", path)
        _check_file(Path(path))
        check_whole("calls", calls, 1, "it must be at least 1 call, and whole")
        check_flag("at_exit", at_exit)
        self._path = Path(path).absolute()
        self._calls: deque[dict[str, Any]] = deque(maxlen=calls)
        self._open: dict[int, dict[str, Any]] = {}
        self._ids: OrderedDict[str, str] = OrderedDict()
        self._count = 0
        self._known = _known_values()
        self._literals = _literal_parts()
        _install(self)
        if at_exit:
            atexit.register(self.write, "the process ended")

    # Called by the client: see `mux_async._observer`.

    def on_event(self, event: ClientEvent) -> None:
        """Take an event of a call."""
        if isinstance(event, CallStarted):
            call: dict[str, Any] = {
                "operation": event.call.operation,
                "method": event.call.method,
                "started_at": datetime.now(UTC).isoformat(),
                "attempts": [],
            }
            self._open[event.id] = call
            self._calls.append(call)
        elif isinstance(event, AttemptEnded) and event.id in self._open:
            self._open[event.id]["attempts"].append(
                {
                    "elapsed": round(event.elapsed, 6),
                    "status": event.status,
                    "error": event.error,
                    "delivery": event.delivery.value,
                }
            )
        elif isinstance(event, CallEnded) and (ended := self._open.pop(event.id, None)) is not None:
            ended.update(
                outcome=event.outcome,
                status=event.status,
                error=event.error,
                elapsed=round(event.elapsed, 6),
                is_shared=event.is_shared,
            )
            if event.error == "AmbiguousOutcomeError":
                self.write("the outcome of a call is ambiguous")

    def on_request(self, info: CallInfo, request: HttpRequest) -> None:
        """Take a request that is about to be sent."""
        call = self._open.get(info.id)
        if call is None:
            return
        parts = urlsplit(request.url)
        call["path"] = self._redacted_path(parts.path, info.url_template)
        call["query"] = [[_plain_query_name(name), self._text(value)] for name, value in parse_qsl(parts.query)]
        call["body"] = self._body(request.body) if isinstance(request.body, bytes) else None

    def on_answer(self, info: CallInfo, record: AttemptRecord) -> None:
        """Take the answer to a request."""
        call = self._open.get(info.id)
        if call is None or not record.content or len(record.content) > 16 * _LARGEST_BODY:
            return
        try:
            found = loads(record.content)
        except ValueError:
            return
        call["answer"] = shape(found)
        data = cast("Mapping[str, object]", found).get("data") if isinstance(found, Mapping) else None
        made = cast("Mapping[str, object]", data).get("id") if isinstance(data, Mapping) else None
        if isinstance(made, str):
            call["id"] = self._id(made)

    def write(self, reason: str = "the program asked for it") -> None:
        """Write the file now. What goes wrong is logged."""
        report = {
            "version": __version__,
            "reason": reason,
            "written_at": datetime.now(UTC).isoformat(),
            "process": os.getpid(),
            "calls": list(self._calls),
        }
        try:
            _replace(self._path, json.dumps(report, indent=1).encode())
        except OSError as error:
            extra = {"mux_file": self._path.name}
            text = "the recorded calls cannot be written to %s: %s"
            logger.error(text, self._path.name, error.strerror, extra=extra)  # noqa: TRY400 - it says no more

    def _redacted_path(self, path: str, template: str | None) -> str:
        parts = path.split("/")
        names = template.split("/") if template is not None else []
        is_known = len(names) == len(parts)
        return "/".join(
            part if not part or (part == names[at] if is_known else part in self._literals) else self._id(part)
            for at, part in enumerate(parts)
        )

    def _id(self, text: str) -> str:
        found = self._ids.get(text)
        if found is None:
            self._count += 1
            found = self._ids[text] = f"id{self._count}"
            if len(self._ids) > _MOST_IDS:
                self._ids.popitem(last=False)
        return found

    def _body(self, body: bytes) -> object:
        if len(body) > _LARGEST_BODY:
            return f"{len(body)} bytes"
        try:
            return self._value(loads(body), _DEEPEST)
        except ValueError:
            return f"{len(body)} bytes"

    def _value(self, value: object, depth: int) -> object:
        if isinstance(value, str):
            return self._text(value)
        if depth == 0:
            return None
        if isinstance(value, list):
            return [self._value(item, depth - 1) for item in cast("list[object]", value)]
        if isinstance(value, dict):
            members = cast("dict[str, object]", value)
            return {plain_name(name): self._member(name, member, depth) for name, member in members.items()}
        return value

    def _member(self, name: str, value: object, depth: int) -> object:
        if isinstance(value, str) and (name == "id" or name.endswith("_id")):
            return self._id(value)
        return self._value(value, depth - 1)

    def _text(self, text: str) -> str:
        if text in self._known or text in {"true", "false"} or (text.isascii() and text.isdigit() and len(text) < 6):
            return text
        if text in self._ids:
            return self._ids[text]
        return "https://redacted.example/file" if "://" in text else "redacted"


def _plain_query_name(name: str) -> str:
    base = name.removesuffix("[]")
    return plain_name(base) + name[len(base) :]


def _check_file(path: Path) -> None:
    """Refuse what must not be replaced: a program of root would replace ``/dev/null``."""
    if "\0" in str(path) or (path.exists() and not path.is_file()):
        raise ConfigurationError(f"path is {str(path)[:200]!r}, where no file can be written; name a file")


def _known_values() -> frozenset[str]:
    """Return all values of enums."""
    found: set[str] = set()
    for name in models.__all__:
        value: Any = getattr(models, name)
        if isinstance(value, tuple):
            found.update(cast("tuple[str, ...]", value))
        elif isinstance(value, type) and issubclass(value, Model):
            for field in table_of(value).fields.values():
                if field.kind.__class__ is tuple:
                    found.update(field.kind)
    return frozenset(each for each in found if isinstance(cast("object", each), str))


def _literal_parts() -> frozenset[str]:
    """Return the parts of paths that are no ids, of all operations: any other word may be a secret."""
    return frozenset(part for each in api_operations() for part in each.path.split("/") if not part.startswith("{"))


def _replace(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, in one step."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _install(recorder: Recorder) -> None:
    """Write the file of *recorder* before an unhandled exception is reported, as long as it exists."""
    if not _recorders:
        before = sys.excepthook

        def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
            for each in list(_recorders):
                each.write(f"an unhandled {kind.__name__}")
            before(kind, error, trace)

        sys.excepthook = report
    _recorders.add(recorder)
