"""``mux-async api``: any request to the API, with credentials, limits, retries and paging, and its answer as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import parse_qsl, urlsplit

import anyio
import attrs
import typer

from mux_async import Mux
from mux_async._operation import Pagination
from mux_async.cli._client import BaseUrl, TransportName, make_client
from mux_async.cli._input import read_pairs
from mux_async.errors import APIStatusError, MuxError

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")


def complete_method(incomplete: str) -> list[str]:
    """Complete the HTTP method."""
    return [each for each in METHODS if each.startswith(incomplete.upper())]


def complete_path(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the path with those that this version knows for the method."""
    method = str(ctx.params.get("method") or "GET").upper()
    from mux_async._operation_index import api_operations

    return sorted({each.path for each in api_operations() if each.method == method and each.path.startswith(incomplete)})


def api(
    method: Annotated[
        str, typer.Argument(metavar="METHOD", autocompletion=complete_method, help=f"{', '.join(METHODS)}.", show_default=False)
    ],
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            autocompletion=complete_path,
            help="Path of the API, with its query if it has one: /video/v1/assets?limit=5.",
            show_default=False,
        ),
    ],
    query: Annotated[
        list[str] | None,
        typer.Option("--query", "-q", metavar="NAME=VALUE", help="Member of the query; may be repeated, for arrays too."),
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option("--field", "-f", metavar="NAME=TEXT", help="Member of the JSON body, as text; may be repeated."),
    ] = None,
    json_field: Annotated[
        list[str] | None,
        typer.Option("--json-field", "-F", metavar="NAME=JSON", help="Member of the JSON body, as JSON: numbers, lists, null."),
    ] = None,
    body: Annotated[
        str | None,
        typer.Option(
            "--body", "-d", metavar="JSON|@FILE|-", help="The JSON body: text, @ and a file, or - for standard input."
        ),
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", metavar="NAME:VALUE", help="Request header; may be repeated.")
    ] = None,
    paginate: Annotated[
        bool, typer.Option("--paginate", help="Read a list to its end; all items are printed under one `data`.")
    ] = False,
    lines: Annotated[bool, typer.Option("--lines", help="Print the items of `data` one a line, as they arrive.")] = False,
    include: Annotated[bool, typer.Option("--include", "-i", help="Print status and headers to standard error.")] = False,
    base_url: BaseUrl = None,
    transport: TransportName = "aiohttp",
) -> None:
    """Send any request to the API and print the JSON that it answers.

    Credentials, rate limits and retries are those of every other command: a POST whose outcome is unknown is not sent again. The body of
    an error is printed too, and the exit code is 1.
    """
    verb = method.upper()
    if verb not in METHODS:
        hint = "; the method comes first, then the path" if method.startswith("/") else ""
        raise typer.BadParameter(f"{method!r} is not one of {', '.join(METHODS)}{hint}")
    if paginate and verb != "GET":
        raise typer.BadParameter(f"--paginate reads a list, and {verb} does not; use GET")
    members = read_body(body, field or (), json_field or ())
    if members is not None and verb in {"GET", "HEAD"}:
        raise typer.BadParameter(f"{verb} takes no body; use --query for the query")
    client = make_client(base_url, transport)
    target, asked = read_target(path, client.base_url, query or ())
    request = _Request(verb, target, asked, members, read_headers(header or ()), include)
    anyio.run(_perform, client, request, paginate, lines)


@attrs.frozen
class _Request:
    """A request; of a list, the request for any of its pages."""

    method: str
    path: str
    query: Mapping[str, str | list[str]]
    body: Mapping[str, object] | None
    headers: Mapping[str, str]
    is_shown: bool
    """Whether status and headers of the response are printed."""

    async def send(self, client: Mux, query: Mapping[str, object]) -> object:
        """Send it with *query* and return the decoded JSON. Raises any error of `mux_async.errors`."""
        response = await client.request(self.method, self.path, query=query, body=self.body, headers=self.headers)
        if self.is_shown:
            typer.echo(f"HTTP {response.status}", err=True)
            for name, value in response.headers.items():
                typer.echo(f"{name}: {value}", err=True)
        return response.value

    async def pages(self, client: Mux) -> AsyncIterator[Mapping[str, Any]]:
        """Yield the pages of a list. Raises a `MuxError` if there is no list, or the server sends the same page again."""
        query: dict[str, object] = dict(self.query)
        earlier: list[object] | None = None
        cursors: set[str] = set()
        while True:
            found = await self.send(client, query)
            envelope = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
            items: object = envelope.get("data")
            if not isinstance(items, list):
                raise MuxError(
                    f"{self.method} {self.path} does not answer a list under 'data'; leave out --paginate and --lines"
                )
            rows = cast("list[object]", items)
            yield envelope
            following = self._following(envelope, rows, query)
            if following is None:
                return
            cursor = following.get("cursor")
            if cursor in cursors or (cursor is None and rows == earlier):
                raise MuxError(f"{self.method} {self.path} sends the same page again and again: {following!r} does not lead on")
            if cursor is not None:
                cursors.add(str(cursor))
            earlier = rows
            query.update(following)

    def _following(
        self, envelope: Mapping[str, Any], items: Sequence[object], query: Mapping[str, object]
    ) -> dict[str, object] | None:
        if "next_cursor" in envelope:
            return {"cursor": envelope["next_cursor"]} if envelope["next_cursor"] else None
        from mux_async._operation_index import find_operation

        operation = find_operation(self.method, self.path)
        if operation is None or operation.pagination not in {Pagination.PAGE, Pagination.PAGE_WITH_TOTAL} or not items:
            return None
        number = str(query.get("page", 1))
        return {"page": int(number) + 1 if number.isdecimal() else 2}


