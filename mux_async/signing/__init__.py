"""Tokens for signed playback: `Signer` makes them, `verify` checks them. Needs the extra ``jwt``.

Import it at the top of a program: the libraries under it take 0.1 s to load, which would block an event loop.
"""

from mux_async._time_spans import TimeSpan
from mux_async.signing._cache import TokenCache
from mux_async.signing._claims import TOKEN_NAMES, CountsOf, SpaceRole, TokenRequest
from mux_async.signing._keys import PrivateKey, PublicKey
from mux_async.signing._signer import KeyIdIn, Signer, SignOptions
from mux_async.signing._verify import Reason, TokenRefusedError, VerifiedToken, verify

__all__ = [
    "TOKEN_NAMES",
    "CountsOf",
    "KeyIdIn",
    "PrivateKey",
    "PublicKey",
    "Reason",
    "SignOptions",
    "Signer",
    "SpaceRole",
    "TimeSpan",
    "TokenCache",
    "TokenRefusedError",
    "TokenRequest",
    "VerifiedToken",
    "verify",
]
