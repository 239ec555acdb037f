"""Find the private key in the text of a setting: detect its form, and explain forms that cannot be used.

The input is text, the output is bytes for OpenSSL. Every form that contains the key is accepted, however it was wrapped; every other
form has its own error message.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from typing import Final

from mux_async._setting_text import text_of, unwrap_setting
from mux_async.errors import ConfigurationError

MAX_LENGTH: Final = 32_768
FORMS: Final = "the text that Mux returned when the key was created (base64 of a PEM), or the PEM itself, PKCS#1 or PKCS#8"

_BLOCK: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)(?:-----END \1-----|\Z)", re.DOTALL)
_KEYS: Final = ("RSA PRIVATE KEY", "PRIVATE KEY")
_ENCRYPTED: Final = "the private key is encrypted with a password; decrypt it first, as with openssl rsa"
_NOT_RSA: Final = "the private key is not an RSA key, and Mux's tokens are signed with RS256"
_NESTED: Final = 3
"""Maximum nesting of base64: Mux encodes the key once, and users sometimes encode it again."""
_DER: Final = b"\x30\x82"
"""The first bytes of a DER key of this size: a sequence, and the length of its length."""


def to_pem(given: str | bytes) -> bytes:
    """Return the PEM of the private key in *given*. Raises a `ConfigurationError` that says what was found, and never contains it."""
    if len(given) > MAX_LENGTH:
        raise ConfigurationError(f"the private key has {len(given)} bytes, far more than a key has; pass {FORMS}")
    raw = given
    for _ in range(_NESTED):
        if isinstance(raw, bytes) and raw.startswith(_DER):
            return _wrap("RSA PRIVATE KEY" if _is_pkcs1(raw) else "PRIVATE KEY", b64encode(raw).decode())
        text = text_of(raw) if isinstance(raw, bytes) else raw
        if text is None:
            break
        text = unwrap_setting(_with_line_breaks(text))
        if "-----BEGIN" in text:
            return _choose(text)
        _refuse_others(text)
        try:
            raw = _decode(text)
        except binascii.Error:
            break
    raise ConfigurationError(
        f"the private key is neither PEM nor base64 of a PEM; pass {FORMS}. For a file use Signer.load(key_id, Path(...))"
    )


def to_public_pem(given: str | bytes) -> bytes:
    """Return the PEM of a public key, unwrapped in the same way; anything else is returned unchanged."""
    text = (text_of(given) or "") if isinstance(given, bytes) else given
    text = unwrap_setting(_with_line_breaks(text))
    if "-----BEGIN" not in text:
        try:
            text = _with_line_breaks(text_of(_decode(text)) or "")
        except binascii.Error:
            return text.encode("utf-8", "replace")
    found = next((match for match in _BLOCK.finditer(text) if match[1] in {"PUBLIC KEY", "RSA PUBLIC KEY"}), None)
    return text.encode("utf-8", "replace") if found is None else _wrap(found[1], found[2])


def _with_line_breaks(text: str) -> str:
    """Replace escaped line breaks (``\\n``), as in settings of a single line, by real ones."""
    return re.sub(r"\\+r\\+n|\\+n|\\+r|\r\n|\r", "\n", text)


def _decode(text: str) -> bytes:
    """Decode base64 of either alphabet, with or without padding."""
    packed = "".join(text.split()).translate(str.maketrans("-_", "+/")).rstrip("=")
    if not packed or not packed.isascii():
        raise binascii.Error
    return b64decode(packed + "=" * (-len(packed) % 4), validate=True)


def _choose(text: str) -> bytes:
    """Return the private key among the PEM blocks of *text*, without attributes, comments and certificates around it."""
    blocks = [(match[1], match[2]) for match in _BLOCK.finditer(text)]
    found = next((block for block in blocks if block[0] in _KEYS), None)
    if found is None:
        raise _unusable([label for label, _ in blocks])
    label, body = found
    if "ENCRYPTED" in body:  # Proc-Type: 4,ENCRYPTED
        raise ConfigurationError(_ENCRYPTED)
    return _wrap(label, body)


def _wrap(label: str, body: str) -> bytes:
    packed = "".join(body.split())
    lines = [packed[at : at + 64] for at in range(0, len(packed), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode("utf-8", "replace")


def _unusable(labels: list[str]) -> ConfigurationError:
    if "ENCRYPTED PRIVATE KEY" in labels:
        return ConfigurationError(_ENCRYPTED)
    if "OPENSSH PRIVATE KEY" in labels:
        return ConfigurationError(
            "the private key is in OpenSSH's own format; if it is Mux's key, convert a copy to PEM (ssh-keygen -p -m PEM -f COPY), "
            f"or pass {FORMS}"
        )
    if any(label.endswith("PRIVATE KEY") for label in labels):
        return ConfigurationError(_NOT_RSA)
    if any("PUBLIC KEY" in label or "CERTIFICATE" in label for label in labels):
        return ConfigurationError(f"the private key is a public key or a certificate; pass {FORMS}")
    return ConfigurationError(f"the private key cannot be read; was it copied completely? Pass {FORMS}")


def _refuse_others(text: str) -> None:
    if text.startswith(("ssh-", "ecdsa-", "sk-ssh-")):
        raise ConfigurationError(f"the private key is a public key of OpenSSH; pass {FORMS}")
    if text.startswith("PuTTY-User-Key-File"):
        raise ConfigurationError(f"the private key is in PuTTY's own format; export it as PEM in PuTTYgen, or pass {FORMS}")
    if text.startswith("{"):
        raise ConfigurationError(f"the private key is a JSON object; pass the text of its member private_key: {FORMS}")


def _is_pkcs1(der: bytes) -> bool:
    """Whether DER is PKCS#1: its version is followed by an integer, the modulus, where PKCS#8 has a sequence."""
    return der[4:8] == b"\x02\x01\x00\x02"
