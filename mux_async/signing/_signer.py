"""`Signer`: signs tokens with a loaded key."""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypedDict, cast, overload

import anyio.to_thread
import orjson

from mux_async._checks import check_callable, check_choice, check_instance, check_text
from mux_async._setting_text import check_token
from mux_async._time_spans import TimeSpan, seconds
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
    DEFAULT_LIFETIME,
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

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from typing_extensions import Unpack

KeyIdIn: TypeAlias = Literal["both", "header", "payload"]
"""Where a token has the id of its signing key; Mux documents both places."""
_FEW: Final = 4
"""Up to this many signatures are made in the event loop, which takes about a millisecond."""
_CHUNK: Final = 64
"""Signatures per job of a worker thread; cancellation takes effect between jobs."""


class SignOptions(TypedDict, total=False):
    """Further arguments of `Signer.sign`."""

    expires_in: TimeSpan
    playback_restriction_id: str | None
    extra_claims: Mapping[str, object] | None


def _base64url(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


@hides_methods
class Signer:
    """Signs tokens (JWT, RS256) with one of the account's signing keys.

    The constructor takes 0.5 ms and a signature 0.25 ms, so both may run in the event loop. Use `sign_each` for many tokens. A signer may
    be kept for the lifetime of a program and used by any number of tasks.

    Args:
        key_id: Id of the signing key.
        private_key: Its private key: as Mux returned it (base64 of a PEM), as a PEM (PKCS#1 or PKCS#8), or loaded.
        key_id_in: The part of the token that names the key. Mux's clients differ (facts/BEHAVIOUR.md, section 8.2); Mux reads both parts.
        cache: Reuses tokens that are still fresh. Without a cache, every call signs.
        clock: Returns Unix seconds.

    Raises:
        ConfigurationError: The key is not an RSA private key, is damaged, too short, or has a password.
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
        if len(key_id) > 255:  # the message does not repeat it, because it may be the private key
            raise ConfigurationError("the signing key id is too long for an id; were id and private key swapped?")
        self._key: Final = read_private_key(private_key)
        self._key_id: Final = check_id(key_id, "signing key id")
        # The header is the same in every token. A JWT library encodes it for each token, which is half of its cost.
        kid = {} if key_id_in == "payload" else {"kid": key_id}
        self._header: Final = _base64url(orjson.dumps({"alg": "RS256", **kid, "typ": "JWT"}))
        self._in_payload: Final = key_id_in != "header"
        self._cache: Final = cache
        self._clock: Final = clock

    @classmethod
    def from_environment(cls, *, cache: TokenCache | None = None, clock: Callable[[], float] = time.time) -> Signer:
        """Return a signer with the key in ``MUX_SIGNING_KEY`` (its id) and ``MUX_PRIVATE_KEY``.

        Raises:
            MissingCredentialsError: One of them is not set.
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
        """Return a signer with a key from a file, which is read in a worker thread. The file has one of the forms of *private_key*.

        Raises:
            ConfigurationError: The file cannot be read, or the key cannot be used.
        """
        content = await anyio.to_thread.run_sync(read_file, Path(path))
        return cls(key_id, content, key_id_in=key_id_in, cache=cache, clock=clock)

    @property
    def key_id(self) -> str:
        """Id of the signing key."""
        return self._key_id

    @property
    def public_keys(self) -> Mapping[str, RSAPublicKey]:
        """The public key by its id, as `verify` takes it."""
        return {self._key_id: self._key.public_key()}

    @overload
    def sign(
        self, playback_id: str, kind: Literal["video"] = "video", *, params: VideoParams = ..., **options: Unpack[SignOptions]
    ) -> str: ...
    @overload
    def sign(
        self, playback_id: str, kind: Literal["thumbnail"], *, params: ThumbnailParams = ..., **options: Unpack[SignOptions]
    ) -> str: ...
    @overload
    def sign(
        self, playback_id: str, kind: Literal["gif"], *, params: AnimatedParams = ..., **options: Unpack[SignOptions]
    ) -> str: ...
    @overload
    def sign(
        self, playback_id: str, kind: Literal["storyboard"], *, params: StoryboardParams = ..., **options: Unpack[SignOptions]
    ) -> str: ...
    @overload
    def sign(self, playback_id: str, kind: Kind, *, params: NoParams = ..., **options: Unpack[SignOptions]) -> str: ...
    def sign(
        self,
        playback_id: str,
        kind: Kind = "video",
        *,
        params: AnyParams | None = None,
        expires_in: TimeSpan = DEFAULT_LIFETIME,
        playback_restriction_id: str | None = None,
        extra_claims: Mapping[str, object] | None = None,
    ) -> str:
        """Return a token for a signed playback id.

        Args:
            playback_id: The playback id.
            kind: The use of the token. ``video`` is for streams, subtitles, transcripts and static renditions; ``thumbnail``, ``gif`` and
                ``storyboard`` for images; ``drm_license`` for DRM licences (the stream also needs a ``video`` token); ``stats`` for viewer
                counts.
            params: The parameters that would be in the URL's query if the id were public. Mux ignores a query beside a token.
            expires_in: Lifetime of the token. Mux refuses segments after it, so it must be longer than the playback.
            playback_restriction_id: A playback restriction that must be met as well.
            extra_claims: Other claims. Put your own data into ``{"custom": {...}}``.

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
        expires_in: TimeSpan = DEFAULT_LIFETIME,
        playback_restriction_id: str | None = None,
    ) -> dict[str, str]:
        """Return tokens of several kinds by the names of Mux Player's attributes: ``playback-token``, ``thumbnail-token``, ...

        Args:
            playback_id: The playback id.
            kinds: The kinds of tokens.
            params: Parameters by kind: ``{"thumbnail": {"time": 2}}``.
            expires_in: Lifetime of the tokens.
            playback_restriction_id: A playback restriction that must be met as well.

        Raises:
            InvalidRequestError: An argument cannot be signed; no token was signed.
        """
        given = cast("Mapping[Kind, AnyParams]", params or {})
        if unexpected := given.keys() - set(kinds):
            raise InvalidRequestError(f"params are given for {min(unexpected)!r}, and kinds has only {', '.join(kinds)}")
        prepared: dict[Kind, Claims] = {
            kind: playback_claims(TokenRequest(playback_id, kind, given.get(kind, {}), expires_in, playback_restriction_id))
            for kind in kinds
        }
        return {TOKEN_NAMES[kind]: self._sign(claims, expires_in) for kind, claims in prepared.items()}

    def sign_viewer_counts(self, id: str, of: CountsOf = "video", *, expires_in: TimeSpan = DEFAULT_LIFETIME) -> str:
        """Return a token for the viewer counts of a video (the ``video_id`` of Mux Data), an asset, a playback id or a live stream.

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
        expires_in: TimeSpan = DEFAULT_LIFETIME,
    ) -> str:
        """Return a token to join a space (a product that Mux ended in 2023).

        Args:
            space_id: The space.
            role: ``publisher`` (Mux's default) or ``subscriber``.
            participant_id: Name of the participant; only one participant can use it at a time.
            expires_in: Lifetime of the token.

        Raises:
            InvalidRequestError: An argument cannot be signed.
        """
        return self._sign(space_claims(space_id, role, participant_id), expires_in)

    async def sign_each(self, requests: Iterable[TokenRequest]) -> list[str]:
        """Return tokens for many requests, in their order. More than four are signed in a worker thread, in chunks of 64.

        Cancelling takes effect between chunks; tokens that were signed stay in the cache.

        Raises:
            InvalidRequestError: A request cannot be signed; no token of its chunk was signed.
        """
        tokens: list[str] = []
        remaining = iter(requests)
        while chunk := list(islice(remaining, _CHUNK)):
            now = self._clock()
            claims = [self._with_expiry(playback_claims(each), seconds(each.expires_in), now) for each in chunk]
            cached = [self._cached(each, now) for each in claims]
            missing = [each for each, token in zip(claims, cached, strict=True) if token is None]
            sign_missing = partial(list[str], map(self._encode, missing))
            signed = sign_missing() if len(missing) <= _FEW else await anyio.to_thread.run_sync(sign_missing)
            for each, token in zip(missing, signed, strict=True):
                self._store(each, token, now)
            new = iter(signed)
            tokens += [token if token is not None else next(new) for token in cached]
        return tokens

    def _sign(self, claims: Claims, expires_in: TimeSpan) -> str:
        now = self._clock()
        claims = self._with_expiry(claims, seconds(expires_in), now)
        token = self._cached(claims, now)
        if token is None:
            token = self._encode(claims)
            self._store(claims, token, now)
        return token

    def _with_expiry(self, claims: Claims, lifetime: int, now: float) -> Claims:
        """Add the remaining claims in the order of Mux's Node client: parameters, kid, sub, aud, exp."""
        subject, audience = claims.pop("sub"), claims.pop("aud")
        if self._in_payload:
            claims["kid"] = self._key_id
        claims["sub"], claims["aud"], claims["exp"] = subject, audience, int(now) + lifetime
        return claims

    def _encode(self, claims: Claims) -> str:
        text = self._header + b"." + _base64url(orjson.dumps(claims))
        return (text + b"." + _base64url(sign(self._key, text))).decode()

    def _cached(self, claims: Claims, now: float) -> str | None:
        return None if self._cache is None else self._cache.get(self._cache_key(claims, now), now)

    def _store(self, claims: Claims, token: str, now: float) -> None:
        if self._cache is not None:
            expires: Any = claims["exp"]
            self._cache.put(self._cache_key(claims, now), token, now, expires)

    def _cache_key(self, claims: Claims, now: float) -> str:
        """Identify a token by everything but the time of signing."""
        expires: Any = claims["exp"]
        return repr((self._header, {**claims, "exp": expires - int(now)}))

    def __repr__(self) -> str:
        return f"<Signer key_id={getattr(self, '_key_id', None)!r}>"  # works even if the constructor failed

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a Signer cannot be pickled, because it contains a private key; create another one where it is needed")
