"""``mux-async webhooks``: shows events as they happen, and deliveries that arrive here; sends example events, and recorded events again.

Events are signed as Mux signs, when they are sent. Deliveries have a limited size and, with a secret, are verified as in `unwrap`.
"""

from __future__ import annotations

import secrets as randomness
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeAlias, cast
from urllib.parse import urlsplit

import anyio
import orjson
import typer

from mux_async._setting_text import unwrap_setting
from mux_async.cli._client import BaseUrl, TransportName, make_client
from mux_async.cli._examples import make_group
from mux_async.cli._output import FAILED, stderr

_SECRET_VARIABLE = "MUX_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
DEFAULT_PORT = 8788


def _unwrapped(value: str | None) -> str | None:
    """Return the secret without quotes and white space around it, which environment files may add."""
    return value and unwrap_setting(value)


SecretOption: TypeAlias = Annotated[
    str | None,
    typer.Option(envvar=_SECRET_VARIABLE, metavar="SECRET", help="The endpoint's signing secret.", callback=_unwrapped),
]
ToOption: TypeAlias = Annotated[str, typer.Option(metavar="URL", help="Where to send it.")]
DEFAULT_TO = f"http://127.0.0.1:{DEFAULT_PORT}/"


def complete_event_type(incomplete: str) -> list[str]:
    """Complete the types of events."""
    from mux_async.webhooks import EVENTS

    return [each for each in EVENTS if each.startswith(incomplete)]


def make_webhooks_app() -> typer.Typer:
    """Return the group of commands."""
    explained = (
        "Show and forward events as they happen, receive webhook deliveries, send example events, and repeat recorded ones."
    )
    return make_group("webhooks", explained, {"listen": listen, "receive": receive, "trigger": trigger, "replay": replay})


def listen(
    forward_to: Annotated[
        str | None, typer.Option("--forward-to", metavar="URL", help="Send every event there, signed.")
    ] = None,
    secret: SecretOption = None,
    events: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TYPE",
            autocompletion=complete_event_type,
            help="Only events of this type: video.asset.ready, video.asset.*, video.**; may be repeated.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print whole events, one JSON object a line, as is done when the output is piped.")
    ] = False,
    count: Annotated[int, typer.Option(min=0, help="Stop after this many events; 0 for no end.")] = 0,
    base_url: BaseUrl = None,
    transport: TransportName = "aiohttp",
) -> None:
    """Print the events of the environment as they happen, until interrupted. No address of this machine is needed.

    With --forward-to, each event is sent on as Mux would send it. Without --secret and MUX_WEBHOOK_SECRET a secret is made up and printed:
    use it in the program that receives the events.
    """
    from mux_async.cli._webhook_listen import StreamListener

    target = None if forward_to is None else _url("--forward-to", forward_to)
    signed_with = secret or randomness.token_hex(16)
    client = make_client(base_url, transport)
    types = tuple(events or ())
    try:
        client.webhook_events(*types, allow_unknown=False)
    except ValueError as error:
        raise typer.BadParameter(str(error).partition("; allow_unknown")[0]) from None
    if target is not None:
        stderr().print(f"forwarding to {target}, signed with {_shown(secret, signed_with)}", markup=False)
    is_piped = not sys.stdout.isatty()
    anyio.run(StreamListener(client, types, target, signed_with, as_json or is_piped, count).run, backend="asyncio")


def _shown(given: str | None, made_up: str) -> str:
    return "the given secret" if given else f"this secret: {made_up} (export {_SECRET_VARIABLE}={made_up})"


def receive(
    host: Annotated[str, typer.Option(help="Address to listen on. There is no TLS, so use a local address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = DEFAULT_PORT,
    secret: SecretOption = None,
    forward: Annotated[
        str | None, typer.Option(metavar="URL", help="Send every delivery on, as it is, and answer what that answers.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(dir_okay=False, help="File to append every event to, one a line, for `replay`.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print whole events, one JSON object a line.")] = False,
    count: Annotated[int, typer.Option(min=0, help="Stop after this many deliveries; 0 for none.")] = 0,
) -> None:
    """Print the webhooks that arrive here, on any path, until interrupted.

    With a secret, deliveries that it does not verify are refused with 400; without one they are shown unverified.
    """
    from mux_async.cli._webhook_delivery import Listener, serve_listener
    from mux_async.webhooks._signature import make_verifier

    target = None if forward is None else _url("--forward", forward)
    checked_by = None if not secret else make_verifier(secret)
    try:
        opened = nullcontext() if record is None else record.open("ab")
    except OSError as error:
        raise typer.BadParameter(f"cannot write to {str(record)!r}: {error.strerror}") from error
    with opened as file:
        anyio.run(serve_listener, Listener(checked_by, target, file, as_json, count), host, port, backend="asyncio")


def trigger(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="TYPE",
            autocompletion=complete_event_type,
            help="video.asset.ready, ...; `mux-async webhooks trigger list` names all.",
        ),
    ],
    to: ToOption = DEFAULT_TO,
    secret: SecretOption = None,
    data: Annotated[
        str | None, typer.Option(metavar="JSON", help="Members of the event's data that replace those of the example.")
    ] = None,
) -> None:
    """Send a signed example event of this type, and print the status of the response. Exit code 1 if it is not 2xx."""
    from mux_async.webhooks import EVENTS

    if kind == "list":
        for each in EVENTS:
            typer.echo(each)
        return
    if kind not in EVENTS:
        from difflib import get_close_matches

        similar = get_close_matches(kind, EVENTS, n=3)
        hint = f"; similar ones are {', '.join(similar)}" if similar else "; `mux-async webhooks trigger list` names all"
        raise typer.BadParameter(f"there is no event type {kind!r}{hint}")
    from mux_async.emulator import example_event

    changes = _object("--data", data) if data is not None else None
    event = example_event(kind, datetime.now(UTC), seed=randomness.token_hex(8), data=changes)
    _send([orjson.dumps(event)], _url("--to", to), _secret(secret))


def replay(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="Events, one JSON object a line, as `receive --record` writes.")
    ],
    to: ToOption = DEFAULT_TO,
    secret: SecretOption = None,
) -> None:
    """Send recorded events again: in order, unchanged, with new signatures. Exit code 1 if a response is not 2xx."""
    bodies: list[bytes] = []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        if line.strip():
            try:
                _object(f"line {number} of {str(file)!r}", line)
            except typer.BadParameter as error:
                raise typer.BadParameter(f"{error.message}; nothing was sent") from None
            bodies.append(line)
    _send(bodies, _url("--to", to), _secret(secret))


def _send(bodies: Sequence[bytes], url: str, secret: str) -> None:
    from mux_async.cli._webhook_delivery import send_all

    if anyio.run(send_all, bodies, url, secret, backend="asyncio"):
        raise typer.Exit(FAILED)


def _url(name: str, text: str) -> str:
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise typer.BadParameter(f"{name} takes an absolute URL of http or https, and {text!r} is not one")
    return text


def _secret(given: str | None) -> str:
    if not given:
        raise typer.BadParameter(f"without a secret nothing can be signed: pass --secret, or set {_SECRET_VARIABLE}")
    return given


def _object(name: str, text: str | bytes) -> dict[str, object]:
    try:
        found = cast("object", orjson.loads(text))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise typer.BadParameter(f"{name} is not a JSON object")
    return cast("dict[str, object]", found)
