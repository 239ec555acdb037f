"""`Signer`: a loaded key, and the tokens it makes."""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast, overload

import anyio.to_thread
import orjson

from mux_async._checks import check_callable, check_choice, check_instance, check_text
from mux_async._setting_text import check_token
from mux_async._tracebacks import hides_methods
from mux_async.errors import ConfigurationError, InvalidRequestError
from mux_async.playback import (
    AnimatedParams,
    AnyParams,
    Kind,
    NoParams,
    ParamsByKind,
    StoryboardParams,
    ThumbnailParams,
    VideoParams,
)
from mux_async.signing._cache import TokenCache
from mux_async.signing._claims import (
    DEFAULT_LIFE,
    TOKEN_NAMES,
    Claims,
    CountsOf,
    SpaceRole,
    TokenRequest,
    check_id,
    counts_claims,
    playback_claims,
    space_claims,
)
from mux_async.signing._keys import PrivateKey, from_environment, read_file, read_private_key, sign
from mux_async.signing._spans import TimeSpan, seconds

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

KeyIdIn: TypeAlias = Literal["both", "header", "payload"]
_FEW: Final = 4
"""Signatures that are made at once in the event loop: about a millisecond."""
_CHUNK: Final = 64
"""Signatures made in a worker thread before the event loop looks at the result, and at whether it was cancelled."""


