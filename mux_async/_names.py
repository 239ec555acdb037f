"""The names that are used here, for users who know others: from other SDKs, or in another spelling.

Consulted only when a name was not found. The errors are `AttributeError` and `TypeError`, as ever, and `MuxError` as well.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Final

from mux_async.errors import UnknownNameError

ARGUMENTS: Final[Mapping[str, str]] = {
    "access_token_id": "token_id=",
    "api_key": "token_id= and token_secret=",
    "api_secret": "token_secret=",
    "auth": "token_id= and token_secret=",
    "backoff": "retry=RetryPolicy(...)",
    "client_id": "token_id=",
    "client_secret": "token_secret=",
    "default_headers": "headers=",
    "endpoint": "base_url=",
    "host": "base_url=",
    "http_client": "transport=, a name such as 'httpx' or an object with send and aclose",
    "key": "token_id= and token_secret=",
    "max_connections": "transport_settings=TransportSettings(max_connections=...)",
    "max_retries": "max_attempts=, which counts the first one too: max_retries=2 is max_attempts=3",
    "password": "token_secret=",
    "proxies": "transport_settings=TransportSettings(proxy=...)",
    "proxy": "transport_settings=TransportSettings(proxy=...)",
    "rate_limit": "limits=LimitSettings(...)",
    "retries": "max_attempts=, which counts the first one too: retries=2 is max_attempts=3",
    "secret": "token_secret=",
    "server": "base_url=",
    "session": "transport=, an object with send and aclose",
    "timeout": "deadline= (seconds for a whole call), or timeouts=Timeouts(...) and CallOptions(timeout=...) (for one attempt)",
    "token": "token_id= and token_secret=, or authorization_token= for a bearer token",
    "trust_env": "transport_settings=TransportSettings(trust_env=True)",
    "url": "base_url=",
    "username": "token_id=",
    "verify": "transport_settings=TransportSettings(ssl_context=...)",
    "webhook_secret": "WebhookRouter(secrets=...) of mux_async.webhooks",
}
"""What other SDKs call an argument of their client, and what it is here."""

MEMBERS: Final[Mapping[str, str]] = {
    "all": "list()",
    "close": "aclose()",
    "copy": "with_options()",
    "destroy": "delete()",
    "fetch": "retrieve()",
    "find": "retrieve()",
    "get": "retrieve()",
    "get_all": "list()",
    "list_all": "list(), which is iterated with async for",
    "post": "create()",
    "remove": "delete()",
}
"""What other SDKs call an operation."""

OF_CLIENT: Final[Mapping[str, str]] = {
    "close": "mux.aclose()",
    "copy": "mux.with_options(...)",
    "get": 'mux.request("GET", path)',
    "jwt": "mux.signer, and mux_async.signing",
    "options": "mux.with_options(...)",
    "post": 'mux.request("POST", path)',
    "put": 'mux.request("PUT", path)',
    "patch": 'mux.request("PATCH", path)',
    "delete": 'mux.request("DELETE", path)',
    "webhooks": "mux_async.webhooks (to receive them), and mux.system.webhooks (to register where they go)",
    "whoami": "mux.system.utilities.whoami()",
    "with_raw_response": "mux.video.assets.with_raw_response, and so on for every group of operations",
}


OF_UPLOADS: Final[Mapping[str, str]] = {
    "create": "mux.video.uploads.create(), or mux.uploads.send(file), which does all of it",
    "list": "mux.video.uploads.list()",
    "retrieve": "mux.video.uploads.retrieve()",
    "get": "mux.video.uploads.retrieve()",
    "upload": "mux.uploads.send()",
    "upload_file": "mux.uploads.send()",
}


def attribute(owner: object, name: str) -> object:
    """Answer a lookup of *name* that failed: for the ``__getattr__`` of clients and groups of operations.

    Raises:
        UnknownNameError: There is no such name; the message says what it may be called.
        AttributeError: What the attribute itself raised.
    """
    if name.startswith("_") or inspect.getattr_static(owner, name, None) is not None:
        return object.__getattribute__(owner, name)  # a property's own error, or Python's
    path = _path_of(owner)
    hint = _hint(owner, path, _in_snake_case(name))
    raise UnknownNameError(f"{path} has no {name!r}" + (f"; here it is {hint}" if hint else ""))


def _hint(owner: object, path: str, name: str) -> str | None:
    public = [each for each in dir(type(owner)) if not each.startswith("_")]
    if name in public:
        return f"{path}.{name}"
    elsewhere: dict[str, str] = {}
    if path == "mux":
        elsewhere = {**_groups(owner), **OF_CLIENT}
    elif path == "mux.uploads":
        elsewhere = {**OF_UPLOADS}
    elif name in MEMBERS and MEMBERS[name].partition("(")[0] in public:
        return f"{path}.{MEMBERS[name]}"
    verb, _, noun = name.partition("_")
    if noun and path.endswith((f".{noun}", f".{noun}s")) and (verb in public or verb in MEMBERS):  # assets.create_asset
        return f"{path}.{verb if verb in public else MEMBERS[verb]}"
    for each in (name, f"{name}s"):
        if each in elsewhere:
            return elsewhere[each]
    known = {**elsewhere, **{each: f"{path}.{each}" for each in public}}
    close = difflib.get_close_matches(name, known, n=1)
    return known[close[0]] if close else None


def _groups(client: object) -> dict[str, str]:
    """Return where the groups of operations are, by their last names."""
    found: dict[str, list[str]] = {}

    def walk(owner: object, path: str) -> None:
        for name, value in vars(type(owner)).items():
            if isinstance(value, cached_property) and name != "with_raw_response":
                found.setdefault(name, []).append(f"{path}.{name}")
                walk(getattr(owner, name), f"{path}.{name}")

    for root in ("video", "data", "system", "robots", "robots_v0"):
        walk(getattr(client, root), f"mux.{root}")
    return {name: " or ".join(paths) for name, paths in found.items()}


def _path_of(owner: object) -> str:
    """Return what *owner* is called: a group of operations says it in its docstring."""
    said = re.search(r"``(mux[.\w]*)``|`Mux\.(\w+)`", type(owner).__doc__ or "")
    if any(kind.__name__ == "Mux" for kind in type(owner).mro()):
        return "mux"
    return (said[1] or f"mux.{said[2]}") if said else type(owner).__name__


def _in_snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def about_argument(owner: str, name: str, known: Collection[str]) -> str:
    """Say of an argument that there is none of that name, and what it may be called here."""
    text = f"{owner} has no argument {name!r}"
    spelt = _in_snake_case(name)
    if spelt in known:
        return f"{text}; here it is {spelt}="
    if owner == "Mux" and spelt in ARGUMENTS:
        return f"{text}; here it is {ARGUMENTS[spelt]}"
    if spelt in {"max_retries", "retries"} and "max_attempts" in known:
        return f"{text}; here it is {ARGUMENTS[spelt]}"
    close = difflib.get_close_matches(spelt, known, n=1)
    return f"{text}; did you mean {close[0]}=?" if close else f"{text}; it takes {', '.join(sorted(known))}"
