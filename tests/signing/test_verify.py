"""Verification refuses tokens that are forged, damaged or out of date."""

from __future__ import annotations

import hashlib
import hmac
import json
import warnings
from base64 import urlsafe_b64encode
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from hypothesis import given
from hypothesis import strategies as st

from mux_async.errors import ConfigurationError
from mux_async.signing import Signer, TokenRefusedError, VerifiedToken, verify
from tests.signing import keys

SIGNER = Signer(keys.KEY_ID, keys.private_key(), clock=lambda: keys.NOW)
CLAIMS = {"kid": keys.KEY_ID, "sub": "id", "aud": "v", "exp": keys.NOW + 60}
HEADER = {"alg": "RS256", "typ": "JWT", "kid": keys.KEY_ID}


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def forge(header: object, claims: object, key: Any = None) -> str:
    """Sign anything with the right key, whatever the header says."""
    signed = f"{part(header)}.{part(claims)}"
    signature = (key or keys.private_key()).sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{part(signature)}"


def check(token: str, **options: Any) -> VerifiedToken:
    asked: dict[str, Any] = {"audience": "v", "subject": "id", "now": keys.NOW, **options}
    return verify(token, {keys.KEY_ID: keys.public_pem()}, **asked)


def hs256_with_the_public_key() -> str:
    signed = f"{part({**HEADER, 'alg': 'HS256'})}.{part(CLAIMS)}"
    return f"{signed}.{part(hmac.digest(keys.public_pem(), signed.encode(), hashlib.sha256))}"


def good() -> str:
    return forge(HEADER, CLAIMS)


def ends_with(token: str, signature: str) -> str:
    return f"{token.rpartition('.')[0]}.{signature}"


