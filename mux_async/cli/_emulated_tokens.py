"""Access tokens on the command line of ``mux-async emulate``: how they are parsed, and completed by a shell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import typer

from mux_async.emulator import ALL_PERMISSIONS, DEFAULT_TOKEN, Token

_PRODUCTS = tuple(dict.fromkeys(permission.partition(":")[0] for permission in ALL_PERMISSIONS))
_VERBS = ("read", "write")
_PRIORITIES = ("high", "low")
METAVAR = "ID:SECRET[:PERMISSIONS][@ENVIRONMENT]"
_EXAMPLES = "ci:secret, ci:secret:video:read,data or ci:secret:video:read@staging"


def parse_token(text: str) -> Token:
    """Read ``ID:SECRET``, ``ID:SECRET:PERMISSIONS``, or either followed by an environment: ``ID:SECRET:PERMISSIONS@ENVIRONMENT``.

    PERMISSIONS are separated by commas: ``video:read`` is one permission, ``video`` both of a product, ``read`` that of every
    product, ``all`` (or nothing) everything; ``low`` makes it a token of low priority. With an environment the second colon has to be
    there: ``ID:SECRET:@ENVIRONMENT``; a secret may hold an ``@``.

    Raises:
        typer.BadParameter: It is none of these; the message does not repeat the text, because it holds a secret.
    """
    token_id, _, rest = text.partition(":")
    secret, second, rights = rest.partition(":")
    words, at, environment = rights.partition("@")
    if not (token_id and secret) or (second and not rights) or (at and not environment):
        raise typer.BadParameter(f"a token is written {METAVAR}, for example {_EXAMPLES}")
    named = words.split(",") if words else []
    granted = [word for word in named if word not in _PRIORITIES]
    return Token(
        token_id,
        secret,
        environment or DEFAULT_TOKEN.environment,
        permissions=_permissions(granted or ["all"]),
        priority="low" if "low" in named else "high",
    )


def _permissions(words: Iterable[str]) -> tuple[str, ...]:
    chosen: set[str] = set()
    for word in words:
        found = _MEANINGS.get(word)
        if found is None:
            raise typer.BadParameter(
                f"{word!r} is not a permission: use all, {', '.join(_VERBS)}, {', '.join(_PRODUCTS)}, or product and verb as in"
                f" {ALL_PERMISSIONS[0]}; {' or '.join(_PRIORITIES)} is the token's priority; an environment is written @{word or 'staging'}"
            )
        chosen.update(found)
    return tuple(permission for permission in ALL_PERMISSIONS if permission in chosen)


_MEANINGS: Mapping[str, tuple[str, ...]] = {
    "all": ALL_PERMISSIONS,
    **{permission: (permission,) for permission in ALL_PERMISSIONS},
    **{
        name: tuple(permission for permission in ALL_PERMISSIONS if name in permission.split(":"))
        for name in (*_PRODUCTS, *_VERBS)
    },
}


def complete_token(incomplete: str) -> list[str]:
    """What the last word of the permissions may be; nothing for an id or a secret."""
    if incomplete.count(":") < 2 or "@" in incomplete.split(":", 2)[2]:
        return []
    given, comma, word = incomplete.rpartition(",")
    if not comma:
        first, second, word = incomplete.split(":", 2)
        given, comma = f"{first}:{second}", ":"
    return [f"{given}{comma}{meaning}" for meaning in (*_MEANINGS, *_PRIORITIES) if meaning.startswith(word)]
