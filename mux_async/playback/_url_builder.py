"""Build playback URLs: host, path, and parameters in the query or in a token (facts/BEHAVIOUR.md, sections 8.3, 8.4 and 9).

A public playback id has its parameters in the query and no token. A signed one has a token that contains *all* its parameters, because Mux
ignores a query beside a token. With ``signer=`` the parameters are put where they belong.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any, Final, Protocol, TypedDict, cast
from urllib.parse import quote, urlencode

from mux_async._time_spans import TimeSpan
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

AUDIENCES: Final[Mapping[Kind, str]] = {
    "video": "v",
    "thumbnail": "t",
    "gif": "g",
    "storyboard": "s",
    "drm_license": "d",
    "stats": "playback_id",
}
"""The ``aud`` claim of each kind of token (facts/BEHAVIOUR.md, section 8.2)."""


class TokenSigner(Protocol):
    """Signs playback tokens; `mux_async.signing.Signer` is one."""

    def sign(
        self,
        playback_id: str,
        kind: Kind,
        *,
        params: Any = ...,
        expires_in: TimeSpan = ...,
        playback_restriction_id: str | None = ...,
    ) -> str:
        """Return a token of *kind* for a playback id."""
        ...


class Access(TypedDict, total=False):
    """Arguments of every URL method: the token, and the hosts."""

    token: str | Secret
    """A token that was signed before. It must be of the right kind and already contain the parameters."""
    signer: TokenSigner
    """Signs a token that contains the parameters."""
    expires_in: TimeSpan
    """How long the token that *signer* makes is valid; default 7 days."""
    playback_restriction_id: str
    """Playback restriction in the token that *signer* makes."""
    hosts: Hosts
    """Hosts other than Mux's own: a custom domain, or ``mux.hosts`` with an emulator."""


class HlsOptions(VideoParams, Access, total=False):
    """Arguments of `PlaybackUrls.hls_url`."""


class ThumbnailOptions(ThumbnailParams, Access, total=False):
    """Arguments of `PlaybackUrls.thumbnail_url`."""


class AnimatedOptions(AnimatedParams, Access, total=False):
    """Arguments of `PlaybackUrls.animated_url`."""


class StoryboardOptions(StoryboardParams, Access, total=False):
    """Arguments of `PlaybackUrls.storyboard_url`."""


class StoryboardImageOptions(ClipParams, Access, total=False):
    """Arguments of `PlaybackUrls.storyboard_image_url`. There is no *format*: the extension says it."""


_ACCESS: Final = frozenset({"token", "signer", "expires_in", "playback_restriction_id", "hosts"})


@hides_locals
def viewer_counts_url(token: str | Secret, *, hosts: Hosts = MUX) -> str:
    """Return the URL of the viewer counts that *token* is for; see `mux_async.signing.Signer.sign_viewer_counts`."""
    return f"{hosts.stats}/counts?token={_check_form(token)}"


@hides_locals
def player_url(playback_id: str, tokens: Mapping[str, str] | None = None, *, hosts: Hosts = MUX) -> str:
    """Return the URL of Mux's hosted player, for an ``iframe``.

    Args:
        playback_id: The playback id to play.
        tokens: For a signed id: the return value of `mux_async.signing.Signer.sign_tokens`.
        hosts: The host of the player.
    """
    query = {name: _check_form(token) for name, token in (tokens or {}).items()}
    return f"{hosts.player}/{check_name(playback_id, 'playback id')}" + (f"?{urlencode(query)}" if query else "")


