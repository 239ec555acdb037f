"""What verifying a signature accepts and refuses, with the whole message of every refusal."""

from __future__ import annotations

import hmac
import math
import sys
from typing import Any

import pytest

from mux_async import Secret
from mux_async.errors import ConfigurationError
from mux_async.webhooks import BodyTooLargeError, SignatureError, sign, unwrap, verify
from mux_async.webhooks._signature import MAX_HEADER, make_verifier, parse_signature
from tests.webhooks.samples import NOW, SECRET, body_of

DIGEST = "0" * 64
FORM = "Mux writes t=<Unix seconds>,v1=<hex>"
OLD = "the delivery was recorded and sent again, it was delayed, or the clock of this machine is fast"
DECODED = "a body that was decoded or parsed before cannot be verified"


def refused(header: str, body: Any = b"{}", *, now: float = NOW, **options: Any) -> SignatureError:
    with pytest.raises(SignatureError) as caught:
        verify(body, {"Mux-Signature": header}, SECRET, now=now, **options)
    return caught.value


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("t=1" + "," * (MAX_HEADER - 2), "has 8193 characters, and the limit is 8192"),
        (f"t={NOW},v1=\u00e9", "has characters that are not ASCII"),
        (f"t={NOW},v1={DIGEST},t={NOW}", "has two times (t=)"),
        (f"t=,t={NOW},v1={DIGEST}", "has two times (t=)"),
        (f"v1={DIGEST}", "has no time (t=)"),
        ("," * MAX_HEADER, "has no time (t=)"),
        (f"\nt={NOW},v1={DIGEST}", "has no time (t=)"),
        (f"T={NOW},v1={DIGEST}", "has no time (t=)"),
        (f"Xt={NOW},v1={DIGEST}", "has no time (t=)"),
        (f"t=x,v1={DIGEST}", "has a time (t=) that is not Unix seconds"),
        (f"t={'9' * 13},v1={DIGEST}", "has a time (t=) that is not Unix seconds"),
        (f"t=1=2,v1={DIGEST}", "has a time (t=) that is not Unix seconds"),
        (f"t={NOW},v2={DIGEST}", "has no signature of scheme v1"),
        (f"t={NOW},v1", "has no v1 that is 64 lower-case hexadecimal digits"),
        (f"t={NOW},v1={DIGEST}0", "has no v1 that is 64 lower-case hexadecimal digits"),
        (f"t={NOW},v1={DIGEST[1:]}", "has no v1 that is 64 lower-case hexadecimal digits"),
        (f"t={NOW},v1={DIGEST[1:]}g", "has no v1 that is 64 lower-case hexadecimal digits"),
        (f"t={NOW},v1=X{DIGEST[1:]}", "has no v1 that is 64 lower-case hexadecimal digits"),
        (f"t={NOW},v1={DIGEST[1:]}A", "has no v1 that is 64 lower-case hexadecimal digits"),
        (f"t={NOW},v1={DIGEST[1:]}g,v1=x", "has no v1 that is 64 lower-case hexadecimal digits"),
    ],
)
def test_malformed(header: str, said: str) -> None:
    """A malformed header is refused; the message says what is wrong and shows the form."""
    error = refused(header)

    assert (str(error), error.reason) == (f"the Mux-Signature header {said}; {FORM}", "malformed")


@pytest.mark.parametrize(
    ("header", "parsed"),
    [
        (f"t=1,v1={DIGEST}", (b"1", [DIGEST])),
        (f"v1={DIGEST},t=999999999999", (b"999999999999", [DIGEST])),
        (f"\t t=01 ,\t v1={DIGEST}\t ", (b"01", [DIGEST])),
        (f"t=1,v1=x,v1={DIGEST},v1=", (b"1", ["x", DIGEST, ""])),
        (f"t=1,v1={DIGEST},v1=x", (b"1", [DIGEST, "x"])),
        (f"t=1,v1={'0123456789abcdef' * 4},v0=7,v1=a=b", (b"1", ["0123456789abcdef" * 4, "a=b"])),
        (f"t=1,v1={DIGEST}" + "," * (MAX_HEADER - 71), (b"1", [DIGEST])),
    ],
)
def test_well_formed(header: str, parsed: tuple[bytes, list[str]]) -> None:
    """The time is returned as it was written, with every signature of scheme ``v1`` in order; spaces and tabs are ignored."""
    assert len(header) <= MAX_HEADER
    assert parse_signature(header) == parsed


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, bytes.decode])
def test_kinds_of_bodies(kind: Any) -> None:
    """Any buffer verifies, and text as its UTF-8; a body with another signature does not."""
    body = '{"name":"\u00e9"}'.encode()
    checked = make_verifier(SECRET).verify(kind(body), {"Mux-Signature": sign(body, SECRET, at=NOW)}, NOW)

    assert (checked, type(checked)) == (body, bytes)
    assert kind is not bytes or checked is kind(body)  # they are not copied
    assert refused(sign(body + b" ", SECRET, at=NOW), kind(body)).reason == "mismatch"


