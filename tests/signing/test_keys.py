"""Keys in all their forms, and what is said of those that are none."""

from __future__ import annotations

import random
import re
import traceback
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mux_async import Secret
from mux_async.errors import ConfigurationError, MissingCredentialsError
from mux_async.signing import PrivateKey, Signer, verify
from tests.signing import keys

FORMS: dict[str, Callable[[], PrivateKey]] = {
    "base64 of PKCS#1": keys.as_mux_shows_it,
    "base64 in lines": lambda: re.sub(r"(.{76})", r"\1\n", keys.as_mux_shows_it()) + "\n",
    "PKCS#1": lambda: keys.pem().decode(),
    "PKCS#8": lambda: keys.pem(PrivateFormat.PKCS8),
    "base64 of PKCS#8": lambda: b64encode(keys.pem(PrivateFormat.PKCS8)),
    "on one line": lambda: keys.pem().decode().replace("\n", "\\n"),
    "on one line of Windows": lambda: keys.pem().decode().replace("\n", "\\r\\n"),
    "spelled out twice": lambda: keys.pem().decode().replace("\n", "\\\\n"),
    "with line breaks of Windows": lambda: keys.pem().replace(b"\n", b"\r\n"),
    "with spaces for line breaks": lambda: keys.pem().decode().replace("\n", " "),
    "indented": lambda: "\n".join(f"    {line}" for line in keys.pem().decode().splitlines()),
    "quoted": lambda: f'"{keys.pem().decode()}"',
    "quoted on one line": lambda: "'" + keys.pem().decode().replace("\n", "\\n") + "'\n",
    "quoted base64": lambda: f'"{keys.as_mux_shows_it()}"',
    "after a byte order mark": lambda: b"\xef\xbb\xbf" + keys.pem(),
    "base64 after a byte order mark": lambda: f"\ufeff{keys.as_mux_shows_it()}",
    "base64 of a file with a mark": lambda: b64encode(b"\xef\xbb\xbf" + keys.pem()),
    "UTF-16": lambda: keys.pem().decode().encode("utf-16"),
    "without padding": lambda: b64encode(keys.pem() + b"\n").decode().rstrip("="),
    "without padding, one more": lambda: b64encode(keys.pem() + b"\n\n").decode().rstrip("="),
    "urlsafe base64": lambda: urlsafe_b64encode(b"~~~???" * 3 + b"\n" + keys.pem()),
    "base64 of base64": lambda: b64encode(keys.as_mux_shows_it().encode() + b"\n"),
    "base64 that is broken by spelled out lines": lambda: re.sub(r"(.{76})", r"\1\\n", keys.as_mux_shows_it()),
    "DER": lambda: b64decode("".join(keys.pem().decode().splitlines()[1:-1])),
    "base64 of DER": lambda: "".join(keys.pem().decode().splitlines()[1:-1]),
    "base64 of PKCS#8 in DER": lambda: "".join(keys.pem(PrivateFormat.PKCS8).decode().splitlines()[1:-1]),
    "after a comment": lambda: "# of the production environment\n" + keys.pem().decode(),
    "after bag attributes": lambda: (
        "Bag Attributes\n    localKeyID: 01 02\nKey Attributes: <No Attributes>\n" + keys.pem().decode()
    ),
    "behind a certificate": lambda: (
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n" + keys.pem().decode() + "the end\n"
    ),
    "beside its public half": lambda: keys.public_pem() + keys.pem(),
    "secret": lambda: Secret(keys.as_mux_shows_it()),
    "loaded": keys.private_key,
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form: str) -> None:
    """Every form of a key signs the same."""
    signer = Signer(keys.KEY_ID, FORMS[form](), clock=lambda: keys.NOW)

    assert signer.sign(keys.PLAYBACK_ID) == Signer(keys.KEY_ID, keys.pem(), clock=lambda: keys.NOW).sign(keys.PLAYBACK_ID)


