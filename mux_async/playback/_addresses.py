"""How an address is made: its host, its path, and its parameters in the query or in a token (facts/BEHAVIOUR.md, sections 8.3, 8.4 and 9).

One rule runs through all of it: a public id takes its parameters in the query and no token; a signed one takes a token and *all* its
parameters in there, because Mux does not honour a query beside a token. With ``signer=`` the parameters are put where they belong.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypedDict, cast
from urllib.parse import quote, urlencode

import attrs

from mux_async._tracebacks import hides_locals
from mux_async._types import Secret
from mux_async.errors import InvalidRequestError
from mux_async.playback._hosts import MUX, Hosts
from mux_async.playback._parameters import (
    AnimatedParams,
    ClipParams,
    Kind,
    StoryboardParams,
    ThumbnailParams,
    VideoParams,
    check_parameters,
)
from mux_async.playback._urls import Playable, PlaybackUrls, check_name

if TYPE_CHECKING:
    from mux_async.signing import Signer, TimeSpan

AUDIENCES: Final[Mapping[Kind, str]] = {
    "video": "v",
    "thumbnail": "t",
    "gif": "g",
    "storyboard": "s",
    "drm_license": "d",
    "stats": "playback_id",
}
"""``aud`` of the tokens of each kind (facts/BEHAVIOUR.md, section 8.2)."""


class Access(TypedDict, total=False):
    """How an address is opened, and where it is."""

    token: str | Secret
    """A token made before. It must be of the right kind and hold the parameters already."""
    signer: Signer
    """Makes the token; the parameters go into it."""
    expires_in: TimeSpan
    """How long the token that *signer* makes is good for; default 7 days."""
    playback_restriction_id: str
    """Restriction that the token that *signer* makes is bound to."""
    hosts: Hosts
    """Where to fetch from, if not from Mux's own hosts: a custom domain, or ``mux.hosts`` with an emulator."""


class HlsOptions(VideoParams, Access, total=False):
    """What `PlaybackUrls.hls_url` takes."""


class ThumbnailOptions(ThumbnailParams, Access, total=False):
    """What `PlaybackUrls.thumbnail_url` takes."""


class AnimatedOptions(AnimatedParams, Access, total=False):
    """What `PlaybackUrls.animated_url` takes."""


class StoryboardOptions(StoryboardParams, Access, total=False):
    """What `PlaybackUrls.storyboard_url` takes."""


class StoryboardImageOptions(ClipParams, Access, total=False):
    """A storyboard's picture: its format is its extension."""


@attrs.frozen
class Playback(PlaybackUrls):
    """A playback id from somewhere else than an answer of Mux: one's own database, a request.

    Attributes:
        id: The playback id; not the id of the asset or live stream.
        policy: ``public``, ``signed`` or ``drm``. ``None`` when it is not known: then a token decides.
    """

    id: str
    policy: str | None = None


_ACCESS: Final = frozenset({"token", "signer", "expires_in", "playback_restriction_id", "hosts"})


@hides_locals
def viewer_counts_url(token: str | Secret, *, hosts: Hosts = MUX) -> str:
    """Return the address of how many are watching what *token* is for; see `mux_async.signing.Signer.sign_viewer_counts`."""
    return f"{hosts.stats}/counts?token={_shape(token)}"


@hides_locals
def player_url(playback_id: str, tokens: Mapping[str, str] | None = None, *, hosts: Hosts = MUX) -> str:
    """Return the address of Mux's hosted player, for an ``iframe``.

    Args:
        playback_id: What it plays.
        tokens: As `mux_async.signing.Signer.sign_tokens` returns them, for a signed id.
        hosts: Where the player is.
    """
    query = {name: _shape(token) for name, token in (tokens or {}).items()}
    return f"{hosts.player}/{check_name(playback_id, 'playback id')}" + (f"?{urlencode(query)}" if query else "")


def address(
    playable: Playable, place: str, ending: str, kind: Kind, options: Mapping[str, Any], query: Mapping[str, str] | None = None
) -> str:
    playback_id = check_name(playable.id, "playback id")
    params = check_parameters(kind, {name: value for name, value in options.items() if name not in _ACCESS})
    token = _token(playable, playback_id, kind, params, options)
    hosts: Hosts = options.get("hosts", MUX)
    pairs = [(name, text) for name, text in (query or {}).items()]
    if token is not None:
        pairs.append(("token", token))
    else:
        pairs += [(name, _text(value)) for name, value in params.items()]
    address = {
        "stream": f"{hosts.stream}/{playback_id}{ending}",
        "image": f"{hosts.image}/{playback_id}{ending}",
        "counts": f"{hosts.stats}/counts",
    }.get(place) or f"{hosts.license}/{place}/{playback_id}"
    return address + (f"?{urlencode(pairs, quote_via=quote)}" if pairs else "")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _token(playable: Playable, id: str, kind: Kind, params: Mapping[str, object], options: Mapping[str, Any]) -> str | None:
    """Return the token that goes into the address; ``None`` for a public one."""
    given, signer = options.get("token"), cast("Signer | None", options.get("signer"))
    for_signer = sorted({"expires_in", "playback_restriction_id"} & options.keys())
    if given is not None and (signer is not None or for_signer):
        raise InvalidRequestError(
            f"token and {'signer' if signer is not None else ' and '.join(for_signer)} do not go together: a token is whole already"
        )
    if for_signer and signer is None:
        raise InvalidRequestError(f"{' and '.join(for_signer)} is for a token that is made here; pass signer= too")
    if playable.policy == "public":
        if given is not None or signer is not None:
            raise InvalidRequestError(
                f"the playback id {id} is public, and Mux answers 403 to a public id with a token; leave it out"
            )
        return None
    if given is not None:
        if params:
            raise InvalidRequestError(
                f"{', '.join(params)} would not be honoured beside a token: it belongs into the token's claims. Sign it in, "
                f"as in signer.sign(id, {kind!r}, params={{...}}), or pass signer= here instead of token="
            )
        return _check_token(given, id, kind)
    if signer is not None:
        made: dict[str, Any] = {name: options[name] for name in for_signer}
        return signer.sign(id, kind, params=cast("Any", params), **made)
    if playable.policy is not None:
        raise InvalidRequestError(
            f"the playback id {id} is {playable.policy}: pass signer= (its parameters go into the token), or token= of kind {kind!r}"
        )
    return None


def _shape(token: str | Secret) -> str:
    text = Secret(token).reveal()
    if re.fullmatch(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", text) is None:
        raise InvalidRequestError("the token is no signed JWT: three parts in base64url with dots between them")
    return text


def _check_token(given: str | Secret, id: str, kind: Kind) -> str:
    """Refuse a token that Mux would refuse for what it is plainly for. Nothing is verified: only the holder of the key's other half can."""
    token = _shape(given)
    payload = token.split(".")[1]
    try:
        claims: object = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        raise InvalidRequestError("the token is no signed JWT: its claims cannot be read") from None
    if not isinstance(claims, dict):
        raise InvalidRequestError("the token is no signed JWT: it holds no claims")
    said = cast("dict[str, object]", claims)
    audience, subject, wanted = said.get("aud"), said.get("sub"), AUDIENCES[kind]
    if audience not in (wanted, [wanted]):
        raise InvalidRequestError(
            f"the token is for aud {audience!r:.40}, and this address needs {wanted!r}: sign it with kind {kind!r}"
        )
    if subject != id:
        raise InvalidRequestError(f"the token is for {subject!r:.80}, and this address for the playback id {id!r}")
    return token
