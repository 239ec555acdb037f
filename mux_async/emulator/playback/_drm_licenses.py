"""The license host: DRM licenses and FairPlay's application certificate (facts/BEHAVIOUR.md, section 8.4).

``license.mux.com/license/{widevine|playready|fairplay}/{PLAYBACK_ID}`` and ``/appcert/fairplay/{PLAYBACK_ID}`` are served on the
emulator's own origin. Tokens are checked as Mux checks them. A response has the form of a license but decrypts nothing, because nothing
here is encrypted. The certificate is a real one, for a key that depends on the seed.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256, sha512

from mux_async.emulator.http._messages import ApiError, Request, Response, invalid, not_found, text
from mux_async.emulator.playback._tokens import check_token
from mux_async.emulator.resources._playback_restrictions import check_restriction
from mux_async.emulator.state._ids import is_well_formed
from mux_async.emulator.state._state import Environment, State
from mux_async.errors import MissingExtraError

FAMILIES = frozenset({"license", "appcert"})
"""First parts of its paths."""
_AUDIENCE = "d"
_SOAP = (
    '<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>'
    '<AcquireLicenseResponse xmlns="http://schemas.microsoft.com/DRM/2007/03/protocols"><AcquireLicenseResult>{}'
    "</AcquireLicenseResult></AcquireLicenseResponse></soap:Body></soap:Envelope>"
)


def answer_license(request: Request, state: State, body: bytes) -> Response:
    """Answer a request to the license host. *body* is what the player's decryption module asks for.

    Raises:
        ApiError: 400 without a token or for a malformed id; 403 for a token that is not valid here, or a playback id that is unknown or
            needs no license; 404 for another path, verb or system.
    """
    match request.method, request.segments:
        case "POST", ("license", system, playback_id) if system in _SYSTEMS:
            _check(request, state, playback_id)
            if not body:
                raise invalid("The request for a license is empty")
            digest = hmac.new(state.id_generator.key("license"), f"{system}/{playback_id}/".encode() + body, sha512).digest()
            return _SYSTEMS[system](digest)
        case "GET", ("appcert", "fairplay", playback_id):
            _check(request, state, playback_id)
            return text(200, _certificate(state), "application/octet-stream")
        case _:
            raise not_found()


def _check(request: Request, state: State, id: str) -> None:
    token = request.query.get("token")
    if not token:
        raise invalid("The URL has no license token")
    if not is_well_formed(id):
        raise invalid("Failed to parse ID")
    found = state.find_playback(id)
    if found is None:
        raise ApiError(403, "forbidden", "There is no such playback id")
    environment, _ = found
    claims = check_token(token, environment, id, _AUDIENCE, state.now)
    if "playback_restriction_id" in claims:
        check_restriction(request, environment, claims["playback_restriction_id"])
    if _policy(environment, id) != "drm":
        raise ApiError(403, "forbidden", "The playback id is not protected by DRM and needs no license")


def _policy(environment: Environment, id: str) -> str:
    owner = environment.playback[id]
    holder = (environment.assets if owner.type == "asset" else environment.live_streams)[owner.id]
    return next(entry.policy for entry in holder.playback_ids if entry.id == id)


def _widevine(digest: bytes) -> Response:
    """A ``SignedMessage`` in protobuf: its type (2, a license), its content, and a signature."""
    content, signature = digest[:32], digest[32:]
    message = b"\x08\x02" + b"\x12" + bytes([len(content)]) + content + b"\x1a" + bytes([len(signature)]) + signature
    return text(200, message, "application/octet-stream")


def _playready(digest: bytes) -> Response:
    return text(
        200, _SOAP.format(f"<Response><LicenseNonce>{digest.hex()}</LicenseNonce></Response>"), "text/xml; charset=utf-8"
    )


def _fairplay(digest: bytes) -> Response:
    """A content key context: bytes that only Apple's module reads."""
    return text(200, digest, "application/octet-stream")


_SYSTEMS: Mapping[str, Callable[[bytes], Response]] = {
    "fairplay": _fairplay,
    "playready": _playready,
    "widevine": _widevine,
}


def _certificate(state: State) -> bytes:
    """A self-signed X.509 certificate, in DER."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise MissingExtraError("making a certificate in the emulator", "cryptography", "jwt") from None
    key = ec.derive_private_key(int.from_bytes(state.id_generator.key("fairplay")[1:], "big") + 1, ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "FairPlay of an emulator")])
    generated = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(sha256(state.id_generator.key("fairplay")).digest()[:8], "big") | 1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    return generated.public_bytes(serialization.Encoding.DER)
