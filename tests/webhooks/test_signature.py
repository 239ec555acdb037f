"""Signatures: Mux's own test vectors, what is refused and how the refusal is explained, and work that stays bounded."""

from __future__ import annotations

import hmac
import json
import math
import time
import traceback
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from starlette.datastructures import Headers as StarletteHeaders
from werkzeug.datastructures import Headers as WerkzeugHeaders

from mux_async import Secret
from mux_async.emulator import sign_webhook
from mux_async.errors import ConfigurationError, MuxError
from mux_async.webhooks import (
    BodyTooLargeError,
    EventFormatError,
    Headers,
    SignatureError,
    UnknownEvent,
    WebhookError,
    sign,
    unwrap,
    verify,
)
from mux_async.webhooks.events import AssetEvent
from tests.webhooks.samples import NOW, SECRET, body_of, headers_of

DIGEST = "0" * 64
VECTORS = [
    ("SuperSecret123", 1565125718, b'{"test":"body"}', "854ece4c22acef7c66b57d4e504153bc512595e8e9c772ece2a68150548c19a7"),
    (
        "SuperSecret123",
        1565125718,
        b'{"test":{"nested":{"nanos":718234, "seconds":1691711005}}}',
        "bd315c24bce1c2b8ad325696f26530c8ef7d7d830afb7c1381903705d04607be",
    ),
    ("SuperSecret123", 1591664030, b"payload", "e43496b6aae982c4c2fd6f8e92935f1d90216f1f64d56024e72390acfb988272"),
]


def signed(at: int | str, body: bytes, secret: str = SECRET) -> str:
    """Make a digest by the book, without our code."""
    return hmac.new(secret.encode(), f"{at}.".encode() + body, sha256).hexdigest()


def refused(body: bytes, header: str | None, secrets: Any = SECRET, now: float = NOW, **options: Any) -> SignatureError:
    headers = {} if header is None else {"Mux-Signature": header}
    with pytest.raises(SignatureError) as caught:
        unwrap(body, headers, secrets, now=now, **options)
    return caught.value


@pytest.mark.parametrize(("secret", "at", "body", "digest"), VECTORS)
def test_vectors(secret: str, at: int, body: bytes, digest: str) -> None:
    """The public test vectors verify, and ours are the same (facts/BEHAVIOUR.md, section 7.4)."""
    header = f"t={at},v1={digest}"

    verify(body, {"Mux-Signature": header}, secret, now=at)
    assert sign(body, secret, at=at) == header
    assert refused(body + b" ", header, secret, now=at).reason == "mismatch"


@given(
    st.binary(max_size=200),
    st.text(min_size=1, alphabet=st.characters(blacklist_categories=["Z", "C"])),
    st.integers(0, 10**11),
)
def test_emulator_agrees(body: bytes, secret: str, at: int) -> None:
    """What the emulator signs verifies, whatever it is, and one flipped bit does not."""
    header = sign_webhook(secret, at, body)

    verify(body, {"Mux-Signature": header}, secret, now=at)
    assert sign(body, secret, at=at) == header
    if body:
        with pytest.raises(SignatureError):
            verify(bytes([body[0] ^ 1]) + body[1:], {"Mux-Signature": header}, secret, now=at)


def test_unwrap() -> None:
    """An authentic delivery becomes an event of its type's class."""
    body = body_of()
    event = unwrap(body, headers_of(body), SECRET, now=NOW)

    assert isinstance(event, AssetEvent)
    assert event.type == "video.asset.ready"
    assert event.data.status == "ready"
    assert orjson.loads(body) == event.to_wire()