HOSTILE: dict[str, tuple[str, str]] = {
    "alg none": (f"{part({**HEADER, 'alg': 'none'})}.{part(CLAIMS)}.", "algorithm"),
    "alg None": (f"{part({**HEADER, 'alg': 'None'})}.{part(CLAIMS)}.{part(b'x')}", "algorithm"),
    "alg missing": (forge({"typ": "JWT", "kid": keys.KEY_ID}, CLAIMS), "algorithm"),
    "alg null": (forge({**HEADER, "alg": None}, CLAIMS), "algorithm"),
    "alg a list": (forge({**HEADER, "alg": ["RS256"]}, CLAIMS), "algorithm"),
    "alg in other letters": (forge({**HEADER, "alg": "rs256"}, CLAIMS), "algorithm"),
    "PS256": (forge({**HEADER, "alg": "PS256"}, CLAIMS), "algorithm"),
    "RS512": (forge({**HEADER, "alg": "RS512"}, CLAIMS), "algorithm"),
    "HS256 with the public key": (hs256_with_the_public_key(), "algorithm"),
    "crit": (forge({**HEADER, "crit": ["exp"]}, CLAIMS), "malformed"),
    "crit empty": (forge({**HEADER, "crit": []}, CLAIMS), "malformed"),
    "b64 said to matter": (forge({**HEADER, "b64": True, "crit": ["b64"]}, CLAIMS), "malformed"),
    "detached": (forge({**HEADER, "b64": False, "crit": ["b64"]}, CLAIMS), "malformed"),
    "own key in the header": (forge({"alg": "RS256", "jwk": {"kty": "RSA"}}, {**CLAIMS, "kid": "mine"}), "unknown_key"),
    "unknown kid": (forge({**HEADER, "kid": "other"}, CLAIMS), "unknown_key"),
    "header's kid wins": (forge({**HEADER, "kid": "other"}, {**CLAIMS, "kid": keys.KEY_ID}), "unknown_key"),
    "kid null": (forge({**HEADER, "kid": None}, CLAIMS), "malformed"),
    "kid a number": (forge({**HEADER, "kid": 5}, CLAIMS), "malformed"),
    "kid a list": (forge({"alg": "RS256"}, {**CLAIMS, "kid": [keys.KEY_ID]}), "unknown_key"),
    "kid a path": (forge({**HEADER, "kid": "../../dev/null"}, CLAIMS), "unknown_key"),
    "no kid": (forge({"alg": "RS256"}, {"sub": "id", "aud": "v", "exp": keys.NOW + 60}), "unknown_key"),
    "another key's signature": (forge(HEADER, CLAIMS, keys.private_key(1)), "signature"),
    "claims changed": (
        ".".join([part(HEADER), part({**CLAIMS, "exp": keys.NOW + 61}), good().rpartition(".")[2]]),
        "signature",
    ),
    "signature of nothing": (ends_with(good(), part(b"\x00" * 256)), "signature"),
    "short signature": (ends_with(good(), part(b"x")), "signature"),
    "no signature": (ends_with(good(), ""), "signature"),
    "expired": (forge(HEADER, {**CLAIMS, "exp": keys.NOW}), "expired"),
    "no exp": (forge(HEADER, {"kid": keys.KEY_ID, "sub": "id", "aud": "v"}), "claims"),
    "exp null": (forge(HEADER, {**CLAIMS, "exp": None}), "claims"),
    "exp NaN": (forge(HEADER, {**CLAIMS, "exp": float("nan")}), "claims"),
    "exp infinite": (forge(HEADER, {**CLAIMS, "exp": float("inf")}), "claims"),
    "exp enormous": (forge(HEADER, {**CLAIMS, "exp": 10**400}), "claims"),
    "exp as text": (forge(HEADER, {**CLAIMS, "exp": str(keys.NOW + 60)}), "claims"),
    "exp true": (forge(HEADER, {**CLAIMS, "exp": True}), "claims"),
    "not yet": (forge(HEADER, {**CLAIMS, "nbf": keys.NOW + 1}), "not_yet_valid"),
    "nbf as text": (forge(HEADER, {**CLAIMS, "nbf": "now"}), "claims"),
    "wrong aud": (forge(HEADER, {**CLAIMS, "aud": "t"}), "audience"),
    "no aud": (forge(HEADER, {**CLAIMS, "aud": None}), "audience"),
    "aud an object": (forge(HEADER, {**CLAIMS, "aud": {"v": 1}}), "audience"),
    "wrong sub": (forge(HEADER, {**CLAIMS, "sub": "id2"}), "subject"),
    "no sub": (forge(HEADER, {**CLAIMS, "sub": None}), "claims"),
    "sub a list": (forge(HEADER, {**CLAIMS, "sub": ["id"]}), "claims"),
    "empty": ("", "malformed"),
    "dots": ("..", "malformed"),
    "two parts": (good().rpartition(".")[0], "malformed"),
    "four parts": (f"{good()}.{part(b'x')}", "malformed"),
    "not ASCII": (good() + "\u0661", "malformed"),
    "half a character": ("\ud800", "malformed"),
    "spaces": (f" {good()}", "malformed"),
    "header no JSON": (f"{part(b'{')}.{part(CLAIMS)}.{part(b'x')}", "malformed"),
    "header a list": (forge([HEADER], CLAIMS), "malformed"),
    "claims a list": (forge(HEADER, [CLAIMS]), "malformed"),
    "claims no UTF-8": (forge(HEADER, b"\xff\xfe"), "malformed"),
    "claims deep": (forge(HEADER, b"[" * 5000), "malformed"),
    "header deep": (forge(b"[" * 5000, CLAIMS), "malformed"),
    "huge": (forge(HEADER, {**CLAIMS, "custom": "x" * 10_000}), "malformed"),
    "fifty megabytes": ("A" * 50_000_000, "malformed"),
    "ten thousand dots": ("." * 8000, "malformed"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name: str) -> None:
    """A forged token is refused with the reason, in an error that does not contain the token."""
    token, reason = HOSTILE[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TokenRefusedError) as caught:
            check(token)

    assert caught.value.reason == reason, caught.value
    assert len(str(caught.value)) < 300
    assert len(token) < 50 or token[-40:] not in str(caught.value)


def test_good() -> None:
    """What is as it should be is taken: with the key's id in either place, an audience in a list, a start in the past."""
    assert check(good()).claims == CLAIMS
    assert check(forge({"alg": "RS256"}, CLAIMS)).key_id == keys.KEY_ID
    no_kid = {name: value for name, value in CLAIMS.items() if name != "kid"}
    assert check(forge(HEADER, no_kid)).expires_at == keys.NOW + 60
    assert check(forge(HEADER, {**CLAIMS, "aud": ["t", "v"], "nbf": keys.NOW})).audience == "v"
    assert check(jwt.encode(CLAIMS, keys.private_key(), "RS256")).subject == "id"
    assert check(good(), subject=None).subject == "id"


def test_clocks() -> None:
    """A token is good until the second it names and not in it; leeway stretches both ends."""
    assert check(good(), now=keys.NOW + 59.9).subject == "id"
    assert check(good(), now=keys.NOW + 64.9, leeway=5).subject == "id"
    with pytest.raises(TokenRefusedError, match="expired 1 s ago"):
        check(good(), now=keys.NOW + 61)
    early = forge(HEADER, {**CLAIMS, "nbf": keys.NOW + 5})
    assert check(early, leeway=5).subject == "id"
    with pytest.raises(TokenRefusedError, match="valid only in 5 s"):
        check(early)
    assert verify(Signer(keys.KEY_ID, keys.private_key()).sign("id"), SIGNER.public_keys, audience="v").subject == "id"


def test_keys() -> None:
    """A public key that is none is a mistake of the program, not of the token."""
    for wrong in (b"nonsense", keys.private_key(0, 1024).public_key()):
        with pytest.raises(ConfigurationError, match="public key"):
            verify(good(), {keys.KEY_ID: wrong}, audience="v")
    with pytest.raises(TokenRefusedError, match="not among the given keys"):
        verify(good(), {}, audience="v")


@given(st.text(max_size=200) | st.lists(st.binary(max_size=60), min_size=1, max_size=4).map(lambda ps: ".".join(map(part, ps))))
def test_garbage(token: str) -> None:
    """Garbage is refused, and never anything else."""
    with pytest.raises(TokenRefusedError):
        check(token)


@given(st.integers(0, 2**31), st.integers(0, 7))
def test_one_bit(position: int, bit: int) -> None:
    """No bit of a token can be changed, but for those that base64 leaves unused at the end."""
    token = SIGNER.sign("id").encode()
    changed = bytearray(token)
    changed[position % len(token)] ^= 1 << bit
    if position % len(token) == len(token) - 1:
        return
    with pytest.raises(TokenRefusedError):
        check(changed.decode("latin-1"))
