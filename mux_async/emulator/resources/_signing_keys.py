"""Signing keys, under both generations of their path (facts/BEHAVIOUR.md, section 8.1)."""

from __future__ import annotations

from base64 import b64encode

from mux_async.emulator.http._messages import Response, created
from mux_async.emulator.resources._collections import delete_route, list_route, retrieve_route
from mux_async.emulator.routing._router import ApiCall, Route
from mux_async.emulator.state._serialization import present
from mux_async.emulator.state._state import Environment, SigningKey
from mux_async.emulator.validation._validation import read_json
from mux_async.errors import MissingExtraError

_KEY_BITS = 2048


def _generate() -> tuple[bytes, bytes]:
    """Return the private key as PKCS#1 PEM and the public one as PEM."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa
    except ImportError:
        raise MissingExtraError("creating a signing key in the emulator", "cryptography", "jwt") from None
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private, public


def _create(call: ApiCall) -> Response:
    read_json(call.body)
    private, public = _generate()
    key = SigningKey(*call.state.identity("signing key"), public)
    call.environment.signing_keys[key.id] = key
    return created({**present(key), "private_key": b64encode(private).decode()})


def _keys(environment: Environment) -> dict[str, SigningKey]:
    return environment.signing_keys


_MISSING = "Signing Key not found"
ROUTES = tuple(
    route
    for path in ("/system/v1/signing-keys", "/video/v1/signing-keys")
    for route in (
        Route("POST", path, _create),
        list_route(path, _keys),
        retrieve_route(path, "SIGNING_KEY_ID", _keys, present, _MISSING),
        delete_route(path, "SIGNING_KEY_ID", _keys, _MISSING),
    )
)
