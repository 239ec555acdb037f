"""The claims of a token. Pure; claims are in the order in which Mux's Node client writes them (facts/BEHAVIOUR.md, section 8.2)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import attrs
import orjson

from mux_async._time_spans import TimeSpan
from mux_async.errors import InvalidRequestError
from mux_async.playback import AnyParams, Kind
from mux_async.playback._parameters import KINDS, check_parameters
from mux_async.playback._url_builder import AUDIENCES

Claims: TypeAlias = dict[str, object]

DEFAULT_LIFETIME: Final = "7d"
"""The default of both official signers."""

CountsOf: TypeAlias = Literal["video", "asset", "playback", "live_stream"]
"""What the viewer counts of a token are about."""
SpaceRole: TypeAlias = Literal["publisher", "subscriber"]
"""What the holder of a space's token may do."""

COUNTS_AUDIENCES: Final[Mapping[str, str]] = {
    "video": "video_id",
    "asset": "asset_id",
    "playback": "playback_id",
    "live_stream": "live_stream_id",
}
TOKEN_NAMES: Final[Mapping[Kind, str]] = {
    "video": "playback-token",
    "thumbnail": "thumbnail-token",
    "gif": "gif-token",
    "storyboard": "storyboard-token",
    "drm_license": "drm-token",
    "stats": "stats-token",
}
"""Names of Mux Player's attributes; the player does not use those of ``gif`` and ``stats``."""

_RESERVED: Final = frozenset({"sub", "aud", "exp", "kid", "nbf", "iat", "iss", "jti", "playback_restriction_id"})
_ID: Final = re.compile(r"[\x21-\x7e]{1,255}")
_MAX_EXTRA: Final = 4096
"""Maximum bytes of extra claims: the token becomes part of a URL, and servers refuse long URLs."""


@attrs.frozen
class TokenRequest:
    """A token for `mux_async.signing.Signer.sign_each` to sign. Its fields are the arguments of `mux_async.signing.Signer.sign`."""

    playback_id: str
    kind: Kind = "video"
    params: AnyParams = attrs.field(factory=dict[str, object])
    expires_in: TimeSpan = DEFAULT_LIFETIME
    playback_restriction_id: str | None = None
    extra_claims: Mapping[str, object] | None = None


def playback_claims(request: TokenRequest) -> Claims:
    """Return the claims of a playback token, without ``kid`` and ``exp``. Raises `InvalidRequestError`."""
    kind = request.kind
    if kind not in AUDIENCES:
        raise InvalidRequestError(f"the kind of token {kind!r:.80} does not exist; use one of {', '.join(KINDS)}")
    claims = check_parameters(kind, request.params)
    if request.playback_restriction_id is not None:
        claims["playback_restriction_id"] = check_id(request.playback_restriction_id, "playback restriction id")
    if request.extra_claims:
        claims.update(_check_extra(request.extra_claims, claims))
    claims["sub"] = check_id(request.playback_id, "playback id")
    claims["aud"] = AUDIENCES[kind]
    return claims


def counts_claims(id: str, of: CountsOf) -> Claims:
    """Return the claims of a token for viewer counts. Raises `InvalidRequestError`."""
    if of not in COUNTS_AUDIENCES:
        raise InvalidRequestError(f"viewer counts of {of!r:.80} do not exist; use one of {', '.join(COUNTS_AUDIENCES)}")
    return {"sub": check_id(id, "id"), "aud": COUNTS_AUDIENCES[of]}


def space_claims(space_id: str, role: SpaceRole | None, participant_id: str | None) -> Claims:
    """Return the claims of a token to join a space. Raises `InvalidRequestError`."""
    claims: Claims = {}
    if role is not None:
        if role not in {"publisher", "subscriber"}:
            raise InvalidRequestError(f"role is {role!r:.80}; it must be 'publisher' or 'subscriber'")
        claims["role"] = role
    if participant_id is not None:
        claims["participant_id"] = check_id(participant_id, "participant id")
    claims["sub"] = check_id(space_id, "space id")
    claims["aud"] = "rt"
    return claims


def check_id(value: str, what: str) -> str:
    """Return *value* if it can be an id: printable ASCII without spaces, at most 255 characters. Raises `InvalidRequestError`."""
    if _ID.fullmatch(value) is None:
        raise InvalidRequestError(
            f"the {what} {value!r:.80} is empty, too long, or contains spaces or characters that ids do not have"
        )
    return value


def _check_extra(extra: Mapping[str, object], claims: Mapping[str, object]) -> Mapping[str, object]:
    if taken := (_RESERVED | claims.keys()) & extra.keys():
        raise InvalidRequestError(
            f"extra_claims contains {min(taken)!r}, which has its own argument or is set by the signer; leave it out"
        )
    try:
        json.dumps(extra, allow_nan=False)  # stricter than orjson, which writes NaN as null and accepts more types
        size = len(orjson.dumps(extra))
    except (TypeError, ValueError, RecursionError):
        raise InvalidRequestError("extra_claims contains a value that JSON cannot represent") from None
    if size > _MAX_EXTRA:
        raise InvalidRequestError(f"extra_claims has {size} bytes; with more than {_MAX_EXTRA} the token is too long for a URL")
    return extra
