"""Operations into requests, and answers into values or errors. Pure: nothing here sends, waits or reads a clock.

Everything a user passed is checked here, so that what cannot be sent is refused before anything is.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import ParseResult, SplitResult, quote, urlencode

from mux_async._config import check_headers
from mux_async._content import ACCEPT_ENCODING
from mux_async._models import json_reader, response_decoder
from mux_async._models.model import Model, materialize
from mux_async._models.serialization import check_text, to_wire
from mux_async._operation import Host, Operation, Replay
from mux_async._pagination import Page, next_query
from mux_async._types import UNSET
from mux_async.errors import (
    APIStatusError,
    InvalidRequestError,
    MuxError,
    UndecodableResponseError,
    advice_about,
    error_class,
    parse_error_body,
    quote_sentence,
)
from mux_async.transport import HttpRequest, Timeouts

if TYPE_CHECKING:
    from mux_async._arguments import Arguments
    from mux_async._config import Config
    from mux_async.transport import HttpResponse

_URL_PARTS = (SplitResult, ParseResult)
"""What urllib.parse makes of a URL: tuples, and not lists of values."""
_PATH_NAME = re.compile(r"\{(\w+)\}")
_API = Host.API  # looking a member up in its enum is a call, up to Python 3.11
_LONGEST_QUOTE = 1000
"""Characters of Mux's own sentences in an error's text; the error's ``messages`` have them whole."""
_UNSAFE_IN_ID = re.compile(r"[\x00-\x20\x7f/\\?#%]")


def build_request(operation: Operation[Any], arguments: Arguments, config: Config, timeouts: Timeouts) -> HttpRequest:
    """Write a call down as a request. `InvalidRequestError` says which argument cannot be sent, and how to mend it."""
    is_api = operation.host is _API
    url = (config.base_url if is_api else origin(operation.host, config)) + build_path(operation.path, arguments.path)
    if arguments.query or arguments.extra_query:
        query = encode_query(arguments.query, arguments.extra_query)
        if query:
            url = f"{url}?{query}"
    body: bytes | None = None
    headers: Mapping[str, str] = config.api_headers
    if arguments.body is not None or arguments.extra_body is not None:
        body = encode_body(arguments.body or {}, arguments.extra_body, operation)
        headers = config.api_headers_with_body
    if not is_api:  # credentials are for the API alone
        headers = {**config.headers, "Accept": "*/*", **({"Content-Type": "application/json"} if body is not None else {})}
    if arguments.extra_headers:
        headers = merge_headers(headers, arguments.extra_headers)
    return HttpRequest(operation.method, url, headers, body, timeouts)


def origin(host: Host, config: Config) -> str:
    """Return what comes before the path. With a base URL of the user's own, that origin serves every host of Mux's."""
    return host.value if config.is_default_origin and host is not Host.API else config.base_url


def build_path(template: str, values: Mapping[str, str]) -> str:
    """Fill in a path template. Refuse values that would change the path's shape: empty ones, a slash, a control character, ..."""
    path, blanks = _blanks(template)
    for name, text in blanks:
        path += _path_value(name, values[name]) + text
    return path


