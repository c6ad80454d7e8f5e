"""Certificates by an authority of our own, and servers that show them.

authority = Authority(); tls = tls_of(authority, "hooks.example.org")
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

_A_YEAR = timedelta(days=365)


class Issued(Struct, frozen=True, kw_only=True):
    """A certificate with its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate as text."""
        return self.certificate.public_bytes(Encoding.PEM)


class Authority:
    """A root, and what it issues."""

    def __init__(self, name: str = "Test Root") -> None:
        key = _key()
        self.root = Issued(certificate=_certificate(name, key, authority=None, ca=True), key=key)

    def intermediate(self, *, days: int = 30) -> Issued:
        """An authority below the root."""
        key = _shared_key()
        return Issued(certificate=_certificate("Test Intermediate", key, authority=self.root, ca=True, days=days), key=key)

    @staticmethod
    def issue(authority: Issued, host: str | x509.GeneralName, *, days: int = 30) -> Issued:
        """A server's certificate; one of negative days is over."""
        key = _shared_key()
        name = x509.DNSName(host) if isinstance(host, str) else host
        return Issued(certificate=_certificate("leaf", key, authority=authority, name=name, days=days), key=key)


def tls_of(authority: Authority, name: str | x509.GeneralName, *, days: int = 30) -> ssl.SSLContext:
    """What a server speaks TLS with that has a certificate of the authority for a name."""
    served = authority.issue(authority.root, name, days=days)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "server.pem")
        key = served.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(key + served.pem)
        context.load_cert_chain(path)
    return context


@cache
def _shared_key() -> rsa.RSAPrivateKey:
    """One key for all but roots: making keys takes long, and only roots are told apart by theirs."""
    return _key()


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _certificate(
    common_name: str,
    key: rsa.RSAPrivateKey,
    *,
    authority: Issued | None,
    name: x509.GeneralName | None = None,
    ca: bool = False,
    days: int = 30,
) -> x509.Certificate:
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.certificate.subject if authority else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _A_YEAR)
        .not_valid_after(now + timedelta(days=days))
    )
    for extension, critical in _extensions(key, authority, name, ca=ca):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(authority.key if authority else key, hashes.SHA256())


def _extensions(
    key: rsa.RSAPrivateKey, authority: Issued | None, name: x509.GeneralName | None, *, ca: bool
) -> Sequence[tuple[x509.ExtensionType, bool]]:
    issuer = (authority.key if authority else key).public_key()
    usage = x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
    found: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=ca, path_length=None), True),
        (usage, True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), False),
    ]
    if name is not None:
        found.append((x509.SubjectAlternativeName([name]), False))
        found.append((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False))
    return found