def _base64url(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


@hides_methods
class Signer:
    """Signs tokens (JWT, RS256) with one of the account's signing keys.

    Making one takes half a millisecond and a signature a quarter, so both may be done in the event loop. Many at once: `sign_each`. A
    signer may be kept for the life of a program and used by any number of tasks.

    Args:
        key_id: Id of the signing key.
        private_key: Its private half, as Mux gave it out (base64 of a PEM), a PEM (PKCS#1 or PKCS#8), or loaded already.
        key_id_in: Where the token names its key. Mux's clients do not agree (facts/BEHAVIOUR.md, section 8.2), and both places are read.
        cache: Keeps tokens that are good for a while yet. Without one, every call signs.
        clock: Unix seconds.

    Raises:
        ConfigurationError: The key is none, damaged, too short, or has a password.
        MissingExtraError: PyJWT is not installed (raised by the import).
    """

    def __init__(
        self,
        key_id: str,
        private_key: PrivateKey | None,
        *,
        key_id_in: KeyIdIn = "both",
        cache: TokenCache | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_choice("key_id_in", key_id_in, ("both", "header", "payload"))
        check_text("key_id", key_id, takes="it must be a str, the id of a signing key", allow_empty=False)
        check_instance("cache", cache, TokenCache, "it must be a TokenCache", allow_none=True)
        check_callable("clock", clock, "it must be a function that returns Unix seconds")
        key_id = check_token("the signing key id", key_id)
        if len(key_id) > 255:  # not shown: it may be the key itself
            raise ConfigurationError("the signing key id is too long for an id; were id and private key swapped?")
        self._key: Final = read_private_key(private_key)
        self._key_id: Final = check_id(key_id, "signing key id")
        # The head is the same in every token. A library would write it anew each time, which makes up half of what it costs.
        kid = {} if key_id_in == "payload" else {"kid": key_id}
        self._head: Final = _base64url(orjson.dumps({"alg": "RS256", **kid, "typ": "JWT"}))
        self._in_payload: Final = key_id_in != "header"
        self._cache: Final = cache
        self._clock: Final = clock

    @classmethod
    def from_environment(cls, *, cache: TokenCache | None = None, clock: Callable[[], float] = time.time) -> Signer:
        """Return a signer of the key in ``MUX_SIGNING_KEY`` (its id) and ``MUX_PRIVATE_KEY``.

        Raises:
            MissingCredentialsError: One is not set.
            ConfigurationError: The key cannot be used.
        """
        key_id, private_key = from_environment()
        return cls(key_id, private_key, cache=cache, clock=clock)

    @classmethod
    async def load(
        cls,
        key_id: str,
        path: str | Path,
        *,
        key_id_in: KeyIdIn = "both",
        cache: TokenCache | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Signer:
        """Return a signer of a key in a file, which is read in a worker thread. It holds what *private_key* of `Signer` may be.

        Raises:
            ConfigurationError: The file cannot be read, or the key not be used.
        """
        content = await anyio.to_thread.run_sync(read_file, Path(path))
        return cls(key_id, content, key_id_in=key_id_in, cache=cache, clock=clock)

    @property
    def key_id(self) -> str:
        """Id of the signing key."""
        return self._key_id

    @property
    def public_keys(self) -> Mapping[str, RSAPublicKey]:
        """The public half under its id: what `verify` takes."""
        return {self._key_id: self._key.public_key()}

    @overload
    def sign(
        self,
        playback_id: str,
        kind: Literal["video"] = "video",
        *,
        params: VideoParams = ...,
        expires_in: TimeSpan = ...,
        playback_restriction_id: str | None = ...,
        extra_claims: Mapping[str, object] | None = ...,
    ) -> str: ...
    @overload
    def sign(
        self,
        playback_id: str,
        kind: Literal["thumbnail"],
        *,
        params: ThumbnailParams = ...,
        expires_in: TimeSpan = ...,
        playback_restriction_id: str | None = ...,
        extra_claims: Mapping[str, object] | None = ...,
    ) -> str: ...
    @overload
    def sign(
        self,
        playback_id: str,
        kind: Literal["gif"],
        *,
        params: AnimatedParams = ...,
        expires_in: TimeSpan = ...,
        playback_restriction_id: str | None = ...,
        extra_claims: Mapping[str, object] | None = ...,
    ) -> str: ...
    @overload
    def sign(
        self,
        playback_id: str,
        kind: Literal["storyboard"],
        *,
        params: StoryboardParams = ...,
        expires_in: TimeSpan = ...,
        playback_restriction_id: str | None = ...,
        extra_claims: Mapping[str, object] | None = ...,
    ) -> str: ...
    @overload
    def sign(
        self,
        playback_id: str,
        kind: Kind,
        *,
        params: NoParams = ...,
        expires_in: TimeSpan = ...,
        playback_restriction_id: str | None = ...,
        extra_claims: Mapping[str, object] | None = ...,
    ) -> str: ...
    def sign(
        self,
        playback_id: str,
        kind: Kind = "video",
        *,
        params: AnyParams | None = None,
        expires_in: TimeSpan = DEFAULT_LIFE,
        playback_restriction_id: str | None = None,
        extra_claims: Mapping[str, object] | None = None,
    ) -> str:
        """Return a token for a signed playback id.

        Args:
            playback_id: What it opens.
            kind: What for. ``video`` is for streams, subtitles, transcripts and files; ``thumbnail``, ``gif`` and ``storyboard`` for
                pictures; ``drm_license`` for licences (beside a ``video`` token for the stream); ``stats`` for viewer counts.
            params: What the address would have in its query if the id were public; beside a token a query is not honoured.
            expires_in: How long it opens anything. Segments stop when it is over, so it must outlast the playing.
            playback_restriction_id: Restriction that also has to be met.
            extra_claims: What has no name here. Data of your own belongs into ``{"custom": {...}}``.

        Raises:
            InvalidRequestError: An argument cannot be signed; the message says which and why.
        """
        return self._sign(
            playback_claims(TokenRequest(playback_id, kind, params or {}, expires_in, playback_restriction_id, extra_claims)),
            expires_in,
        )

    def sign_tokens(
        self,
        playback_id: str,
        kinds: Sequence[Kind] = ("video", "thumbnail", "storyboard"),
        *,
        params: ParamsByKind | None = None,
        expires_in: TimeSpan = DEFAULT_LIFE,
        playback_restriction_id: str | None = None,
    ) -> dict[str, str]:
        """Return tokens of several kinds under the names that Mux Player has for them: ``playback-token``, ``thumbnail-token``, ...

        Args:
            playback_id: What they open.
            kinds: Which.
            params: Parameters of each kind that has any: ``{"thumbnail": {"time": 2}}``.
            expires_in: How long they open anything.
            playback_restriction_id: Restriction that also has to be met.

        Raises:
            InvalidRequestError: An argument cannot be signed; nothing was.
        """
        given = cast("Mapping[Kind, AnyParams]", params or {})
        if odd := given.keys() - set(kinds):
            raise InvalidRequestError(f"params are given for {min(odd)!r}, and kinds has only {', '.join(kinds)}")
        prepared: dict[Kind, Claims] = {
            kind: playback_claims(TokenRequest(playback_id, kind, given.get(kind, {}), expires_in, playback_restriction_id))
            for kind in kinds
        }
        return {TOKEN_NAMES[kind]: self._sign(claims, expires_in) for kind, claims in prepared.items()}

    def sign_viewer_counts(self, id: str, of: CountsOf = "video", *, expires_in: TimeSpan = DEFAULT_LIFE) -> str:
        """Return a token for viewer counts of a video (the ``video_id`` of Mux Data), an asset, a playback id or a live stream.

        Raises:
            InvalidRequestError: An argument cannot be signed.
        """
        return self._sign(counts_claims(id, of), expires_in)

    def sign_space(
        self,
        space_id: str,
        *,
        role: SpaceRole | None = None,
        participant_id: str | None = None,
        expires_in: TimeSpan = DEFAULT_LIFE,
    ) -> str:
        """Return a token that lets somebody into a space (a product that Mux ended in 2023).

        Args:
            space_id: The space.
            role: ``publisher`` (what Mux takes when there is none) or ``subscriber``.
            participant_id: Name of the participant; nobody else is let in under it at the same time.
            expires_in: How long it is good for.

        Raises:
            InvalidRequestError: An argument cannot be signed.
        """
        return self._sign(space_claims(space_id, role, participant_id), expires_in)

    async def sign_each(self, requests: Iterable[TokenRequest]) -> list[str]:
        """Return tokens for many requests, in their order. More than a few are signed in a worker thread, some tens at a time.

        Cancelling takes effect between those; what was signed stays in the cache.

        Raises:
            InvalidRequestError: A request cannot be signed; none of its tens was.
        """
        tokens: list[str] = []
        left = iter(requests)
        while chunk := list(islice(left, _CHUNK)):
            now = self._clock()
            claims = [self._dated(playback_claims(each), seconds(each.expires_in), now) for each in chunk]
            found = [self._kept(each, now) for each in claims]
            missing = [each for each, token in zip(claims, found, strict=True) if token is None]
            work = partial(list[str], map(self._encode, missing))
            made = work() if len(missing) <= _FEW else await anyio.to_thread.run_sync(work)
            for each, token in zip(missing, made, strict=True):
                self._keep(each, token, now)
            fresh = iter(made)
            tokens += [token if token is not None else next(fresh) for token in found]
        return tokens

    def _sign(self, claims: Claims, expires_in: TimeSpan) -> str:
        now = self._clock()
        dated = self._dated(claims, seconds(expires_in), now)
        token = self._kept(dated, now)
        if token is None:
            token = self._encode(dated)
            self._keep(dated, token, now)
        return token

    def _dated(self, claims: Claims, life: int, now: float) -> Claims:
        """Add what Mux's Node client adds, in its order: parameters, kid, sub, aud, exp."""
        subject, audience = claims.pop("sub"), claims.pop("aud")
        if self._in_payload:
            claims["kid"] = self._key_id
        claims["sub"], claims["aud"], claims["exp"] = subject, audience, int(now) + life
        return claims

    def _encode(self, claims: Claims) -> str:
        text = self._head + b"." + _base64url(orjson.dumps(claims))
        return (text + b"." + _base64url(sign(self._key, text))).decode()

    def _kept(self, claims: Claims, now: float) -> str | None:
        return None if self._cache is None else self._cache.get(self._identity(claims, now), now)

    def _keep(self, claims: Claims, token: str, now: float) -> None:
        if self._cache is not None:
            expires: Any = claims["exp"]
            self._cache.put(self._identity(claims, now), token, now, expires)

    def _identity(self, claims: Claims, now: float) -> str:
        """Tell tokens apart by everything but the moment: two that differ only in when they were made are the same."""
        expires: Any = claims["exp"]
        return repr((self._head, {**claims, "exp": expires - int(now)}))

    def __repr__(self) -> str:
        return f"<Signer key_id={getattr(self, '_key_id', None)!r}>"  # a constructor that failed leaves none

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a Signer is not pickled: it holds a private key; make another where it is needed")
