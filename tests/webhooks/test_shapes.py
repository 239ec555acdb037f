"""Headers, bodies and secrets of many types: readable ones are verified, and others are refused with a webhook error."""

from __future__ import annotations

import base64
import email.message
import gzip
import http.client
import io
import json
import wsgiref.headers
import zlib
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from mux_async import Secret
from mux_async.errors import ConfigurationError
from mux_async.webhooks import BodyTypeError, SignatureError, WebhookError, WebhookRouter, sign, unwrap, verify
from mux_async.webhooks.events import AssetEvent
from tests.webhooks.samples import NOW, SECRET, body_of

BODY = body_of(data={"id": "asset-1", "passthrough": "\u00e9t\u00e9"})
SIGNATURE = sign(BODY, SECRET, at=NOW)
ENVIRON = {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "12", "wsgi.input": io.BytesIO(), "wsgi.version": (1, 0)}


def message(*pairs: tuple[str, str]) -> email.message.Message:
    made = email.message.Message()
    for name, value in pairs:
        made[name] = value
    return made


def http_message(value: str) -> http.client.HTTPMessage:
    return http.client.parse_headers(io.BytesIO(f"Host: a\r\nMux-Signature: {value}\r\n\r\n".encode()))


SHAPES: dict[str, Callable[[str], Any]] = {
    "one-element list": lambda value: {"Mux-Signature": [value], "Host": ["a"]},
    "one-element tuple": lambda value: {"mux-signature": (value,)},
    "pairs of lists": lambda value: [["Host", "a"], ["Mux-Signature", value]],
    "pairs with a list": lambda value: [("Mux-Signature", [value])],
    "generator": lambda value: (pair for pair in [("host", "a"), ("mux-signature", value)]),
    "items": lambda value: {"Host": "a", "Mux-Signature": value}.items(),
    "bytes": lambda value: {b"Host": b"a", b"Mux-Signature": value.encode()},
    "bytearray": lambda value: {"Mux-Signature": bytearray(value.encode())},
    "others are None": lambda value: {"Host": None, None: None, "Mux-Signature": value, "Content-Length": 7, 7: 7},
    "others are odd pairs": lambda value: [(), None, 3, ("a", "b", "c"), (None, None), ("Mux-Signature", value)],
    "email": lambda value: message(("Host", "a"), ("Mux-Signature", value)),
    "http.client": http_message,
    "wsgiref": lambda value: wsgiref.headers.Headers([("Host", "a"), ("Mux-Signature", value)]),
    "environ": lambda value: {**ENVIRON, "HTTP_MUX_SIGNATURE": value},
    "multidict": lambda value: CIMultiDictProxy(CIMultiDict([("Mux-Signature", value)])),
    "text": lambda value: value,
    "text as bytes": lambda value: value.encode(),
    "texts of the header": lambda value: [value],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_of_headers(shape: str) -> None:
    """The signature is found in every shape that frameworks and gateways have, and a wrong one is refused in each."""
    assert unwrap(BODY, SHAPES[shape](SIGNATURE), SECRET, now=NOW).type == "video.asset.ready"

    with pytest.raises(SignatureError) as caught:
        unwrap(BODY, SHAPES[shape](SIGNATURE[:-4] + "0000"), SECRET, now=NOW)
    assert caught.value.reason == "mismatch"


class Raising:
    """Headers of a framework that fails."""

    def items(self) -> Iterator[tuple[str, str]]:
        raise LookupError("out of context")


HOSTILE: list[tuple[Any, str]] = [
    (None, "missing"),
    ({"Mux-Signature": None}, "missing"),
    ([("Mux-Signature", None)], "missing"),
    ({"Mux-Signature": []}, "missing"),
    ({"Mux-Signature": [None]}, "missing"),
    ({"Mux-Signature": [SIGNATURE, SIGNATURE]}, "malformed"),
    ([SIGNATURE, SIGNATURE], "malformed"),
    ({"Mux-Signature": [[SIGNATURE]]}, "malformed"),
    ({"Mux-Signature": 5}, "malformed"),
    ({"Mux-Signature": 5.5}, "malformed"),
    ({"Mux-Signature": True}, "malformed"),
    ({"Mux-Signature": {"t": NOW}}, "malformed"),
    ({"Mux-Signature": object()}, "malformed"),
    ({"Mux-Signature": b"\xff"}, "malformed"),
    ({"Mux-Signature": SIGNATURE, "mux-signature": SIGNATURE}, "malformed"),
    (message(("Mux-Signature", SIGNATURE), ("mux-signature", SIGNATURE)), "malformed"),
    (message(), "missing"),
    ("", "malformed"),
    (b"", "malformed"),
    ("whsec_...", "malformed"),
    (5, "missing"),
    (object(), "missing"),
    (Raising(), "missing"),
    (SimpleNamespace(items=5), "missing"),
    ([()], "missing"),
    ({5: 5}, "missing"),
    ({"Mux-Signature": "\ud800"}, "malformed"),
]


@pytest.mark.parametrize(("headers", "reason"), HOSTILE, ids=range(len(HOSTILE)))
def test_headers_that_hold_no_signature(headers: Any, reason: str) -> None:
    """Anything else in place of the headers is a `SignatureError`, never a `TypeError` that becomes a 500."""
    for take in (unwrap, verify):
        with pytest.raises(SignatureError) as caught:
            cast("Any", take)(BODY, headers, SECRET, now=NOW)
        assert caught.value.reason == reason


@pytest.mark.anyio
async def test_hostile_headers_at_a_router() -> None:
    """A router answers each of them 400, whether the body was read or comes in chunks."""
    hooks = WebhookRouter(SECRET, clock=lambda: NOW)

    async def chunks() -> AsyncIterator[bytes]:
        yield BODY

    for headers, _ in HOSTILE:
        assert (await hooks.receive(BODY, headers)).status == 400
        assert (await hooks.answer(headers, chunks())).status == 400
    for shape in SHAPES.values():
        assert (await hooks.answer(shape(SIGNATURE), chunks())).status == 200


@pytest.mark.parametrize("length", [7, "7", b"7", ["7"], None, [], "x", object(), -1, True])
@pytest.mark.anyio
async def test_odd_lengths(length: Any) -> None:
    """A Content-Length of any kind neither fails nor refuses a delivery that is small enough."""
    hooks = WebhookRouter(SECRET, clock=lambda: NOW)

    async def chunks() -> AsyncIterator[bytes]:
        yield BODY

    assert (await hooks.answer({"Content-Length": length, "Mux-Signature": SIGNATURE}, chunks())).status == 200


BODIES: list[Any] = [
    bytearray(BODY),
    memoryview(BODY),
    memoryview(BODY + BODY)[: len(BODY)],
    memoryview(bytes(byte for each in BODY for byte in (each, 0)))[::2],
    array("B", BODY),
    BODY.decode(),
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_shapes_of_bodies(body: Any) -> None:
    """Any buffer is accepted, and text whose UTF-8 was signed."""
    event = unwrap(body, SIGNATURE, SECRET, now=NOW)

    assert isinstance(event, AssetEvent)
    assert event.data.passthrough == "\u00e9t\u00e9"
    verify(body, SIGNATURE, SECRET, now=NOW)


@pytest.mark.parametrize("body", [json.loads(BODY), None, 5, [BODY], BODY.decode() + " ", "\ud800", object(), io.BytesIO(BODY)])
def test_bodies_that_are_no_bytes(body: Any) -> None:
    """A parsed or otherwise decoded body is a `SignatureError` and a `TypeError`; the message says what is needed."""
    for take in (unwrap, verify):
        with pytest.raises(BodyTypeError, match="the bytes that arrived") as caught:
            cast("Any", take)(body, SIGNATURE, SECRET, now=NOW)
        assert isinstance(caught.value, SignatureError)
        assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("secrets", [SECRET.encode(), [SECRET.encode()], (b"other", SECRET), [Secret(SECRET)], iter([SECRET])])
def test_shapes_of_secrets(secrets: Any) -> None:
    """Secrets are text or bytes, one or several."""
    assert unwrap(BODY, SIGNATURE, secrets, now=NOW).id


@pytest.mark.parametrize("secrets", [5, {"secret": SECRET}, [5], [None], object(), "\ud800", b"", b" x", [[SECRET]], 0])
def test_secrets_of_no_use(secrets: Any) -> None:
    """Anything else is a `ConfigurationError`."""
    with pytest.raises(ConfigurationError, match="secret"):
        unwrap(BODY, SIGNATURE, secrets, now=NOW)


Change = tuple[str, Callable[[bytes], bytes], str]
CHANGES: list[Change] = [
    ("gzip", gzip.compress, "compressed"),
    ("deflate", zlib.compress, "compressed"),
    ("base64", base64.b64encode, "Base64"),
    ("base64 in lines", base64.encodebytes, "Base64"),
    ("base64 for URLs", base64.urlsafe_b64encode, "Base64"),
    ("base64 unpadded", lambda body: base64.b64encode(body).rstrip(b"="), "Base64"),
    ("gzip in base64", lambda body: base64.b64encode(gzip.compress(body)), "compressed"),
    ("BOM", lambda body: b"\xef\xbb\xbf" + body, "byte order mark"),
    ("BOM and spaces", lambda body: b"\xef\xbb\xbf" + json.dumps(json.loads(body)).encode(), "byte order mark"),
    ("UTF-16", lambda body: body.decode().encode("utf-16"), "UTF-16"),
    ("JSON string", lambda body: json.dumps(body.decode()).encode(), "JSON string"),
    ("repr", lambda body: str(body).encode(), "str(body)"),
    ("Latin-1", lambda body: body.decode("latin-1").encode(), "Latin-1"),
    ("spaced", lambda body: json.dumps(json.loads(body)).encode(), "serialised again"),
]


@pytest.mark.parametrize(("change", "said"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_changes_are_named(change: Callable[[bytes], bytes], said: str) -> None:
    """A changed body is refused, and the error names the change, unless the secret is wrong as well."""
    with pytest.raises(SignatureError) as caught:
        unwrap(change(BODY), SIGNATURE, SECRET, now=NOW)
    assert caught.value.reason == "mismatch"
    assert said in str(caught.value)

    with pytest.raises(SignatureError) as caught:
        unwrap(change(BODY), SIGNATURE, "other", now=NOW)
    assert "either the secret is not that of this endpoint" in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b" " + b"[" * 300 + b"]" * 300,
        gzip.compress(bytes(10_000_000), mtime=0),
        gzip.compress(BODY, mtime=0)[:-40],
        b"\x1f\x8bnonsense",
        b"b'" + b"(" * 50_000,
        b"b'\\x",
        b'"\\ud800"',
        b"A" * 65_536,
        b"\xff\xfe\x00",
        b"\xef\xbb\xbf" * 20_000,
    ],
    ids=lambda body: str(body)[:24],
)
def test_nothing_is_named_for_sure(body: bytes) -> None:
    """A body that is made to slow down or break the search for the change is refused like any other."""
    with pytest.raises(SignatureError, match="either the secret is not that"):
        unwrap(body, SIGNATURE, SECRET, now=NOW)


buffers: st.SearchStrategy[Any] = st.binary().map(cast("Any", memoryview))
text = st.text(max_size=12) | st.sampled_from(["Mux-Signature", "HTTP_MUX_SIGNATURE", SIGNATURE, "t=1,v1=" + "0" * 64])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | text | st.binary(max_size=12) | text.map(str.encode)


def with_items(value: object) -> object:
    return SimpleNamespace(items=lambda: value)


def as_signature(value: object) -> object:
    return {"Mux-Signature": value}


objects: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.none() | st.integers() | text | st.binary(max_size=5), inner, max_size=3)
        | st.iterables(inner, max_size=3)
        | st.builds(with_items, inner)
        | st.builds(as_signature, inner)
    ),
    max_leaves=8,
)


@given(
    st.just(BODY) | st.builds(bytearray, st.binary()) | buffers | objects,
    st.just(SIGNATURE) | objects,
    st.just(SECRET) | objects,
)
def test_anything(body: Any, headers: Any, secrets: Any) -> None:
    """Any body, headers and secrets give an event or an error of the SDK."""
    try:
        event = unwrap(body, headers, secrets, now=NOW)
    except (WebhookError, ConfigurationError):
        return
    assert event.type