def ec_pem(format: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, format, NoEncryption())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda: None, "Mux returns it only once"),
        (lambda: "", "neither PEM nor base64"),
        (lambda: "/etc/mux/key.pem", r"neither PEM nor base64 .*Signer\.load"),
        (lambda: b64encode(b"nonsense"), "neither PEM nor base64"),
        (lambda: "x" * 40_000, "40000 bytes"),
        (lambda: keys.pem()[:900], "cannot be read; was it copied completely"),
        (keys.public_pem, "a public key"),
        (keys.encrypted_pem, "encrypted with a password"),
        (ec_pem, "not an RSA key"),
        (lambda: ec_pem(PrivateFormat.TraditionalOpenSSL), "not an RSA key"),
        (lambda: keys.pem(PrivateFormat.OpenSSH), "OpenSSH's own format.*ssh-keygen"),
        (lambda: b64encode(keys.pem(PrivateFormat.OpenSSH)), "OpenSSH's own format"),
        (lambda: "ssh-rsa AAAAB3NzaC1yc2E me@home", "a public key of OpenSSH"),
        (lambda: "PuTTY-User-Key-File-3: ssh-rsa\n", "PuTTY"),
        (lambda: '{"data": {"private_key": "x"}}', "a JSON object.*private_key"),
        (lambda: b64encode(keys.public_pem()), "a public key"),
        (lambda: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "a certificate"),
        (keys.traditionally_encrypted_pem, "encrypted with a password"),
        (lambda: b64encode(keys.encrypted_pem()), "encrypted with a password"),
        (lambda: '"' + keys.encrypted_pem().decode().replace("\n", "\\n") + '"', "encrypted with a password"),
        (lambda: keys.pem(key=keys.private_key(0, 1024)), "1024 bits"),
        (lambda: "päss", "neither PEM nor base64"),
    ],
)
def test_no_keys(given: Callable[[], PrivateKey | None], words: str) -> None:
    """What is no usable key is refused when the signer is made, with what to do, and without a word of the key."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        Signer(keys.KEY_ID, given())

    secret = keys.as_mux_shows_it()
    assert not any(secret[at : at + 20] in str(caught.value) for at in range(200, len(secret) - 20, 20))


def test_damaged() -> None:
    """Whatever bits are wrong, a key is refused or signs what its public half verifies: quickly, and without a crash."""
    der = b64decode("".join(keys.pem().decode().splitlines()[1:-1]))
    draw = random.Random(7)
    refused = 0
    for _ in range(150):
        bits = bytearray(der)
        bits[draw.randrange(len(bits))] ^= 1 << draw.randrange(8)
        damaged = b"-----BEGIN RSA PRIVATE KEY-----\n" + b64encode(bits) + b"\n-----END RSA PRIVATE KEY-----\n"
        try:
            signer = Signer(keys.KEY_ID, damaged)
        except ConfigurationError:
            refused += 1
        else:
            token = signer.sign(keys.PLAYBACK_ID)
            assert verify(token, {keys.KEY_ID: keys.public_pem()}, audience="v").key_id == keys.KEY_ID
    assert refused > 20


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of Mux's own clients are read; without them the message names the one that is missing."""
    monkeypatch.setenv("MUX_SIGNING_KEY", keys.KEY_ID)
    monkeypatch.setenv("MUX_PRIVATE_KEY", keys.as_mux_shows_it())
    assert Signer.from_environment().key_id == keys.KEY_ID

    monkeypatch.setenv("MUX_PRIVATE_KEY", "")
    with pytest.raises(MissingCredentialsError, match="set MUX_PRIVATE_KEY, or pass Signer"):
        Signer.from_environment()


@pytest.mark.anyio
async def test_file(tmp_path: Path) -> None:
    """A key is read from a file in any of its forms; a file that cannot be read is named."""
    path = tmp_path / "key"
    path.write_text(keys.as_mux_shows_it() + "\n")

    assert (await Signer.load(keys.KEY_ID, path)).key_id == keys.KEY_ID
    with pytest.raises(ConfigurationError, match=r"nothing' cannot be read: No such file"):
        await Signer.load(keys.KEY_ID, tmp_path / "nothing")


@pytest.mark.anyio
@pytest.mark.parametrize("form", ["base64 of PKCS#1", "PKCS#1", "on one line"])
async def test_the_key_in_place_of_its_file(form: str) -> None:
    """A key given where a path goes is refused without being shown, neither in the message nor by what it is chained to."""
    given = FORMS[form]()
    assert isinstance(given, str)
    with pytest.raises(ConfigurationError, match="takes the key itself") as caught:
        await Signer.load(keys.KEY_ID, given)

    assert given[30:60] not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("key_id", ["", "two words", "-----BEGIN RSA PRIVATE KEY-----", "x" * 2236])
def test_key_id(key_id: str) -> None:
    """What cannot be a key's id is refused; what may be the key itself is not shown."""
    with pytest.raises(ValueError, match="id") as caught:
        Signer(key_id, keys.pem())

    assert "BEGIN" not in str(caught.value)
    assert "xxx" not in str(caught.value)