Pairs = list[tuple[str, str]]
MAKERS: dict[str, Callable[[Pairs], Headers]] = {
    "dict": dict,
    "pairs": list,
    "aiohttp": CIMultiDict,
    "starlette": lambda pairs: StarletteHeaders(dict(pairs)),
    "werkzeug": WerkzeugHeaders,
    "asgi": lambda pairs: [(name.encode(), value.encode()) for name, value in pairs],
}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("name", ["Mux-Signature", "mux-signature", "MUX-SIGNATURE"])
def test_headers(kind: str, name: str) -> None:
    """Headers are taken as every framework has them, in any case: mappings, multidicts, pairs of text or bytes."""
    body = body_of()
    headers = MAKERS[kind]([("Host", "example.com"), (name, sign(body, SECRET, at=NOW))])

    assert unwrap(body, headers, SECRET, now=NOW).type == "video.asset.ready"


def test_several_secrets_and_signatures() -> None:
    """Any secret may have made any of the signatures; other schemes and spaces do not matter."""
    body = body_of()
    right, old = signed(NOW, body), signed(NOW, body, "old")
    for header in (f"t={NOW},v1={old},v1={right}", f"v1={right},t={NOW},v1={DIGEST}", f"t={NOW}, v2=x, v1={right}, v0=, y"):
        unwrap(body, {"Mux-Signature": header}, ["other", SECRET], now=NOW)

    assert refused(body, f"t={NOW},v1={old},v1={DIGEST}", ["other", SECRET]).reason == "mismatch"
    assert refused(body, f"t={NOW},v2={right}").reason == "malformed"


@pytest.mark.parametrize(
    ("header", "reason", "said"),
    [
        (None, "missing", "no Mux-Signature header"),
        ("", "malformed", "no time"),
        ("t=", "malformed", "not Unix seconds"),
        (f"v1={DIGEST}", "malformed", "no time"),
        (f"t={NOW}", "malformed", "no signature of scheme v1"),
        (f"t={NOW},v1=", "malformed", "64 lower-case"),
        (f"t={NOW},v1=zz{DIGEST[2:]}", "malformed", "64 lower-case"),
        (f"t={NOW},v1={DIGEST[:-1]}", "malformed", "64 lower-case"),
        (f"t={NOW},t={NOW},v1={DIGEST}", "malformed", "has two times"),
        (f"t={NOW},v1={DIGEST},t=", "malformed", "has two times"),
        (f"t=-{NOW},v1={DIGEST}", "malformed", "not Unix seconds"),
        (f"t=+{NOW},v1={DIGEST}", "malformed", "not Unix seconds"),
        (f"t={NOW}.0,v1={DIGEST}", "malformed", "not Unix seconds"),
        (f"t=1_000,v1={DIGEST}", "malformed", "not Unix seconds"),
        (f"t={'9' * 13},v1={DIGEST}", "malformed", "not Unix seconds"),
        ("t=\u0661\u0662\u0663,v1=" + DIGEST, "malformed", "not ASCII"),
        (f"t=\u00b2{NOW},v1={DIGEST}", "malformed", "not ASCII"),
        (f"t={NOW},v1=\ud800", "malformed", "not ASCII"),
        (f"t={NOW}" + ",v1=" * 10_000, "malformed", "characters"),
        (f"t={NOW}" + f",v1={DIGEST}" * 10_000, "malformed", "characters"),
        ("," * 8000, "malformed", "no time"),
        ("=" * 8000, "malformed", "no time"),
        (f"t={NOW},v1={DIGEST}", "mismatch", "secret"),
        (f"t={NOW},V1={DIGEST}", "malformed", "scheme v1"),
    ],
    ids=lambda value: str(value)[:30].encode("ascii", "backslashreplace").decode(),
)
def test_hostile_headers(header: str | None, reason: str, said: str) -> None:
    """A header that Mux does not write is refused, and the message says what is wrong with it."""
    error = refused(body_of(), header)

    assert error.reason == reason
    assert said in str(error)


def test_two_headers() -> None:
    """Two signature headers are refused, because it is not known which one counts."""
    body = body_of()
    header = sign(body, SECRET, at=NOW)
    with pytest.raises(SignatureError, match="is there 2 times"):
        unwrap(body, [("Mux-Signature", header), ("mux-signature", header)], SECRET, now=NOW)


