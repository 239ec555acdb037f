"""Load the private and public key of a signing key, in all forms in which they are stored (facts/BEHAVIOUR.md, section 8.1).

OpenSSL checks a private key's primes when it loads the key, which takes 30 ms and holds the GIL in every thread. Keys come from the
program's own settings here, so it is enough to detect damaged ones, and one signature, verified with the public key, does that in 0.3 ms
(docs/decisions/signing-keys.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from mux_async._setting_text import read_variable
from mux_async._types import Secret
from mux_async.errors import ConfigurationError, MissingCredentialsError, MissingExtraError
from mux_async.signing._pem import FORMS, MAX_LENGTH, to_pem, to_public_pem

try:
    import jwt
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
except ImportError:
    raise MissingExtraError("signing", "PyJWT and cryptography", "jwt") from None

PrivateKey: TypeAlias = str | bytes | Secret | rsa.RSAPrivateKey
"""A private key: PEM (PKCS#1 or PKCS#8), base64 of a PEM as Mux returns it, or a loaded key."""
PublicKey: TypeAlias = str | bytes | rsa.RSAPublicKey
"""A public key: PEM, or a loaded key."""

JWS: Final = jwt.PyJWS(algorithms=["RS256"])
"""Verifies RS256 and no other algorithm."""
_PADDING: Final = padding.PKCS1v15()
_HASH: Final = hashes.SHA256()
MIN_BITS: Final = 2048


def from_environment(environ: Mapping[str, str] | None = None) -> tuple[str, str]:
    """Return the id and the private key from ``MUX_SIGNING_KEY`` and ``MUX_PRIVATE_KEY``, which Mux's own clients read too."""
    key_id, private_key = read_variable("MUX_SIGNING_KEY", environ), read_variable("MUX_PRIVATE_KEY", environ)
    missing = [name for name, value in (("MUX_SIGNING_KEY", key_id), ("MUX_PRIVATE_KEY", private_key)) if not value]
    if missing or not key_id or not private_key:
        raise MissingCredentialsError(
            f"no signing key: set {' and '.join(missing)}, or pass Signer(key_id, private_key); "
            f"create signing keys in the Mux dashboard, or with mux.system.signing_keys.create()"
        )
    return key_id, private_key


def read_private_key(given: PrivateKey | None) -> rsa.RSAPrivateKey:
    """Return a private key that can sign.

    Raises `ConfigurationError` if it is missing, damaged, encrypted, or not an RSA key of 2048 bits or more. The message never contains
    it.
    """
    if given is None:
        raise MissingCredentialsError(
            "the private key is None: Mux returns it only once, when the signing key is created; store it then, or create another key"
        )
    text: Any = given.reveal() if isinstance(given, Secret) else given  # callers may pass any type
    if isinstance(text, rsa.RSAPrivateKey):
        key = text
    elif isinstance(text, str | bytes):
        key = _load(to_pem(text))
    else:
        raise ConfigurationError(f"private_key is of type {type(text).__name__}; it must be text, bytes or an RSAPrivateKey")
    if key.key_size < MIN_BITS:
        raise ConfigurationError(f"the private key has {key.key_size} bits; Mux's signing keys have {MIN_BITS}")
    try:
        key.public_key().verify(sign(key, b"probe"), b"probe", _PADDING, _HASH)
    except (InvalidSignature, ValueError):
        raise ConfigurationError(
            "the private key is damaged: its signatures do not verify; was it copied completely?"
        ) from None
    return key


def sign(key: rsa.RSAPrivateKey, text: bytes) -> bytes:
    """Return the signature of *text* by RS256 (RFC 7518, section 3.3)."""
    return key.sign(text, _PADDING, _HASH)


def _load(pem: bytes) -> rsa.RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(f"the private key cannot be read; was it copied completely? Pass {FORMS}") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ConfigurationError("the private key is not an RSA key, and Mux's tokens are signed with RS256")
    return key


def read_file(path: Path) -> bytes:
    """Return the content of a key file. Raises `ConfigurationError`, also if *path* is the key itself."""
    text = str(path)
    if (
        "-----BEGIN" in text or text.startswith("LS0t") or len(text) > MAX_LENGTH
    ):  # the key must not get into a message or a traceback
        raise ConfigurationError(
            "the private key was passed as the path of a file; Signer(key_id, private_key) takes the key itself"
        )
    try:
        with path.open("rb") as file:
            return file.read(MAX_LENGTH + 1)
    except OSError as error:
        raise ConfigurationError(f"the private key file {str(path)!r} cannot be read: {error.strerror or error}") from error


def read_public_key(given: PublicKey) -> rsa.RSAPublicKey:
    """Return a public key; raise `ConfigurationError` if it is not an RSA public key of 2048 bits or more."""
    if isinstance(given, rsa.RSAPublicKey):
        key: object = given
    else:
        try:
            key = serialization.load_pem_public_key(to_public_pem(given))
        except (ValueError, UnsupportedAlgorithm):
            raise ConfigurationError(
                "the public key cannot be read; pass a PEM that begins with -----BEGIN PUBLIC KEY-----"
            ) from None
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_BITS:
        raise ConfigurationError(
            f"the public key is not an RSA key of {MIN_BITS} bits or more, and Mux's tokens are signed with RS256"
        )
    return key
