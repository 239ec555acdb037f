"""``mux-async replay``: the calls of a recorder's file, sent to an emulator."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

import anyio
import typer

from mux_async import CallOptions, LimitSettings, Mux
from mux_async.cli._output import FAILED, counted, printable
from mux_async.drift import shape
from mux_async.emulator import Emulator, EmulatorSettings, EmulatorTransport
from mux_async.errors import APIStatusError, ConfigurationError, MuxError

_ID = re.compile(r"id\d+", re.ASCII).fullmatch


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What mux_async.recorder.Recorder has written.")],
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="A running emulator; by default one in this process, with nothing in it.")
    ] = None,
) -> None:
    """Send the calls of a recorder's file to an emulator, in order, and show where its answers differ in status or shape.

    It never sends anything to Mux: a server that is no emulator is refused. Ids are replaced by those that the emulator gives out. Text was
    redacted when it was recorded. Exit code: 0 when all answers agree, 1 when some differ.
    """
    calls = _read(file)
    differences = anyio.run(_replay, calls, base_url)
    for line in differences:
        typer.echo(printable(line))
    typer.echo(f"{counted(len(calls), 'call')} sent, {counted(len(differences), 'difference')}")
    if differences:
        raise typer.Exit(FAILED)


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        calls = json.loads(path.read_text("utf-8"))["calls"]
        found = [{**call, "method": str(call["method"])} for call in calls if isinstance(call.get("path"), str)]
        for call in found:  # by hand, anything may have been written
            call["query"] = [(str(name), str(value)) for name, value in call.get("query", [])]
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ConfigurationError(f"{path} cannot be read as the file of a recorder") from None


async def _replay(calls: list[dict[str, Any]], base_url: str | None) -> list[str]:
    unlimited = LimitSettings(enabled=False)
    if base_url is None:
        emulator = Emulator(EmulatorSettings(limits=None, accept_robots_terms=True))
        token = emulator.settings.tokens[0]
        transport = EmulatorTransport(emulator)
        mux = Mux(
            token_id=token.id, token_secret=token.secret, base_url="http://127.0.0.1:1", transport=transport, limits=unlimited
        )
    else:
        host = (urlsplit(base_url).hostname or "").rstrip(".")
        if host == "mux.com" or host.endswith(".mux.com"):
            raise ConfigurationError(f"{host} is Mux itself, and calls are replayed against an emulator only")
        mux = Mux(base_url=base_url, limits=unlimited)
    async with mux:
        if base_url is not None:
            await _check_emulator(mux)
        ids: dict[str, str] = {}
        return [line for number, call in enumerate(calls, 1) for line in await _compare(mux, number, call, ids)]


async def _check_emulator(mux: Mux) -> None:
    try:
        await mux.request("GET", "/_emulator/arrivals", options=CallOptions(max_attempts=1))
    except MuxError as error:
        raise ConfigurationError(f"{mux.base_url} is no emulator ({type(error).__name__}); nothing was sent to it") from None


async def _compare(mux: Mux, number: int, call: dict[str, Any], ids: dict[str, str]) -> list[str]:
    body: Any = call.get("body")
    path = _with_ids(call["path"], ids)
    line = f"{number} {call['method']} {call['path']}"
    if not path.startswith(("/video/", "/data/", "/system/", "/robots/")):
        return [f"{line}: not sent, because it is none of the API's"]
    value: Any
    query: dict[str, list[str]] = {}
    for name, each in call["query"]:
        if name.startswith("<") or each == "redacted":
            continue  # what it was is not known, and anything else in its place may be refused
        query.setdefault(name, []).append(each)
    members = _members_with_ids(body, ids)
    try:
        answer = await mux.request(call["method"], path, query=query, body=members, options=CallOptions(max_attempts=1))
        status, value = answer.status, answer.value
    except APIStatusError as error:
        status, value = error.status, error.body
    except MuxError as error:
        return [f"{line}: the emulator gave no answer ({type(error).__name__})"]
    made = _id_of(value)
    if isinstance(call.get("id"), str) and isinstance(made, str):
        ids[call["id"]] = made
    recorded = call.get("status")
    if recorded is None:
        return []
    if status != recorded:
        missing = [part for part in call["path"].split("/") if _ID(part) and part not in ids]
        why = f" ({', '.join(missing)} is older than the recording)" if missing else ""
        return [f"{line}: recorded {recorded}, the emulator answers {status}{why}"]
    return [f"{line}: {each}" for each in _shape_differences(call.get("answer"), shape(value))]


def _shape_differences(recorded: Any, found: Any, where: str = "the answer") -> list[str]:
    """Return how two shapes differ. Lists are compared if both have items; a member that is absent is compared with nothing."""
    if isinstance(recorded, dict) and isinstance(found, dict):
        before, after = cast("dict[str, object]", recorded), cast("dict[str, object]", found)
        lines = [f"{where}.{name} is not in the emulator's answer" for name in before if name not in after]
        lines += [f"{where}.{name} is only in the emulator's answer" for name in after if name not in before]
        return lines + [
            each
            for name in before
            if name in after
            for each in _shape_differences(before[name], after[name], f"{where}.{name}")
        ]
    if isinstance(recorded, list) and isinstance(found, list):
        items, others = cast("list[object]", recorded), cast("list[object]", found)
        return _shape_differences(items[0], others[0], f"{where}[]") if items and others else []
    numbers = ("integer", "number")
    if recorded is None or recorded == found or (recorded in numbers and found in numbers):
        return []
    return [f"{where} was {_kind(recorded)}, and is {_kind(found)} in the emulator"]


def _kind(value: Any) -> str:
    return value if isinstance(value, str) else "an object" if isinstance(value, dict) else "a list"


def _with_ids(path: str, ids: Mapping[str, str]) -> str:
    return "/".join(ids.get(part) or (_unknown_id(part) if _ID(part) else part) for part in path.split("/"))


def _id_of(value: object) -> object:
    """Return the id of what an answer is about."""
    data = cast("Mapping[str, object]", value).get("data") if isinstance(value, Mapping) else None
    return cast("Mapping[str, object]", data).get("id") if isinstance(data, Mapping) else None


def _members_with_ids(body: object, ids: Mapping[str, str]) -> Mapping[str, object] | None:
    found = _values_with_ids(body, ids)
    return cast("Mapping[str, object]", found) if isinstance(found, dict) else None


def _unknown_id(name: str) -> str:
    """Return an id of the form of Mux's (facts/BEHAVIOUR.md, section 1.5) that the emulator does not know."""
    written = urlsafe_b64encode(name.encode().rjust(32, b"x")).decode().rstrip("=")
    return written.replace("0", "00").replace("-", "01").replace("_", "02")


def _values_with_ids(value: object, ids: Mapping[str, str]) -> object:
    if isinstance(value, dict):
        return {name: _values_with_ids(member, ids) for name, member in cast("dict[str, object]", value).items()}
    if isinstance(value, list):
        return [_values_with_ids(item, ids) for item in cast("list[object]", value)]
    return ids.get(value, value) if isinstance(value, str) else value