def test_upper_case_is_not_taken() -> None:
    """The digest has to be written as Mux writes it: upper-case digits are refused."""
    body = body_of()
    header = f"t={NOW},v1={signed(NOW, body).upper()}"

    assert refused(body, header).reason == "malformed"


def test_the_time_that_was_signed() -> None:
    """The signature covers the time as it is written: no other way of writing it passes."""
    body = body_of()

    assert refused(body, f"t=0{NOW},v1={signed(NOW, body)}").reason == "mismatch"
    unwrap(body, {"Mux-Signature": f"t=0{NOW},v1={signed(f'0{NOW}', body)}"}, SECRET, now=NOW)


def test_tolerance() -> None:
    """Signatures that are too old or too new are refused to the second, if they match the body, and the message says by how much."""
    body = body_of()
    header = sign(body, SECRET, at=NOW)
    for now in (NOW - 300, NOW + 300):
        unwrap(body, {"Mux-Signature": header}, SECRET, now=now)

    old, new = refused(body, header, now=NOW + 301), refused(body, header, now=NOW - 301)
    assert (old.reason, new.reason) == ("too_old", "too_new")
    assert "301 s old" in str(old)
    assert "301 s ahead of the clock" in str(new)
    assert refused(body, header, now=NOW + 1, tolerance=0).reason == "too_old"
    assert refused(body, header, "other", now=NOW + 301).reason == "mismatch"
    unwrap(body, {"Mux-Signature": header}, SECRET, now=0, tolerance=math.inf)


def test_clock() -> None:
    """Without ``now`` the clock of the machine is used."""
    body = body_of()

    unwrap(body, {"Mux-Signature": sign(body, SECRET)}, SECRET)
    with pytest.raises(SignatureError, match="ahead"):
        unwrap(body, {"Mux-Signature": sign(body, SECRET, at=int(time.time()) + 1000)}, SECRET)