def _print(value: object, *, on_one_line: bool = False) -> None:
    """Print JSON: indented on a terminal, compact where another program reads it."""
    is_unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    indent = 2 if sys.stdout.isatty() and not on_one_line else None
    typer.echo(json.dumps(value, indent=indent, ensure_ascii=not is_unicode))


async def _perform(client: Mux, request: _Request, paginate: bool, lines: bool) -> None:
    async with client:
        try:
            if paginate or lines:
                await _print_list(client, request, paginate=paginate, lines=lines)
            elif (value := await request.send(client, request.query)) is not None:
                _print(value)
        except APIStatusError as error:
            if error.body is not None and not isinstance(error.body, str):
                _print(error.body)
            raise


async def _print_list(client: Mux, request: _Request, *, paginate: bool, lines: bool) -> None:
    """Print items as they arrive, or one envelope with all of them at the end: other members are those of the last page."""
    gathered: list[object] = []
    last: Mapping[str, Any] = {}
    async for last in request.pages(client):
        for item in last["data"]:
            if lines:
                _print(item, on_one_line=True)
            else:
                gathered.append(item)
        if not paginate:
            break
    if not lines:
        _print({**last, "data": gathered})


def read_target(path: str, origin: str, given: Sequence[str]) -> tuple[str, dict[str, str | list[str]]]:
    """Return the path without its query, and the query with the pairs ``NAME=VALUE`` of *given*. A name that is there twice is an array.

    Args:
        path: A path, with or without its leading slash, or a whole URL of *origin*. For a URL of another host there is an error, since
            credentials are sent there.
        origin: Of the API that the client uses.
        given: The pairs.
    """
    if "://" in path:
        if not path.startswith(f"{origin}/"):
            raise typer.BadParameter(f"the URL is not on {origin}, where the credentials go; see --base-url")
        path = path.removeprefix(origin)
    parts = urlsplit(path if path.startswith("/") else f"/{path}")
    pairs = parse_qsl(parts.query, keep_blank_values=True) + list(read_pairs("--query", given))
    query: dict[str, str | list[str]] = {}
    for name, value in pairs:
        earlier = query.get(name)
        query[name] = value if earlier is None else [*([earlier] if isinstance(earlier, str) else earlier), value]
    return parts.path, query


def read_body(body: str | None, fields: Sequence[str], json_fields: Sequence[str]) -> dict[str, object] | None:
    """Return the JSON body; ``None`` if no part of it was given. Raises `typer.BadParameter` if it is no object, or a pair is invalid."""
    if body is None and not fields and not json_fields:
        return None
    members: dict[str, object] = {}
    if body is not None:
        found = _json("--body", _body_text(body))
        if not isinstance(found, dict):
            raise typer.BadParameter("--body is not a JSON object, as bodies of the API are")
        members.update(cast("dict[str, object]", found))
    members.update(read_pairs("--field", fields))
    for name, value in read_pairs("--json-field", json_fields):
        members[name] = _json(f"--json-field {name}", value)
    return members


def _body_text(body: str) -> str | bytes:
    if body == "-":
        return sys.stdin.buffer.read()
    if not body.startswith("@"):
        return body
    try:
        return Path(body[1:]).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"--body: {body[1:]!r} cannot be read: {error.strerror}") from error


def _json(name: str, text: str | bytes) -> object:
    try:
        return cast("object", json.loads(text))
    except ValueError as error:
        raise typer.BadParameter(f"{name} is not JSON: {error}") from error


def read_headers(given: Sequence[str]) -> dict[str, str]:
    """Read ``NAME:VALUE``. Raises `typer.BadParameter`: one has no colon. It is not repeated: it may hold a secret."""
    headers: dict[str, str] = {}
    for each in given:
        name, colon, value = each.partition(":")
        if not name or not colon:
            raise typer.BadParameter("--header takes NAME:VALUE")
        headers[name.strip()] = value.strip()
    return headers