@cache
def _blanks(template: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Split a path template: its beginning, and each name with the text after it."""
    first, *rest = _PATH_NAME.split(template)
    return first, tuple(zip(rest[::2], rest[1::2], strict=True))


def _path_value(name: str, value: object) -> str:
    if isinstance(value, str) and value.isalnum() and value.isascii():  # as every id of Mux is
        return value
    argument = name.lower()
    if not isinstance(value, str):
        from mux_async._models.plain_values import id_text

        value = id_text(value, argument)
    if not value:
        raise InvalidRequestError(f"{argument} is empty, and it names what the request is about")
    if (bad := _UNSAFE_IN_ID.search(value)) or value in {".", ".."}:
        shown = bad[0] if bad else value
        raise InvalidRequestError(f"{argument} {value[:80]!r} holds {shown!r}, which no id of Mux has; pass the id alone")
    return quote(check_text(value, argument), safe="")


def encode_query(query: Mapping[str, object], extra: Mapping[str, object] | None) -> str:
    """Encode a query string; ``UNSET`` members are left out, sequences repeat their name. Refuse ``None`` and what a query cannot hold."""
    if not query and not extra:
        return ""
    pairs: list[tuple[str, str]] = []
    for name, value in ({**query, **extra} if extra else query).items():
        if value is UNSET:
            continue
        if name.endswith("[]") and (not isinstance(value, list | tuple) or isinstance(value, _URL_PARTS)):
            pairs.append((name, _query_text(name, value)))
        elif isinstance(value, Sequence) and not isinstance(value, (str, bytes, *_URL_PARTS)):
            pairs.extend((name, _query_text(name, item)) for item in cast("Sequence[object]", value))
        else:
            pairs.append((name, _query_text(name, value)))
    return urlencode(pairs)


def _query_text(name: str, value: object) -> str:
    match value:
        case enum.Enum():
            return _query_text(name, value.value)
        case str():
            return check_text(value, name.removesuffix("[]"))
        case bool():
            return "true" if value else "false"
        case int():
            return str(int(value))
        case float() if math.isfinite(value):
            return repr(float(value))  # of NumPy's the repr is another
        case datetime():
            if value.tzinfo is None:
                raise InvalidRequestError(
                    f"{name.removesuffix('[]')} is a datetime without a time zone; add one (datetime.now(UTC))"
                )
            return str(int(value.timestamp()))
        case date():
            return value.isoformat()
        case None:
            raise InvalidRequestError(f"{name.removesuffix('[]')} is None, and a query cannot hold null; leave it out instead")
        case SplitResult() | ParseResult():  # a URL, and not a list
            return _query_text(name, value.geturl())
        case _:
            from mux_async._models.plain_values import UNKNOWN, plain

            if (known := plain(value, name.removesuffix("[]"))) is not UNKNOWN:
                return _query_text(name, known)
            raise InvalidRequestError(
                f"{name.removesuffix('[]')} is {value!r:.80} of type {type(value).__name__}, which a query cannot hold"
            )


def encode_body(
    body: Mapping[str, object], extra: Mapping[str, object] | None, operation: Operation[Any] | None = None
) -> bytes:
    """Encode a JSON body; ``UNSET`` members are left out, ``None`` is null, *extra* members win.

    With the *operation* whose body it is, mistakes in it are warned of (`mux_async._misspelt`).
    """
    members: dict[str, object] = {}
    for name, value in ({**body, **extra} if extra else body).items():
        if value is not UNSET:
            members[name] = to_wire(value, name)
    if operation is not None and operation.request is not None and members:
        from mux_async._misspelt import check_body

        check_body(members, operation.request, operation.line)
    return response_decoder.dumps(members)


def merge_headers(headers: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """Return *headers* with *extra* over them, names compared without case."""
    check_headers(extra)
    replaced = {name.lower() for name in extra}
    return {**{name: value for name, value in headers.items() if name.lower() not in replaced}, **extra}


def standing_headers(user_agent: str, extra: Mapping[str, str] | None) -> dict[str, str]:
    """Return what every request of a client carries."""
    headers = {"User-Agent": user_agent, "Accept-Encoding": ACCEPT_ENCODING}
    check_headers(headers)
    return merge_headers(headers, extra) if extra else headers


def decode(operation: Operation[Any], arguments: Arguments, response: HttpResponse, content: bytes) -> Any:
    """Turn *content*, the body of the successful answer *response*, into what the call returns.

    Raises `UndecodableResponseError` if it is not JSON, or not the JSON that belongs there.
    """
    result = operation.result
    if result == "none":
        return None
    if result == "bytes":
        return content
    if result == "text":
        return content.decode("utf-8", "replace")
    if result == "json" and not content:
        return None
    try:
        value = response_decoder.decoder(operation)(content)
    except response_decoder.BodyError as error:
        acted = "" if operation.replay is Replay.SAFE else "; the request was acted on"
        raise UndecodableResponseError(
            f"{operation.line} was answered {response.status} with {error}{acted}",
            status=response.status,
            request_id=response.headers.get("X-Request-Id"),
        ) from error
    return _page(operation, arguments, value) if result == "page" else value


def _page(operation: Operation[Any], arguments: Arguments, envelope: Any) -> Page[Any, Any]:
    found: object = envelope.data
    data = cast("list[object]", found) if isinstance(found, list) else []
    cursor = _member(envelope, "next_cursor")
    total = _member(envelope, "total_row_count")
    if total is None:
        meta = _member(envelope, "meta")
        total = _member(meta, "total")
    next_cursor = cursor if isinstance(cursor, str) and cursor else None
    rows = total if isinstance(total, int) and not isinstance(total, bool) else None
    query = {**arguments.query, **(arguments.extra_query or {})}
    following = next_query(operation.pagination, query, received=len(data), next_cursor=next_cursor, total=rows)
    return Page(data=data, envelope=envelope, next_cursor=next_cursor, total=rows, next_query=following)


def _member(value: object, name: str) -> object:
    """Return a member of an object, whether it has a field of that name or not."""
    if isinstance(value, Model):
        extra = materialize(value).extra
        return extra[name] if name in extra else getattr(value, name, None)
    return cast("Mapping[str, object]", value).get(name) if isinstance(value, Mapping) else None


def status_error(
    operation: Operation[Any],
    response: HttpResponse,
    content: bytes,
    *,
    retry_after: float | None = None,
    lost: MuxError | None = None,
    whose: str | None = None,
) -> APIStatusError:
    """Turn an answer that is not a success into the error that stands for it.

    *retry_after* is how many seconds the server asks to wait, *lost* is why there is no body (it did not arrive whole or cannot be
    read), and *whose* says in words which credentials a 401 is about.
    """
    status, headers = response.status, response.headers
    try:
        body: object = json_reader.loads(content) if content else None
    except ValueError:
        body = content[:2000].decode("utf-8", "replace")
    kind, messages = parse_error_body(body)
    request_id = headers.get("X-Request-Id")
    text = f"{operation.line} was answered {status}"
    if kind:
        text += f" {kind}"
    if messages:
        text += f": {quote_sentence('; '.join(messages)):.{_LONGEST_QUOTE}}"
    if 300 <= status < 400:
        place = headers.get("Location", "nowhere").partition("?")[0]  # a query may hold a signature
        text += f" (a redirect to {place!r:.200}, which is not followed)"
    advice = advice_about(status, kind, operation.path)
    if advice is not None:
        text += f"; {advice}"
    elif status == 401 and whose is not None:
        text += f"; {whose}: check that the two belong together, to an environment of this server, and were not revoked"
    if retry_after is not None:
        text += f"; the server asks to wait {retry_after:g} s"
    if lost is not None:
        text += f"; its body was lost ({lost})"
    if request_id:
        text += f" (request id {request_id!r})"
    error = error_class(status)(
        text,
        status=status,
        type=kind,
        messages=messages,
        request_id=request_id,
        headers=headers,
        body=body,
        retry_after=retry_after,
    )
    error.advice = advice
    error.__cause__ = lost
    return error