Change = tuple[Callable[[bytes], bytes], str]
CHANGES: list[Change] = [
    (lambda body: json.dumps(json.loads(body)).encode(), "parsed and serialised again; pass the bytes"),
    (lambda body: json.dumps(json.loads(body), indent=2).encode(), "parsed and serialised again; pass the bytes"),
    (lambda body: body + b"\r\n", "white space was added around it"),
    (lambda _: b"", "which is empty"),
    (lambda body: body.replace(b"ready", b"error"), "either the secret is not that of this endpoint"),
    (lambda body: body[:-1], "either the secret is not that of this endpoint"),
    (lambda _: b"\xff\xfe", "either the secret is not that of this endpoint"),
    (lambda _: b'{"a":' * 20_000, "either the secret is not that of this endpoint"),
    (lambda _: b"[" * 60_000 + b"]" * 60_000, "either the secret is not that of this endpoint"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES)
def test_likely_causes(change: Callable[[bytes], bytes], said: str) -> None:
    """A changed body and a wrong secret have different messages where they can be distinguished."""
    body = body_of()
    error = refused(change(body), sign(body, SECRET, at=NOW))

    assert error.reason == "mismatch"
    assert said in str(error)


def test_nothing_secret_is_said() -> None:
    """No message, traceback or attribute of an error contains the secret, the signature or the body."""
    body = body_of(data={"id": "CANARY-BODY"})
    secret = "CANARY-SECRET"
    errors: list[BaseException] = [
        refused(body, sign(body, "other", at=NOW), [secret, Secret(secret + "2")]),
        refused(body, sign(body, secret, at=NOW), secret, now=0),
        refused(json.dumps(json.loads(body)).encode(), sign(body, secret, at=NOW), secret),
        refused(body, f"t={NOW},v1=CANARY", secret),
    ]
    broken = b"[" + body
    with pytest.raises(EventFormatError) as caught:
        unwrap(broken, {"Mux-Signature": sign(broken, secret, at=NOW)}, secret, now=NOW)
    errors.append(caught.value)

    for error in errors:
        told = (
            "".join(traceback.format_exception(error))
            + repr(vars(error))
            + repr([error.__cause__, error.__context__, *map(vars, filter(None, [error.__cause__, error.__context__]))])
        )
        assert "CANARY" not in told.replace("CANARY-SECRET2", "").replace('secret = "CANARY', "")


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of everything that is hashed."""
    sizes: list[int] = []
    digest = hmac.digest

    def counted(key: bytes, message: bytes, name: str) -> bytes:
        sizes.append(len(message))
        return digest(key, message, name)

    monkeypatch.setattr(hmac, "digest", counted)
    return sizes


@pytest.mark.parametrize("body", [b"x" * (1024 * 1024 + 1), bytes(50_000_000)], ids=["one more", "50 MB"])
def test_size(body: bytes, hashed: list[int]) -> None:
    """A body above the limit is refused before it is hashed, and the message has the limit."""
    with pytest.raises(BodyTooLargeError, match="the limit is 1048576"):
        unwrap(body, {"Mux-Signature": f"t={NOW},v1={DIGEST}"}, SECRET, now=NOW)

    assert hashed == []


@pytest.mark.parametrize(
    ("header", "body", "most"),
    [
        (f"t={NOW}" + f",v1={DIGEST}" * 10_000, b"{}", 0),
        (f"t={NOW}" + f",v1={DIGEST}" * 100, b"{}", 2),
        (f"t={NOW},v1={DIGEST}" + ",v1=" * 1_900, b"{}", 2),
        (f"t={NOW},v1={DIGEST}", b" " + b"[1, 2]" * 10_000, 6),
        (f"t={NOW},v1={DIGEST}", b" [" + b"1, " * 10_000 + b"1]", 6),
        (f"t={NOW},v1={DIGEST}", b" [" + b"1, " * 300_000 + b"1]", 2),
    ],
    ids=["ten thousand", "a hundred", "empty ones", "text", "spaced", "spaced and large"],
)
def test_work_is_bounded(header: str, body: bytes, most: int, hashed: list[int]) -> None:
    """However many signatures there are, the body is hashed once for each secret; a small refused one up to twice more, for the reason."""
    refused(body, header, ["one", "two"])

    assert len(hashed) <= most


def test_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every signature is compared by `hmac.compare_digest`, whose duration does not depend on where they differ."""
    compared: list[tuple[Any, Any]] = []

    def compare(a: Any, b: Any) -> bool:
        compared.append((a, b))
        return original(a, b)

    original = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)
    body = b'{"type":"x","id":"1"}'
    right = headers_of(body)["mux-signature"].partition("v1=")[2]
    unwrap(body, {"Mux-Signature": f"t={NOW},v1={'0' * 64},v1={right}"}, SECRET, now=NOW)

    assert [given for _, given in compared] == ["0" * 64, right]
    assert {expected for expected, _ in compared} == {right}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"payload", "not JSON"),
        (b"[]", "a JSON list"),
        (b"null", "a JSON NoneType"),
        (b'"text"', "a JSON str"),
        (b'{"type":"\xff"}', "not JSON"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "depth"),
        (b'{"a":1}{"a":1}', "not JSON"),
        (b'{"a":1', "not JSON"),
        (b"{}\x00", "not JSON"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_authentic_nonsense(body: bytes, said: str) -> None:
    """An authentic body that is no JSON object is refused as such, not as a forgery, and without a crash."""
    with pytest.raises(EventFormatError, match=said):
        unwrap(body, headers_of(body), SECRET, now=NOW)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"type":null,"id":7}',
        b'{"type":["video.asset.ready"]}',
        b'{"type":"video.asset.ready"}',
        b'{"type":"video.asset.ready","data":"text","created_at":"yesterday","object":3,"environment":[],"attempts":{}}',
        b'{"type":"video.asset.ready","id":"1","id":"2","data":{}}',
        b'{"type":"robots.job.moderate.completed","data":{"robots.job.moderate.completed":{"id":"j"}}}',
        b'{"type":"video.asset.ready","data":{"created_at":1e300,"tracks":[null,1,{"id":{}}]}}',
        b'{"type":"tomorrow","data":' + b"[" * 500 + b"]" * 500 + b"}",
    ],
    ids=lambda value: str(value)[:40],
)
def test_authentic_surprises(body: bytes) -> None:
    """Any JSON object becomes an event; its fields can be read, and it is serialized as it arrived."""
    event = unwrap(body, headers_of(body), SECRET, now=NOW)

    for name in ("id", "type", "created_at", "object", "environment", "attempts", "data"):
        getattr(event, name)
    arrived = orjson.loads(body)
    assert repr(event)
    if b"[[[" not in body:
        assert {name: value for name, value in event.to_wire().items() if name in arrived} == arrived


