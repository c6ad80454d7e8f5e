"""PayPal's webhook signatures by a certificate authority of our own, with its certificates served over https on loopback.

signer = Signer(); headers = signer.sign(body, webhook_id="WH-1", url=...)
"""

from __future__ import annotations

import base64
import ipaddress
import ssl
import tempfile
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from careforall.launch.ports import LOOPBACK
from careforall_testing.loopback import Answered, Asked, listening

SIGNING_HOST = "messageverificationcerts.sandbox.paypal.com"
PATH = "/v1/notifications/certs/CERT-360caa42-fca2a594-5da7b0cf"
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


class Signer:
    """Signs webhooks as PayPal does.

    Args:
        host: What its certificate is made for.
        days: How long that is good; negative ones are over.
    """

    def __init__(self, authority: Authority | None = None, *, host: str = SIGNING_HOST, days: int = 30) -> None:
        self.authority = authority or Authority()
        between = self.authority.intermediate()
        self.leaf = self.authority.issue(between, host, days=days)
        self.chain = self.leaf.pem + between.pem

    def sign(
        self, body: bytes, *, webhook_id: str, url: str, at: str = "", transmission_id: str = "", algorithm: str = "SHA256withRSA"
    ) -> dict[str, str]:
        """The headers of a delivery; `at` is the signed time, now if not given."""
        stamp = at or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        name = transmission_id or str(uuid4())
        signed = f"{name}|{stamp}|{webhook_id}|{zlib.crc32(body)}".encode()
        return {
            "Content-Type": "application/json",
            "PayPal-Transmission-Id": name,
            "PayPal-Transmission-Time": stamp,
            "PayPal-Transmission-Sig": base64.b64encode(self.leaf.key.sign(signed, PKCS1v15(), hashes.SHA256())).decode(),
            "PayPal-Cert-Url": url,
            "PayPal-Auth-Algo": algorithm,
        }


class CertificateHost:
    """A host that answers with a certificate, or with whatever a test makes it answer; it counts its calls."""

    def __init__(self, answer: bytes) -> None:
        self.answer = Answered(body=answer)
        self.asked: list[str] = []
        self.url = ""

    @property
    def address(self) -> str:
        """host:port."""
        return self.url.removeprefix("https://")

    @asynccontextmanager
    async def serving(self, authority: Authority) -> AsyncIterator[CertificateHost]:
        """Serve over https with a certificate of the authority."""
        async with listening(self._answering, tls=_tls(authority)) as url:
            self.url = url
            yield self

    async def _answering(self, asked: Asked) -> Answered:
        self.asked.append(asked.path)
        return self.answer


def _tls(authority: Authority) -> ssl.SSLContext:
    address = x509.IPAddress(ipaddress.ip_address(LOOPBACK))
    served = authority.issue(authority.root, address)
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
