"""Signing keys for tests: made once, because making one takes a while."""

from __future__ import annotations

from base64 import b64encode
from functools import cache

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

KEY_ID = "Keyx01Zl2Lw8QTSq00cPLY2mbZTLKNvtGuhJkT1CaC5w"
PLAYBACK_ID = "DS00Spx1CV902MCtPj5WknGlR102V5HFkDe"
NOW = 1_767_225_600
"""The first second of 2026."""


@cache
def private_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Key *number*."""
    del number
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def pem(format: PrivateFormat = PrivateFormat.TraditionalOpenSSL, key: rsa.RSAPrivateKey | None = None) -> bytes:
    """As PEM: PKCS#1, as Mux gives it out, or PKCS#8."""
    return (key or private_key()).private_bytes(Encoding.PEM, format, NoEncryption())


def as_mux_shows_it() -> str:
    return b64encode(pem()).decode()


def public_pem() -> bytes:
    return private_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def encrypted_pem() -> bytes:
    return private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"password"))


def traditionally_encrypted_pem() -> bytes:
    """As OpenSSL wrote it before PKCS#8: the label says nothing of the password, a header does."""
    older = PrivateFormat.TraditionalOpenSSL
    return private_key().private_bytes(Encoding.PEM, older, serialization.BestAvailableEncryption(b"password"))