def test_unknown_type() -> None:
    """An event of an unknown type is an `UnknownEvent` with the received data."""
    body = body_of("video.hologram.projected", data={"id": "h", "new": [1]}, new_member=1)
    event = unwrap(body, headers_of(body), SECRET, now=NOW)

    assert isinstance(event, UnknownEvent)
    assert event.data == {"id": "h", "new": [1]}
    assert event.extra == {"new_member": 1}


@pytest.mark.parametrize("data", ["text", {"type": "x"}, None, 5])
def test_not_bytes(data: Any) -> None:
    """A decoded or parsed body is refused, and the message says what is needed."""
    with pytest.raises(TypeError, match="the bytes that arrived"):
        unwrap(data, {"Mux-Signature": f"t={NOW},v1={DIGEST}"}, SECRET)


def test_buffers() -> None:
    """Any buffer of bytes is accepted."""
    body = body_of()
    for made in (bytearray(body), memoryview(body)):
        assert unwrap(made, headers_of(body), SECRET, now=NOW).type == "video.asset.ready"


@pytest.mark.parametrize(
    ("secrets", "said"),
    [
        ("", "empty"),
        ([], "empty"),
        (["good", ""], "empty"),
        (Secret(""), "empty"),
        ("secret\n", "white space"),
        (" secret", "white space"),
        (None, "MUX_WEBHOOK_SECRET"),
    ],
)
def test_secrets_that_cannot_be_right(secrets: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing, empty or badly copied secret is refused before anything is verified."""
    monkeypatch.delenv("MUX_WEBHOOK_SECRET", raising=False)
    with pytest.raises(ConfigurationError, match=said):
        unwrap(b"{}", {"Mux-Signature": sign(b"{}", SECRET, at=NOW)}, secrets, now=NOW)


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without secrets, the environment variable of Mux's own clients is used."""
    body = body_of()
    monkeypatch.setenv("MUX_WEBHOOK_SECRET", SECRET)

    assert unwrap(body, headers_of(body), now=NOW).id


@pytest.mark.parametrize(
    ("options", "said"), [({"tolerance": -1.0}, "seconds"), ({"tolerance": math.nan}, "seconds"), ({"max_body": 0}, "bytes")]
)
def test_settings_that_cannot_be_right(options: dict[str, Any], said: str) -> None:
    """Settings are checked before anything else."""
    with pytest.raises(ValueError, match=said):
        unwrap(b"{}", {}, SECRET, **options)


def test_tree() -> None:
    """Every refusal is a `WebhookError`, which is a `MuxError` and a `ValueError`."""
    for error in (SignatureError, EventFormatError, BodyTooLargeError):
        assert issubclass(error, WebhookError)
    assert issubclass(WebhookError, MuxError)
    assert issubclass(WebhookError, ValueError)