@pytest.mark.parametrize("body", ["{}", "\ud800", None, 5, {"a": 1}, [123]])
def test_what_is_not_bytes(body: Any) -> None:
    """A body of another type is a `TypeError` too, and the message says what is needed and what was passed."""
    with pytest.raises(TypeError) as caught:
        verify(body, {"Mux-Signature": f"t={NOW},v1={DIGEST}"}, SECRET, now=NOW)

    error = caught.value
    assert isinstance(error, SignatureError)
    assert error.reason == "mismatch"
    assert str(error) == (f"the body of a webhook must be the bytes that arrived, and is {type(body).__name__}: {DECODED}")
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


def test_a_view_of_other_items() -> None:
    """A view with a step counts as the bytes that it shows."""
    verify(memoryview(b"abcd")[::-1], {"Mux-Signature": sign(b"dcba", SECRET, at=NOW)}, SECRET, now=NOW)


def test_a_released_buffer() -> None:
    """A released memoryview is refused."""
    view = memoryview(b"{}")
    view.release()
    with pytest.raises(TypeError, match="and is memoryview"):
        verify(view, {"Mux-Signature": f"t={NOW},v1={DIGEST}"}, SECRET, now=NOW)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, bytes.decode])
def test_the_bound(kind: Any) -> None:
    """A body of exactly the limit is verified; one byte more is refused before that, and the message has both numbers."""
    checker = make_verifier(SECRET, max_body=4)
    headers = {"Mux-Signature": sign(b"1234", SECRET, at=NOW)}
    assert checker.verify(kind(b"1234"), headers, NOW) == b"1234"
    with pytest.raises(BodyTooLargeError) as caught:
        checker.verify(kind(b"12345"), {}, NOW)

    assert str(caught.value) == "the body of a webhook has 5 bytes, and the limit is 4; if Mux sent it, raise max_body"


def test_bytes_are_counted_and_not_characters() -> None:
    """Text, and views of larger items, are bounded by their bytes."""
    for body in ("\u00e9\u00e9\u00e9", memoryview(bytes(6)).cast("H")):
        with pytest.raises(BodyTooLargeError, match="has 6 bytes, and the limit is 5"):
            make_verifier(SECRET, max_body=5).verify(body, {}, NOW)
    with pytest.raises(BodyTooLargeError, match="has 6 bytes, and the limit is 5"):
        make_verifier(SECRET, max_body=5).verify("\ud800" * 6, {}, NOW)  # refused before it is encoded


@pytest.mark.parametrize("secrets", [SECRET, SECRET.encode(), Secret(SECRET), ["x", SECRET], ("x", b"y", Secret(SECRET))])
def test_secrets(secrets: Any) -> None:
    """One secret or several, as text, bytes or `Secret`: each is tried with each signature."""
    body = body_of()
    right = sign(body, SECRET, at=NOW).partition("v1=")[2]
    for header in (f"t={NOW},v1={right}", f"t={NOW},v1={DIGEST},v1={right}", f"t={NOW},v1={right},v1={DIGEST}"):
        verify(body, {"Mux-Signature": header}, secrets, now=NOW)

    assert sign(body, secrets if isinstance(secrets, str | bytes | Secret) else secrets[-1], at=NOW) == f"t={NOW},v1={right}"