def build_url(
    id: str,
    policy: str | None,
    service: str,
    suffix: str,
    kind: Kind,
    options: Mapping[str, Any],
    query: Mapping[str, str] | None = None,
) -> str:
    """Return a playback URL; raise `InvalidRequestError` if Mux would refuse or ignore a part of it.

    Args:
        id: The playback id.
        policy: Its policy; ``None`` when unknown.
        service: ``stream``, ``image``, ``counts``, or the path of a service on the licence host.
        suffix: The path after the playback id.
        kind: Kind of the parameters and of the token.
        options: Parameters and `Access`.
        query: Parameters that stay in the query even beside a token.
    """
    playback_id = check_name(id, "playback id")
    params = check_parameters(kind, {name: value for name, value in options.items() if name not in _ACCESS})
    token = _token(playback_id, policy, kind, params, options)
    hosts: Hosts = options.get("hosts", MUX)
    pairs = list((query or {}).items())
    if token is not None:
        pairs.append(("token", token))
    else:
        pairs += [(name, str(value).lower() if isinstance(value, bool) else str(value)) for name, value in params.items()]
    url = {
        "stream": f"{hosts.stream}/{playback_id}{suffix}",
        "image": f"{hosts.image}/{playback_id}{suffix}",
        "counts": f"{hosts.stats}/counts",
    }.get(service) or f"{hosts.license}/{service}/{playback_id}"
    return url + (f"?{urlencode(pairs, quote_via=quote)}" if pairs else "")


def check_name(value: str, what: str) -> str:
    """Return *value* if it can be an id in a path; raise `InvalidRequestError` if not."""
    if re.fullmatch(r"[A-Za-z0-9_-]{1,200}", value) is None:
        raise InvalidRequestError(
            f"the {what} {value!r:.80} is empty or contains more than letters and digits; is it a whole URL?"
        )
    return value


def _token(id: str, policy: str | None, kind: Kind, params: Mapping[str, object], options: Mapping[str, Any]) -> str | None:
    """Return the token for the URL; ``None`` for a public playback id."""
    given, signer = options.get("token"), cast("TokenSigner | None", options.get("signer"))
    for_signer = sorted({"expires_in", "playback_restriction_id"} & options.keys())
    if given is not None and (signer is not None or for_signer):
        raise InvalidRequestError(
            f"token and {'signer' if signer is not None else ' and '.join(for_signer)} cannot be combined: a token is already signed"
        )
    if for_signer and signer is None:
        raise InvalidRequestError(f"{' and '.join(for_signer)} is for a token that is signed here; pass signer= too")
    if policy == "public":
        if given is not None or signer is not None:
            raise InvalidRequestError(
                f"the playback id {id} is public, and Mux answers 403 to a public id with a token; leave it out"
            )
        return None
    if given is not None:
        if params:
            raise InvalidRequestError(
                f"{', '.join(params)} would be ignored beside a token: parameters belong in the token's claims. Sign them, "
                f"as in signer.sign(id, {kind!r}, params={{...}}), or pass signer= here instead of token="
            )
        return _check_token(given, id, kind)
    if signer is not None:
        return signer.sign(id, kind, params=params, **{name: options[name] for name in for_signer})
    if policy is not None:
        raise InvalidRequestError(
            f"the playback id {id} is {policy}: pass signer= (its parameters go into the token), or token= of kind {kind!r}"
        )
    return None


def _check_form(token: str | Secret) -> str:
    """Return the text of a token that has the form of a JWT."""
    text = Secret(token).reveal()
    if re.fullmatch(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", text) is None:
        raise InvalidRequestError("the token is not a signed JWT: three parts in base64url, separated by dots")
    return text


def _check_token(given: str | Secret, id: str, kind: Kind) -> str:
    """Refuse a token that is for another use or another id. The signature is not verified: that takes the public key."""
    token = _check_form(given)
    payload = token.split(".")[1]
    try:
        claims: object = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        raise InvalidRequestError("the token is not a signed JWT: its claims cannot be read") from None
    if not isinstance(claims, dict):
        raise InvalidRequestError("the token is not a signed JWT: it contains no claims")
    members = cast("dict[str, object]", claims)
    audience, subject, wanted = members.get("aud"), members.get("sub"), AUDIENCES[kind]
    if audience not in (wanted, [wanted]):
        raise InvalidRequestError(
            f"the token is for aud {audience!r:.40}, and this URL needs {wanted!r}: sign it with kind {kind!r}"
        )
    if subject != id:
        raise InvalidRequestError(f"the token is for {subject!r:.80}, and this URL is for the playback id {id!r}")
    return token
