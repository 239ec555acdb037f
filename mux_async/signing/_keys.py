"""The two halves of a signing key, out of the forms they come in (facts/BEHAVIOUR.md, section 8.1).

OpenSSL checks a private key's primes when it reads it, which takes 30 ms and holds the interpreter all the while, in whichever thread it
is done. Keys here come from the program's own settings, so what has to be told is a damaged one from a whole one, and that takes one
signature, checked with the public half: 0.3 ms (docs/decisions/signing-keys.md).
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
"""A private key: PEM (PKCS#1 or PKCS#8), base64 of it as Mux gives it out, or one that is loaded already."""
PublicKey: TypeAlias = str | bytes | rsa.RSAPublicKey
"""A public key: PEM, or one that is loaded already."""

JWS: Final = jwt.PyJWS(algorithms=["RS256"])
"""Checks by RS256, and by nothing else."""
_PADDING: Final = padding.PKCS1v15()
_HASH: Final = hashes.SHA256()
MIN_BITS: Final = 2048


def from_environment(environ: Mapping[str, str] | None = None) -> tuple[str, str]:
    """Return id and private key from ``MUX_SIGNING_KEY`` and ``MUX_PRIVATE_KEY``, which Mux's own clients read too.

    Raises:
        MissingCredentialsError: One is not set.
    """
    key_id, private_key = read_variable("MUX_SIGNING_KEY", environ), read_variable("MUX_PRIVATE_KEY", environ)
    missing = [name for name, value in (("MUX_SIGNING_KEY", key_id), ("MUX_PRIVATE_KEY", private_key)) if not value]
    if missing or not key_id or not private_key:
        raise MissingCredentialsError(
            f"no signing key: set {' and '.join(missing)}, or pass Signer(key_id, private_key); "
            f"signing keys are made in the Mux dashboard, or with mux.system.signing_keys.create()"
        )
    return key_id, private_key


def read_private_key(given: PrivateKey | None) -> rsa.RSAPrivateKey:
    """Return a private key that can sign.

    Raises:
        MissingCredentialsError: None was given.
        ConfigurationError: It is no RSA private key of 2048 bits or more, is damaged, or has a password. The message never shows it.
    """
    if given is None:
        raise MissingCredentialsError(
            "the private key is None: only the answer that created a signing key has it; keep it then, or create another"
        )
    text: Any = given.reveal() if isinstance(given, Secret) else given  # whatever a user passes
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
        raise ConfigurationError("the private key is damaged: what it signs does not verify; was it copied whole?") from None
    return key


def sign(key: rsa.RSAPrivateKey, text: bytes) -> bytes:
    """Return the signature of *text* by RS256 (RFC 7518, section 3.3)."""
    return key.sign(text, _PADDING, _HASH)


def _load(pem: bytes) -> rsa.RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(f"the private key cannot be read; was it copied whole? Pass {FORMS}") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ConfigurationError("the private key is not of the RSA kind, and Mux's tokens are signed with RS256")
    return key


def read_file(path: Path) -> bytes:
    """Return what is in a key file.

    Raises:
        ConfigurationError: It cannot be read, or is far too large.
    """
    text = str(path)
    if "-----BEGIN" in text or text.startswith("LS0t") or len(text) > MAX_LENGTH:  # not shown, and not left in a traceback
        raise ConfigurationError(
            "the private key was given where a file's name goes; Signer(key_id, private_key) takes the key itself"
        )
    try:
        with path.open("rb") as file:
            return file.read(MAX_LENGTH + 1)
    except OSError as error:
        raise ConfigurationError(f"the private key file {str(path)!r} cannot be read: {error.strerror or error}") from error


def read_public_key(given: PublicKey) -> rsa.RSAPublicKey:
    """Return a public key that can verify.

    Raises:
        ConfigurationError: It is no RSA public key of 2048 bits or more.
    """
    if isinstance(given, rsa.RSAPublicKey):
        key: object = given
    else:
        try:
            key = serialization.load_pem_public_key(to_public_pem(given))
        except (ValueError, UnsupportedAlgorithm):
            raise ConfigurationError(
                "the public key cannot be read; it is a PEM that begins with -----BEGIN PUBLIC KEY-----"
            ) from None
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_BITS:
        raise ConfigurationError(
            f"the public key is not RSA of {MIN_BITS} bits or more, and Mux's tokens are signed with RS256"
        )
    return key