@pytest.mark.parametrize(
    ("secrets", "said"),
    [
        ("", "a webhook secret is empty, and anyone could sign with an empty one"),
        ([b""], "a webhook secret is empty, and anyone could sign with an empty one"),
        (5, "secrets= must be one webhook secret or a list of them, and is int"),
        ({"a": "b"}, "secrets= must be one webhook secret or a list of them, and is dict"),
        ([5], "a webhook secret must be text or bytes, and is int"),
        ([None], "a webhook secret must be text or bytes, and is NoneType"),
        ("\ud800", "a webhook secret must be text or bytes, and is str"),
        ([], "no webhook secret: secrets= is empty, and a secret is needed to verify deliveries"),
        (
            None,
            "no webhook secret: pass secrets=, or set MUX_WEBHOOK_SECRET; Mux shows the secret when the endpoint is created",
        ),
        *[
            (
                text,
                "a webhook secret starts or ends with white space, probably a line break from a file: strip it",
            )
            for text in (" x", "x ", b"\tx", "x\n", b"x\r\n", " ")
        ],
        (b"-----BEGIN KEY-----\nx", "a webhook secret contains a key in PEM; were two settings swapped?"),
        ("x\ny", "a webhook secret contains a line break; pass several secrets as a list: secrets=[...]"),
        (b"x\ry", "a webhook secret contains a line break; pass several secrets as a list: secrets=[...]"),
    ],
)
def test_secrets_that_cannot_be_right(secrets: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An impossible secret is refused at once, and the message says why."""
    monkeypatch.delenv("MUX_WEBHOOK_SECRET", raising=False)
    with pytest.raises(ConfigurationError) as caught:
        make_verifier(secrets)

    assert str(caught.value) == said


def test_secrets_with_white_space_inside() -> None:
    """White space within a secret is part of it."""
    verify(b"{}", {"Mux-Signature": sign(b"{}", "a b", at=NOW)}, "a b", now=NOW)


@pytest.mark.parametrize(
    ("now", "tolerance", "said", "reason"),
    [
        (NOW - 300, 300.0, None, ""),
        (NOW + 300, 300.0, None, ""),
        (NOW, 0.0, None, ""),
        (0, math.inf, None, ""),
        (
            NOW + 300.6,
            300.0,
            f"the signature is valid but 301 s old, and the tolerance is 300 s: {OLD}",
            "too_old",
        ),
        (
            NOW + 0.9,
            0.5,
            f"the signature is valid but 1 s old, and the tolerance is 0.5 s: {OLD}",
            "too_old",
        ),
        (
            NOW - 300.6,
            300.0,
            "the signature is valid but 301 s ahead of the clock of this machine, and the tolerance is 300 s: set the clock",
            "too_new",
        ),
        (
            NOW - 0.9,
            0.5,
            "the signature is valid but 1 s ahead of the clock of this machine, and the tolerance is 0.5 s: set the clock",
            "too_new",
        ),
    ],
)
def test_age(now: float, tolerance: float, said: str | None, reason: str) -> None:
    """An age of exactly the tolerance is accepted, in both directions; beyond it, the message has the age and the tolerance."""
    header = sign(b"{}", SECRET, at=NOW)
    if said is None:
        verify(b"{}", {"Mux-Signature": header}, SECRET, now=now, tolerance=tolerance)
        return
    error = refused(header, now=now, tolerance=tolerance)

    assert (str(error), error.reason) == (said, reason)


@pytest.mark.parametrize(
    ("secrets", "wrong"),
    [
        (SECRET, "the secret is not that of this endpoint"),
        (["a", SECRET], "none of the 2 secrets is that of this endpoint"),
    ],
)
def test_nothing_fits(secrets: Any, wrong: str) -> None:
    """The message of a mismatch names likely causes and the number of secrets."""
    with pytest.raises(SignatureError) as caught:
        verify(b"{}", {"Mux-Signature": f"t={NOW},v1={DIGEST}"}, secrets, now=NOW)

    assert caught.value.reason == "mismatch"
    assert str(caught.value) == (
        f"no signature matches the body: either {wrong} (each endpoint has its own), or the body was changed on its way, for example "
        "parsed and serialised again"
    )


def test_a_change_is_found_with_the_time_that_was_signed() -> None:
    """A known change of the body is found with any of the signatures and secrets, with the signed time."""
    body = body_of()
    header = f"t=0{NOW},v1={DIGEST},v1={hmac.new(SECRET.encode(), f'0{NOW}.'.encode() + body, 'sha256').hexdigest()}"
    with pytest.raises(SignatureError, match="white space was added around it"):
        verify(body + b"\n", {"Mux-Signature": header}, ["other", SECRET], now=NOW)


def test_every_comparison_takes_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signatures are compared only by `hmac.compare_digest`: an equal one is refused if it returns false."""

    def deny(_: str, __: str) -> bool:
        return False

    monkeypatch.setattr(hmac, "compare_digest", deny)

    assert refused(sign(b"{}", SECRET, at=NOW)).reason == "mismatch"


def test_without_a_bound() -> None:
    """`verify` accepts bodies of any size; `unwrap` has a limit."""
    body = bytes(2 * 1024 * 1024)
    header = {"Mux-Signature": sign(body, SECRET, at=NOW)}
    verify(body, header, SECRET, now=NOW)

    with pytest.raises(BodyTooLargeError):
        unwrap(body, header, SECRET, now=NOW)
    assert make_verifier(SECRET, 300.0, sys.maxsize).keys == (SECRET.encode(),)
