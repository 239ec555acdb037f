"""A certificate authority: a key, and a certificate that limits what the key may sign."""

from __future__ import annotations

import ipaddress
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import attrs

from mux_async.emulator.http._addresses import MUX_DOMAINS, is_within
from mux_async.errors import MissingExtraError

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError:
    raise MissingExtraError("TLS of the emulator", "cryptography", "jwt") from None

LIFE = timedelta(days=365)
"""Of an authority. Whoever trusts it has to trust the next one anew."""
RENEWED_BEFORE = timedelta(days=30)
"""An authority with less than this left is replaced when it is opened."""
LEAF_LIFE = timedelta(days=7)
"""Of a certificate that an authority issues."""
_SKEW = timedelta(hours=1)
"""How far a client's clock may be behind."""
_OWN_ADDRESSES = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_ALL_ADDRESSES = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
MUX_AUTHORITY = MUX_DOMAINS[0]
"""Name of the authority for Mux's domains and this machine."""


@attrs.frozen(repr=False)
class Authority:
    """A certificate authority.

    Attributes:
        name: What it is for: ``mux.com`` (with Mux's other domains and this machine), or another domain.
        certificate: Its own certificate, which clients trust.
        key: Its private key.
        is_new: Whether it was made just now, so that no client trusts it yet.
    """

    name: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    is_new: bool = False

    @classmethod
    def create(cls, name: str, now: datetime) -> Authority:
        """Make an authority for a domain and the names below it."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject(f"mux_async emulator CA for {name}, {now:%Y-%m-%d}")
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            _builder(subject, subject, key.public_key(), now, now + LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(_constraints(name), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(name, certificate, key, is_new=True)

    @property
    def expires(self) -> datetime:
        """The end of its life."""
        return self.certificate.not_valid_after_utc

    @property
    def pem(self) -> bytes:
        """The certificate, without the key."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def pem_with_key(self) -> bytes:
        """The certificate and the key."""
        return self.pem + _private(self.key)

    @property
    def spki(self) -> str:
        """What ``--ignore-certificate-errors-spki-list`` of Chromium takes: a hash of the public key."""
        public = self.key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return b64encode(sha256(public).digest()).decode()

    @property
    def fingerprint(self) -> str:
        """The SHA-256 fingerprint of the certificate, as browsers show it."""
        return self.certificate.fingerprint(hashes.SHA256()).hex(":").upper()

    def permits(self, name: str) -> bool:
        """Whether it may issue certificates for a domain name."""
        domains = (*MUX_DOMAINS, "localhost") if self.name == MUX_AUTHORITY else (self.name,)
        return any(is_within(name, domain) for domain in domains)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its usual certificate: domains with the names one level below, and addresses of this machine."""
        if self.name == MUX_AUTHORITY:
            wildcards = (f"*.{domain}" for domain in MUX_DOMAINS)
            return (*wildcards, f"*.stream.{MUX_AUTHORITY}", "localhost", "127.0.0.1", "::1")
        return (self.name, f"*.{self.name}") if "." in self.name else (self.name,)

    def issue(self, names: Sequence[str], now: datetime) -> bytes:
        """Return a certificate for *names* with its key and the authority's certificate, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=False,
            crl_sign=False,
            encipher_only=False,
            decipher_only=False,
        )
        expires = min(now + LEAF_LIFE, self.expires)
        certificate = (
            _builder(_subject("mux_async emulator"), self.certificate.subject, key.public_key(), now, expires)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return _private(key) + certificate.public_bytes(serialization.Encoding.PEM) + self.pem


def read_authority(name: str, pem: bytes) -> Authority:
    """Read what `Authority.pem_with_key` wrote. Raises `ValueError`: it is not that."""
    certificate = x509.load_pem_x509_certificate(pem)
    key = serialization.load_pem_private_key(pem[pem.find(b"-----BEGIN PRIVATE KEY") :], None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ValueError("the key is not that of the certificate")
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    except x509.ExtensionNotFound:
        raise ValueError("the certificate has no name constraints") from None
    if constraints.value != _constraints(name):
        raise ValueError("the certificate is for other names")
    return Authority(name, certificate, key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, expires: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(expires)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _constraints(name: str) -> x509.NameConstraints:
    """Return the limits of an authority. Each type of name needs one: a type that is not mentioned is not limited."""
    if name == MUX_AUTHORITY:
        domains: tuple[str, ...] = (*MUX_DOMAINS, "localhost")
        permitted = [*map(x509.DNSName, domains), *map(x509.IPAddress, _OWN_ADDRESSES)]
        return x509.NameConstraints(permitted, None)
    return x509.NameConstraints([x509.DNSName(name)], [x509.IPAddress(network) for network in _ALL_ADDRESSES])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _subject(name: str) -> x509.Name:
    # A common name has at most 64 characters.
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "mux_async"), x509.NameAttribute(NameOID.COMMON_NAME, name[:64])]
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def utc(now: float) -> datetime:
    """Return epoch seconds as a time."""
    return datetime.fromtimestamp(now, UTC)
